//! What can go wrong, told so that one knows what to do.

use sqlx::mysql::MySqlDatabaseError;

/// What a call of a cluster returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a call of a cluster failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration makes no sense.
    #[error("{0}")]
    Config(String),
    /// There is no server to read from.
    #[error("no database server can be read from: {0}")]
    NoServer(String),
    /// There is no server to write to.
    #[error("the database has no primary: {0}")]
    NoPrimary(String),
    /// More than one server says that it is the one to write to.
    #[error(
        "{} each say that they are the primary: nothing is written until all but one are read-only",
        .0.join(" and ")
    )]
    TwoPrimaries(Vec<String>),
    /// The primary acknowledges what a replica has, and there is no replica.
    #[error(
        "{0} acknowledges a write once a replica has it, and no replica is connected to it: nothing \
         is written until one is"
    )]
    NoReplica(String),
    /// It took too long.
    #[error("timed out: {0}")]
    TimedOut(String),
    /// The schema is not what this release works with.
    #[error("{0}")]
    Schema(String),
    /// The server, or the way to it.
    #[error(transparent)]
    Sql(#[from] sqlx::Error),
}

/// Why a commit did not return a token.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// It may have been applied, or may yet be. Whoever wants to repeat it has to look first.
    #[error("it is not known whether this was written: {0}")]
    Unknown(#[source] Error),
    /// Nothing of the transaction was applied.
    #[error("this was not written: {0}")]
    NotApplied(#[source] Error),
}

/// Whether a server refused a statement because it is read-only: it is not, or no longer, the
/// primary, and the statement was not applied.
pub fn is_read_only_refusal(error: &sqlx::Error) -> bool {
    // ER_OPTION_PREVENTS_STATEMENT and ER_READ_ONLY_MODE.
    matches!(number(error), Some(1290 | 1836))
}

/// Whether the connection is gone, so that a read may be tried again on another one.
pub fn lost_connection(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::Tls(_) => true,
        // ER_SERVER_SHUTDOWN, ER_NORMAL_SHUTDOWN and MariaDB's ER_CONNECTION_KILLED.
        _ => matches!(number(error), Some(1053 | 1077 | 1927)),
    }
}

/// The server's number of an error.
pub(super) fn number(error: &sqlx::Error) -> Option<u16> {
    let error = error.as_database_error()?;
    Some(error.try_downcast_ref::<MySqlDatabaseError>()?.number())
}
