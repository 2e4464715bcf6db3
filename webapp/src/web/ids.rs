//! Names that are made up: of requests, and of the seams in a multipart body.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Keyed by the system's randomness at start.
static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);
static NEXT: AtomicU64 = AtomicU64::new(0);

/// A name that was given to nothing else, on no server.
pub(super) fn unique() -> String {
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{:016x}{next:08x}", KEY.hash_one("server"))
}

/// A name that nobody can foretell who has seen others.
pub(super) fn unguessable() -> String {
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    format!(
        "{:016x}{:016x}",
        KEY.hash_one(next),
        KEY.hash_one((next, "again"))
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn no_name_is_given_twice() {
        let names: HashSet<_> = (0..1000).flat_map(|_| [unique(), unguessable()]).collect();
        assert_eq!(names.len(), 2000);
    }
}
