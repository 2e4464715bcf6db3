//! Clients: some that come and go, some that stay and check every byte.

use anyhow::{Context as _, Result, ensure};
use kit::http::{self, Connection};
use kit::lab::Lab;
use kit::layout::VIP;
use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Where clients connect to.
pub(crate) fn service() -> SocketAddr {
    SocketAddr::from((VIP, 80))
}

const PATIENCE: Duration = Duration::from_secs(5);

/// Asks `count` times, each time on a connection of its own; counts who answered.
pub(crate) fn ask(lab: &Lab, count: usize) -> Result<BTreeMap<String, usize>> {
    ask_at(lab, service(), count)
}

/// Like [`ask`], at the address of another service.
pub(crate) fn ask_at(
    lab: &Lab,
    service: SocketAddr,
    count: usize,
) -> Result<BTreeMap<String, usize>> {
    lab.client().run(move || {
        let mut answers = BTreeMap::new();
        for number in 0..count {
            let answer = http::get(service, "/whoami", PATIENCE)
                .with_context(|| format!("request {number} of {count}"))?;
            let name = answer.served_by.context("no server said its name")?;
            *answers.entry(name).or_default() += 1;
        }
        Ok(answers)
    })?
}

/// Connections that stay open and ask again and again; each must always hear the same server.
pub(crate) struct Regulars {
    stop: Arc<AtomicBool>,
    clients: Vec<Regular>,
}

struct Regular {
    requests: Arc<AtomicU64>,
    thread: JoinHandle<Result<Result<String>>>,
}

impl Regulars {
    /// Opens `count` connections.
    pub(crate) fn start(lab: &Lab, count: usize) -> Result<Self> {
        Self::start_at(lab, service(), count)
    }

    /// Like [`start`](Self::start), at the address of another service.
    pub(crate) fn start_at(lab: &Lab, service: SocketAddr, count: usize) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let start = |_| {
            let requests = Arc::new(AtomicU64::new(0));
            let thread = lab.client().spawn({
                let (stop, requests) = (stop.clone(), requests.clone());
                move || stay(service, &stop, &requests)
            })?;
            Ok(Regular { requests, thread })
        };
        let clients = (0..count).map(start).collect::<Result<_>>()?;
        Ok(Self { stop, clients })
    }

    /// Waits until all of them together have been answered `more` times.
    pub(crate) fn wait_for_requests(&self, more: u64) -> Result<()> {
        let answered = || self.answered().sum::<u64>();
        let goal = answered() + more;
        let limit = Duration::from_secs(20);
        kit::wait::wait_until(limit, "requests to be answered", || answered() >= goal)
    }

    /// Waits until each has been answered a question that it asked after this call, or broke.
    pub(crate) fn wait_for_each(&self) -> Result<()> {
        let before: Vec<u64> = self.answered().collect();
        let limit = Duration::from_secs(20);
        kit::wait::wait_until(limit, "each client to be answered or to break", || {
            let mut clients = self.clients.iter().zip(self.answered()).zip(&before);
            clients.all(|((client, now), before)| now >= before + 2 || client.thread.is_finished())
        })
    }

    fn answered(&self) -> impl Iterator<Item = u64> {
        let requests = |client: &Regular| client.requests.load(Ordering::Relaxed);
        self.clients.iter().map(requests)
    }

    /// Ends them; returns for each who served it, or how it broke.
    pub(crate) fn stop(self) -> Vec<Result<String>> {
        self.stop.store(true, Ordering::Relaxed);
        let end = |client: Regular| match client.thread.join() {
            Ok(result) => result.and_then(|inner| inner),
            Err(_) => Err(anyhow::anyhow!("a client panicked")),
        };
        self.clients.into_iter().map(end).collect()
    }
}

/// Connections that are made all the time, one after the other, and how long none succeeded.
pub(crate) struct Arrivals {
    stop: Arc<AtomicBool>,
    made: Arc<AtomicU64>,
    thread: JoinHandle<Result<Duration>>,
}

impl Arrivals {
    pub(crate) fn start(lab: &Lab) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let made = Arc::new(AtomicU64::new(0));
        let thread = lab.client().spawn({
            let (stop, made) = (stop.clone(), made.clone());
            move || arrive(&stop, &made)
        })?;
        Ok(Self { stop, made, thread })
    }

    /// Waits until so many more were made.
    pub(crate) fn wait_for_more(&self, more: u64) -> Result<()> {
        let made = || self.made.load(Ordering::Relaxed);
        let goal = made() + more;
        let limit = Duration::from_secs(20);
        kit::wait::wait_until(limit, "new connections to be made", || made() >= goal)
    }

    /// Ends them; returns the longest time between two that were made.
    pub(crate) fn stop(self) -> Result<Duration> {
        self.stop.store(true, Ordering::Relaxed);
        match self.thread.join() {
            Ok(longest) => longest,
            Err(_) => Err(anyhow::anyhow!("a client panicked")),
        }
    }
}

fn arrive(stop: &AtomicBool, made: &AtomicU64) -> Duration {
    /// Much less than it takes until a lost SYN is sent again.
    const LIMIT: Duration = Duration::from_millis(10);
    let mut last = Instant::now();
    let mut longest = Duration::ZERO;
    while !stop.load(Ordering::Relaxed) {
        if TcpStream::connect_timeout(&service(), LIMIT).is_ok() {
            made.fetch_add(1, Ordering::Relaxed);
            longest = longest.max(last.elapsed());
            last = Instant::now();
        }
        // Others have work to do, too.
        std::thread::sleep(Duration::from_millis(1));
    }
    longest.max(last.elapsed())
}

fn stay(service: SocketAddr, stop: &AtomicBool, requests: &AtomicU64) -> Result<String> {
    /// Of each answer. Large enough for several segments.
    const BYTES: u64 = 10_000;
    let mut connection = Connection::open(service, PATIENCE)?;
    let mut server: Option<String> = None;
    while !stop.load(Ordering::Relaxed) {
        let name = connection
            .check_stream(BYTES, |_| true)?
            .context("no server said its name")?;
        let first = server.get_or_insert_with(|| name.clone());
        ensure!(
            *first == name,
            "{first} served this connection, and now {name} does"
        );
        requests.fetch_add(1, Ordering::Relaxed);
    }
    server.context("nothing was asked")
}
