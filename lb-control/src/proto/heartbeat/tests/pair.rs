//! Two hosts: how soon they find and lose each other.

use super::ms;
use super::network::{Datagram, Network};
use crate::proto::heartbeat::packet::LEN;
use crate::proto::heartbeat::{Diagnostic, Effect, LostReason, Peer, Refusal, State, Timing};
use crate::proto::simulation::Quality;
use std::time::Duration;

/// The longest that a heartbeat is under way, unless said otherwise.
const DELAY: Duration = ms(1);

fn up(timing: Timing, links: usize, seed: u64) -> Network {
    let mut network = Network::new(timing, links, 100, seed);
    network.run(ms(1_000), |it| it.both_up()).expect("both up");
    // So that faults come at any moment of the interval.
    let moment = network.random.below(200_000) as u64;
    network.pass(ms(500) + Duration::from_micros(moment));
    network
}

/// Runs until the peer is lost.
fn lost(network: &mut Network, host: usize) -> Duration {
    network
        .run(ms(10_000), |it| !it.is_up(host))
        .expect("the peer is lost")
}

fn ppm(time: Duration) -> Duration {
    time * 100 / 1_000_000
}

#[test]
fn hosts_find_each_other_at_once() {
    for timing in [Timing::DEFAULT, Timing::FAST] {
        for seed in 0..50 {
            let mut network = Network::new(timing, 2, 100, seed);
            let took = network.run(ms(1_000), |it| it.both_up()).expect("both up");
            // Each heartbeat is answered at once.
            assert!(took <= 5 * DELAY, "seed {seed}: {took:?}");
            let first = network.since(Duration::ZERO, 0);
            assert!(first.contains(&Effect::PeerUp), "{first:?}");
        }
    }
}

/// The promise that everything else rests on: a dead host is lost after its multiplier of
/// intervals, at most one earlier, and no later than its last heartbeat was under way.
#[test]
fn a_dead_host_is_lost_in_time() {
    let once = Timing::new(ms(50), 1).expect("a timing");
    for timing in [Timing::DEFAULT, Timing::FAST, once] {
        let interval = timing.desired_min_tx.duration();
        let detection = timing.earliest_detection();
        for seed in 0..200 {
            let mut network = up(timing, 1 + seed as usize % 2, seed);
            let died = network.now;
            network.kill(1);
            let took = lost(&mut network, 0);
            assert!(took <= detection + DELAY + ppm(detection), "{took:?}");
            // Its last heartbeats are up to an interval old.
            assert!(took + interval >= detection - ppm(detection), "{took:?}");
            let log = network.since(died, 0);
            let reason = LostReason::Silent;
            assert_eq!(log.last(), Some(&Effect::PeerLost { reason }), "{log:?}");
        }
    }
}

/// The lease of a host that stops lasts from its last heartbeat for the earliest detection time.
/// Nobody has lost it before that has passed.
#[test]
fn nobody_is_lost_before_a_lease_that_counts_from_the_last_heartbeat() {
    for seed in 0..200 {
        let mut network = up(Timing::FAST, 2, seed);
        let mut sent = network.tape.len();
        let mut last = network.now;
        let until = network.now + ms(100 + seed % 20);
        network.run(ms(200), |it| {
            if it.tape.len() != sent && it.tape[sent..].iter().any(|datagram| datagram.to == 0) {
                last = it.now;
            }
            sent = it.tape.len();
            it.now >= until
        });
        network.kill(1);
        lost(&mut network, 0);
        let detection = Timing::FAST.earliest_detection();
        assert!(network.now - last >= detection - ppm(detection));
    }
}

#[test]
fn a_peer_is_lost_when_all_links_are() {
    let mut network = up(Timing::DEFAULT, 2, 1);
    let cut = network.now;
    network.cut[0] = [true; 2];
    network.pass(ms(1_000));
    assert!(network.both_up());
    for host in [0, 1] {
        let log = network.since(cut, host);
        assert!(
            matches!(log[..], [Effect::LinkDown { link: 0, .. }]),
            "{log:?}"
        );
    }
    let cut = network.now;
    network.cut[1] = [true; 2];
    let took = lost(&mut network, 0);
    assert!(took <= ms(150) + DELAY + ppm(ms(150)));
    let log = network.since(cut, 0);
    let reason = LostReason::Silent;
    let expected = [
        Effect::LinkDown { link: 1, reason },
        Effect::PeerLost { reason },
    ];
    assert_eq!(log, expected);

    // Either link will do.
    network.cut[0] = [false; 2];
    let back = network.now;
    let took = network.run(ms(1_000), |it| it.both_up()).expect("both up");
    assert!(took <= ms(50) + 5 * DELAY, "{took:?}");
    let log = network.since(back, 0);
    let came = [Effect::LinkUp { link: 0 }, Effect::PeerUp];
    assert!(log.ends_with(&came), "{log:?}");
}

#[test]
fn who_is_not_heard_is_told_so() {
    let mut network = up(Timing::DEFAULT, 1, 1);
    let cut = network.now;
    // From 1 to 0.
    network.cut[0][1] = true;
    network.run(ms(1_000), |it| !it.is_up(0) && !it.is_up(1));
    assert!(network.now - cut <= ms(150) + 2 * DELAY + ppm(ms(150)));
    let reason = LostReason::PeerDown(Diagnostic::Expired);
    let log = network.since(cut, 1);
    assert_eq!(log.last(), Some(&Effect::PeerLost { reason }));
    // As long as one cannot hear the other, neither is up.
    network.run(ms(5_000), |it| {
        assert!(!it.is_up(0) && !it.is_up(1));
        false
    });
}

#[test]
fn a_host_that_restarts_is_known_again_at_once() {
    for seed in 0..50 {
        let mut network = up(Timing::DEFAULT, 1, seed);
        let began = network.now;
        network.kill(1);
        network.pass(ms(5));
        network.boot(1);
        let took = network.run(ms(1_000), |it| it.both_up()).expect("both up");
        assert!(took <= ms(50) + 6 * DELAY, "{took:?}");
        let log = network.since(began, 0);
        let reason = LostReason::Restarted;
        assert!(log.contains(&Effect::PeerLost { reason }), "{log:?}");
    }
}

#[test]
fn who_says_farewell_is_lost_at_once() {
    for diagnostic in [Diagnostic::AdminDown, Diagnostic::Hung] {
        let mut network = up(Timing::DEFAULT, 2, 7);
        let said = network.now;
        network.with(1, |peer, now| peer.disable(now, diagnostic));
        let took = lost(&mut network, 0);
        assert!(took <= DELAY, "{took:?}");
        let reason = LostReason::PeerDown(diagnostic);
        let log = network.since(said, 0);
        assert_eq!(log.last(), Some(&Effect::PeerLost { reason }));
        network.run(ms(2_000), |it| {
            assert!(!it.is_up(0) && !it.is_up(1));
            false
        });
        network.with(1, Peer::enable);
        let took = network.run(ms(1_000), |it| it.both_up()).expect("both up");
        assert!(took <= ms(50) + 5 * DELAY, "{took:?}");
    }
}

/// Whoever sleeps has not listened: what arrived meanwhile counts.
#[test]
fn a_host_that_froze_does_not_blame_the_other() {
    let mut network = up(Timing::DEFAULT, 1, 3);
    network.freeze(0);
    network.pass(ms(140));
    let woke = network.now;
    network.thaw(0);
    network.pass(ms(200));
    let blamed = |effect: &Effect| {
        let reason = LostReason::Silent;
        *effect == Effect::PeerLost { reason }
    };
    assert!(!network.since(woke, 0).iter().any(blamed));

    network.freeze(0);
    network.pass(ms(2_000));
    assert!(!network.is_up(1));
    let woke = network.now;
    network.thaw(0);
    network.run(ms(1_000), |it| it.both_up()).expect("both up");
    assert!(!network.since(woke, 0).iter().any(blamed));
}

#[test]
fn two_bad_links_are_one_good_peer() {
    for seed in 0..2 {
        let mut network = up(Timing::DEFAULT, 2, seed);
        network.quality = Quality {
            lost_percent: 5,
            doubled_percent: 10,
            delay: Duration::ZERO..ms(20),
        };
        let began = network.now;
        network.run(Duration::from_secs(600), |it| {
            assert!(it.both_up(), "{:?}: {:?}", it.now, it.log.last());
            it.tape.clear();
            false
        });
        for host in [0, 1] {
            let old = |refusal: &Refusal| matches!(refusal, Refusal::Old { .. });
            assert!(network.hosts[host].refused.iter().all(old));
            assert!(!network.hosts[host].refused.is_empty());
        }
        assert!(network.now - began >= Duration::from_secs(600));
    }
}

#[test]
fn nobody_is_kept_alive_or_raised_by_recordings() {
    for seed in 0..20 {
        let mut network = up(Timing::DEFAULT, 2, seed);
        // Some history: sessions of several names on both sides.
        for host in [1, 0, 1] {
            network.kill(host);
            network.pass(ms(300));
            network.boot(host);
            network.run(ms(1_000), |it| it.both_up()).expect("both up");
        }
        network.pass(ms(500));
        network.kill(1);
        let tape = network.tape.clone();
        let mut lost = None;
        for step in 0..4_000 {
            let datagram = tape[network.random.below(tape.len())];
            // Also sent back to who it came from, and by the other link.
            for to in [0, datagram.to] {
                for link in [0, 1] {
                    network.deliver(Datagram {
                        to,
                        link,
                        ..datagram
                    });
                }
            }
            network.pass(ms(1));
            if !network.is_up(0) {
                lost.get_or_insert(step);
            }
            assert!(lost.is_none() || !network.is_up(0), "raised by a recording");
        }
        assert!(lost.is_some_and(|step| step <= 152), "{lost:?}");
        // And the living one is found among all of that.
        network.boot(1);
        for _ in 0..60 {
            let datagram = tape[network.random.below(tape.len())];
            network.deliver(datagram);
            network.pass(ms(1));
        }
        assert!(network.both_up());
    }
}

#[test]
fn nobody_is_torn_down_by_recordings() {
    for seed in 0..20 {
        let mut network = up(Timing::DEFAULT, 2, seed);
        for host in [1, 0, 1] {
            network.with(host, |peer, now| peer.disable(now, Diagnostic::AdminDown));
            network.pass(ms(300));
            network.with(host, Peer::enable);
            network.run(ms(1_000), |it| it.both_up()).expect("both up");
            network.kill(host);
            network.pass(ms(20));
            network.boot(host);
            network.pass(ms(500));
        }
        let tape = network.tape.clone();
        let began = network.now;
        for _ in 0..5_000 {
            let datagram = tape[network.random.below(tape.len())];
            network.deliver(datagram);
            network.pass(Duration::from_micros(200));
        }
        for host in [0, 1] {
            assert_eq!(network.since(began, host), []);
        }
    }
}

#[test]
fn forgeries_change_nothing() {
    let mut network = up(Timing::DEFAULT, 2, 11);
    let began = network.now;
    let other = up(Timing::DEFAULT, 2, 12);
    for step in 0..20_000 {
        let mut datagram = network.tape[network.random.below(network.tape.len())];
        match step % 3 {
            0 => {
                let bit = 8 + network.random.below((LEN - 1) * 8);
                datagram.payload[bit / 8] ^= 1 << (bit % 8);
            }
            1 => datagram = other.tape[network.random.below(other.tape.len())],
            _ => {
                for byte in &mut datagram.payload[1..] {
                    *byte = network.random.bits() as u8;
                }
            }
        }
        let refused = network.hosts[datagram.to].refused.len();
        network.deliver(datagram);
        let refused = &network.hosts[datagram.to].refused[refused..];
        assert_eq!(refused, [Refusal::Forged]);
        network.pass(Duration::from_micros(100));
    }
    for host in [0, 1] {
        assert_eq!(network.since(began, host), []);
        let peer = network.hosts[host].peer.as_ref().expect("alive");
        let counted: u64 = peer.links().map(|link| link.counters.refused[3]).sum();
        let refused = network.hosts[host].refused.iter();
        let forged = refused
            .filter(|refusal| **refusal == Refusal::Forged)
            .count();
        assert_eq!(counted as usize, forged);
        assert!(peer.links().all(|link| link.state == State::Up));
    }
}

/// What each names as its session is what the other one knows to be living; one that began anew is
/// known again as soon as it has been answered.
#[test]
fn each_knows_the_session_that_the_other_one_names() {
    fn peer(network: &Network, host: usize) -> &Peer {
        network.hosts[host].peer.as_ref().expect("it lives")
    }
    fn agree(network: &Network) -> bool {
        [0, 1].into_iter().all(|host| {
            let named = peer(network, host).discriminator();
            let mut known = peer(network, 1 - host).proven();
            named.is_some_and(|named| known.any(|it| it == named))
        })
    }
    for seed in 0..50 {
        let mut network = up(Timing::DEFAULT, 1 + seed as usize % 2, seed);
        assert!(agree(&network), "seed {seed}");
        let before = peer(&network, 1).discriminator();
        network.kill(1);
        network.boot(1);
        assert_ne!(peer(&network, 1).discriminator(), before);
        let took = network.run(ms(1_000), |it| agree(it)).expect("agreement");
        assert!(took <= 8 * DELAY, "seed {seed}: {took:?}");
        network.kill(1);
        lost(&mut network, 0);
        assert_eq!(peer(&network, 0).proven().count(), 0);
        assert!(peer(&network, 0).discriminator().is_some());
    }
}
