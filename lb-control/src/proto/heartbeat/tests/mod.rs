mod mutated;
pub(crate) mod network;
mod packet;
mod pair;
mod schedules;
mod session;

use super::{Diagnostic, Ends, Packet, State, Timing};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

const fn ms(number: u64) -> Duration {
    Duration::from_millis(number)
}

/// What goes from the host of one number to that of another, by the link of a third.
const fn ends(link: u8, from: u8, to: u8) -> Ends {
    Ends {
        source: IpAddr::V4(Ipv4Addr::new(10, 0, link, from)),
        destination: IpAddr::V4(Ipv4Addr::new(10, 0, link, to)),
    }
}

/// A heartbeat of session 7 to session 5.
const fn packet(state: State, sequence: u64) -> Packet {
    Packet {
        state,
        diagnostic: Diagnostic::None,
        timing: Timing::DEFAULT,
        my_discriminator: 7,
        your_discriminator: 5,
        sequence,
    }
}
