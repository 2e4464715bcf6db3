//! Where maps and links are pinned, and who may change that.
//!
//! Below the configured directory there is one directory for each layout of the maps, with a pin
//! for each map, and one for each mode of attachment, with a pin for each interface. A pinned link
//! holds the program where it is when lbd is gone; a new lbd replaces the program on it without
//! losing a packet.

use super::Error;
use lb_ebpf::abi;
use nix::mount::{MsFlags, mount};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Where everything is pinned.
#[derive(Clone, Debug)]
pub struct Pins {
    root: PathBuf,
}

impl Pins {
    /// Pins below `root`, which must be on a BPF file system, or be in the place where one is
    /// usually mounted.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }

    /// Where a map of this version is pinned.
    #[must_use]
    pub fn map(&self, name: &str) -> PathBuf {
        self.maps().join(name)
    }

    fn maps(&self) -> PathBuf {
        self.root.join(format!("v{}", abi::VERSION))
    }

    fn links(&self, mode: Mode) -> PathBuf {
        self.root.join(format!("links-{mode}"))
    }

    /// A link's pin tells how it is attached by the directory that it is in.
    pub(super) fn link(&self, mode: Mode, interface: &str) -> PathBuf {
        self.links(mode).join(interface)
    }

    /// Interfaces that a program is attached to.
    pub fn attached(&self) -> Result<Vec<(String, Mode)>, Error> {
        let mut attached = Vec::new();
        for mode in Mode::ALL {
            let entries = match fs::read_dir(self.links(mode)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                entries => entries.map_err(|error| Error::new("list the pinned links", error))?,
            };
            for entry in entries {
                let entry = entry.map_err(|error| Error::new("list the pinned links", error))?;
                attached.push((entry.file_name().to_string_lossy().into_owned(), mode));
            }
        }
        Ok(attached)
    }

    /// Makes the caller the only one who writes what is pinned here, until the lock is dropped.
    pub fn lock(&self) -> Result<Lock, Error> {
        self.create()?;
        let action = || format!("lock {}", self.root.display());
        let root = fs::File::open(&self.root).map_err(|error| Error::new(action(), error))?;
        match root.try_lock() {
            Ok(()) => Ok(Lock { _root: root }),
            Err(fs::TryLockError::WouldBlock) => Err(Error::new(
                action(),
                "another lbd runs with what is pinned there: stop it first",
            )),
            Err(fs::TryLockError::Error(error)) => Err(Error::new(action(), error)),
        }
    }

    /// The directories of this and of other versions, and of the links; nobody else's.
    fn directories(&self) -> impl Iterator<Item = PathBuf> {
        let is_version = |name: &str| {
            name.strip_prefix('v')
                .is_some_and(|number| number.parse::<u32>().is_ok())
        };
        let entries = fs::read_dir(&self.root).into_iter().flatten().flatten();
        let versions = entries
            .filter(move |entry| entry.file_name().to_str().is_some_and(is_version))
            .map(|entry| entry.path());
        versions
            .chain(Mode::ALL.map(|mode| self.links(mode)))
            .filter(|path| path.is_dir())
    }

    /// Whether anything may be pinned.
    pub(super) fn exist(&self) -> bool {
        self.root.exists()
    }

    /// Removes all pins, of all versions.
    pub(super) fn remove(&self) -> Result<(), Error> {
        let directories: Vec<_> = self.directories().collect();
        for directory in directories {
            let remove = || -> io::Result<()> {
                for pin in fs::read_dir(&directory)? {
                    fs::remove_file(pin?.path())?;
                }
                fs::remove_dir(&directory)
            };
            remove()
                .map_err(|error| Error::new(format!("remove {}", directory.display()), error))?;
        }
        // Fails where the root is a mount point; an empty directory harms nobody.
        let _ = fs::remove_dir(&self.root);
        Ok(())
    }

    /// Makes the directories, and mounts a BPF file system where one usually is.
    pub(super) fn create(&self) -> Result<(), Error> {
        const USUAL: &str = "/sys/fs/bpf";
        let on_bpffs = |path: &Path| {
            path.ancestors()
                .find(|path| path.exists())
                .and_then(|path| statfs(path).ok())
                .is_some_and(|info| info.filesystem_type() == BPF_FS_MAGIC)
        };
        if !on_bpffs(&self.root) && self.root.starts_with(USUAL) {
            mount(
                Some("bpf"),
                USUAL,
                Some("bpf"),
                MsFlags::empty(),
                None::<&str>,
            )
            .map_err(|error| Error::new(format!("mount a BPF file system on {USUAL}"), error))?;
        }
        if !on_bpffs(&self.root) {
            let advice = format!("mount -t bpf bpf {}", self.root.display());
            return Err(Error::new(
                format!("pin maps in {}", self.root.display()),
                format!("it is not on a BPF file system; `{advice}` makes it one"),
            ));
        }
        for directory in [
            self.maps(),
            self.links(Mode::Native),
            self.links(Mode::Generic),
        ] {
            fs::create_dir_all(&directory)
                .map_err(|error| Error::new(format!("create {}", directory.display()), error))?;
        }
        Ok(())
    }
}

/// Held by whoever may change what is pinned. The kernel drops it with the process.
#[derive(Debug)]
pub struct Lock {
    _root: fs::File,
}

/// How the program is attached to an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// By the driver, before the kernel allocates anything.
    Native,
    /// By the network stack: works everywhere, and is slower.
    Generic,
}

impl Mode {
    pub(super) const ALL: [Self; 2] = [Self::Native, Self::Generic];
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Native => "native",
            Self::Generic => "generic",
        })
    }
}
