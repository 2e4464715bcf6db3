//! The schema: made once, by one of several, and never by a release that is too old for it.

use std::borrow::Cow;

use sqlx::migrate::{Migration, MigrationType, Migrator};
use webapp::db::{Cluster, Error, migrate};

use crate::support::Site;

/// Migrations as a release has them.
fn release(migrations: &[(i64, &'static str)]) -> &'static Migrator {
    let migrations = migrations.iter().map(|(version, sql)| {
        Migration::new(
            *version,
            Cow::Owned(format!("number {version}")),
            MigrationType::Simple,
            Cow::Borrowed(sql),
            false,
        )
    });
    let mut migrator = Migrator::DEFAULT;
    migrator.migrations = Cow::Owned(migrations.collect());
    Box::leak(Box::new(migrator))
}

const FIRST: (i64, &str) = (
    1,
    "CREATE TABLE posts (id BIGINT PRIMARY KEY); INSERT INTO posts VALUES (1)",
);
const SECOND: (i64, &str) = (
    2,
    "INSERT INTO posts SELECT MAX(id) + 1 FROM posts; DO SLEEP(1)",
);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_schema_is_made_once() {
    let mut site = Site::start(2);
    // An app server that is there before its database waits.
    site.db.server("db1").unwrap().kill().unwrap();
    let config = site.config("");
    let early = Cluster::start(config).unwrap();
    let waiting = {
        let early = early.clone();
        tokio::spawn(async move { migrate(&early, release(&[FIRST, SECOND])).await })
    };
    tokio::task::block_in_place(|| {
        let db1 = site.db.server("db1").unwrap();
        db1.restart().unwrap();
        db1.sql("SET GLOBAL rpl_semi_sync_master_enabled = ON; SET GLOBAL read_only = OFF")
            .unwrap();
    });

    // Several at a time: each waits for the one that migrates, and sees what it did.
    let others = (0..4).map(|_| {
        let site = site.config("");
        tokio::spawn(async move {
            let cluster = Cluster::start(site).unwrap();
            migrate(&cluster, release(&[FIRST, SECOND])).await.unwrap();
            for _ in 0..20 {
                let mut read = cluster.read().await.unwrap();
                let posts: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM posts")
                    .fetch_one(&mut *read)
                    .await
                    .unwrap();
                assert_eq!(posts, 2, "on {}", read.server());
            }
        })
    });
    for other in others.collect::<Vec<_>>() {
        other.await.unwrap();
    }
    waiting.await.unwrap().unwrap();

    let error = migrate(&early, release(&[FIRST])).await.unwrap_err();
    assert!(matches!(error, Error::Schema(_)), "{error}");
    assert!(error.to_string().contains("from the future"), "{error}");

    let changed = (1, "CREATE TABLE posts (id INT PRIMARY KEY)");
    let error = migrate(&early, release(&[changed, SECOND]))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("has been modified"), "{error}");

    // What ends half-way is not tried again.
    let broken = (
        3,
        "INSERT INTO posts VALUES (3); CREATE TABLE t (id INT); SELECT nonsense",
    );
    migrate(&early, release(&[FIRST, SECOND, broken]))
        .await
        .unwrap_err();
    let error = migrate(&early, release(&[FIRST, SECOND, broken]))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("half-way"), "{error}");
}
