//! What the two hosts tell each other, apart from tables and flows: JSON, so that a release knows
//! what it does not know.

use super::version::Version;
use crate::config::{BackendRef, Config, Name, Overlay, Refusal};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;

/// The protocols that this release speaks. A release speaks that of the one before it, too.
pub const PROTOCOLS: [u32; 2] = [1, 1];

/// A message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Message {
    /// The first one, from both.
    Hello(Hello),
    /// How things are: when it changes, and every now and then.
    Status(Status),
    /// The configuration that is to be the other's, too.
    Config(Snapshot),
    /// The other has it, on disk.
    Taken {
        /// Which.
        version: Version,
    },
    /// The other will not have it.
    NotTaken {
        /// Which.
        version: Version,
        /// Why not.
        reason: String,
    },
    /// It was taken over, and this is what was dropped for it.
    Dropped {
        /// In words.
        what: Vec<String>,
    },
    /// A change that was asked for at the standby.
    Propose(Proposal),
    /// What came of it.
    Answer {
        /// Of which proposal.
        id: u64,
        /// The new revision.
        result: Result<u64, Refusal>,
    },
    /// All that was sent before is to be carried out, and then this is to be answered.
    Mark {
        /// Counts up.
        number: u64,
    },
    /// All that was sent before this mark is carried out.
    Reached {
        /// The mark.
        number: u64,
        /// What the tables are now.
        digest: String,
    },
    /// The standby is to lead from now on: the leader makes way for it.
    TakeOver,
    /// The leader is asked to hand over.
    Switch {
        /// Counts up.
        id: u64,
    },
    /// What came of it.
    Switched {
        /// Of which question.
        id: u64,
        /// Why it did not.
        result: Result<(), Refusal>,
    },
}

/// Who speaks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The host: part of its certificate's fingerprint.
    pub host: String,
    /// The release.
    pub release: String,
    /// The oldest and the newest protocol that it speaks.
    pub protocols: [u32; 2],
}

impl Hello {
    /// The protocol that is spoken with such a host, or why there is none.
    ///
    /// # Errors
    ///
    /// If one of the two is more than a release older.
    pub fn protocol(&self) -> Result<u32, String> {
        let [oldest, newest] = self.protocols;
        let common = newest.min(PROTOCOLS[1]);
        if oldest <= common && PROTOCOLS[0] <= common {
            Ok(common)
        } else {
            Err(format!(
                "the other host runs lbd {}, which is more than one release apart from {}: upgrade \
                 the older one",
                self.release,
                env!("CARGO_PKG_VERSION")
            ))
        }
    }
}

/// How things are on a host.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Whether it leads.
    pub leads: bool,
    /// Whether it would lead if the other did not.
    pub ready: bool,
    /// Its priority at the moment.
    pub priority: u8,
    /// Its priority as its file has it. 0: it is of the release before, and does not tell.
    #[serde(default)]
    pub configured: u8,
    /// Its configuration.
    pub version: Version,
    /// Backends that are up, in its own view, per service.
    pub up: BTreeMap<Name, u32>,
    /// Why it does not hold the leader's tables, if it was sent them and cannot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lacks: Option<String>,
}

/// A whole configuration.
///
/// What a later release adds to one is not written where it says what was so before: then the release
/// before it reads it, and comes to the same digest. What it does not know it refuses, and the
/// session goes on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Which one it is.
    pub version: Version,
    /// All services: as what is added to none.
    pub services: Overlay,
}

impl Snapshot {
    /// The services of a configuration.
    #[must_use]
    pub fn of(config: &Config, version: Version) -> Self {
        Self {
            version,
            services: Overlay::all_of(config),
        }
    }

    /// A digest of the services of a configuration.
    #[must_use]
    pub fn hash(config: &Config) -> String {
        // Plain structs with text keys: this does not fail.
        let text = serde_json::to_vec(&Overlay::all_of(config)).unwrap_or_default();
        let digest = Sha256::digest(text);
        let digest = digest.iter().take(8);
        digest.map(|byte| format!("{byte:02x}")).collect()
    }
}

/// A change that was asked for at the standby.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Proposal {
    /// Counts up.
    pub id: u64,
    /// What it changes: nothing else may have become of it meanwhile.
    pub from: Version,
    /// All services, with the change made.
    pub services: Overlay,
    /// Backends that leave by force.
    pub cut: Vec<BackendRef>,
    /// What it is, for people.
    pub what: String,
}
