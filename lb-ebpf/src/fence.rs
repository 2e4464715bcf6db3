//! The self-fence: a host whose lease has lapsed acts as owner of no virtual address.
//!
//! Of a pair, the one that owns the addresses is given a lease (`LEASE`), and has to be given it
//! anew all the time. If its daemon hangs, or its clocks stop with the host, the lease lapses, before
//! the other host may take over. Then nobody new is let in here: connections are not opened, and the
//! kernel does not hear who asks for the addresses. Connections that are open harm nobody, since the
//! other host would send them to the same backends: they go on.
//!
//! A load balancer without a peer has no leases, and this code is not in its program.

use crate::abi::{Addr, proto};
use crate::frame::Frame;
use crate::parse::link;
use crate::reason::Reason;
use crate::tables::Tables;
use crate::wire::{Arp, Ipv6, NeighbourSolicitation, ethertype};

/// Whether this host may not act as owner.
#[inline(always)]
pub fn is_fenced<T: Tables>(tables: &T) -> bool {
    tables
        .lease()
        .is_some_and(|until| tables.boot_ns() >= until)
}

/// What becomes of a frame that is nobody's traffic: `reason`, unless it asks for an address of a
/// service, and this host may not answer.
#[inline(always)]
pub fn unless_fenced<F: Frame + ?Sized, T: Tables>(
    frame: &mut F,
    tables: &T,
    reason: Reason,
) -> Reason {
    let Some(until) = tables.lease() else {
        return reason;
    };
    let asked = asked_for(frame).is_some_and(|address| tables.is_vip(&address));
    if asked && tables.boot_ns() >= until {
        return Reason::Fenced;
    }
    reason
}

/// The address that a frame asks the owner of: an ARP request for IPv4 over Ethernet, or a neighbour
/// solicitation. Also one that announces its sender, or looks for others with the same address (RFC
/// 5227, RFC 4862): nobody answers these either.
#[inline(always)]
fn asked_for<F: Frame + ?Sized>(frame: &mut F) -> Option<Addr> {
    let (l3, kind) = link(frame)?;
    if kind == ethertype::ARP {
        let arp = Arp(frame.bytes(l3)?);
        return arp.is_request().then(|| Addr::v4(arp.target()));
    }
    if kind != ethertype::IPV6 || Ipv6(frame.bytes(l3)?).next_header() != proto::ICMPV6 {
        return None;
    }
    let message = NeighbourSolicitation(frame.bytes(l3 + Ipv6::LEN)?);
    message
        .is_solicitation()
        .then(|| Addr::v6(message.target()))
}

#[cfg(test)]
mod tests {
    use super::{is_fenced, unless_fenced};
    use crate::abi::{Addr, Service, ServiceKey};
    use crate::reason::Reason;
    use crate::tests::memory::Memory;
    use bytemuck::Zeroable as _;

    fn at(lease: Option<u64>, boot_ns: u64) -> Memory {
        Memory {
            lease,
            boot_ns,
            ..Memory::default()
        }
    }

    #[test]
    fn a_lease_lasts_up_to_its_last_nanosecond() {
        for (lease, now, fenced) in [
            (None, 5, false),
            (None, u64::MAX, false),
            (Some(0), 0, true),
            (Some(5), 4, false),
            (Some(5), 5, true),
            (Some(5), 6, true),
            (Some(u64::MAX), u64::MAX - 1, false),
        ] {
            assert_eq!(is_fenced(&at(lease, now)), fenced, "{lease:?} at {now}");
        }
    }

    /// With services at the addresses that are asked for.
    fn what_asks(frame: &mut [u8]) -> bool {
        let mut tables = at(Some(0), 1);
        for address in [Addr::v4([0; 4]), Addr::v6([0; 16])] {
            let key = ServiceKey::tcp(address, [0, 80]);
            tables.services.insert(key, Service::zeroed());
        }
        unless_fenced(frame, &tables, Reason::NotIp) == Reason::Fenced
    }

    fn arp() -> Vec<u8> {
        let mut frame = vec![0u8; 42];
        frame[12..22].copy_from_slice(&[0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1]);
        frame
    }

    fn solicitation() -> Vec<u8> {
        let mut frame = vec![0u8; 78];
        frame[12..15].copy_from_slice(&[0x86, 0xdd, 0x60]);
        frame[20..22].copy_from_slice(&[58, 255]);
        frame[54] = 135;
        frame
    }

    #[test]
    fn what_is_too_short_asks_for_nothing() {
        for mut question in [arp(), solicitation()] {
            let len = question.len();
            assert!(what_asks(&mut question));
            for len in 0..len {
                assert!(!what_asks(&mut question[..len]), "{len} bytes");
            }
        }
    }

    #[test]
    fn only_questions_ask() {
        let with = |mut frame: Vec<u8>, offset: usize, value: u8| {
            frame[offset] = value;
            what_asks(&mut frame)
        };
        assert!(!with(arp(), 21, 2), "an answer");
        for (offset, value, what) in [
            (20, 6, "another protocol"),
            (54, 136, "an advertisement"),
            (55, 1, "of an unknown kind"),
        ] {
            assert!(!with(solicitation(), offset, value), "{what}");
        }
    }

    #[test]
    fn a_question_is_found_behind_tags() {
        for question in [arp(), solicitation()] {
            let mut frame = question[..12].to_vec();
            frame.extend([0x88, 0xa8, 0, 1, 0x81, 0, 0, 2]);
            frame.extend(&question[12..]);
            assert!(what_asks(&mut frame));
        }
    }
}
