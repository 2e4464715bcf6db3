//! Where the two servers compete: one host of a lab, with files, certificates and an app server.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use kit::http::{Connection, Response};
use kit::lab::Lab;
use kit::layout::SITE;
use kit::netns::Namespace;
use kit::pki::{Authority, Files};
use kit::tls::Trust;

use crate::app::App;
use crate::scenario::{FILES, Scenario};
use crate::support;

/// The name of both servers.
pub(crate) const WEB_NAME: &str = "web1";
/// The app server's name.
pub(crate) const APP_NAME: &str = "app1";
/// Where it listens.
pub(crate) const APP: SocketAddr = local(7443);

/// An address that nobody else has: the host is a namespace of its own.
pub(crate) const fn local(port: u16) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

/// The place. Dropping this ends everything in it, and removes it.
pub(crate) struct Ground {
    pub(crate) lab: Lab,
    pub(crate) host: Namespace,
    /// The files of both servers.
    pub(crate) root: PathBuf,
    /// The certificate of both.
    pub(crate) identity: Files,
    trust: Trust,
    _app: App,
}

impl Ground {
    pub(crate) fn make(threads: usize) -> Result<Self> {
        let lab = Lab::builder(support::programs()?).webs(1).build()?;
        let directory = lab.layout().run_dir();
        let host = lab.web(1);
        host.sysctl(&[
            // What the machine has set may pace packets by timers. This one is always there, and
            // does not.
            ("ipv4/tcp_congestion_control", "reno"),
            // Closed connections keep their ports for a minute, and there are many.
            ("ipv4/ip_local_port_range", "10000 65000"),
        ])?;
        let root = directory.join("root");
        fs::create_dir(&root)?;
        for file in &FILES {
            let path = root.join(file.path.trim_start_matches('/'));
            fs::write(&path, file.content())
                .with_context(|| format!("failed to write {}", path.display()))?;
        }
        let authority = Authority::create(&directory.join("pki"))?;
        let identity = authority.issue(WEB_NAME, &[SITE, WEB_NAME])?;
        let app = authority.issue(APP_NAME, &[APP_NAME, "127.0.0.1"])?;
        Ok(Self {
            trust: Trust::in_authority(&authority.ca())?,
            _app: App::start(&host, APP, &app, threads)?,
            lab,
            host,
            root,
            identity,
        })
    }

    /// Asks a server once, believing it only with the right certificate for the site's name. The
    /// body of its answer is the right one.
    pub(crate) fn ask(&self, server: SocketAddr, scenario: Scenario) -> Result<Response> {
        const LIMIT: Duration = Duration::from_secs(2);
        let trust = self.trust.clone();
        let path = scenario.path();
        let answer = self
            .host
            .run(move || Connection::open_tls(server, SITE, &trust, LIMIT)?.get(path))??;
        ensure!(answer.status == 200, "{path}: status {}", answer.status);
        ensure!(answer.body == scenario.body(), "{path}: another body");
        Ok(answer)
    }
}
