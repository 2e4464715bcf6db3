//! What the path of a request names.

use std::borrow::Cow;

/// What a path names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Named<'a> {
    /// A file below the root, by its name there. A directory stands for its `index.html`.
    File(Cow<'a, str>),
    /// A file that is not served whether it is there or not: its name, or that of a directory
    /// above it, begins with a dot.
    Hidden,
    /// Nothing: dot segments in any encoding, control characters, backslashes, broken escapes. An
    /// honest client has resolved the first and never sends the others.
    Nonsense,
}

/// What the path of a request names.
pub(super) fn named(path: &str) -> Named<'_> {
    let Some(rest) = path.strip_prefix('/') else {
        return Named::Nonsense;
    };
    if is_plain(rest) {
        return Named::File(rest.into());
    }
    match percent_decode(rest) {
        Some(decoded) => of_segments(&decoded),
        None => Named::Nonsense,
    }
}

/// Whether this is the name of a file already, as most paths are.
fn is_plain(rest: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~/".contains(&byte);
    !rest.is_empty()
        && rest.bytes().all(plain)
        && !rest.starts_with(['.', '/'])
        && !rest.ends_with('/')
        && !rest.contains("//")
        && !rest.contains("/.")
}

fn of_segments(decoded: &str) -> Named<'static> {
    let mut name = String::with_capacity(decoded.len());
    let mut hidden = false;
    for segment in decoded.split('/') {
        match segment {
            "." | ".." => return Named::Nonsense,
            // A doubled slash, or one at the end.
            "" => continue,
            _ if segment.contains(['\\', '\0']) => return Named::Nonsense,
            _ => hidden |= segment.starts_with('.'),
        }
        if !name.is_empty() {
            name.push('/');
        }
        name.push_str(segment);
    }
    if hidden {
        return Named::Hidden;
    }
    if decoded.is_empty() || decoded.ends_with('/') {
        if !name.is_empty() {
            name.push('/');
        }
        name.push_str("index.html");
    }
    Named::File(name.into())
}

fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => {
                let high = char::from(bytes.next()?).to_digit(16)?;
                let low = char::from(bytes.next()?).to_digit(16)?;
                u8::try_from(high * 16 + low).ok()?
            }
            plain => plain,
        });
    }
    let decoded = String::from_utf8(decoded).ok()?;
    (!decoded.contains(char::is_control)).then_some(decoded)
}

#[cfg(test)]
mod tests;
