//! The world that every case happens in: one service, its backends, and where clients are.

use lb_ebpf::abi::{
    Backend, BackendId, BackendState, FlowKey, Mac, Reverse, ReverseKey, Service, ServiceKey,
};

/// An address and a port.
pub(crate) type Endpoint = ([u8; 4], u16);

pub(crate) const VIP: Endpoint = ([192, 0, 2, 10], 80);
pub(crate) const SLOTS: u32 = 251;

/// A client whose neighbour entry is there.
pub(crate) const CLIENT: Endpoint = ([198, 51, 100, 10], 40_000);
pub(crate) const CLIENT_MAC: Mac = [2, 0, 0, 0, 1, 0x10];
/// A client on a network of ours that nobody has asked for yet.
pub(crate) const NEW_CLIENT: Endpoint = ([198, 51, 100, 20], 40_000);
/// An address of this host.
pub(crate) const OURSELVES: Endpoint = ([198, 51, 100, 1], 40_000);
/// An address that no route leads to.
pub(crate) const NOWHERE: Endpoint = ([203, 0, 113, 9], 40_000);

/// The interface towards clients.
pub(crate) const CLIENTS: u32 = 11;
pub(crate) const CLIENTS_MAC: Mac = [2, 0, 0, 0, 1, 1];
/// The interface towards backends.
pub(crate) const SERVERS: u32 = 13;
pub(crate) const SERVERS_MAC: Mac = [2, 0, 0, 0, 2, 1];

/// A backend behind the interface towards backends.
pub(crate) const WEB1: BackendId = 1;
pub(crate) const WEB1_AT: Endpoint = ([10, 0, 2, 11], 8080);
pub(crate) const WEB1_MAC: Mac = [2, 0, 0, 0, 2, 0x11];
/// Another.
pub(crate) const WEB2: BackendId = 2;
pub(crate) const WEB2_AT: Endpoint = ([10, 0, 2, 12], 80);
pub(crate) const WEB2_MAC: Mac = [2, 0, 0, 0, 2, 0x12];
/// One on the clients' side: the load balancer has one arm for it.
pub(crate) const ONE_ARM: BackendId = 3;
pub(crate) const ONE_ARM_AT: Endpoint = ([198, 51, 100, 30], 8080);
pub(crate) const ONE_ARM_MAC: Mac = [2, 0, 0, 0, 1, 0x30];
/// One that died.
pub(crate) const DEAD: BackendId = 4;
pub(crate) const DEAD_AT: Endpoint = ([10, 0, 2, 14], 80);

pub(crate) const SERVICE: Service = Service {
    hash_key: [0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210],
    first_slot: 0,
    slot_count: SLOTS,
    id: 1,
    pad: [0; 3],
};

pub(crate) const FLOW: FlowKey = FlowKey {
    client: CLIENT.0,
    client_port: CLIENT.1.to_be_bytes(),
    service: SERVICE.id,
};

pub(crate) fn service_key() -> ServiceKey {
    ServiceKey::tcp(VIP.0, VIP.1.to_be_bytes())
}

/// Backends by id, and the ways back from them.
pub(crate) fn backends() -> Vec<(BackendId, Backend, ReverseKey, Reverse)> {
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
    .map(|(id, (addr, port), (ifindex, next_hop, source), state)| {
        let port = port.to_be_bytes();
        let backend = Backend {
            ifindex,
            addr,
            port,
            next_hop,
            source,
            service: SERVICE.id,
            state: state as u8,
            pad: [0; 7],
        };
        let seen_as = Reverse {
            vip: VIP.0,
            port: VIP.1.to_be_bytes(),
            backend: id,
        };
        (id, backend, ReverseKey::tcp(addr, port), seen_as)
    })
    .to_vec()
}
