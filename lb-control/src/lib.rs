//! The control plane of the load balancer.
//!
//! State flows one way: [`config`] says what is wanted; [`desired`] works out, with the health of
//! the backends, what the tables should hold; [`reconcile`] finds the steps from what they hold to
//! that; [`dataplane`] takes them. One task owns all of it: [`daemon`]. [`api`] is how others ask
//! it, and [`observe`] how they watch it. Protocol machines ([`proto`]) know no socket and no clock;
//! [`shell`] gives them both. Two hosts share by [`sync`] what is wanted and held.

pub mod api;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod dataplane;
pub mod desired;
pub mod here;
pub mod observe;
pub mod proto;
pub mod reconcile;
pub mod shell;
pub mod state;
pub mod sync;
pub mod types;
