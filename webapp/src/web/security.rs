//! Headers that tell a browser what the site's pages never do, so that it stops who makes them.

use hyper::HeaderMap;
use hyper::header::{
    CONTENT_SECURITY_POLICY, HeaderName, HeaderValue, REFERRER_POLICY, STRICT_TRANSPORT_SECURITY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};

/// What is set unless a page says it better itself.
const DEFAULTS: [(HeaderName, HeaderValue); 5] = [
    (
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; \
             frame-ancestors 'none'",
        ),
    ),
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (REFERRER_POLICY, HeaderValue::from_static("same-origin")),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        HeaderValue::from_static("same-origin"),
    ),
];

/// For a year, this host is asked for over TLS alone.
const HSTS: HeaderValue = HeaderValue::from_static("max-age=31536000");

/// Adds what is missing.
pub(super) fn harden(headers: &mut HeaderMap, tls: bool) {
    for (name, value) in DEFAULTS {
        headers.entry(name).or_insert(value);
    }
    // Over plain text a browser must not heed it (RFC 6797, section 8.1).
    if tls {
        headers.insert(STRICT_TRANSPORT_SECURITY, HSTS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_may_say_it_better() {
        let own = HeaderValue::from_static("default-src 'none'");
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_SECURITY_POLICY, own.clone());
        harden(&mut headers, false);
        assert_eq!(headers[CONTENT_SECURITY_POLICY], own);
        assert_eq!(headers[X_CONTENT_TYPE_OPTIONS], "nosniff");
        assert!(!headers.contains_key(STRICT_TRANSPORT_SECURITY));
        harden(&mut headers, true);
        assert!(headers.contains_key(STRICT_TRANSPORT_SECURITY));
    }

    #[test]
    fn no_page_runs_inline_scripts() {
        let mut headers = HeaderMap::new();
        harden(&mut headers, true);
        let policy = headers[CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(policy.contains("default-src 'self'") && !policy.contains("unsafe"));
    }
}
