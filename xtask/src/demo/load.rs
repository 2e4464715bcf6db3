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

/// What users of a kind do.
#[derive(Clone, Copy)]
struct Habit {
    /// How many there are.
    users: usize,
    /// After how many requests a connection is replaced.
    requests: u32,
    /// How long they think between requests.
    pause: Duration,
}

/// A connection for each request.
const COMING: Habit = Habit {
    users: 4,
    requests: 1,
    pause: Duration::from_millis(2),
};
/// A connection for some requests.
const STAYING: Habit = Habit {
    requests: 200,
    ..COMING
};
/// A connection for as long as it lasts.
const HOLDING: Habit = Habit {
    users: HELD,
    requests: u32::MAX,
    pause: Duration::from_millis(50),
};
/// How many connections are held once that is asked for.
pub(crate) const HELD: usize = 20;
/// How long a user waits before giving up: longer than it takes until what was lost is sent again.
const PATIENCE: Duration = Duration::from_secs(3);

/// What happened since the last look.
#[derive(Debug, Clone)]
pub(crate) struct Tally {
    since: Instant,
    /// How long that is, once taken.
    pub(crate) lasted: Duration,
    pub(crate) requests: u64,
    /// Connections that were open, and ended before their user wished so.
    pub(crate) broken: u64,
    /// How long a request took at most, with connecting where it had to.
    pub(crate) slowest: Duration,
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
            broken: 0,
            slowest: Duration::ZERO,
            errors: BTreeMap::new(),
            servers: BTreeMap::new(),
        }
    }

    /// How many requests were not answered, or wrongly.
    pub(crate) fn failed(&self) -> u64 {
        self.errors.values().sum()
    }

    fn count(&mut self, result: io::Result<Response>, begun: Instant) {
        self.requests += 1;
        self.slowest = self.slowest.max(begun.elapsed());
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
    client: Namespace,
    address: SocketAddr,
    tally: Arc<Mutex<Tally>>,
    stop: Arc<AtomicBool>,
    users: Vec<JoinHandle<Result<()>>>,
}

impl Load {
    pub(crate) fn start(client: &Namespace, address: SocketAddr) -> Result<Self> {
        let mut load = Self {
            client: client.clone(),
            address,
            tally: Arc::new(Mutex::new(Tally::new())),
            stop: Arc::new(AtomicBool::new(false)),
            users: Vec::new(),
        };
        load.add(COMING)?;
        load.add(STAYING)?;
        Ok(load)
    }

    /// Adds users who hold their connections.
    pub(crate) fn hold(&mut self) -> Result<()> {
        self.add(HOLDING)
    }

    fn add(&mut self, habit: Habit) -> Result<()> {
        for _ in 0..habit.users {
            let tally = Arc::clone(&self.tally);
            let stop = Arc::clone(&self.stop);
            let address = self.address;
            let user = self.client.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    use_connection(address, habit, &tally, &stop);
                }
            })?;
            self.users.push(user);
        }
        Ok(())
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

fn use_connection(address: SocketAddr, habit: Habit, tally: &Mutex<Tally>, stop: &AtomicBool) {
    let mut begun = Instant::now();
    let mut connection = match Connection::open(address, PATIENCE) {
        Ok(connection) => connection,
        Err(error) => {
            lock(tally).count(Err(error), begun);
            std::thread::sleep(habit.pause);
            return;
        }
    };
    for _ in 0..habit.requests {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let result = connection.get("/whoami");
        let failed = result.is_err();
        {
            let mut tally = lock(tally);
            tally.broken += u64::from(failed);
            tally.count(result, begun);
        }
        std::thread::sleep(habit.pause);
        if failed {
            return;
        }
        begun = Instant::now();
    }
}

/// A count is as good after another user's panic as before.
fn lock(tally: &Mutex<Tally>) -> MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}
