//! What the other host says need not fit this one, nor make sense.

use super::*;
use crate::sync::{Message, Proposal, Snapshot, Version};

/// A message, as it comes over the channel.
fn told(message: &Message) -> Event {
    let mut frame = vec![1];
    serde_json::to_writer(&mut frame, message).unwrap();
    Event::Frame(frame.into())
}

/// A service with slots from this one on, as it comes over the channel.
fn entry(vip: [u8; 4], id: ServiceId, first: u32, count: u32) -> Vec<u8> {
    let mut bytes = vec![1];
    bytes.extend(Addr::v4(vip).octets());
    bytes.extend(80u16.to_be_bytes());
    bytes.push(6);
    bytes.extend([7; 16]);
    bytes.extend(first.to_be_bytes());
    bytes.extend(count.to_be_bytes());
    bytes.extend(id.to_be_bytes());
    // How it is forwarded, and nothing special.
    bytes.extend([0, 0]);
    bytes
}

impl Host {
    fn hear(&mut self, message: &Message) {
        self.daemon.on_channel(told(message));
    }

    /// All of the leader's tables come, and nothing that is answered arrives.
    fn hear_tables(&mut self, entries: &[Vec<u8>]) {
        let frames = [vec![4], [vec![3], entries.concat()].concat()];
        for frame in frames {
            self.daemon.on_channel(Event::Frame(frame.into()));
        }
        self.sends.0.lock().unwrap().clear();
        self.hear(&Message::Mark { number: 99 });
    }

    /// The messages that are on their way from here, and stay there.
    fn said(&self) -> Vec<Message> {
        let sent = self.sends.0.lock().unwrap();
        let messages = sent.iter().filter_map(|frame| frame.strip_prefix(&[1]));
        messages
            .map(|text| serde_json::from_slice(text).unwrap())
            .collect()
    }

    fn lacks(&self) -> Option<String> {
        let pairing = self.daemon.pairing.as_ref().unwrap();
        pairing.status().lacks
    }

    fn is_followed(&self) -> Result<(), String> {
        self.daemon.pairing.as_ref().unwrap().session.is_followed()
    }
}

#[tokio::test]
async fn a_standby_without_room_for_the_leaders_numbers_does_not_take_over_and_says_why() {
    let standby = Host::with_room_for(16, "other", &[1, 2]);
    let mut pair = Pair::with_standby(standby, &[1, 2]);
    assert_eq!((pair.one.lacks(), pair.other.lacks()), (None, None));
    let before = pair.slots();

    // Many came and went at the leader.
    pair.one.daemon.world.last_ids.0 = 18;
    let new = NewBackend {
        name: "web3".to_owned(),
        address: "10.0.2.3:80".to_owned(),
        weight: None,
    };
    let mut answer = pair.one.ask(&change::add_backend("www", &new).unwrap());
    pair.pass();
    assert!(answer.try_recv().unwrap().is_ok());
    checked(&mut pair.one.daemon, &[3], true);
    pair.pass();
    assert_eq!(pair.one.daemon.ids[&named(3)], 19);
    for host in [&pair.one, &pair.other] {
        let lacks = host.lacks().unwrap();
        assert!(lacks.contains("limits.backends is 16"), "{lacks}");
    }
    assert!(!pair.other.daemon.readiness().0);
    assert!(pair.one.is_followed().is_err());
    assert_eq!(pair.slots()[1], before[1], "nothing of it is written");
    let refused = {
        let session = &pair.one.daemon.pairing.as_ref().unwrap().session;
        switching::is_ready(session).unwrap_err()
    };
    assert!(refused.contains("limits.backends"), "{refused}");

    // Changes are made, and this one mends it.
    let mut answer = pair.one.ask(&Change::RemoveBackend {
        backend: named(3),
        force: true,
    });
    pair.pass();
    assert!(answer.try_recv().unwrap().is_ok());
    pair.one.daemon.sweep();
    pair.pass();
    assert_eq!((pair.one.lacks(), pair.other.lacks()), (None, None));
    assert!(pair.other.daemon.readiness().0);
    assert_eq!(pair.one.is_followed(), Ok(()));
    let [leader, standby] = pair.slots();
    assert!(leader == standby);
}

#[tokio::test]
async fn a_standby_whose_tables_cannot_be_written_does_not_take_over_until_they_can() {
    let mut pair = Pair::new(&[1, 2, 3]);
    pair.other.daemon.dataplane.writes_until_failure = Some(0);
    checked(&mut pair.one.daemon, &[3], false);
    pair.pass();
    let [leader, standby] = pair.slots();
    assert!(leader != standby);
    assert!(!pair.other.daemon.readiness().0);
    assert!(pair.one.is_followed().is_err());
    for host in [&pair.one, &pair.other] {
        let lacks = host.lacks().unwrap();
        assert!(lacks.contains("told to fail"), "{lacks}");
    }

    pair.other.daemon.sweep();
    pair.pass();
    let [leader, standby] = pair.slots();
    assert!(leader == standby);
    assert!(pair.other.daemon.readiness().0);
    assert_eq!(pair.one.is_followed(), Ok(()));
    assert_eq!((pair.one.lacks(), pair.other.lacks()), (None, None));
}

#[tokio::test]
async fn tables_that_no_leader_has_are_not_written_and_this_host_leads_with_its_own() {
    let many = |i: u8| entry([203, 0, 113, i], u16::from(i) + 2, 0, 65_537);
    let mut nobody = vec![2];
    nobody.extend([255, 255]);
    nobody.extend(Addr::v4([10, 0, 2, 1]).octets());
    nobody.extend([0, 80, 255, 255, 255]);
    for entries in [
        // The same slots are those of two.
        vec![
            entry([192, 0, 2, 10], 1, 200, 65_537),
            entry([203, 0, 113, 1], 2, 100, 65_537),
        ],
        // Beyond the end.
        vec![entry([203, 0, 113, 1], 2, u32::MAX - 65_537, 65_537)],
        // No slots, and numbers that are too high.
        vec![entry([192, 0, 2, 10], 65_535, 0, 0), nobody],
        // More than there is room for.
        (0..200).map(many).collect(),
    ] {
        let mut pair = Pair::new(&[1, 2]);
        let [_, before] = pair.slots();
        pair.other.hear_tables(&entries);
        let said = pair.other.said();
        let reached = |it: &Message| matches!(it, Message::Reached { .. });
        assert!(!said.iter().any(reached), "{said:?}");
        assert!(!pair.other.daemon.readiness().0);
        assert!(pair.other.lacks().is_some());
        assert_eq!(pair.slots()[1], before);
        pair.other.daemon.sweep();
        pair.cut();
        pair.other.lead(true);
        pair.other.daemon.sweep();
        assert_eq!(pair.slots()[1], before);
        // There is room for another.
        let mut answer = pair.other.ask(&drain(1));
        assert!(answer.try_recv().unwrap().is_ok());
    }
}

#[tokio::test]
async fn a_configuration_from_impossibly_far_ahead_is_not_taken_and_changes_go_on() {
    let mut pair = Pair::new(&[1, 2]);
    let before = pair.one.daemon.version.clone();
    let snapshot = Snapshot::of(
        &pair.other.daemon.running,
        Version {
            epoch: u64::MAX,
            ..before.next("other", "2".to_owned())
        },
    );
    pair.one.hear(&Message::Config(snapshot));
    assert_eq!(pair.one.daemon.version, before);
    let answers = pair.one.said();
    let refused = |it: &Message| matches!(it, Message::NotTaken { reason, .. } if reason.contains("18446744073709551615"));
    assert!(answers.iter().any(refused), "{answers:?}");
    let mut answer = pair.one.ask(&drain(1));
    pair.pass();
    assert_eq!(answer.try_recv().unwrap(), Ok(before.epoch + 1));
}

#[tokio::test]
async fn what_is_proposed_while_something_else_is_changed_is_answered_at_once() {
    let mut pair = Pair::new(&[1, 2]);
    // The other host does not take it over yet.
    let mut answer = pair.one.ask(&drain(1));
    let proposed = change::apply(&pair.one.daemon.running, &drain(2)).unwrap();
    let mut also = pair.one.ask(&drain(2));
    let also = also.try_recv().unwrap().unwrap_err().to_string();
    assert!(also.contains("try again"), "{also}");
    for id in 1..=100 {
        pair.one.hear(&Message::Propose(Proposal {
            id,
            from: pair.one.daemon.version.clone(),
            services: Overlay::all_of(&proposed),
            cut: Vec::new(),
            what: "drain web2".to_owned(),
        }));
        let said = pair.one.said();
        let Some(Message::Answer { id: to, result }) = said.last() else {
            panic!("{said:?}");
        };
        let refused = result.as_ref().unwrap_err().to_string();
        assert!(
            *to == id && refused.contains("try again"),
            "{to}: {refused}"
        );
    }
    pair.pass();
    assert!(answer.try_recv().unwrap().is_ok());
    let [one, other] = pair.backends();
    assert_eq!(one, ["web1 drain", "web2 ready"]);
    assert_eq!(one, other);
}
