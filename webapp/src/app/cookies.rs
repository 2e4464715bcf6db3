//! Cookies, all of them `__Host-`: bound to this host, to TLS and to every path, so that no
//! neighbouring host can plant one (RFC 6265bis, section 4.1.3.2).

use std::time::Duration;

use hyper::HeaderMap;
use hyper::header::{COOKIE, HeaderValue};

/// Which cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cookie {
    /// Who is signed in.
    Session,
    /// A browser that is not signed in, so that its forms have a secret too.
    Visitor,
    /// What this browser has written: reads wait for it.
    Written,
    /// What to say on the next page, once.
    Notice,
}

impl Cookie {
    fn name(self) -> &'static str {
        match self {
            Cookie::Session => "__Host-session",
            Cookie::Visitor => "__Host-visitor",
            Cookie::Written => "__Host-written",
            Cookie::Notice => "__Host-notice",
        }
    }

    /// The value that a request carries. The first one counts, as browsers send the most
    /// specific first; HTTP/2 may split the header (RFC 9113, section 8.2.3).
    pub(crate) fn get(self, headers: &HeaderMap) -> Option<&str> {
        let lines = headers.get_all(COOKIE).iter();
        lines
            .filter_map(|line| line.to_str().ok())
            .flat_map(|line| line.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .find(|(name, _)| *name == self.name())
            .map(|(_, value)| value)
    }

    /// A Set-Cookie value. `None` when the value could end the cookie and begin something else.
    pub(crate) fn set(self, value: &str, life: Duration) -> Option<HeaderValue> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if !value.bytes().all(plain) {
            return None;
        }
        let line = format!(
            "{}={value}; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age={}",
            self.name(),
            life.as_secs()
        );
        HeaderValue::from_str(&line).ok()
    }

    /// A Set-Cookie value that takes the cookie away.
    pub(crate) fn clear(self) -> Option<HeaderValue> {
        self.set("", Duration::ZERO)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(COOKIE, HeaderValue::from_static(line));
        }
        headers
    }

    #[test]
    fn a_cookie_is_found_by_its_whole_name() {
        let sent = headers(&[
            "a=1; __Host-session=abc;__Host-notice=n",
            "__Host-written=w",
        ]);
        assert_eq!(Cookie::Session.get(&sent), Some("abc"));
        assert_eq!(Cookie::Notice.get(&sent), Some("n"));
        assert_eq!(Cookie::Written.get(&sent), Some("w"));
        assert_eq!(Cookie::Visitor.get(&sent), None);
        let near = headers(&["session=1; __host-session=2; x__Host-session=3; __Host-session"]);
        assert_eq!(Cookie::Session.get(&near), None);
    }

    #[test]
    fn the_first_of_two_counts() {
        let sent = headers(&["__Host-session=one; __Host-session=two"]);
        assert_eq!(Cookie::Session.get(&sent), Some("one"));
    }

    #[test]
    fn nothing_readable_is_nothing() {
        let mut sent = HeaderMap::new();
        sent.insert(
            COOKIE,
            HeaderValue::from_bytes(b"__Host-session=\xff").unwrap(),
        );
        assert_eq!(Cookie::Session.get(&sent), None);
    }

    #[test]
    fn what_is_set_is_guarded_and_ends() {
        let line = Cookie::Session.set("abc", Duration::from_secs(60)).unwrap();
        assert_eq!(
            line,
            "__Host-session=abc; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=60"
        );
        assert!(
            Cookie::Session
                .clear()
                .unwrap()
                .to_str()
                .unwrap()
                .ends_with("Max-Age=0")
        );
        for bad in ["a;b", "a b", "a\r\nb", "a,b", "\u{e9}", "a=b"] {
            assert_eq!(Cookie::Session.set(bad, Duration::ZERO), None, "{bad:?}");
        }
    }
}
