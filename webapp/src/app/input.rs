//! What people type, as types that hold nothing else.

use std::fmt;

/// Why a field was refused, said to the person who filled it in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Invalid(pub(crate) &'static str);

/// An account's name, in lower case: it stands in addresses and needs no escaping anywhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Name(String);

impl Name {
    pub(crate) const MIN: usize = 3;
    pub(crate) const MAX: usize = 32;

    pub(crate) fn parse(text: &str) -> Result<Self, Invalid> {
        let name = text.trim().to_ascii_lowercase();
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_".contains(c);
        if !name.chars().all(plain) {
            return Err(Invalid("Use letters a to z, digits, - and _ only."));
        }
        if !(Self::MIN..=Self::MAX).contains(&name.len()) {
            return Err(Invalid("A name has 3 to 32 characters."));
        }
        if !name.starts_with(|c: char| c.is_ascii_lowercase()) {
            return Err(Invalid("A name starts with a letter."));
        }
        Ok(Self(name))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// A password, never shown.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Password(String);

impl Password {
    pub(crate) const MIN: usize = 10;
    pub(crate) const MAX: usize = 128;

    /// A password that is to be set.
    pub(crate) fn choose(text: &str, name: &Name) -> Result<Self, Invalid> {
        if text.chars().count() < Self::MIN {
            return Err(Invalid("A password has at least 10 characters."));
        }
        if units(text) > Self::MAX {
            return Err(Invalid("A password has at most 128 characters."));
        }
        if text.to_lowercase().contains(name.as_str()) {
            return Err(Invalid("A password does not contain the account's name."));
        }
        let first = text.chars().next();
        if text.chars().all(|c| Some(c) == first) {
            return Err(Invalid(
                "A password is more than one character again and again.",
            ));
        }
        Ok(Self(text.to_owned()))
    }

    /// A password that is to be compared. `None`: too long to be anyone's.
    pub(crate) fn guess(text: &str) -> Option<Self> {
        (units(text) <= Self::MAX).then(|| Self(text.to_owned()))
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

/// The text of a post: not blank, and short.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PostText(String);

impl PostText {
    pub(crate) const MAX: usize = 1000;

    pub(crate) fn parse(text: &str) -> Result<Self, Invalid> {
        let text = prose(text)?;
        if text.is_empty() {
            return Err(Invalid("Write something first."));
        }
        if units(&text) > Self::MAX {
            return Err(Invalid("A post has at most 1000 characters."));
        }
        Ok(Self(text))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// What people say about themselves. May be empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct About(String);

impl About {
    pub(crate) const MAX: usize = 500;

    pub(crate) fn parse(text: &str) -> Result<Self, Invalid> {
        let text = prose(text)?;
        if units(&text) > Self::MAX {
            return Err(Invalid("This has at most 500 characters."));
        }
        Ok(Self(text))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Text as browsers count it: `maxlength` and these limits agree about each character.
fn units(text: &str) -> usize {
    text.encode_utf16().count()
}

/// Text with one kind of line end, nothing at its ends, and no control characters.
fn prose(text: &str) -> Result<String, Invalid> {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let text = text.trim_matches(blank);
    if text.contains(|c: char| c.is_control() && c != '\n' && c != '\t') {
        return Err(Invalid("Control characters are not text."));
    }
    Ok(text.to_owned())
}

/// White space, and what shows nothing either: zero-width spaces and joiners, the filler letters
/// and the byte order mark.
fn blank(c: char) -> bool {
    c.is_whitespace()
        || matches!(
            c,
            '\u{ad}' | '\u{115f}' | '\u{1160}' | '\u{200b}'..='\u{200f}'
        )
        || matches!(
            c,
            '\u{2060}'..='\u{2064}' | '\u{2800}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}'
        )
}

#[cfg(test)]
#[path = "input/tests.rs"]
mod tests;
