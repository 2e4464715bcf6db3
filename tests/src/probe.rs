//! A client that never waits: it begins to connect every millisecond, whatever became of the
//! connections before.

use std::collections::HashMap;
use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, connect, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

use crate::interrupt;
use crate::layout::VIP;
use crate::netns::Namespace;
use crate::outage::{self, Attempt};

/// From the beginning of one connection to that of the next.
const INTERVAL: Duration = Duration::from_millis(1);
/// One of so many connections is also used: it asks, and a web server answers.
const ASKS: usize = 4;
/// When a connection is given up: long before a lost SYN is sent again, after a second.
const LIMIT: Duration = Duration::from_millis(500);
/// So many that were established, each before so many others were begun, tell that all is well.
const WELL: usize = 100;

const REQUEST: &[u8] = b"GET /whoami HTTP/1.1\r\nHost: www.foobar.com\r\nConnection: close\r\n\r\n";
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\n";

/// What the prober saw.
pub struct Seen {
    /// How long no connection was established.
    pub unconnected: Duration,
    /// How long none was answered.
    pub unanswered: Duration,
}

/// A prober at work. Dropping this ends it.
pub struct Prober {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Result<Result<Vec<Probe>>>>>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    /// How many connections were established since one was not in time.
    well: AtomicUsize,
}

impl Prober {
    /// Starts it in `namespace`.
    pub fn start(namespace: &Namespace) -> Result<Self> {
        let shared = Arc::new(Shared::default());
        let thread = namespace.spawn({
            let shared = Arc::clone(&shared);
            move || Probing::new(shared).and_then(Probing::work)
        })?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Waits until connections are established again, one after the other; for at most `limit`,
    /// after which it is as it is.
    pub fn wait_until_well(&self, limit: Duration) -> Result<()> {
        const LOOK: Duration = Duration::from_millis(20);
        let deadline = Instant::now() + limit;
        // What it saw before does not count.
        self.shared.well.store(0, Ordering::Relaxed);
        while self.shared.well.load(Ordering::Relaxed) < WELL && Instant::now() < deadline {
            ensure!(!interrupt::arrived(), "interrupted");
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    /// Ends it; returns what it saw of what was begun since `start`.
    pub fn stop(mut self, start: Instant) -> Result<Seen> {
        let end = Instant::now();
        self.shared.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().context("the prober was stopped twice")?;
        let probes = thread
            .join()
            .map_err(|_| anyhow!("the prober panicked"))???;
        let since = |begun: &Instant| *begun >= start && *begun <= end;
        let attempts = |asks: bool, succeeded: fn(&Probe) -> Option<Instant>| {
            let attempts: Vec<Attempt> = probes
                .iter()
                .filter(|probe| since(&probe.begun) && (probe.asks || !asks))
                .map(|probe| Attempt {
                    begun: probe.begun,
                    succeeded: succeeded(probe),
                })
                .collect();
            outage::longest(&attempts, end)
        };
        Ok(Seen {
            unconnected: attempts(false, |probe| probe.established),
            unanswered: attempts(true, |probe| probe.answered),
        })
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Whoever drops this has given up on the outcome.
            let _ = thread.join();
        }
    }
}

/// What became of a connection.
struct Probe {
    begun: Instant,
    asks: bool,
    established: Option<Instant>,
    answered: Option<Instant>,
}

/// The prober's own state. Connections go by the number of their probe.
struct Probing {
    shared: Arc<Shared>,
    epoll: Epoll,
    timer: TimerFd,
    probes: Vec<Probe>,
    open: HashMap<usize, TcpStream>,
    /// The first that may be open still.
    oldest: usize,
}

/// The timer's, which no probe has.
const TICK: u64 = u64::MAX;

impl Probing {
    fn new(shared: Arc<Shared>) -> Result<Self> {
        if let Err(error) = become_realtime() {
            eprintln!("the outages measured may be longer than they are: {error:#}");
        }
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_CLOEXEC)?;
        let interval = Expiration::Interval(TimeSpec::from_duration(INTERVAL));
        timer.set(interval, TimerSetTimeFlags::empty())?;
        epoll.add(&timer, EpollEvent::new(EpollFlags::EPOLLIN, TICK))?;
        Ok(Self {
            shared,
            epoll,
            timer,
            probes: Vec::new(),
            open: HashMap::new(),
            oldest: 0,
        })
    }

    fn work(mut self) -> Result<Vec<Probe>> {
        let mut events = [EpollEvent::empty(); 64];
        while !self.shared.stop.load(Ordering::Relaxed) {
            let count = match self.epoll.wait(&mut events, EpollTimeout::NONE) {
                Ok(count) => count,
                Err(nix::errno::Errno::EINTR) => continue,
                Err(error) => return Err(error.into()),
            };
            // When it was woken, not when it has got round to it.
            let now = Instant::now();
            let mut tick = false;
            for event in events.iter().take(count) {
                match usize::try_from(event.data()) {
                    Ok(number) if event.data() != TICK => self.on_ready(number, now),
                    _ => tick = true,
                }
            }
            if tick {
                // However many were missed, one connection is begun.
                self.timer.wait()?;
                self.give_up(now);
                self.begin()?;
            }
        }
        Ok(self.probes)
    }

    /// Begins the next connection.
    fn begin(&mut self) -> Result<()> {
        let number = self.probes.len();
        let asks = number.is_multiple_of(ASKS);
        let socket = socket(
            AddressFamily::Inet,
            SockType::Stream,
            SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC,
            None,
        )
        .context("failed to open a socket")?;
        // Ended by a reset, a connection leaves nothing behind, neither here nor at the server.
        let linger = libc::linger {
            l_onoff: 1,
            l_linger: 0,
        };
        setsockopt(&socket, sockopt::Linger, &linger)?;
        self.probes.push(Probe {
            begun: Instant::now(),
            asks,
            established: None,
            answered: None,
        });
        if begin_to_connect(&socket) {
            let event = EpollEvent::new(EpollFlags::EPOLLOUT, number as u64);
            self.epoll.add(socket.as_fd(), event)?;
            self.open.insert(number, TcpStream::from(socket));
        }
        Ok(())
    }

    fn on_ready(&mut self, number: usize, now: Instant) {
        let (Some(stream), Some(probe)) = (self.open.get_mut(&number), self.probes.get_mut(number))
        else {
            return;
        };
        if probe.established.is_some() {
            probe.answered = is_answer(stream).then_some(now);
            self.open.remove(&number);
            return;
        }
        if let Ok(None) = stream.take_error() {
            probe.established = Some(now);
            self.shared.well.fetch_add(1, Ordering::Relaxed);
            if probe.asks && stream.write(REQUEST).is_ok() {
                let mut event = EpollEvent::new(EpollFlags::EPOLLIN, number as u64);
                if self.epoll.modify(&*stream, &mut event).is_ok() {
                    return;
                }
            }
        }
        self.open.remove(&number);
    }

    /// Closes what has waited for too long, and notices trouble.
    fn give_up(&mut self, now: Instant) {
        while let Some(probe) = self.probes.get(self.oldest)
            && now.saturating_duration_since(probe.begun) >= LIMIT
        {
            self.open.remove(&self.oldest);
            self.oldest += 1;
        }
        let earlier = self.probes.len().checked_sub(WELL);
        let earlier = earlier.and_then(|number| self.probes.get(number));
        if earlier.is_some_and(|probe| probe.established.is_none()) {
            self.shared.well.store(0, Ordering::Relaxed);
        }
    }
}

/// Whether the handshake has begun.
fn begin_to_connect(socket: &OwnedFd) -> bool {
    use std::os::fd::AsRawFd as _;
    let [a, b, c, d] = VIP.octets();
    let service = SockaddrIn::new(a, b, c, d, 80);
    matches!(
        connect(socket.as_raw_fd(), &service),
        Ok(()) | Err(nix::errno::Errno::EINPROGRESS)
    )
}

/// Whether this is the beginning of an answer. It is short, and comes at once.
fn is_answer(stream: &mut TcpStream) -> bool {
    let mut buffer = [0; 512];
    match stream.read(&mut buffer) {
        Ok(read) => buffer[..read].starts_with(ANSWER),
        Err(_) => false,
    }
}

/// Nothing else that clients do may keep this thread from looking at the clock. It is below all
/// realtime threads of others.
fn become_realtime() -> Result<()> {
    let parameter = libc::sched_param { sched_priority: 1 };
    // SAFETY: the pointer is to live memory of the type that the call asks for; 0 is the caller.
    let result = unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const parameter) };
    if result != 0 {
        return Err(io::Error::last_os_error()).context("failed to get a realtime priority");
    }
    Ok(())
}
