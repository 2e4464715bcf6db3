//! The world that every case happens in: a service for each dialect, their backends, and where clients
//! are.

use crate::dialect::Dialect;
use crate::packet::{Endpoint, v4};
use lb_ebpf::abi::{Backend, BackendId, BackendState, Mac, Mode, Reverse, ReverseKey, Service};

pub(crate) const VIP: Endpoint = v4([192, 0, 2, 10], 80);
pub(crate) const SLOTS: u32 = 251;

/// A client whose neighbour entry is there.
pub(crate) const CLIENT: Endpoint = v4([198, 51, 100, 10], 40_000);
pub(crate) const CLIENT_MAC: Mac = [2, 0, 0, 0, 1, 0x10];
/// A client on a network of ours that nobody has asked for yet.
pub(crate) const NEW_CLIENT: Endpoint = v4([198, 51, 100, 20], 40_000);
/// An address of this host.
pub(crate) const OURSELVES: Endpoint = v4([198, 51, 100, 1], 40_000);
/// An address that no route leads to.
pub(crate) const NOWHERE: Endpoint = v4([203, 0, 113, 9], 40_000);

/// The interface towards clients.
pub(crate) const CLIENTS: u32 = 11;
pub(crate) const CLIENTS_MAC: Mac = [2, 0, 0, 0, 1, 1];
/// The interface towards backends.
pub(crate) const SERVERS: u32 = 13;
pub(crate) const SERVERS_MAC: Mac = [2, 0, 0, 0, 2, 1];

/// A backend behind the interface towards backends.
pub(crate) const WEB1: BackendId = 1;
pub(crate) const WEB1_AT: Endpoint = v4([10, 0, 2, 11], 8080);
pub(crate) const WEB1_MAC: Mac = [2, 0, 0, 0, 2, 0x11];
/// Another.
pub(crate) const WEB2: BackendId = 2;
pub(crate) const WEB2_AT: Endpoint = v4([10, 0, 2, 12], 80);
pub(crate) const WEB2_MAC: Mac = [2, 0, 0, 0, 2, 0x12];
/// One on the clients' side: the load balancer has one arm for it.
pub(crate) const ONE_ARM: BackendId = 3;
pub(crate) const ONE_ARM_AT: Endpoint = v4([198, 51, 100, 30], 8080);
pub(crate) const ONE_ARM_MAC: Mac = [2, 0, 0, 0, 1, 0x30];
/// One that died.
pub(crate) const DEAD: BackendId = 4;
pub(crate) const DEAD_AT: Endpoint = v4([10, 0, 2, 14], 80);

/// What all services have in common: they differ in their ids.
pub(crate) const SERVICE: Service = Service {
    hash_key: [0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210],
    first_slot: 0,
    slot_count: SLOTS,
    id: 1,
    mode: Mode::Nat as u8,
    flags: 0,
    pad: [0; 4],
};

/// Backends by id, in the addresses of a dialect, and the ways back from them.
pub(crate) fn backends(d: Dialect) -> Vec<(BackendId, Backend, ReverseKey, Reverse)> {
    let alive = BackendState::Alive;
    [
        (WEB1, WEB1_AT, (SERVERS, WEB1_MAC, SERVERS_MAC), alive),
        (WEB2, WEB2_AT, (SERVERS, WEB2_MAC, SERVERS_MAC), alive),
        (
            ONE_ARM,
            ONE_ARM_AT,
            (CLIENTS, ONE_ARM_MAC, CLIENTS_MAC),
            alive,
        ),
        (
            DEAD,
            DEAD_AT,
            (SERVERS, [2, 0, 0, 0, 2, 0x14], SERVERS_MAC),
            BackendState::Dead,
        ),
    ]
    .map(|(id, at, (ifindex, next_hop, source), state)| {
        let (addr, port) = d.endpoint(at);
        let (vip, vip_port) = d.vip();
        let backend = Backend {
            ifindex,
            addr: addr.into(),
            port: port.to_be_bytes(),
            next_hop,
            source,
            service: SERVICE.id,
            state: state as u8,
            ..Backend::default()
        };
        let seen_as = Reverse::new(vip.into(), vip_port.to_be_bytes(), id);
        let key = ReverseKey::new(backend.addr, backend.port, d.proto());
        (id, backend, key, seen_as)
    })
    .to_vec()
}
