//! The app role: what it is told on its command line, its listener, and its end.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::header::{HOST, USER_AGENT};
use hyper::http::request::Parts;
use hyper::{Request, Response, Version};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

use super::attempts::Allowance;
use super::call::Call;
use super::ready::prepare;
use super::site::{Rules, Site};
use super::store::Moment;
use crate::args::{duration, loopback, server_name, some_time};
use crate::db::{Cluster, Config};
use crate::log::{AccessLog, Entry};
use crate::metrics::{self, Connections, Requests};
use crate::server::{
    Body, Connection, Handler, Limits, Readiness, Server, Stop, Stopped, Unread, collect, full,
    run as serve,
};
use crate::tls::{Clients, Files, HTTP_1_1, HTTP_2, Identity};

/// The largest body that is read: a form of the longest post, each of its characters escaped.
const LARGEST: usize = 64 * 1024;

/// How long a body may take. The web tier sends what it has.
const BODY_TIME: Duration = Duration::from_secs(15);

/// How long to wait for the database before anyone is listened to. Web servers notice at once that
/// nobody listens, and ask another app server; what is said in their place would reach visitors.
const HEAD_START: Duration = Duration::from_secs(2);

/// How often what has ended is forgotten.
const SWEEP_EVERY: Duration = Duration::from_secs(600);

/// The arguments of `webapp app`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The server's name.
    #[arg(long, value_parser = server_name)]
    name: String,

    /// Address to serve HTTPS on; may be given more than once.
    #[arg(long, default_value = "0.0.0.0:9443", value_name = "ADDR")]
    listen: Vec<SocketAddr>,

    /// The server's certificate, in PEM.
    #[arg(long, value_name = "FILE")]
    cert: PathBuf,

    /// The certificate's key, in PEM.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,

    /// The authority of the web servers' certificates, in PEM.
    #[arg(long, value_name = "FILE")]
    ca: PathBuf,

    /// The configuration: a file with the cluster, alone or as its table `db`.
    #[arg(long, alias = "config", value_name = "FILE", default_value = crate::db::DEFAULT_FILE)]
    database: PathBuf,

    /// How long people stay signed in.
    #[arg(long, default_value = "30days", value_name = "DURATION", value_parser = some_time)]
    session_life: humantime::Duration,

    /// Wrong passwords at one account from one network at once; then one each --login-every.
    #[arg(long, default_value_t = 5, value_name = "N")]
    login_burst: u32,

    /// See --login-burst.
    #[arg(long, default_value = "30s", value_name = "DURATION", value_parser = duration)]
    login_every: humantime::Duration,

    /// Passwords and new accounts from one network at once; then one each --network-every.
    #[arg(long, default_value_t = 50, value_name = "N")]
    network_burst: u32,

    /// See --network-burst.
    #[arg(long, default_value = "2s", value_name = "DURATION", value_parser = duration)]
    network_every: humantime::Duration,

    /// Passwords to hash at a time, each with 19 MiB; as many as there are processors by default.
    #[arg(long, value_name = "N")]
    hashing: Option<usize>,

    /// Name the app server and the database with each response, for tests and demonstrations.
    #[arg(long)]
    name_servers: bool,

    /// File of the access log, - for standard output.
    #[arg(long, value_name = "FILE")]
    access_log: Option<PathBuf>,

    /// Loopback address of the metrics, as in 127.0.0.1:9603.
    #[arg(long, value_name = "ADDR", value_parser = loopback)]
    metrics: Option<SocketAddr>,

    /// How long to go on after SIGTERM with /readyz answering 503: as long as the web servers take
    /// to notice. A bare number is seconds.
    #[arg(long, default_value = "0s", value_name = "DURATION", value_parser = duration)]
    drain_delay: humantime::Duration,

    /// How long requests in flight may take to finish after that.
    #[arg(long, default_value = "5s", value_name = "DURATION", value_parser = duration)]
    grace: humantime::Duration,
}

impl Args {
    fn identity(&self) -> Result<Identity> {
        Identity::load(&Files {
            cert: self.cert.clone(),
            key: self.key.clone(),
            ca: self.ca.clone(),
        })
    }

    fn rules(&self) -> Rules {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Rules {
            session_life: self.session_life.into(),
            account_attempts: Allowance {
                burst: self.login_burst,
                every: self.login_every.into(),
            },
            network_attempts: Allowance {
                burst: self.network_burst,
                every: self.network_every.into(),
            },
            hashing: self.hashing.unwrap_or(processors),
            name_servers: self.name_servers,
        }
    }

    fn log(&self) -> Result<AccessLog> {
        match &self.access_log {
            None => Ok(AccessLog::none()),
            Some(path) if path == Path::new("-") => AccessLog::stdout(),
            Some(path) => AccessLog::file(path),
        }
    }
}

/// Serves until SIGTERM or SIGINT. The database may be away: it is waited for, and `/readyz` says
/// so.
///
/// # Errors
///
/// If a file cannot be read or an address not be bound.
pub async fn run(args: Args) -> Result<()> {
    let mut registry = metrics::registry("app");
    // They end when this is dropped.
    let mut tasks = JoinSet::new();

    let identity = args.identity()?;
    tasks.spawn(identity.clone().watch());
    let log = args.log()?;
    log.register(&mut registry);
    let readiness = Readiness::default();
    let cluster = Cluster::start(Config::load(&args.database)?)?;
    cluster.register(&mut registry);
    let site = Site::new(&args.name, cluster, readiness.clone(), args.rules())
        .with_context(|| format!("failed to start {}", args.name))?;
    let site = Arc::new(site);
    let teller = Arc::new(Teller {
        site: Arc::clone(&site),
        log: log.clone(),
        requests: Requests::register(&mut registry),
    });

    tasks.spawn(prepare(Arc::clone(&site)));
    // A database that is away is told at /readyz, to which somebody has to listen.
    let _ = tokio::time::timeout(HEAD_START, site.until_prepared()).await;

    let mut server = Server::new(Limits::behind(), Connections::register(&mut registry));
    let tls = identity.server(Clients::Verified, &[HTTP_2, HTTP_1_1]);
    for address in &args.listen {
        let bound = server.bind(*address, Some(Arc::clone(&tls))).await?;
        eprintln!("{}: https on {bound}", args.name);
    }
    if let Some(address) = args.metrics {
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("failed to bind to {address}"))?;
        eprintln!("{}: metrics on {}", args.name, listener.local_addr()?);
        tasks.spawn(metrics::serve(listener, Arc::new(registry)));
    }
    tasks.spawn(sweep(site));
    tasks.spawn(reopen(log.clone()));

    let stop = Stop {
        delay: args.drain_delay.into(),
        grace: args.grace.into(),
    };
    let stopped = serve(server, teller, readiness, stop).await?;
    log.flush();
    match stopped {
        Stopped::Finished => eprintln!("{}: stopped, all requests finished", args.name),
        Stopped::Cut => eprintln!("{}: stopped with requests still in flight", args.name),
    }
    Ok(())
}

/// Forgets what has ended, now and then. Each app server does: what one has forgotten costs the
/// others nothing.
async fn sweep(site: Arc<Site>) {
    loop {
        tokio::time::sleep(SWEEP_EVERY).await;
        // Without a primary there is another time.
        while let Ok(true) = site.sweep(Moment::now()).await {}
    }
}

/// On SIGHUP, opens the log anew.
async fn reopen(log: AccessLog) {
    let Ok(mut hangups) = signal(SignalKind::hangup()) else {
        return;
    };
    while hangups.recv().await.is_some() {
        log.reopen();
    }
}

/// Answers, and tells of it.
struct Teller {
    site: Arc<Site>,
    log: AccessLog,
    requests: Requests,
}

impl Handler for Teller {
    async fn answer(&self, conn: &Connection, request: Request<Incoming>) -> Response<Body> {
        let begun = Instant::now();
        let at = SystemTime::now();
        let (parts, mut body) = request.into_parts();
        let read = collect(&mut body, LARGEST, BODY_TIME).await;
        if read == Err(Unread::TooLarge) {
            discard(&mut body).await;
        }
        let peer = conn.peer.ip();
        let response = self.site.respond(&parts, read, peer, Moment::now()).await;
        self.tell(conn, &parts, &response, at, begun.elapsed());
        response.map(full)
    }
}

/// Reads what is not wanted: a web server that cannot send all of a body gives the connection up,
/// and never sees why. It has a limit of its own for bodies, and so they end.
async fn discard(body: &mut Incoming) {
    let read = async { while let Some(Ok(_)) = body.frame().await {} };
    // Who takes longer does not learn why it was refused.
    let _ = tokio::time::timeout(BODY_TIME, read).await;
}

impl Teller {
    fn tell(
        &self,
        conn: &Connection,
        parts: &Parts,
        response: &Response<Bytes>,
        at: SystemTime,
        took: Duration,
    ) {
        let bytes = response.body().len() as u64;
        let status = response.status();
        self.requests.answered(&parts.method, status, took, bytes);
        if !self.log.is_on() {
            return;
        }
        let call = Call::new(parts, Bytes::new(), conn.peer.ip(), Moment(0));
        let agent = call.header(USER_AGENT.as_str());
        let host = match call.header("x-forwarded-host") {
            "" => call.header(HOST.as_str()),
            host => host,
        };
        self.log.write(&Entry {
            time: &humantime::format_rfc3339_millis(at).to_string(),
            server: self.site.name(),
            request_id: call.header("x-request-id"),
            client: call.address,
            client_name: conn.client_name.as_deref(),
            method: parts.method.as_str(),
            host,
            path: parts.uri.path(),
            version: version(parts.version),
            tls: conn.tls,
            status: status.as_u16(),
            bytes,
            complete: true,
            micros: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            upstream: None,
            user_agent: Some(agent).filter(|agent| !agent.is_empty()),
        });
    }
}

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_2 => "HTTP/2.0",
        Version::HTTP_10 => "HTTP/1.0",
        _ => "HTTP/1.1",
    }
}
