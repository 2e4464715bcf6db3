//! How many connections one client has, or how many requests at once.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

/// Counts by address, or by /64 in IPv6.
#[derive(Clone, Debug)]
pub struct Slots {
    /// 0 for no limit.
    each: usize,
    taken: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// A connection or a request that counts until this is dropped.
#[derive(Debug)]
pub struct Slot {
    held: Option<(Slots, IpAddr)>,
}

impl Slots {
    /// So many for each; 0 for as many as there are.
    #[must_use]
    pub fn new(each: usize) -> Self {
        let taken = Arc::default();
        Self { each, taken }
    }

    /// `None` if the client has as many as it may.
    pub fn take(&self, client: IpAddr) -> Option<Slot> {
        if self.each == 0 {
            return Some(Slot { held: None });
        }
        let client = counted_as(client);
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.entry(client).or_default();
        if *count >= self.each {
            return None;
        }
        *count += 1;
        let held = Some((self.clone(), client));
        Some(Slot { held })
    }
}

impl Slot {
    /// Whether it counts at all.
    pub(super) fn counts(&self) -> bool {
        self.held.is_some()
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let Some((slots, client)) = &self.held else {
            return;
        };
        let mut taken = slots.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(client) {
            *count -= 1;
            if *count == 0 {
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
}
