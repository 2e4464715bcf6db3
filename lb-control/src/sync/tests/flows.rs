//! Flows between hosts whose clocks tell different times.

use crate::sync::flows::{Cut, decode, decode_keys, encode, encode_keys};
use lb_ebpf::abi::{Addr, Flow, FlowKey};
use proptest::collection::vec;
use proptest::prelude::*;

fn some_key() -> impl Strategy<Value = FlowKey> {
    any::<([u8; 16], [u8; 2], u16)>()
        .prop_map(|(client, port, service)| FlowKey::new(Addr::v6(client), port, service))
}

/// A key, for how long it was silent, its backend and its phase.
fn some_flow() -> impl Strategy<Value = (FlowKey, u32, u16, u16)> {
    (some_key(), 0..=u32::MAX / 2, any::<u16>(), 0..2u16)
}

proptest! {
    /// Wherever the clocks stand: they wrap around after seven weeks.
    #[test]
    fn silence_is_as_long_on_the_other_host(
        flows in vec(some_flow(), 0..20),
        here in any::<u32>(),
        there in any::<u32>(),
    ) {
        let at = |now: u32| -> Vec<_> {
            let flow = |&(key, idle, backend, phase): &(FlowKey, u32, u16, u16)| {
                let last_seen_ms = now.wrapping_sub(idle);
                (key, Flow { last_seen_ms, backend, phase })
            };
            flows.iter().map(flow).collect()
        };
        let mut bytes = Vec::new();
        encode(&at(here), here, &mut bytes);
        prop_assert_eq!(bytes.len(), flows.len() * 28);
        prop_assert_eq!(decode(&bytes, there), Ok(at(there)));
    }

    /// The program may see a packet after the clock was read.
    #[test]
    fn what_was_seen_after_now_was_seen_now(
        key in some_key(),
        now in any::<u32>(),
        ahead in 1..10_000u32,
        there in any::<u32>(),
    ) {
        let flow = Flow { last_seen_ms: now.wrapping_add(ahead), backend: 1, phase: 1 };
        let mut bytes = Vec::new();
        encode(&[(key, flow)], now, &mut bytes);
        let found = Flow { last_seen_ms: there, ..flow };
        prop_assert_eq!(decode(&bytes, there), Ok(vec![(key, found)]));
    }

    #[test]
    fn keys_there_and_back(keys in vec(some_key(), 0..20)) {
        let mut bytes = Vec::new();
        encode_keys(&keys, &mut bytes);
        prop_assert_eq!(decode_keys(&bytes), Ok(keys));
    }

    #[test]
    fn whole_ones_are_read_and_no_others(bytes in vec(any::<u8>(), 0..100), now in any::<u32>()) {
        match decode(&bytes, now) {
            Ok(flows) => prop_assert_eq!(flows.len() * 28, bytes.len()),
            Err(Cut) => prop_assert_ne!(bytes.len() % 28, 0),
        }
        match decode_keys(&bytes) {
            Ok(keys) => prop_assert_eq!(keys.len() * 20, bytes.len()),
            Err(Cut) => prop_assert_ne!(bytes.len() % 20, 0),
        }
    }
}
