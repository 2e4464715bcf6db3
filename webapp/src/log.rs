//! What is told of each request, as JSON, a line each; and of what goes wrong, on standard error.

mod access;

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

pub use access::{AccessLog, Entry};

/// Begins to tell what goes wrong. `RUST_LOG` says how much, in the syntax of `EnvFilter`.
pub fn init() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    // It fails where it was begun before, and that one serves as well.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .try_init();
}
