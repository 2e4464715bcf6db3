//! What the CLI changed.

use crate::config::Overlay;
use crate::sync::Version;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

/// What outlives the daemon.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    /// The revision of the configuration.
    pub revision: u64,
    /// What the CLI changed.
    pub overlay: Overlay,
    /// Which configuration it is to the other host of a pair. Its epoch is the revision.
    #[serde(default)]
    pub version: Option<Version>,
}

const FILE: &str = "changes.json";

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

/// Keeps `kept`.
///
/// # Errors
///
/// If it cannot be written. The old one is still there then.
pub fn save(state_dir: &Path, kept: &Kept) -> Result<()> {
    let mut text = serde_json::to_vec_pretty(kept)?;
    text.push(b'\n');
    super::replace(state_dir, FILE, &text)
}
