use super::{Checksum, Delta};
use crate::abi::Addr;
use crate::tests::packet::checksum;
use proptest::prelude::*;

fn of(bytes: &[u8]) -> Checksum {
    Checksum(checksum(bytes).to_be_bytes())
}

/// RFC 1624, section 4: equation 3 gives 0x0000 where the older method gave 0xffff.
#[test]
fn the_example_of_the_rfc() {
    let delta = Delta::NONE.replace2([0x55, 0x55], [0x32, 0x85]);
    assert_eq!(Checksum([0xdd, 0x2f]).update(delta), Checksum([0x00, 0x00]));
}

#[test]
fn nothing_changed_changes_nothing() {
    for value in 0..0xffffu16 {
        let value = Checksum(value.to_be_bytes());
        let same = Delta::NONE
            .replace2([0; 2], [0; 2])
            .replace2([0xff; 2], [0xff; 2])
            .replace4([1, 2, 3, 4], [1, 2, 3, 4]);
        assert_eq!(value.update(Delta::NONE), value);
        assert_eq!(value.update(same), value);
    }
}

#[test]
fn the_two_zeros_of_ones_complement() {
    for (old, new) in [
        ([0x00, 0x00], [0xff, 0xff]),
        ([0xff, 0xff], [0x00, 0x00]),
        ([0x00, 0x00], [0x00, 0x01]),
        ([0xff, 0xff], [0xff, 0xfe]),
        ([0x00, 0x01], [0x00, 0x00]),
        ([0xff, 0xfe], [0x00, 0x00]),
    ] {
        for rest in 1..=0xffffu16 {
            let [a, b] = rest.to_be_bytes();
            let before = of(&[a, b, old[0], old[1]]);
            let after = of(&[a, b, new[0], new[1]]);
            let updated = before.update(Delta::NONE.replace2(old, new));
            assert_eq!(updated, after, "{rest:04x}: {old:02x?} to {new:02x?}");
        }
    }
}

/// Words at the ends of their range are where carries go wrong.
fn byte() -> impl Strategy<Value = u8> {
    prop_oneof![Just(0x00), Just(0xff), any::<u8>()]
}

proptest! {
    #[test]
    fn an_update_equals_a_computation_from_scratch(
        mut bytes in prop::collection::vec(byte(), 12..64),
        at in 1usize..4,
        address in [byte(), byte(), byte(), byte()],
        port in [byte(), byte()],
    ) {
        // A header is never all zeros; this stands for its version.
        bytes[0] = 0x45;
        let before = of(&bytes);
        let at = at * 2;
        let old_address = bytes[at..at + 4].try_into().unwrap();
        let old_port = [bytes[at + 4], bytes[at + 5]];
        let delta = Delta::NONE
            .replace4(old_address, address)
            .replace2(old_port, port);
        bytes[at..at + 4].copy_from_slice(&address);
        bytes[at + 4..at + 6].copy_from_slice(&port);
        prop_assert_eq!(before.update(delta), of(&bytes));
    }

    #[test]
    fn an_update_of_an_address_of_ipv6(
        rest in byte(), old in prop::array::uniform16(byte()), new in prop::array::uniform16(byte()),
    ) {
        let bytes = |address: [u8; 16]| {
            let mut bytes = vec![0x60, rest];
            bytes.extend(address);
            bytes
        };
        let delta = Delta::NONE.replace16(Addr::v6(old), Addr::v6(new));
        prop_assert_eq!(of(&bytes(old)).update(delta), of(&bytes(new)));
    }

    /// What is not correct stays as incorrect as it was: an update never repairs a packet.
    #[test]
    fn a_wrong_checksum_stays_wrong(value in 1u16..0xffff, old: [u8; 4], new: [u8; 4]) {
        let there = Delta::NONE.replace4(old, new);
        let back = Delta::NONE.replace4(new, old);
        let value = Checksum(value.to_be_bytes());
        prop_assert_eq!(value.update(there).update(back), value);
    }
}
