//! The client: many connections that ask as fast as they are answered, and check each answer.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Result, anyhow};
use kit::netns::Namespace;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// What is asked for: the name of the server, in the body and in a header.
pub(crate) const PATH: &str = "/whoami";
/// Threads, each with its share of the connections.
const THREADS: usize = 2;
/// How often a thread looks whether it is time to stop.
const LOOK: Duration = Duration::from_millis(20);
/// How long the last answers may take. A connection that is still waiting then counts as an error:
/// it may have waited all the while.
const PATIENCE: Duration = Duration::from_secs(3);
/// Longer than any right answer.
const LONGEST: usize = 1_024;

/// How connections are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Connections {
    /// For as many requests as there is time for.
    Kept,
    /// For one request, after which the server closes.
    Closed,
}

/// What went wrong, and how often.
pub(crate) type Errors = BTreeMap<String, u64>;

/// Clients at work. Dropping this sends them home.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    requests: Vec<Arc<AtomicU64>>,
    threads: Vec<JoinHandle<Result<io::Result<Errors>>>>,
}

impl Load {
    /// Starts `clients` clients in `namespace`. Each has a connection at a time; they connect to
    /// `targets` in turn.
    pub(crate) fn start(
        namespace: &Namespace,
        targets: Vec<SocketAddr>,
        connections: Connections,
        clients: usize,
    ) -> Result<Self> {
        let targets: Arc<[SocketAddr]> = targets.into();
        let mut load = Self {
            stop: Arc::new(AtomicBool::new(false)),
            requests: Vec::new(),
            threads: Vec::new(),
        };
        for _ in 0..THREADS {
            let client = Client {
                targets: Arc::clone(&targets),
                connections,
                count: clients.div_ceil(THREADS),
                stop: Arc::clone(&load.stop),
                requests: Arc::default(),
            };
            load.requests.push(Arc::clone(&client.requests));
            load.threads.push(namespace.spawn(move || client.work())?);
        }
        Ok(load)
    }

    /// How many right answers there were.
    pub(crate) fn requests(&self) -> u64 {
        let each = self.requests.iter();
        each.map(|requests| requests.load(Ordering::Relaxed)).sum()
    }

    /// Lets the clients finish what they have begun.
    pub(crate) fn stop(mut self) -> Result<Errors> {
        self.stop.store(true, Ordering::Relaxed);
        let mut errors = Errors::new();
        for thread in self.threads.drain(..) {
            let found = thread
                .join()
                .map_err(|_| anyhow!("a client panicked"))???;
            for (what, count) in found {
                *errors.entry(what).or_default() += count;
            }
        }
        Ok(errors)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // Whoever drops this has given up on the outcome.
            let _ = thread.join();
        }
    }
}

/// A thread's clients.
#[derive(Clone)]
struct Client {
    targets: Arc<[SocketAddr]>,
    connections: Connections,
    count: usize,
    stop: Arc<AtomicBool>,
    requests: Arc<AtomicU64>,
}

impl Client {
    fn work(self) -> io::Result<Errors> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(async {
            let mut clients = JoinSet::new();
            for first in 0..self.count {
                let client = self.clone();
                clients.spawn(async move { client.ask(first).await });
            }
            while !self.stop.load(Ordering::Relaxed) {
                tokio::time::sleep(LOOK).await;
            }
            let mut errors = Errors::new();
            let all = async {
                while let Some(found) = clients.join_next().await {
                    for (what, count) in found? {
                        *errors.entry(what).or_default() += count;
                    }
                }
                io::Result::Ok(())
            };
            if let Ok(result) = timeout(PATIENCE, all).await {
                result?;
            } else {
                let waiting = clients.len() as u64;
                errors.insert("no answer in time".to_owned(), waiting);
            }
            Ok(errors)
        })
    }

    /// One connection at a time, until it is time to stop.
    async fn ask(&self, first: usize) -> Errors {
        let mut errors = Errors::new();
        let mut targets = self.targets.iter().cycle().skip(first);
        while !self.stop.load(Ordering::Relaxed)
            && let Some(&target) = targets.next()
        {
            if let Err(error) = self.connection(target).await {
                *errors.entry(error.to_string()).or_default() += 1;
                // Not to fill the time with errors.
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        errors
    }

    /// A connection, for as many requests as it is meant for.
    async fn connection(&self, target: SocketAddr) -> io::Result<()> {
        let mut stream = TcpStream::connect(target)
            .await
            .map_err(while_("connecting"))?;
        stream.set_nodelay(true)?;
        let close = match self.connections {
            Connections::Kept => "",
            Connections::Closed => "Connection: close\r\n",
        };
        let request = format!("GET {PATH} HTTP/1.1\r\nHost: www.foobar.com\r\n{close}\r\n");
        let mut buffer = [0; LONGEST];
        loop {
            let answer = exchange(&mut stream, request.as_bytes(), &mut buffer).await;
            answer.map_err(while_("asking"))?;
            if self.connections == Connections::Closed {
                let more = stream.read(&mut buffer).await;
                if more.map_err(while_("waiting for the end"))? > 0 {
                    return Err(wrong("more than an answer"));
                }
            }
            self.requests.fetch_add(1, Ordering::Relaxed);
            if self.connections == Connections::Closed || self.stop.load(Ordering::Relaxed) {
                return Ok(());
            }
        }
    }
}

/// A request and its answer, checked.
async fn exchange(stream: &mut TcpStream, request: &[u8], buffer: &mut [u8]) -> io::Result<()> {
    stream.write_all(request).await?;
    let mut filled = 0;
    loop {
        let read = stream.read(&mut buffer[filled..]).await?;
        if read == 0 {
            return Err(wrong("closed before the end of the answer"));
        }
        filled += read;
        if is_right(&buffer[..filled])? {
            return Ok(());
        }
    }
}

/// Whether this is the whole of a right answer. False: not yet. An error: it will never be.
fn is_right(bytes: &[u8]) -> io::Result<bool> {
    let text = std::str::from_utf8(bytes).map_err(|_| wrong("not text"))?;
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return Ok(false);
    };
    let mut lines = head.split("\r\n");
    if lines.next() != Some("HTTP/1.1 200 OK") {
        return Err(wrong("not 200 OK"));
    }
    let (mut server, mut length) = (None, None);
    for line in lines {
        match line.split_once(": ") {
            Some(("x-served-by", name)) => server = Some(name),
            Some(("content-length", number)) => length = number.parse::<usize>().ok(),
            _ => {}
        }
    }
    let (Some(server), Some(length)) = (server, length) else {
        return Err(wrong("no name of a server, or no length"));
    };
    if body.len() < length {
        return Ok(false);
    }
    if body.strip_suffix('\n') != Some(server) {
        return Err(wrong("another body than the server's name"));
    }
    Ok(true)
}

/// Says in an error what was being done.
fn while_(what: &'static str) -> impl Fn(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("{what}: {error}"))
}

fn wrong(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
