//! Resolves backends to interfaces and hardware addresses, by netlink, and follows changes.
//!
//! The XDP program sends packets past the kernel's own routing, so that the kernel would never ask
//! for a backend's hardware address by itself, and would forget it. It is asked to, and to keep it
//! fresh. What follows from what it knows is decided by [`crate::proto::next_hop`]; `netlink` talks to
//! it.

mod netlink;

use crate::proto::next_hop::NextHopEvent;
use crate::proto::next_hop::neighbourhood::{Hop, Neighbourhood};
use netlink::{Netlink, News};
use std::collections::BTreeSet;
use std::convert::Infallible;
use std::net::IpAddr;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until};

/// How often a neighbour that does not answer is asked again.
const RETRY: Duration = Duration::from_secs(1);

/// How often everything is asked for again, so that neighbours stay fresh and drift heals. Less
/// than the kernel's `base_reachable_time`.
const REFRESH: Duration = Duration::from_secs(20);

/// How long changes are collected before they are acted on. One `ip link set` makes several.
const SETTLE: Duration = Duration::from_millis(20);

/// How long to wait before netlink is tried again.
const RECONNECT: Duration = Duration::from_secs(1);

/// The resolver.
#[derive(Debug)]
pub struct Resolver {
    targets: watch::Sender<BTreeSet<IpAddr>>,
}

impl Resolver {
    /// Starts resolving nothing. Must be called inside of a tokio runtime.
    #[must_use]
    pub fn spawn(events: mpsc::Sender<NextHopEvent>) -> Self {
        let (targets, wanted) = watch::channel(BTreeSet::new());
        tokio::spawn(run(wanted, events));
        Self { targets }
    }

    /// Says what is to be resolved from now on, and kept so.
    pub fn set_targets(&self, targets: BTreeSet<IpAddr>) {
        self.targets.send_replace(targets);
    }
}

/// Why following ended.
enum End {
    /// Nobody asks any more, or nobody listens.
    Unneeded,
    /// The connection broke.
    Broken(netlink::Error),
}

impl From<netlink::Error> for End {
    fn from(error: netlink::Error) -> Self {
        Self::Broken(error)
    }
}

/// Follows, over as many connections as it takes. What is known outlives each of them.
async fn run(mut wanted: watch::Receiver<BTreeSet<IpAddr>>, events: mpsc::Sender<NextHopEvent>) {
    let mut known = Neighbourhood::default();
    loop {
        let Err(end) = follow(&mut wanted, &events, &mut known).await;
        match end {
            End::Unneeded => return,
            End::Broken(error) => {
                let error = anyhow::Error::new(error);
                tracing::warn!("next hops are not followed, will try again: {error:#}");
                sleep(RECONNECT).await;
            }
        }
    }
}

async fn follow(
    wanted: &mut watch::Receiver<BTreeSet<IpAddr>>,
    events: &mpsc::Sender<NextHopEvent>,
    known: &mut Neighbourhood,
) -> Result<Infallible, End> {
    let mut netlink = Netlink::open()?;
    let mut retry = interval(RETRY);
    retry.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut refresh = interval(REFRESH);
    refresh.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // When everything is to be asked for, if something changed.
    let mut settled: Option<Instant> = None;

    loop {
        let mut news = tokio::select! {
            changed = wanted.changed() => {
                changed.map_err(|_| End::Unneeded)?;
                ask(&netlink, wanted, known).await?;
                poke(&netlink, known.silent()).await?;
                None
            }
            () = at(settled) => {
                settled = None;
                ask(&netlink, wanted, known).await?;
                poke(&netlink, known.silent()).await?;
                None
            }
            _ = refresh.tick() => {
                ask(&netlink, wanted, known).await?;
                poke(&netlink, known.all()).await?;
                None
            }
            _ = retry.tick() => {
                poke(&netlink, known.silent()).await?;
                None
            }
            () = at(known.deadline().map(Instant::from_std)) => None,
            news = netlink.next() => Some(news?),
        };

        if news.is_none() {
            news = netlink.next_waiting()?;
        }
        // All that has come meanwhile, before anything is said of it: what was asked for is newer
        // than the first of the news, but not than the last.
        while let Some(each) = news {
            match each {
                News::Neighbour(hop, neighbour) => known.observe(hop, neighbour),
                News::Changed => {
                    settled.get_or_insert_with(|| Instant::now() + SETTLE);
                }
            }
            news = netlink.next_waiting()?;
        }
        for event in known.changes(std::time::Instant::now()) {
            events.send(event).await.map_err(|_| End::Unneeded)?;
        }
    }
}

async fn ask(
    netlink: &Netlink,
    wanted: &mut watch::Receiver<BTreeSet<IpAddr>>,
    known: &mut Neighbourhood,
) -> Result<(), netlink::Error> {
    let targets = wanted.borrow_and_update().clone();
    known.replace(netlink.snapshot(&targets).await?);
    Ok(())
}

async fn poke(netlink: &Netlink, hops: Vec<Hop>) -> Result<(), netlink::Error> {
    for hop in hops {
        netlink.poke(hop).await?;
    }
    Ok(())
}

/// Waits until then; for ever, if there is no such moment.
async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
