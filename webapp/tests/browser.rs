//! The whole site on loopback, visited by a real browser: what `tests/browser` tells of it.
//!
//! It wants node, npm and Chromium, which `cargo xtask setup --browser` brings, and takes two minutes:
//! `cargo test -p webapp --test browser -- --ignored`. `cargo xtask test` runs it where they are, and
//! continuous integration in any case.

#![allow(
    clippy::unwrap_used,
    reason = "a test ends with the first thing that goes wrong"
)]

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread::sleep;
use std::time::{Duration, Instant};

use argon2::Argon2;
use argon2::password_hash::PasswordHasher as _;
use argon2::password_hash::phc::PasswordHash;
use kit::mariadb::{MariaDb, Options, Place};
use kit::pki::Authority;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const SITE: &str = "www.foobar.com";
const PATIENCE: Duration = Duration::from_secs(60);
/// How often something is looked for that nobody tells of.
const LOOK: Duration = Duration::from_millis(50);
/// Long enough for each story but the one that waits for it.
const SESSION_SECONDS: u32 = 40;

/// A program that ends with the test.
struct Running {
    name: &'static str,
    child: Child,
}

impl Drop for Running {
    fn drop(&mut self) {
        let pid = Pid::from_raw(self.child.id().try_into().unwrap());
        // It may have ended by itself, which is told elsewhere.
        let _ = kill(pid, Signal::SIGTERM);
        let _ = self.child.wait();
    }
}

struct Site {
    directory: tempfile::TempDir,
    authority: Authority,
    running: Vec<Running>,
}

impl Site {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::create(&directory.path().join("pki")).unwrap();
        Self {
            directory,
            authority,
            running: Vec::new(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn databases(&self) -> MariaDb {
        let options = Options {
            directory: self.directory.path(),
            authority: &self.authority,
            template: &Path::new(env!("CARGO_TARGET_TMPDIR")).join("mariadb"),
            keep: false,
        };
        MariaDb::start(&options, Place::on_loopback(2).unwrap()).unwrap()
    }

    fn start(&mut self, name: &'static str, command: &mut Command) {
        let log = fs::File::create(self.path(&format!("{name}.log"))).unwrap();
        let child = command.stderr(log).spawn().unwrap();
        self.running.push(Running { name, child });
    }

    fn start_app(&mut self, name: &'static str, address: SocketAddr) {
        let files = self.authority.issue(name, &[name, "127.0.0.1"]).unwrap();
        let mut app = webapp("app", name, address);
        app.arg("--cert")
            .arg(&files.cert)
            .arg("--key")
            .arg(&files.key);
        app.arg("--ca").arg(&files.ca);
        app.arg("--database").arg(self.path("db.toml"));
        app.args(["--session-life", &format!("{SESSION_SECONDS}s")]);
        self.start(name, &mut app);
    }

    fn start_web(&mut self, address: SocketAddr, apps: &[(&str, SocketAddr)]) {
        let public = self.authority.issue("public", &[SITE]).unwrap();
        let tier = self.authority.issue("web1", &["web1"]).unwrap();
        let mut web = webapp("web", "web1", address);
        web.arg("--cert")
            .arg(&public.cert)
            .arg("--key")
            .arg(&public.key);
        web.arg("--tier-cert")
            .arg(&tier.cert)
            .arg("--tier-key")
            .arg(&tier.key);
        web.arg("--tier-ca").arg(&tier.ca);
        for (name, address) in apps {
            web.args(["--app", &format!("{name}={address}")]);
        }
        self.start("web1", &mut web);
    }

    fn logs(&self) -> String {
        let logs = self.running.iter().map(|Running { name, .. }| {
            let log = fs::read_to_string(self.path(&format!("{name}.log")));
            format!("{name}:\n{}", log.unwrap_or_default())
        });
        logs.collect()
    }

    fn until_listening(&self, address: SocketAddr) {
        let begun = Instant::now();
        while TcpStream::connect(address).is_err() {
            assert!(
                begun.elapsed() < PATIENCE,
                "nobody at {address}\n{}",
                self.logs()
            );
            sleep(LOOK);
        }
    }
}

fn webapp(role: &str, name: &str, address: SocketAddr) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_webapp"));
    command.args([role, "--name", name, "--listen", &address.to_string()]);
    command
}

/// Addresses that nobody listens on.
fn free<const N: usize>() -> [SocketAddr; N] {
    let listeners = [(); N].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
    listeners.map(|listener| listener.local_addr().unwrap())
}

/// Until the schema is there.
fn until_ready(databases: &MariaDb) {
    let begun = Instant::now();
    while databases.servers()[0]
        .sql("SELECT secret FROM webapp.shared_secret")
        .is_err()
    {
        assert!(begun.elapsed() < PATIENCE, "the app servers made no schema");
        sleep(LOOK);
    }
}

#[test]
#[ignore = "wants node, npm and Chromium"]
fn the_site_in_a_browser() {
    let mut site = Site::new();
    let mut databases = site.databases();
    fs::write(site.path("db.toml"), databases.config("")).unwrap();
    let [web, app1, app2] = free();
    site.start_app("app1", app1);
    site.start_app("app2", app2);
    site.start_web(web, &[("app1", app1), ("app2", app2)]);
    for address in [web, app1, app2] {
        site.until_listening(address);
    }
    until_ready(&databases);

    let password = "admin's horse battery";
    let hash: PasswordHash = Argon2::default()
        .hash_password(password.as_bytes())
        .unwrap();
    let admin = format!(
        "INSERT INTO webapp.account (name, password, created_ms)
         VALUES ('root-of-all', '{hash}', 1)"
    );
    databases.servers()[0].sql(&admin).unwrap();
    let grant = |name: &str| {
        let mut grant = Command::new(env!("CARGO_BIN_EXE_webapp"));
        grant
            .arg("grant")
            .arg("--database")
            .arg(site.path("db.toml"))
            .arg(name);
        grant.status().unwrap().success()
    };
    assert!(grant("root-of-all") && !grant("nobody-at-all"));

    let suite = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/browser");
    let status = Command::new("npm")
        .args(["ci", "--no-audit", "--no-fund"])
        .current_dir(&suite)
        .status()
        .unwrap();
    assert!(status.success(), "npm ci failed");
    let levers = site.path("levers");
    fs::create_dir(&levers).unwrap();
    let mut stories = Command::new("npm")
        .arg("test")
        .current_dir(&suite)
        .env("SITE", format!("https://{SITE}"))
        .env("RESOLVE", format!("MAP {SITE}:443 {web}"))
        .env("SESSION_SECONDS", SESSION_SECONDS.to_string())
        .env("ADMIN", format!("root-of-all:{password}"))
        .env("LEVERS", &levers)
        .spawn()
        .unwrap();
    let status = loop {
        if let Some(status) = stories.try_wait().unwrap() {
            break status;
        }
        // What was pulled goes back.
        let pulled = |lever: &str| fs::remove_file(levers.join(lever)).is_ok();
        if pulled("pause") {
            databases.server("db1").unwrap().kill().unwrap();
        }
        if pulled("resume") {
            let primary = databases.server("db1").unwrap();
            primary.restart().unwrap();
            primary.sql("SET GLOBAL read_only = OFF").unwrap();
        }
        sleep(LOOK);
    };
    assert!(
        status.success(),
        "the browser found something\n{}",
        site.logs()
    );
}
