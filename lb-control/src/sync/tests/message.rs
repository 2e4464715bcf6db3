//! Releases that know of different things.

use crate::config::{Overlay, Refusal};
use crate::sync::message::PROTOCOLS;
use crate::sync::{Hello, Message, Proposal, Snapshot, Status, Version};
use serde_json::{Value, json};

fn version() -> Version {
    Version::default().next("a", "1".to_owned())
}

fn services() -> Overlay {
    serde_json::from_value(json!({"removed_services": ["www"]})).expect("an overlay")
}

fn hello(protocols: [u32; 2]) -> Hello {
    Hello {
        host: "b".to_owned(),
        release: "9.8.7".to_owned(),
        protocols,
    }
}

pub(super) fn all() -> Vec<Message> {
    let name = "www".parse().expect("a name");
    let version = version();
    let refusal = Refusal::Conflict {
        expected: 1,
        actual: 2,
    };
    vec![
        Message::Hello(hello(PROTOCOLS)),
        Message::Status(Status {
            configured: 200,
            leads: true,
            ready: true,
            priority: 100,
            version: version.clone(),
            up: [(name, 3)].into(),
            lacks: Some("the map is full".to_owned()),
        }),
        Message::Config(Snapshot {
            version: version.clone(),
            services: services(),
        }),
        Message::Taken {
            version: version.clone(),
        },
        Message::NotTaken {
            version: version.clone(),
            reason: "no".to_owned(),
        },
        Message::Propose(Proposal {
            id: 1,
            from: version,
            services: services(),
            cut: vec![],
            what: "remove service www".to_owned(),
        }),
        Message::Answer {
            id: 1,
            result: Ok(7),
        },
        Message::Answer {
            id: 2,
            result: Err(refusal.clone()),
        },
        Message::Mark { number: 1 },
        Message::Reached {
            number: 1,
            digest: "00".to_owned(),
        },
        Message::Dropped {
            what: vec!["backend www/web1: drain".to_owned()],
        },
        Message::TakeOver,
        Message::Switch { id: 1 },
        Message::Switched {
            id: 1,
            result: Ok(()),
        },
        Message::Switched {
            id: 2,
            result: Err(refusal),
        },
    ]
}

#[test]
fn all_of_them_there_and_back() {
    for message in all() {
        let text = serde_json::to_vec(&message).expect("text");
        let read: Message = serde_json::from_slice(&text).expect("a message");
        assert_eq!(read, message);
    }
}

#[test]
fn fields_of_a_newer_release_are_ignored() {
    for message in all() {
        let mut value = serde_json::to_value(&message).expect("a value");
        value["news"] = json!({"of": [1, 2]});
        if let Some(Value::Object(version)) = value.get_mut("version") {
            version.insert("news".to_owned(), json!(true));
        }
        let read: Message = serde_json::from_value(value).expect("a message");
        assert_eq!(read, message);
    }
}

/// What a newer release has in a configuration would be lost on the way to a file. What becomes of
/// one is said in `release`.
#[test]
fn a_configuration_that_holds_unknown_things_is_not_read() {
    let mut value = serde_json::to_value(Message::Config(Snapshot {
        version: version(),
        services: services(),
    }))
    .expect("a value");
    value["services"]["news"] = json!({});
    let error = serde_json::from_value::<Message>(value).expect_err("unknown");
    assert!(error.to_string().contains("news"), "{error}");
}

#[test]
fn one_release_apart_is_spoken_with() {
    let [oldest, newest] = PROTOCOLS;
    for (protocols, spoken) in [
        ([oldest, newest], newest),
        ([newest, newest + 1], newest),
        ([oldest - 1, oldest], oldest),
        ([0, u32::MAX], newest),
    ] {
        let found = hello(protocols).protocol();
        assert_eq!(found, Ok(spoken), "{protocols:?}");
    }
}

#[test]
fn two_releases_apart_is_refused_in_words() {
    let [oldest, newest] = PROTOCOLS;
    for protocols in [
        [newest + 1, newest + 2],
        [newest + 1, newest + 1],
        [0, oldest - 1],
        // Nobody says this.
        [newest + 1, oldest - 1],
    ] {
        let reason = hello(protocols).protocol().expect_err("not spoken");
        assert!(reason.contains("9.8.7"), "{reason}");
        assert!(reason.contains(env!("CARGO_PKG_VERSION")), "{reason}");
    }
}
