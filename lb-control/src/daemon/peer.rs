//! The other host of a pair: whether it lives, and whether this one has leave to act.

use super::hearing::{Hearing, forged};
use crate::config::Ha;
use crate::dataplane::boot_ns;
use crate::proto::heartbeat::{LostReason, Refusal};
use crate::shell::heartbeat::{Event, Heartbeat, LinkReport, Settings};
use crate::types;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Starts heartbeats that prove themselves by this secret. The earlier ones have ended.
pub type StartHeartbeats = Box<dyn FnMut([u64; 2]) -> anyhow::Result<Option<Peer>> + Send>;

/// For how long a lapse of the lease is an alarm.
const LAPSE_SHOWN: Duration = Duration::from_secs(60);

/// The heartbeats of a pair, and what they said last.
pub struct Peer {
    heartbeat: Heartbeat,
    address: IpAddr,
    links: Vec<[IpAddr; 2]>,
    hearing: Hearing,
    /// Since when its heartbeats arrive.
    heard: Option<Instant>,
    lost: Option<LostReason>,
    lapsed: Option<Instant>,
    /// The lease lapsed, and leadership is not given up yet.
    gives_up: bool,
    /// The lease of an earlier lbd lasted when this one was started.
    may_resume: bool,
}

/// What the virtual router has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Consequence {
    /// Nothing.
    None,
    /// Neighbours may have missed something.
    AnnounceAgain,
}

impl Peer {
    /// The heartbeats that run with these settings. `None` if no peer is configured.
    ///
    /// `may_resume`: the lease of an earlier lbd lasted when this one was started, so nobody can have
    /// taken over.
    #[must_use]
    pub fn new(
        ha: &Ha,
        settings: &Settings,
        heartbeat: Heartbeat,
        may_resume: bool,
    ) -> Option<Self> {
        let links = settings.links.iter();
        let links: Vec<_> = links
            .map(|link| [link.local.ip(), link.remote.ip()])
            .collect();
        Some(Self {
            heartbeat,
            address: ha.peer?.into(),
            hearing: Hearing::new(ha, &links, Instant::now())?,
            links,
            heard: None,
            lost: None,
            lapsed: None,
            gives_up: false,
            may_resume,
        })
    }

    /// Says that the daemon lives, and whether this host may act as owner: it leads, or may.
    pub(super) fn refresh(&self, may_act: bool) {
        // That it may not, after a lapse, is heard as an event.
        let _ = self.heartbeat.refresh(may_act);
    }

    /// Whether heartbeats of the other host arrive.
    pub(super) fn lives(&self) -> bool {
        self.heartbeat.status().peer_up
    }

    /// Whether heartbeats of the other host did not arrive until `shortly` before now.
    pub(super) fn was_apart(&self, shortly: Duration) -> bool {
        self.heard.is_none_or(|since| since.elapsed() < shortly)
    }

    /// Whether this host may go on leading if an earlier lbd on it led.
    pub(super) const fn may_resume(&self) -> bool {
        self.may_resume
    }

    /// Whether leadership is to be given up first.
    pub(super) const fn gives_up(&self) -> bool {
        self.gives_up
    }

    /// Leadership is given up: from now on there may be a lease again.
    pub(super) fn gave_up(&mut self) {
        if std::mem::take(&mut self.gives_up) {
            self.refresh(false);
        }
    }

    pub(super) fn on_event(&mut self, event: Event) -> Consequence {
        let peer = self.address;
        match event {
            Event::LinkUp { link } => {
                tracing::info!(link = self.name(link), "heartbeats arrive");
                return Consequence::AnnounceAgain;
            }
            Event::LinkDown { link, reason } => {
                tracing::warn!(link = self.name(link), %reason, "heartbeats no longer arrive");
            }
            Event::PeerUp => {
                tracing::info!(%peer, "the other host lives");
                self.heard = Some(Instant::now());
                self.lost = None;
            }
            Event::PeerLost { reason } => {
                tracing::warn!(%peer, %reason, "the other host is lost");
                self.heard = None;
                self.lost = Some(reason);
            }
            Event::Lapsed { since } => {
                tracing::error!(
                    ?since,
                    "stood still, and the lease lapsed: the other host may lead, so this one steps \
                     down first"
                );
                self.lapsed = Some(Instant::now());
                self.gives_up = true;
            }
        }
        Consequence::None
    }

    fn name(&self, link: usize) -> String {
        let ends = self.links.get(link);
        ends.map_or_else(String::new, |[local, remote]| format!("{local} > {remote}"))
    }

    pub(super) fn alarms(&self) -> Vec<String> {
        let peer = self.address;
        let mut alarms = Vec::new();
        if let Some(reason) = self.lost {
            alarms.push(format!("the other host, {peer}, is lost: {reason}"));
        }
        if self.lapsed.is_some_and(|at| at.elapsed() < LAPSE_SHOWN) {
            alarms.push(
                "lbd stood still for so long that its lease lapsed, and stepped down: is this host \
                 overloaded?"
                    .to_owned(),
            );
        }
        alarms.extend(self.hearing.doubts().iter().cloned());
        alarms
    }

    /// Looks at who is heard, and says what is new about it.
    pub(super) fn look(&mut self, paired: bool) {
        let heard = self.heard.is_some() || self.lost.is_some();
        let status = self.heartbeat.status();
        self.hearing.look(Instant::now(), &status, heard, paired);
    }

    pub(super) fn status(&self) -> types::HaPeer {
        let status = self.heartbeat.status();
        let left = status.lease.saturating_sub(boot_ns());
        types::HaPeer {
            address: self.address.to_string(),
            up: status.peer_up,
            lost: self.lost.map(|reason| reason.to_string()),
            lease_ms: Duration::from_nanos(left).as_millis() as u64,
            late_us: status.late.as_micros() as u64,
            links: self
                .links
                .iter()
                .zip(&status.links)
                .enumerate()
                .map(|(place, (ends, report))| link(*ends, report, self.hearing.unpaired(place)))
                .collect(),
        }
    }
}

fn link([local, remote]: [IpAddr; 2], report: &LinkReport, unpaired: u64) -> types::HaLink {
    let LinkReport {
        session,
        unsent,
        strangers,
        ..
    } = report;
    let counted = [
        ("sent", session.counters.sent),
        ("heard", session.counters.heard),
        ("unproven", session.counters.unproven),
        ("ups", session.counters.ups),
        ("unsent", *unsent),
        ("strangers", *strangers),
    ];
    let mut counters: BTreeMap<String, u64> = counted
        .into_iter()
        .map(|(name, count)| (name.to_owned(), count))
        .collect();
    let refused = Refusal::NAMES.iter().zip(session.counters.refused);
    counters.extend(refused.map(|(name, count)| (format!("refused_{name}"), count)));
    // Before the two have one secret, nobody can send anything else.
    let since = forged(report).saturating_sub(unpaired);
    counters.insert("refused_forged".to_owned(), since);
    counters.insert("refused_unpaired".to_owned(), unpaired);
    types::HaLink {
        local: local.to_string(),
        remote: remote.to_string(),
        state: session.state.name().to_owned(),
        since_s: session.since.elapsed().as_secs(),
        detection_ms: session.detection_time.map(|it| it.as_millis() as u64),
        counters,
    }
}
