//! The packet path of the load balancer, as a pure function of a frame and the tables.
//!
//! [`process::process`] is what the XDP program runs for every packet. It knows no map and no
//! pointer: packets come through [`frame::Frame`], tables through [`tables::Tables`]. The thin
//! binary `lb-xdp` implements both over the kernel's memory; tests, fuzzers and the simulation
//! implement them over ordinary Rust values and run the very same code.
//!
//! Read in this order: [`abi`] (what the maps hold), [`process`] (one packet from top to bottom),
//! [`parse`] (what is in it), [`select`] (which backend: the stateless-first rule), [`rewrite`] (what changes in the packet).
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

// Test support is shared with the crate `tests`, which knows this one by its name.
#[cfg(test)]
extern crate self as lb_ebpf;

pub mod abi;
pub mod checksum;
pub mod fence;
pub mod frame;
pub mod hash;
pub mod parse;
pub mod process;
pub mod reason;
pub mod rewrite;
pub mod select;
pub mod tables;
pub mod wire;

#[cfg(test)]
mod tests;
