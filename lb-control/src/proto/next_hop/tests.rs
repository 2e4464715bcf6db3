use super::neighbourhood::{Hop, Link, Neighbour, Neighbourhood, Route, Snapshot};
use super::{NextHop, NextHopEvent};
use lb_ebpf::abi::Mac;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

const ETH1: u32 = 3;
const ETH1_MAC: Mac = [2, 0, 0, 0, 1, 1];
const WEB1: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 2, 11));
const FAR: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 9, 9, 9));
const ROUTER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 2, 1));
const ONE: Mac = [2, 0, 0, 0, 2, 11];
const OTHER: Mac = [2, 0, 0, 0, 2, 99];
const GRACE: Duration = Duration::from_millis(200);

const fn on_eth1(address: IpAddr) -> Hop {
    Hop {
        ifindex: ETH1,
        address,
    }
}

fn snapshot<const R: usize, const N: usize>(
    routes: [(IpAddr, Route); R],
    neighbours: [(IpAddr, Neighbour); N],
) -> Snapshot {
    let eth1 = Link {
        name: "eth1".into(),
        mac: Some(ETH1_MAC),
    };
    let wg0 = Link {
        name: "wg0".into(),
        mac: None,
    };
    Snapshot {
        links: BTreeMap::from([(ETH1, eth1), (4, wg0)]),
        routes: BTreeMap::from(routes),
        neighbours: neighbours
            .map(|(address, neighbour)| (on_eth1(address), neighbour))
            .into(),
    }
}

fn way(address: IpAddr, destination: Mac) -> NextHopEvent {
    let next_hop = Ok(NextHop {
        ifindex: ETH1,
        source: ETH1_MAC,
        destination,
    });
    NextHopEvent { address, next_hop }
}

fn none(address: IpAddr, reason: &str) -> NextHopEvent {
    let next_hop = Err(reason.to_owned());
    NextHopEvent { address, next_hop }
}

/// A neighbourhood in which web1 has answered, which was reported.
fn resolved(now: Instant) -> Neighbourhood {
    let mut it = Neighbourhood::default();
    let direct = (WEB1, Route::Via(on_eth1(WEB1)));
    it.replace(snapshot([direct], [(WEB1, Neighbour::Valid(ONE))]));
    assert_eq!(it.changes(now), [way(WEB1, ONE)]);
    it
}

#[test]
fn what_each_route_leads_to() {
    let now = Instant::now();
    let wg0 = Hop {
        ifindex: 4,
        address: WEB1,
    };
    let gone = Hop {
        ifindex: 5,
        address: WEB1,
    };
    for (route, expected) in [
        (Route::Via(on_eth1(WEB1)), way(WEB1, ONE)),
        (Route::Via(on_eth1(ROUTER)), way(WEB1, OTHER)),
        (Route::Via(wg0), none(WEB1, "wg0 has no hardware address")),
        (Route::Via(gone), none(WEB1, "no route to 10.0.2.11")),
        (Route::Local, none(WEB1, "is an address of this host")),
        (
            Route::Unusable("is a broadcast"),
            none(WEB1, "is a broadcast"),
        ),
        (Route::None, none(WEB1, "no route to 10.0.2.11")),
    ] {
        let mut it = Neighbourhood::default();
        let neighbours = [
            (WEB1, Neighbour::Valid(ONE)),
            (ROUTER, Neighbour::Valid(OTHER)),
        ];
        it.replace(snapshot([(WEB1, route)], neighbours));
        assert_eq!(it.changes(now), [expected]);
        assert_eq!(it.changes(now), [], "and not again");
    }
}

#[test]
fn silence_is_reported_once_and_after_a_while() {
    let now = Instant::now();
    let mut it = Neighbourhood::default();
    let direct = (WEB1, Route::Via(on_eth1(WEB1)));
    it.replace(snapshot([direct.clone()], []));
    assert_eq!(it.changes(now), []);
    assert_eq!(it.silent(), [on_eth1(WEB1)]);
    assert_eq!(it.deadline(), Some(now + GRACE));
    assert_eq!(it.changes(now + GRACE / 2), []);
    let waiting = none(WEB1, "waiting for ARP from 10.0.2.11 on eth1");
    assert_eq!(it.changes(now + GRACE), [waiting]);
    assert_eq!(it.deadline(), None, "nothing more is to be said");

    it.replace(snapshot([direct], [(WEB1, Neighbour::Silent)]));
    assert_eq!(it.changes(now + GRACE * 2), []);
    it.observe(on_eth1(WEB1), Neighbour::Valid(ONE));
    assert_eq!(it.changes(now + GRACE * 3), [way(WEB1, ONE)]);
    assert_eq!(it.silent(), []);
}

#[test]
fn a_neighbour_of_ipv6_is_discovered() {
    let now = Instant::now();
    let six: IpAddr = "2001:db8:2::11".parse().unwrap();
    let router: IpAddr = "fe80::1".parse().unwrap();
    let mut it = Neighbourhood::default();
    it.replace(snapshot([(six, Route::Via(on_eth1(router)))], []));
    assert_eq!(it.changes(now), []);
    let waiting = none(six, "waiting for neighbour discovery from fe80::1 on eth1");
    assert_eq!(it.changes(now + GRACE), [waiting]);
    it.observe(on_eth1(router), Neighbour::Valid(ONE));
    assert_eq!(it.changes(now + GRACE), [way(six, ONE)]);
}

#[test]
fn an_answer_in_time_is_all_that_is_reported() {
    let now = Instant::now();
    let mut it = Neighbourhood::default();
    it.replace(snapshot([(WEB1, Route::Via(on_eth1(WEB1)))], []));
    assert_eq!(it.changes(now), []);
    it.observe(on_eth1(WEB1), Neighbour::Valid(ONE));
    assert_eq!(it.changes(now + GRACE / 2), [way(WEB1, ONE)]);
    assert_eq!(it.changes(now + GRACE), []);
}

#[test]
fn a_neighbour_that_falls_silent_keeps_its_address() {
    let now = Instant::now();
    let mut it = resolved(now);
    it.observe(on_eth1(WEB1), Neighbour::Silent);
    assert_eq!(it.changes(now), []);
    assert_eq!(it.silent(), [on_eth1(WEB1)], "but is asked again");

    let direct = (WEB1, Route::Via(on_eth1(WEB1)));
    it.replace(snapshot([direct], []));
    assert_eq!(it.changes(now + GRACE * 2), []);
}

#[test]
fn a_changed_address_is_reported() {
    let now = Instant::now();
    let mut it = resolved(now);
    it.observe(on_eth1(WEB1), Neighbour::Valid(ONE));
    assert_eq!(it.changes(now), []);
    it.observe(on_eth1(WEB1), Neighbour::Valid(OTHER));
    assert_eq!(it.changes(now), [way(WEB1, OTHER)]);
}

#[test]
fn a_changed_route_is_reported_with_the_new_neighbour() {
    let now = Instant::now();
    let mut it = resolved(now);
    let routed = (WEB1, Route::Via(on_eth1(ROUTER)));
    it.replace(snapshot([routed], []));
    assert_eq!(it.changes(now), [], "the router has a while to answer");
    assert_eq!(it.all(), [on_eth1(ROUTER)]);
    it.observe(on_eth1(ROUTER), Neighbour::Valid(OTHER));
    assert_eq!(it.changes(now), [way(WEB1, OTHER)]);

    it.replace(snapshot([(WEB1, Route::None)], []));
    assert_eq!(it.changes(now), [none(WEB1, "no route to 10.0.2.11")]);
}

#[test]
fn targets_behind_one_router_share_its_address() {
    let now = Instant::now();
    let mut it = Neighbourhood::default();
    let router = || Route::Via(on_eth1(ROUTER));
    it.replace(snapshot([(WEB1, router()), (FAR, router())], []));
    assert_eq!(it.all(), [on_eth1(ROUTER)]);
    it.observe(on_eth1(ROUTER), Neighbour::Valid(ONE));
    assert_eq!(it.changes(now), [way(WEB1, ONE), way(FAR, ONE)]);
}

#[test]
fn strangers_are_not_remembered() {
    let now = Instant::now();
    let mut it = resolved(now);
    it.observe(on_eth1(FAR), Neighbour::Valid(OTHER));
    assert_eq!(it.all(), [on_eth1(WEB1)]);

    it.replace(snapshot([], [(WEB1, Neighbour::Valid(ONE))]));
    assert_eq!(it.all(), []);
    assert_eq!(it.changes(now), []);
}

#[test]
fn a_target_that_comes_back_is_reported_again() {
    let now = Instant::now();
    let mut it = resolved(now);
    it.replace(snapshot([], []));
    let direct = (WEB1, Route::Via(on_eth1(WEB1)));
    it.replace(snapshot([direct], [(WEB1, Neighbour::Valid(ONE))]));
    assert_eq!(it.changes(now), [way(WEB1, ONE)]);
}
