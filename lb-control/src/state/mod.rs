//! What outlives the daemon, in the state directory.

pub mod changes;
pub mod identity;
pub mod secret;

use anyhow::{Context as _, Result};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// All that a mode grants to a file's group and to others.
const OTHERS: u32 = 0o077;

/// Which secrets of this host others than their owner may read or write, and what is to be done.
#[must_use]
pub fn exposed(state_dir: &Path) -> Vec<String> {
    let secrets = [
        (state_dir.join(secret::FILE), state_dir.join(secret::FILE)),
        (
            identity::key_file(state_dir),
            identity::directory(state_dir),
        ),
    ];
    let judge = |(secret, all): (PathBuf, PathBuf)| {
        // One that is missing is nobody's, and one that cannot be read is told of elsewhere.
        let mode = fs::metadata(&secret).ok()?.mode() & 0o777;
        let (secret, all) = (secret.display(), all.display());
        (mode & OTHERS != 0).then(|| {
            format!(
                "{secret} is a secret, and its mode {mode:o} lets others at it: `chmod 600 {secret}`; if \
                 somebody may have read it, remove {all}, start lbd again, and pair the hosts again"
            )
        })
    };
    secrets.into_iter().filter_map(judge).collect()
}

/// Writes a file that only its owner may read. After a crash there is either the old one or the new
/// one, whole.
fn replace(state_dir: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    let path = state_dir.join(name);
    let temporary = state_dir.join(format!(".{name}.new"));
    let write = || {
        DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(state_dir)?;
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, &path)?;
        // The rename itself must reach the disk, too.
        File::open(state_dir)?.sync_all()
    };
    write().with_context(|| format!("failed to write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::{changes, exposed, identity, replace, secret};
    use std::fs::{Permissions, set_permissions};
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn the_secret_stays_the_same_and_is_nobody_elses() {
        let directory = tempfile::tempdir().unwrap();
        let state_dir = directory.path().join("state");
        let made = secret::load_or_create(&state_dir).unwrap();
        assert_eq!(secret::load_or_create(&state_dir).unwrap(), made);
        let metadata = std::fs::metadata(state_dir.join("secret")).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
        let other = tempfile::tempdir().unwrap();
        assert_ne!(secret::load_or_create(other.path()).unwrap(), made);
        std::fs::write(state_dir.join("secret"), "short").unwrap();
        let error = format!("{:#}", secret::load_or_create(&state_dir).unwrap_err());
        assert!(error.contains("16 bytes"), "{error}");
    }

    #[test]
    fn secrets_that_others_may_read_are_named() {
        let directory = tempfile::tempdir().unwrap();
        let state_dir = directory.path();
        assert_eq!(exposed(state_dir), [""; 0]);
        secret::load_or_create(state_dir).unwrap();
        identity::Identity::load_or_create(state_dir).unwrap();
        assert_eq!(exposed(state_dir), [""; 0]);
        for (name, mode) in [("secret", 0o640), ("pair/key.pem", 0o604)] {
            let path = state_dir.join(name);
            set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let warnings = exposed(state_dir);
            assert_eq!(warnings.len(), 1, "{warnings:?}");
            let advice = format!(
                "mode {mode:o} lets others at it: `chmod 600 {}`",
                path.display()
            );
            assert!(warnings[0].contains(&advice), "{warnings:?}");
            set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        }
    }

    #[test]
    fn a_file_that_cannot_be_written_stays_as_it_was() {
        let directory = tempfile::tempdir().unwrap();
        replace(directory.path(), "a", b"old").unwrap();
        // In the way of the temporary file.
        std::fs::create_dir(directory.path().join(".a.new")).unwrap();
        assert!(replace(directory.path(), "a", b"new").is_err());
        assert_eq!(std::fs::read(directory.path().join("a")).unwrap(), b"old");
        assert_eq!(changes::load(directory.path()).unwrap(), None);
    }
}
