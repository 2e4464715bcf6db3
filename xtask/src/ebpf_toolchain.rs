//! Finds a Rust compiler and a linker for BPF, and builds the XDP object with them.
//!
//! Shared by `cargo xtask setup` and, through `#[path]`, by `lb-control/build.rs`. It uses the
//! standard library only, so that the build script needs no dependencies.

use std::env;
use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Overrides the search: the path of the rustc that is to compile for BPF.
pub(crate) const RUSTC_VARIABLE: &str = "HEADGATE_BPF_RUSTC";

const TARGET: &str = "bpfel-unknown-none";

/// Debug info becomes BTF; the packet path reads headers at whatever alignment they have.
const RUSTFLAGS: &str =
    "-C debuginfo=2 -C link-arg=--btf -C target-feature=+allows-misaligned-mem-access";

/// Variables that an outer cargo, rustup or clippy sets for its own build and that would change
/// ours. A trailing `*` stands for any ending.
const LEAKING: &[&str] = &[
    "RUSTC*",
    "RUSTDOC*",
    "RUSTFLAGS",
    "RUSTUP_TOOLCHAIN",
    "CARGO_BUILD_*",
    "CARGO_CFG_*",
    "CARGO_ENCODED_*",
    "CARGO_FEATURE_*",
    "CARGO_MAKEFLAGS",
    "CARGO_MANIFEST_*",
    "CARGO_PKG_*",
    "CARGO_PRIMARY_PACKAGE",
    "CARGO_PROFILE_*",
    "CARGO_TARGET_*",
    "CLIPPY_*",
    "LD_LIBRARY_PATH",
    "MAKEFLAGS",
    "MFLAGS",
    "OUT_DIR",
];

/// A compiler that can produce BPF code, by where it gets its `core` from.
#[derive(Clone, Debug)]
pub(crate) struct Compiler {
    pub(crate) rustc: PathBuf,
    pub(crate) core: Core,
}

/// Where the compiler gets `core` for the BPF target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Core {
    /// It is installed, compiled, next to the compiler.
    Prebuilt,
    /// Cargo compiles it from the rust-src component.
    Source,
}

/// All that is needed to build the XDP object.
#[derive(Clone, Debug)]
pub(crate) struct Toolchain {
    pub(crate) compiler: Compiler,
    pub(crate) linker: PathBuf,
}

/// Why the object could not be built.
#[derive(Debug)]
pub(crate) enum BuildError {
    /// Cargo or the compiler failed; this is what they said.
    Compile(String),
    /// A file or a program could not be used.
    Io(String),
}

impl fmt::Display for Compiler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let core = match self.core {
            Core::Prebuilt => "with a prebuilt core",
            Core::Source => "building core from rust-src",
        };
        write!(f, "{} ({core})", self.rustc.display())
    }
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BuildError::Compile(output) => write!(f, "failed to compile the XDP program\n{output}"),
            BuildError::Io(what) => f.write_str(what),
        }
    }
}

/// The compiler and linker to use, or `None` when either is missing.
pub(crate) fn find(workspace: &Path) -> Option<Toolchain> {
    Some(Toolchain {
        compiler: find_compiler()?,
        linker: find_linker(workspace)?,
    })
}

/// The named compiler, else a rustup nightly with rust-src, else any rustc with a prebuilt core.
pub(crate) fn find_compiler() -> Option<Compiler> {
    if let Some(named) = env::var_os(RUSTC_VARIABLE) {
        return inspect(Path::new(&named));
    }
    rustup_nightly().or_else(prebuilt)
}

/// The workspace's own bpf-linker, else the one on the PATH.
pub(crate) fn find_linker(workspace: &Path) -> Option<PathBuf> {
    let own = own_linker(workspace);
    if own.is_file() {
        Some(own)
    } else {
        on_path("bpf-linker")
    }
}

/// Where `cargo xtask setup` installs bpf-linker.
pub(crate) fn own_linker(workspace: &Path) -> PathBuf {
    workspace.join(".tools/bin/bpf-linker")
}

/// The first executable of that name on the PATH.
pub(crate) fn on_path(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .map(|directory| directory.join(program))
        .find(|file| file.is_file())
}

impl Toolchain {
    /// Compiles the XDP program and puts the object, with BTF but without DWARF, at `out`.
    pub(crate) fn build(&self, workspace: &Path, out: &Path) -> Result<(), BuildError> {
        // A target directory of its own: an outer cargo holds the lock of the usual one.
        let target_directory = workspace.join("target/ebpf");
        let mut cargo = self.cargo();
        cargo
            .current_dir(workspace)
            .env("RUSTC", &self.compiler.rustc)
            .env("RUSTFLAGS", RUSTFLAGS)
            .env("CARGO_TARGET_DIR", &target_directory)
            .env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", &self.linker)
            .args(["build", "--profile", "ebpf", "--target", TARGET])
            .args(["-p", "lb-ebpf", "--bin", "lb-xdp", "--features", "bpf"]);
        match self.compiler.core {
            // A stable compiler: let just the one crate use the unstable features it needs.
            Core::Prebuilt => cargo.env("RUSTC_BOOTSTRAP", "aya_ebpf"),
            Core::Source => cargo
                .env("RUSTC_BOOTSTRAP", "1")
                .args(["-Z", "build-std=core"]),
        };
        let output = cargo
            .output()
            .map_err(|error| BuildError::Io(format!("failed to start cargo: {error}")))?;
        if !output.status.success() {
            return Err(BuildError::Compile(
                String::from_utf8_lossy(&output.stderr).into_owned(),
            ));
        }
        strip(&target_directory.join(TARGET).join("ebpf/lb-xdp"), out)
    }

    /// The cargo that belongs to the compiler if it has one, since `-Z` needs a fitting version.
    fn cargo(&self) -> Command {
        let sibling = self.compiler.rustc.with_file_name("cargo");
        let program = match self.compiler.core {
            Core::Source if sibling.is_file() => sibling.into_os_string(),
            _ => env::var_os("CARGO").unwrap_or_else(|| "cargo".into()),
        };
        clean_command(program)
    }
}

/// Copies the object without its DWARF sections. They are only size, so no tool, no harm.
fn strip(object: &Path, out: &Path) -> Result<(), BuildError> {
    let versions = (18..=30)
        .rev()
        .map(|version| format!("llvm-strip-{version}"));
    let tool = ["llvm-strip".to_owned()]
        .into_iter()
        .chain(versions)
        .find_map(|name| on_path(&name));
    let stripped = tool.is_some_and(|tool| {
        let mut command = clean_command(tool);
        command.arg("-g").arg(object).arg("-o").arg(out);
        command.output().is_ok_and(|output| output.status.success())
    });
    if stripped {
        return Ok(());
    }
    fs::copy(object, out).map(drop).map_err(|error| {
        BuildError::Io(format!(
            "failed to copy {} to {}: {error}",
            object.display(),
            out.display()
        ))
    })
}

fn rustup_nightly() -> Option<Compiler> {
    let list = stdout_of(clean_command("rustup").args(["toolchain", "list"]))?;
    list.lines()
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| name.starts_with("nightly"))
        .filter_map(|name| {
            stdout_of(clean_command("rustup").args(["which", "--toolchain", name, "rustc"]))
        })
        .find_map(|rustc| inspect(Path::new(rustc.trim())))
}

fn prebuilt() -> Option<Compiler> {
    [on_path("rustc"), Some("/usr/bin/rustc".into())]
        .into_iter()
        .flatten()
        .filter(|rustc| rustc.is_file())
        .filter_map(|rustc| inspect(&rustc))
        .find(|compiler| compiler.core == Core::Prebuilt)
}

fn inspect(rustc: &Path) -> Option<Compiler> {
    let sysroot = stdout_of(clean_command(rustc).args(["--print", "sysroot"]))?;
    let rustlib = Path::new(sysroot.trim()).join("lib/rustlib");
    let core = if has_prebuilt_core(&rustlib) {
        Core::Prebuilt
    } else if rustlib.join("src/rust/library/core").is_dir() {
        Core::Source
    } else {
        return None;
    };
    Some(Compiler {
        rustc: rustc.to_owned(),
        core,
    })
}

fn has_prebuilt_core(rustlib: &Path) -> bool {
    fs::read_dir(rustlib.join(TARGET).join("lib"))
        .into_iter()
        .flatten()
        .flatten()
        .any(|entry| entry.file_name().to_string_lossy().starts_with("libcore"))
}

/// A command that sees none of what an outer cargo set for itself.
pub(crate) fn clean_command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(leaks) {
            command.env_remove(name);
        }
    }
    command
}

fn leaks(name: &str) -> bool {
    LEAKING
        .iter()
        .any(|pattern| match pattern.strip_suffix('*') {
            Some(start) => name.starts_with(start),
            None => name == *pattern,
        })
}

fn stdout_of(command: &mut Command) -> Option<String> {
    let output = command
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    String::from_utf8(output.stdout).ok()
}
