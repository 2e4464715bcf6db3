//! What the file may say, what it may not, and what the CLI makes of it.

use super::*;
use crate::config::Refusal;
use crate::state::changes;
use crate::sync::Version;
use crate::types::{BackendPatch, NewBackend, NewService};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

const FULL: &str = r#"
interfaces = ["eth0", "eth1"]
idle_timeout = "120s"
[limits]
services = 4
[[service]]
name = "www"
vip = "192.0.2.10:80"
slots = 251
[service.check]
type = "http"
path = "/healthz"
interval = "500ms"
[[service.backend]]
name = "web1"
address = "10.0.2.11:8080"
[[service.backend]]
name = "web2"
address = "10.0.2.12:8080"
weight = 3
state = "drain"
[[service]]
name = "mail"
vip = "192.0.2.10:25/tcp"
"#;

fn read(text: &str) -> Result<Config, ParseError> {
    parse(text, Path::new("lb.toml"))
}

fn full() -> Config {
    read(FULL).unwrap()
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

#[test]
fn reads_everything_and_fills_in_the_rest() {
    let config = full();
    assert_eq!(config.interfaces, ["eth0", "eth1"]);
    assert_eq!(config.socket, Path::new("/run/headgate/lbd.sock"));
    assert_eq!(config.idle_timeout, Duration::from_secs(120));
    assert_eq!((config.limits.services, config.limits.backends), (4, 1024));
    let www = &config.services[&name("www")];
    assert_eq!(www.vip.to_string(), "192.0.2.10:80/tcp");
    assert!(www.tracked);
    assert_eq!(www.idle_timeout, None);
    assert_eq!(www.slots, 251);
    assert_eq!(www.check.timeout, Duration::from_millis(500));
    assert_eq!(www.check.to_string(), "http /healthz 200 every 500ms");
    let web2 = &www.backends[&name("web2")];
    assert_eq!((web2.weight, web2.admin), (3, Admin::Drain));
    assert_eq!(config.services[&name("mail")].check, Check::default());
    assert_eq!(config.services[&name("mail")].slots, 65_537);
}

/// Replaces `from` in the full file by `to`; the error must be in the line of `to`'s last line, and
/// say all of `says`.
fn refused(from: &str, to: &str, says: &[&str]) {
    assert!(FULL.contains(from), "{from}");
    let text = FULL.replacen(from, to, 1);
    let error = read(&text).expect_err(to);
    let end = FULL.find(from).unwrap() + to.trim_end().len();
    let line = text[..end].matches('\n').count() + 1;
    let shown = error.to_string();
    assert!(
        shown.starts_with(&format!("lb.toml:{line}:")),
        "line {line}: {shown}"
    );
    for each in says {
        assert!(shown.contains(each), "{each:?} in {shown}");
    }
}

#[test]
fn unknown_keys_are_refused_with_a_suggestion() {
    refused(
        "weight = 3",
        "wieght = 3",
        &["\"wieght\"", "did you mean \"weight\"?"],
    );
    refused(
        "[limits]\nservices",
        "[limits]\nservice",
        &["did you mean \"services\"?"],
    );
    refused(
        "idle_timeout",
        "zzz",
        &["unknown key \"zzz\"", "interfaces"],
    );
}

#[test]
fn values_out_of_range_are_refused_where_they_are() {
    refused(
        "weight = 3",
        "weight = 0",
        &["weight 0 is out of range: 1 to 1000"],
    );
    refused("weight = 3", "weight = 1001", &["1 to 1000"]);
    refused("weight = 3", "weight = \"3\"", &["invalid type"]);
    refused("slots = 251", "slots = 1000", &["prime", "997 or 1009"]);
    refused("slots = 251", "slots = 250", &["251 to 65537"]);
    refused(
        "10.0.2.11:8080",
        "10.0.2.11:70000",
        &["port 70000 is out of range"],
    );
    refused("10.0.2.11:8080", "10.0.2.11:0", &["port 0"]);
    refused("10.0.2.11:8080", "10.0.2.11", &["has no port"]);
    refused(
        "10.0.2.11:8080",
        "[2001:db8::1]:80",
        &[
            "another version of IP than 192.0.2.10:80/tcp",
            "address of IPv4",
        ],
    );
    refused("10.0.2.11:8080", "127.0.0.1:80", &["loopback"]);
    refused("10.0.2.11:8080", "224.0.0.1:80", &["multicast"]);
    refused("10.0.2.11:8080", "0.0.0.0:80", &["unspecified"]);
    refused("10.0.2.11:8080", "[fe80::1]:80", &["link-local"]);
    refused("10.0.2.11:8080", "[ff02::1]:80", &["multicast"]);
    refused("10.0.2.11:8080", "[::1]:80", &["loopback"]);
    refused("10.0.2.11:8080", "[::]:80", &["unspecified"]);
    refused(
        "10.0.2.11:8080",
        "[::ffff:10.0.2.11]:80",
        &["in the form of IPv6"],
    );
    refused(
        "10.0.2.11:8080",
        "2001:db8::1",
        &["has no port: write it as [2001:db8::1]:8080"],
    );
    refused(
        "192.0.2.10:80",
        "192.0.2.10:80/upd",
        &["is not a protocol", "tcp or udp"],
    );
    refused(
        "192.0.2.10:80\"",
        "192.0.2.10:80\"\ntracked = false",
        &["always stay", "services of UDP"],
    );
    refused(
        "192.0.2.10:25/tcp",
        "192.0.2.10:53/udp",
        &["192.0.2.10:53/udp needs a check", "or none"],
    );
    refused(
        "192.0.2.10:80\"",
        "192.0.2.10:80\"\nprotocol = \"udp\"",
        &["unknown key \"protocol\"", "it is written with the address"],
    );
    refused(
        "192.0.2.10:80\"",
        "192.0.2.10:80\"\nidle_timeout = \"0s\"",
        &["idle_timeout 0s is out of range"],
    );
    refused(
        "\"120s\"",
        "\"2d\"",
        &["idle_timeout 2d is out of range: 1s to 1day"],
    );
    refused("\"120s\"", "\"120\"", &["is not a duration"]);
    refused("\"eth1\"", "\"eth0\"", &["named twice"]);
    refused("[\"eth0\", \"eth1\"]", "[]", &["at least one interface"]);
    refused("\"http\"", "\"htpp\"", &["did you mean \"http\"?"]);
    refused("\"/healthz\"", "\"healthz\"", &["begins with '/'"]);
    refused(
        "\"500ms\"",
        "\"500ms\"\ntimeout = \"1s\"",
        &["longer than the interval"],
    );
    refused(
        "type = \"http\"\npath",
        "type = \"tcp\"\npath",
        &["path is for checks of type http"],
    );
    refused(
        "type = \"http\"\npath = \"/healthz\"",
        "type = \"none\"\nport = 80",
        &["port is for checks that connect"],
    );
    refused(
        "type = \"http\"",
        "type = \"http\"\nport = 0",
        &["port 0 is out of range: 1 to 65535"],
    );
}

#[test]
fn duplicates_point_at_the_second_and_name_the_first() {
    refused(
        "name = \"mail\"",
        "name = \"www\"",
        &["there is a service www already"],
    );
    refused(
        "10.0.2.12",
        "10.0.2.11",
        &["10.0.2.11:8080 is backend www/web1 already", "way back"],
    );
    refused(
        "192.0.2.10:25",
        "192.0.2.10:80",
        &["service www has 192.0.2.10:80/tcp already"],
    );
    refused(
        "192.0.2.10:25",
        "10.0.2.11:25",
        &["address of backend www/web1"],
    );
    refused(
        "10.0.2.12",
        "192.0.2.10",
        &["virtual address of service www"],
    );
    refused(
        "\"web2\"",
        "\"web1\"",
        &["there is a backend www/web1 already"],
    );
}

#[test]
fn an_address_serves_protocols_apart() {
    let both = FULL.replace(
        "192.0.2.10:25/tcp\"",
        "192.0.2.10:80/udp\"\nidle_timeout = \"30s\"\n[service.check]\ntype = \"none\"\n\
         [[service.backend]]\nname = \"web1\"\naddress = \"10.0.2.11:8080\"",
    );
    let config = read(&both).unwrap();
    let mail = &config.services[&name("mail")];
    assert_eq!(mail.vip.to_string(), "192.0.2.10:80/udp");
    assert!(!mail.tracked);
    assert_eq!(mail.idle_timeout, Some(Duration::from_secs(30)));
    // Two of the same protocol cannot be told apart on the way back.
    let third = "[[service]]\nname = \"third\"\nvip = \"192.0.2.11:80/udp\"\ntracked = true\n\
         [service.check]\ntype = \"none\"\n\
         [[service.backend]]\nname = \"web1\"\naddress = \"10.0.2.11:8080\"\n";
    let error = read(&(both.clone() + third)).unwrap_err().to_string();
    assert!(error.contains("is backend mail/web1 already"), "{error}");
    let other = third.replace("10.0.2.11", "10.0.2.13");
    let config = read(&(both + &other)).unwrap();
    assert!(config.services[&name("third")].tracked);
}

#[test]
fn services_of_ipv6() {
    let six = FULL
        .replace("192.0.2.10:80", "[2001:db8::10]:80")
        .replace("10.0.2.11:8080", "[2001:db8:2::11]:8080")
        .replace("10.0.2.12:8080", "[2001:db8:2::12]:8080");
    let config = read(&six).unwrap();
    let www = &config.services[&name("www")];
    assert_eq!(www.vip.to_string(), "[2001:db8::10]:80/tcp");
    let web1 = &www.backends[&name("web1")];
    assert_eq!(web1.address.to_string(), "[2001:db8:2::11]:8080");
    let mixed = six.replace("[2001:db8:2::12]", "10.0.2.12");
    let error = read(&mixed).unwrap_err().to_string();
    assert!(error.contains("give an address of IPv6"), "{error}");
}

#[test]
fn limits_hold() {
    let error = read(&FULL.replace("services = 4", "services = 1")).unwrap_err();
    assert!(error.message.contains("limits.services is 1"), "{error}");
    let error = read(&FULL.replace("services = 4", "backends = 2")).unwrap_err();
    assert!(error.message.contains("leaves 1"), "{error}");
}

#[test]
fn names_and_references() {
    assert!("web-1.a_b".parse::<Name>().is_ok());
    for bad in ["", "-a", "a/b", "a b", "ä", &"x".repeat(64)] {
        assert!(bad.parse::<Name>().is_err(), "{bad}");
    }
    let reference: BackendRef = "www/web1".parse().unwrap();
    assert_eq!(reference.to_string(), "www/web1");
    assert!("www".parse::<BackendRef>().is_err());
    assert!("www/a/b".parse::<BackendRef>().is_err());
}

#[test]
fn changes_do_one_thing_and_leave_the_rest() {
    let config = full();
    let new = NewBackend {
        name: "web3".to_owned(),
        address: "10.0.2.13:8080".to_owned(),
        weight: None,
    };
    let added = change::apply(&config, &change::add_backend("www", &new).unwrap()).unwrap();
    assert_eq!(added.services[&name("www")].backends.len(), 3);
    let again = change::apply(&added, &change::add_backend("www", &new).unwrap());
    assert!(matches!(again, Err(Refusal::Exists(_))), "{again:?}");
    let removal = change::remove_backend("www", "web3", false).unwrap();
    assert_eq!(change::apply(&added, &removal).unwrap(), config);

    let drain = BackendPatch {
        weight: None,
        admin: Some("drain".to_owned()),
    };
    let drain = change::set_backend("www", "web1", &drain).unwrap();
    let drained = change::apply(&config, &drain).unwrap();
    let web1 = &drained.services[&name("www")].backends[&name("web1")];
    assert_eq!((web1.weight, web1.admin), (1, Admin::Drain));
}

#[test]
fn changes_that_do_not_fit_are_refused() {
    let config = full();
    let refused = change::apply(&config, &change::remove_service("wwww").unwrap()).unwrap_err();
    assert_eq!(
        refused,
        Refusal::NotFound("there is no service wwww; did you mean \"www\"?".to_owned())
    );
    let removal = change::remove_backend("www", "wbe1", true).unwrap();
    let refused = change::apply(&config, &removal).unwrap_err();
    assert!(matches!(&refused, Refusal::NotFound(text) if text.contains("\"web1\"")));

    let new = |address: &str, weight| NewBackend {
        name: "b".to_owned(),
        address: address.to_owned(),
        weight,
    };
    assert!(change::add_backend("www", &new("10.0.0.1:80", Some(0))).is_err());
    assert!(change::add_backend("www", &new("[::1]:80", None)).is_err());
    let same = change::add_backend("mail", &new("10.0.2.11:8080", None)).unwrap();
    let refused = change::apply(&config, &same).unwrap_err();
    assert!(matches!(&refused, Refusal::Invalid(text) if text.contains("www/web1")));
    assert!(change::set_backend("www", "web1", &BackendPatch::default()).is_err());

    let new = NewService {
        name: "x".to_owned(),
        vip: "192.0.2.10:80".to_owned(),
        tracked: None,
        idle_timeout: None,
        slots: None,
        check: None,
    };
    let refused = change::apply(&config, &change::add_service(&new).unwrap()).unwrap_err();
    assert!(matches!(refused, Refusal::Invalid(_)));
}

#[test]
fn the_overlay_tells_what_no_longer_fits() {
    let base = full();
    let patch = BackendPatch {
        weight: Some(7),
        admin: None,
    };
    let change = change::set_backend("www", "web1", &patch).unwrap();
    let running = change::apply(&base, &change).unwrap();
    let overlay = Overlay::between(&base, &running);
    let without = change::remove_backend("www", "web1", false).unwrap();
    let edited = change::apply(&base, &without).unwrap();
    let applied = overlay.apply(&edited);
    assert_eq!(applied.config, edited);
    assert_eq!(applied.reasons.len(), 1);
    assert!(applied.reasons[0].contains("www/web1"), "{applied:?}");
    // It is kept, and applies again when the file has the backend again.
    let kept = Overlay::between(&edited, &applied.config).with(&applied.left_out);
    assert_eq!(kept, overlay);
    assert_eq!(kept.apply(&base).config, running);
}

#[test]
fn the_store_keeps_the_overlay() {
    let directory = tempfile::tempdir().unwrap();
    let state_dir = directory.path().join("state");
    assert_eq!(changes::load(&state_dir).unwrap(), None);
    let base = full();
    let change = change::remove_service("mail").unwrap();
    let overlay = Overlay::between(&base, &change::apply(&base, &change).unwrap());
    let kept = changes::Kept {
        revision: 7,
        overlay,
        version: Some(Version::default().next("one", "digest".to_owned())),
    };
    changes::save(&state_dir, &kept).unwrap();
    assert_eq!(changes::load(&state_dir).unwrap(), Some(kept));
    assert_eq!(std::fs::read_dir(&state_dir).unwrap().count(), 1);
    std::fs::write(state_dir.join("changes.json"), "{").unwrap();
    let error = format!("{:#}", changes::load(&state_dir).unwrap_err());
    assert!(error.contains("damaged"), "{error}");
}

fn some_check() -> impl Strategy<Value = Check> {
    let probe = prop_oneof![
        Just(Probe::None),
        Just(Probe::Tcp),
        (proptest::option::of(Just("h".to_owned())), 100_u16..600).prop_map(|(host, expect)| {
            Probe::Http {
                path: "/x".to_owned(),
                host,
                expect,
            }
        }),
    ];
    let port = proptest::option::of(1_u16..);
    let times = (100_u64..100_000, 1_u64..100);
    (probe, port, times, 1_u32..9, 1_u32..9).prop_map(
        |(probe, port, (interval, timeout), rise, fall)| Check {
            // Nothing is asked, at no port.
            port: port.filter(|_| probe != Probe::None),
            probe,
            interval: Duration::from_millis(interval),
            timeout: Duration::from_millis(timeout),
            rise,
            fall,
        },
    )
}

prop_compose! {
    /// Few names and addresses, so that two configurations have much in common.
    fn some_config()(
        services in proptest::collection::btree_map(
            0_u8..4, (0_u8..6, some_check(), any::<(bool, bool, bool)>()), 0..4),
        backends in proptest::collection::vec(
            (0_u8..4, 0_u8..4, 0_u8..6, 1_u16..=3, any::<bool>()), 0..12),
    ) -> Config {
        let mut config = Config { services: BTreeMap::new(), ..full() };
        for (service, (vip, check, (is_ipv6, is_udp, option))) in services {
            let ip = match is_ipv6 {
                true => IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, vip.into()]),
                false => IpAddr::from([192, 0, 2, vip]),
            };
            // What does not fit is left out, by the same judgement as everywhere.
            let _ = validate::add_service(&mut config, &name(&format!("s{service}")), Service {
                vip: Vip {
                    address: SocketAddr::new(ip, 80),
                    protocol: if is_udp { Protocol::Udp } else { Protocol::Tcp },
                },
                tracked: !is_udp || option,
                idle_timeout: option.then_some(Duration::from_secs(30)),
                slots: 251,
                check,
                backends: BTreeMap::new(),
            });
        }
        for (service, backend, address, weight, drain) in backends {
            let reference = BackendRef {
                service: name(&format!("s{service}")),
                backend: name(&format!("b{backend}")),
            };
            let address = match config.services.get(&reference.service) {
                    Some(of) if of.vip.ip().is_ipv6() => {
                        SocketAddr::from(([0x2001, 0xdb8, 2, 0, 0, 0, 0, address.into()], 80))
                    }
                    _ => SocketAddr::from(([10, 0, 2, address], 80)),
            };
            let _ = validate::add_backend(&mut config, &reference, Backend {
                address,
                weight,
                admin: if drain { Admin::Drain } else { Admin::Ready },
            });
        }
        config
    }
}

proptest! {
    #[test]
    fn the_overlay_brings_back_what_ran(base in some_config(), running in some_config()) {
        let overlay = Overlay::between(&base, &running);
        let kept: Overlay =
            serde_json::from_str(&serde_json::to_string(&overlay).unwrap()).unwrap();
        prop_assert_eq!(&kept, &overlay);
        let applied = kept.apply(&base);
        prop_assert_eq!(&applied.config, &running);
        prop_assert!(applied.reasons.is_empty() && applied.left_out.is_empty());
        prop_assert_eq!(overlay.lines().is_empty(), overlay.is_empty());
        // What was left out once is not lost, whatever the file becomes in between.
        let renamed = Config { services: BTreeMap::new(), ..base.clone() };
        let without = overlay.apply(&renamed);
        let kept = Overlay::between(&renamed, &without.config).with(&without.left_out);
        let again = kept.apply(&base).config;
        for (name, service) in &running.services {
            let before = base.services.get(name);
            let of = |it: &Service| (it.vip, it.tracked, it.idle_timeout);
            if before.is_some_and(|before| of(before) == of(service)) {
                prop_assert_eq!(again.services.get(name).map(|s| &s.check), Some(&service.check));
            }
        }
        prop_assert_eq!(overlay.is_empty(), base == running);
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in "\\PC*") {
        let _ = read(&text);
        let _ = text.parse::<Vip>();
        let _ = text.parse::<BackendRef>();
    }
}

/// What the documentation shows is accepted, and is what it says.
#[test]
fn the_documented_configurations_are_right() {
    let documents = [
        include_str!("../../../README.md"),
        include_str!("../../../docs/GUIDE.md"),
    ];
    for document in documents {
        let (_, rest) = document.split_once("```toml\n").unwrap();
        let (text, _) = rest.split_once("```").unwrap();
        let config = read(text).unwrap();
        assert!(!config.services.is_empty());
    }
    // All but names and addresses is by default.
    let (_, rest) = documents[1].split_once("```toml\n").unwrap();
    let (text, _) = rest.split_once("```").unwrap();
    let service = "[[service]]\nname = \"www\"\nvip = \"192.0.2.10:80/tcp\"\n\
        [service.check]\ntype = \"http\"\nport = 8081\npath = \"/healthz\"\nhost = \"www.example.com\"\n\
        [[service.backend]]\nname = \"web1\"\naddress = \"10.0.2.11:8080\"\n";
    let ha = "[ha]\ninterface = \"eth0\"\nvrid = 51\npeer = \"192.0.2.3\"\n\
        addresses = [\"10.0.2.1/32 dev eth1\"]\n";
    let metrics = "[metrics]\nlisten = \"127.0.0.1:9601\"\n";
    let short = format!("interfaces = [\"eth0\", \"eth1\"]\n{metrics}{ha}{service}");
    assert_eq!(read(text).unwrap(), read(&short).unwrap());
}

#[test]
fn metrics_are_for_this_host() {
    assert_eq!(full().metrics, None);
    let with = |listen: &str| read(&format!("{FULL}[metrics]\nlisten = \"{listen}\"\n"));
    for listen in ["127.0.0.1:9601", "127.9.9.9:1", "[::1]:65535"] {
        let config = with(listen).unwrap();
        assert_eq!(config.metrics, Some(listen.parse().unwrap()));
        assert_eq!(full().differs_until_restart(&config), ["metrics"]);
    }
    let line = FULL.matches('\n').count() + 2;
    for (listen, says) in [
        ("0.0.0.0:9601", "reverse proxy with TLS"),
        ("[::]:9601", "not a loopback address"),
        ("192.0.2.2:9601", "listen at 127.0.0.1:9601"),
        ("127.0.0.1:0", "port 0 is out of range"),
        ("127.0.0.1", "as 127.0.0.1:9601"),
        ("localhost:9601", "is not an address and port"),
    ] {
        let error = with(listen).unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("lb.toml:{line}:10: ")),
            "{error}"
        );
        assert!(error.contains(says), "{says:?} in {error}");
    }
    let error = read(&format!("{FULL}[metrics]\n")).unwrap_err();
    assert!(
        error.to_string().contains("key listen is missing"),
        "{error}"
    );
}

const HA: &str = r#"
[ha]
interface = "eth0"
vrid = 51
priority = 200
interval = "50ms"
preempt_delay = "10s"
peer = "192.0.2.3"
checksum = "pseudo-header"
heartbeat = "20ms"
heartbeat_port = 4000
heartbeat_links = ["192.0.2.2 > 192.0.2.3", "10.9.9.2 > 10.9.9.3"]
channel_port = 4001
addresses = ["10.0.2.1/24 dev eth1", "192.0.2.9"]
track = [
    { interface = "uplink", weight = 120 },
    { route = "198.51.100.0/24", weight = 30 },
    { service = "www", weight = 254 },
]
"#;

/// What the router of this number has.
fn shared(config: &Config, number: usize) -> Vec<String> {
    let router = &config.virtual_routers()[number];
    let shared = config.shared_by(router);
    shared.iter().map(ToString::to_string).collect()
}

const GROUPS: &str = r#"
[[ha.group]]
name = "six"
vrid = 52
priority = 7
addresses = ["2001:db8::1/64 dev eth1", "fe80::1"]

[[ha.group]]
name = "post"
vrid = 53
services = ["mail"]
"#;

#[test]
fn each_group_has_a_router_for_each_family_that_it_has_addresses_of() {
    let ha = HA.replace("\"192.0.2.9\"]", "\"192.0.2.9\", \"2001:db8::9\"]");
    let config = read(&(FULL.to_owned() + &ha + GROUPS)).unwrap();
    let routers = config.virtual_routers();
    let routers: Vec<String> = routers
        .iter()
        .map(|it| {
            let group = it.group.as_ref().map_or("main", Name::as_str);
            format!("{group} {} {} {}", it.family, it.vrid, it.priority)
        })
        .collect();
    let expected = [
        "main IPv4 51 200",
        "main IPv6 51 200",
        "six IPv6 52 7",
        "post IPv4 53 200",
    ];
    assert_eq!(routers, expected);
    let main = ["192.0.2.9/32 dev eth0", "10.0.2.1/24 dev eth1"];
    // Both services of the file have one address: it belongs to the group of one of them.
    assert_eq!(shared(&config, 0), main);
    let main = [
        "2001:db8::9/128 dev eth0",
        "fe80::200:5eff:fe00:233/128 dev eth0",
    ];
    assert_eq!(shared(&config, 1), main);
    let six = ["fe80::1/128 dev eth0", "2001:db8::1/64 dev eth1"];
    assert_eq!(shared(&config, 2), six);
    assert_eq!(shared(&config, 3), ["192.0.2.10/32 dev eth0"]);
}

#[test]
fn a_service_has_its_address_by_a_router_of_its_family() {
    let six = FULL
        .replace("192.0.2.10:80", "[2001:db8::10]:80")
        .replace("10.0.2.11:8080", "[2001:db8:2::11]:8080")
        .replace("10.0.2.12:8080", "[2001:db8:2::12]:8080");
    let config = read(&(six + HA)).unwrap();
    assert_eq!(config.virtual_routers().len(), 2);
    let main = [
        "2001:db8::10/128 dev eth0",
        "fe80::200:5eff:fe00:233/128 dev eth0",
    ];
    assert_eq!(shared(&config, 1), main);
}

#[test]
fn what_is_wrong_with_groups_is_said_where_it_is() {
    for (from, to, says) in [
        ("52", "51", "vrid 51 is taken"),
        ("53", "52", "vrid 52 is taken"),
        ("\"post\"", "\"six\"", "there is a group six already"),
        ("\"post\"", "\"p o\"", "is not a name"),
        ("= 7", "= 256", "priority 256 is out of range"),
        ("mail", "mial", "did you mean \"mail\"?"),
        ("\"mail\"", "\"mail\", \"mail\"", "mail is named twice"),
        (
            "services = [\"mail\"]",
            "services = []",
            "has nothing to share",
        ),
        ("::1/64", "::1/129", "/129 is out of range: /1 to /128"),
        ("fe80::1", "ff02::1", "not an address of a single host"),
        ("fe80::1", "10.0.2.1/24 dev eth1", "named twice"),
        ("services", "servizes", "did you mean \"services\"?"),
    ] {
        let before = FULL.to_owned() + HA;
        let text = before.clone() + &GROUPS.replacen(from, to, 1);
        let error = read(&text).expect_err(to).to_string();
        assert!(error.contains(says), "{says:?} in {error}");
        let line: usize = error.split(':').nth(1).unwrap().parse().unwrap();
        assert!(line > before.matches('\n').count(), "line {line}: {error}");
    }
    let services = GROUPS.replace("vrid = 52", "vrid = 52\nservices = [\"www\"]");
    let error = read(&(FULL.to_owned() + HA + &services)).expect_err("one address");
    let error = error.to_string();
    assert!(
        error.contains("192.0.2.10 of service mail belongs to group six"),
        "{error}"
    );
}

#[test]
fn reads_ha() {
    use crate::proto::vrrp::{ChecksumForm, Preempt};
    let config = read(&(FULL.to_owned() + HA)).unwrap();
    let ha = config.ha.as_ref().unwrap();
    assert_eq!((ha.vrid.get(), ha.priority.get()), (51, 200));
    assert_eq!(ha.interval.centiseconds(), 5);
    assert_eq!(ha.preempt, Preempt::After(Duration::from_secs(10)));
    assert_eq!(ha.peer, Some(Ipv4Addr::new(192, 0, 2, 3)));
    assert_eq!(ha.checksum, ChecksumForm::WithPseudoHeader);
    let heartbeats = ha.heartbeats.as_ref().unwrap();
    assert_eq!(heartbeats.timing.to_string(), "20ms × 3");
    assert_eq!(heartbeats.port, 4_000);
    let link = |a: [u8; 4], b: [u8; 4]| HeartbeatLink {
        local: a.into(),
        remote: b.into(),
    };
    let named = vec![
        link([192, 0, 2, 2], [192, 0, 2, 3]),
        link([10, 9, 9, 2], [10, 9, 9, 3]),
    ];
    let links = HeartbeatLinks::Named(named);
    assert_eq!(heartbeats.links, links);
    let channel = ChannelConfig { port: 4_001, links };
    assert_eq!(ha.channel, Some(channel));
    let owned = shared(&config, 0);
    assert_eq!(
        owned,
        [
            "192.0.2.9/32 dev eth0",
            "192.0.2.10/32 dev eth0",
            "10.0.2.1/24 dev eth1"
        ]
    );
    let tracked = ha.track.iter();
    let tracked: Vec<String> = tracked
        .map(|track| format!("{} {}", track.tracked, track.weight))
        .collect();
    assert_eq!(
        tracked,
        [
            "interface uplink 120",
            "route 198.51.100.0/24 30",
            "service www 254"
        ]
    );
    let short = "[ha]\ninterface = \"eth0\"\nvrid = 1\n";
    let short = read(&(FULL.to_owned() + short)).unwrap().ha.unwrap();
    assert_eq!((short.priority.get(), short.peer), (100, None));
    assert_eq!(short.interval.duration(), Duration::from_millis(100));
    assert_eq!(short.preempt, Preempt::After(Duration::ZERO));
    assert_eq!(short.checksum, ChecksumForm::Message);
    assert_eq!((short.heartbeats, short.channel), (None, None));
    assert!(full().virtual_routers().is_empty());
}

#[test]
fn heartbeats_go_to_the_peer_unless_they_are_off() {
    let ha = |more: &str| {
        let ha = format!("[ha]\ninterface = \"eth0\"\nvrid = 1\n{more}");
        read(&(FULL.to_owned() + &ha)).map(|config| config.ha.unwrap())
    };
    let peer = "peer = \"192.0.2.3\"\n";
    let paired = ha(peer).unwrap();
    let heartbeats = paired.heartbeats.unwrap();
    assert_eq!(heartbeats.timing.to_string(), "50ms × 3");
    let own = HeartbeatLinks::Own(Ipv4Addr::new(192, 0, 2, 3));
    assert_eq!(heartbeats.links, own);
    let channel = ChannelConfig {
        port: 4_786,
        links: own,
    };
    assert_eq!(paired.channel.as_ref(), Some(&channel));
    let off = format!("{peer}heartbeat = \"off\"\n");
    let off = ha(&off).unwrap();
    assert_eq!((off.heartbeats, off.channel), (None, Some(channel)));
    let alone = ha("heartbeat = \"off\"\n").unwrap();
    assert_eq!((alone.heartbeats, alone.channel), (None, None));
    for alone in [
        "heartbeat = \"50ms\"",
        "heartbeat_port = 1",
        "heartbeat_links = [\"192.0.2.2 > 192.0.2.3\"]",
        "channel_port = 1",
    ] {
        let error = ha(alone).unwrap_err().to_string();
        assert!(error.contains("without peer"), "{error}");
    }
}

#[test]
fn what_is_wrong_with_ha_is_said_where_it_is() {
    for (from, to, says) in [
        (
            "\"eth0\"",
            "\"eth2\"",
            "\"eth2\" is not among the interfaces: eth0, eth1",
        ),
        ("51", "0", "vrid 0 is out of range: 1 to 255"),
        ("200", "256", "priority 256 is out of range: 1 to 255"),
        (
            "200",
            "255",
            "priority 255 is never lowered: with track, 254",
        ),
        ("50ms", "55ms", "interval 55ms is not a multiple of 10ms"),
        ("50ms", "41s", "interval 41s is out of range: 10ms to 40s"),
        (
            "\"192.0.2.3\"",
            "\"224.0.0.18\"",
            "not an address of a single host",
        ),
        ("pseudo-header", "pseudo", "did you mean \"pseudo-header\"?"),
        (
            "10.0.2.1/24",
            "10.0.2.1/33",
            "/33 is out of range: /1 to /32",
        ),
        ("dev eth1", "on eth1", "is not as \"10.0.2.1/32 dev eth1\""),
        ("192.0.2.9", "10.0.2.1/24 dev eth1", "named twice"),
        (
            "preempt_delay",
            "preempt = false\npreempt_delay",
            "no meaning with preempt = false",
        ),
        ("20ms", "5ms", "heartbeat 5ms is out of range: 10ms to 10s"),
        ("20ms", "on", "heartbeat"),
        ("4000", "0", "heartbeat_port 0 is out of range: 1 to 65535"),
        (
            "4001",
            "65536",
            "channel_port 65536 is out of range: 1 to 65535",
        ),
        ("10.9.9.2 >", "192.0.2.2 >", "192.0.2.2 is named twice"),
        (
            "10.9.9.2 >",
            "10.9.9.2 -",
            "is not as \"192.0.2.2 > 192.0.2.3\"",
        ),
        ("10.9.9.2 >", "10.9.9.3 >", "cannot be both ends"),
        ("peer", "pear", "did you mean \"peer\"?"),
        ("254", "255", "weight 255 is out of range: 1 to 254"),
        ("120", "0", "weight 0 is out of range: 1 to 254"),
        (
            "\"uplink\"",
            "\"up link\"",
            "is not the name of an interface",
        ),
        ("\"www\"", "\"wwww\"", "did you mean \"www\"?"),
        ("service =", "servise =", "did you mean \"service\"?"),
        (
            "{ route",
            "{ interface = \"eth0\", route",
            "about one thing",
        ),
        ("{ service = \"www\", ", "{ ", "about one thing"),
        (
            "{ service = \"www\"",
            "{ interface = \"uplink\"",
            "interface uplink is named twice",
        ),
        ("100.0/24", "100.1/24", "more bits set than /24"),
        ("100.0/24", "100.0/33", "/33 is out of range: /0 to /32"),
        ("100.0/24", "100.0", "is not as \"0.0.0.0/0\""),
    ] {
        let text = FULL.to_owned() + &HA.replacen(from, to, 1);
        let error = read(&text).expect_err(to).to_string();
        let end = FULL.len() + HA.find(from).unwrap() + to.len();
        let line = text[..end].matches('\n').count() + 1;
        assert!(
            error.starts_with(&format!("lb.toml:{line}:")),
            "line {line}: {error}"
        );
        assert!(error.contains(says), "{says:?} in {error}");
    }
}

#[test]
fn a_hosts_own_address_is_not_shared() {
    let refused = |text: &str, line: &str, says: [&str; 2]| {
        let error = read(text).expect_err(line).to_string();
        let number = text.lines().position(|it| it.contains(line)).unwrap() + 1;
        let place = format!("lb.toml:{number}:");
        assert!(error.starts_with(&place), "{place} in {error}");
        for says in says {
            assert!(error.contains(says), "{says:?} in {error}");
        }
    };
    let text = FULL.to_owned() + HA;
    let vip = "vip = \"192.0.2.10:80\"";
    assert!(text.contains(vip), "{text}");
    for (from, to, says) in [
        ("\"192.0.2.3\"", "\"192.0.2.10\"", "`peer` in [ha]"),
        ("10.9.9.2 >", "192.0.2.10 >", "this host's end"),
        ("> 10.9.9.3", "> 192.0.2.10", "the other host's end"),
    ] {
        let text = text.replacen(from, to, 1);
        refused(&text, vip, [says, "192.0.2.10 is"]);
    }
    for (from, to, says) in [
        ("192.0.2.9", "192.0.2.3", "192.0.2.3 is `peer` in [ha]"),
        ("10.0.2.1/24", "10.9.9.2/24", "10.9.9.2 is this host's end"),
    ] {
        let text = text.replacen(&format!("\"{from}"), &format!("\"{to}"), 1);
        refused(&text, "addresses =", [says, "another"]);
    }
    let group = "[[ha.group]]\nname = \"more\"\nvrid = 52\naddresses = [\"192.0.2.3/32\"]\n";
    refused(
        &(text + group),
        "\"192.0.2.3/32\"",
        ["`peer` in [ha]", "another"],
    );

    // By the API as by the file.
    let config = read(&(FULL.to_owned() + HA)).unwrap();
    let new = NewService {
        name: "late".to_owned(),
        vip: "192.0.2.3:80/tcp".to_owned(),
        slots: None,
        tracked: None,
        idle_timeout: None,
        check: None,
    };
    let add = change::add_service(&new).unwrap();
    let refusal = change::apply(&config, &add).unwrap_err().to_string();
    assert!(refusal.contains("`peer` in [ha]"), "{refusal}");
}

#[test]
fn each_end_of_a_way_to_the_other_host_is_where_it_belongs() {
    let text = FULL.to_owned() + HA;
    let check = |own: &[[u8; 4]]| {
        let own = own.iter().map(|address| Ipv4Addr::from(*address)).collect();
        check_addresses(&text, Path::new("lb.toml"), &own).map_err(|error| error.to_string())
    };
    let here = [[192, 0, 2, 2], [10, 9, 9, 2]];
    assert_eq!(check(&here), Ok(()));
    let links = text.lines().position(|it| it.contains("heartbeat_links"));
    let peer = text.lines().position(|it| it.contains("peer ="));
    for (own, line, says) in [
        (
            [here[0], [192, 0, 2, 3]],
            peer,
            "peer: 192.0.2.3 is an address of this host",
        ),
        (
            [here[0], [10, 9, 9, 8]],
            links,
            "10.9.9.2 is no address of this host, which has 10.9.9.8",
        ),
    ] {
        let error = check(&own).expect_err(says);
        let place = format!("lb.toml:{}:", line.unwrap() + 1);
        assert!(
            error.starts_with(&place) && error.contains(says),
            "{place} {error}"
        );
    }
    let error = check(&[here[0], here[1], [10, 9, 9, 3]]).expect_err("both ends");
    assert!(
        error.contains("heartbeat_links: 10.9.9.3 is an address of this host"),
        "{error}"
    );
}

#[test]
fn what_is_shared_is_nobody_elses() {
    let text = FULL.to_owned() + HA;
    for (from, to) in [("192.0.2.9", "192.0.2.10"), ("10.0.2.1/24", "10.0.2.11/24")] {
        let error = read(&text.replacen(from, to, 1)).expect_err(to).to_string();
        assert!(error.contains("is among the addresses of [ha]"), "{error}");
    }
    let nothing = "interfaces = [\"eth0\"]\n[ha]\ninterface = \"eth0\"\nvrid = 1\n";
    let error = read(nothing).expect_err("nothing to share").to_string();
    assert!(
        error.starts_with("lb.toml:2:") && error.contains("nothing to share"),
        "{error}"
    );
}

/// It was added and drained by CLI, and then the file came to have it, too.
#[test]
fn what_the_file_has_by_now_keeps_what_was_said_of_it() {
    let base = full();
    let name: BackendRef = "www/late".parse().unwrap();
    let new = NewBackend {
        name: "late".to_owned(),
        address: "10.0.2.99:80".to_owned(),
        weight: Some(3),
    };
    let add = change::add_backend("www", &new).unwrap();
    let file = change::apply(
        &base,
        &change::add_backend(
            "www",
            &NewBackend {
                weight: None,
                ..new
            },
        )
        .unwrap(),
    );
    let file = file.unwrap();
    let patch = BackendPatch {
        weight: None,
        admin: Some("drain".to_owned()),
    };
    let drain = change::set_backend("www", "late", &patch).unwrap();
    let running = change::apply(&change::apply(&base, &add).unwrap(), &drain).unwrap();
    let applied = Overlay::between(&base, &running).apply(&file);
    let late = &applied.config.services[&name.service].backends[&name.backend];
    assert_eq!((late.weight, late.admin), (3, Admin::Drain));
    assert_eq!(applied.reasons, Vec::<String>::new());
}
