//! What is kept: the tables, each with its statements. Functions here take a connection and know
//! neither which server it leads to nor whose request it serves.

pub(crate) mod account;
pub(crate) mod attempt;
pub(crate) mod once;
pub(crate) mod post;
pub(crate) mod schema;
pub(crate) mod session;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sha2::{Digest as _, Sha256};

/// A moment, in milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, sqlx::Type)]
#[sqlx(transparent)]
pub(crate) struct Moment(pub(crate) u64);

impl Moment {
    pub(crate) fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        // A clock before 1970 is as good as one at 1970.
        Self(millis(since.unwrap_or_default()))
    }

    pub(crate) fn after(self, time: Duration) -> Self {
        Self(self.0.saturating_add(millis(time)))
    }

    pub(crate) fn before(self, time: Duration) -> Self {
        Self(self.0.saturating_sub(millis(time)))
    }

    /// How long after an earlier one it is.
    pub(crate) fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// As in RFC 3339, in UTC, to the second.
    pub(crate) fn rfc3339(self) -> String {
        // Beyond the year 9999 there is no such text.
        let latest = 253_402_300_799_000;
        let at = UNIX_EPOCH + Duration::from_millis(self.0.min(latest));
        humantime::format_rfc3339_seconds(at).to_string()
    }

    /// For people: "2026-11-23 19:05 UTC".
    pub(crate) fn readable(self) -> String {
        let text = self.rfc3339();
        let minutes = text.get(..16).unwrap_or(&text);
        format!("{} UTC", minutes.replace('T', " "))
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// A hash of parts, in their order.
fn digest(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        // With its length, so that no two lists of parts look alike.
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

/// The server's number of an error: a row with this key is there already (ER_DUP_ENTRY).
const DUPLICATE: u16 = 1062;

/// Whether a statement failed because its key is there already. Nothing of it was applied.
fn is_duplicate(error: &sqlx::Error) -> bool {
    number(error) == Some(DUPLICATE)
}

/// The server's number of an error.
pub(crate) fn number(error: &sqlx::Error) -> Option<u16> {
    let error = error.as_database_error()?;
    let error = error.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>()?;
    Some(error.number())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_told_in_utc() {
        let moment = Moment(1_795_460_713_999);
        assert_eq!(moment.rfc3339(), "2026-11-23T19:05:13Z");
        assert_eq!(moment.readable(), "2026-11-23 19:05 UTC");
        assert_eq!(Moment(0).readable(), "1970-01-01 00:00 UTC");
        assert_eq!(Moment(u64::MAX).readable(), "9999-12-31 23:59 UTC");
    }

    #[test]
    fn moments_do_not_wrap() {
        let day = Duration::from_secs(86_400);
        assert_eq!(Moment(5).before(day), Moment(0));
        assert_eq!(Moment(u64::MAX - 1).after(day), Moment(u64::MAX));
    }
}
