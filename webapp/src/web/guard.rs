//! Requests that are refused before anything is done for them: those that two servers could read
//! differently, and those that no server behind this one should see.
//!
//! hyper has refused already what is no HTTP: bare line feeds in names, folded lines, lengths that
//! contradict each other, chunks that are none. Where a length came together with chunks it has
//! dropped the length, and the gateway frames a body anew in any case.

use hyper::header::{HOST, HeaderValue, TRANSFER_ENCODING};
use hyper::http::uri::Authority;
use hyper::{HeaderMap, Method, Request, StatusCode, Version};

use super::paths::{Named, named};
use crate::server::FIELDS;

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) status: StatusCode,
    /// For the client, who made the request and knows what is in it.
    pub(super) why: &'static str,
}

impl Refused {
    pub(super) const fn new(status: StatusCode, why: &'static str) -> Self {
        Self { status, why }
    }

    const fn bad(why: &'static str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, why)
    }
}

/// The methods that the servers know.
pub(super) const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/// Which host a request is for. One of HTTP/1.0 may leave it open.
pub(super) fn check<B>(request: &Request<B>) -> Result<Option<Authority>, Refused> {
    method(request.method())?;
    if request.headers().len() > FIELDS {
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        return Err(Refused::new(status, "the request has too many fields"));
    }
    let one_point_one = match request.version() {
        Version::HTTP_10 => false,
        Version::HTTP_11 => true,
        Version::HTTP_2 => return of_http2(request),
        _ => {
            let status = StatusCode::HTTP_VERSION_NOT_SUPPORTED;
            return Err(Refused::new(status, "this version of HTTP is not served"));
        }
    };
    framing(request.headers())?;
    let host = host(request.headers())?;
    if host.is_none() && one_point_one {
        return Err(Refused::bad("the request names no host"));
    }
    // An absolute target outweighs the field (RFC 9112, section 3.2.2). That they differ has no
    // good reason, and the servers behind would have to choose as this one does.
    if let Some(target) = request.uri().authority()
        && !host.as_ref().is_some_and(|host| same(host, target))
    {
        return Err(Refused::bad("the request names two hosts"));
    }
    path(request)?;
    Ok(host)
}

fn of_http2<B>(request: &Request<B>) -> Result<Option<Authority>, Refused> {
    let field = host(request.headers())?;
    let named = match (request.uri().authority(), field) {
        (Some(target), Some(field)) if !same(target, &field) => {
            return Err(Refused::bad("the request names two hosts"));
        }
        (Some(target), _) => {
            plain(target)?;
            target.clone()
        }
        (None, Some(field)) => field,
        (None, None) => return Err(Refused::bad("the request names no host")),
    };
    path(request)?;
    Ok(Some(named))
}

fn method(method: &Method) -> Result<(), Refused> {
    match *method {
        Method::GET
        | Method::HEAD
        | Method::POST
        | Method::PUT
        | Method::PATCH
        | Method::DELETE
        | Method::OPTIONS => Ok(()),
        Method::CONNECT | Method::TRACE => Err(Refused::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "this method is not allowed here",
        )),
        _ => Err(Refused::new(
            StatusCode::NOT_IMPLEMENTED,
            "this method is not known",
        )),
    }
}

/// Chunks, once, and in no other coding: one would stay on when the body is framed anew.
fn framing(headers: &HeaderMap) -> Result<(), Refused> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => Ok(()),
        (Some(coding), None) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => Ok(()),
        _ => Err(Refused::new(
            StatusCode::NOT_IMPLEMENTED,
            "this transfer coding is not known",
        )),
    }
}

fn host(headers: &HeaderMap) -> Result<Option<Authority>, Refused> {
    let mut fields = headers.get_all(HOST).iter();
    let Some(field) = fields.next() else {
        return Ok(None);
    };
    if fields.next().is_some() {
        return Err(Refused::bad("the request names two hosts"));
    }
    let host = Authority::try_from(field.as_bytes()).ok();
    let host = host.ok_or(Refused::bad("the host is no name and no address"))?;
    plain(&host)?;
    Ok(Some(host))
}

/// A name or an address, perhaps a port, and nothing that could stand in a path or a header.
fn plain(host: &Authority) -> Result<(), Refused> {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
    let rest = host.as_str().strip_prefix(host.host());
    let port = rest.is_some_and(|rest| {
        rest.is_empty()
            || rest
                .strip_prefix(':')
                .is_some_and(|port| port.parse::<u16>().is_ok())
    });
    if host.host().is_empty() || !host.as_str().bytes().all(known) || !port {
        return Err(Refused::bad("the host is no name and no address"));
    }
    Ok(())
}

/// Whether both name the same host, with the same port or both without.
fn same(one: &Authority, other: &Authority) -> bool {
    one.as_str().eq_ignore_ascii_case(other.as_str())
}

fn path<B>(request: &Request<B>) -> Result<(), Refused> {
    match named(request.uri().path()) {
        Named::Nonsense => Err(Refused::bad("the path is not one")),
        Named::File(_) | Named::Hidden => Ok(()),
    }
}

/// Whether the connection is to be closed after this request. A sender of chunks may have given a
/// length too, and then what follows may not be what it thinks (RFC 9112, section 6.1).
pub(super) fn closes(version: Version, headers: &HeaderMap<HeaderValue>) -> bool {
    version <= Version::HTTP_11 && headers.contains_key(TRANSFER_ENCODING)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(
        version: Version,
        method: &str,
        target: &str,
        fields: &[(&str, &str)],
    ) -> Result<Option<String>, u16> {
        let mut request = Request::builder()
            .method(method)
            .uri(target)
            .version(version);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        check(&request.body(()).unwrap())
            .map(|host| host.map(|host| host.to_string()))
            .map_err(|refused| refused.status.as_u16())
    }

    fn one_point_one(method: &str, target: &str, fields: &[(&str, &str)]) -> Result<String, u16> {
        checked(Version::HTTP_11, method, target, fields).map(Option::unwrap)
    }

    #[test]
    fn ordinary_requests_pass() {
        for host in [
            "www.foobar.com",
            "www.foobar.com:8443",
            "192.0.2.1:80",
            "[2001:db8::1]:443",
        ] {
            assert_eq!(
                one_point_one("GET", "/a?b=../c", &[("host", host)]).unwrap(),
                host
            );
        }
        let chunked = [("host", "a"), ("transfer-encoding", "Chunked")];
        assert_eq!(one_point_one("POST", "/", &chunked).unwrap(), "a");
        let absolute = one_point_one(
            "GET",
            "http://WWW.foobar.com/a",
            &[("host", "www.foobar.com")],
        );
        assert_eq!(absolute.unwrap(), "www.foobar.com");
        assert_eq!(checked(Version::HTTP_10, "GET", "/", &[]), Ok(None));
        let http2 = checked(Version::HTTP_2, "GET", "https://www.foobar.com/a", &[]);
        assert_eq!(http2.unwrap().unwrap(), "www.foobar.com");
    }

    #[test]
    fn hosts_that_are_none_are_refused() {
        for host in [
            "",
            "a b",
            "user@www.foobar.com",
            "www.foobar.com/..",
            "a:b:c",
            "a:99999",
            "a:",
            "a\"><script>",
            "a%00",
            "a,b",
            "evil.com#",
            "evil.com?x",
            "a\\b",
            "[::1",
            "a:-1",
        ] {
            assert_eq!(
                one_point_one("GET", "/", &[("host", host)]),
                Err(400),
                "{host}"
            );
        }
    }

    #[test]
    fn ambiguous_requests_are_refused() {
        for (method, target, fields, status) in [
            ("GET", "/", &[][..], 400),
            ("GET", "/", &[("host", "a"), ("host", "a")], 400),
            (
                "GET",
                "http://evil.com/",
                &[("host", "www.foobar.com")],
                400,
            ),
            ("GET", "/../etc/passwd", &[("host", "a")], 400),
            ("GET", "/%2e%2e/etc/passwd", &[("host", "a")], 400),
            ("OPTIONS", "*", &[("host", "a")], 400),
            ("TRACE", "/", &[("host", "a")], 405),
            ("CONNECT", "a:443", &[("host", "a:443")], 405),
            ("MADEUP", "/", &[("host", "a")], 501),
            (
                "POST",
                "/",
                &[("host", "a"), ("transfer-encoding", "gzip, chunked")],
                501,
            ),
            (
                "POST",
                "/",
                &[("host", "a"), ("transfer-encoding", "xchunked")],
                501,
            ),
            (
                "POST",
                "/",
                &[
                    ("host", "a"),
                    ("transfer-encoding", "chunked"),
                    ("transfer-encoding", "chunked"),
                ],
                501,
            ),
        ] {
            assert_eq!(
                one_point_one(method, target, fields),
                Err(status),
                "{method} {target}"
            );
        }
        let two = checked(Version::HTTP_2, "GET", "https://a/", &[("host", "b")]);
        assert_eq!(two, Err(400));
        assert_eq!(checked(Version::HTTP_2, "GET", "/", &[]), Err(400));
    }
}
