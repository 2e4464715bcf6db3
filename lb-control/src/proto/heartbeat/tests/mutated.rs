//! Heartbeats of somebody who has the key, and sends what is nearly right.

use super::{ends, ms};
use crate::proto::heartbeat::packet::HOPS;
use crate::proto::heartbeat::{Diagnostic, Effect, Key, Packet, Peer, Refusal, State, Timing};
use crate::proto::mutation::{Mutation, some_mutations};
use proptest::prelude::*;
use std::time::{Duration, Instant};

/// What is before the code.
const MESSAGE_LEN: usize = 36;

#[derive(Clone, Debug)]
struct Step {
    packet: Packet,
    /// Whether it quotes the present session.
    quotes: bool,
    mutations: Vec<Mutation>,
    pause: Duration,
}

fn some_step() -> impl Strategy<Value = Step> {
    let state = prop::sample::select(State::ALL.to_vec());
    let told = (state, any::<u8>(), 7..9_u64, 0..20_u64);
    let quotes = prop::bool::weighted(0.9);
    (told, quotes, some_mutations(), 0..300_u64).prop_map(|(told, quotes, mutations, pause)| {
        let (state, diagnostic, my_discriminator, sequence) = told;
        Step {
            packet: Packet {
                state,
                diagnostic: Diagnostic::from_wire(diagnostic),
                timing: Timing::DEFAULT,
                my_discriminator,
                your_discriminator: 5,
                sequence,
            },
            quotes,
            mutations,
            pause: ms(pause),
        }
    })
}

proptest! {
    /// A peer is up or down as its links are, whatever comes, and something is always due.
    #[test]
    fn a_session_stands_whatever_it_hears(steps in prop::collection::vec(some_step(), 1..20)) {
        let key = Key::from_secret(b"a test");
        let (ours, theirs) = (ends(1, 1, 2), ends(1, 2, 1));
        let mut now = Instant::now();
        let mut peer = Peer::new(Timing::DEFAULT, key.clone(), &[(ours, 1)], now);
        let mut up = false;
        for Step { mut packet, quotes, mutations, pause } in steps {
            if quotes {
                packet.your_discriminator = peer.discriminator().expect("a link");
            }
            let mut payload = packet.encode(&key, theirs)[..MESSAGE_LEN].to_vec();
            mutations.iter().for_each(|it| it.apply(&mut payload));
            let code = key.code(theirs, &payload);
            payload.extend(code);
            match Packet::decode(&payload, &key, theirs, HOPS) {
                Ok(read) => prop_assert_eq!(read.encode(&key, theirs).to_vec(), payload.clone()),
                Err(refusal) => {
                    let expected = matches!(
                        refusal,
                        Refusal::Length { .. } | Refusal::Version { .. } | Refusal::Value { .. }
                    );
                    // What is longer is read as if its code began earlier.
                    let longer = payload.len() != MESSAGE_LEN + 16;
                    prop_assert!(expected || longer, "{}", refusal);
                }
            }
            // What is refused is counted.
            let _ = peer.on_datagram(now, 0, &payload, HOPS);
            now += pause;
            peer.on_timeout(now);
            while let Some(effect) = peer.next_effect() {
                match effect {
                    Effect::PeerUp => prop_assert!(!std::mem::replace(&mut up, true)),
                    Effect::PeerLost { .. } => prop_assert!(std::mem::replace(&mut up, false)),
                    Effect::LinkUp { .. } | Effect::LinkDown { .. } | Effect::Send { .. } => {}
                }
            }
            prop_assert_eq!(peer.is_up(), up);
            prop_assert!(peer.deadline().is_some_and(|at| at > now));
        }
    }
}
