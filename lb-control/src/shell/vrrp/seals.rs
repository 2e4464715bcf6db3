//! Whether what arrives must bear the seal of the other host, and whether it does.

use super::teller::Teller;
use crate::dataplane::boot_ns;
use crate::proto::vrrp::packet::{Ends, HOPS};
use crate::proto::vrrp::seal::{Key, Sealer, Verifier, strip};
use crate::proto::vrrp::{Refusal, Vrid};
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// When two hosts are paired, one knows of it before the other. As long as that may last, nothing
/// needs a seal yet.
const LENIENCY: Duration = Duration::from_secs(3);

/// The seals of a virtual router whose host sends heartbeats.
pub(super) struct Seals {
    sealer: Sealer,
    verifier: Verifier,
    demanded: Option<Instant>,
    /// Who sent last what the other host did not.
    forger: Option<IpAddr>,
}

impl Seals {
    /// By this key from now on; `demanded`: the other host has it, too. `before`: by which seals
    /// until now.
    pub(super) fn new(
        key: Key,
        demanded: bool,
        vrid: Vrid,
        before: Option<&Self>,
        now: Instant,
    ) -> Self {
        let leniency = before.map_or(Duration::ZERO, |_| LENIENCY);
        Self {
            sealer: Sealer::new(key.clone()),
            verifier: Verifier::new(key, vrid),
            demanded: demanded.then(|| now + leniency),
            forger: None,
        }
    }

    pub(super) fn seal(&mut self, advert: Vec<u8>, ends: Ends, teller: &Teller) -> Vec<u8> {
        self.sealer.seal(advert, ends, teller.session(), boot_ns())
    }

    /// The advertisement in what arrived.
    pub(super) fn open<'a>(
        &mut self,
        now: Instant,
        payload: &'a [u8],
        ends: Ends,
        hops: u8,
        teller: &Teller,
    ) -> Result<&'a [u8], Refusal> {
        if hops != HOPS {
            return Err(Refusal::Hops { hops });
        }
        if self.demanded.is_none_or(|since| now < since) {
            return Ok(strip(payload, ends));
        }
        let opened = self.verifier.open(payload, ends, &teller.proven());
        if let Err(Refusal::Forged | Refusal::Replayed) = opened {
            self.forger = Some(ends.source());
        }
        opened
    }

    /// Who sent what the other host did not since this was last asked.
    pub(super) const fn take_forger(&mut self) -> Option<IpAddr> {
        self.forger.take()
    }
}
