//! What this release writes is what others read, and what they wrote is read.
//!
//! A line of a file is a frame: its kind, and what is in it, as it is in messages and in hexadecimal
//! otherwise. The file of a release that is out is kept as it is. If this release is to write
//! something else, the release before it must be able to read it, or the two must not speak the
//! same of [`PROTOCOLS`].

use super::{message, tables};
use crate::config::{self, Overlay, Refusal};
use crate::sync::delta::{Delta, shared};
use crate::sync::flows;
use crate::sync::message::PROTOCOLS;
use crate::sync::{Effect, Hello, Message, Proposal, Session, Snapshot, Status, Version};
use lb_ebpf::abi::{Addr, Flow, FlowKey};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Instant;

/// By release 0.1.
const WRITTEN: &str = include_str!("release-0.1.txt");

/// The clock of both hosts.
const NOW_MS: u32 = 10_000;

fn version() -> Version {
    Version::default().next("a", "1".to_owned())
}

/// All that can be said of services.
fn services() -> Overlay {
    serde_json::from_value(json!({
        "removed_services": ["gone"],
        "removed_backends": ["www/web9"],
        "changed_checks": {"mail": {"type": "tcp"}},
        "changed_backends": {"mail/one": {"weight": 2, "admin": "drain"}},
        "added_services": {"www": {"vip": "192.0.2.10:80/tcp", "slots": 251, "check": {
            "type": "http", "port": 81, "path": "/healthz", "host": "www.foobar.com", "expect": 204,
            "interval": "2s", "timeout": "1s", "rise": 2, "fall": 3,
        }}},
        "added_backends": {
            "www/web1": {"address": "10.0.2.11:8080", "weight": 1, "admin": "ready"},
            "www/web2": {"address": "10.0.2.12:8080", "weight": 5, "admin": "drain"},
        },
    }))
    .expect("an overlay")
}

fn messages() -> Vec<Message> {
    let mut messages = message::all();
    messages.push(Message::Config(Snapshot {
        version: version(),
        services: services(),
    }));
    messages.push(Message::Propose(Proposal {
        id: 3,
        from: version(),
        services: services(),
        cut: vec!["www/web1".parse().expect("a backend")],
        what: "remove backend www/web1 by force".to_owned(),
    }));
    for refusal in [
        Refusal::Invalid("a".to_owned()),
        Refusal::NotFound("b".to_owned()),
        Refusal::Exists("c".to_owned()),
        Refusal::Failed("d".to_owned()),
    ] {
        messages.push(Message::Answer {
            id: 4,
            result: Err(refusal),
        });
    }
    messages
}

fn flow() -> (FlowKey, Flow) {
    let key = FlowKey::new(Addr::v4([198, 51, 100, 7]), [1, 2], 3);
    let flow = Flow {
        last_seen_ms: NOW_MS - 258,
        backend: 4,
        phase: 1,
    };
    (key, flow)
}

fn delta() -> Delta {
    let before = tables(&[(1, 1, &[(1, 1)]), (2, 2, &[(3, 3)])], 1);
    let after = tables(&[(1, 1, &[(2, 1), (2, 0)]), (3, 4, &[(5, 5)])], 1);
    Delta::between(&shared(&before), &shared(&after))
}

/// One of each kind, and of each message.
fn frames() -> Vec<Vec<u8>> {
    let mut frames: Vec<Vec<u8>> = messages()
        .iter()
        .map(|message| {
            let mut frame = vec![1];
            serde_json::to_writer(&mut frame, message).expect("text");
            frame
        })
        .collect();
    let mut bytes = Vec::new();
    delta().encode(&mut bytes);
    let (begin, end) = bytes.split_at(bytes.len() / 2);
    frames.extend([[&[2], begin].concat(), [&[3], end].concat(), vec![4]]);
    let mut frame = vec![5];
    flows::encode(&[flow()], NOW_MS, &mut frame);
    frames.push(frame);
    let mut frame = vec![6];
    flows::encode_keys(&[flow().0], &mut frame);
    frames.push(frame);
    frames
}

fn to_text(frame: &[u8]) -> String {
    match frame {
        [1, message @ ..] => format!("1 {}\n", String::from_utf8_lossy(message)),
        [kind, payload @ ..] => {
            let payload: String = payload.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("{}\n", format!("{kind} {payload}").trim_end())
        }
        [] => panic!("a frame has a kind"),
    }
}

fn from_text(line: &str) -> Vec<u8> {
    let (kind, payload) = line.split_once(' ').unwrap_or((line, ""));
    let kind = kind.parse().expect("a number");
    let payload = match kind {
        1 => payload.as_bytes().to_vec(),
        _ => {
            let digits = payload.as_bytes().chunks(2);
            let text = digits.map(|it| str::from_utf8(it).expect("digits"));
            text.map(|it| u8::from_str_radix(it, 16).expect("a byte"))
                .collect()
        }
    };
    [&[kind], payload.as_slice()].concat()
}

fn written() -> Vec<Vec<u8>> {
    WRITTEN.lines().map(from_text).collect()
}

#[test]
fn this_release_writes_what_is_read() {
    let text: String = frames().iter().map(|frame| to_text(frame)).collect();
    for (now, before) in text.lines().zip(WRITTEN.lines()) {
        assert_eq!(now, before);
    }
    assert_eq!(text, WRITTEN);
}

#[test]
fn every_message_is_among_them() {
    let kinds: BTreeSet<String> = written()
        .iter()
        .filter_map(|frame| frame.strip_prefix(&[1]))
        .map(|message| serde_json::from_slice::<Value>(message).expect("JSON"))
        .map(|message| message["kind"].as_str().expect("a kind").to_owned())
        .collect();
    let known = crate::sync::session::KNOWN.map(str::to_owned);
    assert_eq!(kinds, BTreeSet::from(known));
}

#[test]
fn what_was_written_is_read() {
    let mut written = written().into_iter();
    for message in messages() {
        let frame = written.next().expect("a frame");
        let read: Message = serde_json::from_slice(&frame[1..]).expect("a message");
        assert_eq!(read, message);
    }
    let mut next = || written.next().expect("a frame")[1..].to_vec();
    let bytes = [next(), next()].concat();
    assert_eq!(Delta::decode(&bytes), Ok(delta()));
    assert!(next().is_empty());
    assert_eq!(flows::decode(&next(), NOW_MS), Ok(vec![flow()]));
    assert_eq!(flows::decode_keys(&next()), Ok(vec![flow().0]));
    assert_eq!(written.next(), None);
}

#[test]
fn a_session_takes_all_of_it() {
    let mut session = connected();
    for frame in written() {
        // What the delta is to be applied to never was sent.
        if matches!(frame[0], 2 | 3) {
            continue;
        }
        assert_eq!(session.on_frame(Instant::now(), &frame, NOW_MS), Ok(()));
    }
}

/// The digest names a configuration to both hosts, whichever release each runs.
#[test]
fn a_configuration_has_the_digest_that_it_had() {
    let file = "interfaces = [\"eth0\"]\n\
                [[service]]\nname = \"www\"\nvip = \"192.0.2.10:80\"\nslots = 251\n\
                [service.check]\ntype = \"http\"\npath = \"/healthz\"\n\
                [[service.backend]]\nname = \"web1\"\naddress = \"10.0.2.11:8080\"\n\
                [[service]]\nname = \"mail\"\nvip = \"192.0.2.11:25\"\n";
    let config = config::parse(file, Path::new("lbd.toml")).expect("a configuration");
    assert_eq!(Snapshot::hash(&config), "b654a0b2e4d3d559");
}

/// One that stands by and is connected to a leader of a newer release, which speaks an older
/// protocol, too.
fn connected() -> Session {
    let snapshot = Snapshot {
        version: Version::default(),
        services: Overlay::default(),
    };
    let mut session = Session::new("a".to_owned(), snapshot);
    session.connected();
    let hello = Message::Hello(Hello {
        host: "b".to_owned(),
        release: "9.8.7".to_owned(),
        protocols: [PROTOCOLS[1], PROTOCOLS[1] + 1],
    });
    let status = Message::Status(Status {
        leads: true,
        version: version(),
        ..Status::default()
    });
    for message in [hello, status] {
        tell(&mut session, serde_json::to_value(message).expect("JSON"));
    }
    effects(&mut session);
    session
}

fn tell(session: &mut Session, message: Value) {
    let mut frame = vec![1];
    serde_json::to_writer(&mut frame, &message).expect("text");
    assert_eq!(session.on_frame(Instant::now(), &frame, NOW_MS), Ok(()));
}

fn effects(session: &mut Session) -> Vec<Effect> {
    std::iter::from_fn(|| session.next_effect()).collect()
}

/// What was sent, read.
fn said(session: &mut Session) -> Vec<Message> {
    let sent = effects(session)
        .into_iter()
        .filter_map(|effect| match effect {
            Effect::Send(frame) => Some(serde_json::from_slice(&frame[1..]).expect("a message")),
            _ => None,
        });
    sent.collect()
}

fn knows_no_more(session: &Session) {
    assert!(session.is_spoken(), "the session goes on");
    assert_eq!(session.version(), &Version::default());
}

#[test]
fn a_configuration_with_something_new_is_refused_and_nothing_else() {
    for place in ["", "/added_services/www", "/added_backends/www~1web1"] {
        let mut session = connected();
        let mut message = json!(Message::Config(Snapshot {
            version: version(),
            services: services(),
        }));
        let place = message.pointer_mut(&format!("/services{place}"));
        place.expect("a place")["news"] = json!({"of": [1, 2]});
        // It comes again and again, as the other one has no other.
        for _ in 0..3 {
            tell(&mut session, message.clone());
            let said = said(&mut session);
            let [Message::NotTaken { version, reason }] = said.as_slice() else {
                panic!("{said:?}");
            };
            assert_eq!(version, &self::version());
            for part in ["`news`", env!("CARGO_PKG_VERSION"), "upgrade"] {
                assert!(reason.contains(part), "{reason}");
            }
            knows_no_more(&session);
            let lacks = session
                .is_synchronised()
                .expect_err("another configuration");
            assert!(lacks.contains("`news`"), "{lacks}");
        }
        // Once that is taken back, all is well.
        tell(
            &mut session,
            json!(Message::Config(Snapshot {
                version: version(),
                services: services(),
            })),
        );
        let effects = effects(&mut session);
        assert!(matches!(effects[..], [Effect::Adopt { .. }]), "{effects:?}");
    }
}

#[test]
fn a_change_with_something_new_is_refused_and_nothing_else() {
    let mut session = connected();
    let mut message = json!(Message::Propose(Proposal {
        id: 7,
        from: Version::default(),
        services: services(),
        cut: vec![],
        what: "something new".to_owned(),
    }));
    message["services"]["news"] = json!(1);
    tell(&mut session, message);
    let said = said(&mut session);
    let [
        Message::Answer {
            id: 7,
            result: Err(Refusal::Invalid(reason)),
        },
    ] = said.as_slice()
    else {
        panic!("{said:?}");
    };
    assert!(reason.contains("`news`"), "{reason}");
    knows_no_more(&session);
}

#[test]
fn an_answer_that_means_nothing_is_no_yes() {
    let result = json!({"Err": {"news": 1}});
    for kind in ["answer", "switched"] {
        let mut session = connected();
        tell(
            &mut session,
            json!({"kind": kind, "id": 7, "result": result}),
        );
        let effects = effects(&mut session);
        let reason = match effects.as_slice() {
            [Effect::Answered(7, Err(reason))] if kind == "answer" => reason,
            [Effect::Switched(7, Err(reason))] if kind == "switched" => reason,
            other => panic!("{other:?}"),
        };
        assert!(reason.to_string().contains("look whether"), "{reason}");
        knows_no_more(&session);
    }
}

#[test]
fn what_is_no_message_ends_the_session() {
    for message in [
        &b"{"[..],
        b"{}",
        br#"{"kind": 1}"#,
        br#"{"kind": "config"}"#,
        br#"{"kind": "mark", "number": "x"}"#,
        br#"{"kind": "propose", "id": -1}"#,
    ] {
        let frame = [&[1], message].concat();
        let mut session = connected();
        let refused = session.on_frame(Instant::now(), &frame, NOW_MS);
        let error = refused.expect_err("no message");
        assert!(error.contains("cannot be read"), "{error}");
    }
}
