//! Who may begin to lead, in every situation.

use crate::sync::leave::{GRACE, Leave, SEARCH, Situation};
use std::time::{Duration, Instant};

const MOMENT: Duration = Duration::from_millis(1);

/// Of a host that lacks something, at every combination of what it may know.
fn may_lead(leave: &Leave, now: Instant) -> Vec<Situation> {
    let mut situations = Vec::new();
    for number in 0..16 {
        let bit = |place: u32| number >> place & 1 == 1;
        situations.push(Situation {
            leads: bit(0),
            only_lacks_leave: bit(1),
            hears_leader: bit(2),
            peer_lives: bit(3),
        });
    }
    situations.retain(|&it| leave.to_lead(now, Err("tables".to_owned()), it).is_ok());
    situations
}

fn certainly(situation: &Situation) -> bool {
    situation.leads || situation.only_lacks_leave
}

#[test]
fn one_that_lacks_something_leads_only_if_nobody_else_does() {
    let began = Instant::now();
    let leave = Leave::new(began);
    let searching = may_lead(&leave, began + SEARCH);
    assert!(searching.iter().all(certainly));
    assert_eq!(searching.len(), 12);
    let alone = |it: &Situation| !it.peer_lives && !it.hears_leader;
    let searched = may_lead(&leave, began + SEARCH + MOMENT);
    assert!(searched.iter().all(|it| certainly(it) || alone(it)));
    assert_eq!(searched.len(), 13);
}

#[test]
fn one_that_had_everything_may_lead_for_a_while() {
    let began = Instant::now();
    let mut leave = Leave::new(began);
    let broke = began + Duration::from_secs(60);
    leave.broke_synchronised(broke);
    assert_eq!(may_lead(&leave, broke + GRACE - MOMENT).len(), 16);
    assert_eq!(may_lead(&leave, broke + GRACE).len(), 13);
    // One that led meanwhile, with tables of its own, has not those of another leader.
    leave.led();
    assert_eq!(may_lead(&leave, broke).len(), 13);
}

#[test]
fn one_that_has_everything_may_lead_and_one_that_has_not_says_why() {
    let now = Instant::now();
    let waits = Situation {
        leads: false,
        only_lacks_leave: false,
        hears_leader: true,
        peer_lives: true,
    };
    let leave = Leave::new(now);
    assert_eq!(leave.to_lead(now, Ok(()), waits), Ok(()));
    let refused = leave.to_lead(now, Err("it has no tables".to_owned()), waits);
    let expected = "it is not synchronised: it has no tables";
    assert_eq!(refused, Err(expected.to_owned()));
}
