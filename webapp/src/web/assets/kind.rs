//! What the name of a file says: its type, and for how long it may be kept.

use std::path::Path;

use hyper::header::HeaderValue;

/// The type of a file, by the end of its name.
pub(super) fn content_type(name: &str) -> &'static str {
    let extension = Path::new(name).extension().and_then(|end| end.to_str());
    match extension.map(str::to_ascii_lowercase).as_deref() {
        Some("html" | "htm") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js" | "mjs") => "text/javascript; charset=utf-8",
        Some("json" | "map") => "application/json",
        Some("webmanifest") => "application/manifest+json",
        Some("txt" | "md") => "text/plain; charset=utf-8",
        Some("xml") => "application/xml",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("jpg" | "jpeg") => "image/jpeg",
        Some("gif") => "image/gif",
        Some("webp") => "image/webp",
        Some("avif") => "image/avif",
        Some("ico") => "image/x-icon",
        Some("woff2") => "font/woff2",
        Some("woff") => "font/woff",
        Some("ttf") => "font/ttf",
        Some("wasm") => "application/wasm",
        Some("pdf") => "application/pdf",
        Some("mp4") => "video/mp4",
        Some("webm") => "video/webm",
        Some("mp3") => "audio/mpeg",
        _ => "application/octet-stream",
    }
}

/// Whether content of this type may become smaller. Images and fonts are compressed already.
pub(super) fn is_compressible(content_type: &str) -> bool {
    content_type.starts_with("text/")
        || content_type.starts_with("application/json")
        || content_type.ends_with("+json")
        || matches!(
            content_type,
            "application/xml" | "application/wasm" | "image/svg+xml" | "image/x-icon" | "font/ttf"
        )
}

/// For how long a file may be kept without asking again.
///
/// One whose name changes with its content: as long as one likes. A page: not at all, as it names
/// the others. What remains: for a short while.
pub(super) fn cache_control(name: &str) -> HeaderValue {
    HeaderValue::from_static(if has_fingerprint(name) {
        "public, max-age=31536000, immutable"
    } else if content_type(name).starts_with("text/html") {
        "no-cache"
    } else {
        "public, max-age=300"
    })
}

/// Whether a name holds a hash of the content, as build tools put it before the extension:
/// `app.3f2b9c1d.js`, `app-3f2b9c1d.js`.
///
/// At least eight hexadecimal digits with a letter and a figure among them: a date is none.
fn has_fingerprint(name: &str) -> bool {
    let file = name.rsplit('/').next().unwrap_or(name);
    let Some((stem, _extension)) = file.rsplit_once('.') else {
        return false;
    };
    let Some((_name, hash)) = stem.rsplit_once(['.', '-']) else {
        return false;
    };
    hash.len() >= 8
        && hash.bytes().all(|byte| byte.is_ascii_hexdigit())
        && hash.bytes().any(|byte| byte.is_ascii_digit())
        && hash.bytes().any(|byte| byte.is_ascii_alphabetic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_in_a_name_is_told_from_a_word_and_a_date() {
        for name in [
            "app.3f2b9c1d.js",
            "a/b/app-3f2b9c1de0.css",
            "x.0123456789abcdef.woff2",
        ] {
            assert!(has_fingerprint(name), "{name}");
        }
        for name in [
            "app.js",
            "report-20260102.pdf",
            "cafe-deadbeef.js",
            "app.3f2b9c1.js",
            "3f2b9c1d.js",
            "3f2b9c1d/app.js",
            "app-3f2b9c1d",
            "app.3f2b9c1g.js",
        ] {
            assert!(!has_fingerprint(name), "{name}");
        }
    }

    #[test]
    fn pages_are_asked_for_again_and_hashed_files_are_not() {
        assert_eq!(cache_control("index.html"), "no-cache");
        assert_eq!(cache_control("robots.txt"), "public, max-age=300");
        assert!(
            cache_control("a-3f2b9c1d.js")
                .to_str()
                .unwrap()
                .contains("immutable")
        );
    }
}
