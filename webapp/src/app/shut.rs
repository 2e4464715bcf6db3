//! Who was refused, and until when, in memory that does not grow: so that a flood of attempts that
//! are refused anyway costs the database nothing.

use std::hash::{BuildHasher as _, Hash, RandomState};

use super::store::Moment;

/// Entries that share a place; the one that ends first makes room when all are taken.
const WAYS: usize = 8;

/// Places. With the entries of each: half a megabyte.
const PLACES: usize = 4096;

/// Who is watched is found by a keyed hash, so nobody can aim at the place of another. Someone
/// with very many addresses can push entries out; then the database is asked again.
pub(crate) struct Shut {
    hasher: RandomState,
    places: Box<[[Entry; WAYS]]>,
}

#[derive(Clone, Copy)]
struct Entry {
    tag: u64,
    until: Moment,
}

/// One that has ended.
const FREE: Entry = Entry {
    tag: 0,
    until: Moment(0),
};

impl Shut {
    pub(crate) fn new() -> Self {
        Self {
            hasher: RandomState::new(),
            places: vec![[FREE; WAYS]; PLACES].into_boxed_slice(),
        }
    }

    /// Remembers that nothing is to be had for `who` until then.
    pub(crate) fn shut(&mut self, who: impl Hash, until: Moment) {
        let tag = self.hasher.hash_one(who);
        let place = self.place(tag);
        let known = place.iter().position(|entry| entry.tag == tag);
        let first_free = || (0..WAYS).min_by_key(|&way| place[way].until);
        if let Some(way) = known.or_else(first_free) {
            place[way] = Entry { tag, until };
        }
    }

    /// Until when nothing is to be had for `who`, if that is later than now.
    pub(crate) fn until(&mut self, who: impl Hash, now: Moment) -> Option<Moment> {
        let tag = self.hasher.hash_one(who);
        let mut entries = self.place(tag).iter();
        let found = entries.find(|entry| entry.tag == tag && entry.until > now)?;
        Some(found.until)
    }

    fn place(&mut self, tag: u64) -> &mut [Entry; WAYS] {
        // The remainder is below the number of places.
        &mut self.places[(tag % PLACES as u64) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_refused_is_until_then_and_nobody_else_is() {
        let mut shut = Shut::new();
        shut.shut("alice", Moment(30));
        assert_eq!(shut.until("alice", Moment(29)), Some(Moment(30)));
        assert_eq!(shut.until("alice", Moment(30)), None);
        assert_eq!(shut.until("bob", Moment(0)), None);
        shut.shut("alice", Moment(50));
        assert_eq!(shut.until("alice", Moment(30)), Some(Moment(50)));
    }

    #[test]
    fn a_flood_of_others_takes_no_memory_and_those_that_last_stay() {
        let mut shut = Shut::new();
        let before = std::mem::size_of_val(&*shut.places);
        for other in 0..200_000u32 {
            shut.shut(other, Moment(1 + u64::from(other / 10_000)));
        }
        assert_eq!(std::mem::size_of_val(&*shut.places), before);
        assert_eq!(shut.until(199_999u32, Moment(0)), Some(Moment(20)));
        assert_eq!(shut.until(0u32, Moment(0)), None);
    }
}
