//! The other host, over all links to it.

use super::key::{Ends, Key};
use super::packet::{Diagnostic, LEN, Packet, Refusal, State};
use super::session::{Change, Counters, LostReason, Session};
use super::timing::Timing;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// A link, by its place in the configuration.
pub type LinkId = usize;

/// What is to be done. Effects are to be carried out in the order in which they are given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Send this to the peer.
    Send {
        /// By which link.
        link: LinkId,
        /// The payload of the datagram.
        payload: [u8; LEN],
    },
    /// The peer is heard by a link, and hears us.
    LinkUp {
        /// Which.
        link: LinkId,
    },
    /// That is over.
    LinkDown {
        /// Which link.
        link: LinkId,
        /// Why.
        reason: LostReason,
    },
    /// There is a link to the peer. Comes after the link's own effect.
    PeerUp,
    /// There is none any more. Comes after the link's own effect.
    PeerLost {
        /// Why the last one went.
        reason: LostReason,
    },
}

/// What is known of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkStatus {
    /// The state of its session.
    pub state: State,
    /// Since when.
    pub since: Instant,
    /// Why it fell the last time.
    pub diagnostic: Diagnostic,
    /// What the peer wants, if it is heard.
    pub peer_timing: Option<Timing>,
    /// After how long a silence the peer is lost, if it is heard.
    pub detection_time: Option<Duration>,
    /// What it has done.
    pub counters: Counters,
    /// When the last heartbeat came that was not genuine ([`Refusal::Forged`]).
    pub forged: Option<Instant>,
}

/// The other host.
///
/// After each input, take [`Self::next_effect`] until there is none, and then wait until
/// [`Self::deadline`] at most.
#[derive(Debug)]
pub struct Peer {
    key: Key,
    links: Vec<Link>,
    up: bool,
    effects: VecDeque<Effect>,
}

#[derive(Debug)]
struct Link {
    /// As seen by what we send.
    ends: Ends,
    session: Session,
    forged: Option<Instant>,
}

impl Peer {
    /// A peer that is not heard yet. For each link its ends, ours as the source, and a random number
    /// (see [`Session::new`]).
    #[must_use]
    pub fn new(timing: Timing, key: Key, links: &[(Ends, u64)], now: Instant) -> Self {
        let link = |&(ends, seed)| Link {
            ends,
            session: Session::new(timing, now, seed),
            forged: None,
        };
        Self {
            key,
            links: links.iter().map(link).collect(),
            up: false,
            // Room for all that one input leads to, so that a realtime thread need not allocate.
            effects: VecDeque::with_capacity(4 * links.len() + 4),
        }
    }

    /// Whether it can be heard and hears us, by any link.
    #[must_use]
    pub const fn is_up(&self) -> bool {
        self.up
    }

    /// Our discriminator of a link that is up, or of the first one: what else this host sends to the
    /// peer may name it, to show that it is no recording.
    #[must_use]
    pub fn discriminator(&self) -> Option<u64> {
        let mut sessions = self.links.iter().map(|link| &link.session);
        let first = self.links.first().map(|link| &link.session);
        let up = sessions.find(|session| session.state() == State::Up);
        up.or(first).map(Session::discriminator)
    }

    /// Those of the peer, of the links that are up.
    pub fn proven(&self) -> impl Iterator<Item = u64> {
        self.links.iter().filter_map(|link| link.session.proven())
    }

    /// What is known of each link.
    pub fn links(&self) -> impl Iterator<Item = LinkStatus> {
        self.links.iter().map(
            |Link {
                 session, forged, ..
             }| LinkStatus {
                state: session.state(),
                since: session.since(),
                diagnostic: session.diagnostic(),
                peer_timing: session.peer_timing(),
                detection_time: session.detection_time(),
                counters: *session.counters(),
                forged: *forged,
            },
        )
    }

    /// When [`Self::on_timeout`] is to be called, if there are links.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.links.iter().map(|link| link.session.deadline()).min()
    }

    /// Hears the payload of a datagram that came by `link`, from the peer's address, with this TTL
    /// or hop limit.
    ///
    /// # Errors
    ///
    /// If it is not heeded. It is counted then.
    pub fn on_datagram(
        &mut self,
        now: Instant,
        link: LinkId,
        payload: &[u8],
        hops: u8,
    ) -> Result<(), Refusal> {
        let Some(Link {
            ends,
            session,
            forged,
        }) = self.links.get_mut(link)
        else {
            return Ok(());
        };
        let heard = Packet::decode(payload, &self.key, ends.reversed(), hops)
            .and_then(|packet| session.on_packet(now, &packet));
        match heard {
            Ok(change) => self.follow(now, link, change),
            Err(refusal) => {
                session.count_refused(&refusal);
                if refusal == Refusal::Forged {
                    *forged = Some(now);
                }
                return Err(refusal);
            }
        }
        Ok(())
    }

    /// Does what is due. To be called after what has arrived was heard.
    pub fn on_timeout(&mut self, now: Instant) {
        self.each(now, |session| session.on_timeout(now));
    }

    /// Tells the peer that this host is not to be counted on.
    pub fn disable(&mut self, now: Instant, diagnostic: Diagnostic) {
        self.each(now, |session| session.disable(now, diagnostic));
    }

    /// Begins anew after [`Self::disable`].
    pub fn enable(&mut self, now: Instant) {
        self.each(now, |session| {
            session.enable(now);
            None
        });
    }

    /// The next effect to be carried out.
    pub fn next_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    fn each(&mut self, now: Instant, mut input: impl FnMut(&mut Session) -> Option<Change>) {
        for link in 0..self.links.len() {
            let session = self.links.get_mut(link).map(|link| &mut link.session);
            let change = session.and_then(&mut input);
            self.follow(now, link, change);
        }
    }

    /// Sends what is due after an input, and tells what it changed.
    fn follow(&mut self, now: Instant, link: LinkId, change: Option<Change>) {
        if let Some(Link { ends, session, .. }) = self.links.get_mut(link)
            && let Some(packet) = session.transmit(now)
        {
            let payload = packet.encode(&self.key, *ends);
            self.effects.push_back(Effect::Send { link, payload });
        }
        let is_up = |link: &Link| link.session.state() == State::Up;
        match change {
            None => {}
            Some(Change::Up) => {
                self.effects.push_back(Effect::LinkUp { link });
                if !self.up {
                    self.up = true;
                    self.effects.push_back(Effect::PeerUp);
                }
            }
            Some(Change::Down(reason)) => {
                self.effects.push_back(Effect::LinkDown { link, reason });
                if !self.links.iter().any(is_up) {
                    self.up = false;
                    self.effects.push_back(Effect::PeerLost { reason });
                }
            }
        }
    }
}
