//! Every pair of state and event.

use super::{centiseconds, host, ms, params, priority, vrid};
use crate::proto::vrrp::{
    Addresses, Advert, Claim, Effect, LeadReason, Machine, Params, Priority, Refusal, State,
    YieldReason,
};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

/// A machine, and the clock it is told of.
pub(super) struct Bench {
    pub(super) machine: Machine,
    pub(super) start: Instant,
    pub(super) now: Instant,
}

impl Bench {
    pub(super) fn new(params: Params) -> Self {
        let start = Instant::now();
        Self {
            machine: Machine::new(params),
            start,
            now: start,
        }
    }

    pub(super) fn started(params: Params) -> Self {
        let mut bench = Self::new(params);
        bench.machine.start(bench.now);
        bench
    }

    /// A machine that leads, after it heard nobody.
    pub(super) fn active(params: Params) -> Self {
        let mut bench = Self::started(params);
        bench.run_to_deadline();
        assert_eq!(bench.machine.state(), State::Active);
        bench
    }

    pub(super) fn wait(&mut self, duration: Duration) -> &mut Self {
        self.now += duration;
        self
    }

    /// When the next deadline is, since the start.
    pub(super) fn deadline(&self) -> Option<Duration> {
        let deadline = self.machine.deadline();
        deadline.map(|deadline| deadline - self.start)
    }

    /// Goes on to the deadline. Returns what came of it.
    pub(super) fn run_to_deadline(&mut self) -> String {
        self.now = self.machine.deadline().expect("a deadline");
        self.machine.on_timeout(self.now);
        self.effects()
    }

    pub(super) fn hear(&mut self, peer: IpAddr, claim: Claim) -> String {
        let advert = self.machine.advert(claim);
        self.hear_advert(peer, &advert)
    }

    pub(super) fn hear_advert(&mut self, peer: IpAddr, advert: &Advert) -> String {
        let heard = self.machine.on_advert(self.now, peer, advert);
        assert_eq!(heard, Ok(()));
        self.effects()
    }

    pub(super) fn leads(&mut self, number: u8, own: u8) -> String {
        self.hear(host(number), Claim::Lead(priority(own)))
    }

    pub(super) fn hold(&mut self) -> String {
        let hold = Err("not synchronised".to_owned());
        self.machine.set_eligible(self.now, hold);
        self.effects()
    }

    pub(super) fn allow(&mut self) -> String {
        self.machine.set_eligible(self.now, Ok(()));
        self.effects()
    }

    pub(super) fn take_over(&mut self) -> String {
        self.machine.take_over(self.now);
        self.effects()
    }

    pub(super) fn set_priority(&mut self, number: u8) -> String {
        self.machine.set_priority(self.now, priority(number));
        self.effects()
    }

    pub(super) fn effects(&mut self) -> String {
        let effects = std::iter::from_fn(|| self.machine.next_effect());
        effects
            .map(|effect| short(&effect))
            .collect::<Vec<_>>()
            .join(" ")
    }
}

fn short(effect: &Effect) -> String {
    let text = match effect {
        Effect::Lead { reason } => match reason {
            LeadReason::Owner => "lead:owner",
            LeadReason::ActiveDown => "lead:active-down",
            LeadReason::PeerLost => "lead:peer-lost",
            LeadReason::Released => "lead:released",
            LeadReason::Resumed => "lead:resumed",
            LeadReason::Switched => "lead:switched",
            LeadReason::Preempts { .. } => "lead:preempts",
        },
        Effect::Yield { reason } => match reason {
            YieldReason::HigherPriority { .. } => "yield:priority",
            YieldReason::HigherAddress { .. } => "yield:address",
            YieldReason::Held(_) => "yield:held",
            YieldReason::LinkDown(_) => "yield:link-down",
            YieldReason::Shutdown => "yield:shutdown",
        },
        Effect::SendAdvert { claim } => return format!("advert:{}", claim.to_wire()),
        Effect::Announce => "announce",
        Effect::SecondActive { .. } => "second-active",
        Effect::Withheld { .. } => "withheld",
        Effect::Disagrees { .. } => "disagrees",
    };
    text.to_owned()
}

/// The states, with all that a backup may wait for.
#[derive(Clone, Copy, Debug)]
enum Before {
    Initialize,
    /// For the next advertisement of a leader, of priority 150.
    Follows,
    /// For those of higher priority, after a release.
    Turn,
    /// For leave.
    Leave,
    Active,
}

fn bench(from: Before) -> Bench {
    let mut bench = match from {
        Before::Initialize => Bench::new(params()),
        Before::Follows | Before::Turn | Before::Leave => Bench::started(params()),
        Before::Active => Bench::active(params()),
    };
    match from {
        Before::Initialize | Before::Active => {}
        Before::Follows => {
            bench.leads(1, 150);
        }
        Before::Turn => {
            bench.hear(host(1), Claim::Release);
        }
        Before::Leave => {
            bench.hold();
            assert_eq!(bench.run_to_deadline(), "withheld");
        }
    }
    // Some time later, but before anything is due.
    bench.wait(ms(20));
    bench
}

/// The state after an event, and what came of it.
fn after(from: Before, event: impl Fn(&mut Bench) -> String) -> String {
    let mut bench = bench(from);
    let effects = event(&mut bench);
    let state = format!("{:?}", bench.machine.state());
    format!("{state} {effects}").trim_end().to_owned()
}

fn every(event: impl Fn(&mut Bench) -> String, expected: [&str; 5]) {
    use Before::{Active, Follows, Initialize, Leave, Turn};
    for (from, expected) in [Initialize, Follows, Turn, Leave, Active]
        .into_iter()
        .zip(expected)
    {
        assert_eq!(after(from, &event), expected, "from {from:?}");
    }
}

const INITIALIZE: &str = "Initialize";
const BACKUP: &str = "Backup";
const ACTIVE: &str = "Active";

#[test]
fn start() {
    let start = |bench: &mut Bench| {
        bench.machine.start(bench.now);
        bench.effects()
    };
    every(start, [BACKUP, BACKUP, BACKUP, BACKUP, ACTIVE]);
}

#[test]
fn resume() {
    let resume = |bench: &mut Bench| {
        bench.machine.resume(bench.now);
        bench.effects()
    };
    let leads = "Active lead:resumed advert:100 announce";
    every(resume, [leads, BACKUP, BACKUP, BACKUP, ACTIVE]);
}

#[test]
fn whoever_may_not_lead_does_not_resume_either() {
    let mut bench = Bench::new(params());
    bench.hold();
    bench.machine.resume(bench.now);
    assert_eq!(bench.effects(), "");
    assert_eq!(bench.machine.state(), State::Backup);
}

#[test]
fn other_addresses() {
    let change = |bench: &mut Bench| {
        let addresses = Addresses::v4(vec![Ipv4Addr::new(192, 0, 2, 101)]);
        let addresses = addresses.expect("an address");
        bench
            .machine
            .set_addresses(bench.now, bench.machine.params().addresses.clone());
        assert_eq!(bench.effects(), "", "they are the same");
        bench.machine.set_addresses(bench.now, addresses.clone());
        assert_eq!(bench.machine.params().addresses, addresses);
        bench.effects()
    };
    let said = "Active advert:100 announce";
    every(change, [INITIALIZE, BACKUP, BACKUP, BACKUP, said]);
}

#[test]
fn shutdown() {
    let shutdown = |bench: &mut Bench| {
        bench.machine.shutdown(YieldReason::Shutdown);
        assert_eq!(bench.machine.deadline(), None);
        bench.effects()
    };
    let released = "Initialize advert:0 yield:shutdown";
    every(
        shutdown,
        [INITIALIZE, INITIALIZE, INITIALIZE, INITIALIZE, released],
    );
}

#[test]
fn links_that_go_down_and_come_back() {
    let down = |bench: &mut Bench| {
        let why = "eth0 is down".to_owned();
        bench.machine.shutdown(YieldReason::LinkDown(why));
        bench.effects()
    };
    let released = "Initialize advert:0 yield:link-down";
    every(
        down,
        [INITIALIZE, INITIALIZE, INITIALIZE, INITIALIZE, released],
    );

    // It waited for leave when it could not hear: now it waits for whoever leads.
    let mut bench = bench(Before::Leave);
    down(&mut bench);
    bench.allow();
    bench.machine.start(bench.now);
    assert_eq!(bench.leads(1, 150), "");
    assert_eq!(bench.machine.state(), State::Backup);
}

#[test]
fn release() {
    let release = |bench: &mut Bench| bench.hear(host(9), Claim::Release);
    let answered = "Active advert:100 announce second-active";
    every(release, [INITIALIZE, BACKUP, BACKUP, BACKUP, answered]);
}

#[test]
fn a_higher_priority() {
    let higher = |bench: &mut Bench| bench.leads(1, 101);
    let yields = "Backup advert:100 yield:priority";
    every(higher, [INITIALIZE, BACKUP, BACKUP, BACKUP, yields]);
}

#[test]
fn the_same_priority_and_a_higher_address() {
    let higher = |bench: &mut Bench| bench.leads(9, 100);
    let yields = "Backup advert:100 yield:address";
    every(higher, [INITIALIZE, BACKUP, BACKUP, BACKUP, yields]);
}

#[test]
fn the_same_priority_and_a_lower_address() {
    let lower = |bench: &mut Bench| bench.leads(1, 100);
    let answered = "Active advert:100 announce second-active";
    every(lower, [INITIALIZE, BACKUP, BACKUP, BACKUP, answered]);
}

#[test]
fn a_lower_priority() {
    let lower = |bench: &mut Bench| bench.leads(9, 99);
    let answered = "Active advert:100 announce second-active";
    every(lower, [INITIALIZE, BACKUP, BACKUP, BACKUP, answered]);
}

#[test]
fn a_timeout_before_the_deadline() {
    let early = |bench: &mut Bench| {
        bench.machine.on_timeout(bench.now);
        bench.effects()
    };
    every(early, [INITIALIZE, BACKUP, BACKUP, BACKUP, ACTIVE]);
}

#[test]
fn a_timeout_at_the_deadline() {
    let timeout = |bench: &mut Bench| match bench.machine.deadline() {
        Some(_) => bench.run_to_deadline(),
        None => "never".to_owned(),
    };
    every(
        timeout,
        [
            "Initialize never",
            "Active lead:active-down advert:100 announce",
            "Active lead:released advert:100 announce",
            "Backup never",
            "Active announce",
        ],
    );
}

#[test]
fn another_own_priority() {
    let lower = |bench: &mut Bench| bench.set_priority(50);
    every(
        lower,
        [INITIALIZE, BACKUP, BACKUP, BACKUP, "Active advert:50"],
    );
    let same = |bench: &mut Bench| bench.set_priority(100);
    every(same, [INITIALIZE, BACKUP, BACKUP, BACKUP, ACTIVE]);
    let owner = |bench: &mut Bench| bench.set_priority(255);
    let leads = "Active lead:owner advert:255 announce";
    every(
        owner,
        [INITIALIZE, leads, leads, BACKUP, "Active advert:255"],
    );
}

#[test]
fn a_hold() {
    let yields = "Backup advert:0 yield:held";
    every(Bench::hold, [INITIALIZE, BACKUP, BACKUP, BACKUP, yields]);
}

#[test]
fn leave_to_lead() {
    let leads = "Active lead:active-down advert:100 announce";
    every(Bench::allow, [INITIALIZE, BACKUP, BACKUP, leads, ACTIVE]);
}

#[test]
fn a_peer_that_is_lost() {
    let lose = |peer| {
        move |bench: &mut Bench| {
            bench.machine.on_peer_lost(bench.now, host(peer));
            bench.effects()
        }
    };
    let leads = "Active lead:peer-lost advert:100 announce";
    every(lose(1), [INITIALIZE, leads, leads, BACKUP, ACTIVE]);
    // Nobody is known to lead after a release.
    every(lose(2), [INITIALIZE, BACKUP, leads, BACKUP, ACTIVE]);
}

#[test]
fn a_peer_that_is_lost_while_held() {
    let mut bench = bench(Before::Follows);
    bench.hold();
    bench.machine.on_peer_lost(bench.now, host(1));
    assert_eq!(bench.effects(), "withheld");
    assert_eq!(bench.machine.state(), State::Backup);
    assert_eq!(bench.allow(), "lead:peer-lost advert:100 announce");
}

#[test]
fn being_told_to_take_over() {
    let leads = "Active lead:switched advert:100 announce";
    every(Bench::take_over, [INITIALIZE, leads, leads, BACKUP, ACTIVE]);
}

#[test]
fn one_that_is_held_does_not_take_over() {
    let mut bench = bench(Before::Follows);
    bench.hold();
    assert_eq!(bench.take_over(), "");
    assert_eq!(bench.machine.state(), State::Backup);
    // Nor does it later: whoever leads goes on.
    assert_eq!(bench.allow(), "");
}

/// The leader has lowered its priority, so that its last words are no news.
#[test]
fn whoever_takes_over_is_not_surprised_by_the_one_that_led() {
    let mut bench = bench(Before::Follows);
    bench.leads(1, 50);
    let before = bench.machine.counters().second_actives_heard;
    bench.take_over();
    assert_eq!(bench.leads(1, 50), "advert:100 announce");
    let counted = |bench: &Bench| bench.machine.counters().second_actives_heard - before;
    assert_eq!(counted(&bench), 0);
    assert_eq!(bench.hear(host(9), Claim::Release), "advert:100");
    bench.wait(ms(100));
    let surprised = "advert:100 announce second-active";
    assert_eq!(bench.leads(1, 50), surprised);
    assert!(counted(&bench) > 0);
}

#[test]
fn whoever_takes_over_too_early_yields() {
    let mut bench = bench(Before::Follows);
    bench.take_over();
    assert_eq!(bench.leads(1, 150), "advert:100 yield:priority");
}

#[test]
fn announcing_again() {
    let again = |bench: &mut Bench| {
        bench.machine.announce_again(bench.now);
        bench.effects()
    };
    every(
        again,
        [INITIALIZE, BACKUP, BACKUP, BACKUP, "Active announce"],
    );
}

#[test]
fn an_owner_leads_from_its_start() {
    let mut bench = Bench::new(Params {
        priority: Priority::OWNER,
        ..params()
    });
    bench.machine.start(bench.now);
    assert_eq!(bench.effects(), "lead:owner advert:255 announce");

    // Another owner is a mistake in the configuration, but one of them leads.
    assert_eq!(bench.leads(1, 255), "advert:255 announce second-active");
    assert_eq!(bench.leads(9, 255), "advert:255 yield:address");
}

#[test]
fn an_owner_that_is_held_leads_as_soon_as_it_may() {
    let mut bench = Bench::new(Params {
        priority: Priority::OWNER,
        ..params()
    });
    bench.hold();
    bench.machine.start(bench.now);
    assert_eq!(bench.effects(), "");
    assert_eq!(bench.machine.state(), State::Backup);
    bench.leads(1, 100);
    assert_eq!(bench.allow(), "lead:owner advert:255 announce");
}

#[test]
fn a_hold_outlives_a_restart() {
    let mut bench = Bench::new(params());
    bench.hold();
    bench.machine.start(bench.now);
    assert_eq!(bench.run_to_deadline(), "withheld");
    assert_eq!(bench.machine.hold(), Some("not synchronised"));
    bench.machine.shutdown(YieldReason::Shutdown);
    bench.machine.start(bench.now);
    assert_eq!(bench.run_to_deadline(), "withheld");
    assert_eq!(bench.allow(), "lead:active-down advert:100 announce");
}

#[test]
fn a_hold_while_a_release_is_waited_out() {
    let mut bench = bench(Before::Turn);
    bench.hold();
    assert_eq!(bench.run_to_deadline(), "withheld");
    assert_eq!(bench.machine.deadline(), None);
    assert_eq!(bench.allow(), "lead:released advert:100 announce");
}

#[test]
fn one_that_is_held_follows_whoever_leads() {
    let mut bench = bench(Before::Leave);
    assert_eq!(bench.machine.leader(), None);
    assert_eq!(bench.leads(1, 50), "");
    let leader = bench.machine.leader().expect("a leader");
    assert_eq!((leader.address, leader.priority), (host(1), priority(50)));
    // It does not relieve it, but says so when it is gone.
    assert_eq!(bench.run_to_deadline(), "withheld");
}

#[test]
fn what_is_not_for_us_is_refused_and_counted() {
    let mut bench = bench(Before::Active);
    let ours = bench.machine.advert(Claim::Lead(priority(200)));
    let other_vrid = Advert {
        vrid: vrid(52),
        ..ours.clone()
    };
    let other_family = Advert {
        addresses: Addresses::v6(vec![Ipv6Addr::LOCALHOST]).expect("an address"),
        ..ours.clone()
    };
    for (peer, advert, refusal) in [
        (
            host(1),
            other_vrid,
            Refusal::OtherVrid {
                theirs: vrid(52),
                ours: vrid(51),
            },
        ),
        (host(1), other_family, Refusal::OtherFamily),
        (host(5), ours, Refusal::OwnAddress { address: host(5) }),
    ] {
        let name = refusal.name();
        let heard = bench.machine.on_advert(bench.now, peer, &advert);
        assert_eq!(heard, Err(refusal));
        assert_eq!(bench.effects(), "");
        assert_eq!(bench.machine.counters().refused.get(name), Some(&1));
    }
    assert_eq!(bench.machine.counters().heard, 0);
}

#[test]
fn packets_are_read_and_what_is_wrong_with_them_is_counted() {
    use crate::proto::vrrp::{ChecksumForm, Ends, packet};
    let ends = Ends::V4 {
        source: Ipv4Addr::new(192, 0, 2, 1),
        destination: packet::GROUP_V4,
    };
    let mut bench = bench(Before::Active);
    let advert = bench.machine.advert(Claim::Lead(priority(200)));
    let payload = advert
        .encode(ends, ChecksumForm::WithPseudoHeader)
        .expect("IPv4");
    let heard = bench.machine.on_packet(bench.now, &payload, ends, 64);
    assert_eq!(heard, Err(Refusal::Hops { hops: 64 }));
    assert_eq!(bench.machine.counters().refused.get("hops"), Some(&1));
    assert_eq!(bench.machine.state(), State::Active);

    let heard = bench.machine.on_packet(bench.now, &payload, ends, 255);
    assert_eq!(heard, Ok(()));
    assert_eq!(bench.machine.state(), State::Backup);
}

#[test]
fn a_peer_that_is_configured_otherwise_is_heeded_and_reported_once() {
    let mut bench = bench(Before::Follows);
    let alike = bench.machine.advert(Claim::Lead(priority(150)));
    let other_interval = Advert {
        interval: centiseconds(20),
        ..alike.clone()
    };
    let other_addresses = Advert {
        addresses: Addresses::v4(vec![Ipv4Addr::LOCALHOST]).expect("an address"),
        ..other_interval.clone()
    };
    for (advert, effects) in [
        (&other_interval, "disagrees"),
        (&other_interval, ""),
        (&other_addresses, "disagrees"),
        (&other_addresses, ""),
        (&alike, ""),
        (&other_interval, "disagrees"),
    ] {
        assert_eq!(bench.hear_advert(host(1), advert), effects);
    }
    let counters = bench.machine.counters();
    assert_eq!(counters.other_addresses_heard, 2);
    assert_eq!(counters.other_intervals_heard, 5);
}

#[test]
fn what_happens_is_counted() {
    let mut bench = bench(Before::Active);
    bench.leads(1, 50);
    bench.hear(host(1), Claim::Release);
    bench.leads(1, 150);
    bench.machine.shutdown(YieldReason::Shutdown);
    let counters = bench.machine.counters();
    assert_eq!(counters.heard, 3);
    assert_eq!(counters.releases_heard, 1);
    assert_eq!(counters.second_actives_heard, 2);
    // As it began to lead, two answers, and as it yielded.
    assert_eq!((counters.sent, counters.releases_sent), (4, 0));
    assert_eq!((counters.led, counters.yielded), (1, 1));
}
