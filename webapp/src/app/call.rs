//! A request as the rest of the program sees it: read whole, and asked only what it can answer.

use std::net::{IpAddr, Ipv6Addr};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use hyper::http::request::Parts;

use super::cookies::Cookie;
use super::form::Form;
use super::refusal::Refusal;
use super::secret::{Purpose, Secret};
use super::store::{Moment, session};
use super::{origin, routes};

/// The hidden field that shows that a form is one of ours, for this browser.
pub(crate) const FORM_CODE: &str = "code";

/// The hidden field that tells one form from another.
pub(crate) const FORM_KEY: &str = "key";

/// Longer keys are nobody's.
const LONGEST_KEY: usize = 128;

/// A request.
pub(crate) struct Call<'r> {
    pub(crate) parts: &'r Parts,
    pub(crate) body: Bytes,
    /// Whose request it is, as the web tier says.
    pub(crate) address: IpAddr,
    pub(crate) now: Moment,
    /// The session it claims: of the cookie on pages, of the bearer token in the API. The API
    /// takes no cookies, so no other site's page can misuse them there.
    pub(crate) session: Option<Secret>,
    /// The browser, when nobody is signed in.
    pub(crate) visitor: Option<Secret>,
}

impl<'r> Call<'r> {
    pub(crate) fn new(parts: &'r Parts, body: Bytes, peer: IpAddr, now: Moment) -> Self {
        let headers = &parts.headers;
        let cookie = |cookie: Cookie| Secret::parse(cookie.get(headers)?);
        let session = if routes::is_api(parts.uri.path()) {
            bearer(headers)
        } else {
            cookie(Cookie::Session)
        };
        Self {
            parts,
            body,
            address: client(headers).unwrap_or(peer).to_canonical(),
            now,
            session,
            visitor: cookie(Cookie::Visitor),
        }
    }

    /// A header's text; empty when there is none, or none that is text.
    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self.parts.headers.get(name);
        value
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    pub(crate) fn query(&self) -> Result<Form, Refusal> {
        let query = self.parts.uri.query().unwrap_or_default();
        Form::parse(query.as_bytes()).map_err(|_| Refusal::Malformed("The address is broken."))
    }

    /// The fields of a form that may be one of ours: see [`Call::admit`].
    pub(crate) fn form(&self) -> Result<Form, Refusal> {
        let kind = self.header(CONTENT_TYPE.as_str());
        let kind = kind.split(';').next().unwrap_or_default().trim();
        if !kind.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            return Err(Refusal::MediaType);
        }
        Form::parse(&self.body).map_err(|_| Refusal::Malformed("The form is broken."))
    }

    /// Refuses a form that another site's page sent, or that was made for someone else.
    pub(crate) fn admit(&self, form: &Form) -> Result<(), Refusal> {
        origin::check(&self.parts.headers).map_err(|_| Refusal::Foreign)?;
        // A form of before signing in is this browser's, too.
        let mut holders = [&self.session, &self.visitor].into_iter().flatten();
        if holders.any(|holder| holder.made(form.get(FORM_CODE), Purpose::Form, b"")) {
            Ok(())
        } else {
            Err(Refusal::Stale)
        }
    }

    /// The secret that this browser's forms are made with.
    pub(crate) fn holder(&self) -> Option<&Secret> {
        self.session.as_ref().or(self.visitor.as_ref())
    }

    /// Where a session that this request begins was begun.
    pub(crate) fn origin(&self) -> session::From {
        let agent = self.header(USER_AGENT.as_str());
        session::From {
            address: self.address,
            agent: agent.to_owned(),
        }
    }

    /// Whose attempts are counted together, and the length of its prefix: one customer's network is
    /// one in IPv6.
    pub(crate) fn network(&self) -> (IpAddr, u8) {
        match self.address {
            IpAddr::V4(_) => (self.address, 32),
            IpAddr::V6(address) => (prefix(address, 64), 64),
        }
    }

    /// What one customer at most has of IPv6 (RFC 6177).
    pub(crate) fn wide_network(&self) -> Option<(IpAddr, u8)> {
        match self.address {
            IpAddr::V4(_) => None,
            IpAddr::V6(address) => Some((prefix(address, 48), 48)),
        }
    }
}

fn prefix(address: Ipv6Addr, length: u32) -> IpAddr {
    let host = u128::MAX.checked_shr(length).unwrap_or(0);
    Ipv6Addr::from_bits(address.to_bits() & !host).into()
}

/// A key that tells this act from others: the one that was sent, or a fresh one.
pub(crate) fn key(sent: &str) -> Result<String, Refusal> {
    if sent.len() > LONGEST_KEY {
        return Err(Refusal::Malformed("The key is too long."));
    }
    if !sent.is_empty() {
        return Ok(sent.to_owned());
    }
    fresh_key()
}

/// A key that no other form has.
pub(crate) fn fresh_key() -> Result<String, Refusal> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// The client, as the web server that passed the request on saw it: the last in the list. What is
/// before it is the client's own claim.
fn client(headers: &HeaderMap) -> Option<IpAddr> {
    let mut lines = headers.get_all("x-forwarded-for").iter();
    let last = lines.next_back()?.to_str().ok()?;
    let address = last.rsplit(',').next()?.trim();
    let address = address.strip_prefix('[').unwrap_or(address);
    address.strip_suffix(']').unwrap_or(address).parse().ok()
}

/// The token of `Authorization: Bearer` (RFC 6750).
fn bearer(headers: &HeaderMap) -> Option<Secret> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    let ours = scheme.eq_ignore_ascii_case("bearer");
    ours.then(|| Secret::parse(token.trim())).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::Request;

    const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 2, 11));

    fn parts(uri: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::post(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn call<'r>(parts: &'r Parts, body: &str) -> Call<'r> {
        Call::new(
            parts,
            Bytes::copy_from_slice(body.as_bytes()),
            PEER,
            Moment(0),
        )
    }

    #[test]
    fn the_client_is_whom_the_web_tier_saw() {
        let address = |value: &str| {
            let parts = parts("/", &[("x-forwarded-for", value)]);
            call(&parts, "").address.to_string()
        };
        assert_eq!(address("192.0.2.7"), "192.0.2.7");
        assert_eq!(address("127.0.0.1, 192.0.2.7"), "192.0.2.7");
        assert_eq!(address("[2001:db8::1]"), "2001:db8::1");
        assert_eq!(address("::ffff:192.0.2.7"), "192.0.2.7");
        for nonsense in ["", "unknown", "192.0.2.7:80", "'; --"] {
            assert_eq!(address(nonsense), "10.0.2.11");
        }
    }

    #[test]
    fn attempts_of_one_network_are_counted_together() {
        let network = |value: &str| {
            let parts = parts("/", &[("x-forwarded-for", value)]);
            call(&parts, "").network()
        };
        assert_ne!(network("192.0.2.7"), network("192.0.2.8"));
        assert_eq!(network("2001:db8:1:2::1"), network("2001:db8:1:2:ffff::9"));
        assert_ne!(network("2001:db8:1:2::1"), network("2001:db8:1:3::1"));
        let wide = |value: &str| {
            let parts = parts("/", &[("x-forwarded-for", value)]);
            call(&parts, "").wide_network()
        };
        assert_eq!(wide("2001:db8:1:2::1"), wide("2001:db8:1:3::1"));
        assert_ne!(wide("2001:db8:1:2::1"), wide("2001:db8:2:2::1"));
        assert_eq!(wide("192.0.2.7"), None);
    }

    #[test]
    fn pages_take_the_cookie_and_the_api_the_bearer_token() {
        let (one, two) = (Secret::random().unwrap(), Secret::random().unwrap());
        let cookie = format!("__Host-session={}", one.reveal());
        let bearer = format!("Bearer {}", two.reveal());
        let headers = [("cookie", &*cookie), ("authorization", &*bearer)];
        assert_eq!(call(&parts("/posts", &headers), "").session, Some(one));
        assert_eq!(call(&parts("/api/posts", &headers), "").session, Some(two));
        let cookie_alone = [("cookie", &*cookie)];
        assert_eq!(call(&parts("/api/posts", &cookie_alone), "").session, None);
    }

    #[test]
    fn a_form_is_admitted_with_the_code_of_its_browser() {
        let visitor = Secret::random().unwrap();
        let cookie = format!("__Host-visitor={}", visitor.reveal());
        let kind = (
            "content-type",
            "application/x-www-form-urlencoded; charset=utf-8",
        );
        let host = ("x-forwarded-host", "www.foobar.com");
        let ours = ("origin", "https://www.foobar.com");
        let code = visitor.code(Purpose::Form, b"");
        let admitted = |headers: &[(&str, &str)], code: &str| {
            let parts = parts("/login", headers);
            let call = call(&parts, &format!("code={code}&name=a"));
            call.form().and_then(|form| call.admit(&form))
        };
        let good = [kind, host, ours, ("cookie", &*cookie)];
        assert!(admitted(&good, &code).is_ok());
        assert!(matches!(admitted(&good, ""), Err(Refusal::Stale)));
        assert!(matches!(
            admitted(&[kind, host, ours], &code),
            Err(Refusal::Stale)
        ));
        let foreign = ("origin", "https://evil.example");
        let forged = [kind, host, foreign, ("cookie", &*cookie)];
        assert!(matches!(admitted(&forged, &code), Err(Refusal::Foreign)));
        let plain = [
            ("content-type", "text/plain"),
            host,
            ours,
            ("cookie", &*cookie),
        ];
        assert!(matches!(admitted(&plain, &code), Err(Refusal::MediaType)));
        // Signed in meanwhile.
        let session = Secret::random().unwrap();
        let session = format!("__Host-session={}", session.reveal());
        let both = format!("{session}; {cookie}");
        assert!(admitted(&[kind, host, ours, ("cookie", &*both)], &code).is_ok());
        let other = [kind, host, ours, ("cookie", &*session)];
        assert!(matches!(admitted(&other, &code), Err(Refusal::Stale)));
    }

    #[test]
    fn keys_are_kept_or_made() {
        assert_eq!(key("abc").unwrap(), "abc");
        assert_ne!(key("").unwrap(), key("").unwrap());
        assert!(key(&"k".repeat(129)).is_err());
    }
}
