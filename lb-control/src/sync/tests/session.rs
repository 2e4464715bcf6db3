//! What an end of the channel does about each thing that happens.

use super::tables;
use crate::config::Overlay;
use crate::dataplane::Tables;
use crate::sync::delta::{Delta, Fault, shared};
use crate::sync::message::PROTOCOLS;
use crate::sync::{Effect, Hello, Message, Session, Snapshot, Status, Version};
use bytes::Bytes;
use lb_ebpf::abi::{Addr, Flow, FlowKey, Slot, capacity};
use std::time::{Duration, Instant};

const MESSAGE: u8 = 1;
const TABLES: u8 = 2;
const TABLES_END: u8 = 3;
const ANEW: u8 = 4;
const FLOWS: u8 = 5;
const FLOWS_GONE: u8 = 6;

fn snapshot(version: Version) -> Snapshot {
    Snapshot {
        version,
        services: Overlay::default(),
    }
}

/// The first version, and one that a host made after it.
fn first() -> Version {
    Version::default().next("a", "1".to_owned())
}

fn second(author: &str) -> Version {
    first().next(author, format!("2{author}"))
}

fn status(leads: bool, version: Version) -> Status {
    Status {
        leads,
        ready: true,
        version,
        ..Status::default()
    }
}

fn frame(message: &Message) -> Vec<u8> {
    let mut frame = vec![MESSAGE];
    serde_json::to_writer(&mut frame, message).expect("text");
    frame
}

fn read(frame: &[u8]) -> Message {
    let (kind, payload) = frame.split_first().expect("a kind");
    assert_eq!(*kind, MESSAGE);
    serde_json::from_slice(payload).expect("a message")
}

fn hello(protocols: [u32; 2]) -> Vec<u8> {
    frame(&Message::Hello(Hello {
        host: "b".to_owned(),
        release: "9.8.7".to_owned(),
        protocols,
    }))
}

fn has_reached(number: u64, tables: &Tables) -> Message {
    let digest = crate::sync::delta::digest(&shared(tables));
    Message::Reached { number, digest }
}

fn some_tables(owner: u16) -> Tables {
    tables(&[(1, 1, &[(1, 1), (owner, owner)])], 1)
}

fn flow(number: u8) -> (FlowKey, Flow) {
    let key = FlowKey::new(Addr::v4([198, 51, 100, number]), [1, 2], 1);
    let flow = Flow {
        last_seen_ms: 0,
        backend: 1,
        phase: 1,
    };
    (key, flow)
}

/// One end, and a test in place of the other.
struct End {
    session: Session,
    now: Instant,
}

impl End {
    /// Not connected, with a version that one host made.
    fn new(version: Version) -> Self {
        Self {
            session: Session::new("a".to_owned(), snapshot(version)),
            now: Instant::now(),
        }
    }

    /// Connected to one that said hello, and how things are there. That was answered.
    fn connected(leads: bool, version: Version, peer: Status) -> Self {
        let mut end = Self::new(version);
        end.leads(leads);
        end.session.publish(end.now, &some_tables(1));
        end.connect(peer);
        end
    }

    fn connect(&mut self, peer: Status) {
        self.session.connected();
        assert_eq!(self.frames().len(), 2);
        self.hear(&hello(PROTOCOLS));
        self.effects();
        self.told(Message::Status(peer));
    }

    fn leads(&mut self, leads: bool) {
        let status = status(leads, Version::default());
        self.session.set_status(self.now, status, false);
    }

    fn hear(&mut self, frame: &[u8]) {
        assert_eq!(self.try_hear(frame), Ok(()));
    }

    fn try_hear(&mut self, frame: &[u8]) -> Result<(), String> {
        self.session.on_frame(self.now, frame, 1_000)
    }

    fn told(&mut self, message: Message) {
        self.hear(&frame(&message));
    }

    fn tables(&mut self, before: &Tables, after: &Tables) {
        let mut frame = vec![TABLES_END];
        Delta::between(&shared(before), &shared(after)).encode(&mut frame);
        self.hear(&frame);
    }

    fn effects(&mut self) -> Vec<Effect> {
        std::iter::from_fn(|| self.session.next_effect()).collect()
    }

    /// What is sent, and nothing else is done, but for news of the other.
    fn frames(&mut self) -> Vec<Bytes> {
        let effects = self.effects().into_iter();
        let effects = effects.filter(|effect| *effect != Effect::Peer);
        let frame = |effect| match effect {
            Effect::Send(frame) => frame,
            other => panic!("{other:?}"),
        };
        effects.map(frame).collect()
    }

    fn said(&mut self) -> Vec<Message> {
        self.frames().iter().map(|frame| read(frame)).collect()
    }

    /// What is done, but for news of the other.
    fn done(&mut self) -> Vec<Effect> {
        let mut effects = self.effects();
        effects.retain(|effect| *effect != Effect::Peer);
        effects
    }

    /// A leader whose standby has all.
    fn followed() -> Self {
        let mut end = Self::connected(true, first(), status(false, first()));
        end.effects();
        end.session.send_all_flows(end.now, &[], 0);
        end.reached(1, &some_tables(1));
        assert_eq!(end.session.is_followed(), Ok(()));
        end.effects();
        end
    }

    fn reached(&mut self, number: u64, tables: &Tables) {
        self.told(has_reached(number, tables));
    }

    /// A standby that has all.
    fn following() -> Self {
        let mut end = Self::connected(false, first(), status(true, first()));
        end.hear(&[ANEW]);
        end.tables(&Tables::default(), &some_tables(2));
        end.told(Message::Mark { number: 1 });
        end.session.held(Ok(()));
        end.effects();
        assert_eq!(end.session.is_synchronised(), Ok(()));
        end
    }
}

#[test]
fn a_channel_begins_with_hello_and_how_things_are() {
    let mut end = End::new(first());
    end.leads(true);
    assert_eq!(end.effects(), [], "nobody is there");
    end.session.connected();
    let [hello, state] = &end.said()[..] else {
        panic!("two are said");
    };
    let Message::Hello(hello) = hello else {
        panic!("{hello:?}");
    };
    assert_eq!((&*hello.host, hello.protocols), ("a", PROTOCOLS));
    assert_eq!(*state, Message::Status(status(true, first())));
}

#[test]
fn nothing_is_heard_before_hello() {
    let no_hello = Err("the other host did not say hello first".to_owned());
    let before = [
        frame(&Message::Status(status(true, second("b")))),
        frame(&Message::Config(snapshot(second("b")))),
        frame(&Message::TakeOver),
        vec![ANEW],
        vec![TABLES],
        vec![TABLES_END],
        vec![FLOWS],
        vec![FLOWS_GONE],
        vec![99],
    ];
    for frame in before {
        let mut end = End::new(first());
        end.session.connected();
        end.effects();
        assert_eq!(end.try_hear(&frame), no_hello, "{frame:?}");
        assert_eq!(end.effects(), []);
        assert_eq!(end.session.peer(), None);
    }
}

#[test]
fn garbage_closes_the_channel() {
    let garbage: [&[u8]; 8] = [
        &[],
        &[MESSAGE],
        b"\x01{",
        b"\x01{\"kind\":\"mark\"}",
        b"\x01{\"kind\":7}",
        &[TABLES_END, 77],
        &[FLOWS, 1],
        &[FLOWS_GONE, 1],
    ];
    for frame in garbage {
        for leads in [false, true] {
            let mut end = End::connected(leads, first(), status(!leads, first()));
            end.effects();
            let reason = end.try_hear(frame).expect_err("garbage");
            assert!(!reason.is_empty());
            assert_eq!(end.effects(), [], "{frame:?}");
        }
    }
}

#[test]
fn what_only_newer_releases_say_is_ignored() {
    for frame in [&b"\x01{\"kind\":\"news\",\"of\":[1]}"[..], &[99], &[99, 1]] {
        let mut end = End::following();
        end.hear(frame);
        assert_eq!(end.effects(), []);
        assert_eq!(end.session.is_synchronised(), Ok(()));
    }
    let mut end = End::new(first());
    end.session.connected();
    assert!(end.try_hear(b"\x01{\"kind\":\"news\"}").is_err());
}

#[test]
fn nothing_is_heard_of_another_protocol() {
    let mut end = End::new(first());
    end.session.connected();
    end.effects();
    end.hear(&hello([PROTOCOLS[1] + 1, PROTOCOLS[1] + 1]));
    assert_eq!(end.effects(), [Effect::Peer]);
    // Its messages may have other fields, and its tables another form.
    for frame in [
        &frame(&Message::Status(status(true, second("b"))))[..],
        b"\x01{\"kind\":\"mark\"}",
        &[ANEW],
        &[TABLES_END, 77],
        &[FLOWS, 1],
    ] {
        end.hear(frame);
    }
    end.leads(true);
    end.session.publish(end.now, &some_tables(1));
    end.session.send_flows(&[flow(1)], 0);
    let said = end.said();
    assert_eq!(said, [Message::Status(status(true, first()))]);
    assert!(!end.session.is_spoken());
    let reason = end.session.is_synchronised().expect_err("not spoken with");
    assert!(reason.contains("9.8.7"), "{reason}");
}

#[test]
fn a_configuration_goes_from_the_newer_one_to_the_older() {
    for (own, peer, sends) in [
        (first(), first(), false),
        (second("a"), first(), true),
        (first(), second("a"), false),
        // The later term stays.
        (second("b"), second("a"), true),
        (second("a"), second("b"), false),
    ] {
        for leads in [false, true] {
            let state = status(false, peer.clone());
            let mut end = End::connected(false, own.clone(), state.clone());
            let expected = sends.then(|| Message::Config(snapshot(own.clone())));
            let expected = Vec::from_iter(expected);
            assert_eq!(end.said(), expected, "{own:?} meets {peer:?}");
            // And not again, whoever leads.
            end.told(Message::Status(Status { leads, ..state }));
            assert_eq!(end.said(), []);
            let synchronised = end.session.is_synchronised();
            let reason = "it has not the other's configuration yet".to_owned();
            let expected = if own != peer { Err(reason) } else { Ok(()) };
            if !leads || own != peer {
                assert_eq!(synchronised, expected);
            }
        }
    }
}

#[test]
fn a_newer_configuration_is_adopted() {
    for (own, sent, diverged) in [
        (first(), second("b"), false),
        (second("a"), second("b"), true),
    ] {
        let mut end = End::connected(false, own, status(true, sent.clone()));
        assert_eq!(end.effects(), [Effect::Peer], "it comes");
        let snapshot = snapshot(sent.clone());
        end.told(Message::Config(snapshot.clone()));
        let adopt = Effect::Adopt {
            snapshot: snapshot.clone(),
            diverged,
        };
        assert_eq!(end.effects(), [adopt]);
        end.session.taken(snapshot);
        let state = Message::Status(status(false, sent.clone()));
        assert_eq!(end.said(), [state, Message::Taken { version: sent }]);
    }
}

#[test]
fn an_older_configuration_is_not_adopted() {
    for (own, sent) in [(second("b"), first()), (second("b"), second("a"))] {
        let mut end = End::connected(false, own.clone(), status(true, own.clone()));
        end.effects();
        end.told(Message::Config(snapshot(sent)));
        assert_eq!(end.said(), [Message::Status(status(false, own))]);
    }
    let mut end = End::connected(false, first(), status(true, first()));
    end.effects();
    end.told(Message::Config(snapshot(first())));
    assert_eq!(end.said(), [Message::Taken { version: first() }]);
}

#[test]
fn what_is_refused_is_told_and_offered_again_later() {
    let version = second("a");
    let refusal = Message::NotTaken {
        version: version.clone(),
        reason: "the disk is full".to_owned(),
    };
    let different = Err("the two have different configurations: the disk is full".to_owned());

    let behind = Message::Status(status(false, first()));
    let mut end = End::connected(true, version.clone(), status(false, first()));
    end.effects();
    end.told(refusal.clone());
    let effect = Effect::NotTaken(version.clone(), "the disk is full".to_owned());
    assert_eq!(end.done(), [effect], "not at once");
    assert_eq!(end.session.is_synchronised(), different);
    end.told(behind);
    assert_eq!(end.said(), [Message::Config(snapshot(version.clone()))]);
    end.told(Message::Status(status(false, version.clone())));
    assert_eq!(end.session.is_synchronised(), Ok(()));

    let mut end = End::connected(false, first(), status(true, version.clone()));
    end.told(Message::Config(snapshot(version.clone())));
    end.effects();
    end.session
        .not_taken(version, "the disk is full".to_owned());
    assert_eq!(end.said(), [refusal]);
    assert_eq!(end.session.is_synchronised(), different);
}

#[test]
fn a_change_that_was_offered_first_and_refused_makes_no_difference() {
    let mut end = End::followed();
    let version = second("a");
    end.session.offer(snapshot(version.clone()));
    assert_eq!(end.said(), [Message::Config(snapshot(version.clone()))]);
    let reason = "the disk is full".to_owned();
    end.told(Message::NotTaken { version, reason });
    assert_eq!(end.session.is_synchronised(), Ok(()));
    assert_eq!(end.session.is_followed(), Ok(()));
}

#[test]
fn a_change_that_was_offered_first_is_this_hosts_when_it_is_taken() {
    let mut end = End::followed();
    let version = second("a");
    end.session.offer(snapshot(version.clone()));
    end.effects();
    end.told(Message::Status(status(false, version.clone())));
    assert_eq!(end.said(), []);
    end.told(Message::Taken {
        version: version.clone(),
    });
    assert_eq!(end.done(), [Effect::Taken(version.clone())]);
    end.session.set_config(snapshot(version.clone()));
    let state = Message::Status(status(true, version));
    assert_eq!(end.said(), [state], "the other has it");
    assert_eq!(end.session.is_followed(), Ok(()));
}

#[test]
fn a_standby_is_told_everything_once_and_then_what_changes() {
    let mut end = End::connected(true, first(), status(false, first()));
    let [
        Effect::Send(anew),
        Effect::Send(all),
        Effect::ReadFlows,
        Effect::Peer,
    ] = &end.effects()[..]
    else {
        panic!("all tables, and all flows");
    };
    assert_eq!(**anew, [ANEW]);
    let (kind, bytes) = all.split_first().expect("a kind");
    assert_eq!(*kind, TABLES_END);
    let mut tables = Tables::default();
    let delta = Delta::decode(bytes).expect("a difference");
    assert_eq!(delta.apply(&mut tables), Ok(()));
    assert_eq!(tables, shared(&some_tables(1)));

    // A mark would end it before all flows came.
    end.session.publish(end.now, &some_tables(2));
    assert_eq!(end.frames().len(), 1);
    assert_eq!(end.session.mark(end.now), None);
    assert!(end.session.is_followed().is_err());
    end.session.send_all_flows(end.now, &[flow(1), flow(2)], 0);
    let [flows, mark] = &end.frames()[..] else {
        panic!("flows, and a mark");
    };
    assert_eq!((flows[0], flows.len()), (FLOWS, 1 + 2 * 28));
    assert_eq!(read(mark), Message::Mark { number: 1 });
    assert!(end.session.is_followed().is_err());
    end.reached(1, &some_tables(2));
    assert_eq!(end.done(), [Effect::Reached(1)]);
    assert_eq!(end.session.is_followed(), Ok(()));

    end.session.publish(end.now, &some_tables(3));
    let [delta, mark] = &end.frames()[..] else {
        panic!("a difference, and a mark");
    };
    assert_eq!(delta[0], TABLES_END);
    assert_eq!(read(mark), Message::Mark { number: 2 });

    // Nothing new, apart from next hops.
    let mut tables = some_tables(3);
    for backend in tables.backends.values_mut() {
        backend.next_hop = [9; 6];
    }
    end.session.publish(end.now, &tables);
    assert_eq!(end.effects(), []);
}

#[test]
fn only_a_leader_feeds_and_only_a_standby_is_fed() {
    for (leads, peer_leads) in [(false, false), (false, true), (true, true)] {
        let mut end = End::connected(leads, first(), status(peer_leads, first()));
        assert_eq!(end.effects(), [Effect::Peer]);
        end.session.publish(end.now, &some_tables(2));
        end.session.send_all_flows(end.now, &[flow(1)], 0);
        end.session.send_flows_gone(&[flow(1).0]);
        assert_eq!(end.session.mark(end.now), None);
        assert_eq!(end.effects(), []);
        assert!(end.session.is_followed().is_err());
    }
    // Until the other makes way, or this one takes over.
    let mut end = End::connected(true, first(), status(true, first()));
    end.effects();
    end.told(Message::Status(status(false, first())));
    assert!(end.effects().contains(&Effect::ReadFlows));
    let mut end = End::connected(false, first(), status(false, first()));
    end.effects();
    end.leads(true);
    assert!(end.effects().contains(&Effect::ReadFlows));
    // And no longer when it yields.
    end.leads(false);
    assert_eq!(end.said(), [Message::Status(status(false, first()))]);
    end.session.publish(end.now, &some_tables(2));
    assert_eq!(end.effects(), []);
}

#[test]
fn a_standby_with_other_tables_is_told_everything_again() {
    let mut end = End::followed();
    end.session.publish(end.now, &some_tables(2));
    end.effects();
    end.reached(2, &some_tables(1));
    let effects = end.effects();
    assert!(effects.contains(&Effect::Send(Bytes::from_static(&[ANEW]))));
    assert!(effects.contains(&Effect::ReadFlows));
    end.session.send_all_flows(end.now, &[], 0);
    assert_eq!(end.said(), [Message::Mark { number: 3 }]);

    // An answer that comes late is no answer to this.
    end.reached(2, &some_tables(2));
    assert_eq!(end.done(), []);
    assert!(end.session.is_followed().is_err());
    end.reached(3, &some_tables(2));
    assert_eq!(end.done(), [Effect::Reached(3)]);
    assert_eq!(end.session.is_followed(), Ok(()));
}

#[test]
fn flows_that_nobody_was_told_of_begin_it_again() {
    let mut end = End::followed();
    end.session.begin_again(end.now);
    assert!(end.effects().contains(&Effect::ReadFlows));
    assert!(end.session.is_followed().is_err());
    let mut end = End::following();
    end.session.begin_again(end.now);
    assert_eq!(end.effects(), []);
}

#[test]
fn lag_is_the_age_of_the_oldest_mark() {
    let mut end = End::followed();
    assert_eq!(end.session.lag(end.now), Duration::ZERO);
    let began = end.now;
    for owner in [2, 3] {
        end.session.publish(end.now, &some_tables(owner));
        end.now += Duration::from_secs(1);
    }
    assert_eq!(end.session.lag(end.now), Duration::from_secs(2));
    end.reached(2, &some_tables(2));
    assert_eq!(end.session.lag(end.now), Duration::from_secs(1));
    end.reached(3, &some_tables(3));
    assert_eq!(end.session.lag(began), Duration::ZERO);
}

#[test]
fn a_mirror_is_whole_or_is_not() {
    let mut end = End::connected(false, first(), status(true, first()));
    let waits = Err("it has not the leader's tables yet".to_owned());
    end.effects();
    assert_eq!(end.session.is_synchronised(), waits);
    end.hear(&[ANEW]);
    assert_eq!(end.effects(), [Effect::FlowsBegin]);
    end.tables(&Tables::default(), &some_tables(1));
    end.tables(&some_tables(1), &some_tables(2));
    assert_eq!(end.effects(), []);
    assert_eq!(end.session.mirror(), None);
    assert_eq!(end.session.is_synchronised(), waits);
    end.told(Message::Mark { number: 7 });
    assert_eq!(end.effects(), [Effect::Mirror, Effect::FlowsEnd]);
    assert_eq!(end.session.is_synchronised(), waits);
    end.session.held(Ok(()));
    assert_eq!(end.said(), [has_reached(7, &some_tables(2))]);
    assert_eq!(end.session.mirror(), Some(&shared(&some_tables(2))));
    assert_eq!(end.session.is_synchronised(), Ok(()));

    end.tables(&some_tables(2), &some_tables(3));
    assert_eq!(end.effects(), [Effect::Mirror]);
    assert_eq!(end.session.is_synchronised(), waits);
    end.session.held(Ok(()));
    assert_eq!(end.session.mirror(), Some(&shared(&some_tables(3))));
    assert_eq!(end.session.is_synchronised(), Ok(()));

    // While all of it comes again, it holds what it had.
    end.hear(&[ANEW]);
    end.tables(&Tables::default(), &some_tables(4));
    assert_eq!(end.session.mirror(), Some(&shared(&some_tables(3))));
    assert_eq!(end.session.is_synchronised(), waits);
}

#[test]
fn what_cannot_be_held_is_not_confirmed_until_it_is() {
    let mut end = End::following();
    end.tables(&some_tables(2), &some_tables(3));
    end.told(Message::Mark { number: 2 });
    assert_eq!(end.effects(), [Effect::Mirror]);
    let told = |lacks: Option<&str>| {
        Message::Status(Status {
            lacks: lacks.map(str::to_owned),
            ..status(false, first())
        })
    };
    for _ in 0..2 {
        end.session.held(Err("the map is full".to_owned()));
        let reason = end.session.is_synchronised().expect_err("not held");
        assert!(reason.contains("the map is full"), "{reason}");
    }
    assert_eq!(end.said(), [told(Some("the map is full"))], "once");
    // That it is told again how things are here makes no difference.
    end.leads(false);
    end.told(Message::Mark { number: 3 });
    assert_eq!(end.said(), []);
    end.session.held(Ok(()));
    assert_eq!(end.said(), [told(None), has_reached(3, &some_tables(3))]);
    assert_eq!(end.session.is_synchronised(), Ok(()));
    end.told(Message::Mark { number: 4 });
    assert_eq!(end.said(), [has_reached(4, &some_tables(3))]);

    // Who leads holds its own.
    end.session.held(Err("the map is full".to_owned()));
    end.effects();
    end.leads(true);
    assert_eq!(end.said()[..1], [Message::Status(status(true, first()))]);
    assert_eq!(end.session.lacks(), None);
}

#[test]
fn a_leader_knows_what_its_standby_cannot_hold() {
    let mut end = End::followed();
    let mut state = status(false, first());
    state.lacks = Some("the map is full".to_owned());
    end.told(Message::Status(state));
    let reason = end.session.is_held().expect_err("the other said so");
    assert!(reason.contains("the map is full"), "{reason}");
    // Changes go on.
    assert_eq!(end.session.is_synchronised(), Ok(()));
    end.told(Message::Status(status(false, first())));
    assert_eq!(end.session.is_held(), Ok(()));
}

#[test]
fn a_standby_that_answers_nothing_costs_no_memory() {
    let mut end = End::followed();
    let began = end.now;
    for owner in 0..2_000 {
        end.session.publish(end.now, &some_tables(2 + owner % 2));
        end.effects();
    }
    end.now += Duration::from_secs(1);
    assert_eq!(end.session.lag(end.now), end.now - began);
    end.reached(2_001, &some_tables(3));
    assert_eq!(end.done(), [Effect::Reached(2_001)]);
    assert_eq!(end.session.is_followed(), Ok(()));
}

#[test]
fn a_mirror_outlives_the_channel_until_this_host_leads() {
    let mut end = End::following();
    end.session.disconnected();
    assert_eq!(end.effects(), [Effect::Peer]);
    let down = Err("the pair's channel is down".to_owned());
    assert_eq!(end.session.is_synchronised(), down);
    assert!(end.session.mirror().is_some());

    // What it held may be old by now.
    end.connect(status(true, first()));
    assert!(end.session.mirror().is_some());
    assert!(end.session.is_synchronised().is_err());

    end.leads(true);
    assert_eq!(end.session.mirror(), None);
}

#[test]
fn a_mirror_is_that_of_one_reign() {
    let mut end = End::following();
    end.told(Message::Status(status(false, first())));
    assert!(end.session.mirror().is_some());
    end.told(Message::Status(status(true, first())));
    assert!(end.session.is_synchronised().is_err());
}

#[test]
fn who_leads_meanwhile_ignores_tables() {
    let mut end = End::connected(false, first(), status(true, first()));
    end.hear(&[ANEW]);
    end.leads(true);
    end.effects();
    end.tables(&Tables::default(), &some_tables(2));
    end.told(Message::Mark { number: 1 });
    end.hear(&[ANEW]);
    end.tables(&Tables::default(), &some_tables(3));
    end.told(Message::Mark { number: 2 });
    let mut gone = vec![FLOWS_GONE];
    gone.extend([0; 20]);
    end.hear(&gone);
    assert_eq!(end.effects(), []);
    assert_eq!(end.session.mirror(), None);

    // And when it yields, the rest of them is no whole.
    end.leads(false);
    end.effects();
    end.tables(&some_tables(3), &some_tables(4));
    end.told(Message::Mark { number: 3 });
    assert_eq!(end.effects(), []);
    assert_eq!(end.session.mirror(), None);
    assert!(end.session.is_synchronised().is_err());
}

#[test]
fn tables_that_make_no_sense_leave_the_mirror() {
    let mut end = End::following();
    let mut bad = Delta::between(&shared(&some_tables(2)), &Tables::default());
    bad.slots.push((9, 0, vec![Slot::EMPTY]));
    let mut frame = vec![TABLES_END];
    bad.encode(&mut frame);
    assert_eq!(end.try_hear(&frame), Err(Fault::NoService(9).to_string()));
    assert_eq!(end.session.mirror(), Some(&shared(&some_tables(2))));
    assert_eq!(end.effects(), []);
}

#[test]
fn long_tables_come_in_parts() {
    let mut leader = End::new(first());
    let slots = vec![(1, 2); capacity::SLOTS_PER_SERVICE];
    let sketch: Vec<_> = (1..=9).map(|id| (id as u8, id, &slots[..])).collect();
    let tables = tables(&sketch, 1);
    leader.leads(true);
    leader.session.publish(leader.now, &tables);
    leader.connect(status(false, first()));
    let effects = leader.effects().into_iter();
    let frames: Vec<_> = effects
        .filter_map(|effect| match effect {
            Effect::Send(frame) => Some(frame),
            _ => None,
        })
        .collect();
    let kinds: Vec<_> = frames.iter().map(|frame| frame[0]).collect();
    assert_eq!(kinds, [ANEW, TABLES, TABLES, TABLES_END]);
    assert!(frames.iter().all(|frame| frame.len() <= 1 + (1 << 20)));

    let mut standby = End::connected(false, first(), status(true, first()));
    for frame in &frames {
        standby.hear(frame);
    }
    standby.told(Message::Mark { number: 1 });
    assert_eq!(standby.session.mirror(), Some(&shared(&tables)));

    // A part that has no end is not kept for ever.
    let part = [&[TABLES][..], &[0; 1 << 20]].concat();
    let heard = (0..65).find_map(|_| standby.try_hear(&part).err());
    assert_eq!(heard, Some(Fault::TooLong.to_string()));
}

#[test]
fn flows_go_both_ways() {
    for leads in [false, true] {
        let mut end = End::connected(leads, first(), status(!leads, first()));
        end.effects();
        end.session.send_flows(&[flow(1)], 500);
        let [frame] = &end.frames()[..] else {
            panic!("a frame");
        };
        // Here it is half a second older.
        let (key, flow) = flow(1);
        let last_seen_ms = 500;
        let heard = Flow {
            last_seen_ms,
            ..flow
        };
        end.hear(frame);
        assert_eq!(end.effects(), [Effect::Flows(vec![(key, heard)])]);

        // But which ones are no more is the leader's to say.
        end.session.send_flows_gone(&[key]);
        assert_eq!(end.frames().len(), usize::from(leads));
    }
}

#[test]
fn many_flows_are_several_frames() {
    let mut end = End::followed();
    let flows = vec![flow(1); 70_000];
    end.session.send_flows(&flows, 0);
    let lengths: Vec<_> = end.frames().iter().map(Bytes::len).collect();
    assert_eq!(lengths, [32_768, 32_768, 4_464].map(|flows| 1 + 28 * flows));
}

#[test]
fn news_is_told_once() {
    let mut end = End::following();
    let state = Status {
        priority: 9,
        ..status(false, Version::default())
    };
    let said = Message::Status(Status {
        version: first(),
        ..state.clone()
    });
    end.session.set_status(end.now, state.clone(), false);
    assert_eq!(end.said(), std::slice::from_ref(&said));
    end.session.set_status(end.now, state.clone(), false);
    assert_eq!(end.said(), []);
    end.session.set_status(end.now, state, true);
    assert_eq!(end.said(), [said]);
}

#[test]
fn questions_and_answers_are_passed_on() {
    let mut end = End::following();
    end.told(Message::TakeOver);
    end.told(Message::Switch { id: 3 });
    let result = Ok(());
    end.told(Message::Switched { id: 4, result });
    let result = Ok(8);
    end.told(Message::Answer { id: 5, result });
    let expected = [
        Effect::TakeOver,
        Effect::SwitchAsked(3),
        Effect::Switched(4, Ok(())),
        Effect::Answered(5, Ok(8)),
    ];
    assert_eq!(end.effects(), expected);
}
