//! The secret that the services' hash keys are made from.

use super::Replacement;
use anyhow::Context as _;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;

pub(super) const FILE: &str = "secret";

/// The host's secret: made at random when it is asked for the first time, then kept.
pub fn load_or_create(state_dir: &Path) -> anyhow::Result<[u64; 2]> {
    let path = state_dir.join(FILE);
    match fs::read(&path) {
        Ok(bytes) => parse(&bytes).with_context(|| {
            format!(
                "{} must have 16 bytes; remove it to make a new one",
                path.display()
            )
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => create(state_dir),
        Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
    }
}

/// Puts this one in the place of the host's own.
pub(super) fn prepare(state_dir: &Path, secret: [u64; 2]) -> anyhow::Result<Replacement> {
    let bytes: [u8; 16] = bytemuck::cast(secret);
    Replacement::prepare(state_dir, FILE, &bytes)
}

fn parse(bytes: &[u8]) -> Option<[u64; 2]> {
    let halves: [u8; 16] = bytes.try_into().ok()?;
    Some(bytemuck::cast(halves))
}

fn create(state_dir: &Path) -> anyhow::Result<[u64; 2]> {
    let mut bytes = [0u8; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    let secret = bytemuck::cast(bytes);
    prepare(state_dir, secret)?.finish()?;
    Ok(secret)
}
