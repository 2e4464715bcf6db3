//! The files that pages refer to, each under a name that changes with its content, so that it may
//! be kept for good.

use bytes::Bytes;
use hyper::Response;
use hyper::StatusCode;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderValue, IF_NONE_MATCH};
use sha2::{Digest as _, Sha256};

use super::call::Call;
use super::refusal::Refusal;
use super::site::bare;

/// A year, as long as caches keep anything.
const FOR_GOOD: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");

/// The stylesheet and the icon.
pub(crate) struct Assets {
    style: Asset,
    icon: Asset,
}

struct Asset {
    name: String,
    kind: HeaderValue,
    content: Bytes,
}

impl Assets {
    pub(crate) fn new() -> Self {
        let style = include_bytes!("assets/site.css");
        let icon = include_bytes!("assets/icon.svg");
        Self {
            style: Asset::new("site", "css", "text/css; charset=utf-8", style),
            icon: Asset::new("icon", "svg", "image/svg+xml", icon),
        }
    }

    pub(crate) fn style(&self) -> String {
        self.style.path()
    }

    pub(crate) fn icon(&self) -> String {
        self.icon.path()
    }

    pub(crate) fn serve(&self, call: &Call<'_>, name: &str) -> Result<Response<Bytes>, Refusal> {
        let assets = [&self.style, &self.icon];
        let asset = assets.into_iter().find(|asset| asset.name == name);
        let asset = asset.ok_or(Refusal::NotFound)?;
        let tag = format!("\"{}\"", asset.name);
        let known = call.header(IF_NONE_MATCH.as_str()).split(',');
        let mut response = if known.map(str::trim).any(|known| known == tag) {
            bare(StatusCode::NOT_MODIFIED)
        } else {
            Response::new(asset.content.clone())
        };
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, asset.kind.clone());
        headers.insert(CACHE_CONTROL, FOR_GOOD);
        if let Ok(tag) = HeaderValue::from_str(&tag) {
            headers.insert(ETAG, tag);
        }
        Ok(response)
    }
}

impl Asset {
    fn new(stem: &str, extension: &str, kind: &'static str, content: &'static [u8]) -> Self {
        let hash = Sha256::digest(content);
        let print: String = hash
            .iter()
            .take(8)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        Self {
            name: format!("{stem}-{print}.{extension}"),
            kind: HeaderValue::from_static(kind),
            content: Bytes::from_static(content),
        }
    }

    fn path(&self) -> String {
        format!("/assets/{}", self.name)
    }
}
