//! From a file and a request to a response.

use std::ops::Range;

use bytes::Bytes;
use hyper::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderValue,
    LAST_MODIFIED, RANGE, VARY,
};
use hyper::{HeaderMap, Method, Response, StatusCode};

use super::{Asset, Liked, Representation, Source};
use crate::server::{Body, empty, full};
use crate::web::conditions::{Validators, Verdict, judge, range_applies};
use crate::web::content::{Content, Piece};
use crate::web::ids;
use crate::web::ranges::{Wanted, wanted};

impl Asset {
    /// Answers a GET or a HEAD.
    pub(in crate::web) fn answer(&self, method: &Method, asked: &HeaderMap) -> Response<Body> {
        let chosen = self.choose(Liked::of(asked));
        let current = Validators {
            etag: chosen.etag.to_str().unwrap_or_default(),
            modified: self.modified,
        };
        match judge(asked, current) {
            Verdict::Proceed => {}
            Verdict::NotModified => return chosen.not_modified(),
            Verdict::Failed => return chosen.failed(),
        }
        if *method == Method::HEAD {
            return chosen.respond(StatusCode::OK, empty());
        }
        let mut ranges = asked.get_all(RANGE).iter();
        let wanted = match (ranges.next().map(HeaderValue::to_str), ranges.next()) {
            (Some(Ok(field)), None) if range_applies(asked, current) => {
                wanted(field, chosen.length())
            }
            _ => Wanted::Whole,
        };
        match wanted {
            Wanted::Whole => chosen.respond(StatusCode::OK, chosen.part(0..chosen.length())),
            Wanted::Parts(parts) => match parts.as_slice() {
                [part] => chosen.one(part.clone()),
                parts => chosen.several(parts),
            },
            Wanted::Unsatisfiable => chosen.unsatisfiable(),
        }
    }
}

impl Representation {
    fn respond(&self, status: StatusCode, body: Body) -> Response<Body> {
        let mut response = Response::new(body);
        *response.status_mut() = status;
        *response.headers_mut() = self.headers.clone();
        response
    }

    /// What a cache needs to go on with what it has (RFC 9110, section 15.4.5).
    fn not_modified(&self) -> Response<Body> {
        let mut response = Response::new(empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        for name in [CACHE_CONTROL, ETAG, LAST_MODIFIED, VARY] {
            if let Some(value) = self.headers.get(&name) {
                response.headers_mut().insert(name, value.clone());
            }
        }
        response
    }

    fn failed(&self) -> Response<Body> {
        text(
            StatusCode::PRECONDITION_FAILED,
            "there is another version now\n",
        )
    }

    fn unsatisfiable(&self) -> Response<Body> {
        let mut response = text(StatusCode::RANGE_NOT_SATISFIABLE, "no such range\n");
        let headers = response.headers_mut();
        headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        if let Ok(length) = HeaderValue::try_from(format!("bytes */{}", self.length())) {
            headers.insert(CONTENT_RANGE, length);
        }
        response
    }

    fn one(&self, part: Range<u64>) -> Response<Body> {
        let content_range = HeaderValue::try_from(self.content_range(&part));
        let length = part.end - part.start;
        let mut response = self.respond(StatusCode::PARTIAL_CONTENT, self.part(part));
        let headers = response.headers_mut();
        headers.insert(CONTENT_LENGTH, length.into());
        if let Ok(content_range) = content_range {
            headers.insert(CONTENT_RANGE, content_range);
        }
        response
    }

    /// As `multipart/byteranges` (RFC 9110, section 14.6).
    fn several(&self, parts: &[Range<u64>]) -> Response<Body> {
        let boundary = ids::unguessable();
        let own_type = self.headers.get(CONTENT_TYPE);
        let own_type = own_type
            .and_then(|own_type| own_type.to_str().ok())
            .unwrap_or_default();
        let mut pieces = Vec::with_capacity(parts.len() * 2 + 1);
        for part in parts {
            let content_range = self.content_range(part);
            let head = format!(
                "\r\n--{boundary}\r\nContent-Type: {own_type}\r\nContent-Range: {content_range}\r\n\r\n"
            );
            pieces.push(Piece::Bytes(head.into()));
            pieces.push(self.piece(part.clone()));
        }
        pieces.push(Piece::Bytes(format!("\r\n--{boundary}--\r\n").into()));
        let content = Content::new(pieces);
        let length = content.length();
        let mut response = self.respond(StatusCode::PARTIAL_CONTENT, content.into_body());
        let headers = response.headers_mut();
        headers.insert(CONTENT_LENGTH, length.into());
        let multipart = format!("multipart/byteranges; boundary={boundary}");
        if let Ok(multipart) = HeaderValue::try_from(multipart) {
            headers.insert(CONTENT_TYPE, multipart);
        }
        response
    }

    fn content_range(&self, part: &Range<u64>) -> String {
        format!("bytes {}-{}/{}", part.start, part.end - 1, self.length())
    }

    fn part(&self, part: Range<u64>) -> Body {
        match self.piece(part) {
            Piece::Bytes(bytes) => full(bytes),
            piece => Content::new([piece]).into_body(),
        }
    }

    fn piece(&self, part: Range<u64>) -> Piece {
        match &self.source {
            Source::File(file, _) => Piece::File(std::sync::Arc::clone(file), part),
            Source::Memory(bytes) => Piece::Bytes(slice(bytes, &part)),
        }
    }
}

/// A part that is known to lie within.
fn slice(bytes: &Bytes, part: &Range<u64>) -> Bytes {
    let at =
        |position| usize::try_from(position).map_or(bytes.len(), |at: usize| at.min(bytes.len()));
    bytes.slice(at(part.start)..at(part.end))
}

fn text(status: StatusCode, text: &'static str) -> Response<Body> {
    let mut response = Response::new(full(text));
    *response.status_mut() = status;
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, text);
    response
}
