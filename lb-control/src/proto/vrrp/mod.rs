//! Which router owns the virtual addresses: VRRP version 3 (RFC 9568) for IPv4 and IPv6.
//!
//! - [`packet`] is an advertisement on the wire, and every way in which one can be wrong.
//! - [`machine`] is one virtual router: the states and events of the RFC, in a table. It is told
//!   the time and what was heard, and says what to send and who leads.
//! - [`seal`] is how an advertisement of the other host of a pair shows that it is that.
//! - [`announce`] builds the frames with which a new owner makes itself known to its neighbours.
//!
//! All of it is without sockets and without a clock.

mod active;
mod addresses;
pub mod announce;
mod announcements;
mod backup;
mod checksum;
mod counters;
mod effect;
pub mod machine;
pub mod packet;
mod params;
mod refusal;
pub mod seal;
#[cfg(test)]
pub(crate) mod tests;
mod values;

pub use addresses::Addresses;
pub use announcements::Repeats;
pub use backup::Leader;
pub use counters::Counters;
pub use effect::{Effect, LeadReason, YieldReason};
pub use machine::{Disagreement, Machine, State};
pub use packet::{Advert, ChecksumForm, Ends, MixedFamilies};
pub use params::{Params, Preempt};
pub use refusal::Refusal;
pub use values::{Claim, Family, Interval, Priority, Vrid};
