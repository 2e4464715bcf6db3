//! Many flows, of which only single packets are sent, and the web servers that these arrive at.

use std::fs::File;
use std::io::Read as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use kit::lab::Lab;
use kit::layout::VIP;
use kit::raw;
use lb_ebpf::abi::proto;
use lb_ebpf::wire::{Ethernet, Ipv4, Tcp, ethertype};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockProtocol, SockType, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike as _};

use crate::WEBS;
use crate::support::go_on;

/// How many flows there can be.
pub(crate) const FLOWS: usize = 400_000;
/// So many of them share an address of a client.
const PORTS: usize = 50_000;
/// The first of their ports.
const FIRST_PORT: u16 = 1_024;
/// The network of their clients, for measurements (RFC 2544): nobody else in the lab has it.
const CLIENTS: [u8; 2] = [198, 18];
/// Where they go.
const SERVICE_PORT: u16 = 80;

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;
/// From the frame's beginning.
const FLAGS_AT: usize = Ethernet::LEN + Ipv4::LEN + 13;

/// What is sent of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packet {
    /// Its beginning.
    First,
    /// One from the middle.
    Later,
}

/// Which web server was sent what, by the number of the flow; 0 is none.
pub(crate) struct Sightings {
    first: Vec<AtomicU8>,
    later: Vec<AtomicU8>,
}

impl Sightings {
    fn new() -> Self {
        let none = || (0..FLOWS).map(|_| AtomicU8::new(0)).collect();
        Self {
            first: none(),
            later: none(),
        }
    }

    fn of(&self, packet: Packet) -> &[AtomicU8] {
        match packet {
            Packet::First => &self.first,
            Packet::Later => &self.later,
        }
    }

    /// The number of the web server that was sent such a packet of a flow last.
    pub(crate) fn get(&self, flow: usize, packet: Packet) -> Option<u8> {
        let web = self.of(packet).get(flow)?.load(Ordering::Relaxed);
        (web != 0).then_some(web)
    }

    /// Forgets that.
    pub(crate) fn forget(&self, flow: usize, packet: Packet) {
        if let Some(sighting) = self.of(packet).get(flow) {
            sighting.store(0, Ordering::Relaxed);
        }
    }

    fn note(&self, frame: &[u8], web: u8) {
        let Some((flow, packet)) = recognize(frame) else {
            return;
        };
        if let Some(sighting) = self.of(packet).get(flow) {
            sighting.store(web, Ordering::Relaxed);
        }
    }
}

/// Looks at what arrives at the web servers. Dropping this ends it.
pub(crate) struct Watch {
    pub(crate) sightings: Arc<Sightings>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<Result<()>>>>,
}

impl Watch {
    pub(crate) fn start(lab: &Lab) -> Result<Self> {
        let mut watch = Self {
            sightings: Arc::new(Sightings::new()),
            stop: Arc::default(),
            threads: Vec::new(),
        };
        for web in 1..=WEBS {
            let (sightings, stop) = (Arc::clone(&watch.sightings), Arc::clone(&watch.stop));
            let look = move || look(web, &sightings, &stop);
            watch.threads.push(lab.web(web).spawn(look)?);
        }
        Ok(watch)
    }

    /// Ends it; an error if it could not look.
    pub(crate) fn stop(mut self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        self.threads
            .drain(..)
            .try_for_each(|thread| thread.join().map_err(|_| anyhow!("a watcher panicked"))??)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // Whoever drops this has given up on the outcome.
            let _ = thread.join();
        }
    }
}

fn look(web: u8, sightings: &Sightings, stop: &AtomicBool) -> Result<()> {
    /// For a good part of a second.
    const BUFFER: usize = 64 << 20;
    let socket = socket(
        AddressFamily::Packet,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::EthIp,
    )
    .context("failed to open a packet socket")?;
    setsockopt(&socket, sockopt::RcvBufForce, &BUFFER)?;
    setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::milliseconds(20))?;
    let mut socket = File::from(socket);
    let mut frame = [0; 128];
    while !stop.load(Ordering::Relaxed) {
        match socket.read(&mut frame) {
            Ok(length) => sightings.note(frame.get(..length).unwrap_or_default(), web),
            Err(error) if is_timeout(&error) => {}
            Err(error) => return Err(error).context("failed to read from a packet socket"),
        }
    }
    Ok(())
}

fn is_timeout(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{Interrupted, WouldBlock};
    matches!(error.kind(), WouldBlock | Interrupted)
}

/// The flow that a frame is of, whoever it is for by now.
fn recognize(frame: &[u8]) -> Option<(usize, Packet)> {
    let source = Ethernet::LEN + 12;
    let &[a, b, high, low] = frame.get(source..source + 4)? else {
        return None;
    };
    let &[port_high, port_low] = frame.get(Ethernet::LEN + Ipv4::LEN..)?.get(..2)? else {
        return None;
    };
    if [a, b] != CLIENTS {
        return None;
    }
    let port = u16::from_be_bytes([port_high, port_low]).checked_sub(FIRST_PORT)?;
    let flow = usize::from(u16::from_be_bytes([high, low])) * PORTS + usize::from(port);
    let packet = match frame.get(FLAGS_AT)? {
        &SYN => Packet::First,
        _ => Packet::Later,
    };
    Some((flow, packet))
}

/// Sends from the client to a balancer.
pub(crate) struct Sender {
    socket: raw::Socket,
    client: [u8; 6],
    balancer: [u8; 6],
}

impl Sender {
    /// In the namespace of the calling thread. The hardware addresses are the client's and the
    /// balancer's.
    pub(crate) fn open(client: [u8; 6], balancer: [u8; 6]) -> Result<Self> {
        Ok(Self {
            socket: raw::Socket::open("eth0")?,
            client,
            balancer,
        })
    }

    /// Sends a packet of each of these flows, so many a second, for as long as `go_on` says.
    pub(crate) fn send(
        &self,
        flows: impl IntoIterator<Item = usize>,
        packet: Packet,
        rate: u32,
        mut wanted: impl FnMut() -> bool,
    ) -> Result<()> {
        let start = Instant::now();
        for (sent, flow) in (0_u32..).zip(flows) {
            let due = start + Duration::from_secs(1) * sent / rate;
            while Instant::now() < due {
                std::thread::sleep(Duration::from_millis(1));
            }
            if sent.is_multiple_of(256) {
                go_on()?;
            }
            if !wanted() {
                break;
            }
            self.socket.send(&self.frame(flow, packet)?)?;
        }
        Ok(())
    }

    /// The checksum of TCP is wrong, so that the web servers' hosts do not answer: they drop it,
    /// after the watchers have seen it. A balancer changes checksums, and does not look at them.
    fn frame(&self, flow: usize, packet: Packet) -> Result<[u8; 60]> {
        const DONT_FRAGMENT: u8 = 0x40;
        let client = u16::try_from(flow / PORTS)?.to_be_bytes();
        let port = FIRST_PORT + u16::try_from(flow % PORTS)?;
        let flags = match packet {
            Packet::First => SYN,
            Packet::Later => ACK,
        };
        let length = (Ipv4::LEN + Tcp::LEN) as u16;
        let (ip, tcp) = (Ethernet::LEN, Ethernet::LEN + Ipv4::LEN);
        let mut frame = [0; 60];
        put(&mut frame, 0, &self.balancer);
        put(&mut frame, 6, &self.client);
        put(&mut frame, 12, &ethertype::IPV4.to_be_bytes());
        put(&mut frame, ip, &[0x45]);
        put(&mut frame, ip + 2, &length.to_be_bytes());
        put(&mut frame, ip + 6, &[DONT_FRAGMENT]);
        put(&mut frame, ip + 8, &[64, proto::TCP]);
        put(&mut frame, ip + 12, &CLIENTS);
        put(&mut frame, ip + 14, &client);
        put(&mut frame, ip + 16, &VIP.octets());
        // A bridge may look at this one.
        let checksum = ipv4_checksum(&frame[ip..tcp]);
        put(&mut frame, ip + 10, &checksum.to_be_bytes());
        put(&mut frame, tcp, &port.to_be_bytes());
        put(&mut frame, tcp + 2, &SERVICE_PORT.to_be_bytes());
        put(&mut frame, tcp + 12, &[0x50]);
        put(&mut frame, FLAGS_AT, &[flags]);
        Ok(frame)
    }
}

fn put(frame: &mut [u8], offset: usize, bytes: &[u8]) {
    frame[offset..offset + bytes.len()].copy_from_slice(bytes);
}

/// Of a header in which it is zero (RFC 1071).
fn ipv4_checksum(header: &[u8]) -> u16 {
    let words = header.as_chunks::<2>().0;
    let sum: u32 = words
        .iter()
        .map(|word| u32::from(u16::from_be_bytes(*word)))
        .sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !((folded & 0xffff) + (folded >> 16)) as u16
}
