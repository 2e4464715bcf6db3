//! Why a request is not answered as asked, told apart as far as whoever asked can do something
//! about it.

use std::time::Duration;

use hyper::StatusCode;

use super::input::Invalid;
use super::passwords::Unhashed;
use super::store::number;
use crate::db;

/// A request is refused, or failed.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// There is no such page.
    NotFound,
    /// Not with this method, but with these.
    Method(String),
    /// The request is not what it claims to be.
    Malformed(&'static str),
    /// A body of this kind is not read here.
    MediaType,
    /// The body is too large.
    TooLarge,
    /// The body did not arrive in time.
    TooSlow,
    /// Nobody is signed in.
    SignedOut,
    /// Name and password do not go together.
    WrongPassword,
    /// It belongs to someone else, or is for administrators.
    Forbidden,
    /// Another site's page sent it.
    Foreign,
    /// The form belongs to another session.
    Stale,
    /// Too many attempts; after this time there may be another.
    TooMany(Duration),
    /// These fields cannot be taken.
    Invalid(Vec<(&'static str, Invalid)>),
    /// It was changed meanwhile.
    Conflict,
    /// Too much else is going on.
    Busy,
    /// Nothing can be written now.
    Paused(String),
    /// Nothing can be read now.
    Unreadable(String),
    /// It may have been written.
    Unknown(String),
    /// The database had it give way to another. Nothing was written.
    GaveWay,
    /// The connection to the database broke. Nothing was written.
    Lost(String),
    /// It should not have happened.
    Internal(anyhow::Error),
}

impl Refusal {
    pub(crate) fn invalid(field: &'static str, why: &'static str) -> Self {
        Self::Invalid(vec![(field, Invalid(why))])
    }

    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Refusal::NotFound => StatusCode::NOT_FOUND,
            Refusal::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
            Refusal::Malformed(_) => StatusCode::BAD_REQUEST,
            Refusal::MediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Refusal::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Refusal::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Refusal::SignedOut | Refusal::WrongPassword => StatusCode::UNAUTHORIZED,
            Refusal::Forbidden | Refusal::Foreign | Refusal::Stale => StatusCode::FORBIDDEN,
            Refusal::TooMany(_) => StatusCode::TOO_MANY_REQUESTS,
            Refusal::Invalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Refusal::Conflict => StatusCode::CONFLICT,
            Refusal::Busy
            | Refusal::Paused(_)
            | Refusal::Unreadable(_)
            | Refusal::Unknown(_)
            | Refusal::GaveWay
            | Refusal::Lost(_) => StatusCode::SERVICE_UNAVAILABLE,
            Refusal::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// What happened, in a few words.
    pub(crate) fn title(&self) -> &'static str {
        match self {
            Refusal::NotFound => "Page not found",
            Refusal::Method(_) | Refusal::Malformed(_) | Refusal::MediaType => {
                "This request makes no sense"
            }
            Refusal::TooLarge => "That is too much",
            Refusal::TooSlow => "That took too long",
            Refusal::SignedOut => "You are signed out",
            Refusal::WrongPassword => "Wrong name or password",
            Refusal::Forbidden => "This is not yours",
            Refusal::Foreign => "This came from another site",
            Refusal::Stale => "This form is out of date",
            Refusal::TooMany(_) => "Too many attempts",
            Refusal::Invalid(_) => "This cannot be taken as it is",
            Refusal::Conflict => "This was changed meanwhile",
            Refusal::Busy | Refusal::GaveWay | Refusal::Lost(_) => "Too busy",
            Refusal::Paused(_) => "Writing is paused",
            Refusal::Unreadable(_) => "Not available right now",
            Refusal::Unknown(_) => "It is not certain that this was saved",
            Refusal::Internal(_) => "Something went wrong",
        }
    }

    /// What happened and what to do, for whoever asked. Nothing of what is inside.
    pub(crate) fn advice(&self) -> &'static str {
        match self {
            Refusal::NotFound => "There is nothing here, or it was deleted.",
            Refusal::Method(_) => "It cannot be used in this way.",
            Refusal::Malformed(why) => why,
            Refusal::MediaType => "The body is of a kind that is not read here.",
            Refusal::TooLarge => "What was sent is larger than anything that is taken here.",
            Refusal::TooSlow => "What was sent did not arrive in time. Try again.",
            Refusal::SignedOut => "Sign in, then send this again.",
            Refusal::WrongPassword => "Check both and try again.",
            Refusal::Forbidden => "Your account may not do this.",
            Refusal::Foreign => "Nothing was done. Go to the page itself and try again from there.",
            Refusal::Stale => {
                "It was made for another session. Nothing was done yet; send it again from here."
            }
            Refusal::TooMany(_) => "Wait a little before you try again.",
            Refusal::Invalid(_) => "Some fields need another look.",
            Refusal::Conflict => "Someone saved another version. Compare before you save yours.",
            Refusal::Busy | Refusal::GaveWay | Refusal::Lost(_) => {
                "Nothing was done. Try again in a moment."
            }
            Refusal::Paused(_) => {
                "Everything can be read, but nothing can be saved right now. Nothing was done; \
                 try again in a moment."
            }
            Refusal::Unreadable(_) => "The database cannot be reached. Try again in a moment.",
            Refusal::Unknown(_) => {
                "The connection broke while this was being saved. Send it again: it is not saved \
                 twice."
            }
            Refusal::Internal(_) => "It is our fault. It was logged, and someone will look at it.",
        }
    }

    /// After how many seconds it is worth another try.
    pub(crate) fn retry_after(&self) -> Option<u64> {
        match self {
            // Rounded up: a moment too early would be refused again.
            Refusal::TooMany(wait) => Some(wait.as_secs() + 1),
            Refusal::Busy | Refusal::GaveWay | Refusal::Lost(_) | Refusal::Unknown(_) => Some(1),
            Refusal::Paused(_) | Refusal::Unreadable(_) => Some(5),
            _ => None,
        }
    }

    /// What the log says about it: only what someone should look at.
    pub(crate) fn cause(&self) -> Option<String> {
        match self {
            Refusal::Internal(error) => Some(format!("{error:#}")),
            Refusal::Paused(why)
            | Refusal::Unreadable(why)
            | Refusal::Unknown(why)
            | Refusal::Lost(why) => Some(why.clone()),
            _ => None,
        }
    }

    /// Whether the same request may be tried again at once: nothing was written, and another
    /// connection is likely to do.
    pub(crate) fn is_worth_another_try(&self) -> bool {
        matches!(self, Refusal::GaveWay | Refusal::Lost(_))
    }
}

impl From<db::Error> for Refusal {
    fn from(error: db::Error) -> Self {
        match error {
            db::Error::NoPrimary(_) | db::Error::TwoPrimaries(_) | db::Error::NoReplica(_) => {
                Refusal::Paused(error.to_string())
            }
            db::Error::NoServer(_) => Refusal::Unreadable(error.to_string()),
            db::Error::TimedOut(_) => Refusal::Busy,
            db::Error::Sql(error) => error.into(),
            db::Error::Config(_) | db::Error::Schema(_) => Refusal::Internal(error.into()),
        }
    }
}

/// Two transactions waited for each other (ER_LOCK_DEADLOCK), one too long for the other
/// (ER_LOCK_WAIT_TIMEOUT), or one changed what the other had read (ER_CHECKREAD). What is not rolled
/// back yet is when its connection is given back.
const GAVE_WAY: [u16; 3] = [1213, 1205, 1020];

/// A statement took longer than it may: MySQL's ER_QUERY_TIMEOUT and MariaDB's
/// ER_STATEMENT_TIMEOUT.
const TOO_LONG: [u16; 2] = [3024, 1969];

/// There is no such table (ER_NO_SUCH_TABLE): a server that has not caught up with a change of the
/// schema.
const NO_TABLE: u16 = 1146;

/// Before a commit: whatever happens here, nothing was written.
impl From<sqlx::Error> for Refusal {
    fn from(error: sqlx::Error) -> Self {
        if db::is_read_only_refusal(&error) {
            return Refusal::Paused(error.to_string());
        }
        if db::lost_connection(&error) {
            return Refusal::Lost(error.to_string());
        }
        match number(&error) {
            Some(number) if GAVE_WAY.contains(&number) => Refusal::GaveWay,
            Some(number) if TOO_LONG.contains(&number) => Refusal::Busy,
            Some(NO_TABLE) => Refusal::Unreadable(error.to_string()),
            _ => Refusal::Internal(anyhow::Error::new(error).context("a statement failed")),
        }
    }
}

impl From<db::CommitError> for Refusal {
    fn from(error: db::CommitError) -> Self {
        match error {
            db::CommitError::Unknown(_) => Refusal::Unknown(error.to_string()),
            db::CommitError::NotApplied(error) => error.into(),
        }
    }
}

impl From<Unhashed> for Refusal {
    fn from(error: Unhashed) -> Self {
        match error {
            Unhashed::Busy => Refusal::Busy,
            Unhashed::Failed(_) => Refusal::Internal(error.into()),
        }
    }
}

impl From<getrandom::Error> for Refusal {
    fn from(error: getrandom::Error) -> Self {
        Refusal::Internal(anyhow::anyhow!("the system has no random bytes: {error}"))
    }
}
