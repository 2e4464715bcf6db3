//! What is measured: each can be put on the load balancer's host, and taken away again.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::Child;
use std::time::Duration;

use anyhow::{Result, ensure};
use kit::lab::Lab;
use kit::layout::{Balancer, LB_FRONT, VIP, WEB_PORT, web_address, web_ip, web_name};
use kit::wait;

use crate::WEBS;
use crate::support::{haproxy, installed};

/// Where clients connect to.
const SERVICE: (Ipv4Addr, u16) = (VIP, 80);

/// What its files are called.
const HAPROXY: &str = "haproxy";

/// A way from the client to the web servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Contender {
    /// No balancer: the host only routes, and the client knows the web servers' addresses.
    Direct,
    /// Headgate, attached natively.
    Headgate,
    /// HAProxy in TCP mode.
    Haproxy,
    /// Destination NAT by nftables.
    Nftables,
}

/// A contender that is in place.
pub(crate) enum Running {
    Direct,
    Headgate,
    Haproxy(Child),
    Nftables,
}

impl Contender {
    pub(crate) const ALL: [Self; 4] = [Self::Direct, Self::Headgate, Self::Haproxy, Self::Nftables];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Headgate => "headgate",
            Self::Haproxy => "haproxy",
            Self::Nftables => "nftables",
        }
    }

    /// An error if it is not installed.
    pub(crate) fn check(self) -> Result<()> {
        match self {
            Self::Direct | Self::Headgate => Ok(()),
            Self::Haproxy => installed("haproxy").map(drop),
            Self::Nftables => installed("nft").map(drop),
        }
    }

    /// What the client connects to, in turn.
    pub(crate) fn targets(self) -> Vec<SocketAddr> {
        match self {
            Self::Direct => (1..=WEBS).map(web_address).collect(),
            Self::Headgate | Self::Haproxy | Self::Nftables => vec![SERVICE.into()],
        }
    }

    pub(crate) fn start(self, lab: &mut Lab) -> Result<Running> {
        self.set_source(lab)?;
        match self {
            Self::Direct => Ok(Running::Direct),
            Self::Headgate => lab.start_lbd().map(|()| Running::Headgate),
            Self::Haproxy => start_haproxy(lab).map(Running::Haproxy),
            Self::Nftables => lab
                .nft(Balancer::First, &ruleset())
                .map(|()| Running::Nftables),
        }
    }
}

impl Contender {
    /// Gives the client an address of its own for this contender. Otherwise a web server could see
    /// a connection from the same address and port as before by another way, with time stamps of
    /// another connection, and would take it for an old one's.
    fn set_source(self, lab: &Lab) -> Result<()> {
        let last = 101 + self as u8;
        let source = Ipv4Addr::new(192, 0, 2, last);
        let route = match self {
            Self::Direct => format!("10.0.2.0/24 via {LB_FRONT}"),
            Self::Headgate | Self::Haproxy | Self::Nftables => format!("{VIP}/32"),
        };
        lab.client().ip_batch(&format!(
            "address replace {source}/24 dev eth0\n\
             route replace {route} dev eth0 src {source}\n"
        ))
    }
}

impl Running {
    pub(crate) fn stop(self, lab: &mut Lab) -> Result<()> {
        match self {
            Self::Direct => Ok(()),
            Self::Headgate => {
                lab.stop_lbd()?;
                lab.detach()
            }
            Self::Haproxy(mut child) => {
                child.kill()?;
                child.wait()?;
                Ok(())
            }
            Self::Nftables => lab.nft(Balancer::First, "flush ruleset\n"),
        }
    }
}

/// A plain, good configuration, which checks as often as Headgate's. It splices no data: the answers
/// are much smaller than where that pays.
fn start_haproxy(lab: &Lab) -> Result<Child> {
    let servers: String = (1..=WEBS)
        .map(|n| {
            format!(
                "    server {} {} check inter 2s\n",
                web_name(n),
                web_address(n)
            )
        })
        .collect();
    let (vip, port) = SERVICE;
    let proxies = format!(
        "frontend www\n    bind {vip}:{port}\n    default_backend webs\n\
         backend webs\n    balance roundrobin\n    option httpchk GET /healthz\n{servers}"
    );
    let mut child = haproxy::start(lab, Balancer::First, HAPROXY, &proxies)?;
    let lb = lab.lb();
    let listens = wait::wait_for(Duration::from_secs(5), "haproxy to listen", || {
        if child.try_wait()?.is_some() {
            return Ok(false);
        }
        lb.run(|| TcpStream::connect(SERVICE))??;
        Ok(true)
    })?;
    ensure!(
        listens,
        "haproxy ended: {}",
        lab.log(HAPROXY).unwrap_or_default().trim()
    );
    Ok(child)
}

/// Connections go to the servers in turn; the kernel's connection tracking remembers which.
fn ruleset() -> String {
    let (vip, port) = SERVICE;
    let servers: Vec<String> = (1..=WEBS)
        .map(|n| format!("{} : {}", n - 1, web_ip(n)))
        .collect();
    format!(
        "table ip balance {{\n\
             chain prerouting {{\n\
                 type nat hook prerouting priority dstnat;\n\
                 ip daddr {vip} tcp dport {port} \
                     dnat to numgen inc mod {WEBS} map {{ {} }} : {WEB_PORT}\n\
             }}\n\
         }}\n",
        servers.join(", ")
    )
}
