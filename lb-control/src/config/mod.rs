//! What the operator wants: the file, and the changes made by CLI.

mod model;

pub use model::*;
