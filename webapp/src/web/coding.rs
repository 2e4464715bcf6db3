//! Which coding of a representation a client gets (RFC 9110, section 12.5.3).

use hyper::HeaderMap;
use hyper::header::{ACCEPT_ENCODING, HeaderValue};

/// A content coding.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Coding {
    Brotli,
    Zstd,
    Gzip,
    Identity,
}

impl Coding {
    /// All that content may be in beside [`Coding::Identity`].
    pub(super) const COMPRESSED: [Self; 3] = [Self::Brotli, Self::Zstd, Self::Gzip];

    /// The coding's name in `Content-Encoding`; the identity has none there.
    pub(super) fn name(self) -> Option<HeaderValue> {
        let name = match self {
            Self::Brotli => "br",
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
            Self::Identity => return None,
        };
        Some(HeaderValue::from_static(name))
    }

    /// What sets this coding's entity tag apart from those of the others.
    pub(super) fn suffix(self) -> &'static str {
        match self {
            Self::Brotli => "-br",
            Self::Zstd => "-zstd",
            Self::Gzip => "-gzip",
            Self::Identity => "",
        }
    }
}

/// How much a client likes each coding, in thousandths. 0 is not at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Liked {
    brotli: u16,
    zstd: u16,
    gzip: u16,
    identity: u16,
}

impl Liked {
    /// Reads `Accept-Encoding`. Without it, a client gets the identity.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let (mut brotli, mut zstd, mut gzip) = (None, None, None);
        let (mut identity, mut others) = (None, None);
        let fields = headers.get_all(ACCEPT_ENCODING).iter();
        let elements = fields.filter_map(|field| field.to_str().ok());
        for element in elements.flat_map(|field| field.split(',')) {
            let (name, weight) = element.split_once(';').unwrap_or((element, ""));
            let Some(weight) = thousandths(weight) else {
                continue;
            };
            let name = name.trim();
            let is = |known| name.eq_ignore_ascii_case(known);
            let coding = match name {
                _ if is("br") => &mut brotli,
                _ if is("zstd") => &mut zstd,
                _ if is("gzip") || is("x-gzip") => &mut gzip,
                _ if is("identity") => &mut identity,
                "*" => &mut others,
                _ => continue,
            };
            *coding = Some(weight);
        }
        Self {
            brotli: brotli.or(others).unwrap_or(0),
            zstd: zstd.or(others).unwrap_or(0),
            gzip: gzip.or(others).unwrap_or(0),
            // Acceptable unless it is refused, and liked least.
            identity: identity
                .or(others.filter(|&others| others == 0))
                .unwrap_or(1),
        }
    }

    /// How much the client likes this one.
    pub(super) fn weight(self, coding: Coding) -> u16 {
        match coding {
            Coding::Brotli => self.brotli,
            Coding::Zstd => self.zstd,
            Coding::Gzip => self.gzip,
            Coding::Identity => self.identity,
        }
    }
}

/// A weight in thousandths: `q=0.8`, or nothing for 1 (section 12.4.2).
fn thousandths(parameter: &str) -> Option<u16> {
    let parameter = parameter.trim();
    if parameter.is_empty() {
        return Some(1000);
    }
    let (name, value) = parameter.split_once('=')?;
    if !name.trim_end().eq_ignore_ascii_case("q") {
        return None;
    }
    let (whole, fraction) = value.split_once('.').unwrap_or((value, ""));
    if fraction.len() > 3 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let fraction = format!("{fraction:0<3}").parse::<u16>().ok()?;
    match whole {
        "0" => Some(fraction),
        "1" if fraction == 0 => Some(1000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Coding::{Brotli, Gzip, Identity, Zstd};

    fn liked(fields: &[&'static str]) -> Liked {
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(ACCEPT_ENCODING, HeaderValue::from_static(field));
        }
        Liked::of(&headers)
    }

    fn order(fields: &[&'static str]) -> Vec<Coding> {
        let liked = liked(fields);
        let mut order = vec![Brotli, Zstd, Gzip, Identity];
        order.retain(|&coding| liked.weight(coding) > 0);
        order.sort_by_key(|&coding| std::cmp::Reverse(liked.weight(coding)));
        order
    }

    #[test]
    fn what_clients_send_is_understood() {
        for (fields, expected) in [
            (&[][..], vec![Identity]),
            (&[""], vec![Identity]),
            (
                &["gzip, deflate, br, zstd"],
                vec![Brotli, Zstd, Gzip, Identity],
            ),
            (&["gzip", "br"], vec![Brotli, Gzip, Identity]),
            (&["GZip;Q=1.0, br ; q=0.5"], vec![Gzip, Brotli, Identity]),
            (&["gzip;q=0, br;q=0.001"], vec![Brotli, Identity]),
            (&["identity;q=1, *;q=0"], vec![Identity]),
            (&["*"], vec![Brotli, Zstd, Gzip, Identity]),
            (&["br;q=1, identity;q=0"], vec![Brotli]),
            (&["*;q=0"], vec![]),
            (&["br;q=2, gzip;q=nonsense, zstd;level=3"], vec![Identity]),
            (
                &["br;q=0.1234, gzip;q=1.5, x-gzip;q=0.7"],
                vec![Gzip, Identity],
            ),
            (&["brotli, gzipped"], vec![Identity]),
        ] {
            assert_eq!(order(fields), expected, "{fields:?}");
        }
    }
}
