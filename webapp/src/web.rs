//! The web role: static files, and the gateway to the app servers for everything else.

mod args;
mod assets;
mod coding;
mod conditions;
mod content;
mod errors;
mod gateway;
mod guard;
mod ids;
mod pages;
mod paths;
mod pattern;
mod ranges;
mod security;
mod site;
mod tally;

use std::sync::Arc;

use anyhow::{Context as _, Result};
use arc_swap::ArcSwap;
use hyper::header::HeaderValue;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

use crate::echo;
use crate::log::AccessLog;
use crate::metrics::{self, Connections, Requests};
use crate::server::{self, Limits, Readiness, Server, Stop, Stopped};
use crate::tls::{Clients, HTTP_1_1, HTTP_2, Identity};
use assets::Assets;
use gateway::Gateway;
use site::Site;
use tally::Teller;

pub use args::Args;
pub use gateway::AppServer;

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
///
/// If a file cannot be read or an address not be bound.
pub async fn run(args: Args) -> Result<()> {
    let mut registry = metrics::registry("web");
    // They end when this is dropped.
    let mut tasks = JoinSet::new();

    let public = args.public.identity()?;
    let tiers = args.tiers.identity()?;
    for identity in public.iter().chain(&tiers) {
        tasks.spawn(identity.clone().watch());
    }
    let gateway = tiers
        .map(|identity| {
            let tls = identity.client(&[HTTP_1_1]);
            let servers = args.tiers.app.clone();
            Gateway::new(servers, &tls, args.gateway_limits(), &mut registry).map(Arc::new)
        })
        .transpose()?;
    if let Some(gateway) = &gateway {
        tasks.spawn(Arc::clone(gateway).watch());
    }

    let log = args.log()?;
    log.register(&mut registry);
    let readiness = Readiness::default();
    let site = Arc::new(Site {
        served_by: HeaderValue::from_str(&args.name).context("the name does not fit a header")?,
        hosts: args.host.clone(),
        redirect: args.redirect.map(|_| args.https_port),
        test_pages: args.test_pages || gateway.is_none(),
        assets: ArcSwap::from_pointee(read_assets(&args).await?),
        gateway,
        readiness: readiness.clone(),
        teller: Arc::new(Teller {
            server: args.name.clone(),
            log: log.clone(),
            requests: Requests::register(&mut registry),
        }),
        name: args.name.clone(),
    });

    let server = bind(&args, public.as_ref(), &mut registry, &mut tasks).await?;
    if let Some(address) = args.metrics {
        let listener = listen(address).await?;
        eprintln!("{}: metrics on {}", args.name, listener.local_addr()?);
        tasks.spawn(metrics::serve(listener, Arc::new(registry)));
    }
    let stop = Stop {
        delay: args.drain_delay.into(),
        grace: args.grace.into(),
    };
    let name = args.name.clone();
    tasks.spawn(reload(args, Arc::clone(&site), log.clone()));
    let stopped = server::run(server, site, readiness, stop).await?;
    log.flush();
    match stopped {
        Stopped::Finished => eprintln!("{name}: stopped, all requests finished"),
        Stopped::Cut => eprintln!("{name}: stopped with requests still in flight"),
    }
    Ok(())
}

/// Everything is bound before anything is served: a taken port is an error at start.
async fn bind(
    args: &Args,
    public: Option<&Identity>,
    registry: &mut Registry,
    tasks: &mut JoinSet<()>,
) -> Result<Server> {
    let mut limits = Limits::default();
    limits.per_address = args.per_address.unwrap_or(match public {
        Some(_) => limits.per_address,
        // A server for tests has one client, with as many connections as the test likes.
        None => 0,
    });
    let name = &args.name;
    let mut server = Server::new(limits, Connections::register(registry));
    server.threads(Handle::current().metrics().num_workers())?;
    let tls = public.map(|identity| identity.server(Clients::Anyone, &[HTTP_2, HTTP_1_1]));
    let protocol = if tls.is_some() { "https" } else { "http" };
    for address in &args.listen {
        let bound = server.bind(*address, tls.clone()).await?;
        eprintln!("{name}: {protocol} on {bound}");
    }
    if let Some(address) = args.redirect {
        let bound = server.bind(address, None).await?;
        eprintln!("{name}: redirect on {bound}");
    }
    if let Some(address) = args.echo {
        let listener = listen(address).await?;
        eprintln!("{name}: echo on {}", listener.local_addr()?);
        tasks.spawn(echo::serve(listener));
    }
    Ok(server)
}

async fn listen(address: std::net::SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("failed to bind to {address}"))
}

async fn read_assets(args: &Args) -> Result<Assets> {
    let Some(root) = args.root.clone() else {
        return Ok(Assets::default());
    };
    let keeping = args.keeping();
    let read = move || Assets::read(&root, keeping);
    let assets = tokio::task::spawn_blocking(read).await??;
    tracing::info!(
        files = assets.len(),
        bytes = assets.memory(),
        "the static files are read"
    );
    Ok(assets)
}

/// On SIGHUP, reads the files again and opens the log anew. Never returns.
async fn reload(args: Args, site: Arc<Site>, log: AccessLog) {
    let Ok(mut hangups) = signal(SignalKind::hangup()) else {
        return;
    };
    while hangups.recv().await.is_some() {
        log.reopen();
        match read_assets(&args).await {
            Ok(assets) => site.assets.store(Arc::new(assets)),
            Err(error) => {
                let error = format!("{error:#}");
                tracing::warn!(error, "the static files stay as they were");
            }
        }
    }
}
