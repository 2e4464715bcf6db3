//! What the command lines of several roles have in common.

use std::net::SocketAddr;
use std::time::Duration;

/// A server's name, which can stand in a header and in a page without escaping.
pub(crate) fn server_name(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        Ok(text.to_owned())
    } else {
        Err("expected letters, digits, '-', '_' or '.'".to_owned())
    }
}

/// Metrics tell more than the public should know.
pub(crate) fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text.parse().map_err(|_| "expected ADDRESS:PORT")?;
    if address.ip().is_loopback() {
        Ok(address)
    } else {
        Err("expected a loopback address, as in 127.0.0.1:9602".to_owned())
    }
}

/// A host as clients ask for it, in lower case.
pub(crate) fn host(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let address = text.starts_with('[') && text.ends_with(']');
    if !text.is_empty() && (address || text.chars().all(plain)) {
        Ok(text.to_ascii_lowercase())
    } else {
        Err("expected a host alone, as in www.example.com".to_owned())
    }
}

/// A duration. A bare number is seconds.
pub(crate) fn duration(text: &str) -> Result<humantime::Duration, String> {
    match text.parse::<u64>() {
        Ok(seconds) => Ok(Duration::from_secs(seconds).into()),
        Err(_) => text
            .parse()
            .map_err(|error: humantime::DurationError| error.to_string()),
    }
}

/// Like [`duration`], and longer than nothing.
pub(crate) fn some_time(text: &str) -> Result<humantime::Duration, String> {
    let duration = duration(text)?;
    if duration.is_zero() {
        Err("expected more than nothing".to_owned())
    } else {
        Ok(duration)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_no_address_for_browsers() {
        assert_eq!(host("WWW.Example.com").unwrap(), "www.example.com");
        assert_eq!(host("[2001:db8::1]").unwrap(), "[2001:db8::1]");
        for wrong in [
            "",
            "https://www.example.com",
            "www.example.com:443",
            "a b",
            "*.a",
        ] {
            assert!(host(wrong).unwrap_err().contains("a host alone"), "{wrong}");
        }
    }

    #[test]
    fn a_bare_number_is_seconds() {
        assert_eq!(*duration("4").unwrap(), Duration::from_secs(4));
        assert_eq!(*duration("250ms").unwrap(), Duration::from_millis(250));
        assert!(duration("-4s").is_err());
        assert!(some_time("0s").is_err());
    }
}
