//! Threads that serve connections, each by itself: what happens on a connection wakes no thread but
//! its own.
//!
//! A scheduler that threads share moves tasks between them, which is good for long work of few
//! clients, and of little use for short requests of many.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// Where connections are served.
#[derive(Debug)]
pub(super) struct Workers {
    each: Vec<Worker>,
}

#[derive(Debug)]
struct Worker {
    runtime: Handle,
    connections: Arc<AtomicUsize>,
    /// A thread of its own ends when this is dropped.
    _life: Option<oneshot::Sender<Infallible>>,
}

/// A connection that counts until it is dropped.
struct Seat(Arc<AtomicUsize>);

impl Workers {
    /// The threads of the runtime that this is called in.
    pub(super) fn shared() -> Self {
        Self {
            each: vec![Worker::new(Handle::current(), None)],
        }
    }

    /// Threads of their own. They end when this is dropped, and what they still serve with them.
    pub(super) fn start(threads: usize) -> io::Result<Self> {
        let each: io::Result<_> = (0..threads.max(1)).map(|_| Worker::start()).collect();
        Ok(Self { each: each? })
    }

    /// Serves a connection where there are the fewest.
    pub(super) fn spawn(&self, served: impl Future<Output = ()> + Send + 'static) {
        let open = |worker: &&Worker| worker.connections.load(Ordering::Relaxed);
        if let Some(worker) = self.each.iter().min_by_key(open) {
            let seat = worker.sit();
            worker.runtime.spawn(async move {
                served.await;
                drop(seat);
            });
        }
    }
}

impl Worker {
    fn new(runtime: Handle, life: Option<oneshot::Sender<Infallible>>) -> Self {
        Self {
            runtime,
            connections: Arc::default(),
            _life: life,
        }
    }

    fn start() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (life, end) = oneshot::channel();
        thread::Builder::new()
            .name("connections".to_owned())
            .spawn(move || {
                // Nothing is ever sent: it ends with the sender.
                let _ = runtime.block_on(end);
            })?;
        Ok(Self::new(handle, Some(life)))
    }

    fn sit(&self) -> Seat {
        self.connections.fetch_add(1, Ordering::Relaxed);
        Seat(Arc::clone(&self.connections))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::mpsc;
    use tokio::time::timeout;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    /// Where each of so many connections is served that all stay.
    async fn threads_of(workers: &Workers, connections: usize) -> Vec<thread::ThreadId> {
        let (sender, mut threads) = mpsc::unbounded_channel();
        for _ in 0..connections {
            let sender = sender.clone();
            workers.spawn(async move {
                sender.send(thread::current().id()).unwrap();
                std::future::pending().await
            });
        }
        let mut found = Vec::new();
        while found.len() < connections {
            found.push(timeout(PATIENCE, threads.recv()).await.unwrap().unwrap());
        }
        found
    }

    #[tokio::test]
    async fn connections_are_spread_evenly() {
        let workers = Workers::start(3).unwrap();
        let threads = threads_of(&workers, 9).await;
        for thread in &threads {
            assert_ne!(*thread, thread::current().id());
            let here = threads.iter().filter(|other| *other == thread).count();
            assert_eq!(here, 3, "{threads:?}");
        }
    }

    #[tokio::test]
    async fn a_connection_that_has_ended_makes_room() {
        let workers = Workers::start(2).unwrap();
        threads_of(&workers, 1).await;
        let (sender, ended) = oneshot::channel();
        workers.spawn(async move {
            let _ = sender.send(thread::current().id());
        });
        let freed = timeout(PATIENCE, ended).await.unwrap().unwrap();
        let counts = || {
            workers
                .each
                .iter()
                .map(|worker| worker.connections.load(Ordering::Relaxed))
        };
        let both = async {
            while counts().sum::<usize>() > 1 {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, both).await.unwrap();
        assert_eq!(threads_of(&workers, 1).await, [freed]);
    }

    #[tokio::test]
    async fn the_threads_end_with_the_workers_and_what_they_serve_with_them() {
        let workers = Workers::start(2).unwrap();
        let (sender, ended) = oneshot::channel::<()>();
        workers.spawn(async move {
            let _held = sender;
            std::future::pending().await
        });
        drop(workers);
        assert!(timeout(PATIENCE, ended).await.unwrap().is_err());
    }
}
