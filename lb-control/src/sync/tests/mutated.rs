//! What the other host says, nearly right: by mistake, or from a release that has one.

use super::message::all;
use super::tables;
use crate::config::Overlay;
use crate::proto::mutation::{nearly, nearly_json};
use crate::sync::{Effect, Hello, Message, Session, Snapshot, Status, Version};
use bytes::Bytes;
use lb_ebpf::abi::{Addr, Flow, FlowKey};
use proptest::prelude::*;
use std::time::Instant;

const MESSAGE: u8 = 1;

fn snapshot() -> Snapshot {
    Snapshot {
        version: Version::default(),
        services: Overlay::default(),
    }
}

fn frame(message: &serde_json::Value) -> Vec<u8> {
    let mut frame = vec![MESSAGE];
    serde_json::to_writer(&mut frame, message).expect("text");
    frame
}

/// What a leader sends one after the other, until the standby has everything.
fn conversation() -> Vec<Vec<u8>> {
    let now = Instant::now();
    let [mut leader, mut standby] = ["a", "b"].map(|it| Session::new(it.to_owned(), snapshot()));
    let slots: Vec<(u16, u16)> = (0..40).map(|it| (it % 3 + 1, it % 5)).collect();
    let key = FlowKey::new(Addr::v4([198, 51, 100, 1]), [1, 2], 1);
    let flow = Flow {
        last_seen_ms: 1,
        backend: 2,
        phase: 1,
    };
    leader.publish(now, &tables(&[(1, 1, &slots), (2, 2, &slots[..7])], 1));
    leader.set_status(now, status(true), true);
    leader.connected();
    standby.connected();
    let mut said = Vec::new();
    let mut deliver = |leader: &mut Session, standby: &mut Session| {
        loop {
            let mut quiet = true;
            while let Some(effect) = leader.next_effect() {
                quiet = false;
                match effect {
                    Effect::Send(frame) => {
                        assert_eq!(standby.on_frame(now, &frame, 0), Ok(()));
                        said.push(frame.to_vec());
                    }
                    Effect::ReadFlows => leader.send_all_flows(now, &[(key, flow)], 1),
                    _ => {}
                }
            }
            while let Some(effect) = standby.next_effect() {
                quiet = false;
                match effect {
                    Effect::Send(frame) => assert_eq!(leader.on_frame(now, &frame, 0), Ok(())),
                    Effect::Mirror => standby.held(Ok(())),
                    _ => {}
                }
            }
            if quiet {
                break;
            }
        }
    };
    deliver(&mut leader, &mut standby);
    leader.publish(now, &tables(&[(1, 1, &slots[1..])], 1));
    leader.send_flows(&[(key, flow)], 1);
    leader.send_flows_gone(&[key]);
    deliver(&mut leader, &mut standby);
    assert_eq!(standby.is_synchronised(), Ok(()));
    said
}

fn status(leads: bool) -> Status {
    Status {
        leads,
        ready: true,
        priority: 100,
        ..Status::default()
    }
}

/// One that is nearly one of the conversation's, or nearly any message.
fn some_frame() -> impl Strategy<Value = Vec<u8>> {
    let values = all();
    let values = values
        .iter()
        .map(|it| serde_json::to_value(it).expect("a value"));
    let values: Vec<_> = values.collect();
    let texts = values.iter().map(frame).collect();
    prop_oneof![
        3 => nearly(conversation()),
        1 => nearly(texts),
        2 => nearly_json(values).prop_map(|value| frame(&value)),
    ]
}

/// Hears a frame, and does what is to be done, as a host that can do all of it.
fn hear(session: &mut Session, frame: &[u8]) -> Result<(), TestCaseError> {
    let now = Instant::now();
    if session.on_frame(now, frame, 5).is_err() {
        session.disconnected();
        session.connected();
        let hello = Message::Hello(Hello {
            host: "a".to_owned(),
            release: "1".to_owned(),
            protocols: crate::sync::message::PROTOCOLS,
        });
        let hello = self::frame(&serde_json::to_value(&hello).expect("a value"));
        prop_assert_eq!(session.on_frame(now, &hello, 5), Ok(()));
    }
    while let Some(effect) = session.next_effect() {
        match effect {
            Effect::Adopt { snapshot, .. } => session.taken(snapshot),
            Effect::ReadFlows => session.send_all_flows(now, &[], 5),
            Effect::Mirror => {
                let tables = session.mirror().expect("a mirror");
                for service in tables.services.values() {
                    let slots = tables.slots.get(&service.id).map(Vec::len);
                    prop_assert_eq!(slots, Some(service.slot_count as usize));
                }
                prop_assert_eq!(tables.slots.len(), tables.services.len());
                session.held(Ok(()));
            }
            Effect::Send(frame) => prop_assert_ne!(frame, Bytes::new()),
            _ => {}
        }
    }
    Ok(())
}

proptest! {
    /// Whatever is said, this end stands, its tables are sound, and it can be told the right thing
    /// then.
    #[test]
    fn a_session_stands_whatever_it_hears(
        before in 0..20_usize,
        frames in prop::collection::vec(some_frame(), 1..6),
        leads: bool,
    ) {
        let right = conversation();
        let mut session = Session::new("b".to_owned(), snapshot());
        session.connected();
        for frame in right.iter().take(before) {
            hear(&mut session, frame)?;
        }
        session.set_status(Instant::now(), status(leads), true);
        for frame in &frames {
            hear(&mut session, frame)?;
        }
        session.set_status(Instant::now(), status(false), true);

        // It may have taken over a configuration: that is told on a new connection.
        let mut anew = Session::new("b".to_owned(), snapshot());
        for session in [&mut session, &mut anew] {
            session.disconnected();
            session.set_config(snapshot());
            session.connected();
            for frame in &right {
                hear(session, frame)?;
            }
            prop_assert_eq!(session.is_synchronised(), Ok(()));
        }
        prop_assert_eq!(session.mirror(), anew.mirror());
    }
}
