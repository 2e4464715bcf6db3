//! What the web role is told on its command line.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use super::assets::Keeping;
use super::gateway::{self, AppServer};
use crate::args::{duration, host, loopback, server_name};
use crate::log::AccessLog;
use crate::tls::{Files, Identity};

/// See [`super::run`].
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The server's name, sent as X-Served-By with each response.
    #[arg(long, value_parser = server_name)]
    pub(super) name: String,

    /// Address to serve on, HTTPS if there is a certificate and HTTP if not; may be given more than
    /// once.
    #[arg(long, default_value = "0.0.0.0:8080", value_name = "ADDR")]
    pub(super) listen: Vec<SocketAddr>,

    #[command(flatten)]
    pub(super) public: Public,

    /// Address in plain text that sends everybody to HTTPS.
    #[arg(long, value_name = "ADDR", requires = "cert")]
    pub(super) redirect: Option<SocketAddr>,

    /// Port of HTTPS as clients see it, for --redirect.
    #[arg(long, default_value_t = 443, value_name = "PORT")]
    pub(super) https_port: u16,

    /// Host to serve; may be given more than once. Without it, all are.
    #[arg(long, value_name = "NAME", value_parser = host)]
    pub(super) host: Vec<String>,

    /// Directory of static files. They are read at start, and again on SIGHUP.
    #[arg(long, value_name = "DIR")]
    pub(super) root: Option<PathBuf>,

    /// Static files up to this size are held in memory, in bytes.
    #[arg(long, default_value_t = 1 << 20, value_name = "BYTES")]
    pub(super) in_memory: u64,

    #[command(flatten)]
    pub(super) tiers: Tiers,

    /// The largest body of a request that is passed on, in bytes.
    #[arg(long, default_value_t = 10 << 20, value_name = "BYTES")]
    pub(super) max_body: u64,

    /// Connections that one address may have, and requests at once for what is not in memory; 0 for
    /// any number. 1024 with a certificate, without one any number.
    #[arg(long, value_name = "N")]
    pub(super) per_address: Option<usize>,

    /// Serve /whoami and /stream beside the app servers, too.
    #[arg(long)]
    pub(super) test_pages: bool,

    /// File of the access log, - for standard output.
    #[arg(long, value_name = "FILE")]
    pub(super) access_log: Option<PathBuf>,

    /// Loopback address of the metrics, as in 127.0.0.1:9602.
    #[arg(long, value_name = "ADDR", value_parser = loopback)]
    pub(super) metrics: Option<SocketAddr>,

    /// Address of a TCP echo listener.
    #[arg(long, value_name = "ADDR")]
    pub(super) echo: Option<SocketAddr>,

    /// How long to go on after SIGTERM with /readyz answering 503: as long as the load balancer
    /// takes to notice. A bare number is seconds.
    #[arg(long, default_value = "0s", value_name = "DURATION", value_parser = duration)]
    pub(super) drain_delay: humantime::Duration,

    /// How long requests in flight may take to finish after that.
    #[arg(long, default_value = "5s", value_name = "DURATION", value_parser = duration)]
    pub(super) grace: humantime::Duration,
}

/// Who the server is to the public.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Public {
    /// The certificate for the public, with those that lead to its authority, in PEM.
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,

    /// The certificate's key, in PEM.
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
}

/// Who the server is to the app servers, and who they are.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Tiers {
    /// An app server, by the name in its certificate; may be given more than once.
    #[arg(long, value_name = "NAME=HOST:PORT", requires = "tier_cert")]
    pub(super) app: Vec<AppServer>,

    /// The certificate that is shown to the app servers, in PEM.
    #[arg(long, value_name = "FILE", requires_all = ["tier_key", "tier_ca"])]
    tier_cert: Option<PathBuf>,

    /// The certificate's key, in PEM.
    #[arg(long, value_name = "FILE", requires = "tier_cert")]
    tier_key: Option<PathBuf>,

    /// The authority of the app servers' certificates, in PEM.
    #[arg(long, value_name = "FILE", requires = "tier_cert")]
    tier_ca: Option<PathBuf>,
}

impl Args {
    pub(super) fn gateway_limits(&self) -> gateway::Limits {
        gateway::Limits {
            body: self.max_body,
            ..Default::default()
        }
    }

    pub(super) fn keeping(&self) -> Keeping {
        Keeping {
            in_memory: self.in_memory,
        }
    }

    pub(super) fn log(&self) -> Result<AccessLog> {
        match &self.access_log {
            None => Ok(AccessLog::none()),
            Some(path) if path == Path::new("-") => AccessLog::stdout(),
            Some(path) => AccessLog::file(path),
        }
    }
}

impl Public {
    pub(super) fn identity(&self) -> Result<Option<Identity>> {
        let files = self.cert.clone().zip(self.key.clone());
        files
            .map(|(cert, key)| Identity::load_public(cert, key))
            .transpose()
    }
}

impl Tiers {
    /// `None` without app servers.
    pub(super) fn identity(&self) -> Result<Option<Identity>> {
        if self.app.is_empty() {
            return Ok(None);
        }
        for (n, server) in self.app.iter().enumerate() {
            let name = &server.name;
            ensure!(
                !self.app.iter().take(n).any(|other| other.name == *name),
                "two app servers are named {name}: each needs a name of its own, as in its certificate"
            );
        }
        let files = || {
            Some(Files {
                cert: self.tier_cert.clone()?,
                key: self.tier_key.clone()?,
                ca: self.tier_ca.clone()?,
            })
        };
        let files = files().context("--app wants --tier-cert, --tier-key and --tier-ca")?;
        Identity::load(&files).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn two_app_servers_of_one_name_are_refused() {
        let line = "webapp --name web1 --app app1=10.0.2.21:9443 --app app1=10.0.2.22:9443 \
                    --tier-cert c --tier-key k --tier-ca a";
        let args = Cli::try_parse_from(line.split_whitespace())
            .ok()
            .unwrap()
            .args;
        let error = args.tiers.identity().unwrap_err().to_string();
        assert!(error.contains("are named app1"), "{error}");
    }
}
