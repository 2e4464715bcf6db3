//! Which of two configurations is the newer one, and whether it contains the other.

use serde::{Deserialize, Serialize};

/// Names one configuration of a pair.
///
/// One host makes all changes of a term. Whoever makes the first change after another one's begins
/// the next term. So the changes of a term are a chain, and it is known where it left the chain of
/// the term before.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// How often the right to make changes has passed from host to host.
    pub term: u64,
    /// The epoch at which the term began.
    pub began: u64,
    /// What the configuration was then: a digest. A host may have made another change of that epoch
    /// when it did not learn that the one that it offered was taken.
    pub base: String,
    /// How many changes there were, in all terms. People know it as the revision.
    pub epoch: u64,
    /// Who made the changes of this term.
    pub author: String,
    /// What the configuration is: a digest.
    pub hash: String,
}

/// More changes than a host can have missed: one each millisecond for seven weeks.
const MISSED: u64 = 1 << 32;

/// How this host's version relates to the other's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// They are the same.
    Same,
    /// The other's contains this one, or says the same and counts further.
    Behind,
    /// This one contains the other's, or says the same and counts further.
    Ahead,
    /// Both were changed without the other.
    Diverged {
        /// Whether this one stays, and the other's is dropped.
        stays: bool,
    },
}

impl Version {
    /// The version after a change that `author` made.
    #[must_use]
    pub fn next(&self, author: &str, hash: String) -> Self {
        let same_term = self.author == author;
        Self {
            term: match same_term {
                true => self.term,
                false => self.term.saturating_add(1),
            },
            began: if same_term { self.began } else { self.epoch },
            base: if same_term { &self.base } else { &self.hash }.clone(),
            epoch: self.epoch.saturating_add(1),
            author: author.to_owned(),
            hash,
        }
    }

    /// How this version relates to `other`. Both hosts come to the same result. One that never was
    /// changed is contained in any that was.
    #[must_use]
    pub fn relation(&self, other: &Self) -> Relation {
        if self == other {
            return Relation::Same;
        }
        let stays = self.rank() > other.rank();
        let contains = |newer: &Self, older: &Self| {
            newer.hash == older.hash
                || (newer.term == older.term
                    && newer.author == older.author
                    && newer.epoch > older.epoch)
                || (newer.term > older.term && older.epoch < newer.began)
                || (newer.term > older.term
                    && older.epoch == newer.began
                    && (older.hash == newer.base || older.epoch == 0))
        };
        match stays {
            true if contains(self, other) => Relation::Ahead,
            false if contains(other, self) => Relation::Behind,
            stays => Relation::Diverged { stays },
        }
    }

    /// Whether a host can have come from `before` to this version.
    ///
    /// # Errors
    ///
    /// What cannot be. Who adopted that would soon have no number left for the next change.
    pub fn can_follow(&self, before: &Self) -> Result<(), String> {
        let changes = self.epoch.saturating_sub(before.epoch);
        let terms = self.term.saturating_sub(before.term);
        if changes > MISSED || terms > MISSED {
            return Err(format!(
                "revision {} of term {} cannot have come from revision {} of term {}: is its \
                 file changes.json damaged?",
                self.epoch, self.term, before.epoch, before.term
            ));
        }
        Ok(())
    }

    fn rank(&self) -> impl Ord + '_ {
        (
            self.term,
            self.epoch,
            &self.hash,
            &self.author,
            self.began,
            &self.base,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::{MISSED, Relation, Version};
    use proptest::prelude::*;

    fn at(author: &str, hash: &str) -> Version {
        Version::default().next(author, hash.to_owned())
    }

    #[test]
    fn changes_of_one_host_are_a_chain() {
        let one = at("a", "1");
        let two = one.next("a", "2".to_owned());
        let three = two.next("a", "3".to_owned());
        assert_eq!((three.term, three.epoch, three.began), (1, 3, 0));
        assert_eq!(three.relation(&one), Relation::Ahead);
        assert_eq!(one.relation(&three), Relation::Behind);
        assert_eq!(one.relation(&one.clone()), Relation::Same);
    }

    #[test]
    fn whoever_was_away_and_changed_nothing_drops_nothing() {
        let before = at("a", "1").next("a", "2".to_owned());
        let after = before
            .next("b", "3".to_owned())
            .next("b", "4".to_owned())
            .next("a", "5".to_owned());
        assert_eq!((after.term, after.epoch, after.began), (3, 5, 4));
        assert_eq!(before.relation(&after), Relation::Behind);
        assert_eq!(after.relation(&before), Relation::Ahead);
    }

    #[test]
    fn of_two_that_changed_one_stays() {
        let before = at("a", "1");
        let one = before.next("a", "2".to_owned()).next("a", "3".to_owned());
        let other = before.next("b", "4".to_owned());
        assert_eq!(one.relation(&other), Relation::Diverged { stays: false });
        assert_eq!(other.relation(&one), Relation::Diverged { stays: true });
    }

    #[test]
    fn a_change_that_was_offered_and_given_up_contains_no_other() {
        let before = at("a", "1");
        let given_up = before.next("a", "2".to_owned());
        let made = before.next("a", "3".to_owned());
        assert_eq!(made.relation(&given_up), Relation::Diverged { stays: true });
        let on_top = given_up.next("b", "4".to_owned());
        assert_eq!(on_top.relation(&given_up), Relation::Ahead);
        assert_eq!(on_top.relation(&before), Relation::Ahead);
        assert_eq!(on_top.relation(&made), Relation::Diverged { stays: true });
        let later = on_top.next("a", "5".to_owned());
        assert_eq!(later.relation(&on_top), Relation::Ahead);
    }

    #[test]
    fn one_that_never_was_changed_is_contained_in_any_that_was() {
        let [fresh, other] = ["b", "a"].map(|host| Version {
            author: host.to_owned(),
            hash: host.to_owned(),
            ..Version::default()
        });
        let changed = other.next("c", "1".to_owned());
        assert_eq!(fresh.relation(&changed), Relation::Behind);
        assert_eq!(changed.relation(&fresh), Relation::Ahead);
    }

    #[test]
    fn the_same_is_no_conflict() {
        let one = at("a", "1");
        let other = at("b", "1").next("b", "2".to_owned());
        let other = other.next("b", "1".to_owned());
        assert_eq!(one.relation(&other), Relation::Behind);
        assert_eq!(other.relation(&one), Relation::Ahead);
    }

    #[test]
    fn what_is_too_far_ahead_did_not_come_from_here() {
        let one = at("a", "1");
        let mut far = one.next("b", "2".to_owned());
        assert_eq!(far.can_follow(&one), Ok(()));
        assert_eq!(one.can_follow(&far), Ok(()));
        far.epoch += MISSED;
        let reason = far.can_follow(&one).unwrap_err();
        assert!(reason.contains("4294967298"), "{reason}");
        far.epoch -= 1;
        assert_eq!(far.can_follow(&one), Ok(()));
        far.term = u64::MAX;
        assert!(far.can_follow(&one).is_err());
    }

    #[test]
    fn numbers_that_have_come_to_their_end_stay_there() {
        let last = Version {
            term: u64::MAX,
            epoch: u64::MAX,
            ..at("a", "1")
        };
        let next = last.next("b", "2".to_owned());
        assert_eq!((next.term, next.epoch), (u64::MAX, u64::MAX));
    }

    fn any() -> impl Strategy<Value = Version> {
        (0..3u64, 0..3u64, "[xyz]", 0..3u64, "[ab]", "[xyz]").prop_map(
            |(term, began, base, epoch, author, hash)| Version {
                term,
                began,
                base,
                epoch,
                author,
                hash,
            },
        )
    }

    proptest! {
        /// Whatever a peer sends, the two do not both give way, nor both stay.
        #[test]
        fn both_come_to_the_same_result(one in any(), other in any()) {
            let mirrored = match other.relation(&one) {
                Relation::Same => Relation::Same,
                Relation::Behind => Relation::Ahead,
                Relation::Ahead => Relation::Behind,
                Relation::Diverged { stays } => Relation::Diverged { stays: !stays },
            };
            prop_assert_eq!(one.relation(&other), mirrored);
        }
    }
}
