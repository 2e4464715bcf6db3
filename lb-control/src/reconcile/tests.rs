use super::{Step, apply, plan};
use crate::dataplane::{Dataplane, Memory, Tables};
use lb_ebpf::abi::{Addr, Backend, BackendState, Reverse, ReverseKey, Service, ServiceKey, Slot};

const KEY: ServiceKey = ServiceKey::tcp(Addr::v4([192, 0, 2, 10]), [0, 80]);

fn tables(backends: &[u16], owner: u16) -> Tables {
    let mut tables = Tables::default();
    let service = Service {
        hash_key: [1, 2],
        first_slot: 0,
        slot_count: 251,
        id: 3,
        mode: 0,
        flags: 0,
        pad: [0; 4],
    };
    tables.services.insert(KEY, service);
    for &id in backends {
        let backend = Backend {
            ifindex: 2,
            addr: Addr::v4([10, 0, 0, id as u8]),
            port: [0, 80],
            state: BackendState::Alive as u8,
            service: 3,
            ..Backend::default()
        };
        tables.backends.insert(id, backend);
        tables.reverse.insert(
            ReverseKey::tcp(backend.addr, backend.port),
            Reverse::new(KEY.vip, KEY.port, id),
        );
    }
    tables.slots.insert(3, vec![Slot::clean(owner); 251]);
    tables
}

#[test]
fn nothing_changes_where_nothing_differs() {
    assert_eq!(plan(&tables(&[1, 2], 1), &tables(&[1, 2], 1)), []);
}

#[test]
fn backends_come_before_the_slots_that_name_them_and_go_after() {
    let steps = plan(&tables(&[1], 1), &tables(&[2], 2));
    let position = |wanted: fn(&Step) -> bool| steps.iter().position(wanted);
    let (set, slot, removed) = (
        position(|step| matches!(step, Step::SetBackend(2, _))),
        position(|step| matches!(step, Step::SetSlot(..))),
        position(|step| matches!(step, Step::RemoveBackend(1))),
    );
    assert!(set < slot && slot < removed && set.is_some());
}

#[test]
fn a_service_is_announced_when_its_slots_are_filled() {
    let steps = plan(&Tables::default(), &tables(&[1], 1));
    assert!(matches!(steps.last(), Some(Step::SetService(..))));
    assert_eq!(
        steps
            .iter()
            .filter(|step| matches!(step, Step::SetSlot(..)))
            .count(),
        251
    );
}

#[test]
fn a_failed_write_is_made_good_by_the_next_plan() {
    let (before, after) = (tables(&[1], 1), tables(&[1, 2], 2));
    let writes = plan(&before, &after).len() as u32;
    for failing in 0..writes {
        let mut memory = Memory::default();
        apply(&mut memory, &plan(&Tables::default(), &before)).unwrap();
        memory.writes_until_failure = Some(failing);
        apply(&mut memory, &plan(&before, &after)).unwrap_err();
        let steps = plan(&memory.read().unwrap(), &after);
        apply(&mut memory, &steps).unwrap();
        assert_eq!(memory.read().unwrap(), after);
    }
}
