//! What the tables of a standby should hold: what those of the leader do, with next hops of its own.

use crate::config::{BackendRef, Config};
use crate::dataplane::Tables;
use crate::proto::next_hop::NextHop;
use lb_ebpf::abi::{Backend, BackendId, BackendState};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// The tables of a standby. `leader` is without next hops; `now` is what the tables hold: what was
/// found last is good until another is found.
#[must_use]
pub fn mirrored(leader: &Tables, next_hops: &BTreeMap<Ipv4Addr, NextHop>, now: &Tables) -> Tables {
    let mut tables = leader.clone();
    for (id, backend) in &mut tables.backends {
        let hop = next_hops.get(&Ipv4Addr::from(backend.addr)).copied();
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
        let Some(known) = tables.services.get(&super::service_key(service.vip)) else {
            continue;
        };
        for (backend_name, backend) in &service.backends {
            let address = backend.address;
            let identity = (
                known.id,
                address.ip().octets(),
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
    use super::mirrored;
    use crate::dataplane::Tables;
    use crate::proto::next_hop::NextHop;
    use lb_ebpf::abi::{Backend, BackendState};
    use std::collections::BTreeMap;
    use std::net::Ipv4Addr;

    fn backend(n: u8, state: BackendState) -> Backend {
        Backend {
            addr: [10, 0, 2, n],
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
        let hops = BTreeMap::from([(Ipv4Addr::new(10, 0, 2, 1), hop(1))]);
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
}
