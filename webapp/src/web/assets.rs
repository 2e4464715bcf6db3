//! Static files: read, compressed and named by their content once, then served from memory.
//!
//! What is not in the map is not served: no request touches a path of the file system. Files too
//! large for memory are held open, so that what is replaced on disk is served as it was until
//! the map is made anew.

mod answer;
mod compress;
mod kind;
mod scan;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::Result;
use bytes::Bytes;
use hyper::HeaderMap;
use hyper::header::HeaderValue;

use super::coding::{Coding, Liked};

/// How files are kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keeping {
    /// Files up to this size are held in memory.
    pub(super) in_memory: u64,
}

/// The files below a root, by their names.
#[derive(Debug, Default)]
pub(super) struct Assets {
    entries: HashMap<Box<str>, Entry>,
}

#[derive(Debug)]
enum Entry {
    File(Box<Asset>),
    /// A directory with an index, asked for without its final slash.
    Directory,
}

/// A file that is served.
#[derive(Debug)]
pub(super) struct Asset {
    modified: SystemTime,
    identity: Representation,
    /// Only what is smaller than the identity.
    compressed: Vec<Representation>,
}

/// A file in one coding.
#[derive(Debug)]
struct Representation {
    coding: Coding,
    source: Source,
    etag: HeaderValue,
    /// All that a response of 200 says of the content.
    headers: HeaderMap,
}

#[derive(Debug)]
enum Source {
    Memory(Bytes),
    File(Arc<File>, u64),
}

/// What a name stands for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Found<'a> {
    Asset(&'a Asset),
    /// The name of a directory: it is to be asked for with a slash.
    Directory,
}

impl Assets {
    /// Reads all files below a root. It takes a while: each is compressed.
    pub(super) fn read(root: &Path, keeping: Keeping) -> Result<Self> {
        scan::scan(root, keeping)
    }

    /// How many files there are.
    pub(super) fn len(&self) -> usize {
        let files = self.entries.values();
        files
            .filter(|entry| matches!(entry, Entry::File(_)))
            .count()
    }

    /// How many bytes are held in memory.
    pub(super) fn memory(&self) -> usize {
        let assets = self.entries.values().filter_map(|entry| match entry {
            Entry::File(asset) => Some(asset),
            Entry::Directory => None,
        });
        let representations =
            assets.flat_map(|asset| asset.compressed.iter().chain([&asset.identity]));
        let sizes = representations.map(|representation| match &representation.source {
            Source::Memory(bytes) => bytes.len(),
            Source::File(..) => 0,
        });
        sizes.sum()
    }

    pub(super) fn find(&self, name: &str) -> Option<Found<'_>> {
        Some(match self.entries.get(name)? {
            Entry::File(asset) => Found::Asset(asset),
            Entry::Directory => Found::Directory,
        })
    }
}

impl Found<'_> {
    /// Whether it is not in memory, and so is read for each who asks.
    pub(super) fn is_read_for_each(&self) -> bool {
        matches!(
            self,
            Self::Asset(Asset {
                identity: Representation {
                    source: Source::File(..),
                    ..
                },
                ..
            })
        )
    }
}

impl Asset {
    /// The representation that a client likes best, and of those that it likes as well as another
    /// the smallest. A client that likes none gets the identity: better than nothing.
    fn choose(&self, liked: Liked) -> &Representation {
        let mut chosen = &self.identity;
        let mut best = liked.weight(Coding::Identity);
        for representation in &self.compressed {
            let weight = liked.weight(representation.coding);
            let as_good = weight == best && representation.length() < chosen.length();
            if weight > 0 && (weight > best || as_good) {
                (chosen, best) = (representation, weight);
            }
        }
        chosen
    }
}

impl Representation {
    fn length(&self) -> u64 {
        match &self.source {
            Source::Memory(bytes) => bytes.len() as u64,
            Source::File(_, length) => *length,
        }
    }
}
