//! Packets and requests that nobody in their right mind would send.

use super::{PATIENCE, counted, lab};
use crate::traffic::{Regulars, ask};
use anyhow::{Context as _, Result, ensure};
use kit::layout::VIP;
use kit::wait::wait_for;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

/// Broken frames on the wire are counted by what is wrong with them, and disturb nobody.
pub(crate) fn broken_packets_disturb_nobody() -> Result<()> {
    let lab = lab()?;
    let regulars = Regulars::start(&lab, 12)?;
    regulars.wait_for_requests(50)?;
    let before = |reason| counted(&lab, reason);
    let reasons = [
        "bad_ipv4",
        "bad_tcp",
        "other_protocol",
        "service_fragment",
        "fragment",
        "not_ip",
    ];
    let counts: Vec<u64> = reasons.map(before).into_iter().collect::<Result<_>>()?;
    let vip = lab.client().run(mac_of_vip)??;
    // At the balancer's end of the wire: a bridge may drop what is broken.
    let switch = lab.layout().namespace("switch");
    switch.run(move || send_broken_frames("lb-front", vip))??;
    for (reason, before) in reasons.into_iter().zip(counts) {
        wait_for(PATIENCE, &format!("{reason} to be counted"), || {
            let after = counted(&lab, reason)?;
            ensure!(after >= before + ROUNDS, "{before}, then {after}");
            Ok(())
        })?;
    }
    regulars.wait_for_requests(200)?;
    for served in regulars.stop() {
        served.context("a connection broke")?;
    }
    ask(&lab, 30)?;
    Ok(())
}

/// How often each broken frame is sent.
const ROUNDS: u64 = 100;

fn send_broken_frames(interface: &str, destination: [u8; 6]) -> Result<()> {
    let syn = syn_to_vip(destination);
    let changed = |offset: usize, value: u8| {
        let mut frame = syn.clone();
        frame[offset] = value;
        frame
    };
    let frames = [
        // IPv4: version 5, a header of 4 bytes, and a total length beyond the frame.
        changed(14, 0x55),
        changed(14, 0x41),
        changed(16, 0xff),
        // TCP: a header of 4 bytes, and one beyond the packet.
        changed(46, 0x10),
        changed(46, 0xf0),
        // UDP, a first fragment, another one, and not IPv4 at all.
        changed(23, 17),
        changed(20, 0x20),
        changed(21, 0x01),
        changed(12, 0x86),
        // Cut off in the middle of the TCP header.
        syn[..40].to_vec(),
    ];
    let socket = kit::raw::Socket::open(interface)?;
    for _ in 0..ROUNDS {
        for frame in &frames {
            socket.send(frame)?;
        }
    }
    Ok(())
}

/// The hardware address of the VIP, as this thread's namespace knows it.
fn mac_of_vip() -> Result<[u8; 6]> {
    let neighbours = std::fs::read_to_string("/proc/thread-self/net/arp")?;
    let vip = VIP.to_string();
    let mut fields = neighbours
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    let found = fields.find(|fields| fields.first() == Some(&vip.as_str()));
    let found = found.context("the client does not know its neighbour")?;
    let bytes = found.get(3).context("no hardware address")?.split(':');
    let bytes: Vec<u8> = bytes
        .map(|byte| u8::from_str_radix(byte, 16))
        .collect::<Result<_, _>>()?;
    bytes.try_into().ok().context("not a hardware address")
}

fn syn_to_vip(destination: [u8; 6]) -> Vec<u8> {
    let mut frame = vec![0; 60];
    frame[..6].copy_from_slice(&destination);
    frame[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
    frame[12..14].copy_from_slice(&0x0800_u16.to_be_bytes());
    let ip = &mut frame[14..34];
    ip[0] = 0x45;
    ip[2..4].copy_from_slice(&40_u16.to_be_bytes());
    ip[8] = 64;
    ip[9] = 6;
    ip[12..16].copy_from_slice(&kit::layout::CLIENT.octets());
    ip[16..20].copy_from_slice(&VIP.octets());
    let tcp = &mut frame[34..54];
    tcp[..2].copy_from_slice(&4_000_u16.to_be_bytes());
    tcp[2..4].copy_from_slice(&80_u16.to_be_bytes());
    tcp[12] = 0x50;
    tcp[13] = 2;
    frame
}

/// Those who send garbage to the API, or stall, or go away, keep nobody from using it.
pub(crate) fn bad_clients_of_the_api_harm_nobody() -> Result<()> {
    let lab = lab()?;
    let socket = lab.layout().socket();
    let connect = || UnixStream::connect(&socket).context("failed to connect");
    let mut stalled = Vec::new();
    for text in [
        "",
        "GET /v1/sta",
        "POST /v1/services HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n{",
    ] {
        for _ in 0..10 {
            let mut stream = connect()?;
            stream.write_all(text.as_bytes())?;
            stalled.push(stream);
        }
    }
    for garbage in [
        &[0xff; 4096][..],
        b"\r\n\r\n\r\n",
        b"GET  /v1/status\r\n\r\n",
    ] {
        let mut stream = connect()?;
        // It may be refused before all of it is written.
        let _ = stream.write_all(garbage);
        drop(stream);
        lab.must_lbctl(&["status"])?;
    }
    lab.must_lbctl(&["backend", "drain", "www/web1"])?;
    let answers = ask(&lab, 30)?;
    ensure!(!answers.contains_key("web1"), "{answers:?}");
    // Whoever stalls is cut off in the end.
    for mut stream in stalled {
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut answer = Vec::new();
        stream
            .read_to_end(&mut answer)
            .context("a stalled connection stays open")?;
    }
    Ok(())
}
