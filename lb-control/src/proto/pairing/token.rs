//! What the operator carries from one host to the other, in one line.
//!
//! `headgate1.`, then in base64url (RFC 4648, section 5) without padding: the number of addresses
//! in a byte; each address as its family (4 or 6), its bytes, and its port; the secret; the
//! certificate; and the first bytes of SHA-256 of all that.

use super::OneTimeSecret;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const PREFIX: &str = "headgate1.";
/// What all versions have in common.
const NAME: &str = "headgate";
const CHECKSUM_LEN: usize = 4;
const ADDRESSES_MAX: usize = 8;
/// A token is some 700 characters long.
const LEN_MAX: usize = 16 * 1024;

/// An invitation, as whoever is invited has it.
#[derive(Clone, Debug)]
pub struct Token {
    /// Where the inviting host can be reached, the first one first: one to eight.
    pub addresses: Vec<SocketAddr>,
    /// What to ask with.
    pub secret: OneTimeSecret,
    /// The inviting host's certificate, in DER.
    pub certificate: Vec<u8>,
}

/// The text is no token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It is something else.
    #[error("this is not a token of `lbctl pair init`, which begins with {PREFIX}")]
    Foreign,
    /// It is of another release.
    #[error(
        "this token is of another version ({found}; this is headgate1): run the same release on both hosts"
    )]
    Version {
        /// What it begins with.
        found: String,
    },
    /// Something is missing, or different.
    #[error(
        "this token is damaged or incomplete: copy all of the line that `lbctl pair init` printed"
    )]
    Damaged,
}

impl Token {
    /// The line.
    #[must_use]
    pub fn encode(&self) -> String {
        let addresses = self.addresses.get(..ADDRESSES_MAX);
        let addresses = addresses.unwrap_or(&self.addresses);
        let mut bytes = vec![addresses.len() as u8];
        for address in addresses {
            match address.ip() {
                IpAddr::V4(ip) => {
                    bytes.push(4);
                    bytes.extend(ip.octets());
                }
                IpAddr::V6(ip) => {
                    bytes.push(6);
                    bytes.extend(ip.octets());
                }
            }
            bytes.extend(address.port().to_be_bytes());
        }
        bytes.extend(self.secret.bytes());
        bytes.extend(&self.certificate);
        let sum = checksum(&bytes);
        bytes.extend(sum);
        PREFIX.to_owned() + &URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Reads the line. White space around it is left out.
    ///
    /// # Errors
    ///
    /// If it is not one that [`Self::encode`] wrote.
    pub fn decode(text: &str) -> Result<Self, TokenError> {
        let text = text.trim();
        let Some(encoded) = text.strip_prefix(PREFIX) else {
            return Err(match text.split_once('.') {
                Some((found, _)) if is_version(found) => TokenError::Version {
                    found: found.to_owned(),
                },
                _ => TokenError::Foreign,
            });
        };
        if encoded.len() > LEN_MAX {
            return Err(TokenError::Damaged);
        }
        let bytes = URL_SAFE_NO_PAD.decode(encoded);
        let bytes = bytes.map_err(|_| TokenError::Damaged)?;
        parse(&bytes).ok_or(TokenError::Damaged)
    }
}

fn is_version(text: &str) -> bool {
    let digits = text.strip_prefix(NAME).unwrap_or_default();
    (1..=4).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
}

fn checksum(bytes: &[u8]) -> impl Iterator<Item = u8> + use<> {
    Sha256::digest(bytes).into_iter().take(CHECKSUM_LEN)
}

fn parse(bytes: &[u8]) -> Option<Token> {
    let (bytes, sum) = bytes.split_at_checked(bytes.len().checked_sub(CHECKSUM_LEN)?)?;
    if !checksum(bytes).eq(sum.iter().copied()) {
        return None;
    }
    let (count, mut rest) = bytes.split_first()?;
    let count = usize::from(*count);
    if !(1..=ADDRESSES_MAX).contains(&count) {
        return None;
    }
    let mut addresses = Vec::with_capacity(count);
    for _ in 0..count {
        let (family, after) = rest.split_first()?;
        let (ip, after) = match family {
            4 => {
                let (octets, after) = after.split_first_chunk::<4>()?;
                (IpAddr::V4(Ipv4Addr::from(*octets)), after)
            }
            6 => {
                let (octets, after) = after.split_first_chunk::<16>()?;
                (IpAddr::V6(Ipv6Addr::from(*octets)), after)
            }
            _ => return None,
        };
        let (port, after) = after.split_first_chunk::<2>()?;
        addresses.push(SocketAddr::new(ip, u16::from_be_bytes(*port)));
        rest = after;
    }
    let (secret, certificate) = rest.split_first_chunk()?;
    Some(Token {
        addresses,
        secret: OneTimeSecret::new(*secret),
        certificate: certificate.to_vec(),
    })
}
