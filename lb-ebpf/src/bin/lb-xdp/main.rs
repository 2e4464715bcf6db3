//! The XDP program: entry point, maps, and access to the packet. The decision is in `lb_ebpf`.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(target_arch = "bpf")]
mod frame;
#[cfg(target_arch = "bpf")]
mod maps;
#[cfg(target_arch = "bpf")]
mod program;

/// On the host there is nothing to run; the target exists so that `cargo check` and `clippy` at
/// the root need no BPF toolchain.
#[cfg(not(target_arch = "bpf"))]
fn main() {}
