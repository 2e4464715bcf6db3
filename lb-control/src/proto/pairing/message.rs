//! What is asked, and answered: JSON, so that one release of difference does no harm.

use super::{OneTimeSecret, PairSecret};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

/// May I join?
#[derive(Clone, Debug)]
pub struct Request {
    /// From the token.
    pub secret: OneTimeSecret,
    /// The joining host's certificate, in DER.
    pub certificate: Vec<u8>,
    /// The version of its lbd, to be shown.
    pub version: String,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// This is the pair's secret.
    Welcome(PairSecret),
    /// No, and why.
    Refused(String),
}

/// What came is no such message.
#[derive(Debug, thiserror::Error)]
#[error("it does not speak the protocol of this release: {0}")]
pub struct MessageError(String);

#[derive(Serialize, Deserialize)]
struct RawRequest {
    secret: String,
    certificate: String,
    #[serde(default)]
    version: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RawAnswer {
    Secret(String),
    Refused(String),
}

impl Request {
    /// As it is sent.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        json(&RawRequest {
            secret: URL_SAFE_NO_PAD.encode(self.secret.bytes()),
            certificate: URL_SAFE_NO_PAD.encode(&self.certificate),
            version: self.version.clone(),
        })
    }

    /// Reads it.
    ///
    /// # Errors
    ///
    /// If it is something else.
    pub fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        let raw: RawRequest = parse(bytes)?;
        Ok(Self {
            secret: OneTimeSecret::new(binary("secret", &raw.secret)?),
            certificate: URL_SAFE_NO_PAD
                .decode(&raw.certificate)
                .map_err(|error| MessageError(format!("certificate: {error}")))?,
            version: raw.version,
        })
    }
}

impl Answer {
    /// As it is sent.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        json(&match self {
            Self::Welcome(PairSecret(secret)) => {
                let bytes: [u8; 16] = bytemuck::cast(*secret);
                RawAnswer::Secret(URL_SAFE_NO_PAD.encode(bytes))
            }
            Self::Refused(reason) => RawAnswer::Refused(reason.clone()),
        })
    }

    /// Reads it.
    ///
    /// # Errors
    ///
    /// If it is something else.
    pub fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        Ok(match parse(bytes)? {
            RawAnswer::Secret(text) => {
                let bytes: [u8; 16] = binary("secret", &text)?;
                Self::Welcome(PairSecret(bytemuck::cast(bytes)))
            }
            RawAnswer::Refused(reason) => Self::Refused(reason),
        })
    }
}

fn json<T: Serialize>(value: &T) -> Vec<u8> {
    // Plain structs with text keys: this does not fail.
    serde_json::to_vec(value).unwrap_or_default()
}

fn parse<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, MessageError> {
    serde_json::from_slice(bytes).map_err(|error| MessageError(error.to_string()))
}

fn binary<const LEN: usize>(what: &str, text: &str) -> Result<[u8; LEN], MessageError> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok();
    let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or_else(|| MessageError(format!("{what} is not {LEN} bytes in base64url")))
}
