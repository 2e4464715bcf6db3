//! Compiles the XDP program into `$OUT_DIR/lb-xdp.o`, to be included in the control plane.
//!
//! Without a BPF toolchain the file is empty and a warning says how to get one, so that
//! `cargo check` works on a fresh machine.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[path = "../xtask/src/ebpf_toolchain.rs"]
mod ebpf_toolchain;

fn main() -> ExitCode {
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), String> {
    let workspace = directory("CARGO_MANIFEST_DIR")?.join("..");
    let workspace = workspace
        .canonicalize()
        .map_err(|error| format!("failed to resolve {}: {error}", workspace.display()))?;
    let out = directory("OUT_DIR")?.join("lb-xdp.o");

    for source in [
        "lb-ebpf/src",
        "lb-ebpf/Cargo.toml",
        "Cargo.toml",
        "Cargo.lock",
    ] {
        rerun_if_changed(&workspace.join(source));
    }
    rerun_if_changed(&workspace.join("xtask/src/ebpf_toolchain.rs"));
    println!(
        "cargo:rerun-if-env-changed={}",
        ebpf_toolchain::RUSTC_VARIABLE
    );

    match ebpf_toolchain::find(&workspace) {
        Some(toolchain) => {
            rerun_if_changed(&toolchain.compiler.rustc);
            rerun_if_changed(&toolchain.linker);
            toolchain
                .build(&workspace, &out)
                .map_err(|error| error.to_string())
        }
        None => {
            // A file that is not there makes cargo look again at every build.
            rerun_if_changed(&ebpf_toolchain::own_linker(&workspace));
            rerun_if_changed(&out.with_extension("missing"));
            println!(
                "cargo:warning=no BPF toolchain found, so the XDP program is left out and lbd \
                 cannot load it: run `cargo xtask setup`, then build again"
            );
            fs::write(&out, [])
                .map_err(|error| format!("failed to write {}: {error}", out.display()))
        }
    }
}

fn directory(variable: &str) -> Result<PathBuf, String> {
    env::var_os(variable)
        .map(PathBuf::from)
        .ok_or_else(|| format!("{variable} is not set: run this through cargo"))
}

fn rerun_if_changed(path: &Path) {
    println!("cargo:rerun-if-changed={}", path.display());
}
