//! `FLOWS`: the connections that the slots alone cannot answer for. `NEW_FLOWS`: a ring buffer of
//! what becomes known about them, as it does.

use super::{Addr, BackendId, Family, Port, ServiceId};
use crate::hash;
use bytemuck::{Pod, Zeroable};

/// A client's connection to a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Pod, Zeroable)]
#[repr(C)]
pub struct FlowKey {
    /// The client's address.
    pub client: Addr,
    /// The client's port.
    pub client_port: Port,
    /// The service it talks to.
    pub service: ServiceId,
    /// Zero.
    pub pad: [u8; 4],
}

impl FlowKey {
    /// The key of a flow.
    #[inline(always)]
    #[must_use]
    pub const fn new(client: Addr, client_port: Port, service: ServiceId) -> Self {
        Self {
            client,
            client_port,
            service,
            pad: [0; 4],
        }
    }

    /// The flow's hash, of one word if it is of IPv4, of three if of IPv6. The service is left out:
    /// each has a key of its own, and is of one family.
    #[inline(always)]
    #[must_use]
    pub const fn hash(&self, key: [u64; 2]) -> u64 {
        let [p, q] = self.client_port;
        match self.client.family() {
            Family::V4 => {
                let [a, b, c, d] = self.client.octets_v4();
                hash::keyed(key, [u64::from_ne_bytes([a, b, c, d, p, q, 0, 0])])
            }
            Family::V6 => {
                let [high, low] = self.client.words();
                let port = u64::from_ne_bytes([p, q, 0, 0, 0, 0, 0, 0]);
                hash::keyed(key, [high, low, port])
            }
        }
    }
}

/// Which backend a recorded connection belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Flow {
    /// When it was last seen: milliseconds since boot, modulo 2³².
    pub last_seen_ms: u32,
    /// Its backend.
    pub backend: BackendId,
    /// A [`FlowPhase`].
    pub phase: u16,
}

/// One record of `NEW_FLOWS`: a flow that the program has just recorded, for another backend than
/// before, or in another phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct NewFlow {
    /// Which flow it is.
    pub key: FlowKey,
    /// What is recorded for it now.
    pub flow: Flow,
}

/// What the client's packets say about the life of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum FlowPhase {
    /// Nothing but SYNs was seen: perhaps a flood's, so such a record does not live long.
    Opening = 0,
    /// Another packet was seen. When such a connection ends, its record is left to expire: what ends
    /// it can be made up by anybody, and only the two ends would notice.
    Open = 1,
}

impl Flow {
    /// How long ago the flow was last seen, in milliseconds. A packet that was seen after `now_ms`
    /// was read counts as seen now.
    #[must_use]
    pub const fn idle_ms(&self, now_ms: u32) -> u32 {
        let idle = now_ms.wrapping_sub(self.last_seen_ms);
        if idle > Self::LONGEST_IDLE_MS {
            0
        } else {
            idle
        }
    }

    /// The same flow, last seen `idle_ms` milliseconds before `now_ms`. Two hosts have two clocks:
    /// what one of them recorded, the other enters by how long ago that was.
    #[must_use]
    pub const fn with_idle_ms(self, idle_ms: u32, now_ms: u32) -> Self {
        let idle_ms = if idle_ms > Self::LONGEST_IDLE_MS {
            Self::LONGEST_IDLE_MS
        } else {
            idle_ms
        };
        Self {
            last_seen_ms: now_ms.wrapping_sub(idle_ms),
            ..self
        }
    }

    /// What is idle for longer would look as if it were seen in the future.
    const LONGEST_IDLE_MS: u32 = u32::MAX / 2;
}

#[cfg(test)]
mod tests {
    use super::{Flow, FlowKey, FlowPhase};
    use crate::abi::Addr;
    use crate::hash::keyed;
    use std::net::IpAddr;

    const SEEN: Flow = Flow {
        last_seen_ms: 5,
        backend: 7,
        phase: FlowPhase::Open as u16,
    };
    const NOON: u32 = 1_000_000;

    #[test]
    fn a_flow_is_hashed_by_address_and_port() {
        const KEY: [u64; 2] = [3, 4];
        let flow = |address: &str, service| {
            let address: IpAddr = address.parse().unwrap();
            FlowKey::new(Addr::from(address), [0x12, 0x34], service)
        };
        let word = u64::from_ne_bytes([198, 51, 100, 10, 0x12, 0x34, 0, 0]);
        let of_ipv4 = flow("198.51.100.10", 1);
        assert_eq!(of_ipv4.hash(KEY), keyed(KEY, [word]));
        let of_ipv6 = flow("2001:db8::10", 1);
        let high = u64::from_ne_bytes([0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0]);
        let low = u64::from_ne_bytes([0, 0, 0, 0, 0, 0, 0, 0x10]);
        let port = u64::from_ne_bytes([0x12, 0x34, 0, 0, 0, 0, 0, 0]);
        assert_eq!(of_ipv6.hash(KEY), keyed(KEY, [high, low, port]));
        // The key of the service's hash says which service it is.
        assert_eq!(flow("2001:db8::10", 2).hash(KEY), of_ipv6.hash(KEY));
    }

    #[test]
    fn idle_time_passes_from_one_clock_to_another() {
        // Before, at and after the moment in which either clock wraps around.
        for ours in [0, 1, 59, 60, 61, NOON, u32::MAX - 60, u32::MAX] {
            for theirs in [0, 1, 59, 60, 61, NOON, u32::MAX - 60, u32::MAX] {
                let seen = Flow {
                    last_seen_ms: ours.wrapping_sub(60),
                    ..SEEN
                };
                let there = seen.with_idle_ms(seen.idle_ms(ours), theirs);
                assert_eq!(there.idle_ms(theirs), 60, "{ours} {theirs}");
                assert_eq!(there.idle_ms(theirs.wrapping_add(40)), 100);
                assert_eq!((there.backend, there.phase), (SEEN.backend, SEEN.phase));
            }
        }
    }

    #[test]
    fn what_is_idle_for_longer_than_can_be_told_is_not_fresh() {
        let longest = u32::MAX / 2;
        for (idle, told) in [
            (0, 0),
            (longest, longest),
            (longest + 1, longest),
            (u32::MAX, longest),
        ] {
            for now in [0, NOON, u32::MAX] {
                assert_eq!(SEEN.with_idle_ms(idle, now).idle_ms(now), told, "{idle}");
            }
        }
    }

    #[test]
    fn what_was_seen_after_the_clock_was_read_is_seen_now() {
        let seen = SEEN.with_idle_ms(0, NOON);
        assert_eq!(seen.idle_ms(NOON - 1), 0);
        assert_eq!(seen.idle_ms(NOON - 10_000), 0);
    }
}
