use proptest::prelude::*;

use super::*;
use crate::db::dialect::{self, Channel};

const RULES: Rules = Rules {
    max_lag: Duration::from_secs(5),
    rise: 3,
    fall: 2,
};

fn position(sequence: u64) -> Position {
    Position::parse(&format!("0-1-{sequence}")).unwrap()
}

fn standalone(sequence: u64) -> Report {
    Report {
        dialect: dialect::of("10.11.19-MariaDB").unwrap(),
        version: "10.11.19-MariaDB".to_owned(),
        writable: false,
        position: position(sequence),
        has: position(sequence),
        feeds: true,
        semi_sync_primary: false,
        waits_in_vain: false,
        semi_sync_replica: false,
        enable_semi_sync: None,
        channels: Vec::new(),
    }
}

fn primary(sequence: u64) -> Report {
    Report {
        writable: true,
        ..standalone(sequence)
    }
}

fn replica(sequence: u64) -> Report {
    let channel = Channel {
        source: "db1:3306".to_owned(),
        receiving: Receiving::Running,
        applying: true,
        behind: Some(Duration::ZERO),
        error: None,
        received: position(sequence),
    };
    Report {
        channels: vec![channel],
        ..standalone(sequence)
    }
}

/// A replica with something about its channel changed.
fn with(sequence: u64, change: impl FnOnce(&mut Channel)) -> Report {
    let mut report = replica(sequence);
    change(&mut report.channels[0]);
    report
}

fn connecting(sequence: u64) -> Report {
    with(sequence, |channel| {
        channel.receiving = Receiving::Connecting;
        channel.behind = None;
    })
}

fn lost() -> Result<Report, Failure> {
    Err(Failure::Lost("connection refused".to_owned()))
}

/// Servers db1, db2, … and a clock.
struct Scene {
    state: State,
    start: Instant,
    now: Duration,
}

impl Scene {
    fn of(servers: usize) -> Self {
        let names = (1..=servers).map(|n| format!("db{n}")).collect();
        Self {
            state: State::new(names, RULES),
            start: Instant::now(),
            now: Duration::ZERO,
        }
    }

    /// A primary and two replicas, all well.
    fn well() -> Self {
        let mut scene = Self::of(3);
        scene.look(0, primary(10));
        scene.look(1, replica(10));
        scene.look(2, replica(10));
        scene
    }

    /// Looks at a server, counted from 0, half a second later.
    fn look(&mut self, server: usize, outcome: impl Into<Outcome>) {
        self.now += Duration::from_millis(500);
        self.state
            .on_look(server, self.start + self.now, outcome.into().0);
    }

    fn readers(&self) -> Vec<usize> {
        self.state.view().readers().collect()
    }

    fn primary(&self) -> Result<usize, String> {
        self.state
            .view()
            .primary()
            .map_err(|error| error.to_string())
    }

    fn why(&self, server: usize) -> String {
        self.state.view().servers[server].why.clone()
    }
}

struct Outcome(Result<Report, Failure>);

impl From<Report> for Outcome {
    fn from(report: Report) -> Self {
        Self(Ok(report))
    }
}

impl From<Result<Report, Failure>> for Outcome {
    fn from(outcome: Result<Report, Failure>) -> Self {
        Self(outcome)
    }
}

#[test]
fn replicas_are_read_from_and_the_primary_is_written_to() {
    let scene = Scene::well();
    assert_eq!(scene.primary(), Ok(0));
    assert_eq!(scene.readers(), [1, 2]);
    assert!(scene.state.view().complete);
    assert_eq!(scene.why(1), "is a replica of db1:3306");
}

#[test]
fn nothing_is_known_before_the_first_look() {
    let scene = Scene::of(2);
    assert!(!scene.state.view().complete);
    assert!(scene.readers().is_empty());
    let error = scene.primary().unwrap_err();
    assert!(
        error.contains("db1 was not looked at yet; db2 was"),
        "{error}"
    );
    assert!(scene.state.view().readable().is_err());
}

#[test]
fn whatever_is_wrong_with_a_replica_takes_it_out_at_once() {
    for (outcome, why) in [
        (lost(), "cannot be reached: connection refused"),
        (Err(Failure::TimedOut), "does not answer in time"),
        (
            Err(Failure::Refused("1045".to_owned())),
            "is of no use: 1045",
        ),
        (
            Ok(standalone(10)),
            "is read-only and replicates from nobody",
        ),
        (
            Ok(with(10, |it| it.behind = None)),
            "does not know how far it is behind",
        ),
        (
            Ok(with(10, |it| it.behind = Some(Duration::from_secs(6)))),
            "is 6s behind, more than 5s",
        ),
        (
            Ok(with(10, |it| it.applying = false)),
            "has stopped applying what it replicates",
        ),
        (
            Ok(with(10, |it| it.receiving = Receiving::Stopped)),
            "has stopped replicating",
        ),
        (
            Ok(with(10, |it| {
                it.receiving = Receiving::Stopped;
                it.error = Some("fatal error 1236".to_owned());
            })),
            "has stopped replicating: fatal error 1236",
        ),
    ] {
        let mut scene = Scene::well();
        scene.look(1, outcome);
        assert_eq!(scene.readers(), [2], "{why}");
        assert_eq!(scene.why(1), why);
        assert_eq!(scene.primary(), Ok(0));
    }
}

#[test]
fn a_replica_returns_after_good_looks_in_a_row() {
    let mut scene = Scene::well();
    scene.look(1, lost());
    scene.look(1, replica(10));
    scene.look(1, replica(10));
    assert_eq!(scene.readers(), [2]);
    assert_eq!(
        scene.why(1),
        "returns to the rotation after 1 more good looks"
    );
    scene.look(1, with(10, |it| it.behind = None));
    scene.look(1, replica(10));
    scene.look(1, replica(10));
    assert_eq!(scene.readers(), [2]);
    scene.look(1, replica(10));
    assert_eq!(scene.readers(), [1, 2]);
}

#[test]
fn a_replica_that_looks_well_but_stays_behind_is_noticed() {
    let mut scene = Scene::well();
    // Its primary went on, and it says that it is 0 seconds behind: it waits for a dead peer.
    scene.look(0, primary(11));
    for _ in 0..10 {
        scene.look(1, replica(10));
        assert_eq!(scene.readers(), [1, 2]);
    }
    scene.look(1, replica(10));
    assert_eq!(scene.readers(), [2]);
    assert_eq!(scene.why(1), "is 5s 500ms behind, more than 5s");
    scene.look(1, replica(11));
    assert_eq!(scene.state.view().servers[1].lag, Some(Duration::ZERO));
}

#[test]
fn a_busy_primary_is_not_a_lagging_replica() {
    let mut scene = Scene::well();
    for n in 11..100 {
        scene.look(0, primary(n));
        scene.look(1, replica(n - 1));
        scene.look(2, replica(n));
        assert_eq!(scene.readers(), [1, 2], "{n}");
    }
}

#[test]
fn a_dead_primary_leaves_its_replicas_to_read_from() {
    let mut scene = Scene::well();
    // The replicas notice first.
    scene.look(1, connecting(10));
    assert_eq!(scene.readers(), [1, 2]);
    scene.look(0, lost());
    let error = scene.primary().unwrap_err();
    assert!(
        error.contains("db1 cannot be reached: connection refused"),
        "{error}"
    );
    for _ in 0..100 {
        scene.look(1, connecting(10));
        scene.look(2, connecting(10));
    }
    assert_eq!(scene.readers(), [1, 2]);
    assert!(scene.state.view().readable().is_ok());
    // When it is back, they have some time to notice.
    scene.look(0, primary(10));
    scene.look(1, connecting(10));
    scene.look(2, connecting(10));
    assert_eq!(scene.readers(), [1, 2]);
    for _ in 0..10 {
        scene.look(2, connecting(10));
    }
    assert_eq!(scene.readers(), [1]);
}

#[test]
fn a_replica_that_cannot_reach_a_living_primary_is_bounded_by_the_lag() {
    let mut scene = Scene::well();
    for _ in 0..9 {
        scene.look(1, connecting(10));
        assert_eq!(scene.readers(), [1, 2]);
    }
    scene.look(1, connecting(10));
    scene.look(1, connecting(10));
    assert_eq!(scene.readers(), [2]);
    // One that was never seen to reach it is not trusted at all.
    let mut scene = Scene::of(2);
    scene.look(0, primary(10));
    scene.look(1, connecting(10));
    assert!(scene.readers().is_empty());
    assert_eq!(scene.why(1), "does not know how far it is behind");
}

#[test]
fn a_primary_that_is_silent_once_is_still_the_primary() {
    let mut scene = Scene::well();
    scene.look(0, Err(Failure::TimedOut));
    assert_eq!(scene.primary(), Ok(0));
    scene.look(0, Err(Failure::TimedOut));
    let error = scene.primary().unwrap_err();
    assert!(error.contains("db1 does not answer in time"), "{error}");
    scene.look(0, primary(10));
    assert_eq!(scene.primary(), Ok(0));
}

#[test]
fn a_primary_that_became_read_only_is_none() {
    let mut scene = Scene::well();
    scene.look(0, standalone(10));
    let error = scene.primary().unwrap_err();
    assert!(
        error.contains("db1 is read-only and replicates from nobody"),
        "{error}"
    );
    // It is not read from while there are replicas.
    assert_eq!(scene.readers(), [1, 2]);
    scene.look(1, lost());
    scene.look(2, lost());
    assert_eq!(scene.readers(), [0]);
}

#[test]
fn nothing_is_written_that_no_replica_would_acknowledge() {
    let mut scene = Scene::well();
    let lonely = Report {
        waits_in_vain: true,
        ..primary(10)
    };
    // For a moment it may be without one.
    scene.look(0, lonely.clone());
    assert_eq!(scene.state.view().writable().unwrap(), 0);
    scene.look(0, lonely);
    let view = scene.state.view();
    let error = view.writable().unwrap_err().to_string();
    assert!(error.starts_with("db1 acknowledges"), "{error}");
    assert!(scene.why(0).contains("no replica to acknowledge"));
    // It is the primary nevertheless, and takes reads.
    assert_eq!(scene.primary(), Ok(0));
    assert!(view.readable().is_ok());
    scene.look(0, primary(10));
    assert_eq!(scene.state.view().writable().unwrap(), 0);
}

#[test]
fn while_two_claim_to_be_the_primary_nothing_is_written() {
    let mut scene = Scene::well();
    scene.look(
        2,
        Report {
            writable: true,
            ..replica(10)
        },
    );
    let error = scene.primary().unwrap_err();
    assert_eq!(
        error,
        "db1 and db3 each say that they are the primary: nothing is written until all but one \
         are read-only"
    );
    assert_eq!(scene.readers(), [1]);
    scene.look(2, replica(10));
    assert_eq!(scene.primary(), Ok(0));
}

#[test]
fn a_new_primary_is_recognised_by_its_own_word() {
    let mut scene = Scene::well();
    scene.look(0, lost());
    scene.look(1, connecting(10));
    scene.look(2, connecting(10));
    assert!(scene.primary().is_err());
    // What was promoted first forgets its primary, then lets itself be written to.
    scene.look(1, standalone(10));
    assert!(scene.primary().is_err());
    scene.look(1, primary(10));
    assert_eq!(scene.primary(), Ok(1));
    assert_eq!(scene.readers(), [2]);
    // The old one returns as it was.
    scene.look(0, primary(11));
    let error = scene.primary().unwrap_err();
    assert!(error.starts_with("db1 and db2"), "{error}");
}

#[test]
fn what_a_silent_server_had_counts_no_longer() {
    let mut scene = Scene::well();
    assert_eq!(scene.state.view().position(1), Some(&position(10)));
    scene.look(1, Err(Failure::TimedOut));
    assert_eq!(scene.state.view().position(1), Some(&Position::default()));
}

#[test]
fn a_long_history_still_knows_who_is_far_behind() {
    let mut history = History::default();
    let start = Instant::now();
    for n in 1..=10_000 {
        history.add(start + Duration::from_secs(n), position(n));
    }
    assert!(history.0.len() <= History::MOST);
    let now = start + Duration::from_secs(10_000);
    assert_eq!(history.lag(&position(10_000), now), Duration::ZERO);
    assert_eq!(history.lag(&position(0), now), Duration::from_secs(9_999));
    let lag = history.lag(&position(9_000), now);
    assert!(lag <= Duration::from_secs(1_000), "{lag:?}");
    assert!(lag >= Duration::from_secs(900), "{lag:?}");
}

/// What may be seen of a server.
#[derive(Debug, Clone)]
enum Seen {
    Primary,
    Standalone,
    Well,
    Connecting,
    Stopped,
    NoLag,
    Lagging(u64),
    TimedOut,
    Lost,
}

impl Seen {
    fn outcome(&self) -> Result<Report, Failure> {
        match self {
            Self::Primary => Ok(primary(10)),
            Self::Standalone => Ok(standalone(10)),
            Self::Well => Ok(replica(10)),
            Self::Connecting => Ok(connecting(10)),
            Self::Stopped => Ok(with(10, |it| it.receiving = Receiving::Stopped)),
            Self::NoLag => Ok(with(10, |it| it.behind = None)),
            Self::Lagging(seconds) => Ok(with(10, |it| {
                it.behind = Some(Duration::from_secs(*seconds))
            })),
            Self::TimedOut => Err(Failure::TimedOut),
            Self::Lost => lost(),
        }
    }
}

fn seen() -> impl Strategy<Value = Seen> {
    prop_oneof![
        2 => Just(Seen::Primary),
        1 => Just(Seen::Standalone),
        6 => Just(Seen::Well),
        2 => Just(Seen::Connecting),
        1 => Just(Seen::Stopped),
        1 => Just(Seen::NoLag),
        2 => (0..12_u64).prop_map(Seen::Lagging),
        1 => Just(Seen::TimedOut),
        1 => Just(Seen::Lost),
    ]
}

proptest! {
    /// Whatever happens in whatever order: writes go to a server only if it alone claims them, and
    /// reads only to servers whose last look was good.
    #[test]
    fn nothing_goes_where_it_must_not(
        looks in prop::collection::vec((0..3_usize, seen()), 1..80)
    ) {
        let mut scene = Scene::of(3);
        let mut said: [Vec<Seen>; 3] = Default::default();
        for (server, seen) in looks {
            scene.look(server, seen.outcome());
            said[server].push(seen);

            let claims = |looks: &Vec<Seen>| {
                // A single look without an answer changes nothing.
                let last = match looks.as_slice() {
                    [.., last, Seen::TimedOut] => Some(last),
                    [.., last] => Some(last),
                    [] => None,
                };
                matches!(last, Some(Seen::Primary))
            };
            let claiming: Vec<usize> = (0..3).filter(|it| claims(&said[*it])).collect();
            match scene.primary() {
                Ok(primary) => prop_assert_eq!(claiming, vec![primary]),
                Err(_) => prop_assert_ne!(claiming.len(), 1),
            }

            let view = scene.state.view();
            for reader in view.readers() {
                let fit = match said[reader].last() {
                    Some(Seen::Well | Seen::Connecting) => true,
                    Some(Seen::Lagging(seconds)) => *seconds <= 5,
                    Some(Seen::Standalone) => view.primary == Primary::None,
                    _ => false,
                };
                prop_assert!(fit, "{:?} of {}", said[reader].last(), reader);
            }

            // What was well three times in a row is read from.
            for (server, said) in said.iter().enumerate() {
                if let [.., Seen::Well, Seen::Well, Seen::Well] = said.as_slice() {
                    prop_assert!(view.readers().any(|it| it == server));
                }
            }
        }
    }
}
