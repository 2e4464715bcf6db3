use super::{centiseconds, priority};
use crate::proto::vrrp::{Addresses, Claim, Interval, Priority, Vrid};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

#[test]
fn values_are_within_their_fields() {
    assert_eq!(Vrid::new(0), None);
    assert_eq!(Vrid::new(255).map(Vrid::get), Some(255));
    assert_eq!(Priority::new(0), None);
    assert_eq!(Priority::new(255), Some(Priority::OWNER));
    for (centiseconds, is_one) in [(0, false), (1, true), (4095, true), (4096, false)] {
        let interval = Interval::from_centiseconds(centiseconds);
        assert_eq!(interval.is_some(), is_one, "{centiseconds}");
    }
    for number in 0..=u8::MAX {
        assert_eq!(Claim::from_wire(number).to_wire(), number);
    }
    assert_eq!(Claim::from_wire(0), Claim::Release);
}

#[test]
fn addresses_are_as_many_as_a_byte_counts() {
    let v4 = |count| Addresses::v4(vec![Ipv4Addr::LOCALHOST; count]);
    let v6 = |count| Addresses::v6(vec![Ipv6Addr::LOCALHOST; count]);
    for (count, is_some) in [(0, false), (1, true), (255, true), (256, false)] {
        assert_eq!(v4(count).is_some(), is_some, "{count}");
        assert_eq!(v6(count).is_some(), is_some, "{count}");
    }
}

#[test]
fn a_penalty_leaves_a_priority_that_can_be_advertised() {
    assert_eq!(priority(100).lowered_by(30), priority(70));
    assert_eq!(priority(100).lowered_by(0), priority(100));
    assert_eq!(priority(100).lowered_by(100), priority(1));
    assert_eq!(priority(1).lowered_by(255), priority(1));
    assert_eq!(Priority::OWNER.lowered_by(100), Priority::OWNER);
}

#[test]
fn intervals_are_those_of_the_rfc() {
    for (interval, own, skew_ns) in [
        (100, 255, 3_906_250),
        (100, 128, 500_000_000),
        (100, 1, 996_093_750),
        // Below a centisecond, where integers of the RFC's unit would be 0.
        (1, 192, 2_500_000),
        (4095, 128, 20_475_000_000),
    ] {
        let (interval, own) = (centiseconds(interval), priority(own));
        let skew = Duration::from_nanos(skew_ns);
        assert_eq!(interval.skew(own), skew);
        assert_eq!(interval.active_down(own), interval.duration() * 3 + skew);
    }
}
