//! Who is signed in. A browser keeps a secret; the table keeps its hash, which finds the session
//! and cannot be used as one.

use std::net::IpAddr;
use std::time::Duration;

use sqlx::MySqlConnection;

use super::Moment;
use super::account::AccountId;
use crate::app::secret::Secret;

/// The most sessions of one account; the oldest give way.
const MOST: u32 = 20;

/// A session, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::Type)]
#[sqlx(transparent)]
pub(crate) struct SessionId(pub(crate) u64);

/// Whose session it is.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct Viewer {
    pub(crate) session: SessionId,
    pub(crate) account: AccountId,
    pub(crate) name: String,
    pub(crate) admin: bool,
}

/// A session as its account sees it.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct Listed {
    pub(crate) id: SessionId,
    pub(crate) created_ms: Moment,
    pub(crate) expires_ms: Moment,
    pub(crate) address: String,
    pub(crate) agent: String,
}

/// Where a session was begun.
#[derive(Clone, Debug)]
pub(crate) struct From {
    pub(crate) address: IpAddr,
    pub(crate) agent: String,
}

/// Begins a session.
pub(crate) async fn open(
    db: &mut MySqlConnection,
    account: AccountId,
    secret: &Secret,
    from: &From,
    now: Moment,
    life: Duration,
) -> sqlx::Result<SessionId> {
    sqlx::query("DELETE FROM session WHERE account_id = ? AND expires_ms <= ?")
        .bind(account)
        .bind(now)
        .execute(&mut *db)
        .await?;
    let oldest: Option<SessionId> = sqlx::query_scalar(
        "SELECT id FROM session WHERE account_id = ? ORDER BY id DESC LIMIT 1 OFFSET ?",
    )
    .bind(account)
    .bind(MOST - 1)
    .fetch_optional(&mut *db)
    .await?;
    if let Some(oldest) = oldest {
        sqlx::query("DELETE FROM session WHERE account_id = ? AND id <= ?")
            .bind(account)
            .bind(oldest)
            .execute(&mut *db)
            .await?;
    }
    let opened = sqlx::query(
        "INSERT INTO session (hash, account_id, created_ms, expires_ms, address, agent)
         VALUES (?, ?, ?, ?, ?, ?)",
    )
    .bind(&secret.hash()[..])
    .bind(account)
    .bind(now)
    .bind(now.after(life))
    .bind(from.address.to_string())
    .bind(from.agent.chars().take(255).collect::<String>())
    .execute(db)
    .await?;
    Ok(SessionId(opened.last_insert_id()))
}

/// Whose session has this secret, if it has not ended.
pub(crate) async fn find(
    db: &mut MySqlConnection,
    secret: &Secret,
    now: Moment,
) -> sqlx::Result<Option<Viewer>> {
    sqlx::query_as(
        "SELECT s.id AS session, a.id AS account, a.name AS name, a.admin AS admin
         FROM session s JOIN account a ON a.id = s.account_id
         WHERE s.hash = ? AND s.expires_ms > ?",
    )
    .bind(&secret.hash()[..])
    .bind(now)
    .fetch_optional(db)
    .await
}

/// The sessions of an account, newest first.
pub(crate) async fn list(
    db: &mut MySqlConnection,
    account: AccountId,
    now: Moment,
) -> sqlx::Result<Vec<Listed>> {
    sqlx::query_as(
        "SELECT id, created_ms, expires_ms, address, agent FROM session
         WHERE account_id = ? AND expires_ms > ? ORDER BY id DESC",
    )
    .bind(account)
    .bind(now)
    .fetch_all(db)
    .await
}

/// Ends the session that has this secret. Whether there was one.
pub(crate) async fn close(db: &mut MySqlConnection, secret: &Secret) -> sqlx::Result<bool> {
    let ended = sqlx::query("DELETE FROM session WHERE hash = ?")
        .bind(&secret.hash()[..])
        .execute(db)
        .await?;
    Ok(ended.rows_affected() > 0)
}

/// Ends a session of an account. Whether there was one.
pub(crate) async fn revoke(
    db: &mut MySqlConnection,
    account: AccountId,
    id: SessionId,
) -> sqlx::Result<bool> {
    let ended = sqlx::query("DELETE FROM session WHERE id = ? AND account_id = ?")
        .bind(id)
        .bind(account)
        .execute(db)
        .await?;
    Ok(ended.rows_affected() > 0)
}

/// Ends all sessions of an account but one.
pub(crate) async fn revoke_others(
    db: &mut MySqlConnection,
    account: AccountId,
    keep: SessionId,
) -> sqlx::Result<()> {
    sqlx::query("DELETE FROM session WHERE account_id = ? AND id <> ?")
        .bind(account)
        .bind(keep)
        .execute(db)
        .await?;
    Ok(())
}

/// Forgets some of the sessions that have ended. How many.
pub(crate) async fn sweep(db: &mut MySqlConnection, now: Moment, most: u32) -> sqlx::Result<u64> {
    let swept =
        sqlx::query("DELETE FROM session WHERE expires_ms <= ? ORDER BY expires_ms LIMIT ?")
            .bind(now)
            .bind(most)
            .execute(db)
            .await?;
    Ok(swept.rows_affected())
}
