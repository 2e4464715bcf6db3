//! Who has an account.

use sqlx::MySqlConnection;

use super::{Moment, is_duplicate};
use crate::app::input::{About, Name};

/// An account, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::Type)]
#[sqlx(transparent)]
pub(crate) struct AccountId(pub(crate) u64);

/// What everyone may know of an account.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct Person {
    pub(crate) id: AccountId,
    pub(crate) name: String,
    pub(crate) about: String,
    pub(crate) created_ms: Moment,
}

/// What a password is compared with.
#[derive(Clone, Debug, sqlx::FromRow)]
pub(crate) struct Credentials {
    pub(crate) id: AccountId,
    pub(crate) name: String,
    pub(crate) password: String,
}

/// Adds an account. `None`: someone has the name.
pub(crate) async fn add(
    db: &mut MySqlConnection,
    name: &Name,
    password: &str,
    now: Moment,
) -> sqlx::Result<Option<AccountId>> {
    let added = sqlx::query("INSERT INTO account (name, password, created_ms) VALUES (?, ?, ?)")
        .bind(name.as_str())
        .bind(password)
        .bind(now)
        .execute(db)
        .await;
    match added {
        Ok(added) => Ok(Some(AccountId(added.last_insert_id()))),
        Err(error) if is_duplicate(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

pub(crate) async fn person(db: &mut MySqlConnection, name: &Name) -> sqlx::Result<Option<Person>> {
    sqlx::query_as("SELECT id, name, about, created_ms FROM account WHERE name = ?")
        .bind(name.as_str())
        .fetch_optional(db)
        .await
}

pub(crate) async fn by_id(db: &mut MySqlConnection, id: AccountId) -> sqlx::Result<Option<Person>> {
    sqlx::query_as("SELECT id, name, about, created_ms FROM account WHERE id = ?")
        .bind(id)
        .fetch_optional(db)
        .await
}

pub(crate) async fn credentials(
    db: &mut MySqlConnection,
    name: &Name,
) -> sqlx::Result<Option<Credentials>> {
    sqlx::query_as("SELECT id, name, password FROM account WHERE name = ?")
        .bind(name.as_str())
        .fetch_optional(db)
        .await
}

pub(crate) async fn set_about(
    db: &mut MySqlConnection,
    id: AccountId,
    about: &About,
) -> sqlx::Result<()> {
    sqlx::query("UPDATE account SET about = ? WHERE id = ?")
        .bind(about.as_str())
        .bind(id)
        .execute(db)
        .await?;
    Ok(())
}

pub(crate) async fn set_password(
    db: &mut MySqlConnection,
    id: AccountId,
    password: &str,
) -> sqlx::Result<()> {
    sqlx::query("UPDATE account SET password = ? WHERE id = ?")
        .bind(password)
        .bind(id)
        .execute(db)
        .await?;
    Ok(())
}

/// Makes an account an administrator's, or no longer one. Whether there is such an account.
pub(crate) async fn set_admin(
    db: &mut MySqlConnection,
    name: &Name,
    admin: bool,
) -> sqlx::Result<bool> {
    sqlx::query("UPDATE account SET admin = ? WHERE name = ?")
        .bind(admin)
        .bind(name.as_str())
        .execute(&mut *db)
        .await?;
    // The count of changed rows is 0 for one that was so before.
    Ok(person(db, name).await?.is_some())
}
