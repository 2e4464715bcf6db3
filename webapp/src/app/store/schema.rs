//! Whether the tables are those that this program works with, and the secret among them.

use sqlx::MySqlConnection;
use sqlx::migrate::Migrator;

use super::{is_duplicate, number};
use crate::app::secret::Secret;

/// The changes of the schema, from none to what this program needs.
pub(crate) static MIGRATIONS: Migrator = sqlx::migrate!("src/app/migrations");

/// There is no such table (ER_NO_SUCH_TABLE).
const NO_TABLE: u16 = 1146;

/// How a schema compares with [`MIGRATIONS`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Schema {
    /// It is what they make.
    Current,
    /// Some are yet to be made.
    Behind,
    /// It has one that this program does not know, as a later release made it.
    Ahead(i64),
}

/// Compares the schema of the server that is connected to.
pub(crate) async fn compare(db: &mut MySqlConnection) -> sqlx::Result<Schema> {
    let applied: Vec<(i64, bool)> =
        match sqlx::query_as("SELECT version, success FROM _sqlx_migrations")
            .fetch_all(db)
            .await
        {
            Ok(applied) => applied,
            Err(error) if number(&error) == Some(NO_TABLE) => Vec::new(),
            Err(error) => return Err(error),
        };
    Ok(compared(&applied))
}

fn compared(applied: &[(i64, bool)]) -> Schema {
    let unknown = |version: &i64| !MIGRATIONS.version_exists(*version);
    let ahead = applied.iter().map(|(version, _)| *version).find(unknown);
    if let Some(version) = ahead {
        return Schema::Ahead(version);
    }
    let made = |version: i64| applied.contains(&(version, true));
    if MIGRATIONS.iter().all(|migration| made(migration.version)) {
        Schema::Current
    } else {
        Schema::Behind
    }
}

/// The secret that the app servers share, if one was made.
pub(crate) async fn secret(db: &mut MySqlConnection) -> sqlx::Result<Option<Secret>> {
    let bytes: Option<Vec<u8>> =
        sqlx::query_scalar("SELECT secret FROM shared_secret WHERE id = 1")
            .fetch_optional(db)
            .await?;
    Ok(bytes.and_then(|bytes| Secret::from_bytes(&bytes)))
}

/// Makes that secret, unless another app server was faster.
pub(crate) async fn make_secret(db: &mut MySqlConnection, secret: &Secret) -> sqlx::Result<()> {
    let made = sqlx::query("INSERT INTO shared_secret (id, secret) VALUES (1, ?)")
        .bind(secret.as_bytes())
        .execute(db)
        .await;
    match made {
        Err(error) if !is_duplicate(&error) => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied() -> Vec<(i64, bool)> {
        MIGRATIONS.iter().map(|m| (m.version, true)).collect()
    }

    #[test]
    fn all_and_nothing_else_is_current() {
        assert_eq!(compared(&applied()), Schema::Current);
        assert_eq!(compared(&[]), Schema::Behind);
        assert_eq!(compared(&applied()[1..]), Schema::Behind);
        let mut failed = applied();
        failed[2].1 = false;
        assert_eq!(compared(&failed), Schema::Behind);
    }

    #[test]
    fn a_later_release_is_recognised() {
        let mut later = applied();
        later.push((9999, true));
        assert_eq!(compared(&later), Schema::Ahead(9999));
        assert_eq!(compared(&later[1..]), Schema::Ahead(9999));
    }
}
