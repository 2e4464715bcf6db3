//! A transaction on the primary.

use std::ops::{Deref, DerefMut};
use std::time::Duration;

use futures_util::StreamExt as _;
use sqlx::{Either, Executor as _, MySqlConnection};
use tokio::time::timeout;

use super::dialect::Dialect;
use super::metrics::Outcome;
use super::pool::Lease;
use super::{CommitError, Error, Token, error, record};

/// A transaction on the primary. Dropping it rolls it back.
///
/// It is a transaction already: `BEGIN`, `COMMIT` and statements that commit by themselves, such
/// as those that define tables, are not for it.
#[derive(Debug)]
pub struct Write {
    lease: Lease,
    dialect: &'static dyn Dialect,
    limit: Duration,
}

impl Write {
    /// Begins it.
    pub(super) async fn begin(
        mut lease: Lease,
        dialect: &'static dyn Dialect,
        limit: Duration,
    ) -> Result<Self, (Lease, sqlx::Error)> {
        match lease.connection().execute("START TRANSACTION").await {
            Ok(_) => Ok(Self {
                lease,
                dialect,
                limit,
            }),
            Err(error) => Err((lease, error)),
        }
    }

    /// The name of the server.
    pub fn server(&self) -> &str {
        self.lease.server()
    }

    /// Commits. The token that it returns is for [`super::Cluster::read_after`].
    pub async fn commit(mut self) -> Result<Token, CommitError> {
        let outcome = match timeout(self.limit, committed(&mut self.lease, self.dialect)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(CommitError::Unknown(Error::TimedOut(format!(
                "no answer to the commit within {}",
                humantime::format_duration(self.limit)
            )))),
        };
        self.lease.counters().committed(match &outcome {
            Ok(_) => Outcome::Applied,
            Err(CommitError::NotApplied(_)) => Outcome::NotApplied,
            Err(CommitError::Unknown(_)) => Outcome::Unknown,
        });
        match &outcome {
            Ok(_) => self.lease.give_back(),
            // It is in no known state.
            Err(CommitError::Unknown(_)) => self.lease.discard(),
            Err(CommitError::NotApplied(_)) => {}
        }
        outcome
    }
}

impl Deref for Write {
    type Target = MySqlConnection;

    fn deref(&self) -> &MySqlConnection {
        self.lease.peek()
    }
}

impl DerefMut for Write {
    fn deref_mut(&mut self) -> &mut MySqlConnection {
        self.lease.connection()
    }
}

/// Commits and asks where in history that was, in one round trip.
async fn committed(lease: &mut Lease, dialect: &dyn Dialect) -> Result<Token, CommitError> {
    let mut answers = lease.connection().fetch_many(dialect.commit());
    let mut applied = false;
    let mut token = None;
    while let Some(answer) = answers.next().await {
        match answer {
            Ok(Either::Left(_)) => applied = true,
            Ok(Either::Right(row)) => token = record::first_text(&row),
            Err(error) if !applied && is_rolled_back(&error) => {
                return Err(CommitError::NotApplied(error.into()));
            }
            Err(error) => return Err(CommitError::Unknown(error.into())),
        }
    }
    let token = token.unwrap_or_default();
    token.parse().map_err(|_| {
        CommitError::Unknown(Error::Sql(sqlx::Error::Protocol(format!(
            "{token:?} is no position in a database's history"
        ))))
    })
}

/// Whether an answer to a commit says for certain that nothing was applied.
fn is_rolled_back(error: &sqlx::Error) -> bool {
    // ER_LOCK_DEADLOCK and ER_LOCK_WAIT_TIMEOUT; of others, a server may say them after it wrote
    // its log.
    error::is_read_only_refusal(error) || matches!(error::number(error), Some(1213 | 1205))
}
