//! Users: some stay connected and say something all the time, others ask now and then. They are
//! patient.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use kit::layout::{ECHO_PORT, VIP};
use kit::netns::Namespace;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep, sleep_until, timeout};

/// Connections that are held, and echo what is said.
pub(crate) const HELD: u64 = 200;
/// From one message on such a connection to the next.
const SPEAKS: Duration = Duration::from_millis(50);
/// From one request on a connection of its own to the next.
const ASKS: Duration = Duration::from_millis(10);
/// Clients that keep their connection for further requests.
const KEEPERS: u64 = 10;
/// From one request of such a client to the next.
const KEEPER_ASKS: Duration = Duration::from_millis(100);
/// Whoever hears nothing for so long gives up.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often it is looked whether it is time to stop.
const LOOK: Duration = Duration::from_millis(20);

/// What went wrong, and how often.
pub(crate) type Errors = BTreeMap<String, u64>;

/// What became of them.
#[derive(Default)]
pub(crate) struct Fate {
    /// How many requests were begun.
    pub(crate) requests: u64,
    /// Those that were not answered, or wrongly.
    pub(crate) failed: Errors,
    /// Held connections that broke, or were silent for too long.
    pub(crate) lost: Errors,
}

/// Users at work. Dropping this sends them home.
pub(crate) struct Users {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Result<io::Result<Fate>>>>,
}

#[derive(Default)]
struct Shared {
    /// Nothing more is begun.
    stop: AtomicBool,
    /// Nor is what was begun of any use.
    abandoned: AtomicBool,
    /// How many held connections have heard their first message back.
    connected: AtomicU64,
    /// How many requests were answered.
    answered: AtomicU64,
}

impl Users {
    /// Lets them begin, in `namespace`.
    pub(crate) fn start(namespace: &Namespace) -> Result<Self> {
        let shared = Arc::new(Shared::default());
        let thread = namespace.spawn({
            let shared = Arc::clone(&shared);
            move || work(&shared)
        })?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Waits until all of them are served.
    pub(crate) fn wait_until_served(&self) -> Result<()> {
        let limit = 2 * PATIENCE;
        kit::wait::wait_for(limit, "all users to be served", || {
            let connected = self.shared.connected.load(Ordering::Relaxed);
            let answered = self.shared.answered.load(Ordering::Relaxed);
            anyhow::ensure!(
                connected == HELD && answered > 0,
                "{connected} of {HELD} are connected, {answered} requests were answered"
            );
            Ok(())
        })
    }

    /// Lets them finish: each has something answered that it begins after this call, or gives up.
    pub(crate) fn stop(mut self) -> Result<Fate> {
        self.shared.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().context("users were stopped twice")?;
        let fate = thread.join().map_err(|_| anyhow!("a user panicked"))???;
        Ok(fate)
    }
}

impl Drop for Users {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.shared.abandoned.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Whoever drops this has given up on the outcome.
            let _ = thread.join();
        }
    }
}

/// How a user fared.
enum End {
    Held(io::Result<()>),
    Asked { requests: u64, failed: Errors },
}

fn work(shared: &Arc<Shared>) -> io::Result<Fate> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut users = JoinSet::new();
        for number in 0..HELD {
            users.spawn(hold(Arc::clone(shared), number));
        }
        for number in 0..KEEPERS {
            users.spawn(keep(Arc::clone(shared), number));
        }
        users.spawn(come_and_go(Arc::clone(shared)));
        let mut fate = Fate::default();
        loop {
            match timeout(LOOK, users.join_next()).await {
                Ok(Some(end)) => fate.add(end?),
                Ok(None) => return Ok(fate),
                Err(_) if shared.abandoned.load(Ordering::Relaxed) => return Ok(fate),
                Err(_) => {}
            }
        }
    })
}

impl Fate {
    fn add(&mut self, end: End) {
        match end {
            End::Held(Ok(())) => {}
            End::Held(Err(error)) => note(&mut self.lost, &error),
            End::Asked { requests, failed } => {
                self.requests += requests;
                for (what, count) in failed {
                    *self.failed.entry(what).or_default() += count;
                }
            }
        }
    }
}

fn note(errors: &mut Errors, error: &io::Error) {
    *errors.entry(error.to_string()).or_default() += 1;
}

/// Holds a connection until all is over, or it breaks.
async fn hold(shared: Arc<Shared>, number: u64) -> End {
    // Not all at the same time.
    let first = Instant::now() + SPEAKS * number as u32 / HELD as u32;
    let talk = async {
        sleep_until(first).await;
        let mut stream = patiently(TcpStream::connect((VIP, ECHO_PORT))).await?;
        stream.set_nodelay(true)?;
        for message in 0_u64.. {
            // One that was asked to stop before it said something knows how things are now.
            let stopping = shared.stop.load(Ordering::Relaxed);
            let said = (number << 32 | message).to_be_bytes();
            let mut heard = [0; 8];
            patiently(async {
                stream.write_all(&said).await?;
                stream.read_exact(&mut heard).await
            })
            .await?;
            if heard != said {
                return Err(io::Error::other("something else came back"));
            }
            if message == 0 {
                shared.connected.fetch_add(1, Ordering::Relaxed);
            }
            if stopping {
                break;
            }
            sleep(SPEAKS).await;
        }
        Ok(())
    };
    End::Held(talk.await)
}

/// Asks every now and then, on a connection that is kept for as long as it works.
async fn keep(shared: Arc<Shared>, number: u64) -> End {
    sleep(KEEPER_ASKS * number as u32 / KEEPERS as u32).await;
    let (mut requests, mut failed) = (0, Errors::new());
    let mut kept = None;
    loop {
        let stopping = shared.stop.load(Ordering::Relaxed);
        requests += 1;
        match request(kept.take(), "").await {
            Ok(stream) => {
                shared.answered.fetch_add(1, Ordering::Relaxed);
                kept = Some(stream);
            }
            Err(error) => note(&mut failed, &error),
        }
        if stopping {
            return End::Asked { requests, failed };
        }
        sleep(KEEPER_ASKS).await;
    }
}

/// Asks all the time, each time on a connection of its own, whatever became of those before.
async fn come_and_go(shared: Arc<Shared>) -> End {
    let (mut requests, mut failed) = (0, Errors::new());
    let mut open: JoinSet<io::Result<TcpStream>> = JoinSet::new();
    let mut ticks = interval(ASKS);
    let mut count = |end: io::Result<TcpStream>| match end {
        Ok(_) => {
            shared.answered.fetch_add(1, Ordering::Relaxed);
        }
        Err(error) => note(&mut failed, &error),
    };
    while !shared.stop.load(Ordering::Relaxed) {
        ticks.tick().await;
        requests += 1;
        open.spawn(request(None, "Connection: close\r\n"));
        while let Some(end) = open.try_join_next() {
            count(end.unwrap_or_else(|error| Err(error.into())));
        }
    }
    while let Some(end) = open.join_next().await {
        count(end.unwrap_or_else(|error| Err(error.into())));
    }
    End::Asked { requests, failed }
}

/// A request and its answer; returns the connection.
async fn request(kept: Option<TcpStream>, header: &'static str) -> io::Result<TcpStream> {
    patiently(async {
        let mut stream = match kept {
            Some(stream) => stream,
            None => TcpStream::connect((VIP, 80)).await?,
        };
        let request = format!("GET /whoami HTTP/1.1\r\nHost: www.foobar.com\r\n{header}\r\n");
        stream.write_all(request.as_bytes()).await?;
        read_answer(&mut stream).await?;
        Ok(stream)
    })
    .await
}

/// Reads to the end of an answer, which says its length.
async fn read_answer(stream: &mut TcpStream) -> io::Result<()> {
    let mut answer = Vec::new();
    while !is_whole(&answer)? {
        if stream.read_buf(&mut answer).await? == 0 {
            return Err(io::Error::other("closed before the end of the answer"));
        }
    }
    Ok(())
}

fn is_whole(answer: &[u8]) -> io::Result<bool> {
    let text = std::str::from_utf8(answer).map_err(io::Error::other)?;
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return Ok(false);
    };
    if !head.starts_with("HTTP/1.1 200 OK\r\n") {
        return Err(io::Error::other("not 200 OK"));
    }
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .and_then(|length| length.parse::<usize>().ok());
    let length = length.ok_or_else(|| io::Error::other("no length"))?;
    Ok(body.len() >= length)
}

async fn patiently<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(PATIENCE, work)
        .await
        .unwrap_or_else(|_| Err(io::Error::other("nothing was heard in time")))
}
