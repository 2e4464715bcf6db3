//! The Unix socket of the API: nobody but its owner connects to it.

use super::connections::Accept;
use anyhow::{Context, Result, bail};
use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use tokio::net::{UnixListener, UnixSocket, UnixStream};

/// A socket that is listened on. Its file goes with it.
#[derive(Debug)]
pub struct Listener {
    listener: UnixListener,
    path: PathBuf,
    inode: u64,
}

impl Drop for Listener {
    fn drop(&mut self) {
        // Unless somebody has put another in its place.
        if fs::metadata(&self.path).is_ok_and(|metadata| metadata.ino() == self.inode) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Accept for Listener {
    type Stream = UnixStream;

    async fn accept(&self) -> io::Result<UnixStream> {
        Ok(self.listener.accept().await?.0)
    }
}

/// Listens at `path`, such that nobody but the owner can ever connect.
///
/// # Errors
///
/// If the socket cannot be made, above all if another daemon answers there.
pub fn bind(path: &Path) -> Result<Listener> {
    let listener = listen(path).with_context(|| format!("cannot serve the API at {path:?}"))?;
    let inode = fs::metadata(path)
        .with_context(|| format!("failed to look at {}", path.display()))?
        .ino();
    Ok(Listener {
        listener,
        path: path.to_owned(),
        inode,
    })
}

fn listen(path: &Path) -> Result<UnixListener> {
    if let Some(parent) = path.parent() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(parent)
            .with_context(|| format!("failed to make {}", parent.display()))?;
    }
    remove_stale(path)?;
    let socket = UnixSocket::new_stream().context("failed to make a socket")?;
    socket
        .bind(path)
        .with_context(|| format!("failed to bind to {}", path.display()))?;
    // Nobody can connect before listen().
    fs::set_permissions(path, Permissions::from_mode(0o600))
        .with_context(|| format!("failed to set the mode of {}", path.display()))?;
    socket
        .listen(1024)
        .with_context(|| format!("failed to listen on {}", path.display()))
}

fn remove_stale(path: &Path) -> Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => {
            return Err(error).with_context(|| format!("failed to look at {}", path.display()));
        }
        Ok(metadata) if !metadata.file_type().is_socket() => bail!(
            "{} is there and is not a socket: move it away, or configure another path",
            path.display()
        ),
        Ok(_) => {}
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => fs::remove_file(path)
            .with_context(|| format!("failed to remove the stale socket {}", path.display())),
        Err(error) => {
            Err(error).with_context(|| format!("cannot tell whether {} is in use", path.display()))
        }
        Ok(_) => bail!("another lbd answers at {}: stop it first", path.display()),
    }
}
