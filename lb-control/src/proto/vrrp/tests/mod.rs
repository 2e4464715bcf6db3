mod announce;
mod machine;
mod mutated;
pub(crate) mod network;
mod packet;
mod schedules;
mod seal;
mod timing;
mod values;

use super::{Addresses, Interval, Params, Preempt, Priority, Repeats, Vrid};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

fn vrid(number: u8) -> Vrid {
    Vrid::new(number).expect("a VRID")
}

pub(crate) fn priority(number: u8) -> Priority {
    Priority::new(number).expect("a priority")
}

pub(crate) fn centiseconds(number: u16) -> Interval {
    Interval::from_centiseconds(number).expect("an interval")
}

const fn ms(number: u64) -> Duration {
    Duration::from_millis(number)
}

/// The address of the host of this number.
pub(crate) const fn host(number: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(192, 0, 2, number))
}

fn virtual_addresses() -> Addresses {
    Addresses::v4(vec![Ipv4Addr::new(192, 0, 2, 100)]).expect("an address")
}

/// Host 5 of priority 100, which advertises every 100 ms and preempts without delay.
pub(crate) fn params() -> Params {
    Params {
        vrid: vrid(51),
        priority: priority(100),
        interval: centiseconds(10),
        preempt: Preempt::After(Duration::ZERO),
        address: host(5),
        addresses: virtual_addresses(),
        repeats: Repeats {
            times: 2,
            spacing: ms(30),
            refresh: Some(ms(1_000)),
        },
    }
}
