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
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// The beginning of the names of directories of links.
const LINKS: &str = "links-";

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
        self.root.join(format!("{LINKS}{mode}"))
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
        // Not the root, which others may be able to open, and to lock.
        let ours = self.links(Mode::Native);
        let ours = fs::File::open(ours).map_err(|error| Error::new(action(), error))?;
        match ours.try_lock() {
            Ok(()) => Ok(Lock { _directory: ours }),
            Err(fs::TryLockError::WouldBlock) => Err(Error::new(
                action(),
                "another lbd runs with what is pinned there: stop it first",
            )),
            Err(fs::TryLockError::Error(error)) => Err(Error::new(action(), error)),
        }
    }

    /// The directories of this and of other versions, and of the links; nobody else's, and nothing
    /// that only looks like one.
    fn directories(&self) -> impl Iterator<Item = PathBuf> {
        let is_ours = |name: &str| {
            let version = name.strip_prefix('v');
            version.is_some_and(|number| number.parse::<u32>().is_ok()) || name.starts_with(LINKS)
        };
        let entries = fs::read_dir(&self.root).into_iter().flatten().flatten();
        entries
            .filter(|entry| entry.metadata().is_ok_and(|entry| is_own_directory(&entry)))
            .filter(move |entry| entry.file_name().to_str().is_some_and(is_ours))
            .map(|entry| entry.path())
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
                Some("mode=0700"),
            )
            .map_err(|error| Error::new(format!("mount a BPF file system on {USUAL}"), error))?;
        }
        if !on_bpffs(&self.root) {
            let advice = format!("mount -t bpf -o mode=0700 bpf {}", self.root.display());
            return Err(Error::new(
                format!("pin maps in {}", self.root.display()),
                format!("it is not on a BPF file system; `{advice}` makes it one"),
            ));
        }
        let fail = |path: &Path, error| Error::new(format!("create {}", path.display()), error);
        create_private(&self.root).map_err(|error| fail(&self.root, error))?;
        for directory in [
            self.maps(),
            self.links(Mode::Native),
            self.links(Mode::Generic),
        ] {
            create_private(&directory)
                .and_then(|()| fs::set_permissions(&directory, Permissions::from_mode(0o700)))
                .map_err(|error| fail(&directory, error))?;
        }
        Ok(())
    }
}

/// Makes a directory of our own; one that is there must be ours. Whoever can write where maps and
/// links are pinned decides about all traffic.
fn create_private(path: &Path) -> io::Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    // Without following a link that somebody put there.
    let metadata = fs::symlink_metadata(path).or_else(|error| made.and(Err(error)))?;
    let sticky = metadata.mode() & 0o1000 != 0;
    if is_own_directory(&metadata) && (sticky || metadata.mode() & 0o022 == 0) {
        return Ok(());
    }
    Err(io::Error::other(
        "it is there, and is no directory that only we can change: remove it, or set bpffs to another",
    ))
}

/// Without following links, if the metadata was got so.
fn is_own_directory(metadata: &fs::Metadata) -> bool {
    metadata.is_dir() && metadata.uid() == nix::unistd::geteuid().as_raw()
}

/// Held by whoever may change what is pinned. The kernel drops it with the process.
#[derive(Debug)]
pub struct Lock {
    _directory: fs::File,
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

#[cfg(test)]
mod tests {
    use super::{Mode, Pins, create_private};
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    #[test]
    fn only_our_own_directories_are_removed() {
        let root = tempfile::tempdir().unwrap();
        let other = tempfile::tempdir().unwrap();
        fs::write(other.path().join("precious"), "").unwrap();
        symlink(other.path(), root.path().join("v9")).unwrap();
        let pins = Pins::new(root.path());
        for name in ["v1", "v12", "links-native", "vault", "other"] {
            fs::create_dir(root.path().join(name)).unwrap();
            fs::write(root.path().join(name).join("pin"), "").unwrap();
        }
        pins.remove().unwrap();
        let mut left: Vec<_> = fs::read_dir(root.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, ["other", "v9", "vault"]);
        assert!(other.path().join("precious").exists());
    }

    #[test]
    fn what_somebody_put_there_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let other = tempfile::tempdir().unwrap();
        symlink(other.path(), root.path().join("link")).unwrap();
        assert!(create_private(&root.path().join("link")).is_err());
        fs::write(root.path().join("file"), "").unwrap();
        assert!(create_private(&root.path().join("file")).is_err());
        let foreign = root.path().join("v7");
        fs::create_dir(&foreign).unwrap();
        fs::set_permissions(&foreign, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(create_private(&foreign).is_err());
        if nix::unistd::geteuid().is_root() {
            std::os::unix::fs::chown(&foreign, Some(65_534), None).unwrap();
            fs::set_permissions(&foreign, fs::Permissions::from_mode(0o700)).unwrap();
            assert!(create_private(&foreign).is_err());
            assert_eq!(Pins::new(root.path()).directories().count(), 0);
        }
        let new = Pins::new(root.path()).links(Mode::Native);
        create_private(&new).unwrap();
        create_private(&new).unwrap();
        let mode = fs::metadata(new).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }
}
