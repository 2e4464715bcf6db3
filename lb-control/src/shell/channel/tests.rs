//! Two hosts over the loopback interface, whose 127.0.0.0/8 has addresses enough.

mod joining;
mod strangers;

use super::tls::Trust;
use super::*;
use crate::state::identity;
use std::net::Ipv4Addr;
use std::time::{Duration, SystemTime};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Generous, since tests share their processors.
const PATIENCE: Duration = Duration::from_secs(20);
const HOUR: Duration = Duration::from_secs(3_600);

/// The address of a host of a pair that no other test uses, of no other process either: that of host
/// 0 is the lower one, so it dials.
fn address(pair: u8, host: u8) -> SocketAddr {
    let [low, high, ..] = std::process::id().to_le_bytes();
    let port = 10_000 + u16::from(high);
    (Ipv4Addr::new(127, low, pair, host + 1), port).into()
}

struct Host {
    settings: Settings,
    channel: Option<Channel>,
    events: mpsc::Receiver<Event>,
    directory: tempfile::TempDir,
}

impl Host {
    /// One that knows nobody, and is not started.
    fn new(pair: u8, host: u8) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let settings = Settings {
            links: vec![Link {
                local: address(pair, host),
                remote: address(pair, 1 - host),
            }],
            identity: Identity::load_or_create(directory.path()).unwrap(),
            peer: None,
            secret: PairSecret([u64::from(pair), u64::from(host)]),
            state_dir: directory.path().to_owned(),
        };
        Self {
            settings,
            channel: None,
            events: mpsc::channel(1).1,
            directory,
        }
    }

    fn certificate(&self) -> CertificateDer<'static> {
        self.settings.identity.certificate().clone()
    }

    fn start(&mut self) {
        let (sender, events) = mpsc::channel(16);
        self.events = events;
        self.channel = Some(Channel::spawn(self.settings.clone(), sender).unwrap());
    }

    fn channel(&self) -> &Channel {
        self.channel.as_ref().expect("it was started")
    }

    fn send(&self, text: &'static str) -> bool {
        self.channel().send(Bytes::from_static(text.as_bytes()))
    }

    async fn next(&mut self) -> Event {
        let event = timeout(PATIENCE, self.events.recv()).await;
        event.expect("nothing happens").expect("the channel ended")
    }

    /// Waits for an event, and returns it.
    async fn until(&mut self, mut is: impl FnMut(&Event) -> bool) -> Event {
        let mut seen = Vec::new();
        loop {
            let Ok(event) = timeout(PATIENCE, self.events.recv()).await else {
                panic!("it did not happen; this did: {seen:?}");
            };
            let event = event.expect("the channel ended");
            if is(&event) {
                return event;
            }
            seen.push(event);
        }
    }

    async fn up(&mut self) {
        self.until(|event| matches!(event, Event::Up { .. })).await;
    }

    async fn down(&mut self) -> String {
        let down = self.until(|event| matches!(event, Event::Down { .. }));
        match down.await {
            Event::Down { reason } => reason,
            other => panic!("{other:?}"),
        }
    }

    async fn refused(&mut self) -> (IpAddr, String) {
        let refused = self.until(|event| matches!(event, Event::Refused { .. }));
        match refused.await {
            Event::Refused { from, reason } => (from, reason),
            other => panic!("{other:?}"),
        }
    }

    async fn frame(&mut self) -> Bytes {
        match self.next().await {
            Event::Frame(frame) => frame,
            other => panic!("{other:?}"),
        }
    }
}

/// Two hosts that are paired, and not started.
fn pair(number: u8) -> [Host; 2] {
    let mut hosts = [0, 1].map(|host| Host::new(number, host));
    acquaint(&mut hosts);
    hosts
}

fn acquaint([a, b]: &mut [Host; 2]) {
    a.settings.peer = Some(b.certificate());
    b.settings.peer = Some(a.certificate());
}

/// Two hosts that are connected.
async fn connected(number: u8) -> [Host; 2] {
    let [mut a, mut b] = pair(number);
    a.start();
    b.start();
    a.up().await;
    b.up().await;
    [a, b]
}

#[tokio::test]
async fn frames_arrive_in_order_both_ways() {
    let [mut a, mut b] = pair(1);
    a.start();
    assert!(!a.send("too early"));
    b.start();
    let ends = a.until(|event| matches!(event, Event::Up { .. })).await;
    let [local, remote] = [0, 1].map(|host| address(1, host).ip());
    assert_eq!(ends, Event::Up { local, remote });
    b.up().await;
    let longest = Bytes::from(vec![7; FRAME_MAX]);
    for number in 0..1_000_u32 {
        let frame = Bytes::copy_from_slice(&number.to_be_bytes());
        assert!(a.channel().send(frame.clone()));
        assert!(b.channel().send(frame));
    }
    assert!(a.channel().send(Bytes::new()), "nothing is sent");
    for host in [&a, &b] {
        assert!(host.channel().send(longest.clone()));
        assert!(host.send("end"));
    }
    for host in [&mut a, &mut b] {
        for number in 0..1_000_u32 {
            assert_eq!(host.frame().await, number.to_be_bytes().as_slice());
        }
        assert!(host.frame().await == longest);
        assert_eq!(host.frame().await, "end");
    }
    let status = a.channel().pairing().status().await.unwrap();
    let connection = status.connection.unwrap();
    assert_eq!((connection.local, connection.remote), (local, remote));
    assert_eq!(status.peer, Some(b.certificate()));
}

#[tokio::test]
async fn a_peer_that_restarts_is_connected_again() {
    let [mut a, mut b] = connected(2).await;
    for _ in 0..2 {
        b.channel = None;
        assert_eq!(a.down().await, "the peer closed the connection");
        assert!(!a.send("to nobody"));
        b.start();
        a.up().await;
        b.up().await;
        assert!(a.send("again"));
        assert_eq!(b.frame().await, "again");
        std::mem::swap(&mut a, &mut b);
    }
}

#[tokio::test]
async fn a_connection_that_is_closed_is_made_again() {
    let [mut a, mut b] = connected(3).await;
    assert!(a.send("lost, or not"));
    a.channel().disconnect("the peer speaks nonsense");
    a.channel().disconnect("said twice");
    assert!(!a.send("lost"));
    assert_eq!(a.down().await, "the peer speaks nonsense");
    assert_eq!(b.down().await, "the peer closed the connection");
    a.up().await;
    b.up().await;
    assert!(b.send("found"));
    assert_eq!(a.frame().await, "found");
}

#[tokio::test]
async fn the_second_link_is_as_good_as_the_first() {
    let [mut a, mut b] = pair(4);
    // Nobody is at the other end of the first, and the second names the hosts the other way round.
    let second = Link {
        local: address(5, 1),
        remote: address(5, 0),
    };
    a.settings.links.push(second);
    b.settings.links = vec![Link {
        local: second.remote,
        remote: second.local,
    }];
    // So that both agree on who dials.
    let idle = Link {
        local: address(6, 1),
        remote: address(4, 0),
    };
    b.settings.links.push(idle);
    a.start();
    b.start();
    let up = a.until(|event| matches!(event, Event::Up { .. })).await;
    let (local, remote) = (second.local.ip(), second.remote.ip());
    assert_eq!(up, Event::Up { local, remote });
    b.up().await;
}

#[tokio::test]
async fn frames_of_an_old_connection_do_not_arrive_over_a_new_one() {
    let [mut a, mut b] = connected(7).await;
    // The receiver is behind: its channel of events is full, and more waits in the sockets.
    for _ in 0..1_000 {
        assert!(a.send("old"));
    }
    a.channel().disconnect("enough");
    a.down().await;
    a.up().await;
    assert!(a.send("new"));
    let mut up = false;
    loop {
        match b.next().await {
            Event::Up { .. } => up = true,
            Event::Frame(frame) if frame == "old" => assert!(!up),
            Event::Frame(frame) => {
                assert!(up);
                assert_eq!(frame, "new");
                return;
            }
            Event::Down { .. } => assert!(!up),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn what_cannot_be_listened_on_is_told_and_tried_again() {
    let [mut a, mut b] = pair(8);
    let occupied = std::net::TcpListener::bind(address(8, 1)).unwrap();
    b.start();
    let fault = b.next().await;
    match fault {
        Event::Fault(Some(text)) => assert!(text.contains("in use"), "{text}"),
        other => panic!("{other:?}"),
    }
    let error = b.channel().pairing().invite().await.unwrap_err();
    assert!(
        format!("{error:#}").contains("nobody could join"),
        "{error:#}"
    );
    drop(occupied);
    assert_eq!(b.next().await, Event::Fault(None));
    a.start();
    a.up().await;
}

#[tokio::test]
async fn links_of_two_families_are_refused() {
    let [mut a, _] = pair(9);
    a.settings.links[0].remote = "[::1]:4786".parse().unwrap();
    let error = Channel::spawn(a.settings, mpsc::channel(1).0).unwrap_err();
    assert!(error.to_string().contains("one family"), "{error}");
}
