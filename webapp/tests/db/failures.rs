//! What goes wrong with servers, and where reads and writes go meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use webapp::db::{Cluster, Error, Role};

use crate::support::{PATIENCE, Site, blocking, in_rotation, make_table, state_of, until};

/// Readers who go on until they are told to stop.
struct Readers {
    stop: Arc<AtomicBool>,
    reads: Arc<AtomicU64>,
    tasks: Vec<JoinHandle<Vec<String>>>,
}

impl Readers {
    fn start(cluster: &Cluster, readers: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let reads = Arc::new(AtomicU64::new(0));
        let tasks = (0..readers).map(|_| {
            let (cluster, stop, reads) = (cluster.clone(), Arc::clone(&stop), Arc::clone(&reads));
            tokio::spawn(async move {
                let mut errors = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    match read_once(&cluster).await {
                        Ok(()) => drop(reads.fetch_add(1, Ordering::Relaxed)),
                        Err(error) => errors.push(error),
                    }
                }
                errors
            })
        });
        let tasks = tasks.collect();
        Self { stop, reads, tasks }
    }

    /// The errors that they had.
    async fn stop(self) -> Vec<String> {
        // Some reads after whatever happened last.
        let before = self.reads.load(Ordering::Relaxed);
        until("more reads", || {
            self.reads.load(Ordering::Relaxed) > before + 100
        })
        .await;
        self.stop.store(true, Ordering::Relaxed);
        let mut errors = Vec::new();
        for task in self.tasks {
            errors.extend(task.await.unwrap());
        }
        errors
    }
}

/// A read as a page makes it: tried again once if its connection is lost.
async fn read_once(cluster: &Cluster) -> Result<(), String> {
    let mut last = String::new();
    for _ in 0..2 {
        let mut read = cluster.read().await.map_err(|error| error.to_string())?;
        let n: Result<i64, _> = sqlx::query_scalar("SELECT n FROM counts WHERE user = 0")
            .fetch_one(&mut *read)
            .await;
        match n {
            Ok(_) => {
                read.done();
                return Ok(());
            }
            Err(error) => {
                last = error.to_string();
                if !read.failed(&error) {
                    break;
                }
            }
        }
    }
    Err(last)
}

async fn write_once(cluster: &Cluster) -> Result<String, String> {
    let mut write = cluster.write().await.map_err(|error| error.to_string())?;
    let server = write.server().to_owned();
    sqlx::query("UPDATE counts SET n = n + 1 WHERE user = 0")
        .execute(&mut *write)
        .await
        .map_err(|error| error.to_string())?;
    write.commit().await.map_err(|error| error.to_string())?;
    Ok(server)
}

/// Waits until exactly these are read from as replicas.
async fn until_rotation(cluster: &Cluster, servers: &[&str]) {
    let what = format!("{servers:?} to be the rotation");
    until(&what, || in_rotation(cluster) == servers).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_comes_and_goes_and_nobody_notices() {
    let mut site = Site::start(3);
    let cluster = site.cluster("").await;
    make_table(&site, 1);
    let readers = Readers::start(&cluster, 4);

    // A crash.
    blocking(|| site.db.server("db2")?.kill());
    until_rotation(&cluster, &["db3"]).await;
    assert_eq!(state_of(&cluster, "db2").role, Role::Away);
    blocking(|| site.db.server("db2")?.restart());
    until_rotation(&cluster, &["db2", "db3"]).await;

    // Replication that is stopped, as a whole and by halves.
    for (stop, why) in [
        ("STOP SLAVE", "has stopped applying"),
        ("STOP SLAVE IO_THREAD", "has stopped replicating"),
        ("STOP SLAVE SQL_THREAD", "has stopped applying"),
    ] {
        blocking(|| site.db.server("db3")?.sql(stop));
        until_rotation(&cluster, &["db2"]).await;
        let said = state_of(&cluster, "db3").why;
        assert!(said.contains(why), "{stop}: {said}");
        blocking(|| site.db.server("db3")?.sql("START SLAVE"));
        until_rotation(&cluster, &["db2", "db3"]).await;
    }

    // Replication that breaks: the row is there already.
    blocking(|| {
        let db3 = site.db.server("db3")?;
        db3.sql("SET sql_log_bin = 0; INSERT INTO webapp.counts VALUES (77, 0)")?;
        site.db
            .server("db1")?
            .sql("INSERT INTO webapp.counts VALUES (77, 0)")
    });
    until_rotation(&cluster, &["db2"]).await;
    let why = state_of(&cluster, "db3").why;
    assert!(why.contains("Duplicate entry"), "{why}");
    blocking(|| {
        site.db
            .server("db3")?
            .sql("SET sql_log_bin = 0; DELETE FROM webapp.counts WHERE user = 77; START SLAVE")
    });
    until_rotation(&cluster, &["db2", "db3"]).await;

    // One that lags: it is noticed although it says of itself that its replication runs.
    blocking(|| {
        site.db
            .server("db2")?
            .sql("STOP SLAVE; CHANGE MASTER TO MASTER_DELAY = 3600; START SLAVE")
    });
    let writing = Instant::now();
    let late = |why: &str| why.contains("behind, more than 2s");
    while !late(&state_of(&cluster, "db2").why) {
        assert!(
            writing.elapsed() < PATIENCE,
            "{:?}",
            state_of(&cluster, "db2")
        );
        write_once(&cluster).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(in_rotation(&cluster), ["db3"]);
    blocking(|| {
        site.db
            .server("db2")?
            .sql("STOP SLAVE; CHANGE MASTER TO MASTER_DELAY = 0; START SLAVE")
    });
    until_rotation(&cluster, &["db2", "db3"]).await;

    let errors = readers.stop().await;
    assert!(errors.is_empty(), "{errors:?}");

    // Both at once: the primary takes the reads.
    blocking(|| {
        site.db.server("db2")?.kill()?;
        site.db.server("db3")?.kill()
    });
    until_rotation(&cluster, &[]).await;
    let read = cluster.read().await.unwrap();
    assert_eq!(read.server(), "db1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_nobody_would_acknowledge_is_refused_at_once() {
    let mut site = Site::start(2);
    let cluster = site.cluster("").await;
    make_table(&site, 1);
    assert_eq!(write_once(&cluster).await.unwrap(), "db1");
    blocking(|| site.db.server("db2")?.sql("STOP SLAVE IO_THREAD"));
    until("that to be seen", || cluster.writable().is_err()).await;
    let started = Instant::now();
    let error = cluster.write().await.unwrap_err();
    assert!(
        matches!(&error, Error::NoReplica(primary) if primary == "db1"),
        "{error}"
    );
    assert!(started.elapsed() < Duration::from_secs(1), "at once");
    assert!(state_of(&cluster, "db1").why.contains("no replica"));
    assert_eq!(cluster.read().await.unwrap().server(), "db1");

    blocking(|| site.db.server("db2")?.sql("START SLAVE"));
    until("writes to go on", || cluster.writable().is_ok()).await;
    assert_eq!(write_once(&cluster).await.unwrap(), "db1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_primary_the_site_is_read_only() {
    let mut site = Site::start(3);
    let cluster = site
        .cluster("probe_timeout = \"500ms\"\nacquire = \"3s\"\nmax_lag = \"2s\"")
        .await;
    make_table(&site, 1);
    assert_eq!(write_once(&cluster).await.unwrap(), "db1");

    // One that crashed.
    let readers = Readers::start(&cluster, 2);
    blocking(|| site.db.server("db1")?.kill());
    until("the primary to be missed", || cluster.writable().is_err()).await;
    let started = Instant::now();
    let error = cluster.write().await.unwrap_err();
    assert!(
        matches!(&error, Error::NoPrimary(why) if why.contains("db1")),
        "{error}"
    );
    assert!(
        started.elapsed() < Duration::from_secs(1),
        "it is told at once"
    );
    // Its replicas try to reach it for longer than they may lag, and are read from all the while.
    while started.elapsed() < Duration::from_secs(4) {
        assert_eq!(in_rotation(&cluster), ["db2", "db3"]);
        read_once(&cluster).await.unwrap();
    }
    let errors = readers.stop().await;
    assert!(errors.is_empty(), "{errors:?}");

    // It returns read-only: nothing is guessed.
    blocking(|| site.db.server("db1")?.restart());
    until("db1 to be back", || {
        state_of(&cluster, "db1").role == Role::Standalone
    })
    .await;
    let error = cluster.write().await.unwrap_err().to_string();
    assert!(
        error.contains("db1 is read-only and replicates from nobody"),
        "{error}"
    );
    blocking(|| site.db.server("db1")?.sql("SET GLOBAL read_only = OFF"));
    until("db1 to be the primary", || cluster.writable().is_ok()).await;
    assert_eq!(write_once(&cluster).await.unwrap(), "db1");

    // A write that is under way when its server becomes read-only.
    let mut write = cluster.write().await.unwrap();
    blocking(|| site.db.server("db1")?.sql("SET GLOBAL read_only = ON"));
    let refused = sqlx::query("UPDATE counts SET n = -1")
        .execute(&mut *write)
        .await
        .unwrap_err();
    assert!(webapp::db::is_read_only_refusal(&refused), "{refused}");
    drop(write);
    blocking(|| site.db.server("db1")?.sql("SET GLOBAL read_only = OFF"));
    until("db1 to be the primary", || cluster.writable().is_ok()).await;

    // Two.
    blocking(|| site.db.server("db3")?.sql("SET GLOBAL read_only = OFF"));
    until("the second one to be seen", || cluster.writable().is_err()).await;
    let error = cluster.write().await.unwrap_err();
    assert!(
        matches!(&error, Error::TwoPrimaries(names) if names == &["db1", "db3"]),
        "{error}"
    );
    assert_eq!(in_rotation(&cluster), ["db2"]);
    read_once(&cluster).await.unwrap();
    blocking(|| site.db.server("db3")?.sql("SET GLOBAL read_only = ON"));
    until("one to be left", || cluster.writable().is_ok()).await;
    until_rotation(&cluster, &["db2", "db3"]).await;

    // One that hangs, with all its connections open.
    write_once(&cluster).await.unwrap();
    blocking(|| site.db.server("db1")?.freeze());
    until("the primary to be missed", || cluster.writable().is_err()).await;
    assert_eq!(in_rotation(&cluster), ["db2", "db3"]);
    read_once(&cluster).await.unwrap();
    blocking(|| site.db.server("db1")?.thaw());
    until("the primary to be back", || cluster.writable().is_ok()).await;
    assert_eq!(write_once(&cluster).await.unwrap(), "db1");
}
