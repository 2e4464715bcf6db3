//! The connections to one server: so many at most, and those that are not needed kept for later.
//!
//! A connection whose user was cancelled may have an answer on its way, or be in the middle of a
//! transaction. It is made usable before anybody else gets it, or closed.

use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sqlx::{Connection as _, Executor as _, MySqlConnection};
use tokio::runtime::Handle;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::dialect::Dialect;
use super::metrics::Counters;
use super::session::Login;
use super::{Error, Limits, Result, error};

/// A connection that was not used for so long is tried before it is given away.
const STALE: Duration = Duration::from_secs(1);
/// How long it may take until a connection is usable again.
const RESCUE: Duration = Duration::from_secs(1);

/// The connections to a server.
pub(super) struct Pool {
    inner: Arc<Inner>,
}

struct Inner {
    server: String,
    login: Login,
    size: usize,
    permits: Arc<Semaphore>,
    idle: Mutex<Vec<Idle>>,
    /// Connections of an earlier one are not used again.
    generation: AtomicU64,
    /// Callers that have a connection or wait for one.
    outstanding: AtomicUsize,
    counters: Arc<Counters>,
    /// Told of what makes a look at the server worth while.
    look: Arc<Notify>,
}

struct Idle {
    connection: MySqlConnection,
    generation: u64,
    since: Instant,
}

/// A connection that somebody has.
pub(super) struct Lease {
    /// None once it is on its way back.
    held: Option<Held>,
    outstanding: Outstanding,
}

struct Held {
    connection: MySqlConnection,
    generation: u64,
    inner: Arc<Inner>,
    _permit: OwnedSemaphorePermit,
}

/// One caller more, as long as this lives.
struct Outstanding(Arc<Inner>);

impl Pool {
    pub(super) fn new(
        server: &str,
        login: Login,
        limits: &Limits,
        counters: Arc<Counters>,
        look: Arc<Notify>,
    ) -> Self {
        Self {
            inner: Arc::new(Inner {
                server: server.to_owned(),
                login,
                size: limits.connections,
                permits: Arc::new(Semaphore::new(limits.connections)),
                idle: Mutex::new(Vec::new()),
                generation: AtomicU64::new(0),
                outstanding: AtomicUsize::new(0),
                counters,
                look,
            }),
        }
    }

    /// A connection: one that is idle, or a new one, or whichever is returned first.
    pub(super) async fn acquire(&self, dialect: &dyn Dialect) -> Result<Lease> {
        let inner = &self.inner;
        let outstanding = Outstanding::of(inner);
        let permit = Arc::clone(&inner.permits).acquire_owned().await;
        let permit = permit.map_err(|_| Error::NoServer("its pool is closed".to_owned()))?;
        let (connection, generation) = match inner.reuse().await {
            Some(idle) => idle,
            None => inner.open(dialect).await?,
        };
        Ok(Lease {
            held: Some(Held {
                connection,
                generation,
                inner: Arc::clone(inner),
                _permit: permit,
            }),
            outstanding,
        })
    }

    /// Uses no connection again that is open now: the server went away. Those that are in use are
    /// left to their users.
    pub(super) fn retire(&self) {
        self.inner.retire();
    }

    pub(super) fn outstanding(&self) -> usize {
        self.inner.outstanding.load(Ordering::Relaxed)
    }

    pub(super) fn in_use(&self) -> usize {
        self.inner
            .size
            .saturating_sub(self.inner.permits.available_permits())
    }

    pub(super) fn idle(&self) -> usize {
        self.inner.idle().len()
    }
}

impl Inner {
    /// The connection that was used last, if one is left that works.
    async fn reuse(&self) -> Option<(MySqlConnection, u64)> {
        loop {
            let mut idle = self.idle().pop()?;
            if !self.is_current(idle.generation) {
                continue;
            }
            if idle.since.elapsed() < STALE {
                return Some((idle.connection, idle.generation));
            }
            if let Ok(Ok(())) = timeout(RESCUE, idle.connection.ping()).await {
                return Some((idle.connection, idle.generation));
            }
        }
    }

    async fn open(&self, dialect: &dyn Dialect) -> Result<(MySqlConnection, u64)> {
        // Before it connects: if the server goes away meanwhile, this one does not count either.
        let generation = self.generation.load(Ordering::Relaxed);
        let started = Instant::now();
        let opened = self.login.open(dialect).await;
        self.counters.connected(started.elapsed(), opened.is_ok());
        Ok((opened?, generation))
    }

    fn retire(&self) {
        self.generation.fetch_add(1, Ordering::Relaxed);
        let retired = std::mem::take(&mut *self.idle());
        drop(retired);
    }

    /// The server has closed a connection: it may have closed all of them.
    fn lost_one(&self) {
        self.retire();
        self.look.notify_one();
    }

    fn is_current(&self, generation: u64) -> bool {
        generation == self.generation.load(Ordering::Relaxed)
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        // No code that could panic runs while it is locked.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lease {
    /// The name of the server.
    pub(super) fn server(&self) -> &str {
        &self.outstanding.0.server
    }

    pub(super) fn counters(&self) -> &Counters {
        &self.outstanding.0.counters
    }

    pub(super) fn connection(&mut self) -> &mut MySqlConnection {
        match &mut self.held {
            Some(held) => &mut held.connection,
            None => unreachable!("it is taken only by what consumes the lease"),
        }
    }

    pub(super) fn peek(&self) -> &MySqlConnection {
        match &self.held {
            Some(held) => &held.connection,
            None => unreachable!("it is taken only by what consumes the lease"),
        }
    }

    /// Returns it. No answer may be on its way, and no transaction open.
    pub(super) fn give_back(mut self) {
        if let Some(held) = self.held.take() {
            held.shelve();
        }
    }

    /// Closes it.
    pub(super) fn discard(mut self) {
        self.held = None;
    }

    /// Closes it, because the server did.
    pub(super) fn lost(mut self) {
        if let Some(held) = self.held.take() {
            held.inner.lost_one();
        }
    }
}

impl Held {
    fn shelve(self) {
        let Self {
            connection,
            generation,
            inner,
            _permit,
        } = self;
        if inner.is_current(generation) {
            let since = Instant::now();
            inner.idle().push(Idle {
                connection,
                generation,
                since,
            });
        }
    }
}

/// Whoever drops it may have been cancelled: what is on its way has to arrive first, and what was
/// not committed has to be undone.
impl Drop for Lease {
    fn drop(&mut self) {
        let Some(mut held) = self.held.take() else {
            return;
        };
        // Without a runtime there is nobody to wait for it.
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        runtime.spawn(async move {
            let undo = held.connection.execute("ROLLBACK");
            match timeout(RESCUE, undo).await {
                Ok(Ok(_)) => held.shelve(),
                Ok(Err(error)) if error::lost_connection(&error) => held.inner.lost_one(),
                _ => {}
            }
        });
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("server", &self.server())
            .finish_non_exhaustive()
    }
}

impl Outstanding {
    fn of(inner: &Arc<Inner>) -> Self {
        inner.outstanding.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(inner))
    }
}

impl Drop for Outstanding {
    fn drop(&mut self) {
        self.0.outstanding.fetch_sub(1, Ordering::Relaxed);
    }
}
