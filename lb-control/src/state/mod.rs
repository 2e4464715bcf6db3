//! What outlives the daemon, in the state directory.

pub mod changes;
pub mod identity;
pub mod secret;

use anyhow::{Context as _, Result};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

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
    use super::{changes, replace, secret};
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
