//! Many visitors of the site at once: some read, some write and look whether it is there. What they
//! see is counted, and every post that was acknowledged is noted.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};

use crate::http::Response;
use crate::lab::Lab;
use crate::layout::{APPS, app_name};
use crate::visitor::Visitor;

/// How long a visitor waits: longer than it takes until what was lost is sent again.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long visitors think between two requests.
const READING: Duration = Duration::from_millis(40);
const WRITING: Duration = Duration::from_millis(50);
/// After how many pages a reader comes anew, over another connection.
const PAGES: u32 = 20;

/// The page that everybody reads.
const TIMELINE: &str = "/";
/// Where posts are sent to.
const POSTS: &str = "/posts";

/// What happened since the last look.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// How long that is.
    pub lasted: Duration,
    /// Pages that were read.
    pub pages: u64,
    /// Posts that were acknowledged.
    pub posts: u64,
    /// Posts that were refused, and announced as such: nothing can be written for the time being.
    pub paused: u64,
    /// Posts that had to be sent again, as nobody said what became of them.
    pub again: u64,
    /// Posts that their author did not see on the next page.
    pub unseen: u64,
    /// Connections that were kept, and were gone when they were to be used again.
    pub broken: u64,
    /// How long a page or a post took at most.
    pub slowest: Duration,
    /// What else went wrong, and how often.
    pub errors: BTreeMap<String, u64>,
    /// Which web servers, app servers and databases pages came from, and how often.
    pub read_at: BTreeMap<String, u64>,
    /// The same for posts that were acknowledged.
    pub written_at: BTreeMap<String, u64>,
}

impl Tally {
    /// How many pages and posts failed.
    pub fn failed(&self) -> u64 {
        self.errors.values().sum()
    }

    /// Adds what happened after.
    pub fn add(&mut self, later: &Self) {
        let Self {
            lasted,
            pages,
            posts,
            paused,
            again,
            unseen,
            broken,
            slowest,
            errors,
            read_at,
            written_at,
        } = self;
        *lasted += later.lasted;
        *pages += later.pages;
        *posts += later.posts;
        *paused += later.paused;
        *again += later.again;
        *unseen += later.unseen;
        *broken += later.broken;
        *slowest = later.slowest.max(*slowest);
        for (counts, later) in [
            (errors, &later.errors),
            (read_at, &later.read_at),
            (written_at, &later.written_at),
        ] {
            for (name, count) in later {
                *counts.entry(name.clone()).or_default() += count;
            }
        }
    }

    fn count_error(&mut self, what: String) {
        *self.errors.entry(what).or_default() += 1;
    }

    fn took(&mut self, begun: Instant) {
        self.slowest = self.slowest.max(begun.elapsed());
    }
}

/// What was acknowledged in the end.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    /// The texts of posts that were acknowledged, each of which is unlike all others.
    pub acknowledged: Vec<String>,
    /// The texts of which nobody knows whether they were taken.
    pub unknown: Vec<String>,
}

/// Visitors at work. Dropping this sends them home.
#[derive(Debug)]
pub struct Crowd {
    shared: Arc<Shared>,
    since: Mutex<Instant>,
    visitors: Vec<JoinHandle<Result<()>>>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    tally: Mutex<Tally>,
    ledger: Mutex<Ledger>,
}

impl Crowd {
    /// Has `readers` come, and `writers`, who sign up first. `name` makes the writers' names.
    pub fn start(lab: &Lab, name: &str, readers: usize, writers: usize) -> Result<Self> {
        let mut crowd = Self {
            shared: Arc::new(Shared::default()),
            since: Mutex::new(Instant::now()),
            visitors: Vec::new(),
        };
        let visitor = || lab.visitor(PATIENCE);
        for number in 0..writers {
            let (mut visitor, name) = (visitor()?, format!("{name}{number}"));
            // What is signed up outlives the thread, and its connection does not.
            let visitor = lab.client().run(move || {
                sign_up(&mut visitor, &name)?;
                visitor.hang_up();
                anyhow::Ok((visitor, name))
            })?;
            let (visitor, name) = visitor.context("failed to sign up")?;
            let shared = Arc::clone(&crowd.shared);
            let work = move || shared.write(visitor, &name);
            crowd.visitors.push(lab.client().spawn(work)?);
        }
        for _ in 0..readers {
            let (visitor, shared) = (visitor()?, Arc::clone(&crowd.shared));
            let work = move || shared.read(visitor);
            crowd.visitors.push(lab.client().spawn(work)?);
        }
        crowd.take();
        Ok(crowd)
    }

    /// What happened since this was last called.
    pub fn take(&self) -> Tally {
        let mut taken = std::mem::take(&mut *lock(&self.shared.tally));
        let since = std::mem::replace(&mut *lock(&self.since), Instant::now());
        taken.lasted = since.elapsed();
        taken
    }

    /// Whether each app server has acknowledged a post since [`take`](Self::take) was last called.
    /// Each finds out for itself that there is a new primary.
    pub fn posts_everywhere(&self) -> bool {
        let tally = lock(&self.shared.tally);
        (1..=APPS).all(|n| tally.written_at.contains_key(&app_name(n)))
    }

    /// Sends the visitors home; returns what was acknowledged since they came.
    pub fn stop(mut self) -> Result<Ledger> {
        self.go_home()?;
        Ok(std::mem::take(&mut *lock(&self.shared.ledger)))
    }

    fn go_home(&mut self) -> Result<()> {
        self.shared.stop.store(true, Ordering::Relaxed);
        let ends = self.visitors.drain(..).map(|visitor| {
            let end = visitor.join();
            end.unwrap_or_else(|_| Err(anyhow!("a visitor panicked")))
        });
        // All of them, before the first error.
        let ends: Vec<Result<()>> = ends.collect();
        ends.into_iter().collect()
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        // Whoever drops this does not ask what became of them.
        let _ = self.go_home();
    }
}

/// Signs up, and ends on the timeline, signed in.
pub fn sign_up(visitor: &mut Visitor, name: &str) -> Result<Response> {
    let page = visitor.get("/signup")?;
    ensure!(page.status == 200, "status {} for /signup", page.status);
    let fields = [("name", name), ("password", PASSWORD)];
    let answer = visitor.submit(&page, "/signup", &fields)?;
    ensure!(
        answer.status == 303,
        "status {} for signing up: {}",
        answer.status,
        answer.text()
    );
    Ok(visitor.follow(answer)?)
}

/// The password of everybody who [signs up](sign_up).
pub const PASSWORD: &str = "correct horse battery staple";

impl Shared {
    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    fn read(&self, mut visitor: Visitor) {
        let mut pages = 0;
        while self.goes_on() {
            self.page(&mut visitor, TIMELINE);
            pages += 1;
            if pages % PAGES == 0 {
                visitor.hang_up();
            }
            std::thread::sleep(READING);
        }
    }

    /// Reads a page; none if that fails.
    fn page(&self, visitor: &mut Visitor, path: &str) -> Option<Response> {
        let (begun, renewals) = (Instant::now(), visitor.renewals());
        let answer = visitor.get(path);
        let mut tally = lock(&self.tally);
        tally.broken += visitor.renewals() - renewals;
        tally.took(begun);
        match answer {
            Ok(page) if page.status == 200 => {
                tally.pages += 1;
                count(&mut tally.read_at, &page);
                Some(page)
            }
            Ok(other) => {
                tally.count_error(format!("a page: status {}", other.status));
                None
            }
            Err(error) => {
                tally.count_error(format!("a page: {}", words(&error)));
                None
            }
        }
    }

    fn write(&self, mut visitor: Visitor, name: &str) {
        let mut number = 0;
        while self.goes_on() {
            std::thread::sleep(WRITING);
            let Some(page) = self.page(&mut visitor, TIMELINE) else {
                continue;
            };
            number += 1;
            let text = format!("post {number} by {name}.");
            if !self.post(&mut visitor, &page, &text) {
                continue;
            }
            if let Some(page) = self.page(&mut visitor, TIMELINE) {
                let seen = page.text().contains(&text);
                lock(&self.tally).unseen += u64::from(!seen);
            }
        }
    }

    /// Sends a post until somebody says what became of it; returns whether it was taken. It is the
    /// same form each time, so it is taken once.
    fn post(&self, visitor: &mut Visitor, page: &Response, text: &str) -> bool {
        let begun = Instant::now();
        lock(&self.ledger).unknown.push(text.to_owned());
        while begun.elapsed() < PATIENCE {
            let answer = visitor.submit(page, POSTS, &[("text", text)]);
            let mut tally = lock(&self.tally);
            match answer {
                Ok(answer) if answer.status == 303 => {
                    tally.took(begun);
                    tally.posts += 1;
                    count(&mut tally.written_at, &answer);
                    let mut ledger = lock(&self.ledger);
                    ledger.unknown.retain(|each| each != text);
                    ledger.acknowledged.push(text.to_owned());
                    return true;
                }
                Ok(answer) if answer.status == 503 && is_paused(&answer) => {
                    tally.paused += 1;
                    // It may have been taken before, without an answer.
                    return false;
                }
                // Nobody knows: a server died with it, or the way to one broke.
                Ok(answer) if matches!(answer.status, 502..=504) => tally.again += 1,
                Ok(answer) => {
                    tally.count_error(format!("a post: status {}", answer.status));
                    return false;
                }
                Err(_) => tally.again += 1,
            }
            drop(tally);
            std::thread::sleep(WRITING);
        }
        lock(&self.tally).count_error("a post: given up".to_owned());
        false
    }
}

/// Whether the site says that it takes nothing for the time being, and did not take this.
fn is_paused(answer: &Response) -> bool {
    answer.text().contains("Writing is paused")
}

/// Notes who answered.
fn count(counts: &mut BTreeMap<String, u64>, answer: &Response) {
    for header in ["x-served-by", "x-served-by-app", "x-served-by-db"] {
        if let Some(name) = answer.header(header) {
            *counts.entry(name.to_owned()).or_default() += 1;
        }
    }
}

fn words(error: &io::Error) -> String {
    match error.kind() {
        // What a socket with a limit says when that has passed.
        io::ErrorKind::WouldBlock => io::ErrorKind::TimedOut.to_string(),
        io::ErrorKind::Other | io::ErrorKind::InvalidData => error.to_string(),
        kind => kind.to_string(),
    }
}

/// A count is as good after another visitor's panic as before.
fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
