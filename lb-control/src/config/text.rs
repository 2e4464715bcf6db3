//! How names, addresses and checks are written.

use super::model::{Admin, BackendRef, Check, Name, Probe, Protocol, Vip};
use super::values;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::str::FromStr;

/// Text that is not what it should be: says what it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidText(pub(super) String);

/// The longest name.
const NAME_MAX: usize = 63;

impl FromStr for Name {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<Self, InvalidText> {
        let first_fits = text.starts_with(|first: char| first.is_ascii_alphanumeric());
        let all_fit = text
            .chars()
            .all(|each| each.is_ascii_alphanumeric() || matches!(each, '-' | '_' | '.'));
        if first_fits && all_fit && text.len() <= NAME_MAX {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidText(format!(
                "{text:?} is not a name: 1 to {NAME_MAX} letters, digits, '-', '_' or '.', the \
                 first of them a letter or digit"
            )))
        }
    }
}

impl FromStr for BackendRef {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<Self, InvalidText> {
        let (service, backend) = text.split_once('/').ok_or_else(|| {
            InvalidText(format!(
                "{text:?} is not a backend: write service/backend, as in www/web1"
            ))
        })?;
        Ok(Self {
            service: service.parse()?,
            backend: backend.parse()?,
        })
    }
}

impl FromStr for Admin {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<Self, InvalidText> {
        match text {
            "ready" => Ok(Self::Ready),
            "drain" => Ok(Self::Drain),
            _ => Err(InvalidText(format!(
                "{text:?} is not a state of a backend: ready or drain{}",
                values::did_you_mean(text, ["ready", "drain"])
            ))),
        }
    }
}

impl fmt::Display for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ready => "ready",
            Self::Drain => "drain",
        })
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.probe {
            Probe::None => return f.write_str("none"),
            Probe::Tcp => f.write_str("tcp")?,
            Probe::Http { path, expect, .. } => write!(f, "http {path} {expect}")?,
        }
        if let Some(port) = self.port {
            write!(f, " at port {port}")?;
        }
        write!(f, " every {}", humantime::format_duration(self.interval))
    }
}

impl FromStr for Vip {
    type Err = InvalidText;

    /// `192.0.2.10:80/tcp`, where `/tcp` may be left out.
    fn from_str(text: &str) -> Result<Self, InvalidText> {
        let (address, protocol) = match text.rsplit_once('/') {
            None => (text, Protocol::Tcp),
            Some((address, "tcp")) => (address, Protocol::Tcp),
            Some((address, "udp")) => (address, Protocol::Udp),
            Some((_, protocol)) => {
                return Err(InvalidText(format!(
                    "{text:?}: {protocol:?} is not a protocol of services: tcp or udp, as \
                     192.0.2.10:80/tcp"
                )));
            }
        };
        let address = values::address(
            address,
            "a virtual address",
            "192.0.2.10:80/tcp or [2001:db8::10]:80/tcp",
        );
        Ok(Self {
            address: address.map_err(InvalidText)?,
            protocol,
        })
    }
}

impl fmt::Display for Vip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.protocol)
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

macro_rules! serde_as_text {
    ($($type:ty),*) => {$(
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }
    )*};
}

serde_as_text!(Name, BackendRef, Admin);
