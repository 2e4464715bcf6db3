//! The replicated database: one primary that is written to, and any number of replicas to read
//! from.
//!
//! The caller says what it wants, and never has its SQL looked at:
//!
//! - [`Cluster::read`] gives a connection to a replica that is in the rotation;
//! - [`Cluster::write`] gives a transaction on the primary, whose commit returns a [`Token`];
//! - [`Cluster::read_after`] gives a connection that sees what was written before that token: of a
//!   replica that has it, or of the primary.
//!
//! Which server is what is decided by what each says of itself, looked at again and again:
//! [`state`](ServerState) knows no socket and no clock. A server is the primary because it can be
//! reached and is not read-only, never because somebody guessed; while two say so, nothing is
//! written. What MariaDB and MySQL do differently is in `mariadb.rs` and `mysql.rs`, and nowhere
//! else.
//!
//! A write is never repeated here. When its outcome is not known, [`CommitError::Unknown`] says so.

mod cli;
mod cluster;
mod config;
mod dialect;
mod error;
mod mariadb;
mod metrics;
mod migrate;
mod monitor;
mod mysql;
mod pool;
mod position;
mod promote;
mod read;
mod record;
mod session;
mod state;
mod token;
mod write;

pub use cli::{Args, run};
pub use cluster::Cluster;
pub use config::{Account, Config, DEFAULT_FILE, Limits, ServerConfig};
pub use error::{CommitError, Error, Result, is_read_only_refusal, lost_connection};
pub use migrate::migrate;
pub use read::Read;
pub use state::{Role, ServerState};
pub use token::{NoToken, Token};
pub use write::Write;
