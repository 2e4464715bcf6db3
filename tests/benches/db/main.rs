//! `cargo xtask bench db`: what replicas add to a primary, and what it costs to read one's own
//! writes from them.
//!
//! A MariaDB primary and two replicas on loopback, over TLS, with semi-synchronous replication. The
//! reads are of one row by its key. Servers and clients share the processors of one machine, so the
//! figures tell what the way to several servers costs, and not what several machines would give.

#[path = "../support/mod.rs"]
mod support;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::Parser as _;
use kit::figures::{Figures, Unit, median, quantile};
use kit::mariadb::{DATABASE, MariaDb, Options as Servers, Place};
use kit::pki::Authority;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use webapp::db::{Cluster, Config, Token};

use support::{Options, Progress, go_on};

/// Rounds, unless told.
const ROUNDS: u32 = 5;
/// Rows of the table.
const ROWS: i64 = 1_000;
/// How long it may take until all servers are found to be well.
const PATIENCE: Duration = Duration::from_secs(30);

/// Reads per second with replicas and without, and the cost of reading one's own writes.
#[derive(clap::Parser)]
struct Args {
    #[command(flatten)]
    options: Options,

    /// How long each measurement takes
    #[arg(long, default_value = "2", value_name = "SECONDS", value_parser = seconds)]
    seconds: Duration,

    /// How many readers there are at a time
    #[arg(long, default_value_t = 16, value_name = "N")]
    readers: usize,
}

fn main() -> ExitCode {
    let args = Args::parse();
    support::run(&args.options, || measure(&args))
}

fn seconds(text: &str) -> Result<Duration> {
    Ok(Duration::try_from_secs_f64(text.parse()?)?)
}

/// Which servers are read from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Read {
    Primary,
    Replicas,
}

fn measure(args: &Args) -> Result<Figures> {
    let rounds = args.options.rounds.unwrap_or(ROUNDS);
    let site = Site::start()?;
    let runtime = Runtime::new()?;
    let mut progress = Progress::new();
    let mut reads: [Vec<f64>; 2] = Default::default();
    let mut waits = Vec::new();
    for round in 1..=rounds {
        for (read, found) in [Read::Primary, Read::Replicas].into_iter().zip(&mut reads) {
            go_on()?;
            progress.step(&format!("reads, round {round} of {rounds}"));
            let cluster = site.cluster(&runtime, read, args.readers)?;
            found.push(runtime.block_on(reads_per_second(&cluster, args, read))?);
        }
        go_on()?;
        progress.step(&format!("reads after writes, round {round} of {rounds}"));
        let cluster = site.cluster(&runtime, Read::Replicas, args.readers)?;
        waits.extend(runtime.block_on(waits_for_writes(&cluster, args))?);
    }
    progress.end();

    let mut figures = Figures::of("db");
    let [primary, replicas] = reads;
    let only = "reads_per_s.primary_only";
    figures.add(only, median(&primary), Unit::PerSecond);
    figures.add_beside(
        "reads_per_s.with_replicas",
        median(&replicas),
        Unit::PerSecond,
        only,
    );
    let mean = waits.iter().sum::<f64>() / waits.len() as f64;
    figures.add("gtid_wait_ms.mean", mean, Unit::Milliseconds);
    figures.add(
        "gtid_wait_ms.p99",
        quantile(&waits, 0.99),
        Unit::Milliseconds,
    );
    Ok(figures)
}

/// The servers, with a table.
struct Site {
    db: MariaDb,
    directory: TempDir,
}

impl Site {
    fn start() -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let authority = Authority::create(&directory.path().join("pki"))?;
        let template = directory.path().join("template");
        let servers = Servers {
            directory: directory.path(),
            authority: &authority,
            template: &template,
            keep: false,
        };
        let db = MariaDb::start(&servers, Place::on_loopback(3)?)?;
        let (primary, replicas) = db.servers().split_first().context("no servers")?;
        let position = primary.sql(&format!(
            "USE {DATABASE}; \
             CREATE TABLE items (id BIGINT PRIMARY KEY, n BIGINT, text VARCHAR(200)); \
             INSERT INTO items SELECT seq, 0, REPEAT('x', 200) FROM seq_0_to_{ROWS}; \
             SELECT @@gtid_binlog_pos"
        ))?;
        replicas
            .iter()
            .try_for_each(|replica| replica.until_applied(&position))?;
        Ok(Self { db, directory })
    }

    /// A cluster of the primary alone or of all servers, ready.
    fn cluster(&self, runtime: &Runtime, read: Read, readers: usize) -> Result<Cluster> {
        let path: PathBuf = self.directory.path().join("db.toml");
        let limits = format!("\n[limits]\nconnections = {readers}\nspill = {readers}\n");
        fs::write(&path, self.db.config("") + &limits)?;
        let mut config = Config::load(&path)?;
        let replicas = match read {
            Read::Primary => 0,
            Read::Replicas => config.servers.len() - 1,
        };
        config.servers.truncate(replicas + 1);
        runtime.block_on(async {
            let cluster = Cluster::start(config)?;
            let start = Instant::now();
            let ready = || {
                let replicating = cluster.state().iter().filter(|it| it.in_rotation).count();
                cluster.writable().is_ok() && replicating == replicas
            };
            while !ready() {
                ensure!(
                    start.elapsed() < PATIENCE,
                    "not all servers are well: {:?}",
                    cluster.state()
                );
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            Ok(cluster)
        })
    }
}

async fn reads_per_second(cluster: &Cluster, args: &Args, read: Read) -> Result<f64> {
    let stop = Arc::new(AtomicBool::new(false));
    let readers = (0..args.readers).map(|reader| {
        let (cluster, stop) = (cluster.clone(), Arc::clone(&stop));
        tokio::spawn(async move {
            // Connections are opened before it counts.
            read_one(&cluster, 0, read).await?;
            let start = Instant::now();
            let mut reads = 0_u32;
            while !stop.load(Ordering::Relaxed) {
                let row = (i64::from(reads) * 17 + i64::try_from(reader)? * 101) % ROWS;
                read_one(&cluster, row, read).await?;
                reads += 1;
            }
            anyhow::Ok(f64::from(reads) / start.elapsed().as_secs_f64())
        })
    });
    let readers: Vec<_> = readers.collect();
    tokio::time::sleep(args.seconds).await;
    stop.store(true, Ordering::Relaxed);
    let mut total = 0.0;
    for reader in readers {
        total += reader.await??;
    }
    Ok(total)
}

async fn read_one(cluster: &Cluster, row: i64, expected: Read) -> Result<()> {
    let mut read = cluster.read().await?;
    let _: (i64, String) = sqlx::query_as("SELECT n, text FROM items WHERE id = ?")
        .bind(row)
        .fetch_one(&mut *read)
        .await?;
    let on_primary = read.server() == "db1";
    read.done();
    ensure!(
        on_primary == (expected == Read::Primary),
        "it was read from the wrong server"
    );
    Ok(())
}

/// What it took, in milliseconds, to get a connection that sees what was just written.
async fn waits_for_writes(cluster: &Cluster, args: &Args) -> Result<Vec<f64>> {
    // A few at a time, as on a site where most pages are read.
    const WRITERS: i64 = 4;
    let end = Instant::now() + args.seconds;
    let writers = (0..WRITERS).map(|writer| {
        let cluster = cluster.clone();
        tokio::spawn(async move {
            let mut waits = Vec::new();
            let mut n = 0;
            while Instant::now() < end {
                n += 1;
                let token = write_one(&cluster, writer, n).await?;
                let start = Instant::now();
                let mut read = cluster.read_after(&token).await?;
                waits.push(start.elapsed().as_secs_f64() * 1_000.0);
                let seen: i64 = sqlx::query_scalar("SELECT n FROM items WHERE id = ?")
                    .bind(writer)
                    .fetch_one(&mut *read)
                    .await?;
                ensure!(
                    seen == n,
                    "{n} was written, and {seen} read on {}",
                    read.server()
                );
                read.done();
            }
            anyhow::Ok(waits)
        })
    });
    let mut waits = Vec::new();
    for writer in writers.collect::<Vec<_>>() {
        waits.extend(writer.await??);
    }
    Ok(waits)
}

async fn write_one(cluster: &Cluster, row: i64, n: i64) -> Result<Token> {
    let mut write = cluster.write().await?;
    sqlx::query("UPDATE items SET n = ? WHERE id = ?")
        .bind(n)
        .bind(row)
        .execute(&mut *write)
        .await?;
    Ok(write.commit().await?)
}
