//! When a backend is up or down: when it is probed, and what the answers say of its health.
//!
//! ```text
//!                    ┌─────────┐
//!    first success   │ unknown │   first failure
//!        ┌───────────┤         ├───────────┐
//!        ▼           └─────────┘           ▼
//!     ┌──────┐   `fall` failures in a row ┌──────┐
//!     │  up  ├───────────────────────────►│ down │
//!     │      │◄───────────────────────────┤      │
//!     └──────┘  `rise` successes in a row └──────┘
//! ```
//!
//! A [`Machine`] is told the time and the results, and says when to probe next. At most one probe
//! runs at a time, and one that has not answered in time has failed.
//!
//! One that is down may still answer, though not as it should: then it lives, and may finish the
//! connections that it has, even if it stops listening. When `fall` probes in a row hear nothing at
//! all of it, it does not any more.

mod machine;
mod panic;
#[cfg(test)]
mod tests;

pub use machine::{Answer, Down, Due, Failure, Machine, Params, ProbeId, Transition};
pub use panic::Panic;
