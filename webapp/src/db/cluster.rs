//! Getting a connection to the right server.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use prometheus_client::registry::Registry;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::timeout;

use super::dialect::{Dialect, Report};
use super::metrics::{Counters, Kind, Metrics, Waited};
use super::monitor::{self, Monitors};
use super::pool::{Lease, Pool};
use super::position::Position;
use super::read::{Read, wait_for};
use super::session::Login;
use super::state::{Failure, Rules, ServerState, State, View};
use super::write::Write;
use super::{Config, Error, Limits, Result, Token, error};

/// How much longer than it should a wait in the server may take.
const RESCUE: Duration = Duration::from_secs(1);

/// A primary and its replicas. Clones are the same cluster.
#[derive(Clone)]
pub struct Cluster {
    shared: Arc<Shared>,
    /// Ends the looks at the servers with the last clone.
    _monitors: Arc<Monitors>,
}

/// What the callers and the monitors have in common.
pub(super) struct Shared {
    pub(super) limits: Limits,
    pub(super) servers: Vec<Server>,
    state: Mutex<State>,
    view: watch::Sender<Arc<View>>,
    /// What every read has to see.
    floor: ArcSwapOption<Position>,
    /// Reads that the primary takes for the replicas.
    spill: Arc<Semaphore>,
    /// Whose turn it is among servers that have equally much to do.
    turn: AtomicUsize,
    metrics: Metrics,
}

/// A server, as far as it is not for [`State`] to know.
pub(super) struct Server {
    pub(super) name: String,
    pub(super) pool: Pool,
    pub(super) login: Login,
    pub(super) counters: Arc<Counters>,
    /// Asks its monitor to look at once.
    pub(super) look: Arc<Notify>,
}

impl Cluster {
    /// Starts to look at the servers. That a server is away is no error. One that is not as the
    /// configuration says is found out by looking.
    ///
    /// It has to be called within a runtime.
    pub fn start(config: Config) -> Result<Self> {
        config.check()?;
        let limits = config.limits.clone();
        let metrics = Metrics::default();
        let servers = config.servers.iter().map(|server| {
            let counters = Arc::new(metrics.of(&server.name));
            let login = Login::new(&config, server)?;
            let look = Arc::new(Notify::new());
            let pool = (Arc::clone(&counters), Arc::clone(&look));
            Ok(Server {
                name: server.name.clone(),
                pool: Pool::new(&server.name, login.clone(), &limits, pool.0, pool.1),
                login,
                counters,
                look,
            })
        });
        let servers: Vec<Server> = servers.collect::<Result<_>>()?;
        let names = servers.iter().map(|server| server.name.clone()).collect();
        let state = State::new(names, Rules::of(&limits));
        let (view, _) = watch::channel(Arc::new(state.view()));
        let shared = Arc::new(Shared {
            spill: Arc::new(Semaphore::new(limits.spill)),
            limits,
            servers,
            state: Mutex::new(state),
            view,
            floor: ArcSwapOption::empty(),
            turn: AtomicUsize::new(0),
            metrics,
        });
        let monitors = Arc::new(monitor::start(&shared));
        Ok(Self {
            shared,
            _monitors: monitors,
        })
    }

    /// A connection to the replica that has the least to do; to the primary, for so many at a
    /// time, if no replica is in the rotation.
    pub async fn read(&self) -> Result<Read> {
        let read = self.shared.read(Kind::Read, None);
        self.shared
            .within(|view| view.readable().is_ok(), read)
            .await
    }

    /// A connection that sees everything up to a token: of a replica that has it or gets it soon,
    /// else of the primary.
    pub async fn read_after(&self, token: &Token) -> Result<Read> {
        let position = token.position();
        let read = self
            .shared
            .read(Kind::ReadAfter, position.as_ref().map(|it| (it, token)));
        self.shared
            .within(|view| view.readable().is_ok(), read)
            .await
    }

    /// A transaction on the primary.
    pub async fn write(&self) -> Result<Write> {
        self.shared
            .within(|view| view.writable().is_ok(), self.shared.write())
            .await
    }

    /// What is known of each server, in the order of the configuration.
    pub fn state(&self) -> Vec<ServerState> {
        let mut servers = self.shared.view().servers.clone();
        for (state, server) in servers.iter_mut().zip(&self.shared.servers) {
            state.in_use = server.pool.in_use();
            state.idle = server.pool.idle();
        }
        servers
    }

    /// Whether there is a server to read from; if not, why.
    pub fn readable(&self) -> Result<()> {
        self.shared.view().readable()
    }

    /// Whether there is a server to write to; if not, why.
    pub fn writable(&self) -> Result<()> {
        self.shared.view().writable().map(drop)
    }

    /// Waits until there is a server to write to.
    pub async fn until_writable(&self) {
        let mut view = self.shared.view.subscribe();
        // The sender lives as long as this cluster.
        let _ = view.wait_for(|view| view.writable().is_ok()).await;
    }

    /// Shows what is counted, and what is known of the servers, to Prometheus. All names begin
    /// with the registry's prefix and `db_`.
    pub fn register(&self, registry: &mut Registry) {
        self.shared.metrics.register(registry, self.clone());
    }

    /// Waits until each server was looked at once.
    pub(super) async fn until_looked_at(&self) {
        let mut view = self.shared.view.subscribe();
        let _ = view.wait_for(|view| view.complete).await;
    }

    /// From now on, every read sees what was written up to here.
    pub(super) fn raise_floor(&self, position: Position) {
        self.shared.floor.store(Some(Arc::new(position)));
    }

    /// The primary's login, for what takes a connection of its own.
    pub(super) fn primary(&self) -> Result<(Login, &'static dyn Dialect)> {
        let view = self.shared.view();
        let primary = view.primary()?;
        let server = self.shared.servers.get(primary);
        match (server, view.dialect(primary)) {
            (Some(server), Some(dialect)) => Ok((server.login.clone(), dialect)),
            _ => Err(Error::NoPrimary("it was not looked at yet".to_owned())),
        }
    }
}

impl Shared {
    pub(super) fn view(&self) -> Arc<View> {
        Arc::clone(&self.view.borrow())
    }

    /// Takes note of a look at a server, or of a connection that failed.
    pub(super) fn note(&self, at: usize, outcome: Result<Report, Failure>) {
        let gone = matches!(outcome, Err(Failure::Lost(_)));
        {
            // A panic elsewhere left it as it was before or after a look: both are fine.
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let before = self.view();
            state.on_look(at, Instant::now(), outcome);
            let now = Arc::new(state.view());
            monitor::tell_changes(&before, &now);
            self.view.send_replace(now);
        }
        if gone && let Some(server) = self.servers.get(at) {
            server.pool.retire();
        }
    }

    /// Bounds a call. One that cannot be served yet waits until each server was looked at.
    async fn within<T>(
        &self,
        ready: impl Fn(&View) -> bool,
        call: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let call = async {
            if !self.view().complete {
                let mut view = self.view.subscribe();
                // The sender is this one's own.
                let _ = view.wait_for(|view| view.complete || ready(view)).await;
            }
            call.await
        };
        match timeout(self.limits.acquire, call).await {
            Ok(result) => result,
            Err(_) => Err(Error::TimedOut(format!(
                "no database connection within {}",
                humantime::format_duration(self.limits.acquire)
            ))),
        }
    }

    async fn read(&self, kind: Kind, after: Option<(&Position, &Token)>) -> Result<Read> {
        let view = self.view();
        let mut failed = None;
        let mut waited = false;
        for server in self.in_order(&view, after.map(|(position, _)| position)) {
            match self
                .read_replica(&view, server, kind, after, &mut waited)
                .await
            {
                Ok(Some(read)) => return Ok(read),
                Ok(None) => {}
                Err(error) => failed = Some(error),
            }
        }
        let primary = match view.primary() {
            Ok(primary) => primary,
            Err(error) if waited => {
                return Err(Error::TimedOut(format!(
                    "no replica has what was written last, and {error}"
                )));
            }
            Err(error) => match failed {
                Some(failed) => return Err(failed),
                None => return Err(view.readable().err().unwrap_or(error)),
            },
        };
        let spill = Arc::clone(&self.spill).acquire_owned().await.ok();
        let lease = self.lease(&view, primary, kind).await?;
        if let Some(server) = self.servers.get(primary) {
            server.counters.spilled();
        }
        Ok(Read::spilled(lease, spill))
    }

    /// The servers that may be read from: first those that have a position for certain, then those
    /// that have the least to do.
    fn in_order(&self, view: &View, after: Option<&Position>) -> Vec<usize> {
        let floor = self.floor.load();
        let has = |server: usize, wanted: Option<&Position>| {
            wanted.is_none_or(|wanted| view.position(server).is_some_and(|it| it.includes(wanted)))
        };
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let count = self.servers.len().max(1);
        let mut order: Vec<usize> = view
            .readers()
            .filter(|it| has(*it, floor.as_deref()))
            .collect();
        order.sort_by_cached_key(|&it| {
            let outstanding = self
                .servers
                .get(it)
                .map_or(0, |server| server.pool.outstanding());
            (!has(it, after), outstanding, (it + turn) % count)
        });
        order
    }

    /// None if the replica does not get the position in time.
    async fn read_replica(
        &self,
        view: &View,
        server: usize,
        kind: Kind,
        after: Option<(&Position, &Token)>,
        waited: &mut bool,
    ) -> Result<Option<Read>> {
        let known = |wanted| view.position(server).is_some_and(|it| it.includes(wanted));
        let wait = after.filter(|(wanted, _)| !known(wanted));
        // One that was waited for in vain is enough while there is a primary to turn to.
        if wait.is_some() && *waited && view.primary().is_ok() {
            return Ok(None);
        }
        let Some((_, token)) = wait else {
            let lease = self.lease(view, server, kind).await?;
            if after.is_some() {
                lease.counters().waited(Waited::Known, Duration::ZERO);
            }
            return Ok(Some(Read::of(lease)));
        };
        *waited = true;
        let speaks =
            |dialect: &&dyn Dialect| wait.is_some_and(|(wanted, _)| dialect.speaks(wanted));
        let Some(dialect) = view.dialect(server).filter(speaks) else {
            return Ok(None);
        };
        let mut lease = self.lease(view, server, kind).await?;
        let started = Instant::now();
        let limit = self.limits.causal_wait;
        let reached = timeout(limit + RESCUE, wait_for(&mut lease, dialect, token, limit)).await;
        let took = started.elapsed();
        match reached {
            Ok(Ok(true)) => {
                lease.counters().waited(Waited::Reached, took);
                Ok(Some(Read::of(lease)))
            }
            Ok(Ok(false)) => {
                lease.counters().waited(Waited::InVain, took);
                lease.give_back();
                Ok(None)
            }
            // The server did not even end the wait when it should have.
            Err(_) => {
                lease.counters().waited(Waited::InVain, took);
                self.suspect(server);
                Ok(None)
            }
            Ok(Err(error)) => {
                lease.counters().failed(kind);
                self.suspect(server);
                Err(error.into())
            }
        }
    }

    async fn write(&self) -> Result<Write> {
        let view = self.view();
        let primary = view.writable()?;
        let Some(dialect) = view.dialect(primary) else {
            return Err(Error::NoPrimary("it was not looked at yet".to_owned()));
        };
        let begin = async || {
            let lease = self.lease(&view, primary, Kind::Write).await?;
            Ok::<_, Error>(Write::begin(lease, dialect, self.limits.commit).await)
        };
        let begun = match begin().await? {
            // The server may have been restarted since this connection was used. Nothing was
            // written yet, so a new one may be tried.
            Err((lease, error)) if error::lost_connection(&error) => {
                lease.lost();
                begin().await?
            }
            begun => begun,
        };
        begun.map_err(|(lease, error)| {
            lease.counters().failed(Kind::Write);
            self.suspect(primary);
            error.into()
        })
    }

    async fn lease(&self, view: &View, server: usize, kind: Kind) -> Result<Lease> {
        let Some((at, dialect)) = self.servers.get(server).zip(view.dialect(server)) else {
            return Err(Error::NoServer("it was not looked at yet".to_owned()));
        };
        let lease = at.pool.acquire(dialect).await;
        match &lease {
            Ok(_) => at.counters.given(kind),
            Err(error) => {
                at.counters.failed(kind);
                if let Error::Sql(sqlx::Error::Io(error)) = error {
                    self.note(server, Err(Failure::Lost(error.to_string())));
                }
                self.suspect(server);
            }
        }
        lease
    }

    /// Has a server looked at now instead of soon.
    fn suspect(&self, server: usize) {
        if let Some(server) = self.servers.get(server) {
            server.look.notify_one();
        }
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster")
            .field("primary", &self.shared.view().primary)
            .finish_non_exhaustive()
    }
}
