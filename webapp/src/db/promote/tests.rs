use super::Step::{Apply, EnableSemiSync, Follow, Forget, Open, StopReceiving};
use super::*;
use crate::db::dialect::{self, Channel, Receiving};
use crate::db::position::Position;

fn position(sequence: u64) -> Position {
    Position::parse(&format!("0-1-{sequence}")).unwrap()
}

fn server(n: u8, said: Result<Report, Failure>) -> Surveyed {
    Surveyed {
        name: format!("db{n}"),
        host: format!("10.0.2.3{n}"),
        port: 3306,
        said,
    }
}

fn alone(sequence: u64) -> Report {
    Report {
        dialect: dialect::of("10.11.19-MariaDB").unwrap(),
        version: "10.11.19-MariaDB".to_owned(),
        writable: false,
        position: position(sequence),
        has: position(sequence),
        feeds: true,
        semi_sync_primary: false,
        waits_in_vain: false,
        semi_sync_replica: true,
        enable_semi_sync: Some("SET GLOBAL rpl_semi_sync_master_enabled = ON"),
        channels: Vec::new(),
    }
}

/// A replica of db1 that received everything up to a transaction.
fn replica(sequence: u64) -> Report {
    let channel = Channel {
        source: "10.0.2.31:3306".to_owned(),
        receiving: Receiving::Connecting,
        applying: true,
        behind: None,
        error: None,
        received: position(sequence),
    };
    Report {
        channels: vec![channel],
        ..alone(sequence)
    }
}

fn dead() -> Result<Report, Failure> {
    Err(Failure::Lost("connection refused".to_owned()))
}

/// db1 is dead, and db2 and db3 were its replicas.
fn bereft(two: u64, three: u64) -> Vec<Surveyed> {
    vec![
        server(1, dead()),
        server(2, Ok(replica(two))),
        server(3, Ok(replica(three))),
    ]
}

fn refusal(servers: &[Surveyed], target: &str) -> String {
    plan(servers, target, &[]).unwrap_err().to_string()
}

#[test]
fn a_replica_takes_the_place_of_a_dead_primary() {
    let plan = plan(&bereft(10, 10), "db2", &[]).unwrap();
    assert_eq!(plan.target, 1);
    assert_eq!(
        plan.steps,
        [
            StopReceiving(2),
            StopReceiving(1),
            Apply(1),
            EnableSemiSync(1),
            Open(1),
            Forget(1),
            Follow(2)
        ]
    );
    assert_eq!(plan.warnings.len(), 1, "{plan:?}");
    assert!(
        plan.warnings[0].contains("db1 cannot be reached"),
        "{plan:?}"
    );
    let shown = plan.show(&bereft(10, 10));
    assert!(
        shown.contains(" 5. db2: allow writes\n 6. db2: stop being a replica\n"),
        "{shown}"
    );
}

#[test]
fn what_another_replica_has_is_not_given_up() {
    let why = refusal(&bereft(10, 11), "db2");
    assert!(
        why.starts_with("db3 has what db2 lacks (0-1-11): promote db3"),
        "{why}"
    );
    assert!(plan(&bereft(10, 11), "db3", &[]).is_ok());
}

#[test]
fn a_primary_that_lives_is_not_replaced() {
    let mut servers = bereft(10, 10);
    servers[0].said = Ok(Report {
        writable: true,
        ..alone(10)
    });
    assert!(refusal(&servers, "db2").contains("db1 answers as a primary"));
    // Not even one that is given up: it would go on to acknowledge writes.
    let without = plan(&servers, "db2", &["db1".to_owned()]);
    assert!(
        without
            .unwrap_err()
            .to_string()
            .contains("db1 answers as a primary")
    );
}

#[test]
fn a_replica_that_is_silent_is_given_up_only_on_purpose() {
    let mut servers = bereft(10, 10);
    servers[2].said = Err(Failure::TimedOut);
    let why = refusal(&servers, "db2");
    assert!(
        why.contains("db3 does not answer in time, so nobody knows"),
        "{why}"
    );
    let plan = plan(&servers, "db2", &["db3".to_owned()]).unwrap();
    assert_eq!(plan.steps.last(), Some(&Forget(1)));
    assert_eq!(plan.warnings.len(), 3, "{plan:?}");
}

#[test]
fn who_cannot_be_the_primary_is_refused() {
    let mut servers = bereft(10, 10);
    assert!(refusal(&servers, "db9").contains("there is no server db9"));
    assert!(refusal(&servers, "db1").contains("db1 cannot be reached"));
    assert!(plan(&servers, "db2", &["db9".to_owned()]).is_err());
    servers[1].said = Ok(Report {
        feeds: false,
        ..replica(10)
    });
    assert!(refusal(&servers, "db2").contains("log_bin"));
    let mut broken = replica(10);
    broken.channels[0].applying = false;
    broken.channels[0].error = Some("Duplicate entry".to_owned());
    servers[1].said = Ok(broken);
    assert!(refusal(&servers, "db2").contains("received (Duplicate entry): start that"));
}

#[test]
fn a_primary_that_was_made_read_only_hands_over_once_it_has_nothing_more() {
    let mut servers = bereft(10, 10);
    servers[0].said = Ok(alone(12));
    let why = refusal(&servers, "db2");
    assert!(
        why.contains("db1 has what db2 lacks (0-1-12)") && why.contains("--without"),
        "{why}"
    );
    assert!(plan(&servers, "db2", &["db1".to_owned()]).is_ok());
    servers[0].said = Ok(alone(10));
    let plan = plan(&servers, "db2", &[]).unwrap();
    assert!(
        plan.warnings[0].contains("db1 replicates from nobody"),
        "{plan:?}"
    );
}

#[test]
fn a_primary_that_came_back_read_only_may_be_opened_again() {
    let mut servers = bereft(10, 10);
    servers[0].said = Ok(Report {
        semi_sync_primary: true,
        ..alone(12)
    });
    let plan = plan(&servers, "db1", &[]).unwrap();
    assert_eq!(
        plan.steps,
        [
            StopReceiving(1),
            StopReceiving(2),
            Open(0),
            Follow(1),
            Follow(2)
        ]
    );
}

#[test]
fn a_promotion_that_was_interrupted_is_completed() {
    let mut servers = bereft(10, 10);
    servers[1].said = Ok(Report {
        writable: true,
        ..alone(10)
    });
    let steps = |servers: &[Surveyed]| plan(servers, "db2", &[]).unwrap().steps;
    assert_eq!(steps(&servers), [Follow(2)]);
    let mut follows = replica(10);
    follows.channels[0].source = "10.0.2.32:3306".to_owned();
    servers[2].said = Ok(follows);
    assert_eq!(steps(&servers), []);
    let plan = plan(&servers, "db2", &[]).unwrap();
    assert!(plan.show(&servers).contains("db2 is the primary already"));
}

/// What the servers say after a step.
fn after(servers: &mut [Surveyed], step: Step) {
    let follow_db2 = Channel {
        source: "10.0.2.32:3306".to_owned(),
        ..replica(10).channels.remove(0)
    };
    let (StopReceiving(at) | Apply(at) | EnableSemiSync(at) | Open(at) | Forget(at) | Follow(at)) =
        step;
    let report = servers[at].said.as_mut().unwrap();
    match step {
        StopReceiving(_) => report.channels[0].receiving = Receiving::Stopped,
        Apply(_) => report.position = report.has.clone(),
        EnableSemiSync(_) => report.semi_sync_primary = true,
        Open(_) => report.writable = true,
        Forget(_) => report.channels.clear(),
        Follow(_) => report.channels = vec![follow_db2],
    }
}

#[test]
fn wherever_a_promotion_is_interrupted_the_same_command_goes_on() {
    let whole = plan(&bereft(10, 10), "db2", &[]).unwrap().steps;
    for done in 0..=whole.len() {
        let mut servers = bereft(10, 10);
        whole[..done]
            .iter()
            .for_each(|step| after(&mut servers, *step));
        let rest = plan(&servers, "db2", &[]);
        let rest = rest.unwrap_or_else(|why| panic!("after {done} steps: {why}"));
        rest.steps
            .iter()
            .for_each(|step| after(&mut servers, *step));
        let new = servers[1].report().unwrap();
        assert!(new.writable && new.channels.is_empty() && new.semi_sync_primary);
        assert!(servers[2].follows(&servers[1]), "after {done} steps");
        assert_eq!(plan(&servers, "db2", &[]).unwrap().steps, []);
    }
}

#[test]
fn that_no_replica_is_left_to_acknowledge_is_told() {
    let lonely = [server(1, dead()), server(2, Ok(replica(10)))];
    let warnings = plan(&lonely, "db2", &[]).unwrap().warnings;
    assert!(
        warnings[0].starts_with("no replica will follow db2"),
        "{warnings:?}"
    );
    let warnings = plan(&bereft(10, 10), "db2", &[]).unwrap().warnings;
    assert!(
        !warnings.iter().any(|it| it.contains("will follow")),
        "{warnings:?}"
    );
}

#[test]
fn what_may_be_lost_without_semi_synchronous_replication_is_told() {
    let mut servers = bereft(10, 10);
    servers[1].said = Ok(Report {
        semi_sync_replica: false,
        ..replica(10)
    });
    let plan = plan(&servers, "db2", &[]).unwrap();
    assert!(
        plan.warnings[0].contains("acknowledged last may be lost"),
        "{plan:?}"
    );
    assert!(!plan.steps.contains(&EnableSemiSync(1)));
}
