mod announce;
mod packet;
mod values;

use super::{Addresses, Interval, Priority, Vrid};
use std::net::Ipv4Addr;

fn vrid(number: u8) -> Vrid {
    Vrid::new(number).expect("a VRID")
}

fn priority(number: u8) -> Priority {
    Priority::new(number).expect("a priority")
}

fn centiseconds(number: u16) -> Interval {
    Interval::from_centiseconds(number).expect("an interval")
}

fn virtual_addresses() -> Addresses {
    Addresses::v4(vec![Ipv4Addr::new(192, 0, 2, 100)]).expect("an address")
}
