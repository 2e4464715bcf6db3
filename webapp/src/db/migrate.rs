//! Bringing the schema to what this release works with, once for all app servers.

use std::time::Duration;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::{Executor as _, MySqlConnection};

use super::monitor::Session;
use super::{Cluster, Error, Result, error};

/// How long to wait before a primary that went away is asked again.
const PAUSE: Duration = Duration::from_secs(1);

/// For at most so many seconds at a time, another app server is waited for.
const LOCK: &str = "SELECT GET_LOCK(LEFT(CONCAT('migrate.', DATABASE()), 64), 10)";
const UNLOCK: &str = "SELECT RELEASE_LOCK(LEFT(CONCAT('migrate.', DATABASE()), 64))";

/// Applies what is missing of the migrations, on the primary, and waits for it as long as it
/// takes. Of several that do this at once, one migrates and the others wait. Afterwards no read of
/// this cluster sees an older schema.
///
/// A schema that a newer release made is an error, as is one whose migration ended half-way.
pub async fn migrate(cluster: &Cluster, migrator: &'static Migrator) -> Result<()> {
    loop {
        cluster.until_writable().await;
        match attempt(cluster, migrator).await {
            Err(error) if is_for_now(&error) => {
                tracing::warn!("the schema could not be looked at, will try again: {error}");
                tokio::time::sleep(PAUSE).await;
            }
            outcome => return outcome,
        }
    }
}

/// Whether another primary, or the same one later, may do better.
fn is_for_now(error: &Error) -> bool {
    match error {
        Error::Sql(error) => error::lost_connection(error) || error::is_read_only_refusal(error),
        Error::NoPrimary(_) | Error::TwoPrimaries(_) | Error::NoReplica(_) | Error::TimedOut(_) => {
            true
        }
        Error::Config(_) | Error::NoServer(_) | Error::Schema(_) => false,
    }
}

async fn attempt(cluster: &Cluster, migrator: &'static Migrator) -> Result<()> {
    let (login, dialect) = cluster.primary()?;
    let connection = login.open_unbounded(dialect).await?;
    let mut session = Session {
        connection,
        dialect,
    };
    lock(&mut session.connection).await?;
    let migrated = migrator.run_direct(&mut session.connection).await;
    migrated.map_err(|error| understood(error, migrator))?;
    // Another app server may have migrated a moment ago, so what counts is all that there is.
    let report = session
        .look()
        .await
        .map_err(|failure| Error::TimedOut(failure.to_string()))?;
    cluster.raise_floor(report.position);
    session.connection.execute(UNLOCK).await?;
    Ok(())
}

async fn lock(connection: &mut MySqlConnection) -> Result<()> {
    loop {
        let locked: Option<i64> = sqlx::query_scalar(LOCK).fetch_one(&mut *connection).await?;
        if locked == Some(1) {
            return Ok(());
        }
        tracing::info!("another app server migrates the schema: waiting for it");
    }
}

fn understood(error: MigrateError, migrator: &Migrator) -> Error {
    let newest = migrator
        .iter()
        .map(|migration| migration.version)
        .max()
        .unwrap_or(0);
    match error {
        MigrateError::Execute(error) => Error::Sql(error),
        MigrateError::VersionMissing(version) if version > newest => Error::Schema(format!(
            "the schema is from the future: a newer release made migration {version}, and this one \
             knows none after {newest}"
        )),
        MigrateError::Dirty(version) => Error::Schema(format!(
            "migration {version} ended half-way: repair what it left, then remove its row from \
             _sqlx_migrations"
        )),
        other => Error::Schema(format!("the schema is not as expected: {other}")),
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use sqlx::migrate::{Migration, MigrationType};

    use super::*;

    #[test]
    fn a_schema_from_the_future_is_called_that() {
        let migration = Migration::new(
            7,
            Cow::Borrowed("posts"),
            MigrationType::Simple,
            Cow::Borrowed("SELECT 1"),
            false,
        );
        let mut migrator = Migrator::DEFAULT;
        migrator.migrations = Cow::Owned(vec![migration]);
        let said = |error| understood(error, &migrator).to_string();
        let future = said(MigrateError::VersionMissing(8));
        assert!(
            future.contains("from the future") && future.contains("after 7"),
            "{future}"
        );
        assert!(!said(MigrateError::VersionMissing(3)).contains("future"));
        assert!(said(MigrateError::Dirty(7)).contains("half-way"));
    }
}
