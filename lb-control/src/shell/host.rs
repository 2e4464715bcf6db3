//! What the host must be like for packets to get through.

use crate::config::Config;
use network_interface::{NetworkInterface, NetworkInterfaceConfig as _};
use nix::ifaddrs::{InterfaceAddress, getifaddrs};
use nix::net::if_::InterfaceFlags;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::BindToDevice;
use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

/// Refuses the name of an interface that does not exist.
pub fn check_interface(name: &str) -> Result<(), String> {
    if nix::net::if_::if_nametoindex(name).is_ok() {
        return Ok(());
    }
    let interfaces = NetworkInterface::show().unwrap_or_default();
    let known: BTreeSet<String> = interfaces.into_iter().map(|each| each.name).collect();
    let known = Vec::from_iter(known).join(", ");
    Err(format!("there is no interface {name} here, but {known}"))
}

/// This host's addresses, but for those by which it speaks with itself.
pub fn addresses() -> io::Result<BTreeSet<Ipv4Addr>> {
    let all = getifaddrs()?;
    let all = all.filter_map(|it| Some(it.address?.as_sockaddr_in()?.ip()));
    Ok(all.filter(|address| !address.is_loopback()).collect())
}

/// The address that this host sends from if it sends by that interface to a neighbour. Nothing is
/// sent.
pub fn address_toward(interface: &str, neighbour: Ipv4Addr) -> io::Result<Ipv4Addr> {
    /// Any will do: `discard`.
    const PORT: u16 = 9;
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    setsockopt(&socket, BindToDevice, &interface.into())?;
    socket.connect((neighbour, PORT))?;
    match socket.local_addr()? {
        SocketAddr::V4(address) => Ok(*address.ip()),
        SocketAddr::V6(_) => Err(io::ErrorKind::AddrNotAvailable.into()),
    }
}

/// What keeps packets of this configuration from getting through, and what to do about it.
#[must_use]
pub fn alarms(config: &Config) -> Vec<String> {
    let mut alarms = Vec::new();
    match getifaddrs() {
        Ok(addresses) => {
            let addresses: Vec<_> = addresses.collect();
            links(config, &addresses, &mut alarms);
            // With `[ha]`, whoever leads has them, and sees to that itself.
            if config.ha.is_none() {
                vips(config, &addresses, &mut alarms);
            }
        }
        Err(error) => alarms.push(format!("cannot ask for this host's addresses: {error}")),
    }
    settings(config, &mut alarms);
    alarms
}

fn links(config: &Config, addresses: &[InterfaceAddress], alarms: &mut Vec<String>) {
    for name in &config.interfaces {
        let flags = addresses.iter().find(|it| it.interface_name == *name);
        // One that is missing is told of by those who attach to it.
        let Some(flags) = flags.map(|it| it.flags) else {
            continue;
        };
        let so = match &config.ha {
            Some(ha) if ha.needs(name) => ", so this host does not lead",
            _ => "",
        };
        if !flags.contains(InterfaceFlags::IFF_UP) {
            alarms.push(format!("{name} is down{so}: `ip link set {name} up`"));
        } else if !flags.contains(InterfaceFlags::IFF_RUNNING) {
            alarms.push(format!(
                "{name} has no carrier{so}: see its cable and its switch"
            ));
        }
    }
}

fn vips(config: &Config, addresses: &[InterfaceAddress], alarms: &mut Vec<String>) {
    let ip = |it: &InterfaceAddress| -> Option<IpAddr> {
        let address = it.address.as_ref()?;
        let v4 = address.as_sockaddr_in().map(|it| it.ip().into());
        v4.or_else(|| address.as_sockaddr_in6().map(|it| it.ip().into()))
    };
    let own: BTreeSet<IpAddr> = addresses.iter().filter_map(ip).collect();
    let vips: BTreeSet<IpAddr> = config.services.values().map(|it| it.vip.ip()).collect();
    for vip in vips.into_iter().filter(|vip| !own.contains(vip)) {
        let prefix = if vip.is_ipv4() { 32 } else { 128 };
        alarms.push(format!(
            "{vip} is no address of this host, so nobody finds it: `ip addr add {vip}/{prefix} dev …`"
        ));
    }
}

fn settings(config: &Config, alarms: &mut Vec<String>) {
    if setting("net.ipv4.ip_forward") == Some(0) {
        alarms.push(
            "the kernel does not forward, so answers have no route back to clients: \
             `sysctl -w net.ipv4.ip_forward=1`"
                .to_owned(),
        );
    }
    if config.services.values().any(|it| it.vip.ip().is_ipv6())
        && setting("net.ipv6.conf.all.forwarding") == Some(0)
    {
        alarms.push(
            "the kernel does not forward IPv6, so answers have no route back to clients: \
             `sysctl -w net.ipv6.conf.all.forwarding=1`"
                .to_owned(),
        );
    }
    let of = |interface: &str, key| setting(&format!("net.ipv4.conf.{interface}.{key}"));
    // The kernel takes the greater of what is set for all and for the interface.
    let greater = |interface, key| of("all", key).max(of(interface, key));
    let there = config.interfaces.iter();
    for interface in there.filter(|name| of(name, "accept_local").is_some()) {
        if greater(interface, "accept_local") == Some(0) {
            alarms.push(format!(
                "answers to neighbours that are not resolved yet get lost: \
                 `sysctl -w net.ipv4.conf.{interface}.accept_local=1`"
            ));
        }
        if greater(interface, "rp_filter") == Some(1) {
            alarms.push(format!(
                "a strict reverse path filter loses answers to neighbours that are not resolved \
                 yet: `sysctl -w net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.{interface}.rp_filter=0`"
            ));
        }
    }
}

/// Warns of a mount namespace of our own: what is pinned in it ends with it.
#[must_use]
pub fn mount_warning() -> Option<&'static str> {
    let namespace = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/mnt")).ok();
    let (own, first) = (namespace("self")?, namespace("1")?);
    (own != first).then_some(
        "this process does not share the mounts of the host's first one: if its BPF file system is \
         its own, traffic ends with it; `nsenter --net=…` keeps them, `ip netns exec` does not",
    )
}

fn setting(key: &str) -> Option<u32> {
    // The name of an interface may have dots, but no slashes.
    let path = match key
        .strip_prefix("net.ipv4.conf.")
        .and_then(|it| it.rsplit_once('.'))
    {
        Some((interface, key)) => format!("net/ipv4/conf/{interface}/{key}"),
        None => key.replace('.', "/"),
    };
    let text = std::fs::read_to_string(format!("/proc/sys/{path}")).ok()?;
    text.trim().parse().ok()
}
