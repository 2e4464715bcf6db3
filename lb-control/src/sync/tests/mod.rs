mod delta;
mod flows;
mod leave;
mod message;
mod mutated;
pub(crate) mod network;
mod release;
mod schedules;
mod session;

use crate::dataplane::Tables;
use lb_ebpf::abi::{Addr, Backend, Reverse, ReverseKey, Service, ServiceId, ServiceKey, Slot};

/// A service to be put into tables: its number among the addresses, its id, and its slots, as pairs
/// of owners.
type Sketch<'a> = (u8, ServiceId, &'a [(u16, u16)]);

/// Tables with these services, and a backend for each owner of a slot. `host` is where next hops
/// are known from.
fn tables(sketch: &[Sketch<'_>], host: u8) -> Tables {
    let mut tables = Tables::default();
    for (number, id, slots) in sketch {
        let key = ServiceKey::tcp(Addr::v4([192, 0, 2, *number]), [0, 80]);
        let service = Service {
            hash_key: [u64::from(*number), 7],
            first_slot: u32::from(*id) * 100,
            slot_count: slots.len() as u32,
            id: *id,
            mode: 0,
            flags: 0,
            pad: [0; 4],
        };
        tables.services.insert(key, service);
        for (current, previous) in *slots {
            for owner in [*current, *previous] {
                let addr = Addr::v4([10, 0, (owner >> 8) as u8, owner as u8]);
                let backend = Backend {
                    ifindex: host.into(),
                    addr,
                    port: [31, 144],
                    next_hop: [host; 6],
                    source: [host; 6],
                    service: *id,
                    state: 1,
                    ..Backend::default()
                };
                let reverse = Reverse::new(key.vip, key.port, owner);
                if owner != 0 {
                    tables.backends.insert(owner, backend);
                    let key = ReverseKey::tcp(addr, backend.port);
                    tables.reverse.insert(key, reverse);
                }
            }
        }
        let slot = |(current, previous): &(u16, u16)| Slot {
            current: *current,
            previous: *previous,
        };
        tables.slots.insert(*id, slots.iter().map(slot).collect());
    }
    tables
}
