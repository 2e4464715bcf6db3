//! The one task that owns the state.

mod request;

pub use request::{Change, Handle, Refusal, Request};
