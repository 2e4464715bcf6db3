//! What outlives the daemon, in the state directory.

pub mod changes;
pub mod identity;
pub mod secret;

use anyhow::{Context as _, Result};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use tokio_rustls::rustls::pki_types::CertificateDer;

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

/// From now on, this is the other host; and this is the pair's secret, if it was this host that joined.
///
/// # Errors
///
/// If it is no certificate, or there is no room for both. What was kept before is still there then.
pub fn save_peer(
    state_dir: &Path,
    certificate: &CertificateDer<'_>,
    secret: Option<[u64; 2]>,
) -> Result<()> {
    let peer = identity::prepare_peer(state_dir, certificate)?;
    let secret = secret.map(|secret| secret::prepare(state_dir, secret));
    let secret = secret.transpose()?;
    peer.finish()?;
    secret.map_or(Ok(()), Replacement::finish)
}

/// A file that is written, and not in its place yet. Only its owner may read it.
struct Replacement {
    directory: PathBuf,
    name: &'static str,
}

impl Replacement {
    /// Writes all of it: where there is no room, it shows here.
    fn prepare(directory: &Path, name: &'static str, bytes: &[u8]) -> Result<Self> {
        let this = Self {
            directory: directory.to_owned(),
            name,
        };
        let write = || {
            DirBuilder::new()
                .recursive(true)
                .mode(0o755)
                .create(directory)?;
            let mut file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(this.temporary())?;
            file.write_all(bytes)?;
            file.sync_all()
        };
        this.attempt(write())?;
        Ok(this)
    }

    /// Puts it in its place. After a crash there is either the old one or the new one, whole.
    fn finish(self) -> Result<()> {
        let rename = || {
            fs::rename(self.temporary(), self.path())?;
            // The rename itself must reach the disk, too.
            File::open(&self.directory)?.sync_all()
        };
        self.attempt(rename())
    }

    fn attempt(&self, result: io::Result<()>) -> Result<()> {
        result.with_context(|| format!("failed to write {}", self.path().display()))
    }

    fn path(&self) -> PathBuf {
        self.directory.join(self.name)
    }

    fn temporary(&self) -> PathBuf {
        self.directory.join(format!(".{}.new", self.name))
    }
}

/// Writes a file that only its owner may read. After a crash there is either the old one or the new
/// one, whole.
fn replace(directory: &Path, name: &'static str, bytes: &[u8]) -> Result<()> {
    Replacement::prepare(directory, name, bytes)?.finish()
}

#[cfg(test)]
mod tests {
    use super::{changes, exposed, identity, replace, save_peer, secret};
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
    fn a_peer_and_its_secret_are_kept_together_or_not_at_all() {
        let [here, there] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let state_dir = here.path();
        let own = secret::load_or_create(state_dir).unwrap();
        identity::Identity::load_or_create(state_dir).unwrap();
        let peer = identity::Identity::load_or_create(there.path()).unwrap();
        let peer = peer.certificate();
        for blocked in ["pair/.peer.pem.new", ".secret.new", "pair/peer.pem"] {
            // In the way of what is written or renamed.
            let blocked = state_dir.join(blocked);
            std::fs::create_dir(&blocked).unwrap();
            assert!(save_peer(state_dir, peer, Some([1, 2])).is_err());
            std::fs::remove_dir(&blocked).unwrap();
            assert_eq!(secret::load_or_create(state_dir).unwrap(), own);
            assert_eq!(identity::load_peer(state_dir).unwrap(), None);
        }
        save_peer(state_dir, peer, Some([1, 2])).unwrap();
        assert_eq!(secret::load_or_create(state_dir).unwrap(), [1, 2]);
        save_peer(state_dir, peer, None).unwrap();
        assert_eq!(secret::load_or_create(state_dir).unwrap(), [1, 2]);
        let kept = identity::load_peer(state_dir).unwrap();
        assert_eq!(kept.as_ref(), Some(peer));
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
