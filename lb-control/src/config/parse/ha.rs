//! Reads `[ha]`.

use super::{Fault, judge, judge_or, raw, values};
use crate::config::model::{
    ChannelConfig, Ha, HeartbeatLink, HeartbeatLinks, Heartbeats, OwnedAddress,
};
use crate::proto::heartbeat::{Timing, packet};
use crate::proto::vrrp::{ChecksumForm, Interval, Preempt, Priority, Vrid};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::ops::RangeInclusive;
use std::time::Duration;
use toml::Spanned;

const VRID: RangeInclusive<i64> = 1..=255;
const PRIORITY: RangeInclusive<i64> = 1..=255;
/// RFC 9568, section 6.1.
const PRIORITY_DEFAULT: i64 = 100;
const INTERVAL: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(40);
const INTERVAL_DEFAULT: &str = "100ms";
const HEARTBEAT: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(10);
const HEARTBEAT_DEFAULT: &str = "50ms";
const HEARTBEAT_OFF: &str = "off";
/// After so many that were missed, the other host is lost.
const HEARTBEATS_MISSED: u8 = 3;
const PORT: RangeInclusive<i64> = 1..=65_535;
/// Next to that of the heartbeats.
const CHANNEL_PORT_DEFAULT: u16 = packet::PORT + 1;
const HEARTBEAT_LINKS_MAX: usize = 2;
const PREEMPT_DELAY: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(24 * 60 * 60);

/// Reads `[ha]`, where the program is attached to `interfaces`.
pub(super) fn read(raw: &raw::Ha, interfaces: &[String]) -> Result<Ha, Fault> {
    let interface = judge(&raw.interface, |name| known(name, interfaces))?;
    let addresses = addresses(&raw.addresses, &interface, interfaces, BTreeSet::new())?;
    let peer = raw.peer.as_ref();
    let peer = peer.map(|peer| judge(peer, |text| host(text, "peer")));
    let peer = peer.transpose()?;
    let links = links(raw, peer)?;
    Ok(Ha {
        interface,
        vrid: judge(&raw.vrid, |number| vrid(*number))?,
        priority: judge_or(
            raw.priority.as_ref(),
            priority(PRIORITY_DEFAULT)?,
            |number| priority(*number),
        )?,
        interval: judge_or(raw.interval.as_ref(), interval(INTERVAL_DEFAULT)?, |text| {
            interval(text)
        })?,
        preempt: preempt(raw)?,
        heartbeats: heartbeats(raw, links.as_ref())?,
        channel: channel(raw, links)?,
        witness: witness(raw, peer)?,
        peer,
        checksum: judge_or(raw.checksum.as_ref(), ChecksumForm::default(), |text| {
            checksum(text)
        })?,
        addresses,
        // Of services, too, which are not read yet.
        track: Vec::new(),
        groups: Vec::new(),
    })
}

/// Reads addresses that whoever leads has, where these are taken.
pub(super) fn addresses(
    raw: &[Spanned<String>],
    interface: &str,
    interfaces: &[String],
    mut taken: BTreeSet<OwnedAddress>,
) -> Result<BTreeSet<OwnedAddress>, Fault> {
    let mut addresses = BTreeSet::new();
    for raw in raw {
        let address = judge(raw, |text| {
            let address = owned_address(text, interface, interfaces)?;
            if !taken.insert(address.clone()) {
                return Err(format!("{address} is named twice: once is enough"));
            }
            Ok(address)
        })?;
        addresses.insert(address);
    }
    Ok(addresses)
}

pub(super) fn vrid(number: i64) -> Result<Vrid, String> {
    let number = values::within("vrid", number, &VRID)?;
    Vrid::new(number).ok_or_else(|| "vrid must not be 0".to_owned())
}

impl From<String> for Fault {
    fn from(message: String) -> Self {
        Self {
            span: None,
            message,
        }
    }
}

fn known(name: &str, interfaces: &[String]) -> Result<String, String> {
    if interfaces.iter().any(|each| each == name) {
        return Ok(name.to_owned());
    }
    let suggestion = values::did_you_mean(name, interfaces.iter().map(String::as_str));
    Err(format!(
        "{name:?} is not among the interfaces: {}{suggestion}",
        interfaces.join(", ")
    ))
}

pub(super) fn priority(number: i64) -> Result<Priority, String> {
    let number = values::within("priority", number, &PRIORITY)?;
    Priority::new(number).ok_or_else(|| "priority must not be 0".to_owned())
}

/// An owner's priority is what it is (RFC 9568, section 5.2.4): tracking could not say anything by it.
pub(super) fn may_be_lowered(ha: &Ha) -> Result<(), String> {
    if ha.priority == Priority::OWNER && !ha.track.is_empty() {
        return Err("priority 255 is never lowered: with track, 254 at most".to_owned());
    }
    Ok(())
}

fn interval(text: &str) -> Result<Interval, String> {
    let duration = values::duration("interval", text, &INTERVAL)?;
    let centiseconds = u16::try_from(duration.as_millis() / 10).ok();
    let interval = centiseconds.and_then(Interval::from_centiseconds);
    // What goes over the wire is in centiseconds, and no less may be meant than is said.
    match interval {
        Some(interval) if interval.duration() == duration => Ok(interval),
        _ => Err(format!("interval {text} is not a multiple of 10ms")),
    }
}

fn preempt(raw: &raw::Ha) -> Result<Preempt, Fault> {
    let preempt = raw.preempt.as_ref().is_none_or(|raw| *raw.get_ref());
    let delay = judge_or(raw.preempt_delay.as_ref(), Duration::ZERO, |text| {
        if !preempt {
            return Err("preempt_delay has no meaning with preempt = false".to_owned());
        }
        values::duration("preempt_delay", text, &PREEMPT_DELAY)
    })?;
    Ok(if preempt {
        Preempt::After(delay)
    } else {
        Preempt::Never
    })
}

/// They are sent whenever it is known to whom, unless they are switched off.
fn heartbeats(raw: &raw::Ha, links: Option<&HeartbeatLinks>) -> Result<Option<Heartbeats>, Fault> {
    let Some(links) = links else {
        return match (&raw.heartbeat, &raw.heartbeat_port) {
            (None, None) => Ok(None),
            (Some(raw), _) if raw.get_ref() == HEARTBEAT_OFF => Ok(None),
            (Some(raw), _) => judge(raw, |_| without_peer("heartbeat")),
            (None, Some(raw)) => judge(raw, |_| without_peer("heartbeat_port")),
        };
    };
    let timing = judge_or(
        raw.heartbeat.as_ref(),
        Some(heartbeat(HEARTBEAT_DEFAULT)?),
        |text| match text.as_str() {
            HEARTBEAT_OFF => Ok(None),
            text => heartbeat(text).map(Some),
        },
    )?;
    let port = judge_or(raw.heartbeat_port.as_ref(), packet::PORT, |number| {
        values::within("heartbeat_port", *number, &PORT)
    })?;
    Ok(timing.map(|timing| Heartbeats {
        timing,
        port,
        links: links.clone(),
    }))
}

/// There is one whenever it is known with whom. It is of use once the two are paired.
fn channel(raw: &raw::Ha, links: Option<HeartbeatLinks>) -> Result<Option<ChannelConfig>, Fault> {
    let raw = raw.channel_port.as_ref();
    let Some(links) = links else {
        return raw.map_or(Ok(None), |raw| judge(raw, |_| without_peer("channel_port")));
    };
    let port = judge_or(raw, CHANNEL_PORT_DEFAULT, |number| {
        values::within("channel_port", *number, &PORT)
    })?;
    Ok(Some(ChannelConfig { port, links }))
}

fn witness(raw: &raw::Ha, peer: Option<Ipv4Addr>) -> Result<Option<SocketAddrV4>, Fault> {
    let read = |text: &String| {
        let Some(peer) = peer else {
            return without_peer("witness");
        };
        let witness: SocketAddrV4 = text.parse().map_err(|_| {
            format!("witness: {text:?} is not an IPv4 address and a TCP port, as 192.0.2.254:179")
        })?;
        host(&witness.ip().to_string(), "witness")?;
        if *witness.ip() == peer {
            return Err(format!(
                "witness: {peer} is the peer: it must be a third host"
            ));
        }
        Ok(witness)
    };
    raw.witness.as_ref().map(|raw| judge(raw, read)).transpose()
}

/// The ways to the peer, if it is named.
fn links(raw: &raw::Ha, peer: Option<Ipv4Addr>) -> Result<Option<HeartbeatLinks>, Fault> {
    match (&raw.heartbeat_links, peer) {
        (None, peer) => Ok(peer.map(HeartbeatLinks::Own)),
        (Some(raw), Some(_)) => Ok(Some(HeartbeatLinks::Named(heartbeat_links(raw)?))),
        (Some(raw), None) => judge(raw, |_| without_peer("heartbeat_links")),
    }
}

/// What whoever leads has, the other one must be reachable without.
pub(super) fn check_shared(raw: &raw::Ha, ha: &Ha) -> Result<(), Fault> {
    let groups = raw.group.iter().flat_map(|group| &group.addresses);
    for raw in raw.addresses.iter().chain(groups) {
        judge(raw, |text| {
            let address = text.split(['/', ' ']).next().unwrap_or(text);
            match address.parse().ok().and_then(|it| ha.fixed(it)) {
                Some(whose) => Err(format!(
                    "addresses: {address} is {whose}: whoever leads has what stands here, so it must \
                     be another"
                )),
                None => Ok(()),
            }
        })?;
    }
    Ok(())
}

/// Of the ways to the other host, this end must be here, and that one not.
pub(super) fn check_own(raw: &raw::Ha, own: &BTreeSet<Ipv4Addr>) -> Result<(), Fault> {
    let not_here = |key: &str, address: Ipv4Addr| match own.contains(&address) {
        true => Err(format!(
            "{key}: {address} is an address of this host: the other host's belongs here"
        )),
        false => Ok(()),
    };
    if let Some(peer) = &raw.peer {
        judge(peer, |text| not_here("peer", host(text, "peer")?))?;
    }
    for raw in raw.heartbeat_links.iter().flat_map(Spanned::get_ref) {
        judge(raw, |text| {
            let HeartbeatLink { local, remote } = heartbeat_link(text)?;
            if !own.contains(&local) {
                let own: Vec<String> = own.iter().map(ToString::to_string).collect();
                return Err(format!(
                    "heartbeat_links: {local} is no address of this host, which has {}: this host's \
                     end comes first, as in \"OURS > THEIRS\"; name one that it has, or `ip addr add` \
                     that one",
                    own.join(", ")
                ));
            }
            not_here("heartbeat_links", remote)
        })?;
    }
    Ok(())
}

fn without_peer<T>(key: &str) -> Result<T, String> {
    Err(format!("{key} has no meaning without peer"))
}

fn heartbeat(text: &str) -> Result<Timing, String> {
    let interval = values::duration("heartbeat", text, &HEARTBEAT)?;
    Timing::new(interval, HEARTBEATS_MISSED)
        .ok_or_else(|| format!("heartbeat {text} is out of range"))
}

fn heartbeat_links(raw: &Spanned<Vec<Spanned<String>>>) -> Result<Vec<HeartbeatLink>, Fault> {
    judge(raw, |links| match links.len() {
        1..=HEARTBEAT_LINKS_MAX => Ok(()),
        count => Err(format!(
            "heartbeat_links: there are {count}, and one or two are possible; heartbeat = \"off\" \
             sends none"
        )),
    })?;
    let mut links: Vec<HeartbeatLink> = Vec::new();
    for raw in raw.get_ref() {
        let link = judge(raw, |text| {
            let link = heartbeat_link(text)?;
            if links.iter().any(|it| it.local == link.local) {
                return Err(format!("{} is named twice: once is enough", link.local));
            }
            Ok(link)
        })?;
        links.push(link);
    }
    Ok(links)
}

/// Reads `192.0.2.2 > 192.0.2.3`.
fn heartbeat_link(text: &str) -> Result<HeartbeatLink, String> {
    let (local, remote) = text.split_once('>').ok_or_else(|| {
        format!(
            "heartbeat_links: {text:?} is not as \"192.0.2.2 > 192.0.2.3\", ours and the peer's"
        )
    })?;
    let [local, remote] = [local, remote].map(|text| host(text.trim(), "heartbeat_links"));
    let (local, remote) = (local?, remote?);
    if local == remote {
        return Err(format!("heartbeat_links: {local} cannot be both ends"));
    }
    Ok(HeartbeatLink { local, remote })
}

fn checksum(text: &str) -> Result<ChecksumForm, String> {
    match text {
        "message" => Ok(ChecksumForm::Message),
        "pseudo-header" => Ok(ChecksumForm::WithPseudoHeader),
        _ => Err(format!(
            "{text:?} is not a form of checksum: \"message\", as RFC 9568 has it, or \
             \"pseudo-header\", as keepalived does{}",
            values::did_you_mean(text, ["message", "pseudo-header"])
        )),
    }
}

/// An address that a host can have.
fn host(text: &str, what: &str) -> Result<Ipv4Addr, String> {
    let address: Ipv4Addr = text
        .parse()
        .map_err(|_| format!("{what}: {text:?} is not an IPv4 address, as 192.0.2.3"))?;
    if address.is_unspecified()
        || address.is_loopback()
        || address.is_multicast()
        || address.is_broadcast()
    {
        return Err(format!("{what}: {text} is not an address of a single host"));
    }
    Ok(address)
}

/// Reads `10.0.2.1/32 dev eth1`.
fn owned_address(text: &str, default: &str, interfaces: &[String]) -> Result<OwnedAddress, String> {
    let wrong = || format!("addresses: {text:?} is not as \"10.0.2.1/32 dev eth1\"");
    let words: Vec<&str> = text.split_whitespace().collect();
    let (address, interface) = match words.as_slice() {
        [address] => (*address, default),
        [address, "dev", interface] => (*address, *interface),
        _ => return Err(wrong()),
    };
    let (address, prefix) = match address.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (address, None),
    };
    let (address, longest) = match address.parse() {
        Ok(IpAddr::V6(v6)) if v6.is_unspecified() || v6.is_loopback() || v6.is_multicast() => {
            return Err(format!(
                "addresses: {v6} is not an address of a single host"
            ));
        }
        Ok(IpAddr::V6(v6)) => (IpAddr::V6(v6), 128),
        _ => (IpAddr::V4(host(address, "addresses")?), 32),
    };
    let prefix: u8 = match prefix {
        Some(prefix) => prefix.parse().map_err(|_| wrong())?,
        None => longest,
    };
    if !(1..=longest).contains(&prefix) {
        return Err(format!(
            "addresses: /{prefix} is out of range: /1 to /{longest}"
        ));
    }
    Ok(OwnedAddress {
        interface: known(interface, interfaces)?,
        address,
        prefix,
    })
}
