//! What the tables should hold: a pure function of the configuration, the state of the backends,
//! and what the tables hold now.
//!
//! What they hold now matters twice. Ids stay what they are: a backend is recognised by its
//! service, address and port, so a new lbd finds its way in the tables of the old one. And slots
//! remember their old owners ([`slots`]).

mod ids;
pub mod maglev;
pub mod mirror;
pub mod slots;
pub mod sweep;
#[cfg(test)]
mod tests;

use crate::config::{
    Admin, Backend as WantedBackend, BackendRef, Config, Name, Protocol, Service as WantedService,
    Vip,
};
use crate::dataplane::Tables;
use crate::proto::next_hop::NextHop;
use lb_ebpf::abi::{
    Addr, Backend, BackendId, BackendState, Family, Feature, Features, Mode, Reverse, ReverseKey,
    Service, ServiceId, ServiceKey, Slot, proto,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

/// What is known of the world, apart from the configuration.
#[derive(Clone, Debug, Default)]
pub struct World {
    /// Which backends are up, according to their checks. Absent: not known yet.
    pub up: BTreeMap<BackendRef, bool>,
    /// Those of them that are down, and yet finish the connections that they have.
    pub finishing: BTreeSet<BackendRef>,
    /// Their next hops.
    pub next_hops: BTreeMap<IpAddr, NextHop>,
    /// Addresses that have none, and why.
    pub unreachable: BTreeMap<IpAddr, String>,
    /// Services whose checks are not believed: all backends failed together, and these go on.
    pub panics: BTreeMap<Name, BTreeSet<BackendRef>>,
    /// Backends that left the configuration by force: their connections are cut.
    pub cut: BTreeSet<BackendId>,
    /// A secret that services' hash keys are made from.
    pub secret: [u64; 2],
    /// The backend and service ids that were given last, so that ids are reused late.
    pub last_ids: (BackendId, ServiceId),
}

/// What the tables should hold, and how that was decided.
#[derive(Clone, Debug, Default)]
pub struct Desired {
    /// The tables.
    pub tables: Tables,
    /// The ids of the backends in the configuration.
    pub ids: BTreeMap<BackendRef, BackendId>,
    /// The ids that were given last.
    pub last_ids: (BackendId, ServiceId),
}

/// Why there is no way to fulfil a configuration.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// Backends that drain count, too.
    #[error("all {0} backend ids are in use: wait for draining backends, or raise limits.backends")]
    Backends(u32),
    /// All ids are in use.
    #[error("all {0} service ids are in use: raise limits.services")]
    Services(u32),
    /// No gap is large enough.
    #[error("no room for {0} slots of another service: raise limits.services")]
    Slots(u32),
}

/// The key by which the program finds a service.
#[must_use]
pub fn service_key(vip: &Vip) -> ServiceKey {
    let proto = proto_of(vip.protocol);
    ServiceKey::new(vip.ip().into(), vip.port().to_be_bytes(), proto)
}

const fn proto_of(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => proto::TCP,
        Protocol::Udp => proto::UDP,
    }
}

/// The parts of the program that these services need.
#[must_use]
pub fn features<'k>(services: impl IntoIterator<Item = &'k ServiceKey>) -> Features {
    let mut features = Features::NONE;
    for key in services {
        if key.vip.family() == Family::V6 {
            features = features.with(Feature::Ipv6);
        }
        if key.proto == proto::UDP {
            features = features.with(Feature::Udp);
        }
    }
    features
}

/// Works out what the tables should hold.
pub fn desired(config: &Config, world: &World, now: &Tables) -> Result<Desired, Full> {
    desired_with(&mut maglev::Built::default(), config, world, now)
}

/// Like [`desired()`], for who asks again and again: `built` spares work, and changes no result.
pub fn desired_with(
    built: &mut maglev::Built,
    config: &Config,
    world: &World,
    now: &Tables,
) -> Result<Desired, Full> {
    let mut result = Desired {
        last_ids: world.last_ids,
        ..Desired::default()
    };
    let mut ids = ids::Ids::new(now, config.limits, world.last_ids);
    for (name, wanted) in &config.services {
        let key = service_key(&wanted.vip);
        let service = match now
            .services
            .get(&key)
            .filter(|s| s.slot_count == wanted.slots)
        {
            Some(service) => Service {
                flags: flags(wanted),
                ..*service
            },
            None => new_service(&mut ids, &key, wanted, world.secret)?,
        };
        result.tables.services.insert(key, service);
        backends(
            &mut result,
            &mut ids,
            built,
            world,
            now,
            (name, wanted),
            (&key, &service),
        )?;
    }
    result.last_ids = ids.last();
    built.retain(|service| result.tables.slots.contains_key(&service));
    Ok(result)
}

fn new_service(
    ids: &mut ids::Ids,
    key: &ServiceKey,
    wanted: &WantedService,
    secret: [u64; 2],
) -> Result<Service, Full> {
    let (id, first_slot) = ids.service(wanted.slots)?;
    let [high, low] = key.vip.words();
    let [p, q] = key.port;
    let words = [
        high,
        low,
        u64::from_ne_bytes([p, q, key.proto, 0, 0, 0, 0, 0]),
    ];
    let derive = |half| lb_ebpf::hash::keyed([secret[0] ^ half, secret[1]], words);
    Ok(Service {
        hash_key: [derive(0), derive(1)],
        first_slot,
        slot_count: wanted.slots,
        id,
        mode: Mode::Nat as u8,
        flags: flags(wanted),
        pad: [0; 4],
    })
}

const fn flags(wanted: &WantedService) -> u8 {
    if wanted.tracked {
        0
    } else {
        Service::UNTRACKED
    }
}

/// A backend of the configuration, and what is known of it.
struct Candidate {
    id: BackendId,
    address: SocketAddr,
    weight: u16,
    hop: Option<NextHop>,
    /// Whether it is to get new connections.
    serves: bool,
    /// Whether its connections are lost.
    dead: bool,
}

/// Works out a service's backends and slots.
fn backends(
    result: &mut Desired,
    ids: &mut ids::Ids,
    built: &mut maglev::Built,
    world: &World,
    now: &Tables,
    (name, wanted): (&Name, &WantedService),
    (key, service): (&ServiceKey, &Service),
) -> Result<(), Full> {
    let empty = vec![Slot::EMPTY; wanted.slots as usize];
    let slots = now
        .slots
        .get(&service.id)
        .filter(|s| s.len() == empty.len())
        .unwrap_or(&empty);
    let panic = world.panics.get(name);
    let mut candidates = Vec::new();
    for (backend_name, backend) in &wanted.backends {
        let backend_ref = BackendRef {
            service: name.clone(),
            backend: backend_name.clone(),
        };
        let id = ids.backend(service.id, backend.address)?;
        candidates.push(candidate(world, now, (&backend_ref, backend), id, panic));
        result.ids.insert(backend_ref, id);
    }
    // At the very first, wait until something is known of every backend. Otherwise the first one
    // that is up would get all slots, and nearly all of them would change again at once.
    let mut wanted_backends = wanted.backends.iter();
    let fresh = slots.iter().all(|slot| *slot == Slot::EMPTY);
    if fresh && wanted_backends.any(|(backend, it)| is_undecided(world, name, backend, it)) {
        for candidate in &mut candidates {
            candidate.serves = false;
        }
    }

    enter(&mut result.tables, now, world, &candidates, (key, service));
    let serving = || candidates.iter().filter(|candidate| candidate.serves);
    let members: Vec<_> = serving()
        .map(|candidate| maglev::Member {
            id: candidate.id,
            identity: identity(candidate.address),
            weight: candidate.weight,
        })
        .collect();
    // In a panic slots go back to whom they belonged to, as if nothing had been.
    let forgotten = |id| panic.is_some() && serving().any(|candidate| candidate.id == id);
    let entries = &result.tables.backends;
    let keeps = |id| entries.get(&id).is_some_and(Backend::is_alive) && !forgotten(id);
    let table = built.table(service.id, wanted.slots, &members);
    let slots = slots.iter().zip(table);
    let slots = slots.map(|(slot, &owner)| slots::assign(*slot, owner, keeps));
    let slots = slots.collect();
    result.tables.slots.insert(service.id, slots);
    Ok(())
}

fn candidate(
    world: &World,
    now: &Tables,
    (name, backend): (&BackendRef, &WantedBackend),
    id: BackendId,
    panic: Option<&BTreeSet<BackendRef>>,
) -> Candidate {
    let known = now.backends.get(&id).filter(|known| known.ifindex != 0);
    let hop = world.next_hops.get(&backend.address.ip()).copied();
    // Until it is resolved anew, the next hop that was found last is good.
    let hop = hop.or_else(|| {
        known.map(|known| NextHop {
            ifindex: known.ifindex,
            source: known.source,
            destination: known.next_hop,
        })
    });
    let up = world.up.get(name).copied();
    let goes_on = panic.is_some_and(|going_on| going_on.contains(name));
    let reachable = !world.unreachable.contains_key(&backend.address.ip());
    let fit = goes_on || (up == Some(true) && reachable);
    let serves = backend.admin == Admin::Ready && hop.is_some() && fit;
    Candidate {
        id,
        address: backend.address,
        weight: backend.weight,
        hop,
        serves,
        dead: up == Some(false) && !fit && !(reachable && world.finishing.contains(name)),
    }
}

/// Enters a service's backends, and those that left the configuration and finish their connections.
fn enter(
    tables: &mut Tables,
    now: &Tables,
    world: &World,
    candidates: &[Candidate],
    (key, service): (&ServiceKey, &Service),
) {
    let seen_as = |backend| Reverse::new(key.vip, key.port, backend);
    for candidate in candidates {
        let entry = entry(service.id, candidate);
        tables.backends.insert(candidate.id, entry);
        let answers = seen_as(candidate.id);
        tables
            .reverse
            .insert(reverse_key(&entry, key.proto), answers);
    }
    for (&id, leaving) in &now.backends {
        if leaving.service != service.id || candidates.iter().any(|it| it.id == id) || id == 0 {
            continue;
        }
        let mut entry = *leaving;
        if world.cut.contains(&id) {
            entry.state = BackendState::Dead as u8;
        }
        tables.backends.insert(id, entry);
        let mut addresses = candidates.iter().map(|candidate| candidate.address);
        if !addresses.any(|address| same_address(&entry, address)) {
            tables
                .reverse
                .insert(reverse_key(&entry, key.proto), seen_as(id));
        }
    }
}

/// Whether a backend may yet turn out to be fit. Checks and ARP or
/// neighbour discovery come to an end.
fn is_undecided(world: &World, service: &Name, name: &Name, backend: &WantedBackend) -> bool {
    let backend_ref = BackendRef {
        service: service.clone(),
        backend: name.clone(),
    };
    let address = backend.address.ip();
    let resolved =
        world.next_hops.contains_key(&address) || world.unreachable.contains_key(&address);
    backend.admin == Admin::Ready && !(resolved && world.up.contains_key(&backend_ref))
}

fn entry(service: ServiceId, candidate: &Candidate) -> Backend {
    let Candidate { address, hop, .. } = candidate;
    let state = match (candidate.dead, hop) {
        (true, _) => BackendState::Dead,
        (false, Some(_)) => BackendState::Alive,
        // Nothing can be sent to it; nothing is.
        (false, None) => BackendState::Unused,
    };
    Backend {
        ifindex: hop.map_or(0, |hop| hop.ifindex),
        addr: address.ip().into(),
        port: address.port().to_be_bytes(),
        next_hop: hop.map_or([0; 6], |hop| hop.destination),
        source: hop.map_or([0; 6], |hop| hop.source),
        service,
        state: state as u8,
        ..Backend::default()
    }
}

/// The key by which a backend's answers are found, to clients that speak this protocol.
#[must_use]
pub fn reverse_key(backend: &Backend, proto: u8) -> ReverseKey {
    ReverseKey::new(backend.addr, backend.port, proto)
}

fn same_address(backend: &Backend, address: SocketAddr) -> bool {
    backend.addr == address.ip().into() && backend.port == address.port().to_be_bytes()
}

/// What a backend is recognised by, also by another load balancer: its address and port.
fn identity(address: SocketAddr) -> u64 {
    match address.ip() {
        IpAddr::V4(ip) => u64::from(u32::from(ip)) << 16 | u64::from(address.port()),
        IpAddr::V6(ip) => {
            let [high, low] = Addr::from(ip).words();
            lb_ebpf::hash::keyed(IDENTITY_KEY, [high, low, address.port().into()])
        }
    }
}

/// Of the hash that makes a number of an address of IPv6. Any would do, but all load balancers must
/// use the same.
const IDENTITY_KEY: [u64; 2] = [0x6964_656e_7469_7479, 0];
