//! Until when a certificate is valid.

use std::time::SystemTime;

/// The tags of DER (X.690) on the way to it.
const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;

/// The `notAfter` of a certificate (RFC 5280, section 4.1), if it can be read. This is for people;
/// whether a certificate is valid is for TLS to judge.
#[must_use]
pub fn expiry(certificate: &[u8]) -> Option<SystemTime> {
    let (certificate, _) = element(certificate, SEQUENCE)?;
    let (mut to_be_signed, _) = element(certificate, SEQUENCE)?;
    if let Some((_, rest)) = element(to_be_signed, VERSION) {
        to_be_signed = rest;
    }
    let (_serial, rest) = element(to_be_signed, INTEGER)?;
    let (_algorithm, rest) = element(rest, SEQUENCE)?;
    let (_issuer, rest) = element(rest, SEQUENCE)?;
    let (validity, _) = element(rest, SEQUENCE)?;
    let (_not_before, rest) = time(validity)?;
    let (not_after, _) = time(rest)?;
    Some(not_after)
}

/// What an element with this tag holds, and what follows it.
fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, rest) = bytes.split_first()?;
    let (first, rest) = rest.split_first()?;
    if *found != tag {
        return None;
    }
    let (length, rest) = match first {
        0..=0x7f => (usize::from(*first), rest),
        0x81 | 0x82 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            let length = digits
                .iter()
                .fold(0, |sum, byte| sum << 8 | usize::from(*byte));
            (length, rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

/// Both forms end with month, day, hour, minute and second.
fn time(bytes: &[u8]) -> Option<(SystemTime, &[u8])> {
    let (digits, rest, year_len) = if let Some((digits, rest)) = element(bytes, UTC_TIME) {
        (digits, rest, 2)
    } else {
        let (digits, rest) = element(bytes, GENERALIZED_TIME)?;
        (digits, rest, 4)
    };
    let digits = std::str::from_utf8(digits).ok()?.strip_suffix('Z')?;
    let (year, others) = digits.split_at_checked(year_len)?;
    // RFC 5280, section 4.1.2.5.1: two digits are those of 1950 to 2049.
    let century = match year {
        year if year.len() == 4 => "",
        year if year < "50" => "20",
        _ => "19",
    };
    let mut parts = Vec::new();
    for start in (0..10).step_by(2) {
        parts.push(others.get(start..start + 2)?);
    }
    let [month, day, hour, minute, second] = parts.try_into().ok()?;
    let text = format!("{century}{year}-{month}-{day}T{hour}:{minute}:{second}Z");
    Some((humantime::parse_rfc3339(&text).ok()?, rest))
}
