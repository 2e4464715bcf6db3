//! From a request's path to a file under the root, and to nothing else.

use std::io;
use std::path::{Path, PathBuf};

use tokio::fs::File;

use super::body::Body;

/// A file ready to be sent.
pub(super) struct StaticFile {
    pub(super) content_type: &'static str,
    pub(super) body: Body,
}

/// The path below the root that a request's path names, or `None` for one that must not be
/// served: traversal, dotfiles, control characters, broken escapes.
///
/// A directory stands for its `index.html`.
pub(super) fn relative(request_path: &str) -> Option<PathBuf> {
    let decoded = percent_decode(request_path.strip_prefix('/')?)?;
    let mut path = PathBuf::new();
    for segment in decoded.split('/') {
        // An empty segment is a doubled or a final slash. The dot covers ".", ".." and dotfiles.
        if segment.starts_with('.') || segment.contains(['\\', '\0']) {
            return None;
        }
        path.push(segment);
    }
    if decoded.is_empty() || decoded.ends_with('/') {
        path.push("index.html");
    }
    // Pushing an absolute segment would replace what is before it; a slash never survives the
    // split, so this cannot be. It is checked because the root's safety hangs on it.
    path.is_relative().then_some(path)
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

/// Opens the file that a request's path names. `None`: there is none, or none to be served.
///
/// The root must be canonical: a symbolic link that leads out of it is not followed.
pub(super) async fn open(root: &Path, request_path: &str) -> Option<StaticFile> {
    let relative = relative(request_path)?;
    let path = tokio::fs::canonicalize(root.join(relative)).await.ok()?;
    if !path.starts_with(root) {
        return None;
    }
    let (file, remaining) = open_regular(&path).await.ok()?;
    Some(StaticFile {
        content_type: content_type(&path),
        body: Body::File { file, remaining },
    })
}

async fn open_regular(path: &Path) -> io::Result<(File, u64)> {
    // Looked at before it is opened, as opening a FIFO would wait for its writer.
    let metadata = tokio::fs::metadata(path).await?;
    if !metadata.is_file() {
        return Err(io::ErrorKind::NotFound.into());
    }
    Ok((File::open(path).await?, metadata.len()))
}

fn content_type(path: &Path) -> &'static str {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("html" | "htm") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js" | "mjs") => "text/javascript; charset=utf-8",
        Some("json") => "application/json",
        Some("txt" | "md") => "text/plain; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("jpg" | "jpeg") => "image/jpeg",
        Some("webp") => "image/webp",
        Some("ico") => "image/x-icon",
        Some("woff2") => "font/woff2",
        Some("wasm") => "application/wasm",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
#[path = "files/tests.rs"]
mod tests;
