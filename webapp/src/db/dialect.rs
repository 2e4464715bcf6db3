//! What servers of different make are asked, and what they say of themselves.

use std::fmt;
use std::time::Duration;

use super::mariadb::MariaDb;
use super::mysql;
use super::position::Position;
use super::record::Record;

/// The words of a make of servers.
pub(super) trait Dialect: Send + Sync + 'static {
    /// What people call it.
    fn name(&self) -> &'static str;

    /// Whether a position is in its words.
    fn speaks(&self, position: &Position) -> bool;

    /// Readies a session: bounds what a statement may take, and leaves those without a bound that
    /// have none.
    fn session(&self, statement: Option<Duration>) -> String;

    /// Asks everything that [`report`](Self::report) understands.
    fn look(&self) -> &'static str;

    /// Understands the rows of each statement of [`look`](Self::look).
    fn report(&'static self, results: &[Vec<Record>]) -> Result<Report, String>;

    /// Waits for a token, the first parameter, at most the seconds of the second one. The answer
    /// is 0 if it is there.
    fn wait(&self) -> &'static str;

    /// Commits; then tells the token.
    fn commit(&self) -> &'static str;

    /// Stops receiving from the primary, and nothing else.
    fn stop_receiving(&self) -> &'static str;

    /// Goes on receiving.
    fn start_receiving(&self) -> &'static str;

    /// Ends a server's life as a replica.
    fn forget_primary(&self) -> &'static [&'static str];

    /// Lets a server be written to.
    fn open(&self) -> &'static [&'static str];

    /// Makes a replica follow another primary, with the account that it has.
    fn follow(&self, host: &str, port: u16) -> Vec<String>;
}

impl fmt::Debug for dyn Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The dialect of a server of some version, or why it is none that can be used.
pub(super) fn of(version: &str) -> Result<&'static dyn Dialect, String> {
    let number: Vec<u32> = version
        .split(|c: char| !c.is_ascii_digit())
        .map_while(|part| part.parse().ok())
        .collect();
    let number = (
        number.first().copied().unwrap_or(0),
        number.get(1).copied().unwrap_or(0),
        number.get(2).copied().unwrap_or(0),
    );
    if version.contains("MariaDB") {
        return match number {
            (10, 6.., _) | (11.., ..) => Ok(&MariaDb),
            _ => Err(format!("it is MariaDB {version}, older than 10.6")),
        };
    }
    match number {
        (8, 0, ..26) => Ok(&mysql::OLD),
        (8, ..) | (9.., ..) => Ok(&mysql::NEW),
        _ => Err(format!("it is MySQL {version}, older than 8.0")),
    }
}

/// What a server says of itself.
#[derive(Debug, Clone)]
pub(super) struct Report {
    pub(super) dialect: &'static dyn Dialect,
    pub(super) version: String,
    /// It is not read-only.
    pub(super) writable: bool,
    /// What a reader of it sees.
    pub(super) position: Position,
    /// All that it has, received and not applied yet included.
    pub(super) has: Position,
    /// Others can replicate from it, and get what it replicated itself.
    pub(super) feeds: bool,
    /// As a primary, it waits for a replica before it acknowledges.
    pub(super) semi_sync_primary: bool,
    /// It would wait now, and there is no replica to wait for.
    pub(super) waits_in_vain: bool,
    /// As a replica, it acknowledges what it has received.
    pub(super) semi_sync_replica: bool,
    /// Makes it wait for a replica, where it knows how to.
    pub(super) enable_semi_sync: Option<&'static str>,
    /// What it replicates from: nothing, one server, or several.
    pub(super) channels: Vec<Channel>,
}

/// A server's replication from another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Channel {
    /// `host:port` of the other one.
    pub(super) source: String,
    pub(super) receiving: Receiving,
    /// What was received is being applied.
    pub(super) applying: bool,
    /// How far it says that it is behind, if it knows.
    pub(super) behind: Option<Duration>,
    /// Why it stopped.
    pub(super) error: Option<String>,
    /// What it has received.
    pub(super) received: Position,
}

/// Whether a replica is given what its primary writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Receiving {
    /// It is.
    Running,
    /// It tries to reach its primary.
    Connecting,
    /// It does not try.
    Stopped,
}

impl Receiving {
    /// How both makes put it.
    pub(super) fn parse(text: &str) -> Self {
        match text {
            "Yes" => Self::Running,
            "Connecting" | "Preparing" => Self::Connecting,
            _ => Self::Stopped,
        }
    }
}

/// The error of whichever half has stopped.
pub(super) fn stopped_by(
    status: &Record,
    (receiving, receive_error): (Receiving, &[&str]),
    (applying, apply_error): (bool, &[&str]),
) -> Option<String> {
    let said = |names| status.get(names).filter(|text: &&str| !text.is_empty());
    let error = if !applying {
        said(apply_error)
    } else if receiving != Receiving::Running {
        said(receive_error)
    } else {
        None
    };
    error.map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_tells_the_dialect() {
        for (version, name) in [
            ("10.11.19-MariaDB-0+deb12u1", "MariaDB"),
            ("10.6.0-MariaDB", "MariaDB"),
            ("11.4.2-MariaDB-log", "MariaDB"),
            ("8.0.21", "MySQL"),
            ("8.0.36-0ubuntu0.22.04.1", "MySQL"),
            ("8.4.0", "MySQL"),
            ("9.1.0", "MySQL"),
        ] {
            assert_eq!(of(version).unwrap().name(), name, "{version}");
        }
        let asks = |version| of(version).unwrap().look();
        assert!(asks("8.0.25").contains("SHOW SLAVE STATUS"));
        assert!(asks("8.0.26").contains("SHOW REPLICA STATUS"));
        for version in ["10.5.9-MariaDB", "5.7.44", "", "x"] {
            assert!(of(version).unwrap_err().contains("older than"), "{version}");
        }
    }
}
