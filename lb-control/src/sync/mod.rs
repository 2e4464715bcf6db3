//! What the two load balancers of a pair tell each other, so that either can go on where the other
//! ended.
//!
//! - [`version`]: which of two configurations is the newer one.
//! - [`message`], [`delta`], [`flows`]: what is sent, and how.
//! - [`session`]: who sends what, and when: a machine without sockets and clocks.
//! - [`leave`]: what that means for who may lead.

pub mod delta;
pub mod flows;
pub mod leave;
pub mod message;
pub mod session;
#[cfg(test)]
pub(crate) mod tests;
pub mod version;

pub use leave::{Leave, Situation};
pub use message::{Hello, Message, Proposal, Snapshot, Status};
pub use session::{Effect, Session};
pub use version::{Relation, Version};
