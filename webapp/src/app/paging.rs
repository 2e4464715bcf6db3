//! Pages by key: each begins where another ended, however much was written in between.

use super::form::Form;

/// Posts on a page.
pub(crate) const SIZE: usize = 20;

/// Where a page is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Place {
    /// At the newest.
    #[default]
    Newest,
    /// What is older than this.
    Before(u64),
    /// What is newer than this.
    After(u64),
}

/// A page's items, newest first, and the keys of its neighbours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Page<T> {
    pub(crate) items: Vec<T>,
    /// There is more that is older than this.
    pub(crate) older: Option<u64>,
    /// There is more that is newer than this.
    pub(crate) newer: Option<u64>,
}

impl Place {
    /// From `?before=` or `?after=`. `None`: neither a place nor none given.
    pub(crate) fn parse(query: &Form) -> Option<Self> {
        match (query.find("before"), query.find("after")) {
            (None, None) => Some(Place::Newest),
            (Some(key), None) => key.parse().ok().map(Place::Before),
            (None, Some(key)) => key.parse().ok().map(Place::After),
            (Some(_), Some(_)) => None,
        }
    }
}

impl<T> Page<T> {
    /// A page from one row more than fits, in the order of the search: oldest first for
    /// [`Place::After`], newest first for the others.
    pub(crate) fn of(place: Place, size: usize, mut rows: Vec<T>, key: impl Fn(&T) -> u64) -> Self {
        let more = rows.len() > size;
        rows.truncate(size);
        if matches!(place, Place::After(_)) {
            rows.reverse();
        }
        let first = rows.first().map(&key);
        let last = rows.last().map(&key);
        let (older, newer) = match place {
            Place::Newest => (last.filter(|_| more), None),
            // Where the reader came from is on the other side.
            Place::Before(from) => (last.filter(|_| more), first.or(from.checked_sub(1))),
            Place::After(from) => (last.or(from.checked_add(1)), first.filter(|_| more)),
        };
        Self {
            items: rows,
            older,
            newer,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The search that the database does, over keys 1 to `most`.
    fn page(place: Place, size: usize, keys: &[u64]) -> Page<u64> {
        let mut found: Vec<u64> = match place {
            Place::Newest => keys.iter().rev().copied().collect(),
            Place::Before(key) => keys.iter().rev().copied().filter(|k| *k < key).collect(),
            Place::After(key) => keys.iter().copied().filter(|k| *k > key).collect(),
        };
        found.truncate(size + 1);
        Page::of(place, size, found, |key| *key)
    }

    #[test]
    fn forth_and_back_meet_each_item_once() {
        for most in 0..12 {
            let keys: Vec<u64> = (1..=most).map(|n| n * 3).collect();
            let mut seen = Vec::new();
            let mut at = page(Place::Newest, 5, &keys);
            assert_eq!(at.newer, None);
            loop {
                seen.extend(at.items.clone());
                let Some(older) = at.older else { break };
                at = page(Place::Before(older), 5, &keys);
            }
            let mut expected = keys.clone();
            expected.reverse();
            assert_eq!(seen, expected);

            let mut back = at.items.clone();
            while let Some(newer) = at.newer {
                at = page(Place::After(newer), 5, &keys);
                back = [at.items.clone(), back].concat();
            }
            assert_eq!(back, expected);
        }
    }

    #[test]
    fn what_is_written_meanwhile_moves_nothing() {
        let mut keys: Vec<u64> = (1..=10).collect();
        let first = page(Place::Newest, 5, &keys);
        keys.extend([11, 12]);
        let second = page(Place::Before(first.older.unwrap()), 5, &keys);
        assert_eq!(second.items, [5, 4, 3, 2, 1]);
        assert_eq!(second.older, None);
    }

    #[test]
    fn a_page_of_nothing_leads_back() {
        let empty = page(Place::Before(1), 5, &[1, 2]);
        assert!(empty.items.is_empty());
        assert_eq!(
            page(Place::After(empty.newer.unwrap()), 5, &[1, 2]).items,
            [2, 1]
        );
        let beyond = page(Place::After(2), 5, &[1, 2]);
        assert_eq!(
            page(Place::Before(beyond.older.unwrap()), 5, &[1, 2]).items,
            [2, 1]
        );
        assert_eq!(page(Place::Before(0), 5, &[1]).newer, None);
        assert_eq!(page(Place::After(u64::MAX), 5, &[1]).older, None);
    }

    #[test]
    fn a_place_is_one_number() {
        let place = |query: &str| Place::parse(&Form::parse(query.as_bytes()).unwrap());
        assert_eq!(place(""), Some(Place::Newest));
        assert_eq!(place("before=7&utm=x"), Some(Place::Before(7)));
        assert_eq!(place("after=7"), Some(Place::After(7)));
        for bad in [
            "before=",
            "before=-1",
            "before=1%20",
            "before=x",
            "after=1&before=2",
            "before=18446744073709551616",
            "after=1'--",
        ] {
            assert_eq!(place(bad), None, "{bad}");
        }
    }
}
