//! Tells systemd how the daemon is: that it is ready, what it does, that its loop turns.
//!
//! The protocol is `sd_notify(3)`: lines in a datagram to the socket that `NOTIFY_SOCKET` names.

use crate::daemon::Handle;
use crate::observe::events::Events;
use crate::types::Status;
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
    manager: Option<Manager>,
    watchdog: Option<Duration>,
}

#[derive(Debug)]
struct Manager {
    /// Not connected: whoever listens there may be another one by and by.
    socket: UnixDatagram,
    address: SocketAddr,
}

impl Notify {
    /// The service manager that the environment names, if it names one.
    ///
    /// # Errors
    ///
    /// If what it names cannot be a socket.
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
    /// If that cannot be a socket.
    pub fn new(socket: &OsStr, watchdog: Option<Duration>) -> anyhow::Result<Self> {
        let manager = || {
            let address = match socket.as_bytes().strip_prefix(b"@") {
                Some(name) => SocketAddr::from_abstract_name(name)?,
                None => SocketAddr::from_pathname(socket)?,
            };
            let socket = UnixDatagram::unbound()?;
            // A manager that hangs must not make us hang.
            socket.set_nonblocking(true)?;
            std::io::Result::Ok(Manager { socket, address })
        };
        let manager = manager()
            .with_context(|| format!("cannot tell systemd anything: NOTIFY_SOCKET={socket:?}"))?;
        Ok(Self {
            manager: Some(manager),
            watchdog,
        })
    }

    /// Whether there is one.
    #[must_use]
    pub const fn is_there(&self) -> bool {
        self.manager.is_some()
    }

    /// How often [`watchdog`](Self::watchdog) is to be called: twice in the time that is given.
    #[must_use]
    pub fn watchdog_period(&self) -> Option<Duration> {
        self.watchdog.map(|patience| patience / 2)
    }

    /// The daemon answers. Whatever was to be started after it may be.
    pub fn ready(&self, status: &str) {
        if let Err(error) = self.send(&format!("READY=1\n{}", status_line(status))) {
            tracing::warn!(%error, "systemd could not be told that lbd is ready");
        }
    }

    /// How things are, in a few words.
    pub fn status(&self, status: &str) {
        // Logged, this would be something that happened, and that it is to be told of.
        let _ = self.send(&status_line(status));
    }

    /// The daemon ends, as it was told to.
    pub fn stopping(&self) {
        let _ = self.send("STOPPING=1\nSTATUS=stopping\n");
    }

    /// The daemon's loop turns. Called from nowhere else, so that one that hangs is noticed.
    pub fn watchdog(&self) {
        if self.watchdog.is_some() {
            // If this is lost, the next one need not be.
            let _ = self.send("WATCHDOG=1\n");
        }
    }

    fn send(&self, message: &str) -> std::io::Result<()> {
        let Some(Manager { socket, address }) = &self.manager else {
            return Ok(());
        };
        socket.send_to_addr(message.as_bytes(), address).map(drop)
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
