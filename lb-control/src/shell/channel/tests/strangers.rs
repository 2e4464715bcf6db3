//! Who is not let in, and peers that misbehave.

use super::*;
use crate::shell::channel::attempt::{self, Stream, handshake};
use crate::shell::channel::{frames, tls};
use std::collections::VecDeque;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Makes the hosts' certificates others, where they are given.
fn with_identities(number: u8, identities: [Option<Identity>; 2]) -> [Host; 2] {
    let mut hosts = [0, 1].map(|host| Host::new(number, host));
    for (host, identity) in hosts.iter_mut().zip(identities) {
        if let Some(identity) = identity {
            host.settings.identity = identity;
        }
    }
    acquaint(&mut hosts);
    hosts
}

/// Both are told why, and there is no connection.
async fn refuse_each_other([mut a, mut b]: [Host; 2], by_a: &str, by_b: &str) {
    let [at_a, at_b] = [&a, &b].map(|host| host.settings.links[0].local.ip());
    a.start();
    b.start();
    let (from, reason) = a.refused().await;
    assert_eq!(from, at_b);
    assert!(reason.contains(by_a), "{reason}");
    let (from, reason) = b.refused().await;
    assert_eq!(from, at_a);
    assert!(reason.contains(by_b), "{reason}");
    for host in [&a, &b] {
        let status = host.channel().pairing().status().await.unwrap();
        assert_eq!(status.connection, None);
        assert!(status.failure.is_some());
    }
}

#[tokio::test]
async fn a_foreign_certificate_of_the_dialing_host_is_refused() {
    let [mut a, b] = pair(20);
    a.settings.identity = Identity::load_or_create(tempfile::tempdir().unwrap().path()).unwrap();
    let [by_a, by_b] = ["paired with another host", "is not that of the host"];
    refuse_each_other([a, b], by_a, by_b).await;
}

#[tokio::test]
async fn a_foreign_certificate_of_the_listening_host_is_refused() {
    let [a, mut b] = pair(21);
    b.settings.identity = Identity::load_or_create(tempfile::tempdir().unwrap().path()).unwrap();
    let [by_a, by_b] = ["is not that of the host", "paired with another host"];
    refuse_each_other([a, b], by_a, by_b).await;
}

#[tokio::test]
async fn certificates_that_have_expired_are_refused() {
    let now = SystemTime::now();
    let expired = Identity::valid(now - 2 * HOUR, now - HOUR);
    let hosts = with_identities(22, [Some(expired.clone()), None]);
    refuse_each_other(hosts, "not valid now", "has expired").await;
    let hosts = with_identities(23, [None, Some(expired)]);
    refuse_each_other(hosts, "has expired", "not valid now").await;
}

#[tokio::test]
async fn certificates_that_are_not_valid_yet_are_refused() {
    let now = SystemTime::now();
    let early = Identity::valid(now + HOUR, now + 2 * HOUR);
    let hosts = with_identities(24, [Some(early), None]);
    refuse_each_other(hosts, "not valid now", "not valid yet").await;
}

#[tokio::test]
async fn who_shows_no_certificate_is_refused() {
    let [a, mut b] = pair(25);
    b.start();
    let mut config = (*tls::joining(&b.certificate()).unwrap()).clone();
    config.alpn_protocols = Trust::new(&a.settings.identity, &b.certificate())
        .unwrap()
        .client
        .alpn_protocols
        .clone();
    let stream = connect(&b).await;
    // With TLS 1.3, this end believes that it is let in.
    let mut stream = handshake(stream, &Arc::new(config)).await.unwrap();
    assert!(frames::welcomed(&mut stream).await.is_err());
    let (from, reason) = b.refused().await;
    assert_eq!(from, address(25, 0).ip());
    assert_eq!(reason, "it shows no certificate");
}

#[tokio::test]
async fn what_is_no_tls_is_refused() {
    let [_, mut b] = pair(26);
    b.start();
    for (text, expected) in [
        (&b"GET / HTTP/1.1\r\n\r\n"[..], "does not speak TLS"),
        (b"", "closed the connection"),
    ] {
        let mut stream = connect(&b).await;
        stream.write_all(text).await.unwrap();
        stream.shutdown().await.unwrap();
        let (_, reason) = b.refused().await;
        assert!(reason.contains(expected), "{reason}");
    }
}

#[tokio::test]
async fn strangers_are_counted_and_hide_nothing() {
    let [_, mut b] = pair(33);
    b.start();
    // More than are told of in a while, had they been the peer.
    for host in 1..=40 {
        let mut stream = connect_from(Ipv4Addr::new(127, 0, 33, host).into(), &b).await;
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        // Until it is turned away.
        let _ = timeout(PATIENCE, stream.read_to_end(&mut Vec::new()))
            .await
            .unwrap();
    }
    let mut peer = connect(&b).await;
    peer.shutdown().await.unwrap();
    let at_a = address(33, 0).ip();
    let reason = "it closed the connection".to_owned();
    let event = b.next().await;
    assert_eq!(event, Event::Refused { from: at_a, reason });
    let failure = after_strangers(&b, 40).await.failure.unwrap();
    assert!(failure.reason.starts_with(&at_a.to_string()), "{failure:?}");
}

#[tokio::test]
async fn who_stalls_keeps_nobody_else_out() {
    let [mut a, mut b] = pair(27);
    b.start();
    let mut stalled = Vec::new();
    for _ in 0..20 {
        stalled.push(connect_from(Ipv4Addr::LOCALHOST.into(), &b).await);
    }
    a.start();
    b.up().await;
    // They were cut off.
    for mut stream in stalled {
        let _ = timeout(PATIENCE, stream.read_u8()).await.unwrap();
    }
    assert_eq!(after_strangers(&b, 20).await.failure, None);
}

#[tokio::test]
async fn who_stalls_at_the_peers_address_does_not_keep_it_out() {
    let [mut a, mut b] = pair(34);
    b.start();
    let mut stalled = VecDeque::new();
    for _ in 0..20 {
        stalled.push_back(connect(&b).await);
    }
    let (from, reason) = b.refused().await;
    assert_eq!(from, address(34, 0).ip());
    assert!(reason.contains("too many connections"), "{reason}");
    // The first four had to go; the others still have time to say who they are.
    for mut stream in stalled.drain(..4) {
        let cut = timeout(PATIENCE, stream.read_u8()).await.unwrap();
        assert!(cut.is_err());
    }
    a.start();
    b.up().await;
}

#[tokio::test]
async fn a_frame_that_is_too_long_ends_the_connection() {
    let ([_a, mut b], mut stream) = misbehaving(28).await;
    stream.write_u32(FRAME_MAX as u32 + 1).await.unwrap();
    stream.flush().await.unwrap();
    let reason = b.down().await;
    assert!(reason.contains("longer than 4 MiB"), "{reason}");
    let mut rest = Vec::new();
    let closed = timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
    assert!(closed.is_ok());
}

#[tokio::test]
async fn a_peer_that_is_silent_is_dropped() {
    let ([_a, mut b], stream) = misbehaving(29).await;
    assert_eq!(b.down().await, "nothing was heard for 3 s");
    drop(stream);
}

#[tokio::test]
async fn a_peer_that_does_not_keep_up_is_dropped() {
    let ([_a, mut b], mut stream) = misbehaving(30).await;
    let frame = Bytes::from(vec![0; FRAME_MAX]);
    let mut sent = 0;
    while b.channel().send(frame.clone()) {
        sent += frame.len();
        assert!(sent < 2 * QUEUE_MAX, "nothing is held back");
        tokio::task::yield_now().await;
    }
    assert!(sent > QUEUE_MAX / 2);
    let reason = b.down().await;
    assert!(reason.contains("does not keep up"), "{reason}");
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
    assert!(rest.len() < sent);
}

#[tokio::test]
async fn a_frame_that_must_not_be_sent_ends_the_connection() {
    let ([_a, mut b], _stream) = misbehaving(31).await;
    assert!(!b.channel().send(Bytes::from(vec![0; FRAME_MAX + 1])));
    let reason = b.down().await;
    assert!(reason.contains("too long to be sent"), "{reason}");
}

#[tokio::test]
async fn a_newer_connection_replaces_the_older_one() {
    let ([a, mut b], mut old) = misbehaving(32).await;
    let mut new = enter(&a, &b).await;
    let reason = b.down().await;
    assert!(reason.contains("anew"), "{reason}");
    b.up().await;
    frames::write_message(&mut new, b"hello").await.unwrap();
    assert_eq!(b.frame().await, "hello");
    let mut rest = Vec::new();
    let closed = timeout(PATIENCE, old.read_to_end(&mut rest)).await;
    assert!(closed.is_ok());
}

/// How things are once so many strangers were turned away.
async fn after_strangers(host: &Host, count: u64) -> Status {
    let begin = std::time::Instant::now();
    loop {
        let status = host.channel().pairing().status().await.unwrap();
        if status.strangers == count {
            return status;
        }
        assert!(begin.elapsed() < PATIENCE, "{status:?}");
        tokio::task::yield_now().await;
    }
}

/// A connection from the address of the peer.
async fn connect(to: &Host) -> TcpStream {
    connect_from(to.settings.links[0].remote.ip(), to).await
}

async fn connect_from(from: IpAddr, to: &Host) -> TcpStream {
    let address = to.settings.links[0].local;
    let begin = std::time::Instant::now();
    loop {
        match attempt::connect(Some(from), address).await {
            Ok(stream) => return stream,
            Err(error) => assert!(begin.elapsed() < PATIENCE, "{error}"),
        }
        tokio::task::yield_now().await;
    }
}

/// A connection that is `a`'s, by its certificate, and does nothing by itself.
async fn enter(a: &Host, b: &Host) -> Stream {
    let trust = Trust::new(&a.settings.identity, &b.certificate()).unwrap();
    let stream = connect(b).await;
    let mut stream = handshake(stream, &trust.client).await.unwrap();
    frames::welcomed(&mut stream).await.unwrap();
    stream
}

async fn misbehaving(number: u8) -> ([Host; 2], Stream) {
    let [a, mut b] = pair(number);
    b.start();
    let stream = enter(&a, &b).await;
    b.up().await;
    ([a, b], stream)
}
