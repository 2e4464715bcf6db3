//! Two daemons of a pair, over a channel that is a queue: what one knows, the other does.

mod distrust;

use super::*;
use crate::config::Name;
use crate::proto::pairing::PairSecret;
use crate::proto::vrrp::{LeadReason, YieldReason};
use crate::shell::channel::Event;
use crate::sync::Leave;
use bytes::Bytes;
use lb_ebpf::abi::{Addr, Flow, FlowKey, FlowPhase};
use std::collections::VecDeque;
use std::sync::Mutex;
use tokio::sync::oneshot;

/// A way to the other daemon.
#[derive(Clone, Default)]
struct Queue(Arc<Mutex<VecDeque<Bytes>>>);

impl Wire for Queue {
    fn send(&self, frame: Bytes) -> bool {
        self.0.lock().unwrap().push_back(frame);
        true
    }

    fn disconnect(&self, reason: &str) {
        panic!("disconnected: {reason}");
    }

    fn is_paired(&self) -> bool {
        true
    }
}

struct Host {
    daemon: Daemon<Memory>,
    sends: Queue,
    _directory: TempDir,
}

impl Host {
    fn new(name: &str, backends: &[u8]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self::in_directory(name, backends, directory, Memory::default())
    }

    fn with_room_for(limit: u32, name: &str, backends: &[u8]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut config = file(directory.path(), backends);
        config.limits.backends = limit;
        Self::of(name, config, directory, Memory::default())
    }

    fn in_directory(name: &str, backends: &[u8], directory: TempDir, memory: Memory) -> Self {
        let config = file(directory.path(), backends);
        Self::of(name, config, directory, memory)
    }

    fn of(name: &str, mut config: Config, directory: TempDir, memory: Memory) -> Self {
        let sends = Queue::default();
        let ha = "interfaces = [\"eth0\"]\n[ha]\ninterface = \"eth0\"\nvrid = 51\n\
                  peer = \"192.0.2.2\"\naddresses = [\"192.0.2.20/32\"]\n";
        config.ha = config::parse(ha, Path::new("lbd.toml")).unwrap().ha;
        let watchers = Watchers {
            pair: Some((name.to_owned(), Box::new(sends.clone()))),
            ..watchers()
        };
        let mut daemon = Daemon::start(config, memory, watchers, SECRET).unwrap();
        // The higher one is the first one's.
        daemon.filed_priority = Priority::new(if name == "one" { 200 } else { 100 });
        daemon.leading = Some(Leading::without_router(&daemon.base).unwrap());
        Self {
            daemon,
            sends,
            _directory: directory,
        }
    }

    fn lead(&mut self, leads: bool) {
        self.daemon.on_leading(
            0,
            match leads {
                true => vrrp::Event::Leads(LeadReason::ActiveDown),
                false => vrrp::Event::StandsBy,
            },
        );
    }

    fn up(&mut self) {
        self.up_from([192, 0, 2, 2]);
    }

    fn up_from(&mut self, remote: [u8; 4]) {
        self.daemon.on_channel(Event::Up {
            local: [192, 0, 2, 1].into(),
            remote: remote.into(),
        });
    }

    fn ask(&mut self, change: &Change) -> oneshot::Receiver<Result<u64, Refusal>> {
        let (reply, answer) = oneshot::channel();
        self.daemon.answer(Request::Change {
            change: Box::new(change.clone()),
            if_revision: None,
            reply,
        });
        answer
    }
}

struct Pair {
    one: Host,
    other: Host,
}

impl Pair {
    /// The first one leads, and all is told.
    fn new(backends: &[u8]) -> Self {
        Self::with_standby(Host::new("other", backends), backends)
    }

    fn with_standby(other: Host, backends: &[u8]) -> Self {
        let one = Host::new("one", backends);
        let mut pair = Self { one, other };
        pair.one.lead(true);
        pair.other.lead(false);
        checked(&mut pair.one.daemon, backends, true);
        checked(&mut pair.other.daemon, backends, true);
        pair.connect();
        pair
    }

    fn connect(&mut self) {
        self.one.up();
        self.other.up();
        self.pass();
    }

    fn cut(&mut self) {
        for host in [&mut self.one, &mut self.other] {
            host.sends.0.lock().unwrap().clear();
            host.daemon.on_channel(Event::Down {
                reason: "a test cut it".to_owned(),
            });
        }
    }

    /// Until nothing is under way.
    fn pass(&mut self) {
        for _ in 0..10_000 {
            let next = |host: &Host| host.sends.0.lock().unwrap().pop_front();
            match (next(&self.one), next(&self.other)) {
                (None, None) => return,
                (frame, answer) => {
                    if let Some(frame) = frame {
                        self.other.daemon.on_channel(Event::Frame(frame));
                    }
                    if let Some(frame) = answer {
                        self.one.daemon.on_channel(Event::Frame(frame));
                    }
                }
            }
        }
        panic!("the two do not come to an end");
    }

    fn slots(&self) -> [BTreeMap<ServiceId, Vec<Slot>>; 2] {
        [&self.one, &self.other].map(|host| host.daemon.dataplane.read().unwrap().slots)
    }

    fn backends(&self) -> [Vec<String>; 2] {
        [&self.one, &self.other].map(|host| {
            let www: Name = "www".parse().unwrap();
            let backends = host.daemon.running.services[&www].backends.iter();
            backends
                .map(|(name, backend)| format!("{name} {}", backend.admin))
                .collect()
        })
    }
}

fn flow(n: u8, backend: BackendId) -> (FlowKey, Flow) {
    let key = FlowKey::new(Addr::v4([198, 51, 100, n]), [4, n], 1);
    let flow = Flow {
        last_seen_ms: sweeping::now_ms().unwrap(),
        backend,
        phase: FlowPhase::Open as u16,
    };
    (key, flow)
}

#[tokio::test]
async fn the_standby_has_the_leaders_tables_whatever_its_own_checks_say() {
    let mut pair = Pair::new(&[1, 2, 3]);
    checked(&mut pair.other.daemon, &[2], false);
    pair.pass();
    let [leader, standby] = pair.slots();
    assert!(leader == standby);
    // What the leader finds out, the standby follows.
    checked(&mut pair.one.daemon, &[3], false);
    pair.pass();
    let [leader, standby] = pair.slots();
    assert!(leader == standby);
    assert_eq!(owned(&pair.other.daemon, 3), 0);
    assert!(pair.other.daemon.readiness().0);
    assert_eq!(pair.other.daemon.status().alarms, Vec::<String>::new());
}

#[tokio::test]
async fn a_change_at_either_is_made_at_both() {
    let mut pair = Pair::new(&[1, 2]);
    let mut answer = pair.one.ask(&drain(1));
    assert!(
        answer.try_recv().is_err(),
        "answered before the other has it"
    );
    pair.pass();
    let first = answer.try_recv().unwrap().unwrap();
    assert_eq!(pair.backends()[1], ["web1 drain", "web2 ready"]);

    let mut answer = pair.other.ask(&drain(2));
    pair.pass();
    let second = answer.try_recv().unwrap().unwrap();
    assert_eq!(second, first + 1);
    let [one, other] = pair.backends();
    assert_eq!(one, ["web1 drain", "web2 drain"]);
    assert_eq!(one, other);
    assert_eq!(pair.one.daemon.version, pair.other.daemon.version);
}

#[tokio::test]
async fn two_changes_at_a_time_are_not_mixed() {
    let mut pair = Pair::new(&[1, 2]);
    let mut first = pair.one.ask(&drain(1));
    let mut second = pair.other.ask(&drain(2));
    pair.pass();
    assert!(first.try_recv().unwrap().is_ok());
    let refused = second.try_recv().unwrap().unwrap_err();
    assert!(!refused.to_string().is_empty());
    let [one, other] = pair.backends();
    assert_eq!(one, ["web1 drain", "web2 ready"]);
    assert_eq!(one, other);
}

#[tokio::test]
async fn what_the_standby_cannot_keep_is_refused_at_both() {
    let mut pair = Pair::new(&[1, 2]);
    let before = pair.backends();
    // In the way of the file that it writes.
    let way = pair.other.daemon.base.state_dir.join(".changes.json.new");
    std::fs::create_dir(&way).unwrap();
    let mut answer = pair.one.ask(&drain(1));
    pair.pass();
    let refused = answer.try_recv().unwrap().unwrap_err().to_string();
    assert!(refused.contains("refused by the other host"), "{refused}");
    assert_eq!(pair.backends(), before);
    std::fs::remove_dir(&way).unwrap();
    let mut answer = pair.one.ask(&drain(1));
    pair.pass();
    assert!(answer.try_recv().unwrap().is_ok());
}

#[tokio::test]
async fn a_channel_from_elsewhere_than_the_peer_is_an_alarm() {
    let mut pair = Pair::new(&[1, 2]);
    assert_eq!(pair.one.daemon.status().alarms, Vec::<String>::new());
    pair.cut();
    pair.one.up_from([192, 0, 2, 9]);
    pair.other.up();
    pair.pass();
    let alarms = pair.one.daemon.status().alarms.join("\n");
    let says = "connects from 192.0.2.9, and [ha] here says that it is at 192.0.2.2";
    assert!(alarms.contains(says), "{alarms}");
    assert_eq!(pair.other.daemon.status().alarms, Vec::<String>::new());
    pair.cut();
    pair.connect();
    assert_eq!(pair.one.daemon.status().alarms, Vec::<String>::new());
}

#[tokio::test]
async fn a_host_that_was_away_catches_up() {
    let mut pair = Pair::new(&[1, 2]);
    pair.cut();
    let mut answer = pair.one.ask(&drain(1));
    assert!(answer.try_recv().unwrap().is_ok());
    pair.connect();
    assert_eq!(pair.backends()[1], ["web1 drain", "web2 ready"]);
    let [leader, standby] = pair.slots();
    assert!(leader == standby);
    assert_eq!(pair.other.daemon.status().alarms, Vec::<String>::new());
}

/// Both led, and both were changed.
#[tokio::test]
async fn after_a_partition_one_stays_and_the_other_says_what_it_drops() {
    let mut pair = Pair::new(&[1, 2]);
    let mut answer = pair.one.ask(&drain(1));
    pair.pass();
    assert!(answer.try_recv().unwrap().is_ok());
    pair.cut();
    pair.other.lead(true);
    let mut answer = pair.one.ask(&admin(1, "ready"));
    assert!(answer.try_recv().unwrap().is_ok());
    let mut answer = pair.other.ask(&drain(2));
    assert!(answer.try_recv().unwrap().is_ok());
    pair.other.lead(false);
    pair.connect();
    let [one, other] = pair.backends();
    assert_eq!(one, other);
    // The other began a term, which is the newer one.
    assert_eq!(one, ["web1 drain", "web2 drain"]);
    let alarms = pair.one.daemon.status().alarms.join("\n");
    assert!(
        alarms.contains("dropped here: backend www/web1: ready") && !alarms.contains("web2"),
        "{alarms}"
    );
    let winner = |pair: &Pair| pair.other.daemon.status().alarms.join("\n");
    let told = winner(&pair);
    assert!(
        told.contains("has dropped that for this host's configuration: backend www/web1: ready"),
        "{told}"
    );
    // Should it not have heard, it hears of it when the two are connected again.
    pair.other
        .daemon
        .pairing
        .as_mut()
        .unwrap()
        .dropped_there
        .clear();
    pair.cut();
    pair.connect();
    assert_eq!(winner(&pair), told);
    let yields = vrrp::Event::Yields(YieldReason::Shutdown);
    pair.one.daemon.on_leading(0, yields);
    pair.pass();
    let mut answer = pair.one.ask(&admin(1, "ready"));
    pair.pass();
    assert!(answer.try_recv().unwrap().is_ok());
    assert!(!winner(&pair).contains("dropped"), "{}", winner(&pair));
}

#[tokio::test]
async fn recorded_flows_go_both_ways_and_outlive_a_takeover() {
    let mut pair = Pair::new(&[1, 2]);
    let id = pair.one.daemon.ids[&named(1)];
    let mut flows = [flow(1, id)];
    pair.one.daemon.dataplane.set_flows(&flows).unwrap();
    pair.one.daemon.on_new_flows(&flows);
    pair.pass();
    assert_eq!(pair.other.daemon.dataplane.flows().unwrap().len(), 1);
    // One that was recorded while the standby was away.
    pair.cut();
    flows = [flow(2, id)];
    pair.one.daemon.dataplane.set_flows(&flows).unwrap();
    // And one that the standby has, and that is no more.
    let (key, mut gone) = flow(3, id);
    gone.last_seen_ms = gone.last_seen_ms.wrapping_sub(60_000);
    let gone = [(key, gone)];
    pair.other.daemon.dataplane.set_flows(&gone).unwrap();
    pair.connect();
    let mut known = pair.other.daemon.dataplane.flows().unwrap();
    known.sort_by_key(|(key, _)| *key);
    let keys: Vec<u8> = known
        .iter()
        .map(|(key, _)| key.client.octets_v4()[3])
        .collect();
    assert_eq!(keys, [1, 2]);

    // They were silent for long, but the new leader cannot know.
    let old: Vec<_> = known
        .iter()
        .map(|(key, flow)| {
            let last_seen_ms = flow.last_seen_ms.wrapping_sub(3_600_000);
            (
                *key,
                Flow {
                    last_seen_ms,
                    ..*flow
                },
            )
        })
        .collect();
    pair.other.daemon.dataplane.set_flows(&old).unwrap();
    pair.other.daemon.sweep();
    assert_eq!(pair.other.daemon.dataplane.flows().unwrap().len(), 2);
    pair.cut();
    pair.other.lead(true);
    pair.other.daemon.sweep();
    assert_eq!(pair.other.daemon.dataplane.flows().unwrap().len(), 2);
}

#[tokio::test]
async fn the_new_leader_breaks_nothing_where_it_sees_what_the_old_one_saw() {
    let mut pair = Pair::new(&[1, 2, 3]);
    checked(&mut pair.one.daemon, &[2], false);
    checked(&mut pair.other.daemon, &[2], false);
    pair.pass();
    let before = pair.slots();
    pair.cut();
    pair.other.lead(true);
    pair.other.daemon.sweep();
    assert!(pair.slots()[1] == before[0]);
    // And then goes its own way.
    checked(&mut pair.other.daemon, &[2], true);
    assert!(owned(&pair.other.daemon, 2) > 0);
}

#[tokio::test]
async fn a_standby_that_has_not_everything_may_not_lead() {
    let mut pair = Pair::new(&[1, 2]);
    assert_eq!(pair.other.daemon.readiness(), (true, 100));
    pair.cut();
    // It was synchronised long ago.
    pair.other.daemon.pairing.as_mut().unwrap().leave = Leave::new(Instant::now());
    pair.other.daemon.tell_router();
    assert!(!pair.other.daemon.readiness().0);
    // But where nobody leads, it does.
    let withheld = vrrp::Event::Withheld("it is not synchronised".to_owned());
    pair.other.daemon.on_leading(0, withheld);
    assert!(pair.other.daemon.readiness().0);
}

#[tokio::test]
async fn a_file_that_changed_while_lbd_did_not_run_is_a_change_like_any_other() {
    let Pair { one, other } = Pair::new(&[1, 2]);
    let mut other = other;
    other.daemon.base.services.clear();
    let Host {
        daemon, _directory, ..
    } = other;
    drop(daemon);
    let mut pair = Pair {
        one,
        other: Host::in_directory("other", &[1, 2, 3], _directory, Memory::default()),
    };
    pair.other.lead(false);
    pair.one.daemon.on_channel(Event::Down {
        reason: "the other was started again".to_owned(),
    });
    pair.one.sends.0.lock().unwrap().clear();
    pair.connect();
    pair.other.daemon.on_pair_tick();
    pair.pass();
    let [one, other] = pair.backends();
    assert_eq!(one, ["web1 ready", "web2 ready", "web3 ready"]);
    assert_eq!(one, other);
    assert_eq!(pair.one.daemon.version, pair.other.daemon.version);
}

/// The two of a pair, of which the standby was started again with these backends in its file.
fn with_another_file(backends: &[u8], limit: u32) -> Pair {
    let mut one = Host::with_room_for(limit, "one", &[1, 2]);
    let mut other = Host::new("other", &[1, 2]);
    one.lead(true);
    other.lead(false);
    checked(&mut one.daemon, &[1, 2], true);
    let mut pair = Pair { one, other };
    pair.connect();
    let Pair { mut one, other } = pair;
    let Host {
        daemon, _directory, ..
    } = other;
    drop(daemon);
    let mut other = Host::in_directory("other", backends, _directory, Memory::default());
    other.lead(false);
    one.daemon.on_channel(Event::Down {
        reason: "the other was started again".to_owned(),
    });
    one.sends.0.lock().unwrap().clear();
    Pair { one, other }
}

#[tokio::test]
async fn a_changed_file_that_cannot_be_shared_is_an_alarm_until_it_is() {
    // There is room for two backends.
    let mut pair = with_another_file(&[1, 2, 3], 3);
    let alarms = |pair: &Pair| pair.other.daemon.status().alarms.join("\n");
    assert!(alarms(&pair).contains("not tried yet"), "{}", alarms(&pair));
    pair.connect();
    pair.other.daemon.on_pair_tick();
    pair.pass();
    let told = alarms(&pair);
    assert!(
        told.contains("file changed while lbd did not run") && told.contains("limit"),
        "{told}"
    );
    assert_eq!(pair.backends()[0], ["web1 ready", "web2 ready"]);
    // The same file, read again, does not hide it.
    let base = pair.other.daemon.base.clone();
    let same = file(&base.state_dir, &[1, 2, 3]);
    pair.other.daemon.read_again(Ok(Config {
        ha: base.ha.clone(),
        ..same
    }));
    pair.pass();
    assert!(alarms(&pair).contains("did not run"), "{}", alarms(&pair));
    // Changed back, it is what both have.
    let back = file(&base.state_dir, &[1, 2]);
    pair.other.daemon.read_again(Ok(Config {
        ha: base.ha,
        ..back
    }));
    pair.pass();
    assert_eq!(alarms(&pair), "");
    let [one, other] = pair.backends();
    assert_eq!(one, other);
    assert_eq!(pair.one.daemon.version, pair.other.daemon.version);
}

#[tokio::test]
async fn a_standby_that_is_cut_off_takes_no_changes() {
    let mut pair = Pair::new(&[1, 2]);
    pair.cut();
    let before = pair.backends();
    let refusal = pair.other.ask(&drain(1)).try_recv().unwrap().unwrap_err();
    let refusal = refusal.to_string();
    for says in ["stands by", "a test cut it", "pair forget"] {
        assert!(refusal.contains(says), "{says:?} in {refusal}");
    }
    assert_eq!(pair.backends(), before);
    // The other one is lost, and this one leads.
    pair.other.lead(true);
    let answer = pair.other.ask(&drain(1)).try_recv().unwrap();
    assert!(answer.is_ok(), "{answer:?}");
}

#[tokio::test]
async fn a_switch_to_a_named_host_is_done_once() {
    let mut pair = Pair::new(&[1, 2]);
    // The answer, if there is one before the other host has done its part.
    let ask = |host: &mut Host, to: &str| {
        let (reply, mut answer) = oneshot::channel();
        let to = Some(to.to_owned());
        host.daemon.answer(Request::Switch { to, reply });
        answer.try_recv().ok()
    };
    for to in ["self", "one"] {
        assert_eq!(ask(&mut pair.one, to), Some(Ok(())), "{to}");
    }
    for to in ["peer", "one", "192.0.2.2"] {
        assert_eq!(ask(&mut pair.other, to), Some(Ok(())), "{to}");
    }
    assert!(pair.one.daemon.switching.is_idle());
    for to in ["three", "192.0.2.99", ""] {
        let refused = ask(&mut pair.one, to).unwrap().unwrap_err().to_string();
        assert!(
            refused.contains("self or one") && refused.contains("peer or other"),
            "{refused}"
        );
    }
    // What is not so yet is begun.
    assert_eq!(ask(&mut pair.one, "other"), None);
    assert!(!pair.one.daemon.switching.is_idle());
}

#[tokio::test]
async fn the_same_priority_in_both_files_is_an_alarm_on_both() {
    let mut pair = Pair::new(&[1, 2]);
    let alarms = |pair: &mut Pair| {
        for host in [&mut pair.one, &mut pair.other] {
            host.daemon.tell_peer(true);
        }
        pair.pass();
        pair.one.daemon.on_pair_tick();
        pair.other.daemon.on_pair_tick();
        pair.pass();
        [&pair.one, &pair.other].map(|host| host.daemon.status().alarms.join("\n"))
    };
    for told in alarms(&mut pair) {
        assert_eq!(told, "");
    }
    // Read again, a file says what it says, though lbd has to be started again for it.
    let again = |host: &mut Host, priority: u8| {
        let mut again = host.daemon.base.clone();
        again.ha.as_mut().unwrap().priority = Priority::new(priority).unwrap();
        host.daemon.read_again(Ok(again));
    };
    again(&mut pair.other, 200);
    for told in alarms(&mut pair) {
        assert!(told.contains("have the priority 200"), "{told}");
    }
    again(&mut pair.one, 250);
    for told in alarms(&mut pair) {
        assert!(!told.contains("have the priority"), "{told}");
    }
}

#[tokio::test]
async fn a_leader_that_reaches_no_backend_makes_way_for_one_that_does() {
    let mut pair = Pair::new(&[1, 2]);
    checked(&mut pair.one.daemon, &[1, 2], false);
    pair.one.daemon.on_pair_tick();
    pair.pass();
    // Below the other one's, which is told to take over.
    assert_eq!(pair.one.daemon.readiness(), (true, 99));
    // Both the same: that is for the panic mode.
    let mut pair = Pair::new(&[1, 2]);
    checked(&mut pair.other.daemon, &[1, 2], false);
    pair.other.daemon.on_pair_tick();
    pair.pass();
    checked(&mut pair.one.daemon, &[1, 2], false);
    pair.one.daemon.on_pair_tick();
    pair.pass();
    assert_eq!(pair.one.daemon.readiness(), (true, 100));
}

#[tokio::test]
async fn a_leader_that_cannot_write_makes_what_the_other_has_written_down() {
    let mut pair = Pair::new(&[1, 2]);
    let mut answer = pair.one.ask(&drain(1));
    // The standby is asked first. Then there is something in the way of the leader's file.
    let way = pair.one.daemon.base.state_dir.join(".changes.json.new");
    std::fs::create_dir(&way).unwrap();
    pair.pass();
    assert!(answer.try_recv().unwrap().is_ok());
    assert_eq!(pair.one.daemon.version, pair.other.daemon.version);
    let alarms = pair.one.daemon.status().alarms.join("\n");
    assert!(alarms.contains("changes are refused"), "{alarms}");
    let mut answer = pair.one.ask(&drain(2));
    let refused = answer.try_recv().unwrap().unwrap_err().to_string();
    assert!(refused.contains("cannot be written down"), "{refused}");
    std::fs::remove_dir(&way).unwrap();
    pair.one.daemon.sweep();
    let mut answer = pair.one.ask(&drain(2));
    pair.pass();
    assert!(answer.try_recv().unwrap().is_ok());
    let [one, other] = pair.backends();
    assert_eq!(one, other);
}

#[tokio::test]
async fn a_leader_lowers_its_priority_only_when_the_standby_has_everything() {
    let mut pair = Pair::new(&[1, 2]);
    pair.one
        .daemon
        .switch(switching::Reply::Own("a test".to_owned()));
    assert_eq!(pair.one.daemon.readiness().1, 100);
    pair.pass();
    assert_eq!(pair.one.daemon.readiness().1, 99);
    // And one that lacks something does not take over when it is told to.
    assert!(pair.other.daemon.switching.is_idle());
}

#[tokio::test]
async fn a_host_on_which_the_program_cannot_be_is_not_ready() {
    let mut pair = Pair::new(&[1, 2]);
    assert!(pair.other.daemon.readiness().0);
    pair.other.daemon.host.unfit = Some("eth0 is no more".to_owned());
    pair.other.daemon.tell_router();
    let leading = pair.other.daemon.leading.as_ref().unwrap();
    assert_eq!(leading.told(), Some(Err("eth0 is no more".to_owned())));
    assert!(!pair.other.daemon.readiness().0);
}

#[tokio::test]
async fn a_file_that_says_the_same_is_no_news_for_the_other_host() {
    let mut pair = Pair::new(&[1, 2]);
    pair.cut();
    let before = pair.other.daemon.version.clone();
    let file = pair.other.daemon.base.clone();
    pair.other.daemon.read_again(Ok(file));
    assert_eq!(pair.other.daemon.version, before);
}

/// A host that joins has backends that the other one has not, and lacks others.
#[tokio::test]
async fn a_host_that_joins_drops_what_it_had_and_not_what_it_never_had() {
    let mut pair = Pair {
        one: Host::new("one", &[1, 2]),
        other: Host::new("other", &[1, 9]),
    };
    pair.one.lead(true);
    pair.other.lead(false);
    pair.other.daemon.on_channel(Event::Paired {
        secret: Some(PairSecret(SECRET)),
    });
    pair.connect();
    let [one, other] = pair.backends();
    assert_eq!(one, ["web1 ready", "web2 ready"]);
    assert_eq!(one, other);
    let dropped = &pair.other.daemon.pairing.as_ref().unwrap().dropped;
    assert_eq!(
        *dropped,
        ["backend www/web9: added, 10.0.2.9:80, weight 1, ready"]
    );
}
