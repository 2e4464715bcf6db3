//! The text of a host of a pair, and whether it is what the format's specification allows.

use super::text;
use crate::types::*;
use std::collections::{BTreeMap, BTreeSet};

fn counters(entries: &[(&str, u64)]) -> BTreeMap<String, u64> {
    let entries = entries.iter();
    entries
        .map(|(name, count)| ((*name).to_owned(), *count))
        .collect()
}

fn backend(name: &str, admin: &str, operational: &str) -> Backend {
    Backend {
        service: "www".to_owned(),
        name: name.to_owned(),
        address: "10.0.2.11:8080".to_owned(),
        weight: 3,
        admin: admin.to_owned(),
        operational: operational.to_owned(),
        reason: "connection refused".to_owned(),
        since_s: 75,
        slots: 251,
        draining_slots: 4,
        recorded_flows: 2,
    }
}

fn link(number: u8, state: &str) -> HaLink {
    HaLink {
        local: format!("192.0.2.{number}"),
        remote: format!("192.0.2.{}", number + 1),
        state: state.to_owned(),
        since_s: 9,
        detection_ms: (state == "up").then_some(150),
        counters: counters(&[
            ("sent", 1_000),
            ("heard", 999),
            ("ups", 1),
            ("strangers", 0),
            ("refused_forged", 5),
            ("refused_old", 0),
        ]),
    }
}

fn status() -> Status {
    Status {
        version: "0.1.0".to_owned(),
        revision: 12,
        uptime_s: 3_725,
        alarms: vec!["one".to_owned(), "two".to_owned()],
        interfaces: vec![
            Interface {
                name: "eth0".to_owned(),
                ifindex: 2,
                mode: "native".to_owned(),
            },
            Interface {
                name: "eth1".to_owned(),
                ifindex: 3,
                mode: "not attached".to_owned(),
            },
        ],
        ha: Ha {
            role: "leader".to_owned(),
            since_s: 60,
            reason: "the peer is lost".to_owned(),
            priority: Some(200),
            effective_priority: Some(80),
            peer: Some(HaPeer {
                address: "192.0.2.3".to_owned(),
                up: true,
                lost: None,
                lease_ms: 142,
                late_us: 1_250,
                links: vec![link(2, "up"), link(6, "down")],
            }),
            pair: Some(HaPair {
                connected: true,
                synchronised: false,
                lag_ms: 40,
                version: HaVersion {
                    term: 2,
                    ..HaVersion::default()
                },
                ..HaPair::default()
            }),
            counters: counters(&[
                ("adverts_sent", 600),
                ("adverts_heard", 3),
                ("led", 1),
                ("refused_hop_limit", 7),
            ]),
            ..Ha::default()
        },
        services: vec![
            Service {
                name: "www".to_owned(),
                vip: "192.0.2.10:80/tcp".to_owned(),
                slots: Slots {
                    total: 251,
                    clean: 240,
                    dirty: 10,
                    settled: 1,
                    empty: 0,
                },
                check: "tcp every 2s".to_owned(),
                backends: vec![
                    backend("web1", "ready", "up"),
                    backend("web2", "drain", "up"),
                    backend("web3", "ready", "down"),
                    // It has the name of another one, which took its place.
                    backend("web1", "removing", "up"),
                    backend("10.0.2.14:8080", "removing", "up"),
                ],
            },
            Service {
                name: "mail".to_owned(),
                vip: "192.0.2.10:25/tcp".to_owned(),
                slots: Slots::default(),
                check: "tcp every 2s".to_owned(),
                backends: Vec::new(),
            },
        ],
        changes: vec!["backend www/web3: added".to_owned()],
        flows: Flows {
            recorded: 2,
            capacity: 262_144,
        },
    }
}

fn stats() -> Stats {
    let traffic = |number| Traffic {
        packets_in: number,
        bytes_in: number * 100,
        packets_out: number + 1,
        bytes_out: number * 1_000,
        connections: number / 10,
    };
    let of = |entries: &[(&str, u64)]| {
        let entries = entries.iter();
        entries
            .map(|(name, number)| ((*name).to_owned(), traffic(*number)))
            .collect()
    };
    Stats {
        at_ns: 1,
        services: of(&[("mail", 0), ("www", u64::MAX / 1_000)]),
        backends: of(&[("www/web1", 70), ("www/web2", 30)]),
        reasons: counters(&[("to_backend", 100), ("no_backend", 0)]),
        tracking: counters(&[("hit", 8)]),
    }
}

/// What the specification of the format asks for, and what Prometheus refuses beyond it: each line
/// is a comment or a sample, HELP and TYPE come before a metric's samples, which lie together, and
/// no two samples have the same name and labels.
fn check(text: &str) -> Result<usize, String> {
    let mut declared: Option<(&str, &str)> = None;
    let mut finished = BTreeSet::new();
    let mut seen = BTreeSet::new();
    if !text.ends_with('\n') {
        return Err("the last line does not end".to_owned());
    }
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').ok_or(line)?;
            let kind = lines.next().and_then(|next| next.strip_prefix("# TYPE "));
            let (of, kind) = kind.and_then(|it| it.split_once(' ')).ok_or(line)?;
            let known = matches!(kind, "counter" | "gauge");
            if of != name || !known || help.is_empty() || !finished.insert(name) {
                return Err(line.to_owned());
            }
            if (kind == "counter") != name.ends_with("_total") || !name.starts_with("headgate_") {
                return Err(format!("against the conventions: {line}"));
            }
            declared = Some((name, kind));
            continue;
        }
        let (name, rest) = word(line).ok_or(line)?;
        let (labels, value) = match rest.strip_prefix('{') {
            Some(rest) => labels(rest).ok_or(line)?,
            None => (Vec::new(), rest),
        };
        let value: f64 = value
            .strip_prefix(' ')
            .and_then(|value| value.parse().ok())
            .ok_or(line)?;
        let Some((_, kind)) = declared.filter(|(of, _)| *of == name) else {
            return Err(format!("without HELP and TYPE: {line}"));
        };
        if kind == "counter" && value < 0.0 || !seen.insert((name, labels)) {
            return Err(line.to_owned());
        }
    }
    Ok(seen.len())
}

/// A name at the beginning, and what follows.
fn word(text: &str) -> Option<(&str, &str)> {
    let fits = |each: char| each.is_ascii_alphanumeric() || each == '_';
    let (name, rest) = text.split_at(text.find(|each| !fits(each))?);
    let first = name.chars().next()?;
    (!first.is_ascii_digit()).then_some((name, rest))
}

/// Labels up to the closing brace, sorted, and what follows.
fn labels(mut text: &str) -> Option<(Vec<(String, String)>, &str)> {
    let mut labels: Vec<(String, String)> = Vec::new();
    loop {
        let (name, rest) = word(text)?;
        let mut value = String::new();
        let mut rest = rest.strip_prefix("=\"")?.chars();
        loop {
            match rest.next()? {
                '"' => break,
                '\\' => value.push(match rest.next()? {
                    'n' => '\n',
                    each @ ('\\' | '"') => each,
                    _ => return None,
                }),
                each => value.push(each),
            }
        }
        if labels.iter().any(|(known, _)| known == name) {
            return None;
        }
        labels.push((name.to_owned(), value));
        match rest.next()? {
            ',' => text = rest.as_str(),
            '}' => {
                labels.sort();
                return Some((labels, rest.as_str()));
            }
            _ => return None,
        }
    }
}

#[test]
fn a_host_of_a_pair() {
    let text = text(&status(), &stats());
    let golden = include_str!("golden.txt");
    for (number, (is, should)) in text.lines().zip(golden.lines()).enumerate() {
        assert_eq!(is, should, "line {}", number + 1);
    }
    assert_eq!(text, golden);
    check(&text).unwrap();
}

/// The table of the guide has every metric, and no other.
#[test]
fn the_guide_has_them_all() {
    let guide = include_str!("../../../../docs/GUIDE.md");
    let (_, rest) = guide.split_once("| metric, after `headgate_` |").unwrap();
    let (table, _) = rest.split_once("\n\n").unwrap();
    let names = table.lines().filter_map(|row| row.split('|').nth(1));
    let quoted = names.flat_map(|cell| cell.split('`').skip(1).step_by(2));
    let mut told: Vec<String> = quoted.map(|name| format!("headgate_{name}")).collect();
    let text = text(&status(), &stats());
    let types = text.lines().filter_map(|it| it.strip_prefix("# TYPE "));
    let mut known: Vec<&str> = types.filter_map(|it| it.split(' ').next()).collect();
    told.sort();
    known.sort_unstable();
    assert_eq!(told, known);
}

#[test]
fn a_host_alone_without_anything() {
    let status = Status {
        ha: Ha {
            role: "alone".to_owned(),
            ..Ha::default()
        },
        services: Vec::new(),
        interfaces: Vec::new(),
        ..status()
    };
    let stats = Stats {
        services: BTreeMap::new(),
        backends: BTreeMap::new(),
        ..stats()
    };
    let text = text(&status, &stats);
    check(&text).unwrap();
    assert!(
        text.contains("\nheadgate_ha_role{role=\"alone\"} 1\n"),
        "{text}"
    );
    assert!(!text.contains("headgate_ha_peer_up"), "{text}");
}

#[test]
fn names_that_are_none_do_not_break_the_format() {
    let mut status = status();
    status.services[0].name = "a \"quoted\" \\ \n name{}".to_owned();
    status.services[0].backends[0].name = status.services[0].name.clone();
    status.version = "\"".to_owned();
    status.ha.role = "\\".to_owned();
    let mut stats = stats();
    let traffic = stats.backends["www/web1"];
    stats.backends.insert("\n".to_owned(), traffic);
    stats.reasons.insert("},".to_owned(), 1);
    check(&text(&status, &stats)).unwrap();
}

/// The checker is of use only if it finds something.
#[test]
fn what_is_wrong_is_found() {
    let head = "# HELP headgate_x Help.\n# TYPE headgate_x gauge\n";
    assert_eq!(
        check(&format!("{head}headgate_x 1\nheadgate_x{{a=\"\"}} 0.5\n")),
        Ok(2)
    );
    for wrong in [
        "headgate_x 1",
        "headgate_x\n",
        "headgate_x one\n",
        "headgate_x  \n",
        "headgate_x{a=\"1\"}1\n",
        "headgate_x{a=\"1} 1\n",
        "headgate_x{a=1} 1\n",
        "headgate_x{a=\"1\",} 1\n",
        "headgate_x{a=\"1\",a=\"2\"} 1\n",
        "headgate_x{0=\"1\"} 1\n",
        "headgate_x{a=\"\\x\"} 1\n",
        "headgate_x 1\nheadgate_x 2\n",
        "headgate_y 1\n",
        "\n",
        "# HELP headgate_x Again.\n# TYPE headgate_x gauge\n",
        "# HELP headgate_y Help.\n",
        "# HELP headgate_y_total Help.\n# TYPE headgate_y_total gauge\n",
        "# HELP headgate_y Help.\n# TYPE headgate_y histogram\n",
    ] {
        assert!(check(&format!("{head}{wrong}")).is_err(), "{wrong:?}");
    }
}
