//! A whole site: what a lab may have beyond load balancers and web servers.
//!
//! ```text
//!   client ──── dns          "www.foobar.com is at the VIP"
//!      │
//!      │ HTTPS, to the VIP
//!      ▼
//!   lb, lb2                  one leads
//!      │
//!      ▼
//!   web1 … web3              static files, and the way to
//!      │ HTTPS, both sides verified
//!      ▼
//!   app1, app2               accounts, sessions, posts
//!      │ MySQL over TLS
//!      ▼
//!   db1 ──► db2, db3         writes ──► reads
//! ```
//!
//! The certificates of all of them come from an authority that is made with the lab.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use crate::http::Connection;
use crate::lab::Lab;
use crate::layout::{
    self, APP_PORT, APPS, DB_PORT, DBS, DNS, HTTPS_PORT, Layout, SITE, VIP, WEB_PORT,
};
use crate::mariadb::{MariaDb, Options, Place, Server};
use crate::pki::{Authority, Files};
use crate::tls::Trust;
use crate::visitor::Visitor;
use crate::{process, wait};

/// How long a web server goes on while it says that it is not ready: longer than the load balancers of
/// any lab take to notice.
const DRAIN_DELAY: &str = "3s";
/// How long something may take to be ready.
const PATIENCE: Duration = Duration::from_secs(30);
/// What the client's resolver is to read instead of the machine's files.
const RESOLVER: [(&str, &str); 2] = [
    ("/etc/resolv.conf", "resolv.conf"),
    ("/etc/nsswitch.conf", "nsswitch.conf"),
];

impl Layout {
    /// A command that will run on a host. In a lab with a site, the client asks the lab's DNS server.
    pub fn command(&self, host: &str, program: &str) -> Result<Command> {
        let namespace = self.namespace(host);
        if host != "client" || !self.is_site() {
            return namespace.command(program);
        }
        let files = RESOLVER.map(|(seen, file)| (seen, self.run_dir().join(file)));
        let files: Vec<(&str, &Path)> = files
            .iter()
            .filter(|(seen, _)| Path::new(seen).exists())
            .map(|(seen, file)| (*seen, file.as_path()))
            .collect();
        namespace.command_seeing(program, &files)
    }
}

/// Makes the files that a site's hosts need before they are started.
pub(crate) fn prepare(layout: &Layout) -> Result<Authority> {
    let write = |name: &str, text: &str| {
        let path = layout.run_dir().join(name);
        fs::write(&path, text).with_context(|| format!("failed to write {}", path.display()))
    };
    let resolv_conf = format!("nameserver {DNS}\noptions timeout:1 attempts:3\n");
    write("resolv.conf", &resolv_conf)?;
    write(
        "nsswitch.conf",
        "passwd: files\ngroup: files\nhosts: files dns\n",
    )?;

    let authority = Authority::create(&layout.pki_dir())?;
    for n in 1..=layout.webs() {
        let (name, address) = (layout::web_name(n), layout::web_ip(n).to_string());
        authority.issue(&name, &[&name, &address])?;
        authority.issue(&public(n), &[SITE])?;
    }
    for n in 1..=APPS {
        let (name, address) = (layout::app_name(n), layout::app_ip(n).to_string());
        authority.issue(&name, &[&name, &address])?;
    }

    let fixed = static_dir(layout);
    fs::create_dir(&fixed)?;
    fs::write(
        fixed.join("robots.txt"),
        "User-agent: *\nDisallow: /admin\n",
    )?;
    Ok(authority)
}

fn static_dir(layout: &Layout) -> PathBuf {
    layout.run_dir().join("static")
}

/// What web server `n` of a site is told, beside its name.
pub(crate) fn web_arguments(layout: &Layout, n: u8, command: &mut Command) {
    let name = layout::web_name(n);
    let public = Files::of(&public(n), &layout.pki_dir());
    let tier = Files::of(&name, &layout.pki_dir());
    command
        .args(["--listen", &format!("0.0.0.0:{HTTPS_PORT}")])
        .args(["--redirect", &format!("0.0.0.0:{WEB_PORT}")])
        .args(["--host", SITE])
        .arg("--cert")
        .arg(public.cert)
        .arg("--key")
        .arg(public.key)
        .arg("--tier-cert")
        .arg(tier.cert)
        .arg("--tier-key")
        .arg(tier.key)
        .arg("--tier-ca")
        .arg(tier.ca)
        .arg("--root")
        .arg(static_dir(layout))
        .arg("--access-log")
        .arg(layout.log(&format!("{name}-access")))
        .args(["--metrics", "127.0.0.1:9602"])
        .args(["--drain-delay", DRAIN_DELAY, "--grace", "60s"])
        .arg("--test-pages");
    for n in 1..=APPS {
        let (name, address) = (layout::app_name(n), layout::app_ip(n));
        command.args(["--app", &format!("{name}={address}:{APP_PORT}")]);
    }
}

/// Whose certificate web server `n` shows to visitors; to app servers it shows its own.
fn public(n: u8) -> String {
    format!("{}-public", layout::web_name(n))
}

impl Lab {
    /// Whom to believe in this lab, for a visitor.
    pub fn trust(&self) -> Result<Trust> {
        Trust::in_authority(&self.layout().pki_dir().join("ca.pem"))
    }

    /// The addresses that the client finds for a name, by its resolver.
    pub fn resolve(&self, name: &str) -> Result<Vec<Ipv4Addr>> {
        let output = self
            .layout()
            .command("client", "getent")?
            .args(["ahostsv4", name])
            .output()
            .context("failed to run getent")?;
        let text = String::from_utf8_lossy(&output.stdout);
        let mut addresses: Vec<Ipv4Addr> = text
            .lines()
            .filter_map(|line| line.split_whitespace().next()?.parse().ok())
            .collect();
        addresses.dedup();
        ensure!(!addresses.is_empty(), "{name} is not found");
        Ok(addresses)
    }

    /// A visitor, who has looked the site up and has not asked for anything yet.
    pub fn visitor(&self, limit: Duration) -> Result<Visitor> {
        let addresses = self.resolve(SITE)?;
        let address = addresses.first().context("the site has no address")?;
        Ok(Visitor::new((*address, 443).into(), self.trust()?, limit))
    }

    /// Starts the DNS server, and waits until the client finds the site.
    pub fn start_dns(&mut self) -> Result<()> {
        let mut command = self.layout().namespace("dns").command("dnsmasq")?;
        let domain = SITE.trim_start_matches("www.");
        command
            .args([
                "--keep-in-foreground",
                "--conf-file=/dev/null",
                "--pid-file=",
            ])
            .args(["--user=root", "--group=root"])
            // It knows this one site, and asks nobody.
            .args(["--no-resolv", "--no-hosts", "--no-poll"])
            .arg(format!("--local=/{domain}/"))
            .arg(format!("--host-record={SITE},{VIP}"))
            .arg("--local-ttl=60")
            .args(["--bind-interfaces", "--except-interface=lo"])
            .arg(format!("--listen-address={DNS}"))
            .args(["--log-queries", "--log-facility=-"]);
        self.start("dns", command)?;
        let layout = self.layout().clone();
        wait::wait_for(PATIENCE, "the site to be found", || {
            // A server that could not start has said why.
            let found = self
                .resolve(SITE)
                .with_context(|| fs::read_to_string(layout.log("dns")).unwrap_or_default())?;
            ensure!(found == [VIP], "{SITE} is at {found:?}");
            Ok(())
        })
    }

    /// Starts a whole site but for the load balancers, and waits until it is ready.
    pub fn start_site(&mut self) -> Result<()> {
        self.start_dns()?;
        self.start_databases()?;
        (1..=APPS).try_for_each(|n| self.start_app(n))?;
        (1..=APPS).try_for_each(|n| self.wait_until_app_is_ready(n))?;
        self.start_webs()
    }

    /// Starts app server `n`, and waits until it listens. It may still wait for the databases.
    pub fn start_app(&mut self, n: u8) -> Result<()> {
        ensure!((1..=APPS).contains(&n), "there is no app{n}");
        let layout = self.layout().clone();
        let name = layout::app_name(n);
        let files = Files::of(&name, &layout.pki_dir());
        let namespace = layout.namespace(&name);
        let address: SocketAddr = (layout::app_ip(n), APP_PORT).into();
        let mut command = namespace.command(&self.programs().webapp)?;
        command
            .args(["app", "--name", &name])
            .args(["--listen", &address.to_string()])
            .arg("--cert")
            .arg(files.cert)
            .arg("--key")
            .arg(files.key)
            .arg("--ca")
            .arg(files.ca)
            .arg("--database")
            .arg(layout.config_for("db"))
            .arg("--name-servers")
            .arg("--access-log")
            .arg(layout.log(&format!("{name}-access")))
            .args(["--metrics", "127.0.0.1:9603"]);
        self.start(&name, command)?;
        self.wait_until(&name, || {
            let connect = move || TcpStream::connect_timeout(&address, Duration::from_secs(1));
            Ok(namespace.run(connect)?.map(drop)?)
        })
    }

    /// Waits until app server `n` says, to a web server, that it is ready.
    pub fn wait_until_app_is_ready(&self, n: u8) -> Result<()> {
        let name = layout::app_name(n);
        let pki = self.layout().pki_dir();
        let trust = Trust::as_owner_of(&Files::of(&layout::web_name(1), &pki))?;
        let address = (layout::app_ip(n), APP_PORT).into();
        wait::wait_for(PATIENCE, &format!("{name} to be ready"), || {
            let (name, trust) = (name.clone(), trust.clone());
            let answer = self.web(1).run(move || {
                Connection::open_tls(address, &name, &trust, Duration::from_secs(2))?.get("/readyz")
            })??;
            ensure!(answer.status == 200, "{}: {}", answer.status, answer.text());
            Ok(())
        })
    }

    /// Kills app server `n` with SIGKILL, as a crash would.
    pub fn kill_app(&mut self, n: u8) -> Result<()> {
        self.kill(&layout::app_name(n))
    }

    /// Starts the databases: the first is the primary, the others replicate from it.
    fn start_databases(&mut self) -> Result<()> {
        let layout = self.layout().clone();
        let options = Options {
            directory: &layout.run_dir(),
            authority: self.authority()?,
            template: &self.empty_database(),
            keep: true,
        };
        let databases = MariaDb::start(&options, places(&layout))?;
        let config = layout.config_for("db");
        fs::write(&config, databases.config(""))
            .with_context(|| format!("failed to write {}", config.display()))?;
        self.databases = Some(databases);
        Ok(())
    }

    /// An empty server, which takes seconds to make: all labs of a build begin with the same.
    fn empty_database(&self) -> PathBuf {
        self.programs().webapp.with_file_name("mariadb-empty")
    }

    fn databases(&mut self) -> Result<&mut MariaDb> {
        self.databases.as_mut().context("no databases were started")
    }

    /// Kills database server `n` with SIGKILL, as a crash would.
    pub fn kill_db(&mut self, n: u8) -> Result<()> {
        self.databases()?.server(&layout::db_name(n))?.kill()
    }

    /// Starts database server `n` again. It is read-only; a replica goes on as one.
    pub fn start_db(&mut self, n: u8) -> Result<()> {
        self.databases()?.server(&layout::db_name(n))?.restart()
    }

    /// Whether database server `n` answers.
    pub fn db_runs(&mut self, n: u8) -> Result<bool> {
        let server = self.databases()?.server(&layout::db_name(n))?;
        Ok(server.sql("SELECT 1").is_ok())
    }

    /// What a [crowd](crate::crowd) has posted, as database server `n` has it.
    pub fn posts(&mut self, n: u8) -> Result<Vec<String>> {
        let server = self.databases()?.server(&layout::db_name(n))?;
        let posts =
            server.sql("SELECT text FROM webapp.post WHERE text LIKE 'post %' ORDER BY id")?;
        Ok(posts.lines().map(str::to_owned).collect())
    }

    /// Makes database server `n` the primary, as an operator does, on a host of the app servers'.
    pub fn promote(&mut self, n: u8) -> Result<()> {
        let layout = self.layout();
        let name = layout::db_name(n);
        let host = layout.namespace(&layout::app_name(1));
        let mut command = host.command(&self.programs().webapp)?;
        command.args(["db", "promote", &name, "--config"]);
        let output = command.arg(layout.config_for("db")).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success(),
            "promoting {name} failed: {}",
            said.trim()
        );
        Ok(())
    }

    /// The database server that can be written to, if any says that it can.
    pub fn primary(&self) -> Option<u8> {
        let servers = self.databases.as_ref()?.servers();
        let writable = |server: &Server| {
            let read_only = server.sql("SELECT @@read_only");
            read_only.is_ok_and(|read_only| read_only == "0")
        };
        let primary = (1..).zip(servers).find(|(_, server)| writable(server));
        primary.map(|(n, _)| n)
    }

    /// Starts database server `n` again as what it can be: one that was the primary, and has a
    /// successor, is made anew.
    fn revive_db(&mut self, n: u8) -> Result<()> {
        self.start_db(n)?;
        let server = self.databases()?.server(&layout::db_name(n))?;
        let was_primary = server.replication()?.is_none();
        match self.primary() {
            Some(primary) if was_primary => self.return_db(n, primary),
            _ => Ok(()),
        }
    }

    /// Makes database server `n`, that was the primary once, anew as a replica of server `primary`.
    pub fn return_db(&mut self, n: u8, primary: u8) -> Result<()> {
        let (name, primary) = (layout::db_name(n), layout::db_name(primary));
        let template = self.empty_database();
        let databases = self.databases()?;
        databases.rebuild(&name, &primary, &template)?;
        wait::wait_for(PATIENCE, &format!("{name} to follow {primary}"), || {
            let replication = databases
                .server(&name)?
                .replication()?
                .context("it does not replicate")?;
            let follows = replication.receiving == "Yes" && replication.applying;
            ensure!(follows, "{replication:?}");
            Ok(())
        })?;
        let position = databases
            .server(&primary)?
            .sql("SELECT @@gtid_binlog_pos")?;
        databases.server(&name)?.until_applied(&position)
    }

    /// Kills everything on a host that is no load balancer.
    pub fn kill_host(&mut self, host: &str) -> Result<()> {
        self.forget(host);
        process::kill_all(&[self.layout().namespace(host)])
    }

    /// Starts again what a host is there for.
    pub fn revive_host(&mut self, host: &str) -> Result<()> {
        let number = |kind: &str| host.strip_prefix(kind)?.parse::<u8>().ok();
        if let Some(n) = number("web") {
            self.start_web(n)
        } else if let Some(n) = number("app") {
            self.start_app(n)
        } else if let Some(n) = number("db") {
            self.revive_db(n)
        } else if host == "dns" {
            self.start_dns()
        } else {
            bail!("nothing runs on {host} that could be started")
        }
    }
}

/// The databases of a lab that somebody else has made.
pub(crate) fn open_databases(layout: &Layout) -> MariaDb {
    MariaDb::open(&layout.run_dir(), &layout.pki_dir(), places(layout))
}

/// Where the databases are.
fn places(layout: &Layout) -> Vec<Place> {
    let place = |n| {
        let name = layout::db_name(n);
        Place {
            address: layout::db_ip(n).into(),
            port: DB_PORT,
            namespace: Some(layout.namespace(&name)),
            name,
        }
    };
    (1..=DBS).map(place).collect()
}
