//! How many connections one client has, and how many requests that hold something.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Counts by address, or by /64 in IPv6.
#[derive(Clone, Debug)]
pub(super) struct Slots {
    /// 0 for no limit.
    each: usize,
    taken: Arc<Mutex<HashMap<IpAddr, Taken>>>,
}

/// What a client with connections has.
#[derive(Debug, Default)]
struct Taken {
    connections: usize,
    requests: Arc<AtomicUsize>,
}

/// A connection that counts until this is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    held: Option<(Slots, IpAddr)>,
    share: Share,
}

/// How many requests that hold something a client may have at once: as many as connections, over all of
/// these. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Share {
    /// How many there are, and how many there may be.
    counted: Option<(Arc<AtomicUsize>, usize)>,
}

/// A request that counts until this is dropped.
#[derive(Debug)]
pub struct Hold {
    counted: Option<Arc<AtomicUsize>>,
}

impl Slots {
    pub(super) fn new(each: usize) -> Self {
        let taken = Arc::default();
        Self { each, taken }
    }

    /// `None` if the client has as many connections as it may.
    pub(super) fn take(&self, client: IpAddr) -> Option<Slot> {
        if self.each == 0 {
            let share = Share::default();
            return Some(Slot { held: None, share });
        }
        let client = counted_as(client);
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let of_client = taken.entry(client).or_default();
        if of_client.connections >= self.each {
            return None;
        }
        of_client.connections += 1;
        let counted = Some((Arc::clone(&of_client.requests), self.each));
        let held = Some((self.clone(), client));
        let share = Share { counted };
        Some(Slot { held, share })
    }
}

impl Slot {
    /// What requests on this connection count for.
    pub(super) fn share(&self) -> &Share {
        &self.share
    }
}

impl Share {
    /// `None` if the client has as many as it may.
    #[must_use]
    pub fn hold(&self) -> Option<Hold> {
        let Some((count, most)) = &self.counted else {
            return Some(Hold { counted: None });
        };
        // Given back at once if it is one too many.
        let before = count.fetch_add(1, Ordering::Relaxed);
        let counted = Some(Arc::clone(count));
        let hold = Hold { counted };
        (before < *most).then_some(hold)
    }
}

impl Hold {
    /// Whether it counts at all.
    pub(super) fn counts(&self) -> bool {
        self.counted.is_some()
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if let Some(count) = &self.counted {
            count.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let Some((slots, client)) = &self.held else {
            return;
        };
        let mut taken = slots.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(of_client) = taken.get_mut(client) {
            of_client.connections -= 1;
            if of_client.connections == 0 {
                taken.remove(client);
            }
        }
    }
}

/// A host has a whole /64 of IPv6 to choose its addresses from (RFC 4291, section 2.5.4).
fn counted_as(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(address) => {
            let network = address.to_bits() & !u128::from(u64::MAX);
            Ipv6Addr::from_bits(network).into()
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn one_address_has_its_limit_and_no_other_pays_for_it() {
        let slots = Slots::new(2);
        let first = slots.take(ip("192.0.2.1"));
        let second = slots.take(ip("192.0.2.1"));
        assert!(first.is_some() && second.is_some());
        assert!(slots.take(ip("192.0.2.1")).is_none());
        assert!(slots.take(ip("192.0.2.2")).is_some());
        drop(first);
        assert!(slots.take(ip("192.0.2.1")).is_some());
    }

    #[test]
    fn a_network_of_ipv6_is_one_client_and_mapped_ipv4_is_ipv4() {
        let slots = Slots::new(1);
        let _one = slots.take(ip("2001:db8::1")).unwrap();
        assert!(slots.take(ip("2001:db8::ffff:1")).is_none());
        assert!(slots.take(ip("2001:db8:0:1::1")).is_some());
        let _four = slots.take(ip("192.0.2.1")).unwrap();
        assert!(slots.take(ip("::ffff:192.0.2.1")).is_none());
    }

    #[test]
    fn nothing_is_remembered_of_clients_that_are_gone() {
        let slots = Slots::new(3);
        drop((slots.take(ip("192.0.2.1")), slots.take(ip("192.0.2.1"))));
        assert!(slots.taken.lock().unwrap().is_empty());
    }
    #[test]
    fn requests_count_over_all_connections_of_a_client() {
        let slots = Slots::new(2);
        let [one, two] = [(); 2].map(|()| slots.take(ip("192.0.2.1")).unwrap());
        let other = slots.take(ip("192.0.2.2")).unwrap();
        let holds = [one.share().hold(), two.share().hold()];
        assert!(holds.iter().all(Option::is_some));
        for connection in [&one, &two] {
            assert!(connection.share().hold().is_none());
        }
        assert!(other.share().hold().is_some());
        drop(holds);
        assert!(two.share().hold().is_some());
    }

    #[test]
    fn without_a_limit_nothing_counts() {
        let slot = Slots::new(0).take(ip("192.0.2.1")).unwrap();
        let hold = slot.share().hold().unwrap();
        assert!(!hold.counts());
    }
}
