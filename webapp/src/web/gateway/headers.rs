//! What of a message's headers goes on to the next server.

use std::net::IpAddr;

use hyper::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, FORWARDED, HOST, HeaderName, HeaderValue,
    PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, VIA,
};
use hyper::http::uri::Authority;
use hyper::{HeaderMap, Version};

/// What holds for one connection (RFC 9110, section 7.6.1), and what frames a body: the body is
/// framed anew.
const HOP_BY_HOP: [HeaderName; 11] = [
    CONNECTION,
    CONTENT_LENGTH,
    EXPECT,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const X_SERVED_BY_WEB: HeaderName = HeaderName::from_static("x-served-by-web");

/// What the app servers are told of a request, by this server and by nobody else.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told<'a> {
    pub(super) client: IpAddr,
    pub(super) tls: bool,
    pub(super) host: &'a Authority,
    pub(super) request_id: &'a str,
    pub(super) server: &'a str,
    pub(super) version: Version,
}

/// The headers of a request as they go on.
pub(super) fn of_request(mut headers: HeaderMap, told: Told<'_>) -> HeaderMap {
    strip(&mut headers);
    let claimed: Vec<_> = headers
        .keys()
        .filter(|name| is_claim(name))
        .cloned()
        .collect();
    for name in claimed {
        headers.remove(name);
    }
    join_cookies(&mut headers);

    let client = told.client.to_canonical();
    let proto = if told.tls { "https" } else { "http" };
    let host = told.host.as_str();
    // An address of IPv6 is quoted for its colons, and a host for its port (RFC 7239, section 6).
    let node = match client {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("\"[{address}]\""),
    };
    let via = match told.version {
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        _ => "1.1",
    };
    for (name, value) in [
        (HOST, host.to_owned()),
        (
            FORWARDED,
            format!("for={node};host=\"{host}\";proto={proto}"),
        ),
        (X_FORWARDED_FOR, client.to_string()),
        (X_FORWARDED_HOST, host.to_owned()),
        (X_FORWARDED_PROTO, proto.to_owned()),
        (X_REQUEST_ID, told.request_id.to_owned()),
        (X_SERVED_BY_WEB, told.server.to_owned()),
        (VIA, format!("{via} {}", told.server)),
    ] {
        // None of them can hold what a header must not: a host was checked, the rest is ours.
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    }
    headers
}

/// Removes what holds for one connection alone.
pub(super) fn strip(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        let fields = headers.get_all(CONNECTION).iter();
        let named: Vec<HeaderName> = fields
            .filter_map(|field| field.to_str().ok())
            .flat_map(|field| field.split(','))
            .filter_map(|name| name.trim().parse().ok())
            .collect();
        for name in named {
            headers.remove(name);
        }
    }
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
}

/// Whether a header claims what only this server may say, or could be taken for one that does.
fn is_claim(name: &HeaderName) -> bool {
    let name = name.as_str();
    name.starts_with("x-forwarded-")
        || name.starts_with("x-served-by")
        || name.contains('_')
        || matches!(
            name,
            "forwarded" | "x-request-id" | "x-real-ip" | "proxy" | "via"
        )
}

/// HTTP/2 may send a cookie in pieces, HTTP/1.1 not (RFC 9113, section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let mut fields = headers.get_all(COOKIE).iter();
    if fields.by_ref().nth(1).is_none() {
        return;
    }
    let pieces: Vec<_> = headers
        .get_all(COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    if let Ok(joined) = HeaderValue::from_bytes(&pieces.join(&b"; "[..])) {
        headers.insert(COOKIE, joined);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(fields: &[(&'static str, &'static str)], client: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            );
        }
        let host = Authority::from_static("www.foobar.com:8443");
        let told = Told {
            client: client.parse().unwrap(),
            tls: true,
            host: &host,
            request_id: "42",
            server: "web1",
            version: Version::HTTP_2,
        };
        of_request(headers, told)
    }

    #[test]
    fn what_clients_claim_is_not_believed() {
        let headers = sent(
            &[
                ("forwarded", "for=10.0.0.1"),
                ("x-forwarded-for", "10.0.0.1"),
                ("x-forwarded-for", "10.0.0.2"),
                ("x-forwarded-port", "1"),
                ("x_forwarded_for", "10.0.0.1"),
                ("x-real-ip", "10.0.0.1"),
                ("x-request-id", "forged"),
                ("x-served-by-web", "forged"),
                ("proxy", "http://evil.com"),
                ("host", "evil.com"),
                ("accept", "*/*"),
            ],
            "192.0.2.7",
        );
        for (name, value) in [
            (
                "forwarded",
                "for=192.0.2.7;host=\"www.foobar.com:8443\";proto=https",
            ),
            ("x-forwarded-for", "192.0.2.7"),
            ("x-forwarded-host", "www.foobar.com:8443"),
            ("x-forwarded-proto", "https"),
            ("x-request-id", "42"),
            ("x-served-by-web", "web1"),
            ("via", "2 web1"),
            ("host", "www.foobar.com:8443"),
            ("accept", "*/*"),
        ] {
            let values: Vec<_> = headers.get_all(name).iter().collect();
            assert_eq!(values, [value], "{name}");
        }
        assert_eq!(headers.len(), 9, "{headers:?}");
    }

    #[test]
    fn an_address_of_ipv6_is_quoted_and_mapped_ipv4_is_not_one() {
        let headers = sent(&[], "2001:db8::7");
        assert!(
            headers["forwarded"]
                .to_str()
                .unwrap()
                .starts_with("for=\"[2001:db8::7]\";")
        );
        assert_eq!(headers["x-forwarded-for"], "2001:db8::7");
        assert_eq!(
            sent(&[], "::ffff:192.0.2.7")["x-forwarded-for"],
            "192.0.2.7"
        );
    }

    #[test]
    fn what_holds_for_one_connection_ends_with_it() {
        let headers = sent(
            &[
                ("connection", "close, X-Private"),
                ("connection", "upgrade"),
                ("x-private", "1"),
                ("keep-alive", "timeout=5"),
                ("proxy-connection", "keep-alive"),
                ("te", "trailers"),
                ("trailer", "x"),
                ("transfer-encoding", "chunked"),
                ("content-length", "5"),
                ("upgrade", "websocket"),
                ("expect", "100-continue"),
                ("proxy-authorization", "Basic x"),
                ("authorization", "Bearer y"),
            ],
            "192.0.2.7",
        );
        assert_eq!(headers["authorization"], "Bearer y");
        assert_eq!(headers.len(), 9, "{headers:?}");
    }

    #[test]
    fn a_cookie_in_pieces_is_put_together() {
        let headers = sent(
            &[("cookie", "a=1"), ("cookie", "b=2"), ("cookie", "c=3")],
            "192.0.2.7",
        );
        let cookies: Vec<_> = headers.get_all("cookie").iter().collect();
        assert_eq!(cookies, ["a=1; b=2; c=3"]);
    }
}
