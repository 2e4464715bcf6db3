//! `webapp db status` and `webapp db promote`.

use webapp::db::{Cluster, Error, Role, Token};

use crate::support::{Site, blocking, in_rotation, make_table, said, state_of, until};

/// Writes; returns where, and the token.
async fn write_with_token(cluster: &Cluster, n: i64) -> (String, Token) {
    let mut write = cluster.write().await.unwrap();
    let server = write.server().to_owned();
    sqlx::query("UPDATE counts SET n = ? WHERE user = 0")
        .bind(n)
        .execute(&mut *write)
        .await
        .unwrap();
    (server, write.commit().await.unwrap())
}

async fn write(cluster: &Cluster, n: i64) -> String {
    write_with_token(cluster, n).await.0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_takes_the_place_of_a_dead_primary() {
    let mut site = Site::start(3);
    let cluster = site.cluster("").await;
    make_table(&site, 1);
    let promote = |site: &Site, args: &[&str]| {
        tokio::task::block_in_place(|| site.webapp_db(&[&["promote"], args].concat()))
    };

    let status = tokio::task::block_in_place(|| site.webapp_db(&["status", "--json"]));
    let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!(status["servers"][0]["role"], "primary", "{status}");
    assert_eq!(status["servers"][2]["in_rotation"], true, "{status}");
    assert_eq!(status["writable"], true, "{status}");

    // Not while the primary lives.
    let refused = promote(&site, &["db2"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(said(&refused).contains("db1 answers as a primary that can be written to"));
    assert_eq!(write(&cluster, 1).await, "db1");

    // db2 stops listening, and db3 is given something more.
    blocking(|| site.db.server("db2")?.sql("STOP SLAVE IO_THREAD"));
    assert_eq!(write(&cluster, 2).await, "db1");
    blocking(|| {
        site.db.server("db1")?.kill()?;
        site.db.server("db2")?.sql("START SLAVE IO_THREAD")
    });
    until("the primary to be missed", || cluster.writable().is_err()).await;

    let refused = promote(&site, &["db2"]);
    assert!(!refused.status.success());
    let why = said(&refused);
    assert!(
        why.contains("db3 has what db2 lacks") && why.contains("promote db3"),
        "{why}"
    );

    let dry = promote(&site, &["db3", "--dry-run"]);
    assert!(dry.status.success(), "{}", said(&dry));
    assert!(said(&dry).contains("db3: allow writes"), "{}", said(&dry));
    assert!(
        said(&dry).contains("db2: replicate from db3"),
        "{}",
        said(&dry)
    );
    assert_eq!(
        blocking(|| site.db.server("db3")?.sql("SELECT @@read_only")),
        "1"
    );

    let promoted = promote(&site, &["db3"]);
    println!("{}", said(&promoted));
    assert!(promoted.status.success(), "{}", said(&promoted));
    until("db3 to be the primary", || cluster.writable().is_ok()).await;
    until("db2 to follow", || in_rotation(&cluster) == ["db2"]).await;
    let (server, token) = write_with_token(&cluster, 3).await;
    assert_eq!(server, "db3");

    // What db2 lacked, it got from db3.
    blocking(|| site.db.server("db2")?.until_applied(token.as_str()));
    let mut read = cluster.read().await.unwrap();
    assert_eq!(read.server(), "db2");
    let n: i64 = sqlx::query_scalar("SELECT n FROM counts")
        .fetch_one(&mut *read)
        .await
        .unwrap();
    assert_eq!(n, 3);

    // Once more changes nothing.
    let again = promote(&site, &["db3"]);
    assert!(again.status.success() && said(&again).contains("is the primary already"));

    // The old one returns read-only, and nobody uses it until it follows.
    blocking(|| site.db.server("db1")?.restart());
    until("db1 to be back", || {
        state_of(&cluster, "db1").role == Role::Standalone
    })
    .await;
    assert_eq!(in_rotation(&cluster), ["db2"]);
    assert_eq!(write(&cluster, 4).await, "db3");
    blocking(|| site.db.follow("db1", "db3"));
    until("db1 to be a replica", || {
        in_rotation(&cluster) == ["db1", "db2"]
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_primary_with_a_write_of_its_own_does_not_rejoin() {
    let mut site = Site::start(3);
    let cluster = site.cluster("").await;
    make_table(&site, 1);
    // Nobody receives this, so it is not acknowledged, but it is in the old primary's log. It has
    // begun before: otherwise it would be refused.
    let mut lost = cluster.write().await.unwrap();
    sqlx::query("UPDATE counts SET n = 666")
        .execute(&mut *lost)
        .await
        .unwrap();
    blocking(|| {
        for replica in ["db2", "db3"] {
            site.db.server(replica)?.sql("STOP SLAVE IO_THREAD")?;
        }
        Ok(())
    });
    let lost = tokio::spawn(lost.commit());
    until("the write to be in the log", || {
        let waiting = blocking(|| {
            site.db.servers()[0].sql("SHOW STATUS LIKE 'Rpl_semi_sync_master_wait_sessions'")
        });
        waiting.ends_with("\t1")
    })
    .await;
    blocking(|| site.db.server("db1")?.kill());
    let outcome = lost.await.unwrap();
    assert!(
        matches!(outcome, Err(webapp::db::CommitError::Unknown(_))),
        "{outcome:?}"
    );

    // db3 is away, so nobody knows what it has.
    blocking(|| site.db.server("db3")?.kill());
    let refused = tokio::task::block_in_place(|| site.webapp_db(&["promote", "db2"]));
    assert!(
        said(&refused).contains("--without db3"),
        "{}",
        said(&refused)
    );
    blocking(|| site.db.server("db3")?.restart());

    let promoted = tokio::task::block_in_place(|| site.webapp_db(&["promote", "db2"]));
    assert!(promoted.status.success(), "{}", said(&promoted));
    until("db3 to follow", || in_rotation(&cluster) == ["db3"]).await;
    assert_eq!(write(&cluster, 1).await, "db2");

    blocking(|| {
        site.db.server("db1")?.restart()?;
        site.db.follow("db1", "db2")
    });
    until("db1 to be refused", || {
        let replication = blocking(|| site.db.server("db1")?.replication());
        replication.is_some_and(|it| it.receiving == "No" && it.receive_error == 1236)
    })
    .await;
    until("that to be seen", || {
        state_of(&cluster, "db1").why.contains("1236")
    })
    .await;
    assert_eq!(in_rotation(&cluster), ["db3"]);
    // Its write is nowhere else.
    for server in ["db2", "db3"] {
        let n = blocking(|| site.db.server(server)?.sql("SELECT n FROM webapp.counts"));
        assert_eq!(n, "1", "{server}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_hung_and_was_replaced_can_acknowledge_nothing() {
    let mut site = Site::start(3);
    let cluster = site.cluster("probe_timeout = \"500ms\"").await;
    make_table(&site, 1);
    assert_eq!(write(&cluster, 1).await, "db1");
    blocking(|| site.db.server("db1")?.freeze());
    until("the primary to be missed", || cluster.writable().is_err()).await;
    let promoted = tokio::task::block_in_place(|| site.webapp_db(&["promote", "db2"]));
    assert!(promoted.status.success(), "{}", said(&promoted));
    until("db2 to be the primary", || cluster.writable().is_ok()).await;
    assert_eq!(write(&cluster, 2).await, "db2");

    // It wakes up and takes itself for the primary, so nobody is.
    blocking(|| site.db.server("db1")?.thaw());
    until("db1 to be seen", || cluster.writable().is_err()).await;
    let error = cluster.write().await.unwrap_err();
    assert!(
        matches!(&error, Error::TwoPrimaries(names) if names == &["db1", "db2"]),
        "{error}"
    );

    // What somebody writes to it all the same waits for a replica, in vain.
    let mut writing = site.client("db1", "UPDATE webapp.counts SET n = 666");
    until("that to wait", || {
        let waiting = "SHOW STATUS LIKE 'Rpl_semi_sync_master_wait_sessions'";
        blocking(|| site.db.server("db1")?.sql(waiting)).ends_with("\t1")
    })
    .await;
    assert!(writing.try_wait().unwrap().is_none());
    blocking(|| site.db.server("db1")?.kill());
    assert!(!writing.wait().unwrap().success());
    until("db2 to be the primary", || cluster.writable().is_ok()).await;
    assert_eq!(write(&cluster, 3).await, "db2");
}
