//! What tests stand on: packets that are easy to read, and tables in memory. The integration
//! tests in `tests/` include the same files.

pub(crate) mod memory;
pub(crate) mod packet;
