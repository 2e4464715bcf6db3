//! Connections: how fast they open, how many there are, and that nobody gets another one's answer.

use std::time::{Duration, Instant};

use webapp::db::Error;

use crate::support::{Site, make_table, state_of, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_are_bounded_and_clean() {
    let site = Site::start(1);
    connections_open_fast(&site).await;

    let cluster = site
        .cluster("connections = 2\nspill = 2\nacquire = \"1s\"\nstatement = \"2s\"")
        .await;
    make_table(&site, 3);

    // No more than so many, and whoever waits too long is told.
    let held = [
        cluster.write().await.unwrap(),
        cluster.write().await.unwrap(),
    ];
    let started = Instant::now();
    let error = cluster.read().await.err().unwrap();
    assert!(matches!(error, Error::TimedOut(_)), "{error}");
    assert!(started.elapsed() >= Duration::from_secs(1));
    assert_eq!(state_of(&cluster, "db1").in_use, 2);
    drop(held);

    // A statement that takes too long is ended by the server.
    let started = Instant::now();
    let mut read = cluster.read().await.unwrap();
    let slept: Result<i64, _> = sqlx::query_scalar("SELECT COUNT(*) + SLEEP(30) FROM counts")
        .fetch_one(&mut *read)
        .await;
    assert!(slept.is_err(), "{slept:?}");
    assert!(
        started.elapsed() < Duration::from_secs(10),
        "{:?}",
        started.elapsed()
    );
    read.done();

    // A caller who gives up leaves nothing behind for the next one.
    for n in 0..20_u64 {
        let mut read = cluster.read().await.unwrap();
        // At another point each time: connecting, preparing, executing, reading.
        let moment = Duration::from_micros(n * 150);
        let text = format!("SELECT user, n, {n} FROM counts WHERE user >= ? ORDER BY user");
        let query = sqlx::query(&text).bind(0_i64).fetch_all(&mut *read);
        let _ = tokio::time::timeout(moment, query).await;
        drop(read);
        let mut read = cluster.read().await.unwrap();
        let answer: i64 = sqlx::query_scalar("SELECT CAST(? AS SIGNED) + 1")
            .bind(i64::try_from(n).unwrap())
            .fetch_one(&mut *read)
            .await
            .unwrap();
        assert_eq!(u64::try_from(answer).unwrap(), n + 1);
    }

    // What was not committed is undone, and its locks are free.
    let mut write = cluster.write().await.unwrap();
    sqlx::query("UPDATE counts SET n = 99")
        .execute(&mut *write)
        .await
        .unwrap();
    drop(write);
    let mut write = cluster.write().await.unwrap();
    let n: i64 = sqlx::query_scalar("SELECT MAX(n) FROM counts FOR UPDATE")
        .fetch_one(&mut *write)
        .await
        .unwrap();
    assert_eq!(n, 0);
    write.commit().await.unwrap();
    until("all connections to be returned", || {
        state_of(&cluster, "db1").in_use == 0
    })
    .await;
}

/// Without TCP_NODELAY each would take more than 40 ms.
async fn connections_open_fast(site: &Site) {
    let cluster = site.cluster("connections = 64\nspill = 64").await;
    let mut held = Vec::new();
    let mut took = Vec::new();
    for _ in 0..20 {
        let started = Instant::now();
        held.push(cluster.read().await.unwrap());
        took.push(started.elapsed());
    }
    took.sort();
    println!("a connection takes {:?}", took[took.len() / 2]);
    assert!(took[took.len() / 2] < Duration::from_millis(30), "{took:?}");
}
