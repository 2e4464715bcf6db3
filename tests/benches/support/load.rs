//! Clients at work: many at once, on a few threads, each asking as fast as it is answered.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Result, anyhow};
use kit::netns::Namespace;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// How often a thread looks whether it is time to stop.
const LOOK: Duration = Duration::from_millis(20);
/// How long the last answers may take. A connection that is still waiting then counts as an error:
/// it may have waited all the while.
const PATIENCE: Duration = Duration::from_secs(3);
/// What a client waits after an error, not to fill the time with errors.
const PAUSE: Duration = Duration::from_millis(10);

/// How connections are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Connections {
    /// For as many requests as there is time for.
    Kept,
    /// For one request, after which the server closes.
    Closed,
}

/// What each of many clients does.
pub(crate) trait Client: Clone + Send + Sync + 'static {
    /// Makes a connection, and uses it for what it is meant for or until the work is over. `turn`
    /// is another one each time, and for each client.
    fn connection(&self, turn: usize, work: &Work) -> impl Future<Output = io::Result<()>> + Send;
}

/// What a client tells of its work, and is told.
#[derive(Clone, Default)]
pub(crate) struct Work {
    over: Arc<AtomicBool>,
    answers: Arc<AtomicU64>,
}

impl Work {
    /// There was a right answer.
    pub(crate) fn answered(&self) {
        self.answers.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether it is time to stop.
    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }
}

/// What went wrong, and how often.
pub(crate) type Errors = BTreeMap<String, u64>;

/// Clients at work. Dropping this sends them home.
pub(crate) struct Load {
    /// Each thread's.
    work: Vec<Work>,
    threads: Vec<JoinHandle<Result<io::Result<Errors>>>>,
}

impl Load {
    /// Starts `count` clients in `namespace`, on so many threads.
    pub(crate) fn start(
        namespace: &Namespace,
        threads: usize,
        client: &impl Client,
        count: usize,
    ) -> Result<Self> {
        let mut load = Self {
            work: Vec::new(),
            threads: Vec::new(),
        };
        let over = Arc::new(AtomicBool::new(false));
        for _ in 0..threads {
            let work = Work {
                over: Arc::clone(&over),
                answers: Arc::default(),
            };
            load.work.push(work.clone());
            let (client, count) = (client.clone(), count.div_ceil(threads));
            let thread = namespace.spawn(move || run(&client, count, &work))?;
            load.threads.push(thread);
        }
        Ok(load)
    }

    /// How many right answers there were.
    pub(crate) fn answers(&self) -> u64 {
        let each = self.work.iter();
        each.map(|work| work.answers.load(Ordering::Relaxed)).sum()
    }

    /// Lets the clients finish what they have begun. Returns how many right answers there were in
    /// the end, and what went wrong.
    pub(crate) fn stop(mut self) -> Result<(u64, Errors)> {
        self.say_stop();
        let mut errors = Errors::new();
        for thread in self.threads.drain(..) {
            let found = thread
                .join()
                .map_err(|_| anyhow!("a client panicked"))???;
            for (what, count) in found {
                *errors.entry(what).or_default() += count;
            }
        }
        Ok((self.answers(), errors))
    }

    fn say_stop(&self) {
        for work in &self.work {
            work.over.store(true, Ordering::Relaxed);
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.say_stop();
        for thread in self.threads.drain(..) {
            // Whoever drops this has given up on the outcome.
            let _ = thread.join();
        }
    }
}

/// A thread's clients.
fn run(client: &impl Client, count: usize, work: &Work) -> io::Result<Errors> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut clients = JoinSet::new();
        for first in 0..count {
            let (client, work) = (client.clone(), work.clone());
            clients.spawn(async move { ask(&client, first, &work).await });
        }
        while !work.is_over() {
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
async fn ask(client: &impl Client, first: usize, work: &Work) -> Errors {
    let mut errors = Errors::new();
    for turn in first.. {
        if work.is_over() {
            break;
        }
        if let Err(error) = client.connection(turn, work).await {
            *errors.entry(error.to_string()).or_default() += 1;
            tokio::time::sleep(PAUSE).await;
        }
    }
    errors
}

/// Says in an error what was being done.
pub(crate) fn while_(what: &'static str) -> impl Fn(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("{what}: {error}"))
}

/// An answer that no right server gives.
pub(crate) fn wrong(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
