//! Servers for a test, and the cluster type that is to be tested on them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use kit::mariadb::{DATABASE, MariaDb, Options, Place};
use kit::pki::Authority;
use tempfile::TempDir;
use webapp::db::{Cluster, Config, ServerState};

/// How long something may take to be noticed, on a machine that has much else to do.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Servers, and a directory for all that they have. Both are gone afterwards.
pub(crate) struct Site {
    pub(crate) db: MariaDb,
    pub(crate) authority: Authority,
    directory: TempDir,
}

impl Site {
    /// A primary, db1, and its replicas.
    pub(crate) fn start(servers: u8) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::create(&directory.path().join("pki")).unwrap();
        let options = Options {
            directory: directory.path(),
            authority: &authority,
            template: &Path::new(env!("CARGO_TARGET_TMPDIR")).join("mariadb"),
            keep: false,
        };
        let places = Place::on_loopback(servers).unwrap();
        let db = MariaDb::start(&options, places).unwrap();
        Self {
            db,
            authority,
            directory,
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The configuration, with limits that suit a test unless they are given.
    pub(crate) fn config(&self, limits: &str) -> Config {
        let defaults = [
            ("max_lag", "\"2s\""),
            ("probe_interval", "\"200ms\""),
            ("probe_timeout", "\"2s\""),
            ("acquire", "\"5s\""),
        ];
        let mut text = self.db.config("") + "\n[limits]\n" + limits + "\n";
        for (name, value) in defaults {
            if !limits.contains(name) {
                text += &format!("{name} = {value}\n");
            }
        }
        let path = self.path("webapp.toml");
        fs::write(&path, text).unwrap();
        Config::load(&path).unwrap()
    }

    /// A cluster that has looked at all servers and found them well.
    pub(crate) async fn cluster(&self, limits: &str) -> Cluster {
        let cluster = Cluster::start(self.config(limits)).unwrap();
        let replicas = self.db.servers().len() - 1;
        until("all servers to be well", || {
            cluster.writable().is_ok() && in_rotation(&cluster).len() == replicas
        })
        .await;
        cluster
    }

    /// Begins to run statements on a server, as its administrator.
    pub(crate) fn client(&self, server: &str, statements: &str) -> Child {
        Command::new("mariadb")
            .args(["--no-defaults", "--user=root", "--execute", statements])
            .arg("--socket")
            .arg(self.path(server).join("socket"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }

    /// Runs `webapp db …` with the configuration that was made last.
    pub(crate) fn webapp_db(&self, args: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_webapp"))
            .args(["db", "--config"])
            .arg(self.path("webapp.toml"))
            .args(args)
            .output()
            .unwrap()
    }
}

/// What a program said, on both its outputs.
pub(crate) fn said(output: &Output) -> String {
    [&output.stdout, &output.stderr]
        .map(|text| String::from_utf8_lossy(text))
        .concat()
}

/// The names of the servers in the rotation.
pub(crate) fn in_rotation(cluster: &Cluster) -> Vec<String> {
    let servers = cluster
        .state()
        .into_iter()
        .filter(|server| server.in_rotation);
    servers.map(|server| server.name).collect()
}

pub(crate) fn state_of(cluster: &Cluster, name: &str) -> ServerState {
    cluster
        .state()
        .into_iter()
        .find(|server| server.name == name)
        .unwrap()
}

/// Waits until something holds.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(
            start.elapsed() < PATIENCE,
            "waited {PATIENCE:?} for {what}, in vain"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Runs what blocks, such as the kit's functions, beside other tasks.
pub(crate) fn blocking<T>(work: impl FnOnce() -> anyhow::Result<T>) -> T {
    tokio::task::block_in_place(work).unwrap()
}

/// Makes a table with a row for each of some users, on all servers.
pub(crate) fn make_table(site: &Site, users: u32) {
    let rows: Vec<String> = (0..users).map(|user| format!("({user}, 0)")).collect();
    let make = format!(
        "USE {DATABASE}; \
         CREATE TABLE counts (user BIGINT PRIMARY KEY, n BIGINT NOT NULL); \
         INSERT INTO counts VALUES {}; \
         SELECT @@gtid_binlog_pos",
        rows.join(", ")
    );
    blocking(|| {
        let (primary, replicas) = site.db.servers().split_first().unwrap();
        let position = primary.sql(&make)?;
        replicas
            .iter()
            .try_for_each(|replica| replica.until_applied(&position))
    });
}
