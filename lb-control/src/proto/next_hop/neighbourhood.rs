//! What is known of links, routes and neighbours, and what follows for each target. No netlink
//! here, and no clock.

use super::{NextHop, NextHopEvent};
use lb_ebpf::abi::Mac;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// How long a neighbour may take to answer before its silence is reported. Most answer within a
/// millisecond, and a report that is taken back at once would only alarm.
const GRACE: Duration = Duration::from_millis(200);

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    /// Its name.
    pub(crate) name: String,
    /// Its hardware address, if it is of a kind that has one.
    pub(crate) mac: Option<Mac>,
}

/// Where the kernel would send a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// To a neighbour: the target itself, or a router.
    Via(Hop),
    /// To itself.
    Local,
    /// To many, or in a way that is not supported. Says what it is.
    Unusable(&'static str),
    /// Nowhere.
    None,
}

/// A neighbour on a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Hop {
    /// The link.
    pub(crate) ifindex: u32,
    /// The neighbour's address.
    pub(crate) address: IpAddr,
}

/// What the kernel says of a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Neighbour {
    /// Its address is known, or was when last asked.
    Valid(Mac),
    /// It does not answer, has not yet, or was forgotten.
    Silent,
}

/// Everything at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Snapshot {
    /// The links, by index.
    pub(crate) links: BTreeMap<u32, Link>,
    /// The way to each target.
    pub(crate) routes: BTreeMap<IpAddr, Route>,
    /// The neighbours.
    pub(crate) neighbours: BTreeMap<Hop, Neighbour>,
}

/// Everything that is known, and what was reported of it.
#[derive(Debug, Default)]
pub(crate) struct Neighbourhood {
    links: BTreeMap<u32, Link>,
    targets: BTreeMap<IpAddr, Target>,
    /// The neighbours that targets are reached by.
    neighbours: BTreeMap<Hop, Known>,
}

#[derive(Debug)]
struct Target {
    route: Route,
    reported: Option<Result<NextHop, String>>,
    patience: Patience,
}

/// How a target bears with a neighbour that does not answer.
#[derive(Clone, Copy, Debug)]
enum Patience {
    /// It needs none.
    Unneeded,
    /// Until then.
    Until(Instant),
    /// It has run out.
    Gone,
}

#[derive(Clone, Copy, Debug, Default)]
struct Known {
    /// The last address it had. Kept when it falls silent: whether the backend serves is for its
    /// health check to say, and a lost answer is no reason to stop sending.
    mac: Option<Mac>,
    silent: bool,
}

/// Why there is no next hop.
#[derive(Debug, PartialEq, Eq)]
enum Obstacle {
    /// The neighbour has not answered.
    Waiting(String),
    /// Something that waiting does not help.
    Final(String),
}

impl Neighbourhood {
    /// Takes a whole new view. Neighbours that have fallen silent keep their address.
    pub(crate) fn replace(&mut self, snapshot: Snapshot) {
        self.links = snapshot.links;
        let mut before = std::mem::take(&mut self.targets);
        for (address, route) in snapshot.routes {
            let target = match before.remove(&address) {
                Some(target) => Target { route, ..target },
                None => Target {
                    route,
                    reported: None,
                    patience: Patience::Unneeded,
                },
            };
            self.targets.insert(address, target);
        }

        let hops: BTreeSet<Hop> = self.hops().collect();
        self.neighbours.retain(|hop, _| hops.contains(hop));
        for hop in hops {
            self.neighbours.entry(hop).or_default();
            let neighbour = snapshot.neighbours.get(&hop);
            self.observe(hop, neighbour.copied().unwrap_or(Neighbour::Silent));
        }
    }

    /// Takes news of a neighbour.
    pub(crate) fn observe(&mut self, hop: Hop, neighbour: Neighbour) {
        let Some(known) = self.neighbours.get_mut(&hop) else {
            return;
        };
        match neighbour {
            Neighbour::Valid(mac) => {
                known.mac = Some(mac);
                known.silent = false;
            }
            Neighbour::Silent => known.silent = true,
        }
    }

    /// The neighbours of all targets, to be kept fresh.
    pub(crate) fn all(&self) -> Vec<Hop> {
        self.neighbours.keys().copied().collect()
    }

    /// The neighbours to be asked again soon.
    pub(crate) fn silent(&self) -> Vec<Hop> {
        self.neighbours
            .iter()
            .filter(|(_, known)| known.silent)
            .map(|(hop, _)| *hop)
            .collect()
    }

    /// When [`Self::changes`] may have something to say without any news.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.targets
            .values()
            .filter_map(|target| match target.patience {
                Patience::Until(end) => Some(end),
                Patience::Unneeded | Patience::Gone => None,
            })
            .min()
    }

    /// What is to be reported now: each target once, and again when it changes.
    pub(crate) fn changes(&mut self, now: Instant) -> Vec<NextHopEvent> {
        let mut events = Vec::new();
        for (address, target) in &mut self.targets {
            let choice = choose(*address, &target.route, &self.links, &self.neighbours);
            target.patience = match (&choice, target.patience) {
                (Ok(_) | Err(Obstacle::Final(_)), _) => Patience::Unneeded,
                (Err(Obstacle::Waiting(_)), Patience::Unneeded) => Patience::Until(now + GRACE),
                (Err(Obstacle::Waiting(_)), Patience::Until(end)) if now < end => continue,
                (Err(Obstacle::Waiting(_)), Patience::Until(_) | Patience::Gone) => Patience::Gone,
            };
            if matches!(target.patience, Patience::Until(_)) {
                continue;
            }
            let next_hop = choice.map_err(|obstacle| match obstacle {
                Obstacle::Waiting(reason) | Obstacle::Final(reason) => reason,
            });
            if target.reported.as_ref() != Some(&next_hop) {
                target.reported = Some(next_hop.clone());
                events.push(NextHopEvent {
                    address: *address,
                    next_hop,
                });
            }
        }
        events
    }

    fn hops(&self) -> impl Iterator<Item = Hop> {
        self.targets
            .values()
            .filter_map(|target| match target.route {
                Route::Via(hop) => Some(hop),
                Route::Local | Route::Unusable(_) | Route::None => None,
            })
    }
}

/// The next hop to a target, or why there is none.
fn choose(
    target: IpAddr,
    route: &Route,
    links: &BTreeMap<u32, Link>,
    neighbours: &BTreeMap<Hop, Known>,
) -> Result<NextHop, Obstacle> {
    let hop = match route {
        Route::Via(hop) => hop,
        Route::Local => return Err(Obstacle::Final("is an address of this host".to_owned())),
        Route::Unusable(what) => return Err(Obstacle::Final((*what).to_owned())),
        Route::None => return Err(Obstacle::Final(format!("no route to {target}"))),
    };
    let Some(link) = links.get(&hop.ifindex) else {
        return Err(Obstacle::Final(format!("no route to {target}")));
    };
    let Some(source) = link.mac else {
        let reason = format!("{} has no hardware address", link.name);
        return Err(Obstacle::Final(reason));
    };
    let Some(destination) = neighbours.get(hop).and_then(|known| known.mac) else {
        let question = match hop.address {
            IpAddr::V4(_) => "ARP",
            IpAddr::V6(_) => "neighbour discovery",
        };
        let reason = format!(
            "waiting for {question} from {} on {}",
            hop.address, link.name
        );
        return Err(Obstacle::Waiting(reason));
    };
    Ok(NextHop {
        ifindex: hop.ifindex,
        source,
        destination,
    })
}
