//! Which router owns the virtual addresses: VRRP version 3 (RFC 9568) for IPv4 and IPv6.
//!
//! - [`packet`] is an advertisement on the wire, and every way in which one can be wrong.
//! - [`announce`] builds the frames with which a new owner makes itself known to its neighbours.
//!
//! All of it is without sockets and without a clock.

mod addresses;
pub mod announce;
mod checksum;
pub mod packet;
mod refusal;
#[cfg(test)]
mod tests;
mod values;

pub use addresses::Addresses;
pub use packet::{Advert, ChecksumForm, Ends, MixedFamilies};
pub use refusal::Refusal;
pub use values::{Claim, Interval, Priority, Vrid};
