//! Two load balancers that share more than one group of addresses: of IPv6, too, and such that each
//! leads for some.

use super::failover::{
    alarms, alone, ha, paired_with, wait_for_leader, wait_for_role, wait_until_has_addresses,
    wait_until_keepalived_says, wait_until_ready,
};
use super::{PATIENCE, fence};
use crate::traffic::ask;
use anyhow::{Context as _, Result, ensure};
use kit::lab::Lab;
use kit::layout::Balancer::{self, First, Second};
use kit::layout::{ECHO_PORT, web_ip};
use kit::wait::wait_for;
use lb_control::proto::vrrp::packet::{GROUP_V6, PROTOCOL};
use lb_control::proto::vrrp::{
    Addresses, Advert, ChecksumForm, Claim, Ends, Interval, Priority, Vrid,
};
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// Of the second group.
const MAIL: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 11)), 25);

/// Of the main group.
const SIX: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x10);

/// The first of the groups beside the main one.
fn wait_for_group(lab: &Lab, balancer: Balancer, role: &str) -> Result<()> {
    let what = format!("{} to be {role} of the group", balancer.host());
    wait_for(PATIENCE, &what, || {
        let group = ha(lab, balancer)?["groups"][0].clone();
        ensure!(group["role"] == role, "{group}");
        Ok(())
    })
}

fn mail_is_served(lab: &Lab) -> Result<()> {
    wait_for(PATIENCE, "mail to be served", || {
        let connected = lab
            .client()
            .run(|| TcpStream::connect_timeout(&MAIL, Duration::from_secs(1)));
        connected?.context("cannot connect to mail").map(drop)
    })
}

/// Each leads for one service, and takes over the other's when that one is gone.
pub(crate) fn each_of_two_leads_one_group() -> Result<()> {
    let mut lab = paired_with(|lab| {
        lab.config.ha.group = vec!["mail".to_owned()];
        lab.config.tables = format!("[[service]]\nname = \"mail\"\nvip = \"{MAIL}\"\n");
        for n in 1..=3 {
            let address = SocketAddr::from((web_ip(n), ECHO_PORT));
            lab.config.tables +=
                &format!("[[service.backend]]\nname = \"mail{n}\"\naddress = \"{address}\"\n");
        }
    })?;
    wait_for_group(&lab, Second, "leader")?;
    wait_for_group(&lab, First, "standby")?;
    wait_for_role(&lab, Second, "standby")?;
    ask(&lab, 30)?;
    mail_is_served(&lab)?;

    lab.stop_lbd_on(Second)?;
    wait_for_group(&lab, First, "leader")?;
    wait_for_leader(&lab, First)?;
    mail_is_served(&lab)?;
    ask(&lab, 30)?;

    lab.start_lbd_on(Second)?;
    wait_until_ready(&lab, Second)?;
    wait_for_group(&lab, Second, "leader")?;
    wait_for_group(&lab, First, "standby")?;
    let table = lab.lbctl_on(Second, &["ha", "status"])?;
    let table = String::from_utf8(table.stdout)?;
    let shows = table.contains("post") && table.contains("192.0.2.11/32 dev eth0");
    ensure!(shows, "{table}");
    for balancer in [First, Second] {
        let alarms = alarms(&lab, balancer)?;
        ensure!(alarms == "[]", "{}: {alarms}", balancer.host());
    }

    lab.kill_balancer(First)?;
    wait_for_leader(&lab, Second)?;
    wait_for_group(&lab, Second, "leader")?;
    let told = ha(&lab, Second)?;
    let led = &told["groups"][0]["reason"];
    ensure!(*led != "the other host was lost", "it led already: {led}");
    mail_is_served(&lab)?;
    ask(&lab, 30)?;
    Ok(())
}

fn has_six(lab: &Lab, balancer: Balancer) -> Result<bool> {
    let all = lab
        .balancer(balancer)
        .run(|| std::fs::read_to_string("/proc/thread-self/net/if_inet6"))??;
    let six: String = SIX.octets().iter().map(|it| format!("{it:02x}")).collect();
    Ok(all.contains(&six))
}

/// Whether the balancer has the shared addresses, of both families.
fn wait_until_has_all(lab: &Lab, balancer: Balancer, has: bool) -> Result<()> {
    wait_until_has_addresses(lab, balancer, has)?;
    let what = format!("{} to have the IPv6 address: {has}", balancer.host());
    wait_for(PATIENCE, &what, || {
        ensure!(has_six(lab, balancer)? == has);
        Ok(())
    })
}

fn share_six(lab: &mut Lab) {
    lab.config.ha.addresses = vec![format!("{SIX}/128 dev eth0")];
}

/// Where the client sends what is for the shared address.
fn neighbour(lab: &Lab) -> Result<String> {
    let mut ip = lab.client().command("ip")?;
    let output = ip
        .args(["-6", "neigh", "show", &SIX.to_string()])
        .output()?;
    Ok(String::from_utf8(output.stdout)?)
}

/// Nothing listens on the shared address, and whoever has it says so.
fn somebody_answers(lab: &Lab) -> Result<()> {
    let to = SocketAddr::from((SIX, 9));
    let limit = Duration::from_secs(5);
    let client = lab.client();
    let connected = client.run(move || TcpStream::connect_timeout(&to, limit))?;
    let refused = connected.err().map(|error| error.kind());
    ensure!(refused == Some(ErrorKind::ConnectionRefused), "{refused:?}");
    Ok(())
}

/// The neighbours learn at once who has the address, and the address is of use to them.
pub(crate) fn addresses_of_ipv6_are_taken_over() -> Result<()> {
    let mut lab = paired_with(|lab| {
        share_six(lab);
    })?;
    for (host, own) in [
        (lab.client(), "2001:db8::100"),
        (lab.balancer(First), "2001:db8::1"),
        (lab.balancer(Second), "2001:db8::2"),
    ] {
        host.ip_batch(&format!("address add {own}/64 dev eth0 nodad\n"))?;
    }
    wait_for_group(&lab, First, "leader")?;
    wait_until_has_all(&lab, First, true)?;
    wait_until_has_all(&lab, Second, false)?;
    wait_for_group(&lab, Second, "standby")?;
    somebody_answers(&lab)?;
    let (first, second) = (fence::mac(&lab, First)?, fence::mac(&lab, Second)?);
    let known = neighbour(&lab)?;
    ensure!(known.contains(&first), "{first} expected: {known}");
    for balancer in [First, Second] {
        let alarms = alarms(&lab, balancer)?;
        ensure!(alarms == "[]", "{}: {alarms}", balancer.host());
    }

    // The link takes the host's own address with it, which the kernel looks into before it is of use
    // again.
    let first_host = lab.balancer(First);
    first_host.ip_batch("link set eth0 down\n")?;
    wait_for_group(&lab, Second, "leader")?;
    first_host.ip_batch("link set eth0 up\naddress add 2001:db8::1/64 dev eth0 nodad\n")?;
    wait_until_has_all(&lab, First, true)?;
    wait_for_group(&lab, First, "leader")?;
    wait_until_has_all(&lab, Second, false)?;
    wait_for(PATIENCE, "no alarms", || {
        let alarms = alarms(&lab, First)?;
        ensure!(alarms == "[]", "{alarms}");
        Ok(())
    })?;
    somebody_answers(&lab)?;

    // A planned switchover is of the main group, and of both of its routers.
    for (verb, leader) in [("switch", Second), ("release", First)] {
        let output = lab.lbctl_on(First, &["ha", verb])?;
        ensure!(output.status.success(), "{output:?}");
        wait_for_leader(&lab, leader)?;
        wait_for_group(&lab, leader, "leader")?;
        wait_for_group(&lab, leader.other(), "standby")?;
        wait_for_role(&lab, leader.other(), "standby")?;
    }

    // The client sends nothing: it is told.
    lab.kill_balancer(First)?;
    wait_for_group(&lab, Second, "leader")?;
    wait_for(PATIENCE, "the client to be told", || {
        let known = neighbour(&lab)?;
        ensure!(known.contains(&second), "{second} expected: {known}");
        Ok(())
    })?;
    let reason = ha(&lab, Second)?["groups"][0]["reason"].clone();
    ensure!(reason == "the other host was lost", "{reason}");
    somebody_answers(&lab)
}

/// An advertisement that outranks every other, from the IPv6 header on.
fn outranking(hops: u8) -> Result<Vec<u8>> {
    const ADDRESS: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x66);
    let advert = Advert {
        vrid: Vrid::new(51).context("no VRID")?,
        claim: Claim::Lead(Priority::new(254).context("no priority")?),
        interval: Interval::from_centiseconds(10).context("no interval")?,
        addresses: Addresses::v6(vec![ADDRESS, SIX]).context("no addresses")?,
    };
    let ends = Ends::V6 {
        source: ADDRESS,
        destination: GROUP_V6,
    };
    let message = advert.encode(ends, ChecksumForm::Message)?;
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend(u16::try_from(message.len())?.to_be_bytes());
    packet.extend([PROTOCOL, hops]);
    packet.extend(ADDRESS.octets());
    packet.extend(GROUP_V6.octets());
    packet.extend(message);
    Ok(packet)
}

/// Somebody who claims to lead is refused if what it sends was forwarded, and heeded if not.
pub(crate) fn what_was_forwarded_over_ipv6_is_refused() -> Result<()> {
    /// That of ff02::12 (RFC 2464, section 7).
    const GROUP: [u8; 6] = [0x33, 0x33, 0, 0, 0, 0x12];
    let lab = alone(share_six)?;
    wait_for_group(&lab, First, "leader")?;
    let send = |hops| -> Result<()> {
        let sender = [2, 0, 0, 0, 0, 0x66, 0x86, 0xdd];
        let frame = [&GROUP[..], &sender, &outranking(hops)?].concat();
        lab.client()
            .run(move || kit::raw::Socket::open("eth0")?.send(&frame))?
    };
    let refused = || -> Result<u64> {
        let group = ha(&lab, First)?["groups"][0].clone();
        Ok(group["counters"]["refused_hops"].as_u64().unwrap_or(0))
    };
    wait_for(PATIENCE, "twenty to be refused", || {
        send(254)?;
        let refused = refused()?;
        ensure!(refused >= 20, "{refused} refused");
        Ok(())
    })?;
    let group = ha(&lab, First)?["groups"][0].clone();
    let counters = &group["counters"];
    ensure!(group["role"] == "leader", "{group}");
    ensure!(
        counters["yielded"] == 0 && counters["adverts_heard"] == 0,
        "{group}"
    );
    wait_for(PATIENCE, "one from the link to be heeded", || {
        send(255)?;
        let group = ha(&lab, First)?["groups"][0].clone();
        let yielded = group["counters"]["yielded"].as_u64();
        ensure!(yielded > Some(0), "{group}");
        Ok(())
    })
}

/// lbd leads, and keepalived takes over: when lbd ends, and when its host dies.
pub(crate) fn keepalived_follows_lbd_over_ipv6() -> Result<()> {
    let mut lab = alone(|lab| {
        // keepalived takes no other form.
        lab.config.ha.more = "checksum = \"pseudo-header\"\n".to_owned();
        share_six(lab);
    })?;
    wait_for_group(&lab, First, "leader")?;
    lab.start_keepalived_on(Second, 100)?;
    wait_until_keepalived_says(&lab, "(shared_v6) Entering BACKUP STATE")?;
    lab.stop_lbd_on(First)?;
    wait_until_has_all(&lab, Second, true)?;
    lab.start_lbd_on(First)?;
    wait_for_leader(&lab, First)?;
    wait_for_group(&lab, First, "leader")?;
    wait_until_has_all(&lab, Second, false)?;
    let alarms = alarms(&lab, First)?;
    ensure!(alarms == "[]", "{alarms}");
    lab.kill_balancer(First)?;
    wait_until_has_all(&lab, Second, true)
}

/// keepalived leads, and lbd takes over: when keepalived ends, and when its host dies.
pub(crate) fn lbd_follows_keepalived_over_ipv6() -> Result<()> {
    let mut lab = alone(share_six)?;
    wait_for_group(&lab, First, "leader")?;
    for (kill, reason) in [(false, "the leader gave up"), (true, "no leader was heard")] {
        lab.start_keepalived_on(Second, 250)?;
        wait_until_has_all(&lab, Second, true)?;
        wait_for_group(&lab, First, "standby")?;
        wait_until_has_all(&lab, First, false)?;
        let alarms = alarms(&lab, First)?;
        ensure!(alarms == "[]", "{alarms}");
        if kill {
            lab.kill_balancer(Second)?;
        } else {
            lab.stop_lbd_on(Second)?;
        }
        wait_for_group(&lab, First, "leader")?;
        wait_until_has_all(&lab, First, true)?;
        let group = ha(&lab, First)?["groups"][0].clone();
        ensure!(group["reason"] == reason, "{group}");
    }
    Ok(())
}
