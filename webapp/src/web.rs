//! The web role: listeners, connections, and a stop that lets requests finish.

mod body;
mod files;
mod pages;
mod pattern;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use hyper::header::HeaderValue;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

use crate::echo;
use pages::Site;

/// How long a client may take to send a request's headers. It is also how long a kept-alive
/// connection may idle, since hyper starts the clock when it begins to wait for a request.
const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(60);

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The server's name, sent as X-Served-By with each response.
    #[arg(long, value_parser = server_name)]
    name: String,

    /// Address to serve HTTP on; may be given more than once.
    #[arg(long, default_value = "0.0.0.0:8080", value_name = "ADDR")]
    listen: Vec<SocketAddr>,

    /// Directory of static files.
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,

    /// Address of a TCP echo listener.
    #[arg(long, value_name = "ADDR")]
    echo: Option<SocketAddr>,

    /// Seconds that requests in flight may take to finish after SIGTERM.
    #[arg(long, default_value_t = 5, value_name = "SECONDS")]
    grace: u64,
}

/// A name that can stand in a header and in a page without escaping.
fn server_name(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        Ok(text.to_owned())
    } else {
        Err("expected letters, digits, '-', '_' or '.'".to_owned())
    }
}

/// Serves until SIGTERM or SIGINT.
pub(crate) async fn run(args: Args) -> Result<()> {
    let root = match args.root {
        Some(dir) => Some(
            std::fs::canonicalize(&dir)
                .with_context(|| format!("failed to open the root {}", dir.display()))?,
        ),
        None => None,
    };
    let served_by = HeaderValue::from_str(&args.name).context("the name does not fit a header")?;
    let site = Arc::new(Site {
        name: args.name,
        served_by,
        root,
    });

    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;

    // Everything is bound before anything is served: a taken port is an error at start.
    let graceful = Arc::new(GracefulShutdown::new());
    let mut accepting = JoinSet::new();
    for address in args.listen {
        let listener = bind(address).await?;
        eprintln!("{}: http on {}", site.name, listener.local_addr()?);
        accepting.spawn(accept(listener, Arc::clone(&site), Arc::clone(&graceful)));
    }
    if let Some(address) = args.echo {
        let listener = bind(address).await?;
        eprintln!("{}: echo on {}", site.name, listener.local_addr()?);
        accepting.spawn(echo::serve(listener));
    }

    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    // Waiting for the tasks closes the listeners, so a new connection is refused from here on.
    accepting.shutdown().await;
    let graceful = Arc::into_inner(graceful).context("a listener outlived its shutdown")?;
    let grace = Duration::from_secs(args.grace);
    match tokio::time::timeout(grace, graceful.shutdown()).await {
        Ok(()) => eprintln!("{}: stopped, all requests finished", site.name),
        Err(_) => eprintln!("{}: stopped with requests still in flight", site.name),
    }
    Ok(())
}

async fn bind(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("failed to bind to {address}"))
}

async fn accept(listener: TcpListener, site: Arc<Site>, graceful: Arc<GracefulShutdown>) {
    loop {
        match listener.accept().await {
            Ok((stream, _peer)) => serve(stream, Arc::clone(&site), &graceful),
            // Out of descriptors, most likely: some will be closed soon.
            Err(error) => {
                eprintln!("{}: failed to accept: {error}", site.name);
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

fn serve(stream: TcpStream, site: Arc<Site>, graceful: &GracefulShutdown) {
    // Refused only for a connection that is gone already; serving it will find out.
    let _ = stream.set_nodelay(true);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_READ_TIMEOUT)
        .serve_connection(
            TokioIo::new(stream),
            service_fn(move |request| {
                let site = Arc::clone(&site);
                async move { site.answer(request).await }
            }),
        );
    // A connection fails when its client resets it or sends nonsense: no news to anyone here.
    let watched = graceful.watch(connection);
    tokio::spawn(async move {
        let _ = watched.await;
    });
}
