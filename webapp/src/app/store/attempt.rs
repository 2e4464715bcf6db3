//! Attempts at passwords, counted for all app servers: of each who makes them, when all that may
//! be made at once may be made again. That is by the database's clock, which is one for all of them.

use sqlx::MySqlConnection;

use super::{Moment, digest};

/// Who makes attempts, as a hash: nobody needs to know who it was.
#[derive(Clone, Debug, Hash, PartialEq, Eq)]
pub(crate) struct Who([u8; 32]);

impl Who {
    /// `parts`, in an order that the caller keeps.
    pub(crate) fn of(parts: &[&[u8]]) -> Self {
        Self(digest(parts))
    }
}

/// When all attempts of `who` are there again, and what time it is. Others who ask wait until this
/// transaction ends.
pub(crate) async fn full(db: &mut MySqlConnection, who: &Who) -> sqlx::Result<(Moment, Moment)> {
    // It locks the row, whether or not it was there.
    sqlx::query(
        "INSERT INTO attempt (who, full_ms) VALUES (?, 0)
         ON DUPLICATE KEY UPDATE full_ms = full_ms",
    )
    .bind(&who.0[..])
    .execute(&mut *db)
    .await?;
    // Not what was there when the transaction began.
    sqlx::query_as(
        "SELECT full_ms, CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS UNSIGNED) FROM attempt
         WHERE who = ? FOR UPDATE",
    )
    .bind(&who.0[..])
    .fetch_one(db)
    .await
}

/// Keeps when they are.
pub(crate) async fn keep(db: &mut MySqlConnection, who: &Who, full: Moment) -> sqlx::Result<()> {
    sqlx::query("UPDATE attempt SET full_ms = ? WHERE who = ?")
        .bind(full)
        .bind(&who.0[..])
        .execute(db)
        .await?;
    Ok(())
}

/// Forgets the attempts of `who`.
pub(crate) async fn forget(db: &mut MySqlConnection, who: &Who) -> sqlx::Result<()> {
    sqlx::query("DELETE FROM attempt WHERE who = ?")
        .bind(&who.0[..])
        .execute(db)
        .await?;
    Ok(())
}

/// Forgets some of those who have all their attempts again. How many.
pub(crate) async fn sweep(db: &mut MySqlConnection, most: u32) -> sqlx::Result<u64> {
    let swept = sqlx::query(
        "DELETE FROM attempt WHERE full_ms < UNIX_TIMESTAMP(NOW(3)) * 1000 ORDER BY full_ms LIMIT ?",
    )
    .bind(most)
    .execute(db)
    .await?;
    Ok(swept.rows_affected())
}
