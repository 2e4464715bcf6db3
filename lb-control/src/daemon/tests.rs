//! The daemon over tables in memory: what is kept, refused, mended and taken over.

mod ownership;
mod pair;

use super::*;
use crate::config;
use crate::config::{Change, change};
use crate::dataplane::Memory;
use crate::proto::next_hop::NextHop;
use crate::types::{BackendPatch, NewBackend};
use lb_ebpf::abi::{Addr, Features, Slot, SlotState, Tracking, Traffic};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tempfile::TempDir;

const SECRET: [u64; 2] = [1, 2];

fn file(state_dir: &Path, backends: &[u8]) -> Config {
    let mut text = format!(
        "interfaces = [\"eth0\"]\nstate_dir = {state_dir:?}\nidle_timeout = \"1s\"\n\
         [[service]]\nname = \"www\"\nvip = \"192.0.2.10:80\"\nslots = 251\n"
    );
    for n in backends {
        text.push_str(&format!(
            "[[service.backend]]\nname = \"web{n}\"\naddress = \"10.0.2.{n}:80\"\n"
        ));
    }
    config::parse(&text, Path::new("lbd.toml")).unwrap()
}

fn named(n: u8) -> BackendRef {
    format!("www/web{n}").parse().unwrap()
}

fn start(config: Config, memory: Memory) -> Daemon<Memory> {
    Daemon::start(config, memory, watchers(), SECRET).unwrap()
}

/// Nobody listens: the tests say what was found.
fn watchers() -> Watchers {
    Watchers {
        checker: Checker::spawn(mpsc::channel(1).0),
        resolver: Resolver::spawn(mpsc::channel(1).0),
        routers: Vec::new(),
        peer: None,
        heartbeats: Box::new(|_| Ok(None)),
        pair: None,
        host: Box::new(Nothing::default()),
    }
}

/// A host at which there is nothing to see.
#[derive(Default)]
struct Nothing {
    /// How often it was told that the loop turns.
    turns: Arc<AtomicU64>,
}

impl Host for Nothing {
    fn look(&mut self, _: &Config, _: bool) -> HostState {
        HostState::default()
    }

    fn is_intact(&self) -> bool {
        true
    }

    fn turns(&mut self) {
        self.turns.fetch_add(1, Ordering::Relaxed);
    }

    fn use_features(&mut self, _: Features) -> anyhow::Result<()> {
        Ok(())
    }
}

impl Daemon<Memory> {
    /// Makes a change for which nobody else is to be asked.
    fn change(&mut self, change: &Change, if_revision: Option<u64>) -> Result<u64, Refusal> {
        let prepared = self.prepare(change, if_revision)?;
        self.commit(prepared, false)
    }
}

/// Tells the daemon that backends can be reached and are up, or down.
fn checked(daemon: &mut Daemon<Memory>, backends: &[u8], up: bool) {
    for &n in backends {
        let address = SocketAddr::from(([10, 0, 2, n], 80));
        daemon.on_next_hop(NextHopEvent {
            address: address.ip(),
            next_hop: Ok(NextHop {
                ifindex: 2,
                source: [2, 0, 0, 0, 0, 1],
                destination: [2, 0, 0, 0, 0, n],
            }),
        });
        daemon.on_health(HealthEvent {
            backend: named(n),
            address,
            up,
            finishes: false,
            reason: "a test says so".to_owned(),
        });
    }
}

fn serving(backends: &[u8]) -> (TempDir, Daemon<Memory>) {
    let directory = tempfile::tempdir().unwrap();
    let mut daemon = start(file(directory.path(), backends), Memory::default());
    checked(&mut daemon, backends, true);
    (directory, daemon)
}

/// How many slots each web server owns, as the tables say.
fn owned(daemon: &Daemon<Memory>, n: u8) -> usize {
    let tables = daemon.dataplane.read().unwrap();
    let owner = |slot: &Slot| match slot.state() {
        SlotState::Clean(id) | SlotState::Settled(id) => id,
        SlotState::Dirty { current, .. } => current,
        SlotState::Empty => 0,
    };
    let is_his = |id| {
        tables
            .backends
            .get(&id)
            .is_some_and(|backend| backend.addr == Addr::v4([10, 0, 2, n]))
    };
    let slots = tables.slots.values().flatten();
    slots.filter(|slot| is_his(owner(slot))).count()
}

/// Where each slot sends connections that are not recorded.
fn unrecorded(daemon: &Daemon<Memory>) -> Vec<BackendId> {
    let tables = daemon.dataplane.read().unwrap();
    let slots = tables.slots.values().flatten();
    let oldest = |slot: &Slot| match slot.state() {
        SlotState::Clean(owner) | SlotState::Settled(owner) => owner,
        SlotState::Dirty { previous, .. } => previous,
        SlotState::Empty => 0,
    };
    slots.map(oldest).collect()
}

fn drain(n: u8) -> Change {
    admin(n, "drain")
}

fn admin(n: u8, state: &str) -> Change {
    let patch = BackendPatch {
        weight: None,
        admin: Some(state.to_owned()),
    };
    change::set_backend("www", &format!("web{n}"), &patch).unwrap()
}

#[tokio::test]
async fn backends_that_are_up_share_the_slots() {
    let (_directory, mut daemon) = serving(&[1, 2]);
    assert_eq!(owned(&daemon, 1) + owned(&daemon, 2), 251);
    checked(&mut daemon, &[1], false);
    assert_eq!((owned(&daemon, 1), owned(&daemon, 2)), (0, 251));
    assert!(daemon.status().alarms.is_empty());
    checked(&mut daemon, &[1], true);
    assert_eq!(owned(&daemon, 1) + owned(&daemon, 2), 251);
}

/// As when a cable of the balancer is pulled, and plugged in again.
#[tokio::test]
async fn all_backends_failing_together_changes_nothing() {
    let (_directory, mut daemon) = serving(&[1, 2, 3]);
    let before = unrecorded(&daemon);
    for n in 1..=3 {
        checked(&mut daemon, &[n], false);
    }
    assert!(unrecorded(&daemon) == before);
    let alarms = daemon.status().alarms;
    assert!(alarms[0].contains("no backend is up"), "{alarms:?}");
    for n in [2, 1, 3] {
        checked(&mut daemon, &[n], true);
        assert!(unrecorded(&daemon) == before);
    }
    assert!(daemon.status().alarms.is_empty());
}

#[tokio::test]
async fn what_is_refused_changes_nothing() {
    let (directory, mut daemon) = serving(&[1, 2]);
    let kept = || std::fs::read(directory.path().join("changes.json")).unwrap();
    let (tables, before, revision) = (daemon.dataplane.read().unwrap(), kept(), daemon.revision());
    let conflict = daemon.change(&drain(1), Some(revision + 1)).unwrap_err();
    assert_eq!(
        conflict,
        Refusal::Conflict {
            expected: revision + 1,
            actual: revision
        }
    );
    let unknown = daemon.change(&drain(9), None).unwrap_err();
    assert!(matches!(unknown, Refusal::NotFound(_)), "{unknown}");
    assert_eq!(daemon.dataplane.read().unwrap(), tables);
    assert_eq!((kept(), daemon.revision()), (before, revision));

    assert_eq!(daemon.change(&drain(1), Some(revision)), Ok(revision + 1));
    assert_eq!(owned(&daemon, 1), 0);
}

#[tokio::test]
async fn more_backends_than_there_is_room_for_are_refused_whole() {
    let directory = tempfile::tempdir().unwrap();
    let mut config = file(directory.path(), &[1, 2]);
    config.limits.backends = 3;
    let mut daemon = start(config, Memory::default());
    checked(&mut daemon, &[1, 2], true);
    let tables = daemon.dataplane.read().unwrap();
    let new = NewBackend {
        name: "web3".to_owned(),
        address: "10.0.2.3:80".to_owned(),
        weight: None,
    };
    let wanted = change::add_backend("www", &new).unwrap();
    let refused = daemon.change(&wanted, None).unwrap_err();
    assert!(matches!(refused, Refusal::Invalid(_)), "{refused}");
    assert_eq!(daemon.dataplane.read().unwrap(), tables);
    assert_eq!(daemon.status().services[0].backends.len(), 2);
}

#[tokio::test]
async fn a_change_whose_writing_fails_is_kept_and_made_good() {
    let (directory, mut daemon) = serving(&[1, 2]);
    daemon.dataplane.writes_until_failure = Some(5);
    let failed = daemon.change(&drain(1), None).unwrap_err();
    assert!(failed.to_string().contains("kept"), "{failed}");
    assert!(!daemon.status().alarms.is_empty());
    daemon.sweep();
    assert_eq!((owned(&daemon, 1), owned(&daemon, 2)), (0, 251));
    assert_eq!(daemon.status().alarms, Vec::<String>::new());
    let kept = changes::load(directory.path()).unwrap().unwrap();
    assert_eq!(kept.revision, daemon.revision());
}

#[tokio::test]
async fn the_next_daemon_takes_over_without_a_write() {
    let (directory, mut first) = serving(&[1, 2, 3]);
    first.change(&drain(1), None).unwrap();
    let (tables, revision) = (first.dataplane.read().unwrap(), first.revision());
    let mut memory = first.dataplane.clone();
    drop(first);
    memory.writes_until_failure = Some(0);
    let mut second = start(file(directory.path(), &[1, 2, 3]), memory);
    assert_eq!(second.dataplane.read().unwrap(), tables);
    assert_eq!(second.revision(), revision);
    let status = second.status();
    let states = status.services[0].backends.iter();
    let states: Vec<_> = states
        .map(|backend| (backend.admin.as_str(), backend.operational.as_str()))
        .collect();
    // Whoever has no slots served nobody, and is checked first.
    assert_eq!(
        states,
        [("drain", "init"), ("ready", "up"), ("ready", "up")]
    );
    second.sweep();
    assert_eq!(second.dataplane.writes_until_failure, Some(0));
}

#[tokio::test]
async fn what_somebody_else_wrote_is_mended() {
    let (_directory, mut daemon) = serving(&[1, 2]);
    let tables = daemon.dataplane.read().unwrap();
    let (key, _) = tables.reverse.first_key_value().unwrap();
    daemon.dataplane.set_reverse(key, None).unwrap();
    daemon.dataplane.set_slot(7, Slot::EMPTY).unwrap();
    daemon.sweep();
    assert_eq!(daemon.dataplane.read().unwrap(), tables);
}

/// A slot that settles and changes again between two sweeps is dirty anew. If it kept its old
/// time, it would settle at the next sweep, and break who was not heard of since.
#[tokio::test]
async fn time_begins_anew_for_a_slot_that_was_at_rest_meanwhile() {
    let (_directory, mut daemon) = serving(&[1, 2]);
    daemon.change(&drain(1), None).unwrap();
    daemon.sweep();
    assert!(daemon.dirty.count() > 0);
    // Its slots return to the one whose connections are the unrecorded ones: they settle.
    daemon.change(&admin(1, "ready"), None).unwrap();
    assert_eq!(daemon.dirty.count(), 0);
    daemon.change(&drain(1), None).unwrap();
    assert!(daemon.dirty.count() > 0);
}

#[tokio::test]
async fn a_reload_keeps_what_was_changed_by_cli() {
    let (directory, mut daemon) = serving(&[1, 2]);
    daemon.change(&drain(1), None).unwrap();
    daemon.read_again(Ok(file(directory.path(), &[1, 2, 3])));
    checked(&mut daemon, &[3], true);
    assert_eq!(owned(&daemon, 1), 0);
    assert!(owned(&daemon, 3) > 0);
    assert!(daemon.status().alarms.is_empty());

    // The file no longer has what was changed; and it asks for what only a start can do.
    let mut other = file(directory.path(), &[2, 3]);
    other.interfaces = vec!["eth1".to_owned()];
    daemon.read_again(Ok(other));
    let alarms = daemon.status().alarms.join("\n");
    assert!(alarms.contains("www/web1"), "{alarms}");
    assert!(alarms.contains("interfaces"), "{alarms}");
}

#[tokio::test]
async fn a_removed_backend_keeps_its_name_until_it_is_gone() {
    let (_directory, mut daemon) = serving(&[1, 2]);
    let removal = |force| change::remove_backend("www", "web1", force).unwrap();
    daemon.change(&removal(false), None).unwrap();
    let status = daemon.status();
    let leaving = status.services[0].backends.last().unwrap();
    assert_eq!(
        (leaving.name.as_str(), leaving.admin.as_str()),
        ("web1", "removing")
    );
    // It cannot be removed twice, but it can be cut.
    assert!(daemon.change(&removal(false), None).is_err());
    daemon.change(&removal(true), None).unwrap();
    daemon.sweep();
    assert_eq!(daemon.status().services[0].backends.len(), 1);
}

#[tokio::test]
async fn one_that_was_cut_and_came_back_leaves_in_peace() {
    let (_directory, mut daemon) = serving(&[1, 2]);
    let remove = |force| change::remove_backend("www", "web1", force).unwrap();
    let new = NewBackend {
        name: "web1".to_owned(),
        address: "10.0.2.1:80".to_owned(),
        weight: None,
    };
    daemon.change(&remove(true), None).unwrap();
    daemon
        .change(&change::add_backend("www", &new).unwrap(), None)
        .unwrap();
    checked(&mut daemon, &[1], true);
    assert!(owned(&daemon, 1) > 0);
    let id = daemon.ids[&named(1)];
    daemon.change(&remove(false), None).unwrap();
    assert!(
        daemon.tables.backends[&id].is_alive(),
        "its connections were cut"
    );
}

#[tokio::test]
async fn whoever_gets_an_id_again_starts_at_zero() {
    let (_directory, mut daemon) = serving(&[1]);
    let id = daemon.ids[&named(1)];
    let counted = Traffic {
        connections: 7,
        ..Traffic::default()
    };
    daemon.dataplane.traffic.insert(id, counted);
    let service = daemon.tables.services.first_key_value().unwrap().1.id;
    daemon.dataplane.retire(id, Some(service)).unwrap();
    daemon.dataplane.traffic.insert(id, counted);
    let gone = change::remove_service("www").unwrap();
    daemon.change(&gone, None).unwrap();
    assert_eq!(daemon.dataplane.traffic(id).unwrap(), Traffic::default());
    assert_eq!(
        daemon.dataplane.retired(service).unwrap(),
        Traffic::default()
    );
}

/// What a backend counted stays with its service when it goes, and ids are used again late.
#[tokio::test]
async fn counters_of_a_backend_that_left_stay_with_the_service() {
    let (_directory, mut daemon) = serving(&[1, 2]);
    let id = daemon.ids[&named(1)];
    let counted = Traffic {
        connections: 7,
        ..Traffic::default()
    };
    daemon.dataplane.traffic.insert(id, counted);
    let gone = change::remove_backend("www", "web1", true).unwrap();
    daemon.change(&gone, None).unwrap();
    daemon.sweep();
    assert!(
        !daemon.tables.backends.contains_key(&id),
        "it is still there"
    );
    assert_eq!(daemon.stats().unwrap().services["www"].connections, 7);
    let new = NewBackend {
        name: "web3".to_owned(),
        address: "10.0.2.3:80".to_owned(),
        weight: None,
    };
    let new = change::add_backend("www", &new).unwrap();
    daemon.change(&new, None).unwrap();
    assert_ne!(daemon.ids[&named(3)], id, "used again at once");
}

#[tokio::test]
async fn flows_that_are_refused_are_an_alarm_while_it_lasts() {
    let (_directory, mut daemon) = serving(&[1]);
    daemon.dataplane.tracking[Tracking::RefusedFull as usize] = 5;
    daemon.sweep();
    let alarms = daemon.status().alarms.join("\n");
    assert!(alarms.contains("not recorded"), "{alarms}");
    daemon.sweep();
    assert!(daemon.status().alarms.is_empty());
}

/// The name of the service is changed in the file, and changed back.
#[tokio::test]
async fn what_does_not_fit_the_file_is_kept_until_it_does() {
    let (directory, mut daemon) = serving(&[1, 2]);
    daemon.change(&drain(1), None).unwrap();
    let right = file(directory.path(), &[1, 2]);
    let mut renamed = right.clone();
    let www = renamed.services.remove(&named(1).service).unwrap();
    renamed.services.insert("web".parse().unwrap(), www);
    daemon.read_again(Ok(renamed));
    assert!(daemon.status().alarms.join("\n").contains("left out"));
    daemon.read_again(Ok(right));
    assert_eq!(daemon.status().changes, ["backend www/web1: drain"]);
    let kept = changes::load(directory.path()).unwrap().unwrap();
    assert_eq!(kept.overlay.lines(), ["backend www/web1: drain"]);

    daemon.change(&Change::Reset, None).unwrap();
    assert_eq!(daemon.status().changes, Vec::<String>::new());
    let kept = changes::load(directory.path()).unwrap().unwrap();
    assert!(kept.overlay.is_empty());
}

#[tokio::test]
async fn a_file_that_is_refused_is_an_alarm_until_it_is_right() {
    let (directory, mut daemon) = serving(&[1]);
    daemon.read_again(Err("lbd.toml:1:1: wrong".to_owned()));
    assert!(daemon.status().alarms[0].contains("lbd.toml:1:1"));
    daemon.read_again(Ok(file(directory.path(), &[1])));
    assert!(daemon.status().alarms.is_empty());
}

/// One that says that it is not ready gets nothing new, and finishes what it has; until it is silent.
#[tokio::test]
async fn one_that_is_not_ready_keeps_its_connections() {
    let (_directory, mut daemon) = serving(&[1, 2]);
    let id = daemon.ids[&named(1)];
    let says = |finishes| HealthEvent {
        backend: named(1),
        address: SocketAddr::from(([10, 0, 2, 1], 80)),
        up: false,
        finishes,
        reason: "a test says so".to_owned(),
    };
    daemon.on_health(says(true));
    assert_eq!(owned(&daemon, 1), 0, "it gets new connections");
    assert!(unrecorded(&daemon).contains(&id), "its connections are cut");
    assert!(daemon.tables.backends[&id].is_alive());

    daemon.on_health(says(false));
    assert!(!unrecorded(&daemon).contains(&id), "it is dead");
    assert!(!daemon.tables.backends[&id].is_alive());
}

/// One is long dead before the others fail together: it does not go on with them.
#[tokio::test]
async fn the_long_dead_are_not_brought_back_by_a_panic() {
    let (_directory, mut daemon) = serving(&[1, 2, 3]);
    // The window is a few probes: nothing, if they follow each other without a pause.
    let www = daemon.running.services.values_mut().next().unwrap();
    www.check.interval = Duration::ZERO;
    www.check.timeout = Duration::ZERO;
    checked(&mut daemon, &[1], false);
    std::thread::sleep(Duration::from_millis(2));
    checked(&mut daemon, &[2], false);
    std::thread::sleep(Duration::from_millis(2));
    checked(&mut daemon, &[3], false);
    assert_eq!(
        (owned(&daemon, 1), owned(&daemon, 2), owned(&daemon, 3)),
        (0, 0, 251)
    );
}

/// What others have the daemon do is no sign that its loop turns.
#[tokio::test]
async fn only_the_loop_says_that_it_turns() {
    let directory = tempfile::tempdir().unwrap();
    let (host, mut watchers) = (Nothing::default(), watchers());
    let turns = Arc::clone(&host.turns);
    watchers.host = Box::new(host);
    let file = file(directory.path(), &[1, 2]);
    let mut daemon = Daemon::start(file, Memory::default(), watchers, SECRET).unwrap();
    daemon.look_at_host();
    daemon.change(&drain(1), None).unwrap();
    assert_eq!(turns.load(Ordering::Relaxed), 0);
    let twice = async {
        while turns.load(Ordering::Relaxed) < 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let limit = Duration::from_secs(30);
    let run = tokio::time::timeout(limit, daemon.run(silence(), twice));
    run.await.expect("two turns");
}

/// Nobody says anything to the daemon.
fn silence() -> Inputs {
    Inputs {
        requests: mpsc::channel(1).1,
        health: mpsc::channel(1).1,
        next_hops: mpsc::channel(1).1,
        leading: mpsc::unbounded_channel().1,
        heartbeats: mpsc::unbounded_channel().1,
        missing: mpsc::unbounded_channel().1,
        witness: mpsc::unbounded_channel().1,
        channel: mpsc::channel(1).1,
        new_flows: mpsc::channel(1).1,
        reloads: mpsc::channel(1).1,
    }
}
