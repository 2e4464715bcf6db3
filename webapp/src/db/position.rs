//! How far a server is in the history of all writes.

use std::fmt;

use super::mariadb::Gtids;
use super::mysql::GtidSet;

/// The transactions that a server has, or that a reader has to see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Position {
    /// MariaDB's: the last transaction of each domain.
    MariaDb(Gtids),
    /// MySQL's: all transactions of each server.
    MySql(GtidSet),
}

impl Position {
    /// Reads one in the words of either.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if text.contains(':') {
            GtidSet::parse(text).map(Self::MySql)
        } else {
            Gtids::parse(text).map(Self::MariaDb)
        }
    }

    /// Whether this is before all transactions.
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::MariaDb(gtids) => gtids.is_empty(),
            Self::MySql(set) => set.is_empty(),
        }
    }

    /// Whether who has this has everything of the other.
    pub(super) fn includes(&self, other: &Self) -> bool {
        other.is_empty() || self.missing(other).is_empty()
    }

    /// What of the other is not in this one.
    pub(super) fn missing(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::MariaDb(mine), Self::MariaDb(theirs)) => Self::MariaDb(mine.missing(theirs)),
            (Self::MySql(mine), Self::MySql(theirs)) => Self::MySql(mine.missing(theirs)),
            // Two histories that have nothing in common.
            _ => other.clone(),
        }
    }

    /// This and the other.
    #[must_use]
    pub(super) fn and(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::MariaDb(mine), Self::MariaDb(theirs)) => Self::MariaDb(mine.and(theirs)),
            (Self::MySql(mine), Self::MySql(theirs)) => Self::MySql(mine.and(theirs)),
            (mine, theirs) if theirs.is_empty() => mine.clone(),
            (_, theirs) => theirs.clone(),
        }
    }
}

impl Default for Position {
    fn default() -> Self {
        Self::MariaDb(Gtids::default())
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MariaDb(gtids) => gtids.fmt(f),
            Self::MySql(set) => set.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(text: &str) -> Position {
        Position::parse(text).unwrap()
    }

    #[test]
    fn histories_of_different_kinds_do_not_include_each_other() {
        let (mariadb, mysql) = ("0-1-5", "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5");
        assert!(!position(mariadb).includes(&position(mysql)));
        assert!(!position(mysql).includes(&position(mariadb)));
        assert!(position(mysql).includes(&position("")));
        assert!(position(mariadb).includes(&Position::default()));
        assert_eq!(position("").and(&position(mysql)), position(mysql));
        assert_eq!(position(mysql).and(&position("")), position(mysql));
    }
}
