//! Looking at each server, again and again, over a connection that is for nothing else.

use std::sync::Arc;
use std::time::Duration;

use sqlx::MySqlConnection;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::cluster::{Server, Shared};
use super::dialect::{self, Dialect, Report};
use super::session::Login;
use super::state::{Failure, Role, View};
use super::{Error, error, record};

/// A server that leaves looks unanswered is looked at less often, down to this: it may keep each
/// of them.
const SELDOM: Duration = Duration::from_secs(2);

/// The tasks that look. They end when this is dropped.
pub(super) struct Monitors(Vec<JoinHandle<()>>);

impl Drop for Monitors {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

/// Starts to look at each server.
pub(super) fn start(shared: &Arc<Shared>) -> Monitors {
    let servers = 0..shared.servers.len();
    Monitors(
        servers
            .map(|at| tokio::spawn(watch(Arc::clone(shared), at)))
            .collect(),
    )
}

async fn watch(shared: Arc<Shared>, at: usize) {
    let Some(server) = shared.servers.get(at) else {
        return;
    };
    let mut session = None;
    let mut unanswered = 0;
    loop {
        let outcome = look_at(server, &mut session, shared.limits.probe_timeout).await;
        unanswered = match outcome {
            Err(Failure::TimedOut) => unanswered + 1,
            _ => 0,
        };
        server.counters.looked(outcome.is_ok());
        shared.note(at, outcome);
        let interval = shared.limits.probe_interval;
        let pause = (interval * 2_u32.pow(unanswered.min(8)))
            .min(SELDOM)
            .max(interval);
        // Whoever finds the server gone wants to know more at once.
        let _ = timeout(pause, server.look.notified()).await;
    }
}

async fn look_at(
    server: &Server,
    session: &mut Option<Session>,
    limit: Duration,
) -> Result<Report, Failure> {
    let look = async {
        // Given back only if all went well.
        let mut open = match session.take() {
            Some(open) => open,
            None => Session::open(&server.login).await?,
        };
        let report = open.look().await?;
        *session = Some(open);
        Ok(report)
    };
    timeout(limit, look).await.unwrap_or(Err(Failure::TimedOut))
}

/// Logs what people want to know of.
pub(super) fn tell_changes(before: &View, now: &View) {
    if (&before.primary, before.waits_in_vain) != (&now.primary, now.waits_in_vain) {
        match now.writable() {
            Ok(_) => {
                let primary = now
                    .servers
                    .iter()
                    .find(|server| server.role == Role::Primary);
                let primary = primary.map(|server| &*server.name).unwrap_or_default();
                tracing::info!(primary, "the database has a primary");
            }
            Err(error) => tracing::warn!("{error}"),
        }
    }
    for (before, now) in before.servers.iter().zip(&now.servers) {
        match (before.in_rotation, now.in_rotation) {
            (false, true) => tracing::info!(server = now.name, "a replica is in the rotation"),
            (true, false) => {
                tracing::warn!(
                    server = now.name,
                    "a replica left the rotation: it {}",
                    now.why
                );
            }
            _ => {}
        }
    }
}

/// A connection to a server of known make.
pub(super) struct Session {
    pub(super) connection: MySqlConnection,
    pub(super) dialect: &'static dyn Dialect,
}

impl Session {
    /// Connects and finds out what the server is.
    pub(super) async fn open(login: &Login) -> Result<Self, Failure> {
        let mut connection = login.open_plain().await.map_err(|error| {
            let (host, port) = login.address();
            match failure(error) {
                Failure::Lost(why) => Failure::Lost(format!("{host}:{port}: {why}")),
                other => other,
            }
        })?;
        let rows = record::ask(&mut connection, "SELECT @@version AS version").await;
        let rows = rows.map_err(|error| failure(error.into()))?;
        let version = rows.first().and_then(|rows| rows.first());
        let version = version
            .and_then(|row| row.get(&["version"]))
            .unwrap_or_default();
        let dialect = dialect::of(version).map_err(Failure::Refused)?;
        Ok(Self {
            connection,
            dialect,
        })
    }

    /// What the server says of itself.
    pub(super) async fn look(&mut self) -> Result<Report, Failure> {
        let answers = record::ask(&mut self.connection, self.dialect.look()).await;
        let answers = answers.map_err(|error| failure(error.into()))?;
        self.dialect.report(&answers).map_err(Failure::Refused)
    }
}

fn failure(error: Error) -> Failure {
    match &error {
        Error::TimedOut(_) => Failure::TimedOut,
        Error::Sql(sql) if error::lost_connection(sql) => Failure::Lost(error.to_string()),
        _ => Failure::Refused(error.to_string()),
    }
}
