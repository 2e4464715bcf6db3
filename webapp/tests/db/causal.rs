//! Whoever wrote something reads it at once.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use webapp::db::{Cluster, Token};

use crate::support::{Site, blocking, in_rotation, make_table, until};

async fn set(cluster: &Cluster, user: i64, n: i64) -> Token {
    let mut write = cluster.write().await.unwrap();
    assert_eq!(write.server(), "db1");
    sqlx::query("UPDATE counts SET n = ? WHERE user = ?")
        .bind(n)
        .bind(user)
        .execute(&mut *write)
        .await
        .unwrap();
    write.commit().await.unwrap()
}

/// What is read after a token, and where.
async fn get(cluster: &Cluster, user: i64, token: &Token) -> (i64, String) {
    let mut read = cluster.read_after(token).await.unwrap();
    let n = sqlx::query_scalar("SELECT n FROM counts WHERE user = ?")
        .bind(user)
        .fetch_one(&mut *read)
        .await
        .unwrap();
    let server = read.server().to_owned();
    read.done();
    (n, server)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_reads_their_own_writes() {
    let mut site = Site::start(3);
    // Long enough for a busy machine, so that it is the replicas that answer.
    let cluster = site.cluster("causal_wait = \"3s\"").await;
    make_table(&site, 10);

    let mut servers = BTreeSet::new();
    let users = (0..10).map(|user| {
        let cluster = cluster.clone();
        tokio::spawn(async move {
            let mut servers = Vec::new();
            for n in 1..=50 {
                let token = set(&cluster, user, n).await;
                let (read, server) = get(&cluster, user, &token).await;
                assert_eq!(read, n, "user {user} on {server} after {token}");
                servers.push(server);
            }
            servers
        })
    });
    for user in users.collect::<Vec<_>>() {
        servers.extend(user.await.unwrap());
    }
    assert_eq!(
        servers,
        BTreeSet::from(["db2".to_owned(), "db3".to_owned()])
    );

    a_replica_that_does_not_get_it_in_time_is_passed_over(&mut site).await;
}

async fn a_replica_that_does_not_get_it_in_time_is_passed_over(site: &mut Site) {
    // None of them leaves the rotation for being late.
    let cluster = site
        .cluster("causal_wait = \"100ms\"\nmax_lag = \"1h\"")
        .await;
    for replica in ["db2", "db3"] {
        let delay = "STOP SLAVE; CHANGE MASTER TO MASTER_DELAY = 600; START SLAVE";
        blocking(|| site.db.server(replica)?.sql(delay));
    }
    until("the replicas to be in the rotation", || {
        in_rotation(&cluster) == ["db2", "db3"]
    })
    .await;
    let token = set(&cluster, 0, 1_000).await;
    let started = Instant::now();
    assert_eq!(get(&cluster, 0, &token).await, (1_000, "db1".to_owned()));
    let took = started.elapsed();
    assert!(took >= Duration::from_millis(100), "it waited {took:?}");
    // Without a token there is nothing to wait for, and a replica will do.
    let (n, server) = get(&cluster, 0, &Token::default()).await;
    assert!(n < 1_000 && server != "db1", "{n} on {server}");

    let mut registry = Registry::with_prefix("webapp_app");
    cluster.register(&mut registry);
    let mut shown = String::new();
    encode(&mut shown, &registry).unwrap();
    for line in [
        "webapp_app_db_commits_total{server=\"db1\",result=\"applied\"} 1",
        "webapp_app_db_spilled_total{server=\"db1\"} 1",
        "webapp_app_db_primary{server=\"db1\"} 1.0",
        "webapp_app_db_in_rotation{server=\"db2\"} 1.0",
        "webapp_app_db_causal_reads_total{server=\"db1\",result=\"in_vain\"} 0",
    ] {
        assert!(
            shown.lines().any(|it| it == line),
            "{line} is not in\n{shown}"
        );
    }
}
