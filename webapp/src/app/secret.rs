//! Random 256-bit secrets, and what is derived from them.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

/// A secret that only its holder knows: a session's, a visitor's, or the one that the app
/// servers share.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret([u8; 32]);

/// What a code made with a secret is for, so that a code for one purpose serves no other.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Purpose {
    /// The hidden field of forms.
    Form,
    /// The cookie that says what a browser has written.
    Written,
}

impl Secret {
    pub(crate) fn random() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes)?;
        Ok(Self(bytes))
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Some(Self(bytes.try_into().ok()?))
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::from_bytes(&URL_SAFE_NO_PAD.decode(text).ok()?)
    }

    /// The secret itself, for its holder alone.
    pub(crate) fn reveal(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    /// What the database keeps: it finds a secret, and gives none away.
    pub(crate) fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.0).into()
    }

    /// A code over a message that only a holder of the secret can make.
    pub(crate) fn code(&self, purpose: Purpose, message: &[u8]) -> String {
        let code = self.mac(purpose, message).finalize();
        URL_SAFE_NO_PAD.encode(code.into_bytes())
    }

    /// Whether a code was made with this secret over this message; takes the same time for any
    /// wrong one.
    pub(crate) fn made(&self, code: &str, purpose: Purpose, message: &[u8]) -> bool {
        match URL_SAFE_NO_PAD.decode(code) {
            Ok(code) => self.mac(purpose, message).verify_slice(&code).is_ok(),
            Err(_) => false,
        }
    }

    fn mac(&self, purpose: Purpose, message: &[u8]) -> Hmac<Sha256> {
        let label: &[u8] = match purpose {
            Purpose::Form => b"form\0",
            Purpose::Written => b"written\0",
        };
        // Padded to a block, which is what the hash would make of a shorter key.
        let mut block = [0; 64];
        block[..self.0.len()].copy_from_slice(&self.0);
        Hmac::<Sha256>::new(&block.into())
            .chain_update(label)
            .chain_update(message)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_survives_its_text_and_nothing_else_does() {
        let secret = Secret::random().unwrap();
        let text = secret.reveal();
        assert_eq!(text.len(), 43);
        assert_eq!(Secret::parse(&text), Some(secret));
        for bad in ["", "abc", "*", &text[1..], &format!("{text}A")] {
            assert_eq!(Secret::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn secrets_differ_and_are_not_printed() {
        let (one, two) = (Secret::random().unwrap(), Secret::random().unwrap());
        assert_ne!(one, two);
        assert!(!format!("{one:?}").contains(&one.reveal()));
        assert_ne!(one.hash(), one.0);
    }

    #[test]
    fn a_code_holds_for_its_secret_purpose_and_message_only() {
        let secret = Secret::from_bytes(&[7; 32]).unwrap();
        let other = Secret::from_bytes(&[8; 32]).unwrap();
        let code = secret.code(Purpose::Form, b"message");
        assert!(secret.made(&code, Purpose::Form, b"message"));
        assert!(!secret.made(&code, Purpose::Written, b"message"));
        assert!(!secret.made(&code, Purpose::Form, b"messagf"));
        assert!(!other.made(&code, Purpose::Form, b"message"));
        assert!(!secret.made("", Purpose::Form, b"message"));
        assert!(!secret.made(&code[..42], Purpose::Form, b"message"));
    }
}
