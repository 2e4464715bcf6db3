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

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    const ENDS: Ends = Ends::V4 {
        source: Ipv4Addr::new(192, 0, 2, 1),
        destination: Ipv4Addr::new(192, 0, 2, 2),
    };
    const ADVERT: [u8; 12] = [0x31, 51, 100, 1, 0, 10, 0, 0, 192, 0, 2, 100];

    fn seals(secret: &[u8], demanded: bool, before: Option<&Seals>, now: Instant) -> Seals {
        let vrid = Vrid::new(51).unwrap();
        Seals::new(Key::from_secret(secret), demanded, vrid, before, now)
    }

    #[test]
    fn seals_are_asked_for_between_a_pair_and_not_before_both_know_that_they_are_one() {
        let (now, teller) = (Instant::now(), Teller::new().unwrap());
        let opened = |seals: &mut Seals, now, payload: &[u8], hops| {
            let opened = seals.open(now, payload, ENDS, hops, &teller);
            opened.map(<[u8]>::to_vec)
        };
        let sealed = seals(b"ours", true, None, now).seal(ADVERT.to_vec(), ENDS, &teller);

        let mut alone = seals(b"ours", false, None, now);
        assert_eq!(opened(&mut alone, now, &ADVERT, HOPS), Ok(ADVERT.to_vec()));
        assert_eq!(opened(&mut alone, now, &sealed, HOPS), Ok(ADVERT.to_vec()));

        let mut paired = seals(b"ours", true, Some(&alone), now);
        assert_eq!(opened(&mut paired, now, &ADVERT, HOPS), Ok(ADVERT.to_vec()));
        let later = now + LENIENCY;
        assert_eq!(
            opened(&mut paired, later, &ADVERT, HOPS),
            Err(Refusal::Forged)
        );
        assert_eq!(paired.take_forger(), Some(ENDS.source()));
        assert_eq!(paired.take_forger(), None);
        assert_eq!(
            opened(&mut paired, later, &sealed, HOPS),
            Ok(ADVERT.to_vec())
        );

        // Known from the start.
        let mut started = seals(b"ours", true, None, now);
        assert_eq!(
            opened(&mut started, now, &ADVERT, HOPS),
            Err(Refusal::Forged)
        );
        // From elsewhere: it says nothing about who is on this link.
        let refused = Refusal::Hops { hops: 254 };
        let mut started = seals(b"ours", true, None, now);
        assert_eq!(opened(&mut started, now, &ADVERT, 254), Err(refused));
        assert_eq!(started.take_forger(), None);
    }

    #[test]
    fn the_sessions_are_those_of_the_heartbeats() {
        let (now, teller) = (Instant::now(), Teller::new().unwrap());
        teller.name_sessions(7, [0, 0]);
        let mut sender = seals(b"ours", true, None, now);
        let mut receiver = seals(b"ours", true, None, now);
        for (proven, heard) in [
            ([0, 7], Ok(&ADVERT[..])),
            ([8, 0], Err(Refusal::OtherSession)),
            ([0, 0], Ok(&ADVERT[..])),
        ] {
            let sealed = sender.seal(ADVERT.to_vec(), ENDS, &teller);
            teller.name_sessions(7, proven);
            assert_eq!(receiver.open(now, &sealed, ENDS, HOPS, &teller), heard);
        }
        // Nobody is blamed for what may have been sent while a session began.
        assert_eq!(receiver.take_forger(), None);
    }
}
