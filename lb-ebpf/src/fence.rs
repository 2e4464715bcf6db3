//! The self-fence: a host whose lease has lapsed acts as owner of no virtual address.
//!
//! Of a pair, the one that owns the addresses is given a lease (`LEASE`), and has to be given it
//! anew all the time. If its daemon hangs, or its clocks stop with the host, the lease lapses, before
//! the other host may take over. Then nobody new is let in here: connections are not opened, and the
//! kernel does not hear who asks for the addresses. Connections that are open harm nobody, since the
//! other host would send them to the same backends: they go on.
//!
//! A load balancer without a peer has no leases, and this code is not in its program.

use crate::abi::Addr4;
use crate::frame::Frame;
use crate::tables::Tables;
use crate::wire::{Arp, Ethernet, ethertype};

/// Whether this host may not act as owner.
#[inline(always)]
pub fn is_fenced<T: Tables>(tables: &T) -> bool {
    tables
        .lease()
        .is_some_and(|until| tables.boot_ns() >= until)
}

/// Whether a frame asks for an address of a service, and this host may not answer.
#[inline(always)]
pub fn is_unanswered<F: Frame + ?Sized, T: Tables>(frame: &mut F, tables: &T) -> bool {
    is_fenced(tables) && asked_for(frame).is_some_and(|address| tables.is_vip(&address))
}

/// The address that a frame asks the owner of: an ARP request for IPv4 over Ethernet. Also one that
/// announces its sender, or looks for others with the same address (RFC 5227): nobody answers these
/// either.
#[inline(always)]
fn asked_for<F: Frame + ?Sized>(frame: &mut F) -> Option<Addr4> {
    if Ethernet(frame.bytes(0)?).ethertype() != ethertype::ARP {
        return None;
    }
    let arp = Arp(frame.bytes(Ethernet::LEN)?);
    arp.is_request().then(|| arp.target())
}

#[cfg(test)]
mod tests {
    use super::{is_fenced, is_unanswered};
    use crate::tests::memory::Memory;

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

    #[test]
    fn what_is_too_short_for_arp_asks_for_nothing() {
        let tables = at(Some(0), 1);
        for len in 0..42 {
            let mut frame = [0u8; 42];
            frame[12..14].copy_from_slice(&[0x08, 0x06]);
            assert!(!is_unanswered(&mut frame[..len], &tables));
        }
    }
}
