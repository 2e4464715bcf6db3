//! The demo's users: threads in the client's namespace that ask for pages all the time.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Result;
use kit::http::{Connection, Response};
use kit::netns::Namespace;

/// How many users keep their connection, and how many open one for each request.
const USERS_OF_EACH_KIND: usize = 4;
/// After how many requests a kept connection is replaced.
const REQUESTS_PER_CONNECTION: u32 = 200;
/// How long a user thinks between requests.
const PAUSE: Duration = Duration::from_millis(2);
/// How long a user waits before giving up.
const PATIENCE: Duration = Duration::from_secs(1);

/// What happened since the last look.
#[derive(Debug, Clone)]
pub(crate) struct Tally {
    since: Instant,
    /// How long that is, once taken.
    pub(crate) lasted: Duration,
    pub(crate) requests: u64,
    /// What went wrong, and how often.
    pub(crate) errors: BTreeMap<String, u64>,
    /// Requests per server that answered.
    pub(crate) servers: BTreeMap<String, u64>,
}

impl Tally {
    fn new() -> Self {
        Self {
            since: Instant::now(),
            lasted: Duration::ZERO,
            requests: 0,
            errors: BTreeMap::new(),
            servers: BTreeMap::new(),
        }
    }

    fn count(&mut self, result: io::Result<Response>) {
        self.requests += 1;
        match result {
            Ok(Response {
                status: 200,
                served_by: Some(server),
                ..
            }) => {
                *self.servers.entry(server).or_default() += 1;
            }
            Ok(response) => self.count_error(format!("status {}", response.status)),
            Err(error) => self.count_error(error.kind().to_string()),
        }
    }

    fn count_error(&mut self, what: String) {
        *self.errors.entry(what).or_default() += 1;
    }
}

/// Users at work. Dropping this sends them home.
pub(crate) struct Load {
    tally: Arc<Mutex<Tally>>,
    stop: Arc<AtomicBool>,
    users: Vec<JoinHandle<Result<()>>>,
}

impl Load {
    pub(crate) fn start(client: &Namespace, address: SocketAddr) -> Result<Self> {
        let mut load = Self {
            tally: Arc::new(Mutex::new(Tally::new())),
            stop: Arc::new(AtomicBool::new(false)),
            users: Vec::new(),
        };
        for requests in [1, REQUESTS_PER_CONNECTION] {
            for _ in 0..USERS_OF_EACH_KIND {
                let tally = Arc::clone(&load.tally);
                let stop = Arc::clone(&load.stop);
                let user = client.spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        use_connection(address, requests, &tally, &stop);
                    }
                })?;
                load.users.push(user);
            }
        }
        Ok(load)
    }

    /// What happened since this was last called.
    pub(crate) fn take(&self) -> Tally {
        let mut taken = std::mem::replace(&mut *lock(&self.tally), Tally::new());
        taken.lasted = taken.since.elapsed();
        taken
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for user in self.users.drain(..) {
            // A user that panicked has said so already.
            let _ = user.join();
        }
    }
}

fn use_connection(address: SocketAddr, requests: u32, tally: &Mutex<Tally>, stop: &AtomicBool) {
    let mut connection = match Connection::open(address, PATIENCE) {
        Ok(connection) => connection,
        Err(error) => {
            lock(tally).count(Err(error));
            std::thread::sleep(PAUSE);
            return;
        }
    };
    for _ in 0..requests {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let result = connection.get("/whoami");
        let failed = result.is_err();
        lock(tally).count(result);
        std::thread::sleep(PAUSE);
        if failed {
            return;
        }
    }
}

/// A count is as good after another user's panic as before.
fn lock(tally: &Mutex<Tally>) -> MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}
