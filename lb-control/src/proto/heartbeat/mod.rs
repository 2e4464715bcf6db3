//! Whether the other host of the pair lives: heartbeats in the manner of BFD's asynchronous mode
//! (RFC 5880), over one or more links.
//!
//! - [`packet`] is a heartbeat on the wire, and every way in which one can be wrong. [`Key`] is what
//!   it is authenticated with.
//! - [`Session`] is one link: the states, timers and diagnostics of the RFC.
//! - [`Peer`] is the other host, which is lost only when all links to it are.
//!
//! All of it is without sockets and without a clock.
//!
//! # What is not as in the RFC
//!
//! - The packet is our own: nobody else is to be spoken to, and BFD's authentication is not enough.
//! - Discriminators have 64 bits, and are renewed whenever a session falls. A packet that does not
//!   quote our present one proves nothing, since it may be a recording: it changes no state, and
//!   is only quoted in turn. So nobody's session can be brought up, kept up or torn down with
//!   packets of an earlier one. The handshake is longer by one packet.
//! - Heartbeats are as frequent when the peer is down as when it is up (section 6.8.3 wants one a
//!   second at most): there are two hosts, and one that comes back is to be noticed soon.
//! - The timing is fixed for as long as a session is configured, so there is no poll sequence
//!   (section 6.5). Neither are there demand mode and echo (sections 6.4 and 6.6).

mod key;
pub mod packet;
mod peer;
mod session;
#[cfg(test)]
pub(crate) mod tests;
mod timing;

pub use key::{Ends, Key};
pub use packet::{Diagnostic, Packet, Refusal, State};
pub use peer::{Effect, LinkId, LinkStatus, Peer};
pub use session::{Change, Counters, LostReason, Session};
pub use timing::{Micros, Multiplier, Timing};
