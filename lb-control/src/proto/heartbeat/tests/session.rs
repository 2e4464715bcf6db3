//! Every state and event, and what a single session does about time.

use super::{ms, packet};
use crate::proto::heartbeat::{
    Change, Diagnostic, LostReason, Packet, Refusal, Session, State, Timing,
};
use std::time::{Duration, Instant};

const fn down(reason: LostReason) -> Option<Change> {
    Some(Change::Down(reason))
}

/// A session whose discriminator is 5, in this state; of the peer's it has heard up to number 10.
fn session(state: State, now: Instant) -> Session {
    let mut session = Session::new(Timing::DEFAULT, now, 5);
    let mut hear = |state, sequence| session.on_packet(now, &packet(state, sequence));
    match state {
        State::AdminDown => {
            session.disable(now, Diagnostic::AdminDown);
        }
        // Known to the session, and not making it go on.
        State::Down => assert_eq!(hear(State::Up, 10), Ok(None)),
        State::Init => assert_eq!(hear(State::Down, 10), Ok(None)),
        State::Up => {
            assert_eq!(hear(State::Down, 9), Ok(None));
            assert_eq!(hear(State::Init, 10), Ok(Some(Change::Up)));
        }
    }
    assert_eq!(session.state(), state);
    session
}

#[test]
fn every_state_and_packet() {
    use State::{AdminDown, Down, Init, Up};
    let fell = down(LostReason::PeerDown(Diagnostic::None));
    for (state, heard, becomes, change) in [
        (AdminDown, AdminDown, AdminDown, None),
        (AdminDown, Down, AdminDown, None),
        (AdminDown, Init, AdminDown, None),
        (AdminDown, Up, AdminDown, None),
        (Down, AdminDown, Down, None),
        (Down, Down, Init, None),
        (Down, Init, Up, Some(Change::Up)),
        (Down, Up, Down, None),
        (Init, AdminDown, Down, None),
        (Init, Down, Init, None),
        (Init, Init, Up, Some(Change::Up)),
        (Init, Up, Up, Some(Change::Up)),
        (Up, AdminDown, Down, fell),
        (Up, Down, Down, fell),
        (Up, Init, Up, None),
        (Up, Up, Up, None),
    ] {
        let now = Instant::now();
        let mut session = session(state, now);
        let found = session.on_packet(now, &packet(heard, 11));
        assert_eq!(found, Ok(change), "{state:?} hears {heard:?}");
        assert_eq!(session.state(), becomes, "{state:?} hears {heard:?}");
    }
}

#[test]
fn every_state_and_another_session_of_the_peer() {
    for (state, becomes, change) in [
        (State::AdminDown, State::AdminDown, None),
        (State::Down, State::Down, None),
        (State::Init, State::Down, None),
        (State::Up, State::Down, down(LostReason::Restarted)),
    ] {
        for heard in State::ALL {
            let now = Instant::now();
            let mut session = session(state, now);
            let other = Packet {
                my_discriminator: 8,
                ..packet(heard, 1)
            };
            assert_eq!(session.on_packet(now, &other), Ok(change), "{state:?}");
            assert_eq!(session.state(), becomes, "{state:?}");
        }
    }
}

#[test]
fn every_state_and_what_proves_nothing() {
    for state in State::ALL {
        for heard in State::ALL {
            for quoted in [0, 4, 6, 7, u64::MAX] {
                let now = Instant::now();
                let mut session = session(state, now);
                let deadline = session.deadline();
                let recorded = Packet {
                    my_discriminator: 8,
                    your_discriminator: quoted,
                    ..packet(heard, 1_000)
                };
                assert_eq!(session.on_packet(now + ms(1), &recorded), Ok(None));
                assert_eq!(session.state(), state, "{state:?} hears {heard:?}");
                // It is answered at once, and the peer is not taken to live because of it.
                let due = match state {
                    State::AdminDown => deadline,
                    State::Down | State::Init | State::Up => now + ms(1),
                };
                assert_eq!(session.deadline(), due, "{state:?} hears {heard:?}");
                assert_eq!(session.counters().refused, [0; Refusal::NAMES.len()]);
                session.on_timeout(now + ms(150));
                let lost = matches!(state, State::Init | State::Up);
                assert_eq!(session.state() != state, lost, "{state:?} hears {heard:?}");
            }
        }
    }
}

#[test]
fn every_state_and_silence() {
    let silent = down(LostReason::Silent);
    for (state, becomes, change) in [
        (State::AdminDown, State::AdminDown, None),
        (State::Down, State::Down, None),
        (State::Init, State::Down, None),
        (State::Up, State::Down, silent),
    ] {
        let now = Instant::now();
        let mut session = session(state, now);
        let early = now + ms(150) - Duration::from_nanos(1);
        assert_eq!(session.on_timeout(early), None, "{state:?}");
        assert_eq!(session.state(), state);
        assert_eq!(session.on_timeout(now + ms(150)), change, "{state:?}");
        assert_eq!(session.state(), becomes);
        assert_eq!(session.on_timeout(now + ms(1_000)), None, "{state:?}");
    }
}

#[test]
fn every_state_enabled_and_disabled() {
    for state in State::ALL {
        let now = Instant::now();
        let mut enabled = session(state, now);
        enabled.enable(now);
        let expected = match state {
            State::AdminDown => State::Down,
            other => other,
        };
        assert_eq!(enabled.state(), expected);

        let mut disabled = session(state, now);
        let change = disabled.disable(now, Diagnostic::Hung);
        let was_up = state == State::Up;
        let lost = down(LostReason::Disabled(Diagnostic::Hung));
        assert_eq!(change, lost.filter(|_| was_up), "{state:?}");
        assert_eq!(disabled.state(), State::AdminDown);
    }
}

#[test]
fn old_packets_are_refused_in_every_state_that_knows_newer_ones() {
    for state in [State::Down, State::Init, State::Up] {
        for heard in State::ALL {
            for sequence in [0, 9, 10] {
                let now = Instant::now();
                let mut session = session(state, now);
                let found = session.on_packet(now + ms(1), &packet(heard, sequence));
                let heard = 10;
                assert_eq!(found, Err(Refusal::Old { sequence, heard }));
                assert_eq!(session.state(), state);
            }
        }
    }
}

/// What the session says next, when it is due.
fn next(session: &mut Session, now: &mut Instant) -> Packet {
    *now = (*now).max(session.deadline());
    session.transmit(*now).expect("a heartbeat that was due")
}

#[test]
fn a_session_that_fell_takes_another_name_and_quotes_the_peers_last() {
    let mut now = Instant::now();
    let mut up = session(State::Up, now);
    let before = next(&mut up, &mut now);
    assert_eq!((before.my_discriminator, before.your_discriminator), (5, 7));
    now += ms(150);
    up.on_timeout(now);
    let after = next(&mut up, &mut now);
    assert_eq!((after.my_discriminator, after.your_discriminator), (6, 7));
    assert_eq!((after.state, after.sequence), (State::Down, 1));
    assert_eq!(after.diagnostic, Diagnostic::Expired);
    // What quotes the old name is history, whatever its number.
    assert_eq!(up.on_packet(now, &packet(State::Init, 99)), Ok(None));
    assert_eq!(up.state(), State::Down);
}

#[test]
fn what_is_heard_of_is_quoted_until_something_is_proven() {
    let mut now = Instant::now();
    let mut fresh = Session::new(Timing::DEFAULT, now, 5);
    assert_eq!(next(&mut fresh, &mut now).your_discriminator, 0);
    for heard in [8, 9] {
        let unproven = Packet {
            my_discriminator: heard,
            your_discriminator: 0,
            ..packet(State::Down, 3)
        };
        assert_eq!(fresh.on_packet(now, &unproven), Ok(None));
        assert_eq!(next(&mut fresh, &mut now).your_discriminator, heard);
    }
    assert_eq!(fresh.on_packet(now, &packet(State::Down, 1)), Ok(None));
    let unproven = Packet {
        my_discriminator: 8,
        your_discriminator: 0,
        ..packet(State::Down, 4)
    };
    assert_eq!(fresh.on_packet(now, &unproven), Ok(None));
    assert_eq!(next(&mut fresh, &mut now).your_discriminator, 7);
    assert_eq!(fresh.counters().unproven, 3);
}

#[test]
fn the_slower_side_decides() {
    let timing = |tx, rx, times| Timing {
        desired_min_tx: Timing::new(ms(tx), 1).expect("a timing").desired_min_tx,
        required_min_rx: Timing::new(ms(rx), 1).expect("a timing").required_min_rx,
        multiplier: Timing::new(ms(1), times).expect("a timing").multiplier,
    };
    for (ours, theirs, interval, detection) in [
        (timing(50, 50, 3), timing(50, 50, 3), 50, 150),
        (timing(10, 10, 3), timing(50, 50, 4), 50, 200),
        (timing(50, 50, 3), timing(10, 10, 4), 50, 200),
        (timing(10, 20, 3), timing(30, 40, 5), 40, 150),
        (timing(100, 1, 3), timing(7, 1, 2), 100, 14),
    ] {
        let mut now = Instant::now();
        let mut session = Session::new(ours, now, 5);
        for (state, sequence) in [(State::Down, 1), (State::Init, 2)] {
            let heard = Packet {
                timing: theirs,
                ..packet(state, sequence)
            };
            session.on_packet(now, &heard).expect("a sound packet");
        }
        assert_eq!(session.detection_time(), Some(ms(detection)));
        next(&mut session, &mut now);
        let due = session.deadline();
        assert!(due <= now + ms(interval) || due == now + ms(detection));
        let silent = down(LostReason::Silent);
        assert_eq!(session.on_timeout(now + ms(detection)), silent);
    }
}

#[test]
fn intervals_vary_between_75_and_100_percent() {
    for (times, most) in [(3, 1_000), (1, 900)] {
        let timing = Timing::new(ms(100), times).expect("a timing");
        let mut now = Instant::now();
        let mut session = Session::new(timing, now, 12_345);
        next(&mut session, &mut now);
        let mut seen: Vec<u128> = (0..1_000)
            .map(|_| {
                let before = now;
                next(&mut session, &mut now);
                (now - before).as_micros() / 100
            })
            .collect();
        seen.sort_unstable();
        assert_eq!((seen[0], seen[999]), (750, most), "multiplier {times}");
        let mean = seen.iter().sum::<u128>() / 1_000;
        assert!((800..=900).contains(&mean), "mean {mean}");
    }
}

#[test]
fn nothing_is_sent_before_it_is_due_and_nothing_is_made_up_for() {
    let now = Instant::now();
    let mut session = Session::new(Timing::DEFAULT, now, 5);
    assert!(session.transmit(now).is_some());
    assert_eq!(session.transmit(now), None);
    assert_eq!(session.transmit(now + ms(37)), None);
    let late = now + ms(10_000);
    assert!(session.transmit(late).is_some());
    assert_eq!(session.transmit(late), None);
}

#[test]
fn a_timing_that_cannot_be_is_refused() {
    assert_eq!(Timing::new(ms(50), 3), Some(Timing::DEFAULT));
    assert_eq!(Timing::new(ms(10), 3), Some(Timing::FAST));
    assert_eq!(Timing::new(Duration::from_micros(999), 3), None);
    assert_eq!(Timing::new(ms(50), 0), None);
    assert_eq!(Timing::new(Duration::from_secs(4_295), 3), None);
    assert_eq!(Timing::DEFAULT.to_string(), "50ms × 3");
}

#[test]
fn only_a_peer_that_gave_up_or_is_silent_is_gone() {
    use LostReason::{Disabled, PeerDown, Restarted, Silent};
    for (reason, gone) in [
        (Silent, true),
        (PeerDown(Diagnostic::AdminDown), true),
        (PeerDown(Diagnostic::Hung), true),
        (PeerDown(Diagnostic::Expired), false),
        (PeerDown(Diagnostic::NeighbourDown), false),
        (Restarted, false),
        (Disabled(Diagnostic::Hung), false),
    ] {
        assert_eq!(reason.is_gone(), gone, "{reason}");
    }
}
