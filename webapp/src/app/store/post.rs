//! What people wrote.

use sqlx::{MySql, MySqlConnection, QueryBuilder};

use super::Moment;
use super::account::AccountId;
use crate::app::input::PostText;
use crate::app::paging::{Page, Place};

/// A post, by number. A later one has a greater number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::Type)]
#[sqlx(transparent)]
pub(crate) struct PostId(pub(crate) u64);

/// A post with its author.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct Post {
    pub(crate) id: PostId,
    pub(crate) account: AccountId,
    pub(crate) author: String,
    pub(crate) text: String,
    pub(crate) version: u32,
    pub(crate) created_ms: Moment,
    pub(crate) edited_ms: Option<Moment>,
}

/// In the order of the posts, so that a page reads no more of them than it shows.
const SELECT: &str = "SELECT p.id AS id, p.account_id AS account, a.name AS author, p.text AS text,
    p.version AS version, p.created_ms AS created_ms, p.edited_ms AS edited_ms
    FROM post p STRAIGHT_JOIN account a ON a.id = p.account_id WHERE ";

pub(crate) async fn add(
    db: &mut MySqlConnection,
    author: AccountId,
    text: &PostText,
    now: Moment,
) -> sqlx::Result<PostId> {
    let added = sqlx::query("INSERT INTO post (account_id, text, created_ms) VALUES (?, ?, ?)")
        .bind(author)
        .bind(text.as_str())
        .bind(now)
        .execute(db)
        .await?;
    Ok(PostId(added.last_insert_id()))
}

pub(crate) async fn get(db: &mut MySqlConnection, id: PostId) -> sqlx::Result<Option<Post>> {
    let mut sql = QueryBuilder::<MySql>::new(SELECT);
    sql.push("p.id = ").push_bind(id);
    sql.build_query_as().fetch_optional(db).await
}

/// A page of the posts of one author, or of all.
pub(crate) async fn page(
    db: &mut MySqlConnection,
    author: Option<AccountId>,
    place: Place,
    size: usize,
) -> sqlx::Result<Page<Post>> {
    let mut sql = QueryBuilder::<MySql>::new(SELECT);
    match author {
        Some(author) => sql.push("p.account_id = ").push_bind(author),
        None => sql.push("TRUE"),
    };
    match place {
        Place::Newest => sql.push(" ORDER BY p.id DESC"),
        Place::Before(id) => sql
            .push(" AND p.id < ")
            .push_bind(id)
            .push(" ORDER BY p.id DESC"),
        Place::After(id) => sql
            .push(" AND p.id > ")
            .push_bind(id)
            .push(" ORDER BY p.id ASC"),
    };
    sql.push(" LIMIT ").push_bind(size as u64 + 1);
    let rows: Vec<Post> = sql.build_query_as().fetch_all(db).await?;
    Ok(Page::of(place, size, rows, |post| post.id.0))
}

/// Replaces the text of the version that the author saw. Whether that was the current one.
pub(crate) async fn edit(
    db: &mut MySqlConnection,
    id: PostId,
    author: AccountId,
    version: u32,
    text: &PostText,
    now: Moment,
) -> sqlx::Result<bool> {
    // The version changes, so the count of changed rows is that of the rows found.
    let edited = sqlx::query(
        "UPDATE post SET text = ?, version = version + 1, edited_ms = ?
         WHERE id = ? AND account_id = ? AND version = ?",
    )
    .bind(text.as_str())
    .bind(now)
    .bind(id)
    .bind(author)
    .bind(version)
    .execute(db)
    .await?;
    Ok(edited.rows_affected() > 0)
}

/// Deletes an author's post. Whether there was one.
pub(crate) async fn delete(
    db: &mut MySqlConnection,
    id: PostId,
    author: AccountId,
) -> sqlx::Result<bool> {
    let deleted = sqlx::query("DELETE FROM post WHERE id = ? AND account_id = ?")
        .bind(id)
        .bind(author)
        .execute(db)
        .await?;
    Ok(deleted.rows_affected() > 0)
}
