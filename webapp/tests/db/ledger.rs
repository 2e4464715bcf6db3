//! The ledger: users write and read while servers are killed and one is promoted. Afterwards every
//! write that was acknowledged is there, none is there twice, none is there that was refused, and
//! nobody ever failed to read their own last write.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use webapp::db::{Cluster, CommitError, Token};

use crate::support::{Site, blocking, in_rotation, said, until};

const USERS: i64 = 8;

/// What became of a user's writes.
#[derive(Debug, Default)]
struct Ledger {
    acknowledged: BTreeSet<i64>,
    unknown: BTreeSet<i64>,
    refused: BTreeSet<i64>,
    reads: u64,
}

enum Written {
    Acknowledged(Token),
    Unknown,
    Refused,
}

/// Writes an entry and that it is the user's last one, in one transaction.
async fn write(cluster: &Cluster, user: i64, n: i64) -> Written {
    let Ok(mut write) = cluster.write().await else {
        return Written::Refused;
    };
    let statements = async {
        sqlx::query("INSERT INTO entries (user, n) VALUES (?, ?)")
            .bind(user)
            .bind(n)
            .execute(&mut *write)
            .await?;
        sqlx::query("REPLACE INTO last (user, n) VALUES (?, ?)")
            .bind(user)
            .bind(n)
            .execute(&mut *write)
            .await
    };
    // A server that hangs must not keep the user for ever; what is not committed is undone.
    match tokio::time::timeout(Duration::from_secs(10), statements).await {
        Ok(Ok(_)) => {}
        _ => return Written::Refused,
    }
    match write.commit().await {
        Ok(token) => Written::Acknowledged(token),
        Err(CommitError::Unknown(_)) => Written::Unknown,
        Err(CommitError::NotApplied(_)) => Written::Refused,
    }
}

async fn last(cluster: &Cluster, user: i64, token: &Token) -> Option<(i64, String)> {
    let mut read = cluster.read_after(token).await.ok()?;
    let n = sqlx::query_scalar("SELECT n FROM last WHERE user = ?")
        .bind(user)
        .fetch_optional(&mut *read);
    let n = tokio::time::timeout(Duration::from_secs(10), n)
        .await
        .ok()?
        .ok()?;
    let server = read.server().to_owned();
    read.done();
    // No row is what nobody wrote.
    Some((n.unwrap_or(0), server))
}

async fn live(
    cluster: Cluster,
    user: i64,
    stop: Arc<AtomicBool>,
    written: Arc<AtomicU64>,
) -> Ledger {
    let mut ledger = Ledger::default();
    let mut token = Token::default();
    let mut n = 0;
    while !stop.load(Ordering::Relaxed) {
        n += 1;
        match write(&cluster, user, n).await {
            Written::Acknowledged(new) => {
                token = new;
                ledger.acknowledged.insert(n);
                written.fetch_add(1, Ordering::Relaxed);
            }
            Written::Unknown => drop(ledger.unknown.insert(n)),
            Written::Refused => {
                ledger.refused.insert(n);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        if let Some((read, server)) = last(&cluster, user, &token).await {
            let own = ledger.acknowledged.last().copied().unwrap_or(0);
            let right = read == own || read > own && ledger.unknown.contains(&read);
            assert!(
                right,
                "user {user} wrote {own} and read {read} on {server} after {token}"
            );
            ledger.reads += 1;
        }
    }
    ledger
}

/// The entries that a server has: how often each.
fn entries(site: &mut Site, server: &str) -> BTreeMap<(i64, i64), u64> {
    let rows = blocking(|| {
        site.db
            .server(server)?
            .sql("SELECT user, n, COUNT(*) FROM webapp.entries GROUP BY user, n")
    });
    let rows = rows.lines().map(|row| {
        let mut columns = row.split('\t').map(|column| column.parse::<i64>().unwrap());
        let mut next = || columns.next().unwrap();
        let (user, n, count) = (next(), next(), next());
        ((user, n), u64::try_from(count).unwrap())
    });
    rows.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_was_acknowledged_is_lost_or_doubled() {
    let mut site = Site::start(3);
    blocking(|| {
        let position = site.db.servers()[0].sql(
            "USE webapp; \
             CREATE TABLE entries (id BIGINT PRIMARY KEY AUTO_INCREMENT, user BIGINT, n BIGINT, \
             KEY (user, n)); \
             CREATE TABLE last (user BIGINT PRIMARY KEY, n BIGINT); \
             SELECT @@gtid_binlog_pos",
        )?;
        site.db.servers()[1..]
            .iter()
            .try_for_each(|replica| replica.until_applied(&position))
    });
    let cluster = site
        .cluster("probe_timeout = \"1s\"\ncommit = \"5s\"")
        .await;
    let stop = Arc::new(AtomicBool::new(false));
    let written = Arc::new(AtomicU64::new(0));
    let users: Vec<_> = (0..USERS)
        .map(|user| {
            let (stop, written) = (Arc::clone(&stop), Arc::clone(&written));
            (
                user,
                tokio::spawn(live(cluster.clone(), user, stop, written)),
            )
        })
        .collect();
    let some_writes = async || {
        let before = written.load(Ordering::Relaxed);
        until("more writes", || {
            written.load(Ordering::Relaxed) >= before + 200
        })
        .await;
    };

    some_writes().await;
    // Each replica dies, and comes back.
    for replica in ["db2", "db3"] {
        blocking(|| site.db.server(replica)?.kill());
        some_writes().await;
        blocking(|| site.db.server(replica)?.restart());
        until("both to be in the rotation", || {
            in_rotation(&cluster) == ["db2", "db3"]
        })
        .await;
    }
    some_writes().await;

    // The primary dies, and the replica that has the most takes its place.
    blocking(|| site.db.server("db1")?.kill());
    until("the primary to be missed", || cluster.writable().is_err()).await;
    let mut promoted = tokio::task::block_in_place(|| site.webapp_db(&["promote", "db2"]));
    let mut new = "db2";
    if !promoted.status.success() {
        assert!(
            said(&promoted).contains("promote db3"),
            "{}",
            said(&promoted)
        );
        promoted = tokio::task::block_in_place(|| site.webapp_db(&["promote", "db3"]));
        new = "db3";
    }
    assert!(promoted.status.success(), "{}", said(&promoted));
    let other = if new == "db2" { "db3" } else { "db2" };
    until("a new primary", || cluster.writable().is_ok()).await;
    some_writes().await;
    until("the other one to follow", || {
        in_rotation(&cluster) == [other]
    })
    .await;
    some_writes().await;

    stop.store(true, Ordering::Relaxed);
    let mut ledgers = BTreeMap::new();
    for (user, task) in users {
        ledgers.insert(user, task.await.unwrap());
    }
    blocking(|| {
        let position = site.db.server(new)?.sql("SELECT @@gtid_binlog_pos")?;
        site.db.server(other)?.until_applied(&position)
    });

    let [mut acknowledged, mut unknown, mut refused, mut reads] = [0; 4];
    for server in [new, other] {
        let entries = entries(&mut site, server);
        for (user, ledger) in &ledgers {
            for n in &ledger.acknowledged {
                let count = entries.get(&(*user, *n)).copied();
                assert_eq!(count, Some(1), "write {n} of user {user} on {server}");
            }
            for n in &ledger.refused {
                assert_eq!(entries.get(&(*user, *n)), None, "write {n} of user {user}");
            }
        }
        assert!(
            entries.values().all(|count| *count == 1),
            "something is there twice"
        );
    }
    for ledger in ledgers.values() {
        acknowledged += ledger.acknowledged.len();
        unknown += ledger.unknown.len();
        refused += ledger.refused.len();
        reads += usize::try_from(ledger.reads).unwrap();
    }
    println!(
        "{acknowledged} writes acknowledged, {unknown} unknown, {refused} refused; {reads} reads \
         of one's own writes"
    );
    assert!(reads > 0 && acknowledged >= 1_000);
}
