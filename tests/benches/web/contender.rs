//! The two servers: each is started once, and idles while the other one is measured.

use std::fs::{self, File, OpenOptions};
use std::io::Read as _;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use kit::http::Response;
use kit::pki::Files;
use kit::wait;

use crate::ground::{APP, APP_NAME, Ground, WEB_NAME, local};
use crate::nginx::Settings;
use crate::processors;
use crate::scenario::Scenario;
use crate::support::{go_on, installed};

/// How long a server may take to start, or a line to get into a log.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where the web server tells its metrics: it counts, as it would in use.
const METRICS: SocketAddr = local(9602);

/// Headers that every server makes by itself, or that the app server made.
const OWN: [&str; 11] = [
    "accept-ranges",
    "cache-control",
    "connection",
    "content-length",
    "content-type",
    "date",
    "etag",
    "last-modified",
    "server",
    "vary",
    "x-served-by-app",
];

/// A server that is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Contender {
    /// `webapp web`.
    Headgate,
    /// Debian's nginx.
    Nginx,
}

impl Contender {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Headgate => "headgate",
            Self::Nginx => "nginx",
        }
    }

    const fn address(self) -> SocketAddr {
        match self {
            Self::Headgate => local(8443),
            Self::Nginx => local(9443),
        }
    }
}

/// A server that runs. The ground ends it.
pub(crate) struct Server {
    pub(crate) contender: Contender,
    pub(crate) address: SocketAddr,
    /// Where it logs requests.
    log: PathBuf,
    /// Its first process, which leads a group of all of them.
    child: Child,
}

impl Server {
    /// Starts `webapp web`.
    pub(crate) fn headgate(ground: &Ground, threads: usize) -> Result<Self> {
        let contender = Contender::Headgate;
        let log = access_log(ground, contender);
        let mut command = ground.host.command(&ground.lab.programs().webapp)?;
        let (name, Files { cert, key, ca }) = (WEB_NAME, &ground.identity);
        command
            .env("TOKIO_WORKER_THREADS", threads.to_string())
            .args(["web", "--name", name])
            .args(["--listen", &contender.address().to_string()])
            .args(["--metrics", &METRICS.to_string()])
            .args(["--app", &format!("{APP_NAME}={APP}")])
            .arg("--root")
            .arg(&ground.root)
            .arg("--access-log")
            .arg(&log);
        for (option, file) in [
            ("--cert", cert),
            ("--key", key),
            ("--tier-cert", cert),
            ("--tier-key", key),
            ("--tier-ca", ca),
        ] {
            command.arg(option).arg(file);
        }
        Self::start(ground, contender, command, log)
    }

    /// Starts nginx. What it says in its answers' heads is what the other server says.
    pub(crate) fn nginx(ground: &Ground, threads: usize, other: &Self) -> Result<Self> {
        let contender = Contender::Nginx;
        let log = access_log(ground, contender);
        let directory = ground.lab.layout().run_dir().join("nginx");
        fs::create_dir(&directory)?;
        let headers =
            |scenario| -> Result<_> { Ok(further_headers(&ground.ask(other.address, scenario)?)) };
        let config = Settings {
            address: contender.address(),
            workers: threads,
            directory: &directory,
            log: &log,
            root: &ground.root,
            identity: &ground.identity,
            name: WEB_NAME,
            app: APP,
            app_name: APP_NAME,
            file_headers: &headers(Scenario::Keep10k)?,
            page_headers: &headers(Scenario::Gateway)?,
        }
        .to_config();
        let path = directory.join("nginx.conf");
        fs::write(&path, config).with_context(|| format!("failed to write {}", path.display()))?;
        let mut command = ground.host.command(installed("nginx")?)?;
        command.arg("-c").arg(&path).arg("-p").arg(&directory);
        Self::start(ground, contender, command, log)
    }

    fn start(
        ground: &Ground,
        contender: Contender,
        mut command: Command,
        log: PathBuf,
    ) -> Result<Self> {
        let name = contender.name();
        let said = ground.lab.layout().log(name);
        let output = File::create(&said)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .process_group(0)
            .spawn()
            .with_context(|| format!("failed to start {name}"))?;
        let mut server = Self {
            contender,
            address: contender.address(),
            log,
            child,
        };
        // An answer that is wrong now would be wrong later.
        let answers = wait::wait_for(PATIENCE, &format!("{name} to answer"), || {
            if server.child.try_wait()?.is_some() {
                return Ok(false);
            }
            for scenario in Scenario::ALL {
                ground.ask(server.address, scenario)?;
            }
            Ok(true)
        })?;
        ensure!(
            answers,
            "{name} ended: {}",
            fs::read_to_string(&said).unwrap_or_default().trim()
        );
        Ok(server)
    }

    /// The processors' time that all its processes have taken.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        let taken = processors::of_group(i32::try_from(self.child.id())?)?;
        ensure!(!taken.is_zero(), "{} has ended", self.contender.name());
        Ok(taken)
    }

    /// Empties the log of requests.
    pub(crate) fn empty_log(&self) -> Result<()> {
        let opened = OpenOptions::new()
            .write(true)
            .truncate(true)
            .open(&self.log);
        opened.with_context(|| format!("failed to empty {}", self.log.display()))?;
        Ok(())
    }

    /// Waits until so many requests are in the log.
    pub(crate) fn wait_for_log(&self, requests: u64) -> Result<()> {
        let what = format!("{} to log {requests} requests", self.contender.name());
        wait::wait_for(PATIENCE, &what, || {
            let lines = lines(&self.log)?;
            ensure!(lines >= requests, "there are {lines}");
            Ok(())
        })
    }
}

fn access_log(ground: &Ground, contender: Contender) -> PathBuf {
    ground
        .lab
        .layout()
        .log(&format!("{}-access", contender.name()))
}

fn further_headers(answer: &Response) -> Vec<(String, String)> {
    let mut headers = answer.headers.clone();
    headers.retain(|(name, _)| !OWN.contains(&name.as_str()));
    headers
}

fn lines(path: &Path) -> Result<u64> {
    let mut file = File::open(path).with_context(|| format!("no log {}", path.display()))?;
    let mut buffer = vec![0; 1 << 20];
    let mut lines = 0;
    loop {
        go_on()?;
        match file.read(&mut buffer)? {
            0 => return Ok(lines),
            read => lines += buffer[..read].iter().filter(|&&byte| byte == b'\n').count() as u64,
        }
    }
}
