//! Keeps what the CLI changed, in the state directory.

use super::overlay::Overlay;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// What outlives the daemon.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    /// The revision of the configuration.
    pub revision: u64,
    /// What the CLI changed.
    pub overlay: Overlay,
}

const FILE: &str = "changes.json";
const TEMPORARY: &str = ".changes.json.new";

/// What was kept, if anything was.
///
/// # Errors
///
/// If it cannot be read, or is not what [`save`] wrote.
pub fn load(state_dir: &Path) -> Result<Option<Kept>> {
    let path = state_dir.join(FILE);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(error).with_context(|| {
                format!("failed to read the changes made by CLI: {}", path.display())
            });
        }
    };
    let kept = serde_json::from_slice(&text).with_context(|| {
        format!(
            "{} is damaged: mend it, or move it away to go on with the configuration file alone",
            path.display()
        )
    })?;
    Ok(Some(kept))
}

/// Keeps `kept`. After a crash there is either the old one or the new one.
///
/// # Errors
///
/// If it cannot be written. The old one is still there then.
pub fn save(state_dir: &Path, kept: &Kept) -> Result<()> {
    let path = state_dir.join(FILE);
    let temporary = state_dir.join(TEMPORARY);
    write(state_dir, &temporary, &path, kept)
        .with_context(|| format!("failed to keep the change in {}", path.display()))
}

fn write(state_dir: &Path, temporary: &Path, path: &Path, kept: &Kept) -> Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(state_dir)
        .with_context(|| format!("failed to make {}", state_dir.display()))?;
    let mut text = serde_json::to_vec_pretty(kept)?;
    text.push(b'\n');
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(temporary)
        .with_context(|| format!("failed to open {}", temporary.display()))?;
    file.write_all(&text)
        .and_then(|()| file.sync_all())
        .with_context(|| format!("failed to write {}", temporary.display()))?;
    fs::rename(temporary, path)
        .with_context(|| format!("failed to rename {}", temporary.display()))?;
    // The rename itself must reach the disk too.
    File::open(state_dir)
        .and_then(|directory| directory.sync_all())
        .with_context(|| format!("failed to sync {}", state_dir.display()))
}
