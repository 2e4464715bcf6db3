//! A connection to read from.

use std::ops::{Deref, DerefMut};
use std::time::Duration;

use sqlx::MySqlConnection;
use tokio::sync::OwnedSemaphorePermit;

use super::dialect::Dialect;
use super::pool::Lease;
use super::{Token, error};

/// A connection to read from.
///
/// Once everything that was asked for has arrived, [`done`](Self::done) returns it at once.
/// Dropping it is right as well, and what a cancelled caller does: then it is first made sure that
/// no answer is on its way, which costs the server a round trip.
#[derive(Debug)]
pub struct Read {
    lease: Lease,
    /// Holds the place of a read that the primary takes.
    _spill: Option<OwnedSemaphorePermit>,
}

impl Read {
    /// From a replica.
    pub(super) fn of(lease: Lease) -> Self {
        Self {
            lease,
            _spill: None,
        }
    }

    /// From the primary, in the place of a replica.
    pub(super) fn spilled(lease: Lease, place: Option<OwnedSemaphorePermit>) -> Self {
        Self {
            lease,
            _spill: place,
        }
    }

    /// The name of the server.
    pub fn server(&self) -> &str {
        self.lease.server()
    }

    /// Returns the connection. To be called only when everything that was asked for has arrived.
    pub fn done(self) {
        self.lease.give_back();
    }

    /// Returns the connection after an error. Whether the server has gone away, so that asking
    /// again, with a connection that is asked for now, may do better.
    pub fn failed(self, error: &sqlx::Error) -> bool {
        let lost = error::lost_connection(error);
        if lost {
            self.lease.lost();
        }
        lost
    }
}

impl Deref for Read {
    type Target = MySqlConnection;

    fn deref(&self) -> &MySqlConnection {
        self.lease.peek()
    }
}

impl DerefMut for Read {
    fn deref_mut(&mut self) -> &mut MySqlConnection {
        self.lease.connection()
    }
}

/// Waits until a replica has what a token stands for: whether it got it in time.
pub(super) async fn wait_for(
    lease: &mut Lease,
    dialect: &dyn Dialect,
    token: &Token,
    limit: Duration,
) -> sqlx::Result<bool> {
    let answer: Option<i64> = sqlx::query_scalar(dialect.wait())
        .bind(token.as_str())
        .bind(limit.as_secs_f64())
        .fetch_one(lease.connection())
        .await?;
    Ok(answer == Some(0))
}
