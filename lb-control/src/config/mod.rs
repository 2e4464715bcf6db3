//! What the operator wants: the file, and the changes made by CLI.

pub mod change;
mod model;
pub mod overlay;
pub mod parse;
mod raw;
mod text;
mod validate;
mod values;

pub use change::{Change, Refusal};
pub use model::*;
pub use overlay::{Applied, Overlay};
pub use parse::{ParseError, check_addresses, check_interfaces, parse};
pub use text::InvalidText;
pub(crate) use values::can_be_slots;

#[cfg(test)]
mod tests;
