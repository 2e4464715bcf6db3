//! Somebody on the link of two paired load balancers sends advertisements in the name of each to the
//! other.

use super::PATIENCE;
use super::failover::{alarms, all_goes_on, ha, pair_with, paired_with, tell, traffic};
use super::failover::{wait_for_leader, wait_for_role};
use super::fence::mac;
use anyhow::{Context as _, Result, ensure};
use kit::lab::Lab;
use kit::layout::Balancer::{self, First, Second};
use kit::layout::{CLIENT, LB_BACK, VIP};
use kit::wait::wait_for;
use lb_control::proto::heartbeat::packet::PORT;
use lb_control::proto::vrrp::packet::{GROUP_V4, HOPS, PROTOCOL};
use lb_control::proto::vrrp::{
    Addresses, Advert, ChecksumForm, Claim, Ends, Interval, Priority, Vrid,
};
use serde_json::Value;
use std::io::Read as _;
use std::net::Ipv4Addr;

/// A pair in which nobody is lost because the machine is busy.
fn pair() -> Result<Lab> {
    paired_with(|lab| lab.config.ha.more = "heartbeat = \"500ms\"\n".to_owned())
}

fn counter(lab: &Lab, balancer: Balancer, name: &str) -> Result<u64> {
    let ha = ha(lab, balancer)?;
    Ok(ha["counters"][name].as_u64().unwrap_or(0))
}

/// How often each began to lead, and ceased to.
fn changes(lab: &Lab) -> Result<Vec<Value>> {
    let mut changes = Vec::new();
    for balancer in [First, Second] {
        let counters = ha(lab, balancer)?["counters"].clone();
        changes.extend(["led", "yielded"].map(|name| counters[name].clone()));
    }
    Ok(changes)
}

fn unchanged(lab: &Lab, before: &[Value]) -> Result<()> {
    let after = changes(lab)?;
    let log = lab.log(Second.lbd())?;
    ensure!(after == before, "{before:?}, then {after:?}: {log}");
    Ok(())
}

/// What the other balancer would send without its key, as a frame for this one.
fn forged(lab: &Lab, to: Balancer, claim: Claim) -> Result<Vec<u8>> {
    let (source, destination) = (to.other().front(), to.front());
    let packet = packet(source, destination, claim, vec![LB_BACK, VIP])?;
    frame(lab, to, &packet)
}

/// An advertisement, from the IP header on.
fn packet(
    source: Ipv4Addr,
    destination: Ipv4Addr,
    claim: Claim,
    addresses: Vec<Ipv4Addr>,
) -> Result<Vec<u8>> {
    let advert = Advert {
        vrid: Vrid::new(51).context("no VRID")?,
        claim,
        interval: Interval::from_centiseconds(10).context("no interval")?,
        addresses: Addresses::v4(addresses).context("no addresses")?,
    };
    let ends = Ends::V4 {
        source,
        destination,
    };
    let message = advert.encode(ends, ChecksumForm::Message)?;
    let mut packet = vec![0; 20];
    packet[0] = 0x45;
    packet[2..4].copy_from_slice(&u16::try_from(20 + message.len())?.to_be_bytes());
    packet[8] = HOPS;
    packet[9] = PROTOCOL;
    packet[12..16].copy_from_slice(&source.octets());
    packet[16..20].copy_from_slice(&destination.octets());
    let halves = packet.chunks(2);
    let sum: u32 = halves
        .map(|it| u32::from(it[0]) << 8 | u32::from(it[1]))
        .sum();
    let checksum = !u16::try_from((sum & 0xffff) + (sum >> 16))?;
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    packet.extend(message);
    Ok(packet)
}

/// A packet, on its way from the client to this balancer.
fn frame(lab: &Lab, to: Balancer, packet: &[u8]) -> Result<Vec<u8>> {
    let mut mac = Vec::new();
    for byte in self::mac(lab, to)?.split(':') {
        mac.push(u8::from_str_radix(byte, 16)?);
    }
    Ok(from_client(&mac, packet))
}

fn from_client(mac: &[u8], packet: &[u8]) -> Vec<u8> {
    [mac, &[2, 0, 0, 0, 0, 0x66, 0x08, 0x00], packet].concat()
}

/// The client sends each of them so many times.
fn send(lab: &Lab, frames: &[Vec<u8>], times: usize) -> Result<()> {
    let frames = frames.to_vec();
    lab.client().run(move || {
        let socket = kit::raw::Socket::open("eth0")?;
        for _ in 0..times {
            for frame in &frames {
                socket.send(frame)?;
            }
        }
        Ok(())
    })?
}

/// The next advertisements that a balancer receives, from the IP header on.
fn record(lab: &Lab, at: Balancer, count: usize) -> Result<Vec<Vec<u8>>> {
    lab.balancer(at).run(move || {
        let protocol = socket2::Protocol::from(i32::from(PROTOCOL));
        let kind = socket2::Type::RAW;
        let mut socket = socket2::Socket::new(socket2::Domain::IPV4, kind, Some(protocol))?;
        socket.bind_device(Some(b"eth0"))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let mut buffer = [0; 2_048];
        let mut next = |_| -> Result<Vec<u8>> {
            let length = socket.read(&mut buffer).context("heard nothing")?;
            Ok(buffer[..length].to_vec())
        };
        (0..count).map(&mut next).collect()
    })?
}

/// Without heartbeats nobody knows which session is the present one. One of them leads all the same.
pub(crate) fn one_leads_though_no_heartbeats_arrive() -> Result<()> {
    let lab = pair()?;
    let table = format!(
        "table ip silence {{\n\
             chain incoming {{\n\
                 type filter hook input priority 0;\n\
                 udp dport {PORT} drop\n\
             }}\n\
         }}\n"
    );
    for balancer in [First, Second] {
        lab.nft(balancer, &table)?;
    }
    for balancer in [First, Second] {
        wait_for(PATIENCE, "an alarm", || {
            let told = alarms(&lab, balancer)?;
            ensure!(told.contains("is lost"), "{told}");
            Ok(())
        })?;
    }
    wait_for_leader(&lab, First)?;
    wait_for_role(&lab, Second, "standby")?;
    let before = changes(&lab)?;
    let goal = counter(&lab, Second, "adverts_heard")? + 20;
    wait_for(PATIENCE, "twenty advertisements to be heard", || {
        ensure!(counter(&lab, Second, "adverts_heard")? >= goal);
        Ok(())
    })?;
    unchanged(&lab, &before)?;
    let told = alarms(&lab, Second)?;
    ensure!(!told.contains("forges"), "{told}");
    for balancer in [First, Second] {
        lab.nft(balancer, "delete table ip silence\n")?;
    }
    for balancer in [First, Second] {
        wait_for(PATIENCE, "no alarms", || {
            let told = alarms(&lab, balancer)?;
            ensure!(told == "[]", "{told}");
            Ok(())
        })?;
    }
    unchanged(&lab, &before)?;
    Ok(())
}

/// Both are told that the other one leads with a higher priority, or gives up, and heed neither.
/// They do not heed what was recorded, either.
pub(crate) fn forged_advertisements_move_nobody() -> Result<()> {
    let lab = pair()?;
    let lead = |priority| -> Result<Claim> {
        let priority = Priority::new(priority).context("no priority")?;
        Ok(Claim::Lead(priority))
    };
    // Just after they were paired they are lenient. What is sent until then changes nothing.
    for (balancer, harmless) in [(First, lead(1)?), (Second, lead(200)?)] {
        let harmless = [forged(&lab, balancer, harmless)?];
        wait_for(PATIENCE, "forgeries to be refused", || {
            send(&lab, &harmless, 1)?;
            ensure!(counter(&lab, balancer, "refused_forged")? > 0);
            Ok(())
        })?;
    }
    let (regulars, arrivals) = traffic(&lab)?;
    let before = changes(&lab)?;
    let mut frames = Vec::new();
    for balancer in [First, Second] {
        for claim in [lead(254)?, Claim::Release] {
            frames.push(forged(&lab, balancer, claim)?);
        }
    }
    // For as long as twenty advertisements take: three that are missing would be too many.
    let goal = counter(&lab, First, "adverts_sent")? + 20;
    wait_for(PATIENCE, "twenty advertisements", || {
        send(&lab, &frames, 50)?;
        ensure!(counter(&lab, First, "adverts_sent")? >= goal);
        for balancer in [First, Second] {
            let refused = counter(&lab, balancer, "refused_forged")?;
            ensure!(refused > 500, "{refused} refused");
        }
        Ok(())
    })?;
    for balancer in [First, Second] {
        wait_for(PATIENCE, "an alarm", || {
            let told = alarms(&lab, balancer)?;
            let source = balancer.other().front();
            let expected = format!("not the other host's arrive from {source}");
            ensure!(told.contains(&expected), "{told}");
            Ok(())
        })?;
    }
    let recorded = record(&lab, Second, 5)?;
    let frames = recorded.iter().map(|packet| frame(&lab, Second, packet));
    let frames: Vec<Vec<u8>> = frames.collect::<Result<_>>()?;
    wait_for(PATIENCE, "recordings to be refused", || {
        send(&lab, &frames, 10)?;
        ensure!(counter(&lab, Second, "refused_replayed")? >= 50);
        Ok(())
    })?;
    unchanged(&lab, &before)?;
    arrivals.wait_for_more(20)?;
    tell("advertisements forged", arrivals)?;

    let output = lab.lbctl_on(First, &["ha", "switch"])?;
    ensure!(output.status.success(), "{output:?}");
    wait_for_leader(&lab, Second)?;
    wait_for_role(&lab, First, "standby")?;
    all_goes_on(&lab, regulars)
}

/// A third router, with the number of the two and another address, claims to lead, too: with a
/// priority between theirs to those who multicast, and with the highest to those who have a peer.
pub(crate) fn a_third_router_on_the_link_is_told_of() -> Result<()> {
    /// That of 224.0.0.18 (RFC 1112, section 6.4).
    const GROUP: [u8; 6] = [0x01, 0x00, 0x5e, 0x00, 0x00, 0x12];
    let claim = |priority| Priority::new(priority).map(Claim::Lead).context("none");
    let lab = pair_with(|lab| lab.share_secret())?;
    let before = changes(&lab)?;
    let packet_to_all = packet(CLIENT, GROUP_V4, claim(150)?, vec![VIP])?;
    let frames = [from_client(&GROUP, &packet_to_all)];
    wait_for(PATIENCE, "the leader to tell of it", || {
        send(&lab, &frames, 1)?;
        let told = alarms(&lab, First)?;
        ensure!(told.contains("192.0.2.100 led, too"), "{told}");
        ensure!(
            told.contains("192.0.2.100 was told other addresses"),
            "{told}"
        );
        Ok(())
    })?;
    unchanged(&lab, &before)?;
    drop(lab);

    let lab = pair()?;
    let before = changes(&lab)?;
    let mut frames = Vec::new();
    for balancer in [First, Second] {
        let packet = packet(CLIENT, balancer.front(), claim(254)?, vec![LB_BACK, VIP])?;
        frames.push(frame(&lab, balancer, &packet)?);
    }
    let goal = counter(&lab, First, "adverts_sent")? + 20;
    wait_for(PATIENCE, "twenty advertisements", || {
        send(&lab, &frames, 50)?;
        ensure!(counter(&lab, First, "adverts_sent")? >= goal);
        Ok(())
    })?;
    let peers = [(First, Second), (Second, First)];
    for (balancer, peer) in peers {
        let peer = peer.front();
        let says = format!("come from {CLIENT}, which is not `peer` ({peer})");
        wait_for(PATIENCE, "an alarm", || {
            send(&lab, &frames, 50)?;
            let told = alarms(&lab, balancer)?;
            ensure!(told.contains(&says), "{told}");
            ensure!(counter(&lab, balancer, "refused_stranger")? > 0);
            Ok(())
        })?;
        let events = lab.lbctl_on(balancer, &["events"])?;
        let events = String::from_utf8(events.stdout)?;
        ensure!(events.matches(&says).count() == 1, "{events}");
    }
    unchanged(&lab, &before)?;

    // One that multicasts is told of, too.
    let before = counter(&lab, First, "refused_stranger")?;
    wait_for(PATIENCE, "it to be counted", || {
        send(&lab, &[from_client(&GROUP, &packet_to_all)], 1)?;
        ensure!(counter(&lab, First, "refused_stranger")? > before);
        Ok(())
    })
}
