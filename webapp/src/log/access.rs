//! The access log. A request appends a line to a buffer; a thread writes it out, so that no
//! request waits for a disk.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use anyhow::{Context as _, Result};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use serde::Serialize;

/// A request, with what became of it.
///
/// The query is left out: what it holds may be a secret.
#[derive(Clone, Debug, Serialize)]
pub struct Entry<'a> {
    /// When the request's headers were there, in RFC 3339.
    pub time: &'a str,
    /// The server's name.
    pub server: &'a str,
    /// What the tiers know the request by.
    pub request_id: &'a str,
    /// Whose request it is.
    pub client: IpAddr,
    /// The name in the client's certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_name: Option<&'a str>,
    /// The request's method.
    pub method: &'a str,
    /// The host that was asked for.
    pub host: &'a str,
    /// The path that was asked for.
    pub path: &'a str,
    /// As in `HTTP/2.0`.
    pub version: &'a str,
    /// Whether it came over TLS.
    pub tls: bool,
    /// The status of the response.
    pub status: u16,
    /// How many bytes of the response's body were taken.
    pub bytes: u64,
    /// Whether that was all of them.
    pub complete: bool,
    /// How long it took to the last of them, in microseconds.
    pub micros: u64,
    /// Who answered it, where that was not this server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream: Option<&'a str>,
    /// The client's program, in its own words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<&'a str>,
}

/// How long a line may wait, for others to be written with it.
const FLUSH_EVERY: Duration = Duration::from_millis(200);

/// What need not wait any longer.
const FLUSH_AT: usize = 1 << 20;

/// What may wait. A disk that takes nothing costs lines, not memory.
const BUFFER: usize = 8 << 20;

/// As long as most lines are, and some more.
const LINE: usize = 512;

/// Where lines go. Cheap to clone. What waits at the end of the program is lost without a
/// [`AccessLog::flush`].
#[derive(Clone, Debug)]
pub struct AccessLog {
    buffer: Option<Arc<Buffer>>,
}

#[derive(Debug)]
struct Buffer {
    state: Mutex<State>,
    stirred: Condvar,
    lost: Counter,
}

#[derive(Debug, Default)]
struct State {
    lines: Vec<u8>,
    reopen: bool,
    /// Whether lines are being written, and so not there any more but not yet written either.
    writing: bool,
}

impl AccessLog {
    /// No log.
    #[must_use]
    pub fn none() -> Self {
        Self { buffer: None }
    }

    /// A log on standard output.
    ///
    /// # Errors
    ///
    /// If no thread can be had.
    pub fn stdout() -> Result<Self> {
        Self::start(Sink::Stdout, FLUSH_EVERY)
    }

    /// A log that is appended to a file.
    ///
    /// # Errors
    ///
    /// If the file cannot be opened.
    pub fn file(path: &Path) -> Result<Self> {
        let file = open(path).with_context(|| format!("failed to open {}", path.display()))?;
        let path = path.to_owned();
        Self::start(Sink::File { path, file }, FLUSH_EVERY)
    }

    fn start(sink: Sink, flush_every: Duration) -> Result<Self> {
        let buffer = Arc::new(Buffer {
            state: Mutex::default(),
            stirred: Condvar::new(),
            lost: Counter::default(),
        });
        let watched = Arc::downgrade(&buffer);
        std::thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || write_out(&watched, sink, flush_every))
            .context("failed to start the access log")?;
        let buffer = Some(buffer);
        Ok(Self { buffer })
    }

    /// Counts lines that were lost.
    pub fn register(&self, registry: &mut Registry) {
        if let Some(buffer) = &self.buffer {
            let lost = buffer.lost.clone();
            registry.register(
                "lost_log_lines",
                "Lines that the access log had no room for",
                lost,
            );
        }
    }

    /// Whether anything is logged at all.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.buffer.is_some()
    }

    /// Appends a line.
    pub fn write(&self, entry: &Entry<'_>) {
        let Some(buffer) = &self.buffer else {
            return;
        };
        // Made before the lock is held, which all threads want.
        let mut line = Vec::with_capacity(LINE);
        let made = serde_json::to_writer(&mut line, entry).is_ok();
        line.push(b'\n');
        if !made || !buffer.append(&line) {
            buffer.lost.inc();
        }
    }

    /// Opens the file anew, after it was renamed: for SIGHUP.
    pub fn reopen(&self) {
        if let Some(buffer) = &self.buffer {
            buffer.lock().reopen = true;
        }
    }

    /// Waits until what was appended is written.
    pub fn flush(&self) {
        let Some(buffer) = &self.buffer else {
            return;
        };
        let mut state = buffer.lock();
        buffer.stirred.notify_all();
        while state.writing || !state.lines.is_empty() {
            let waited = buffer.stirred.wait_timeout(state, FLUSH_EVERY);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl State {
    /// Whether there was room.
    fn append(&mut self, line: &[u8]) -> bool {
        let room = self.lines.len() <= BUFFER;
        if room {
            self.lines.extend_from_slice(line);
        }
        room
    }
}

impl Buffer {
    /// Whether there was room.
    fn append(&self, line: &[u8]) -> bool {
        let (room, is_much) = {
            let mut state = self.lock();
            let before = state.lines.len();
            let room = state.append(line);
            (room, before < FLUSH_AT && state.lines.len() >= FLUSH_AT)
        };
        if is_much {
            self.stirred.notify_all();
        }
        room
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where the thread writes to.
enum Sink {
    Stdout,
    File { path: PathBuf, file: File },
}

impl Sink {
    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        match self {
            Self::Stdout => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(lines)?;
                stdout.flush()
            }
            Self::File { file, .. } => file.write_all(lines),
        }
    }

    fn reopen(&mut self) {
        if let Self::File { path, file } = self {
            match open(path) {
                Ok(anew) => *file = anew,
                Err(error) => tracing::warn!(%error, "the access log could not be opened anew"),
            }
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

/// Writes lines out until the log is dropped.
fn write_out(buffer: &Weak<Buffer>, mut sink: Sink, flush_every: Duration) {
    let mut lines = Vec::new();
    let mut failing = false;
    while let Some(buffer) = buffer.upgrade() {
        let reopen = {
            let mut state = buffer.lock();
            // While the last ones were written, nobody waited to be told that there are many more.
            if state.lines.len() < FLUSH_AT {
                let waited = buffer.stirred.wait_timeout(state, flush_every);
                state = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
            std::mem::swap(&mut lines, &mut state.lines);
            state.writing = true;
            std::mem::take(&mut state.reopen)
        };
        if reopen {
            sink.reopen();
        }
        let written = sink.write(&lines);
        if let Err(error) = &written
            && !failing
        {
            tracing::warn!(%error, "the access log cannot be written");
        }
        failing = written.is_err();
        lines.clear();
        buffer.lock().writing = false;
        buffer.stirred.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn entry(path: &str) -> Entry<'_> {
        Entry {
            time: "2026-01-02T03:04:05.678Z",
            server: "web1",
            request_id: "1",
            client: IpAddr::from([192, 0, 2, 1]),
            client_name: None,
            method: "GET",
            host: "www.foobar.com",
            path,
            version: "HTTP/1.1",
            tls: true,
            status: 200,
            bytes: 5,
            complete: true,
            micros: 12,
            upstream: None,
            user_agent: Some("a \"quoted\"\nagent"),
        }
    }

    fn lines(path: &Path) -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(path).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    #[test]
    fn each_request_is_one_line_of_json_whatever_clients_send() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("access.log");
        let log = AccessLog::file(&path).unwrap();
        log.write(&entry("/a\"\n\u{1b}"));
        log.write(&entry("/b"));
        log.flush();
        let lines = lines(&path);
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0]["path"], "/a\"\n\u{1b}");
        assert_eq!(lines[0]["user_agent"], "a \"quoted\"\nagent");
        assert_eq!(lines[1]["status"], 200);
        assert!(lines[1].get("upstream").is_none());
    }

    #[test]
    fn a_renamed_file_is_left_and_a_new_one_begun() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("access.log");
        let log = AccessLog::file(&path).unwrap();
        log.write(&entry("/old"));
        log.flush();
        let old = directory.path().join("access.log.1");
        std::fs::rename(&path, &old).unwrap();
        log.reopen();
        log.write(&entry("/new"));
        log.flush();
        assert_eq!(lines(&old)[0]["path"], "/old");
        assert_eq!(lines(&path)[0]["path"], "/new");
    }

    #[test]
    fn much_is_written_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("access.log");
        let file = open(&path).unwrap();
        let sink = Sink::File { path, file };
        let log = AccessLog::start(sink, Duration::from_secs(3_600)).unwrap();
        let buffer = log.buffer.as_ref().unwrap();
        // Also what is appended while the lines before it are written.
        for _ in 0..4 {
            assert!(buffer.append(&vec![b'x'; FLUSH_AT]));
        }
        let patience = Instant::now() + Duration::from_secs(30);
        while !buffer.lock().lines.is_empty() {
            assert!(Instant::now() < patience, "nobody wrote them");
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_disk_that_takes_nothing_costs_lines_and_not_memory() {
        let mut state = State::default();
        let line = [&[b'x'; 99][..], b"\n"].concat();
        while state.append(&line) {}
        let full = state.lines.len();
        assert!((BUFFER..BUFFER + 1024).contains(&full), "{full}");
        assert!(state.lines.ends_with(b"xx\n"));
    }
}
