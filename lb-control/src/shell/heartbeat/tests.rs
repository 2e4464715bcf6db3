//! Two threads over the loopback interface, whose 127.0.0.0/8 has addresses enough.

use super::permit::Permit;
use super::thread::{Followers, Thread};
use super::{Event, Heartbeat, Link, Settings, Status};
use crate::dataplane::boot_ns;
use crate::proto::heartbeat::packet::{HOPS, PORT};
use crate::proto::heartbeat::{Diagnostic, Ends, Key, LostReason, Packet, Peer, State, Timing};
use crate::shell::vrrp::Teller;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// Generous, since tests share their processors.
const PATIENCE: Duration = Duration::from_secs(20);

/// The address of a host on a link, of a pair that no other test uses.
fn address(pair: u8, link: u8, host: u8) -> SocketAddr {
    (Ipv4Addr::new(127, pair, link + 1, host + 1), PORT).into()
}

fn settings(pair: u8, links: u8, host: u8) -> Settings {
    let link = |link| Link {
        local: address(pair, link, host),
        remote: address(pair, link, 1 - host),
        interface: None,
    };
    Settings {
        links: (0..links).map(link).collect(),
        timing: Timing::new(Duration::from_millis(100), 5).expect("a timing"),
        key: Key::from_secret(b"a test"),
        patience: PATIENCE,
    }
}

struct Host {
    heartbeat: Heartbeat,
    events: UnboundedReceiver<Event>,
    lease: Arc<AtomicU64>,
    router: Teller,
}

impl Host {
    fn new(settings: &Settings) -> Self {
        let (sender, events) = unbounded_channel();
        let lease = Arc::new(AtomicU64::new(0));
        let router = Teller::new().expect("a teller");
        let routers = vec![router.clone()];
        let heartbeat = Heartbeat::spawn(settings, Arc::clone(&lease), routers, sender);
        Self {
            heartbeat: heartbeat.expect("heartbeats"),
            events,
            lease,
            router,
        }
    }

    /// Waits for an event, and returns those before it, too.
    fn until(&mut self, event: Event) -> Vec<Event> {
        let mut seen = Vec::new();
        wait(&format!("{event:?}"), || {
            while let Ok(next) = self.events.try_recv() {
                seen.push(next);
            }
            seen.contains(&event)
        });
        seen
    }

    fn has_lease(&self) -> bool {
        self.lease.load(Ordering::Relaxed) > boot_ns()
    }
}

fn wait(what: &str, mut condition: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < PATIENCE, "waited for {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_pair_over_two_links_until_one_says_farewell() {
    let mut hosts = [0, 1].map(|host| Host::new(&settings(1, 2, host)));
    for host in &hosts {
        // Nobody speaks before the daemon does.
        assert!(!host.heartbeat.status().peer_up);
        assert!(!host.heartbeat.refresh(false));
    }
    for host in &mut hosts {
        let mut seen = host.until(Event::PeerUp);
        for link in [0, 1] {
            if !seen.contains(&Event::LinkUp { link }) {
                seen.extend(host.until(Event::LinkUp { link }));
            }
        }
        wait("the status", || {
            let status = host.heartbeat.status();
            let up = |link: &super::LinkReport| link.session.state == State::Up;
            status.peer_up && status.links.len() == 2 && status.links.iter().all(up)
        });
        assert!(!host.has_lease());
    }
    // The routers know who is who.
    for host in [0, 1] {
        wait("the sessions", || {
            let [own, other] = [&hosts[host].router, &hosts[1 - host].router];
            own.session() != 0 && other.proven().contains(&own.session())
        });
    }

    let [mut first, second] = hosts;
    assert!(second.heartbeat.refresh(true));
    wait("the lease", || second.has_lease());
    let lease = Arc::clone(&second.lease);
    drop(second);
    assert_eq!(lease.load(Ordering::Relaxed), 0);
    // The routers need not wait for the daemon to hear of it.
    wait("the router to be told", || first.router.take_lost());
    let reason = LostReason::PeerDown(Diagnostic::AdminDown);
    first.until(Event::PeerLost { reason });
    assert_eq!(first.router.proven(), [0, 0]);
}

#[test]
fn a_lease_comes_and_goes_with_the_daemons_word() {
    let host = Host::new(&settings(2, 1, 0));
    assert!(host.heartbeat.refresh(true));
    wait("the lease", || host.has_lease());
    // Counted from a heartbeat, and a little shorter than what the peer waits.
    let longest = boot_ns() + 500_000_000;
    assert!(host.lease.load(Ordering::Relaxed) < longest);
    wait("its renewal", || {
        host.lease.load(Ordering::Relaxed) > longest
    });
    assert!(!host.heartbeat.refresh(false));
    wait("its end", || !host.has_lease());
    assert!(host.heartbeat.refresh(true));
    wait("the next one", || host.has_lease());
}

#[test]
fn a_daemon_that_hangs_loses_the_lease_and_then_the_peer() {
    let patience = Duration::from_millis(300);
    let mut hung = Host::new(&Settings {
        patience,
        ..settings(3, 1, 0)
    });
    let mut peer = Host::new(&settings(3, 1, 1));
    peer.heartbeat.refresh(false);
    let lives = Arc::new(AtomicBool::new(true));
    let until = std::thread::scope(|scope| {
        scope.spawn(|| {
            while lives.load(Ordering::Relaxed) {
                hung.heartbeat.refresh(true);
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        peer.until(Event::PeerUp);
        wait("the lease", || hung.has_lease());
        lives.store(false, Ordering::Relaxed);
        boot_ns() + 2 * u64::try_from(patience.as_nanos()).expect("short")
    });
    let reason = LostReason::PeerDown(Diagnostic::Hung);
    peer.until(Event::PeerLost { reason });
    assert!(!hung.has_lease() && !hung.router.has_lease());
    assert!(peer.router.take_lost());
    assert!(hung.lease.load(Ordering::Relaxed) < until);

    // Back again, it is told, and has to give up first.
    wait("being told", || {
        matches!(hung.events.try_recv(), Ok(Event::Lapsed { .. }))
    });
    assert!(!hung.heartbeat.refresh(true));
    peer.until(Event::PeerUp);
    assert!(!hung.has_lease());
    assert!(!hung.heartbeat.refresh(false));
    assert!(hung.heartbeat.refresh(true));
    wait("the lease", || hung.has_lease());
}

/// A thread, turned by hand, that stands still for longer than its lease lasts.
#[test]
fn a_lease_that_lapsed_while_everything_stood_still_is_not_renewed() {
    let permit = Arc::new(Permit::new(PATIENCE).expect("a permit"));
    let lease = Arc::new(AtomicU64::new(0));
    let router = Teller::new().expect("a teller");
    let (sender, mut events) = unbounded_channel();
    let ends = Ends {
        source: address(6, 0, 0).ip(),
        destination: address(6, 0, 1).ip(),
    };
    let key = Key::unprotected();
    let socket = super::Socket::open(&settings(6, 1, 0).links[0]).expect("a socket");
    let mut thread = Thread::new(
        vec![socket],
        Peer::new(Timing::DEFAULT, key, &[(ends, 1)], Instant::now()),
        Timing::DEFAULT,
        Arc::clone(&permit),
        Arc::new(Mutex::new(Status::default())),
        Followers {
            program: Box::new(Arc::clone(&lease)),
            routers: vec![router.clone()],
        },
        sender,
    );
    permit.refresh(true);
    thread.turn();
    let given = lease.load(Ordering::Relaxed);
    assert!(given > boot_ns() && given < boot_ns() + 150_000_000);
    assert!(events.try_recv().is_err());
    assert!(router.has_lease());

    wait("the lease to lapse", || boot_ns() >= given + 50_000_000);
    // The router sees it before anybody says so.
    assert!(!router.has_lease());
    // The daemon goes on as if nothing had been.
    permit.refresh(true);
    thread.turn();
    assert!(!router.has_lease());
    assert_eq!(lease.load(Ordering::Relaxed), 0);
    let Ok(Event::Lapsed { since }) = events.try_recv() else {
        panic!("the daemon is told");
    };
    assert!(since >= Duration::from_millis(50), "{since:?}");
    assert!(!permit.refresh(true));
    thread.turn();
    assert_eq!(lease.load(Ordering::Relaxed), 0);

    assert!(!permit.refresh(false));
    assert!(permit.refresh(true));
    thread.turn();
    // The last heartbeat may be some milliseconds old by now, but not older than a lease.
    assert!(lease.load(Ordering::Relaxed) > given);
    assert!(router.has_lease());
}

#[test]
fn what_was_forwarded_or_comes_from_elsewhere_is_counted_and_not_heeded() {
    let host = Host::new(&settings(4, 1, 0));
    host.heartbeat.refresh(false);
    let (to, from) = (address(4, 0, 0), address(4, 0, 1));
    let packet = Packet {
        state: State::Down,
        diagnostic: Diagnostic::None,
        timing: Timing::DEFAULT,
        my_discriminator: 1,
        your_discriminator: 0,
        sequence: 1,
    };
    let ends = Ends {
        source: from.ip(),
        destination: to.ip(),
    };
    let payload = packet.encode(&Key::from_secret(b"a test"), ends);
    let peer = UdpSocket::bind((from.ip(), 0)).expect("a socket");
    let count = |hops: u8, payload: &[u8]| {
        peer.set_ttl(u32::from(hops)).expect("a TTL");
        peer.send_to(payload, to).expect("sent");
    };
    count(64, &payload);
    count(HOPS, &payload);
    count(HOPS, &[1; 2_000]);
    let [mut newer, mut forged] = [payload; 2];
    newer[0] = 2;
    count(HOPS, &newer);
    forged[20] ^= 1;
    count(HOPS, &forged);
    let stranger = UdpSocket::bind((Ipv4Addr::new(127, 4, 9, 9), 0)).expect("a socket");
    let who = || {
        host.heartbeat
            .status()
            .links
            .first()
            .and_then(|link| link.stranger)
    };
    // Of another link, and not as long as a heartbeat.
    stranger.send_to(&payload, to).expect("sent");
    stranger.set_ttl(u32::from(HOPS)).expect("a TTL");
    stranger.send_to(&payload[1..], to).expect("sent");
    wait("what is no heartbeat", || {
        let status = host.heartbeat.status();
        status.links.first().is_some_and(|link| link.strangers == 2)
    });
    assert_eq!(who(), None);
    stranger.send_to(&payload, to).expect("sent");
    wait("who sends heartbeats from elsewhere", || {
        who().is_some_and(|(from, _)| from == Ipv4Addr::new(127, 4, 9, 9))
    });

    wait("the counters", || {
        let status = host.heartbeat.status();
        status.links.first().is_some_and(|link| {
            let counters = link.session.counters;
            // Hops, length, version, forged.
            counters.refused[..4] == [1, 1, 1, 1]
                && counters.unproven == 1
                && link.session.forged.is_some()
                && link.strangers == 3
        })
    });
}

#[test]
fn a_link_of_two_families_and_an_interface_that_is_missing_are_refused() {
    let refused = |link| {
        let (sender, _) = unbounded_channel();
        let settings = Settings {
            links: vec![link],
            ..settings(5, 1, 0)
        };
        let lease = Arc::new(AtomicU64::new(0));
        let error = Heartbeat::spawn(&settings, lease, Vec::new(), sender);
        error.expect_err("refused").to_string()
    };
    let local = address(5, 0, 0);
    assert_eq!(
        refused(Link {
            local,
            remote: "[::1]:4785".parse().expect("an address"),
            interface: None,
        }),
        "the link from 127.5.1.1:4785 to [::1]:4785 is of two families"
    );
    assert_eq!(
        refused(Link {
            local,
            remote: address(5, 0, 1),
            interface: Some("missing0".to_owned()),
        }),
        "failed to bind to the interface for heartbeats from 127.5.1.1:4785"
    );
}
