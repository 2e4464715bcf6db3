//! Reads the files below a root.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use hyper::HeaderMap;
use hyper::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG,
    HeaderValue, LAST_MODIFIED, VARY,
};
use sha2::{Digest as _, Sha256};

use super::compress::compress;
use super::{Asset, Assets, Coding, Entry, Keeping, Representation, Source, kind};

/// The file that is served for its directory.
const INDEX: &str = "index.html";

pub(super) fn scan(root: &Path, keeping: Keeping) -> Result<Assets> {
    let root = fs::canonicalize(root)
        .with_context(|| format!("failed to open the root {}", root.display()))?;
    let mut scan = Scan {
        root: root.clone(),
        keeping,
        assets: Assets::default(),
        above: Vec::new(),
    };
    scan.directory(&root, "")?;
    Ok(scan.assets)
}

struct Scan {
    root: PathBuf,
    keeping: Keeping,
    assets: Assets,
    /// The directories that are being read, one below the other.
    above: Vec<PathBuf>,
}

impl Scan {
    fn directory(&mut self, path: &Path, name: &str) -> Result<()> {
        let canonical = fs::canonicalize(path)?;
        if self.above.contains(&canonical) {
            tracing::warn!(path = %path.display(), "not served: it leads to a directory above it");
            return Ok(());
        }
        self.above.push(canonical);
        let entries = fs::read_dir(path)
            .with_context(|| format!("failed to read the directory {}", path.display()))?;
        for entry in entries {
            let entry = entry?;
            // Hidden, or no name that a request could ask for.
            let file_name = entry.file_name();
            let Some(file_name) = file_name.to_str().filter(|name| !name.starts_with('.')) else {
                continue;
            };
            let below = match name {
                "" => file_name.to_owned(),
                directory => format!("{directory}/{file_name}"),
            };
            self.entry(&entry.path(), &below)?;
        }
        self.above.pop();
        Ok(())
    }

    fn entry(&mut self, path: &Path, name: &str) -> Result<()> {
        // A link that leads nowhere, or out of the root, is passed over; one that stays is not.
        let inside = fs::canonicalize(path).is_ok_and(|target| target.starts_with(&self.root));
        if !inside {
            tracing::warn!(path = %path.display(), "not served: it leads out of the root");
            return Ok(());
        }
        let metadata = fs::metadata(path)?;
        if metadata.is_dir() {
            return self.directory(path, name);
        }
        // Neither sockets nor FIFOs: opening one would wait for a writer.
        if metadata.is_file() {
            let asset = read(path, name, self.keeping)
                .with_context(|| format!("failed to read {}", path.display()))?;
            if let Some(directory) = name.strip_suffix(INDEX)
                && let Some(directory) = directory.strip_suffix('/')
            {
                self.assets
                    .entries
                    .insert(directory.into(), Entry::Directory);
            }
            self.assets
                .entries
                .insert(name.into(), Entry::File(Box::new(asset)));
        }
        Ok(())
    }
}

fn read(path: &Path, name: &str, keeping: Keeping) -> Result<Asset> {
    let mut file = File::open(path)?;
    let metadata = file.metadata()?;
    let modified = metadata.modified()?;
    let content_type = kind::content_type(name);
    let mut common = HeaderMap::new();
    common.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    common.insert(CACHE_CONTROL, kind::cache_control(name));
    common.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    let date = httpdate::fmt_http_date(modified);
    common.insert(LAST_MODIFIED, HeaderValue::try_from(date)?);

    let (identity, compressed) = if metadata.len() > keeping.in_memory {
        let tag = of_file(modified, metadata.len());
        let source = Source::File(Arc::new(file), metadata.len());
        (
            representation(Coding::Identity, source, &tag, &common)?,
            Vec::new(),
        )
    } else {
        let mut content = Vec::new();
        file.read_to_end(&mut content)?;
        let tag = of_content(&content);
        let mut smaller = Vec::new();
        if kind::is_compressible(content_type) {
            for coding in Coding::COMPRESSED {
                smaller.extend(compress(&content, coding)?.map(|bytes| (coding, bytes)));
            }
        }
        if !smaller.is_empty() {
            common.insert(VARY, HeaderValue::from_static("accept-encoding"));
        }
        let in_memory = |coding, bytes| {
            let source = Source::Memory(Bytes::from(bytes));
            representation(coding, source, &tag, &common)
        };
        let compressed: Result<_> = smaller
            .into_iter()
            .map(|(coding, bytes)| in_memory(coding, bytes))
            .collect();
        (in_memory(Coding::Identity, content)?, compressed?)
    };
    Ok(Asset {
        modified: whole_seconds(modified),
        identity,
        compressed,
    })
}

fn representation(
    coding: Coding,
    source: Source,
    tag: &str,
    common: &HeaderMap,
) -> Result<Representation> {
    let etag = HeaderValue::try_from(format!("\"{tag}{}\"", coding.suffix()))?;
    let mut headers = common.clone();
    headers.insert(ETAG, etag.clone());
    if let Some(name) = coding.name() {
        headers.insert(CONTENT_ENCODING, name);
    }
    let mut representation = Representation {
        coding,
        source,
        etag,
        headers,
    };
    let length = representation.length().into();
    representation.headers.insert(CONTENT_LENGTH, length);
    Ok(representation)
}

fn of_content(content: &[u8]) -> String {
    let hash = Sha256::digest(content);
    hash.iter()
        .take(12)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// A large file is not read just to name it. Nanoseconds tell one write from the next.
fn of_file(modified: SystemTime, length: u64) -> String {
    let since = modified
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    format!("{:x}-{length:x}", since.as_nanos())
}

/// As a header tells it.
fn whole_seconds(time: SystemTime) -> SystemTime {
    let since = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    SystemTime::UNIX_EPOCH + Duration::from_secs(since.as_secs())
}
