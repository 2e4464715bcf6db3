//! What is printed, and what commands end with.

use super::stats::{Rates, scaled};
use super::wait::Goal;
use super::*;
use crate::types::{
    Event, Events, Flows, Ha, HaGroup, HaLeader, HaLink, HaPair, HaPairHost, HaPeer, HaVersion,
    Interface, Pair, PairCertificate, PairConnection, PairFailure, Problem, Slots, Stats, Traffic,
};
use std::collections::BTreeMap;

fn backend(operational: &str, admin: &str) -> Backend {
    Backend {
        service: "www".to_owned(),
        name: "web1".to_owned(),
        address: "10.0.2.11:8080".to_owned(),
        weight: 1,
        admin: admin.to_owned(),
        operational: operational.to_owned(),
        reason: "connection refused".to_owned(),
        since_s: 75,
        slots: 251,
        draining_slots: 0,
        recorded_flows: 2,
    }
}

fn status(backends: Vec<Backend>) -> Status {
    Status {
        version: "0.1.0".to_owned(),
        revision: 12,
        uptime_s: 3_725,
        alarms: Vec::new(),
        interfaces: vec![Interface {
            name: "eth0".to_owned(),
            ifindex: 2,
            mode: "native".to_owned(),
        }],
        ha: Ha::default(),
        services: vec![Service {
            name: "www".to_owned(),
            vip: "192.0.2.10:80/tcp".to_owned(),
            slots: Slots {
                total: 251,
                clean: 251,
                ..Slots::default()
            },
            check: "tcp every 2s".to_owned(),
            backends,
        }],
        changes: Vec::new(),
        flows: Flows {
            recorded: 2,
            capacity: 262_144,
        },
    }
}

#[test]
fn tables_are_plain_without_colour() {
    let shown = table::status(&status(vec![backend("up", "ready")]), false);
    let expected = "\
lbd 0.1.0, revision 12, up 1h 2m
interfaces: eth0 (native)
flows: 2 of 262144

SERVICE  VIP                 UP  SLOTS  CLEAN  DIRTY  SETTLED  EMPTY  CHECK
www      192.0.2.10:80/tcp  1/1    251    251      0        0      0  tcp every 2s
";
    assert_eq!(shown, expected);
    let shown = table::backend(&backend("down", "ready"), false);
    let expected = "\
BACKEND   ADDRESS         WEIGHT  ADMIN  STATE  SINCE   SLOTS  DRAINING  FLOWS  REASON
www/web1  10.0.2.11:8080       1  ready  down   1m 15s    251         0      2  connection refused
";
    assert_eq!(shown, expected);
    let coloured = table::backend(&backend("down", "ready"), true);
    assert!(coloured.contains("\u{1b}["), "{coloured}");
}

#[test]
fn degraded_is_an_alarm_or_a_service_without_backends() {
    assert!(
        degraded(&status(vec![
            backend("up", "ready"),
            backend("down", "ready")
        ]))
        .is_empty()
    );
    assert_eq!(degraded(&status(vec![backend("up", "drain")])).len(), 1);
    assert_eq!(degraded(&status(Vec::new())).len(), 1);
    let mut alarmed = status(vec![backend("up", "ready")]);
    alarmed.alarms.push("the flow table is full".to_owned());
    assert_eq!(degraded(&alarmed), ["the flow table is full"]);
}

#[test]
fn a_pair_is_told_in_lines() {
    let certificate = |fingerprint: &str| PairCertificate {
        fingerprint: fingerprint.to_owned(),
        expires: Some("2036-11-20T01:02:03Z".to_owned()),
    };
    let mut shown = Pair {
        paired: true,
        own: certificate("aa"),
        peer: Some(certificate("bb")),
        connection: Some(PairConnection {
            local: "192.0.2.2".to_owned(),
            remote: "192.0.2.3".to_owned(),
            since_s: 75,
        }),
        invitation_s: Some(599),
        fault: None,
        failure: Some(PairFailure {
            since_s: 76,
            reason: "192.0.2.3: it closed the connection".to_owned(),
        }),
        strangers: 0,
    };
    let expected = "\
paired: yes
this host: aa, expires 2036-11-20T01:02:03Z
other host: bb, expires 2036-11-20T01:02:03Z
connected: 192.0.2.2 > 192.0.2.3, for 1m 15s
invitation: open for 9m 59s
last failure: 1m 16s ago, 192.0.2.3: it closed the connection
";
    assert_eq!(pair::text(&shown), expected);
    shown.connection = None;
    shown.fault = Some("cannot listen".to_owned());
    shown.strangers = 3;
    let text = pair::text(&shown);
    assert!(text.contains("\nconnected: no\n"), "{text}");
    assert!(text.contains("\nfault: cannot listen\n"), "{text}");
    assert!(text.ends_with("\nstrangers turned away: 3\n"), "{text}");
}

#[test]
fn goals() {
    let up = backend("up", "ready");
    assert!(Goal::Serving.reached(Some(&up)));
    assert!(!Goal::Serving.reached(Some(&backend("down", "ready"))));
    assert!(!Goal::Serving.reached(None));
    let mut drained = backend("up", "drain");
    drained.slots = 0;
    assert!(!Goal::Drained.reached(Some(&drained)), "flows are left");
    drained.recorded_flows = 0;
    assert!(Goal::Drained.reached(Some(&drained)));
    assert!(Goal::Gone.reached(None));
    assert!(!Goal::Gone.reached(Some(&drained)));
}

#[test]
fn exit_codes() {
    let refused = |status| {
        Failure::Client(ClientError::Refused(Problem {
            title: String::new(),
            status,
            detail: String::new(),
        }))
    };
    let codes = [422, 409, 500, 404, 412].map(|status| refused(status).exit_code());
    assert_eq!(codes, [1, 1, 1, 4, 5]);
    let silent = ClientError::Silent {
        path: "/run/lbd.sock".into(),
        seconds: 30,
    };
    assert_eq!(Failure::Client(silent).exit_code(), 3);
    assert_eq!(Failure::WaitTimedOut(String::new()).exit_code(), 6);
    assert_eq!(Failure::Degraded(String::new()).exit_code(), 7);
}

#[test]
fn rates_come_from_two_samples() {
    let sample = |at_ns, packets_in, bytes_in| Stats {
        at_ns,
        services: BTreeMap::from([(
            "www".to_owned(),
            Traffic {
                packets_in,
                bytes_in,
                ..Traffic::default()
            },
        )]),
        backends: BTreeMap::new(),
        reasons: BTreeMap::from([("to_backend".to_owned(), packets_in)]),
        tracking: BTreeMap::new(),
    };
    let rates = Rates::between(&sample(1_000, 10, 1_000), &sample(2_000_001_000, 30, 3_000));
    let json = serde_json::to_value(&rates).unwrap();
    assert_eq!(json["seconds"], 2.0);
    assert_eq!(json["services"]["www"]["packets_in_per_s"], 10.0);
    assert_eq!(json["services"]["www"]["bits_in_per_s"], 8_000.0);
    assert_eq!(json["reasons"]["to_backend"], 10.0);
    // Reset counters, and a clock that stands still, make no nonsense.
    let reset = Rates::between(&sample(0, 30, 0), &sample(1_000_000_000, 5, 0));
    assert_eq!(
        serde_json::to_value(&reset).unwrap()["reasons"]["to_backend"],
        5.0
    );
    let still = Rates::between(&sample(0, 0, 0), &sample(0, 5, 0));
    assert_eq!(
        serde_json::to_value(&still).unwrap()["reasons"]["to_backend"],
        0.0
    );
}

#[test]
fn numbers_are_scaled() {
    let shown = [0.0, 0.25, 999.0, 1_500.0, 2.5e6, 9.87e9].map(scaled);
    assert_eq!(shown, ["0", "0.2", "999", "1.5k", "2.5M", "9.9G"]);
}

#[test]
fn a_lowered_priority_is_shown_with_what_lowers_it() {
    let mut ha = pair("standby", "lbd was started");
    ha.effective_priority = Some(200);
    let fine = ha::text(&ha, &[], false);
    assert!(
        fine.contains(" priority 200,") && !fine.contains("lowered"),
        "{fine}"
    );
    ha.effective_priority = Some(80);
    ha.lowered_by = vec!["eth1 is down (by 120)".to_owned()];
    let lowered = ha::text(&ha, &[], false);
    assert!(lowered.contains(" priority 80 of 200,"), "{lowered}");
    assert!(
        lowered.contains("\nlowered:    eth1 is down (by 120)\n"),
        "{lowered}"
    );
}

#[test]
fn groups_are_listed() {
    let mut ha = pair("standby", "lbd was started");
    ha.groups = vec![HaGroup {
        name: Some("post".to_owned()),
        family: "IPv4".to_owned(),
        role: "leader".to_owned(),
        since_s: 75,
        reason: "no leader was heard".to_owned(),
        vrid: 53,
        priority: 100,
        effective_priority: 1,
        address: None,
        addresses: vec!["192.0.2.20/32 dev eth0".to_owned()],
        leader: None,
        counters: BTreeMap::new(),
    }];
    let groups = ha::text(&ha, &[], false);
    for expected in ["post", "1 of 100", "192.0.2.20/32 dev eth0"] {
        assert!(groups.contains(expected), "{groups}");
    }
}

fn pair(role: &str, reason: &str) -> Ha {
    Ha {
        role: role.to_owned(),
        since_s: 75,
        reason: reason.to_owned(),
        interface: Some("eth0".to_owned()),
        vrid: Some(51),
        priority: Some(200),
        effective_priority: None,
        lowered_by: Vec::new(),
        interval_ms: Some(100),
        address: Some("192.0.2.1".to_owned()),
        addresses: vec!["192.0.2.10/32 dev eth0".to_owned()],
        leader: None,
        groups: Vec::new(),
        peer: Some(HaPeer {
            address: "192.0.2.2".to_owned(),
            up: true,
            lost: None,
            lease_ms: 142,
            late_us: 77,
            links: vec![HaLink {
                local: "192.0.2.1".to_owned(),
                remote: "192.0.2.2".to_owned(),
                state: "up".to_owned(),
                since_s: 75,
                detection_ms: Some(150),
                counters: BTreeMap::from([("sent".to_owned(), 9), ("unsent".to_owned(), 0)]),
            }],
        }),
        pair: None,
        stands_behind: None,
        counters: BTreeMap::from([("adverts_sent".to_owned(), 72), ("led".to_owned(), 1)]),
    }
}

#[test]
fn a_leader_has_the_addresses() {
    let shown = ha::text(&pair("leader", "the other host was lost"), &[], false);
    let expected = "\
role:       leader for 1m 15s: the other host was lost
address:    192.0.2.10/32 dev eth0 (here)
other host: 192.0.2.2, lives
lease:      142ms left; heartbeats were late by 77us at worst
VRRP:       vrid 51, priority 200, every 100ms from 192.0.2.1 on eth0
counted:    adverts_sent 72, led 1

LINK                   STATE   SINCE  LOST AFTER  COUNTED
192.0.2.1 > 192.0.2.2  up     1m 15s       150ms  sent 9
";
    assert_eq!(shown, expected);
}

#[test]
fn what_the_two_know_of_each_other_is_told() {
    let version = |epoch| HaVersion {
        term: 2,
        epoch,
        hash: "4a5e1e4b".to_owned(),
    };
    let mut known = HaPair {
        paired: true,
        connected: true,
        since_s: Some(75),
        synchronised: true,
        version: version(7),
        host: Some(HaPairHost {
            name: "0f1e2d3c".to_owned(),
            release: "0.1.0".to_owned(),
            ready: true,
            version: version(7),
            ..HaPairHost::default()
        }),
        ..HaPair::default()
    };
    let shown = |known: &HaPair| {
        let ha = Ha {
            pair: Some(known.clone()),
            stands_behind: Some(99),
            ..pair("standby", "it handed over")
        };
        ha::text(&ha, &[], false)
    };
    let text = shown(&known);
    for expected in [
        "pair:       synchronised; connected for 1m 15s to 0f1e2d3c, lbd 0.1.0, which is ready to \
         lead\n",
        "revision:   7 of term 2, 4a5e1e4b (on both)\n",
        "lowered:    to 99, by a switchover: `lbctl ha release` ends it\n",
    ] {
        assert!(text.contains(expected), "{text}");
    }
    known.host.as_mut().unwrap().version = version(8);
    known.lacks = Some("it has not the other's configuration yet".to_owned());
    let text = shown(&known);
    assert!(text.contains("(there: 8 of term 2"), "{text}");
    assert!(
        text.contains("pair:       it has not the other's"),
        "{text}"
    );
    known.host = None;
    known.down = Some("connection refused".to_owned());
    let text = shown(&known);
    assert!(
        text.contains("pair:       not connected: connection refused"),
        "{text}"
    );
    known.paired = false;
    assert!(shown(&known).contains("not paired: `lbctl pair init`"));
}

#[test]
fn what_is_wrong_in_a_pair_comes_first() {
    let mut ha = pair("standby", "it stood still, and its lease lapsed");
    let alarm = "the other host, 192.0.2.2, is lost: nothing was heard of it".to_owned();
    if let Some(peer) = &mut ha.peer {
        peer.up = false;
        peer.lost = Some("nothing was heard of it".to_owned());
        peer.lease_ms = 0;
        peer.links[0].state = "down".to_owned();
        peer.links[0].detection_ms = None;
    }
    let shown = ha::text(&ha, &[alarm], false);
    let expected = "\
alarm: the other host, 192.0.2.2, is lost: nothing was heard of it
role:       standby for 1m 15s: it stood still, and its lease lapsed
address:    192.0.2.10/32 dev eth0 (at no leader that is heard)
other host: 192.0.2.2, lost: nothing was heard of it
lease:      none: this host takes no new connections
VRRP:       vrid 51, priority 200, every 100ms from 192.0.2.1 on eth0
counted:    adverts_sent 72, led 1

LINK                   STATE   SINCE  LOST AFTER  COUNTED
192.0.2.1 > 192.0.2.2  down   1m 15s           -  sent 9
";
    assert_eq!(shown, expected);
    ha.leader = Some(HaLeader {
        address: "192.0.2.2".to_owned(),
        priority: 100,
        interval_ms: 100,
    });
    let shown = ha::text(&ha, &[], true);
    assert!(shown.contains("(at 192.0.2.2, priority 100)"), "{shown}");
    assert!(shown.contains("\u{1b}[31mlost: nothing"), "{shown}");
}

#[test]
fn a_host_alone_says_only_that() {
    let alone = Ha {
        role: "alone".to_owned(),
        reason: "there is no [ha] in the configuration file".to_owned(),
        ..Ha::default()
    };
    let shown = ha::text(&alone, &[], false);
    assert_eq!(
        shown,
        "role:       alone for 0s: there is no [ha] in the configuration file\n"
    );
}

#[test]
fn events_are_a_line_each() {
    let event = |level: &str, message: &str, fields: &[(&str, &str)]| Event {
        number: 1,
        time: "2026-11-23T16:08:49.657Z".to_owned(),
        level: level.to_owned(),
        message: message.to_owned(),
        fields: fields
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
    };
    let all = Events {
        since: 1,
        last: 9,
        lost: 7,
        events: vec![
            event("info", "ready", &[]),
            event(
                "warn",
                "backend is down",
                &[("backend", "www/web1"), ("reason", "no answer"), ("x", "")],
            ),
            event("error", "sent by\u{1b}[2J\nsomebody", &[]),
        ],
    };
    let shown = events::table(&all, false);
    let expected = "\
TIME                      LEVEL  MESSAGE
(7 earlier events are no longer kept)
2026-11-23T16:08:49.657Z  info   ready
2026-11-23T16:08:49.657Z  warn   backend is down backend=www/web1 reason=\"no answer\" x=\"\"
2026-11-23T16:08:49.657Z  error  sent by\\u{1b}[2J\\nsomebody
";
    assert_eq!(shown, expected);
    let coloured = events::table(&all, true);
    assert!(coloured.contains("\u{1b}[33m2026"), "{coloured}");
    assert!(coloured.contains("\u{1b}[31m2026"), "{coloured}");
    assert_eq!(coloured.matches('\n').count(), 5, "{coloured}");
}
