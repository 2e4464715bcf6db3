//! What is done once however often it is sent: a second press of a button, a page sent again, a
//! client that never saw the first answer.

use sqlx::MySqlConnection;

use super::{Moment, digest};

/// Which act it is: whose, of which kind, from which form, and with what content. A form that is
/// gone back to and sent with another content is another act.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Act([u8; 32]);

impl Act {
    /// `parts`, in an order that the caller keeps.
    pub(crate) fn of(parts: &[&[u8]]) -> Self {
        Self(digest(parts))
    }
}

/// Whether an act is yet to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// It is the caller's to do, in this transaction.
    Fresh,
    /// It was done, with this result.
    Done(u64),
}

/// Claims an act. Whoever claims it at the same time waits until this transaction ends.
pub(crate) async fn claim(db: &mut MySqlConnection, act: &Act, now: Moment) -> sqlx::Result<Claim> {
    // One statement, as two would lock the row twice, and of many who wait between them all but
    // one would give way. It changes the row in any case: whoever waits to see that sees what was
    // done before it, too.
    let claimed = sqlx::query(
        "INSERT INTO once (hash, made_ms) VALUES (?, ?)
         ON DUPLICATE KEY UPDATE made_ms = made_ms + 1",
    )
    .bind(&act.0[..])
    .bind(now)
    .execute(&mut *db)
    .await?;
    // A row that was there and was changed counts as two.
    match claimed.rows_affected() {
        1 => Ok(Claim::Fresh),
        _ => Ok(Claim::Done(done(db, act).await?.unwrap_or_default())),
    }
}

/// The result of an act that was done.
pub(crate) async fn done(db: &mut MySqlConnection, act: &Act) -> sqlx::Result<Option<u64>> {
    sqlx::query_scalar("SELECT result FROM once WHERE hash = ?")
        .bind(&act.0[..])
        .fetch_optional(db)
        .await
}

/// Keeps the result of an act that was claimed in this transaction.
pub(crate) async fn keep(db: &mut MySqlConnection, act: &Act, result: u64) -> sqlx::Result<()> {
    sqlx::query("UPDATE once SET result = ? WHERE hash = ?")
        .bind(result)
        .bind(&act.0[..])
        .execute(db)
        .await?;
    Ok(())
}

/// Forgets some of the acts that are older than `before`. How many.
pub(crate) async fn sweep(
    db: &mut MySqlConnection,
    before: Moment,
    most: u32,
) -> sqlx::Result<u64> {
    let swept = sqlx::query("DELETE FROM once WHERE made_ms < ? ORDER BY made_ms LIMIT ?")
        .bind(before)
        .bind(most)
        .execute(db)
        .await?;
    Ok(swept.rows_affected())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_act_is_its_parts_where_they_begin_and_their_order() {
        let act = Act::of(&[b"post", b"1", b"key", b"text"]);
        assert_eq!(act, Act::of(&[b"post", b"1", b"key", b"text"]));
        for other in [
            &[&b"post"[..], b"2", b"key", b"text"][..],
            &[b"post", b"1", b"kez", b"text"],
            &[b"post", b"1", b"key", b"texu"],
            &[b"post", b"1k", b"ey", b"text"],
            &[b"post1", b"key", b"text"],
            &[b"1", b"post", b"key", b"text"],
        ] {
            assert_ne!(act, Act::of(other), "{other:?}");
        }
    }
}
