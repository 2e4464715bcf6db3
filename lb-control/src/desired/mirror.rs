//! What the tables of a standby should hold: what those of the leader do, with next hops of its own.
//! Whether they can: their sizes are this host's, and what comes from another host is looked at.

use super::ids::{range, room};
use crate::config::{BackendRef, Config, Limits, can_be_slots};
use crate::dataplane::Tables;
use crate::proto::next_hop::NextHop;
use lb_ebpf::abi::{Addr, Backend, BackendId, BackendState, Service};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Whether this host can have the tables of a leader, as they are.
///
/// Numbers and room are given by the leader, so it is not enough that there are as many here.
///
/// # Errors
///
/// Which limit to raise, or what no leader gives.
pub fn fits(leader: &Tables, limits: Limits) -> Result<(), String> {
    let too_small = |limit: &str, here: u32, needed: u64| {
        Err(format!(
            "limits.{limit} is {here}, where {needed} are needed: give both hosts the same limits"
        ))
    };
    // Numbers begin at 0, and that of no backend is 0.
    let services = leader.services.values();
    let numbers = services.clone().map(|service| u64::from(service.id) + 1);
    let needed = numbers.max().unwrap_or(0);
    if needed > u64::from(limits.services) {
        return too_small("services", limits.services, needed);
    }
    let numbers = leader.backends.keys().map(|id| u64::from(*id) + 1);
    let needed = numbers.max().unwrap_or(0).max(leader.reverse.len() as u64);
    if needed > u64::from(limits.backends) {
        return too_small("backends", limits.backends, needed);
    }
    if leader.backends.contains_key(&0) {
        return Err("a backend has the number 0, which is none: pair the hosts again".to_owned());
    }
    let mut services: Vec<&Service> = services.collect();
    services.sort_by_key(|service| service.first_slot);
    let mut free = 0;
    for service in services {
        let (first, end) = range(service);
        let makes_sense = can_be_slots(service.slot_count) && first % 2 == 0 && first >= free;
        if !makes_sense {
            return Err(format!(
                "service {} has the {} slots from {first} on, which no leader gives: pair the \
                 hosts again",
                service.id, service.slot_count
            ));
        }
        if end > room(limits) {
            let each = u64::from(room(limits) / limits.services.max(1));
            let needed = u64::from(end).div_ceil(each.max(1));
            return too_small("services", limits.services, needed);
        }
        free = end;
    }
    Ok(())
}

/// The tables of a standby. `leader` is without next hops; `now` is what the tables hold: what was
/// found last is good until another is found.
#[must_use]
pub fn mirrored(leader: &Tables, next_hops: &BTreeMap<IpAddr, NextHop>, now: &Tables) -> Tables {
    let mut tables = leader.clone();
    for (id, backend) in &mut tables.backends {
        let hop = next_hops.get(&IpAddr::from(backend.addr)).copied();
        let known = now.backends.get(id).filter(|known| {
            (known.addr, known.port) == (backend.addr, backend.port) && known.ifindex != 0
        });
        let hop = hop.or_else(|| {
            known.map(|known| NextHop {
                ifindex: known.ifindex,
                source: known.source,
                destination: known.next_hop,
            })
        });
        *backend = match hop {
            Some(hop) => Backend {
                ifindex: hop.ifindex,
                source: hop.source,
                next_hop: hop.destination,
                ..*backend
            },
            // Nothing can be sent to it.
            None if backend.is_alive() => Backend {
                state: BackendState::Unused as u8,
                ..*backend
            },
            None => *backend,
        };
    }
    tables
}

/// The numbers that the leader gave to the backends of a configuration.
#[must_use]
pub fn ids(config: &Config, tables: &Tables) -> BTreeMap<BackendRef, BackendId> {
    let by_address: BTreeMap<_, BackendId> = tables
        .backends
        .iter()
        .map(|(id, backend)| ((backend.service, backend.addr, backend.port), *id))
        .collect();
    let mut ids = BTreeMap::new();
    for (name, service) in &config.services {
        let Some(known) = tables.services.get(&super::service_key(&service.vip)) else {
            continue;
        };
        for (backend_name, backend) in &service.backends {
            let address = backend.address;
            let identity = (
                known.id,
                Addr::from(address.ip()),
                address.port().to_be_bytes(),
            );
            if let Some(id) = by_address.get(&identity) {
                ids.insert(BackendRef::new(name, backend_name), *id);
            }
        }
    }
    ids
}

#[cfg(test)]
mod tests {
    use super::{fits, mirrored};
    use crate::config::Limits;
    use crate::dataplane::Tables;
    use crate::proto::next_hop::NextHop;
    use bytemuck::Zeroable as _;
    use lb_ebpf::abi::{Addr, Backend, BackendState, Reverse, ReverseKey, Service, ServiceKey};
    use std::collections::BTreeMap;
    use std::net::Ipv4Addr;

    fn backend(n: u8, state: BackendState) -> Backend {
        Backend {
            addr: Addr::v4([10, 0, 2, n]),
            port: [0, 80],
            state: state as u8,
            ..Backend::default()
        }
    }

    #[test]
    fn a_standby_sends_by_its_own_interfaces() {
        let leader = Tables {
            backends: BTreeMap::from([
                (1, backend(1, BackendState::Alive)),
                (2, backend(2, BackendState::Alive)),
                (3, backend(3, BackendState::Alive)),
                (4, backend(4, BackendState::Dead)),
            ]),
            ..Tables::default()
        };
        let hop = |n| NextHop {
            ifindex: 7,
            source: [2, 0, 0, 0, 0, 9],
            destination: [2, 0, 0, 0, 0, n],
        };
        let hops = BTreeMap::from([(Ipv4Addr::new(10, 0, 2, 1).into(), hop(1))]);
        let found_before = Backend {
            ifindex: 8,
            next_hop: [2, 0, 0, 0, 0, 2],
            ..backend(2, BackendState::Dead)
        };
        // The same number was another's.
        let of_another = Backend {
            ifindex: 8,
            ..backend(9, BackendState::Alive)
        };
        let now = Tables {
            backends: BTreeMap::from([(2, found_before), (3, of_another)]),
            ..Tables::default()
        };
        let tables = mirrored(&leader, &hops, &now);
        let state = |id: u16| (tables.backends[&id].ifindex, tables.backends[&id].state);
        assert_eq!(state(1), (7, BackendState::Alive as u8));
        assert_eq!(state(2), (8, BackendState::Alive as u8));
        assert_eq!(state(3), (0, BackendState::Unused as u8));
        assert_eq!(state(4), (0, BackendState::Dead as u8));
        assert_eq!(tables.backends[&2].next_hop, [2, 0, 0, 0, 0, 2]);
    }

    const LIMITS: Limits = Limits {
        services: 2,
        backends: 16,
        flows: 1,
        records_per_second: 1,
    };

    /// With services of these numbers, first slots and slots.
    fn with_services(services: &[(u16, u32, u32)]) -> Tables {
        let service = |(n, &(id, first_slot, slot_count)): (usize, &(u16, u32, u32))| {
            let key = ServiceKey::tcp(Addr::v4([192, 0, 2, n as u8]), [0, 80]);
            let service = Service {
                hash_key: [1, 2],
                first_slot,
                slot_count,
                id,
                ..Service::zeroed()
            };
            (key, service)
        };
        Tables {
            services: services.iter().enumerate().map(service).collect(),
            ..Tables::default()
        }
    }

    #[test]
    fn what_a_leader_gives_fits_where_the_limits_are_the_same() {
        for services in [
            &[][..],
            &[(0, 0, 251)],
            &[(1, 65_538, 65_537), (0, 0, 65_537)],
            &[(1, 252, 251), (0, 0, 251)],
            &[(1, 131_076 - 252, 251)],
        ] {
            let mut tables = with_services(services);
            tables.backends = (1..16)
                .map(|id| (id, backend(1, BackendState::Alive)))
                .collect();
            assert_eq!(fits(&tables, LIMITS), Ok(()), "{services:?}");
        }
    }

    #[test]
    fn a_limit_that_is_too_small_is_named() {
        let needs = |tables: &Tables, limit: &str, needed: u32| {
            let reason = fits(tables, LIMITS).unwrap_err();
            let names = reason.contains(&format!("limits.{limit} is"));
            assert!(
                names && reason.contains(&format!("{needed} are")),
                "{reason}"
            );
        };
        let of = |id| Tables {
            backends: BTreeMap::from([(id, backend(1, BackendState::Alive))]),
            ..Tables::default()
        };
        needs(&of(16), "backends", 17);
        needs(&of(u16::MAX), "backends", 65_536);
        let reverse = |n| {
            let to = Reverse::new(Addr::v4([192, 0, 2, 1]), [0, 80], 1);
            (ReverseKey::tcp(Addr::v4([10, 0, 2, n]), [0, 80]), to)
        };
        let answers = Tables {
            reverse: (0..17).map(reverse).collect(),
            ..Tables::default()
        };
        needs(&answers, "backends", 17);
        needs(&with_services(&[(2, 0, 251)]), "services", 3);
        needs(&with_services(&[(u16::MAX, 0, 251)]), "services", 65_536);
        needs(&with_services(&[(1, 131_076 - 250, 251)]), "services", 3);
        needs(
            &with_services(&[(1, u32::MAX - 65_537, 65_537)]),
            "services",
            65_535,
        );
    }

    #[test]
    fn slots_that_no_leader_gives_are_refused() {
        for services in [
            // No prime, none, or too many.
            &[(0, 0, 252)][..],
            &[(0, 0, 0)],
            &[(0, 0, 65_539)],
            &[(0, 0, u32::MAX)],
            // No even one is the first.
            &[(0, 1, 251)],
            // Two have the same.
            &[(0, 0, 251), (1, 250, 251)],
            &[(0, 200, 65_537), (1, 100, 65_537)],
            &[(0, 0, 251), (1, 0, 251)],
        ] {
            let reason = fits(&with_services(services), LIMITS).unwrap_err();
            assert!(reason.contains("no leader gives"), "{services:?}: {reason}");
        }
        let nobody = Tables {
            backends: BTreeMap::from([(0, backend(1, BackendState::Alive))]),
            ..Tables::default()
        };
        assert!(fits(&nobody, LIMITS).unwrap_err().contains("number 0"));
    }
}
