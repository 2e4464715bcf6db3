//! Where a request that changes something comes from, by the browser's word.

use hyper::HeaderMap;
use hyper::header::{HOST, ORIGIN};

/// A page of another site sent the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Foreign;

/// Refuses what another site's page sends.
///
/// Browsers send Origin with each POST, and `null` from a page that hides where it is: both must
/// be this site. A client without either header is no browser, has no one's cookies to misuse,
/// and is held to the form's code alone.
pub(crate) fn check(headers: &HeaderMap) -> Result<(), Foreign> {
    let text = |name: &str| Some(headers.get(name)?.to_str().unwrap_or("\u{fffd}"));
    if let Some(site) = text("sec-fetch-site")
        && !matches!(site, "same-origin" | "none")
    {
        return Err(Foreign);
    }
    let Some(origin) = text(ORIGIN.as_str()) else {
        return Ok(());
    };
    // The web tier tells what the client asked for; it takes these headers from nobody.
    let host = text("x-forwarded-host").or_else(|| text(HOST.as_str()));
    let scheme = text("x-forwarded-proto").unwrap_or("https");
    match (host, origin.split_once("://")) {
        (Some(host), Some((from, at)))
            if from.eq_ignore_ascii_case(scheme) && same_host(scheme, host, at) =>
        {
            Ok(())
        }
        _ => Err(Foreign),
    }
}

/// Whether two `host[:port]` are one, when a port that the scheme implies may be left out.
fn same_host(scheme: &str, one: &str, other: &str) -> bool {
    let implied = if scheme == "http" { ":80" } else { ":443" };
    let bare = |host: &str| {
        let host = host.to_ascii_lowercase();
        host.strip_suffix(implied)
            .map(str::to_owned)
            .unwrap_or(host)
    };
    !one.is_empty() && bare(one) == bare(other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::{HeaderName, HeaderValue};

    fn checked(pairs: &[(&'static str, &'static str)]) -> Result<(), Foreign> {
        let pairs = pairs.iter().map(|(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        });
        check(&pairs.collect())
    }

    #[test]
    fn this_site_may_send() {
        for origin in [
            "https://www.foobar.com",
            "https://WWW.foobar.com",
            "https://www.foobar.com:443",
        ] {
            let host = ("x-forwarded-host", "www.foobar.com");
            assert_eq!(checked(&[host, ("origin", origin)]), Ok(()), "{origin}");
        }
        assert_eq!(
            checked(&[
                ("x-forwarded-host", "10.0.0.1:8443"),
                ("x-forwarded-proto", "https"),
                ("host", "app1:9443"),
                ("origin", "https://10.0.0.1:8443"),
                ("sec-fetch-site", "same-origin"),
            ]),
            Ok(())
        );
        assert_eq!(
            checked(&[("host", "[::1]:9443"), ("origin", "https://[::1]:9443")]),
            Ok(())
        );
    }

    #[test]
    fn another_site_may_not() {
        let host = ("x-forwarded-host", "www.foobar.com");
        for origin in [
            "null",
            "",
            "https://evil.example",
            "http://www.foobar.com",
            "https://www.foobar.com:8443",
            "https://www.foobar.com.evil.example",
            "https://foobar.com",
            "https://evil.example/https://www.foobar.com",
            "www.foobar.com",
        ] {
            assert_eq!(
                checked(&[host, ("origin", origin)]),
                Err(Foreign),
                "{origin}"
            );
        }
        // What the app server is called inside is nobody's origin.
        let inside = [host, ("host", "app1:9443"), ("origin", "https://app1:9443")];
        assert_eq!(checked(&inside), Err(Foreign));
        for site in ["cross-site", "same-site", ""] {
            assert_eq!(checked(&[host, ("sec-fetch-site", site)]), Err(Foreign));
        }
        assert_eq!(checked(&[("origin", "https://x")]), Err(Foreign));
    }

    #[test]
    fn what_is_no_browser_may_send_neither_header() {
        assert_eq!(checked(&[("host", "www.foobar.com")]), Ok(()));
        let address_bar = [("host", "www.foobar.com"), ("sec-fetch-site", "none")];
        assert_eq!(checked(&address_bar), Ok(()));
    }
}
