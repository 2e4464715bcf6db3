//! Tells systemd how the daemon is: that it is ready, what it does, that its loop turns.
//!
//! The protocol is `sd_notify(3)`: lines in a datagram to the socket that `NOTIFY_SOCKET` names.

use crate::api::types::Status;
use crate::daemon::Handle;
use crate::observe::events::Events;
use anyhow::Context as _;
use std::env;
use std::ffi::OsStr;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;
use tokio::time::{sleep, timeout};

#[cfg(test)]
mod tests;

/// How often at most it is told how things are.
const STATUS_PAUSE: Duration = Duration::from_secs(1);

/// When to look even if nothing was heard of.
const STATUS_REFRESH: Duration = Duration::from_secs(60);

/// The service manager, if there is one.
#[derive(Debug, Default)]
pub struct Notify {
    socket: Option<UnixDatagram>,
    watchdog: Option<Duration>,
}

impl Notify {
    /// The service manager that the environment names, if it names one.
    ///
    /// # Errors
    ///
    /// If it cannot be reached: it would wait for what it never hears.
    pub fn from_env() -> anyhow::Result<Self> {
        let Some(socket) = env::var_os("NOTIFY_SOCKET") else {
            return Ok(Self::default());
        };
        let number = |name| env::var(name).ok()?.parse::<u64>().ok();
        // It may be meant for the one that started us.
        let ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let watchdog = number("WATCHDOG_USEC").filter(|usec| ours && *usec > 0);
        Self::new(&socket, watchdog.map(Duration::from_micros))
    }

    /// The service manager behind a socket: a path, or a name that begins with `@` and is in no
    /// file system. It ends the daemon if it hears nothing of the watchdog for so long.
    ///
    /// # Errors
    ///
    /// If nobody listens there.
    pub fn new(socket: &OsStr, watchdog: Option<Duration>) -> anyhow::Result<Self> {
        let connect = || {
            let address = match socket.as_bytes().strip_prefix(b"@") {
                Some(name) => SocketAddr::from_abstract_name(name)?,
                None => SocketAddr::from_pathname(socket)?,
            };
            let connected = UnixDatagram::unbound()?;
            connected.connect_addr(&address)?;
            // A manager that hangs must not make us hang.
            connected.set_nonblocking(true)?;
            std::io::Result::Ok(connected)
        };
        let connected = connect().with_context(|| {
            format!("cannot reach the service manager at NOTIFY_SOCKET={socket:?}")
        })?;
        Ok(Self {
            socket: Some(connected),
            watchdog,
        })
    }

    /// Whether there is one.
    #[must_use]
    pub const fn is_there(&self) -> bool {
        self.socket.is_some()
    }

    /// How often [`watchdog`](Self::watchdog) is to be called: twice in the time that is given.
    #[must_use]
    pub fn watchdog_period(&self) -> Option<Duration> {
        self.watchdog.map(|patience| patience / 2)
    }

    /// The daemon answers. Whatever was to be started after it may be.
    pub fn ready(&self, status: &str) {
        self.send(&format!("READY=1\n{}", status_line(status)));
    }

    /// How things are, in a few words.
    pub fn status(&self, status: &str) {
        self.send(&status_line(status));
    }

    /// The daemon ends, as it was told to.
    pub fn stopping(&self) {
        self.send("STOPPING=1\nSTATUS=stopping\n");
    }

    /// The daemon's loop turns. Called from nowhere else, so that one that hangs is noticed.
    pub fn watchdog(&self) {
        if self.watchdog.is_some() {
            self.send("WATCHDOG=1\n");
        }
    }

    fn send(&self, message: &str) {
        let Some(socket) = &self.socket else {
            return;
        };
        if let Err(error) = socket.send(message.as_bytes()) {
            tracing::debug!(%error, message, "the service manager was not told");
        }
    }
}

fn status_line(status: &str) -> String {
    format!("STATUS={}\n", status.replace('\n', " "))
}

/// Says that the daemon is ready once it answers, and from then on how it is whenever something
/// happened; until it ends.
pub async fn tell(notify: &Notify, daemon: &Handle, events: &Events) {
    let mut ready = false;
    loop {
        let last = events.last();
        let Ok(status) = daemon.status().await else {
            return;
        };
        let words = words(&status);
        if std::mem::replace(&mut ready, true) {
            notify.status(&words);
        } else {
            notify.ready(&words);
        }
        // What happens at once is told at once.
        sleep(STATUS_PAUSE).await;
        let _ = timeout(STATUS_REFRESH, events.wait_after(last)).await;
    }
}

/// As `leader; backends: 2 of 3 serve; alarms: 1`.
fn words(status: &Status) -> String {
    let backends = || status.services.iter().flat_map(|it| &it.backends);
    format!(
        "{}; backends: {} of {} serve; alarms: {}",
        status.ha.role,
        backends().filter(|it| it.serves()).count(),
        backends().count(),
        status.alarms.len()
    )
}
