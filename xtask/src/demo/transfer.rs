//! Downloads that last as long as the demo, one from each server, with every byte checked.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result};
use kit::http::Connection;
use kit::netns::Namespace;

/// More than a demo can transfer.
const ENDLESS: u64 = 1 << 50;
/// The pause between two reads, to leave something of the machine to others.
const PAUSE: Duration = Duration::from_millis(5);
const PATIENCE: Duration = Duration::from_secs(3);
/// How many connections to try until each server has one.
const ATTEMPTS: u32 = 500;

/// A download from one server. Dropping it ends it.
pub(crate) struct Transfer {
    pub(crate) server: String,
    checked: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    reader: Option<JoinHandle<io::Result<()>>>,
}

/// How a download went.
pub(crate) struct Outcome {
    pub(crate) server: String,
    /// How many bytes arrived and were right.
    pub(crate) bytes: u64,
    /// Why it broke off before its end, if it did.
    pub(crate) broken: Option<String>,
}

/// Starts a download from each of `count` servers.
pub(crate) fn start(
    client: &Namespace,
    address: SocketAddr,
    count: usize,
) -> Result<Vec<Transfer>> {
    let mut transfers: Vec<Transfer> = Vec::new();
    for _ in 0..ATTEMPTS {
        if transfers.len() == count {
            break;
        }
        let (connection, server) = client.run(move || connect(address))??;
        if transfers.iter().all(|transfer| transfer.server != server) {
            transfers.push(Transfer::start(connection, server));
        }
    }
    Ok(transfers)
}

/// A connection, and the server that it leads to.
fn connect(address: SocketAddr) -> Result<(Connection, String)> {
    let mut connection = Connection::open(address, PATIENCE).context("failed to connect")?;
    let answer = connection
        .get("/whoami")
        .context("failed to ask for the server's name")?;
    Ok((
        connection,
        answer
            .served_by
            .context("the server did not give its name")?,
    ))
}

impl Transfer {
    fn start(mut connection: Connection, server: String) -> Self {
        let checked = Arc::new(AtomicU64::new(0));
        let stop = Arc::new(AtomicBool::new(false));
        let reader = std::thread::spawn({
            let (checked, stop) = (Arc::clone(&checked), Arc::clone(&stop));
            move || {
                let served = connection.check_stream(ENDLESS, |bytes| {
                    checked.store(bytes, Ordering::Relaxed);
                    std::thread::sleep(PAUSE);
                    !stop.load(Ordering::Relaxed)
                });
                served.map(|_server| ())
            }
        });
        Self {
            server,
            checked,
            stop,
            reader: Some(reader),
        }
    }

    /// Ends the download.
    pub(crate) fn finish(mut self) -> Outcome {
        self.stop.store(true, Ordering::Relaxed);
        let broken = match self.reader.take().map(JoinHandle::join) {
            Some(Ok(Ok(()))) | None => None,
            Some(Ok(Err(error))) => Some(error.to_string()),
            Some(Err(_)) => Some("the reader panicked".to_owned()),
        };
        Outcome {
            server: std::mem::take(&mut self.server),
            bytes: self.checked.load(Ordering::Relaxed),
            broken,
        }
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
