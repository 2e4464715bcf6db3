//! What the tables should hold: a pure function of the configuration, the state of the backends,
//! and what the tables hold now.
//!
//! What they hold now matters twice. Ids stay what they are: a backend is recognised by its
//! service, address and port, so a new lbd finds its way in the tables of the old one. And slots
//! remember their old owners ([`slots`]).

mod ids;
pub mod maglev;
pub mod slots;
pub mod sweep;
#[cfg(test)]
mod tests;

use crate::config::{
    Admin, Backend as WantedBackend, BackendRef, Config, Name, Service as WantedService,
};
use crate::dataplane::Tables;
use crate::shell::next_hop::NextHop;
use lb_ebpf::abi::{
    Backend, BackendId, BackendState, Reverse, ReverseKey, Service, ServiceId, ServiceKey, Slot,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddrV4};

/// What is known of the world, apart from the configuration.
#[derive(Clone, Debug, Default)]
pub struct World {
    /// Which backends are up, according to their checks. Absent: not known yet.
    pub up: BTreeMap<BackendRef, bool>,
    /// The ways to them.
    pub next_hops: BTreeMap<Ipv4Addr, NextHop>,
    /// Those to which there is none, and why.
    pub unreachable: BTreeMap<Ipv4Addr, String>,
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
    /// Services none of whose backends is up: the last ones are kept.
    pub kept: BTreeSet<Name>,
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
pub fn service_key(vip: SocketAddrV4) -> ServiceKey {
    ServiceKey::tcp(vip.ip().octets(), vip.port().to_be_bytes())
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
        let key = service_key(wanted.vip);
        let service = match now
            .services
            .get(&key)
            .filter(|s| s.slot_count == wanted.slots)
        {
            Some(service) => *service,
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
    let [a, b, c, d] = key.vip;
    let [p, q] = key.port;
    let word = u64::from_ne_bytes([a, b, c, d, p, q, key.proto, 0]);
    let derive = |half| lb_ebpf::hash::keyed([secret[0] ^ half, secret[1]], word);
    Ok(Service {
        hash_key: [derive(0), derive(1)],
        first_slot,
        slot_count: wanted.slots,
        id,
        pad: [0; 3],
    })
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
    let seen_as = |backend| Reverse {
        vip: key.vip,
        port: key.port,
        backend,
    };
    let empty = vec![Slot::EMPTY; wanted.slots as usize];
    let slots = now
        .slots
        .get(&service.id)
        .filter(|s| s.len() == empty.len())
        .unwrap_or(&empty);
    let owners: BTreeSet<BackendId> = slots.iter().map(|slot| slot.current).collect();

    // Who is there, who is up, who has served till now.
    let mut healthy = Vec::new();
    let mut last = Vec::new();
    let mut configured = BTreeMap::new();
    for (backend_name, backend) in &wanted.backends {
        let backend_ref = BackendRef {
            service: name.clone(),
            backend: backend_name.clone(),
        };
        let id = ids.backend(service.id, backend.address)?;
        let known = now.backends.get(&id).filter(|known| known.ifindex != 0);
        let hop = world
            .next_hops
            .get(backend.address.ip())
            .copied()
            .or_else(|| {
                // Until it is resolved anew, the way that the last lbd found is good.
                known.map(|b| NextHop {
                    ifindex: b.ifindex,
                    source: b.source,
                    destination: b.next_hop,
                })
            });
        let up = world.up.get(&backend_ref).copied();
        if backend.admin == Admin::Ready && hop.is_some() {
            let member = maglev::Member {
                id,
                identity: identity(backend.address),
                weight: backend.weight,
            };
            if up == Some(true) {
                healthy.push(member);
            } else if owners.contains(&id) {
                last.push(member);
            }
        }
        result.ids.insert(backend_ref, id);
        configured.insert(id, (backend.address, hop, up));
    }
    // At the very first, wait until something is known of every backend. Otherwise the first one
    // that is up would get all slots, and nearly all of them would change again at once.
    let fresh = slots.iter().all(|slot| *slot == Slot::EMPTY);
    if fresh
        && wanted
            .backends
            .iter()
            .any(|(backend, it)| is_undecided(world, name, backend, it))
    {
        healthy.clear();
    }
    let keep = healthy.is_empty() && !last.is_empty();
    if keep {
        result.kept.insert(name.clone());
    }
    let members = if keep { last } else { healthy };

    // What the program knows of each.
    for (&id, &(address, hop, up)) in &configured {
        let serves = members.iter().any(|member| member.id == id);
        let dead = up == Some(false) && !serves;
        let entry = entry(service.id, address, hop, dead);
        result.tables.backends.insert(id, entry);
        result
            .tables
            .reverse
            .insert(reverse_key(&entry), seen_as(id));
    }
    // Backends that left the configuration finish their connections.
    for (&id, leaving) in &now.backends {
        if leaving.service != service.id || configured.contains_key(&id) || id == 0 {
            continue;
        }
        let mut entry = *leaving;
        if world.cut.contains(&id) {
            entry.state = BackendState::Dead as u8;
        }
        result.tables.backends.insert(id, entry);
        let taken = configured
            .values()
            .any(|&(address, ..)| same_address(&entry, address));
        if !taken {
            result
                .tables
                .reverse
                .insert(reverse_key(&entry), seen_as(id));
        }
    }

    let alive = |id: BackendId| {
        result
            .tables
            .backends
            .get(&id)
            .is_some_and(Backend::is_alive)
    };
    let table = built.table(service.id, wanted.slots, &members);
    let slots = slots
        .iter()
        .zip(table)
        .map(|(slot, &owner)| slots::assign(*slot, owner, alive));
    let slots = slots.collect();
    result.tables.slots.insert(service.id, slots);
    Ok(())
}

/// Whether a backend may yet turn out to be fit. Checks and ARP both come to an end.
fn is_undecided(world: &World, service: &Name, name: &Name, backend: &WantedBackend) -> bool {
    let backend_ref = BackendRef {
        service: service.clone(),
        backend: name.clone(),
    };
    let address = backend.address.ip();
    let way = world.next_hops.contains_key(address) || world.unreachable.contains_key(address);
    backend.admin == Admin::Ready && !(way && world.up.contains_key(&backend_ref))
}

fn entry(service: ServiceId, address: SocketAddrV4, hop: Option<NextHop>, dead: bool) -> Backend {
    let state = match (dead, hop) {
        (true, _) => BackendState::Dead,
        (false, Some(_)) => BackendState::Alive,
        // Nothing can be sent to it; nothing is.
        (false, None) => BackendState::Unused,
    };
    Backend {
        ifindex: hop.map_or(0, |hop| hop.ifindex),
        addr: address.ip().octets(),
        port: address.port().to_be_bytes(),
        next_hop: hop.map_or([0; 6], |hop| hop.destination),
        source: hop.map_or([0; 6], |hop| hop.source),
        service,
        state: state as u8,
        pad: [0; 7],
    }
}

/// The key by which a backend's answers are found.
#[must_use]
pub fn reverse_key(backend: &Backend) -> ReverseKey {
    ReverseKey::tcp(backend.addr, backend.port)
}

fn same_address(backend: &Backend, address: SocketAddrV4) -> bool {
    backend.addr == address.ip().octets() && backend.port == address.port().to_be_bytes()
}

/// What a backend is recognised by, also by another load balancer: its address and port.
fn identity(address: SocketAddrV4) -> u64 {
    u64::from(u32::from(*address.ip())) << 16 | u64::from(address.port())
}
