//! Answers that are not what was asked for: a page for people, JSON (RFC 9457) for programs.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, RETRY_AFTER,
};
use hyper::{HeaderMap, Response, StatusCode};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::server::{Body, full};

const STYLE: &str = "\
:root{color-scheme:light dark}\
body{font:1.1rem/1.6 system-ui,sans-serif;max-width:36rem;margin:15vh auto 0;padding:0 1.25rem}\
h1{font-size:1.6rem;line-height:1.25}\
code{overflow-wrap:anywhere}";

/// The one style that these pages use is allowed by its hash; they need nothing else.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    let hash = STANDARD.encode(Sha256::digest(STYLE));
    format!(
        "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'"
    )
});

/// How soon a client may come again when the app servers are away, in seconds.
const RETRY_SECONDS: HeaderValue = HeaderValue::from_static("5");

/// What a client gets to read in JSON.
#[derive(Serialize)]
struct Problem<'a> {
    title: &'a str,
    status: u16,
    detail: &'a str,
    request_id: &'a str,
}

/// What an answer is written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Page,
    Json,
}

impl Form {
    /// What the client prefers.
    pub(super) fn wanted(asked: &HeaderMap) -> Self {
        if wants_json(asked) {
            Self::Json
        } else {
            Self::Page
        }
    }
}

/// An answer with this status.
///
/// `detail` says in a sentence what happened, and what the client can do about it.
pub(super) fn answer(
    form: Form,
    status: StatusCode,
    detail: &str,
    request_id: &str,
) -> Response<Body> {
    let (text, content_type) = match form {
        Form::Page => (page(status, detail, request_id), "text/html; charset=utf-8"),
        Form::Json => {
            let problem = Problem {
                title: title(status),
                status: status.as_u16(),
                detail,
                request_id,
            };
            let json = serde_json::to_string(&problem).unwrap_or_default();
            (json, "application/problem+json")
        }
    };
    let mut response = Response::new(full(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Ok(policy) = HeaderValue::from_str(&POLICY) {
        headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
    if matches!(
        status,
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS
    ) {
        headers.insert(RETRY_AFTER, RETRY_SECONDS);
    }
    response
}

fn title(status: StatusCode) -> &'static str {
    match status {
        StatusCode::NOT_FOUND => "There is no such page",
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE => "We are having trouble",
        StatusCode::GATEWAY_TIMEOUT => "This is taking too long",
        other => other.canonical_reason().unwrap_or("This did not work"),
    }
}

/// Nothing of what the client sent is in it: there is nothing to escape.
fn page(status: StatusCode, detail: &str, request_id: &str) -> String {
    let title = title(status);
    let code = status.as_u16();
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n\
         <h1>{title}</h1>\n<p>{detail}</p>\n\
         <p><small>Error {code}, request <code>{request_id}</code></small></p>\n\
         </main>\n</body>\n</html>\n"
    )
}

/// A browser names HTML; a program that names JSON and no HTML is better served with that.
fn wants_json(asked: &HeaderMap) -> bool {
    let fields = asked.get_all(ACCEPT).iter();
    let mut accepted = fields.filter_map(|field| field.to_str().ok());
    let mut json = false;
    let html = accepted.any(|field| {
        let field = field.to_ascii_lowercase();
        json |= field.contains("application/json") || field.contains("+json");
        field.contains("text/html")
    });
    json && !html
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt as _;

    async fn answered(accept: &[&'static str], status: StatusCode) -> (String, String) {
        let mut asked = HeaderMap::new();
        for field in accept {
            asked.append(ACCEPT, HeaderValue::from_static(field));
        }
        let response = answer(Form::wanted(&asked), status, "No app server answers.", "42");
        assert_eq!(response.status(), status);
        let content_type = response.headers()[CONTENT_TYPE]
            .to_str()
            .unwrap()
            .to_owned();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (content_type, String::from_utf8(body.into()).unwrap())
    }

    #[tokio::test]
    async fn a_program_gets_json_and_a_browser_a_page() {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        for json in [
            &["application/json"][..],
            &["text/plain", "application/problem+json"],
        ] {
            let (content_type, body) = answered(json, status).await;
            assert_eq!(content_type, "application/problem+json");
            let body: serde_json::Value = serde_json::from_str(&body).unwrap();
            assert_eq!(body["status"], 503);
            assert_eq!(body["request_id"], "42");
        }
        for html in [
            &[][..],
            &["text/html,application/json"],
            &["*/*"],
            &["application/json", "text/html"],
        ] {
            let (content_type, body) = answered(html, status).await;
            assert_eq!(content_type, "text/html; charset=utf-8", "{html:?}");
            assert!(body.contains("No app server answers.") && body.contains("<code>42</code>"));
        }
    }

    #[test]
    fn the_style_of_the_page_is_the_one_that_its_policy_allows() {
        let response = answer(Form::Page, StatusCode::NOT_FOUND, "", "");
        let policy = response.headers()[CONTENT_SECURITY_POLICY]
            .to_str()
            .unwrap();
        let page = page(StatusCode::NOT_FOUND, "", "");
        let style = page
            .split("<style>")
            .nth(1)
            .unwrap()
            .split("</style>")
            .next()
            .unwrap();
        let hash = STANDARD.encode(Sha256::digest(style));
        assert!(policy.contains(&hash), "{policy}");
    }
}
