//! The namespaces of a lab and the wires between them.
//!
//! ```text
//!  client eth0 ──┐                        ┌── eth0 web1
//!  192.0.2.100   ├─ front ── eth0 lb eth1 ── back ─┤   10.0.2.11
//!                           .1        10.0.2.1     └── eth0 web2
//!                   VIP 192.0.2.10                     10.0.2.12
//! ```
//!
//! In a lab with a second load balancer, `lb2` (.2, 10.0.2.3) is wired as `lb` is, whose own
//! address on the right is 10.0.2.2 then: the VIP and 10.0.2.1 belong to whichever leads.
//!
//! A site has a DNS server on the left, 192.0.2.53, and on the right app servers, 10.0.2.21 and .22,
//! and database servers, 10.0.2.31 to .33.
//!
//! In a lab with IPv6, 192.0.2.n is 2001:db8:1::n, too, and 10.0.2.n is 2001:db8:2::n.
//!
//! `front` and `back` are bridges in a namespace of their own, the switch. Each wire is a veth
//! whose both ends are created where they belong, never in the machine's own namespace.

use std::net::Ipv4Addr;

use anyhow::{Context as _, Result};

use crate::layout::{
    APPS, Balancer, CLIENT, DBS, DNS, LB_BACK, LB_FRONT, LB1_BACK, LB2_BACK, Layout, VIP, app_ip,
    app_name, db_ip, db_name, six, web_ip, web_name,
};
use crate::netns::ip_batch;
use crate::offload::{self, Offload};

/// Unplugs all cables of a balancer at the switch, so that it does not notice.
pub(crate) fn cut(layout: &Layout, balancer: Balancer) -> Result<()> {
    let cut: String = BRIDGES
        .iter()
        .map(|bridge| format!("link set {} nomaster\n", port(balancer.host(), bridge)))
        .collect();
    layout.namespace("switch").ip_batch(&cut)
}

/// Whether they are unplugged.
pub(crate) fn is_cut(layout: &Layout, balancer: Balancer) -> Result<bool> {
    let port = port(balancer.host(), BRIDGES[0]);
    let switch = layout.namespace("switch");
    let shown = switch
        .command("ip")?
        .args(["-oneline", "link", "show", "dev", &port])
        .output()
        .context("failed to run ip")?;
    // What is plugged into a bridge has that for its master.
    Ok(!String::from_utf8_lossy(&shown.stdout).contains(" master "))
}

/// Plugs them in again.
pub(crate) fn heal(layout: &Layout, balancer: Balancer) -> Result<()> {
    let heal: String = BRIDGES
        .iter()
        .map(|bridge| {
            let port = port(balancer.host(), bridge);
            format!("link set {port} master {bridge}\n{}", filter(&port))
        })
        .collect();
    layout.namespace("switch").ip_batch(&heal)
}

/// Keeps everything of the two balancers from each other, or no longer. Others reach both.
pub(crate) fn part(layout: &Layout, parted: bool) -> Result<()> {
    let isolated = if parted { "on" } else { "off" };
    let mut part = String::new();
    for balancer in layout.balancers() {
        for bridge in BRIDGES {
            let port = port(balancer.host(), bridge);
            part += &format!("link set {port} type bridge_slave isolated {isolated}\n");
        }
    }
    layout.namespace("switch").ip_batch(&part)
}

/// A network card takes only what is sent to its own hardware address, and a veth takes everything:
/// of two balancers, each would be given what the switch floods because it does not know yet, or no
/// longer, where the other one is.
fn filter(port: &str) -> String {
    format!("link set {port} type bridge_slave flood off\n")
}

const BRIDGES: [&str; 2] = ["front", "back"];

/// A load balancer has two ends, so its ports carry the bridge's name.
fn port(host: &str, bridge: &str) -> String {
    if is_balancer(host) {
        format!("{host}-{bridge}")
    } else {
        host.to_owned()
    }
}

fn is_balancer(host: &str) -> bool {
    [Balancer::First, Balancer::Second]
        .iter()
        .any(|balancer| balancer.host() == host)
}

/// A wire from a host to a bridge of the switch.
struct Wire {
    host: String,
    device: &'static str,
    /// The name of the end at the switch.
    port: String,
    bridge: &'static str,
    address: Ipv4Addr,
}

/// Creates the namespaces, wires them, and sets them up.
pub(crate) fn create(layout: &Layout) -> Result<()> {
    for namespace in layout.namespaces() {
        namespace.create()?;
    }
    let bridges = "link add front type bridge\n\
                   link add back type bridge\n\
                   link set front up\n\
                   link set back up\n";
    layout.namespace("switch").ip_batch(bridges)?;
    connect(layout, &wires(layout))?;
    routes(layout)?;
    sysctls(layout)
}

/// Replaces a wire that was removed.
pub(crate) fn plug_in(layout: &Layout, host: &str, device: &str) -> Result<()> {
    let mut wires = wires(layout);
    wires.retain(|wire| wire.host == host && wire.device == device);
    connect(layout, &wires)?;
    sysctls(layout)
}

fn wires(layout: &Layout) -> Vec<Wire> {
    let wire = |host: &str, device, bridge, address| Wire {
        host: host.to_owned(),
        device,
        port: port(host, bridge),
        bridge,
        address,
    };
    let mut wires = vec![wire("client", "eth0", "front", CLIENT)];
    for balancer in layout.balancers() {
        let (host, front) = (balancer.host(), balancer.front());
        let back = match (layout.is_pair(), balancer) {
            (false, _) => LB_BACK,
            (true, Balancer::First) => LB1_BACK,
            (true, Balancer::Second) => LB2_BACK,
        };
        wires.push(wire(host, "eth0", "front", front));
        wires.push(wire(host, "eth1", "back", back));
    }
    wires.extend((1..=layout.webs()).map(|n| wire(&web_name(n), "eth0", "back", web_ip(n))));
    if layout.is_site() {
        let mut add = |host: &str, bridge, address| {
            wires.push(wire(host, "eth0", bridge, address));
        };
        (1..=APPS).for_each(|n| add(&app_name(n), "back", app_ip(n)));
        (1..=DBS).for_each(|n| add(&db_name(n), "back", db_ip(n)));
        add("dns", "front", DNS);
    }
    wires
}

fn connect(layout: &Layout, wires: &[Wire]) -> Result<()> {
    let switch = layout.namespace("switch");
    let mut cables = String::new();
    let mut ports = String::new();
    for Wire {
        host,
        device,
        port,
        bridge,
        ..
    } in wires
    {
        let namespace = layout.namespace(host);
        cables += &format!(
            "link add {device} netns {} type veth peer name {port} netns {}\n",
            namespace.name(),
            switch.name(),
        );
        ports += &format!("link set {port} master {bridge} up\n");
        if is_balancer(host) && layout.is_pair() {
            ports += &filter(port);
        }
    }
    ip_batch(&cables)?;
    switch.ip_batch(&ports)?;

    for Wire {
        host,
        device,
        address,
        ..
    } in wires
    {
        layout.namespace(host).ip_batch(&format!(
            "link set lo up\n\
             link set {device} up\n\
             address add {address}/24 dev {device}\n",
        ))?;
        if layout.has_ipv6() {
            // Nobody else has it: it need not be looked into.
            let six = six(*address);
            let add = format!("address add {six}/64 dev {device} nodad\n");
            layout.namespace(host).ip_batch(&add)?;
        }
    }
    for wire in wires {
        let namespace = layout.namespace(&wire.host);
        offload::set(&namespace, wire.device, Offload::TxChecksum, false)?;
        if is_balancer(&wire.host) {
            offload::set(&switch, &wire.port, Offload::Gro, true)?;
        }
    }
    Ok(())
}

fn routes(layout: &Layout) -> Result<()> {
    // An address of the load balancer, so that its kernel answers ARP for it. Of two, the one that
    // leads takes it.
    if !layout.is_pair() {
        layout
            .namespace("lb")
            .ip_batch(&format!("address add {VIP}/32 dev eth0\n"))?;
    }
    layout
        .namespace("client")
        .ip_batch(&format!("route add 10.0.2.0/24 via {LB_FRONT}\n"))?;
    for n in 1..=layout.webs() {
        let route = format!("route add default via {LB_BACK}\n");
        layout.namespace(&web_name(n)).ip_batch(&route)?;
    }
    if layout.has_ipv6() {
        return routes_of_ipv6(layout);
    }
    Ok(())
}

fn routes_of_ipv6(layout: &Layout) -> Result<()> {
    if !layout.is_pair() {
        let vip = format!("address add {}/128 dev eth0 nodad\n", six(VIP));
        layout.namespace("lb").ip_batch(&vip)?;
    }
    let back = format!("route add 2001:db8:2::/64 via {}\n", six(LB_FRONT));
    layout.namespace("client").ip_batch(&back)?;
    for n in 1..=layout.webs() {
        let route = format!("route add default via {}\n", six(LB_BACK));
        layout.namespace(&web_name(n)).ip_batch(&route)?;
    }
    Ok(())
}

fn sysctls(layout: &Layout) -> Result<()> {
    for balancer in layout.balancers() {
        layout.namespace(balancer.host()).sysctl(&[
            ("ipv4/ip_forward", "1"),
            ("ipv4/conf/all/rp_filter", "0"),
            ("ipv4/conf/eth0/rp_filter", "0"),
            ("ipv4/conf/eth1/rp_filter", "0"),
            ("ipv4/conf/eth0/accept_local", "1"),
            ("ipv4/conf/eth1/accept_local", "1"),
        ])?;
        if layout.has_ipv6() {
            let forwarding = [("ipv6/conf/all/forwarding", "1")];
            layout.namespace(balancer.host()).sysctl(&forwarding)?;
        }
    }
    // Room for a load generator that opens many connections from one address.
    layout.namespace("client").sysctl(&[
        ("ipv4/ip_local_port_range", "1024 65535"),
        ("ipv4/tcp_tw_reuse", "1"),
    ])
}
