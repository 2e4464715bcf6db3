//! The namespaces of a lab and the wires between them.
//!
//! ```text
//!  client eth0 ──┐                        ┌── eth0 web1
//!  192.0.2.100   ├─ front ── eth0 lb eth1 ── back ─┤   10.0.2.11
//!                           .1        10.0.2.1     └── eth0 web2
//!                   VIP 192.0.2.10                     10.0.2.12
//! ```
//!
//! `front` and `back` are bridges in a namespace of their own, the switch. Each wire is a veth
//! whose both ends are created where they belong, never in the machine's own namespace.

use anyhow::Result;

use crate::layout::{CLIENT, LB_BACK, LB_FRONT, Layout, VIP, web_ip, web_name};
use crate::netns::ip_batch;
use crate::offload::{self, Offload};

/// A wire from a host to a bridge of the switch.
struct Wire {
    host: String,
    device: &'static str,
    /// The name of the end at the switch.
    port: String,
    bridge: &'static str,
    address: String,
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
    let wire = |host: &str, device, bridge, address: String| Wire {
        host: host.to_owned(),
        device,
        // The load balancer has two ends, so its ports carry the bridge's name.
        port: if host == "lb" {
            format!("lb-{bridge}")
        } else {
            host.to_owned()
        },
        bridge,
        address,
    };
    let mut wires = vec![
        wire("client", "eth0", "front", format!("{CLIENT}/24")),
        wire("lb", "eth0", "front", format!("{LB_FRONT}/24")),
        wire("lb", "eth1", "back", format!("{LB_BACK}/24")),
    ];
    wires.extend(
        (1..=layout.webs())
            .map(|n| wire(&web_name(n), "eth0", "back", format!("{}/24", web_ip(n)))),
    );
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
             address add {address} dev {device}\n",
        ))?;
    }
    for wire in wires {
        let namespace = layout.namespace(&wire.host);
        offload::set(&namespace, wire.device, Offload::TxChecksum, false)?;
        if wire.host == "lb" {
            offload::set(&switch, &wire.port, Offload::Gro, true)?;
        }
    }
    Ok(())
}

fn routes(layout: &Layout) -> Result<()> {
    // An address of the load balancer, so that its kernel answers ARP for it.
    layout
        .namespace("lb")
        .ip_batch(&format!("address add {VIP}/32 dev eth0\n"))?;
    layout
        .namespace("client")
        .ip_batch(&format!("route add 10.0.2.0/24 via {LB_FRONT}\n"))?;
    for n in 1..=layout.webs() {
        let route = format!("route add default via {LB_BACK}\n");
        layout.namespace(&web_name(n)).ip_batch(&route)?;
    }
    Ok(())
}

fn sysctls(layout: &Layout) -> Result<()> {
    layout.namespace("lb").sysctl(&[
        ("ipv4/ip_forward", "1"),
        ("ipv4/conf/all/rp_filter", "0"),
        ("ipv4/conf/eth0/rp_filter", "0"),
        ("ipv4/conf/eth1/rp_filter", "0"),
        ("ipv4/conf/eth0/accept_local", "1"),
        ("ipv4/conf/eth1/accept_local", "1"),
    ])?;
    // Room for a load generator that opens many connections from one address.
    layout.namespace("client").sysctl(&[
        ("ipv4/ip_local_port_range", "1024 65535"),
        ("ipv4/tcp_tw_reuse", "1"),
    ])
}
