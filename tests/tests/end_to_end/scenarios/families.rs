//! Services of either version of IP, of TCP and of UDP.

use super::failover::{alarms, paired_of, wait_for_leader};
use super::{PATIENCE, counted, programs, wait_for_backend};
use crate::traffic::{Regulars, ask_at};
use anyhow::{Context as _, Result, bail, ensure};
use kit::http::Connection;
use kit::lab::Lab;
use kit::layout::Balancer::{First, Second};
use kit::layout::{LB_BACK, VIP, WEB_PORT, six, web_ip, web_name};
use kit::wait::wait_for;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::process::Stdio;
use std::time::Duration;

/// How many web servers there are.
const WEBS: u8 = 3;

/// Where clients connect to over IPv6.
fn service6() -> SocketAddr {
    SocketAddr::from((six(VIP), 80))
}

/// A lab with both versions of IP, whose web servers run.
fn both() -> Result<Lab> {
    let mut lab = Lab::builder(programs()?).webs(WEBS).ipv6().build()?;
    lab.start_webs()?;
    Ok(lab)
}

fn start(lab: &mut Lab) -> Result<()> {
    lab.write_config()?;
    lab.start_lbd()?;
    for backend in &lab.config.backends {
        wait_for_backend(lab, &backend.name, "up")?;
    }
    Ok(())
}

fn no_alarms(lab: &Lab) -> Result<()> {
    wait_for(PATIENCE, "no alarms", || {
        let alarms = alarms(lab, First)?;
        ensure!(alarms == "[]", "{alarms}");
        Ok(())
    })
}

/// Checks, next hops, connections, answers of many segments, draining and dying: all over IPv6.
pub(crate) fn services_of_ipv6_are_balanced() -> Result<()> {
    let mut lab = both()?;
    lab.config.vip = service6();
    for (n, backend) in (1..).zip(&mut lab.config.backends) {
        backend.address = SocketAddr::from((six(web_ip(n)), WEB_PORT));
    }
    start(&mut lab)?;
    no_alarms(&lab)?;
    let answers = ask_at(&lab, service6(), 60)?;
    ensure!(answers.len() == usize::from(WEBS), "{answers:?}");

    let mut curl = lab.client().command("curl")?;
    let url = format!("http://{}/whoami", service6());
    let output = curl
        .args(["--globoff", "--fail", "--silent", &url])
        .output()?;
    ensure!(
        output.status.success() && !output.stdout.is_empty(),
        "{output:?}"
    );

    let streamed = lab.client().run(|| {
        let mut connection = Connection::open(service6(), PATIENCE)?;
        connection.check_stream(50_000_000, |_| true)
    })??;
    ensure!(streamed.is_some(), "no server said its name");

    let regulars = Regulars::start_at(&lab, service6(), 12)?;
    regulars.wait_for_each()?;
    lab.must_lbctl(&["backend", "drain", "www/web1"])?;
    let answers = ask_at(&lab, service6(), 30)?;
    ensure!(!answers.contains_key("web1"), "{answers:?}");
    regulars.wait_for_each()?;
    for served in regulars.stop() {
        served.context("a connection broke")?;
    }
    lab.stop_web(2)?;
    wait_for_backend(&lab, "web2", "down")?;
    let answers = ask_at(&lab, service6(), 10)?;
    ensure!(answers.keys().eq([&web_name(3)]), "{answers:?}");
    for reason in ["bad_ipv6", "spoofed", "no_backend"] {
        ensure!(counted(&lab, reason)? == 0, "{reason}");
    }
    Ok(())
}

/// What web server `n` answers when it is asked for [`NAME`]: so it is known who did.
fn answer_of(n: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 9, 9, n)
}

const NAME: &str = "who.example";

/// Starts a DNS server on each web server's host.
fn start_dns(lab: &Lab) -> Result<()> {
    for n in 1..=WEBS {
        let mut dns = lab.web(n).command("dnsmasq")?;
        dns.args([
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--pid-file=",
        ])
        .args(["--user=root", "--group=root"])
        .args(["--no-resolv", "--no-hosts", "--no-poll"])
        .arg(format!("--host-record={NAME},{}", answer_of(n)))
        .args([
            "--bind-interfaces",
            "--interface=eth0",
            "--except-interface=lo",
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("failed to start dnsmasq")?;
        wait_for(PATIENCE, "the DNS server to answer", || {
            for address in [IpAddr::from(web_ip(n)), six(web_ip(n)).into()] {
                let asked = lab.web(n).run(move || {
                    Asker::of((address, 53).into())?.ask(Duration::from_millis(200))
                })?;
                ensure!(asked? == answer_of(n));
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// A question for the address of [`NAME`].
fn question(id: u16) -> Vec<u8> {
    // Recursion is desired; there is one question, and nothing else.
    let mut question = id.to_be_bytes().to_vec();
    question.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in NAME.split('.') {
        question.push(label.len() as u8);
        question.extend(label.bytes());
    }
    // The end of the name; type A, class IN.
    question.extend([0, 0, 1, 0, 1]);
    question
}

/// A client that asks from one port, over and over.
struct Asker {
    socket: UdpSocket,
    asked: u16,
}

impl Asker {
    fn of(server: SocketAddr) -> Result<Self> {
        let any: IpAddr = match server {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = UdpSocket::bind((any, 0))?;
        // From now on it hears of nobody else.
        socket.connect(server)?;
        Ok(Self { socket, asked: 0 })
    }

    /// The address that comes back.
    fn ask(&mut self, limit: Duration) -> Result<Ipv4Addr> {
        self.asked += 1;
        let question = question(self.asked);
        self.socket.set_read_timeout(Some(limit))?;
        self.socket.send(&question)?;
        let mut answer = [0; 512];
        let length = self.socket.recv(&mut answer)?;
        let answer = answer.get(..length).unwrap_or_default();
        // Of an answer with one record, the address is its end.
        match answer {
            [id0, id1, _, code, .., a, b, c, d]
                if [*id0, *id1] == self.asked.to_be_bytes() && code & 0x0f == 0 =>
            {
                Ok(Ipv4Addr::new(*a, *b, *c, *d))
            }
            _ => bail!("{answer:02x?}"),
        }
    }
}

/// Clients that ask from one port each, of the client's host.
fn askers(lab: &Lab, server: SocketAddr, count: usize) -> Result<Vec<Asker>> {
    lab.client()
        .run(move || (0..count).map(|_| Asker::of(server)).collect())?
}

/// Who answers each of them.
fn answers(askers: &mut [Asker]) -> Result<Vec<Ipv4Addr>> {
    askers.iter_mut().map(|asker| asker.ask(PATIENCE)).collect()
}

fn shares(answers: &[Ipv4Addr]) -> BTreeMap<Ipv4Addr, usize> {
    let mut shares = BTreeMap::new();
    for answer in answers {
        *shares.entry(*answer).or_default() += 1;
    }
    shares
}

/// Adds a service by CLI, with the DNS servers as its backends.
fn add_dns(lab: &Lab, name: &str, vip: IpAddr, more: &[&str]) -> Result<SocketAddr> {
    let server = SocketAddr::new(vip, 53);
    let at = format!("{server}/udp");
    let mut add = vec!["service", "add", name, &at, "--check-type", "none"];
    add.extend(more);
    lab.must_lbctl(&add)?;
    for n in 1..=WEBS {
        let backend = format!("{name}/{}", web_name(n));
        let address = match vip {
            IpAddr::V4(_) => SocketAddr::from((web_ip(n), 53)),
            IpAddr::V6(_) => SocketAddr::from((six(web_ip(n)), 53)),
        };
        lab.must_lbctl(&["backend", "add", &backend, &address.to_string()])?;
        wait_for(PATIENCE, &format!("{backend} to serve"), || {
            let shown = lab.lbctl_json(&["backend", "show", &backend])?;
            ensure!(shown["slots"].as_u64() > Some(0), "{shown}");
            Ok(())
        })?;
    }
    Ok(server)
}

/// Services of UDP and of IPv6 come while connections of TCP are open, and go again: the program is
/// another one each time, and nobody notices.
pub(crate) fn names_are_resolved_over_either_version() -> Result<()> {
    let mut lab = both()?;
    start(&mut lab)?;
    start_dns(&lab)?;
    let regulars = Regulars::start(&lab, 12)?;
    regulars.wait_for_each()?;
    for vip in [IpAddr::from(VIP), six(VIP).into()] {
        let server = add_dns(&lab, "dns", vip, &[])?;
        no_alarms(&lab)?;
        let mut askers = askers(&lab, server, 60)?;
        let found = answers(&mut askers)?;
        ensure!(shares(&found).len() == usize::from(WEBS), "{found:?}");
        // Nothing changed, so everybody is where they were.
        ensure!(answers(&mut askers)? == found);

        // Each question is one of its own: nobody waits for the last one to end.
        lab.must_lbctl(&["backend", "drain", "dns/web1"])?;
        let moved = answers(&mut askers)?;
        ensure!(!shares(&moved).contains_key(&answer_of(1)), "{moved:?}");
        let shown = lab.lbctl_json(&["backend", "list", "dns"])?;
        let recorded = |it: &serde_json::Value| it["recorded_flows"].as_u64();
        let backends = shown.as_array().context("no list")?;
        ensure!(backends.iter().all(|it| recorded(it) == Some(0)), "{shown}");
        lab.must_lbctl(&["service", "remove", "dns"])?;
    }
    regulars.wait_for_each()?;
    for served in regulars.stop() {
        served.context("a connection broke")?;
    }
    let log = lab.log("lbd")?;
    let replaced = log.matches("replaced the program").count();
    ensure!(replaced == 4, "{replaced} times");
    Ok(())
}

/// A service that is told to keep flows of UDP where they are does so, until they are silent for its
/// own idle time-out.
pub(crate) fn datagrams_stay_if_they_are_told_to() -> Result<()> {
    let mut lab = both()?;
    lab.config.idle_timeout = "1h".to_owned();
    start(&mut lab)?;
    start_dns(&lab)?;
    let server = add_dns(
        &lab,
        "dns",
        six(VIP).into(),
        &["--tracked", "--idle-timeout", "2s"],
    )?;
    // Adding backends one by one changed slots. Once they are at rest, nothing is looked up.
    let at_rest = |what: &str| {
        wait_for(PATIENCE, what, || {
            let shown = lab.lbctl_json(&["service", "show", "dns"])?;
            let slots = &shown["slots"];
            ensure!(slots["clean"] == slots["total"], "{slots}");
            Ok(())
        })
    };
    at_rest("slots to be at rest")?;
    let mut askers = askers(&lab, server, 60)?;
    let found = answers(&mut askers)?;
    ensure!(shares(&found).len() == usize::from(WEBS), "{found:?}");
    lab.must_lbctl(&["backend", "drain", "dns/web1"])?;
    ensure!(answers(&mut askers)? == found, "somebody was moved");
    // They are counted when the tables are swept.
    wait_for(PATIENCE, "flows to be counted", || {
        let shown = lab.lbctl_json(&["backend", "show", "dns/web1"])?;
        ensure!(shown["recorded_flows"].as_u64() > Some(0), "{shown}");
        Ok(())
    })?;
    // Nobody asks any more.
    at_rest("flows to be forgotten")?;
    let moved = answers(&mut askers)?;
    ensure!(!shares(&moved).contains_key(&answer_of(1)), "{moved:?}");
    Ok(())
}

/// The leader dies. Connections over IPv6 that are recorded go on, and names are resolved.
pub(crate) fn a_pair_takes_over_both_versions_and_protocols() -> Result<()> {
    let lab = Lab::builder(programs()?).webs(WEBS).pair().ipv6().build()?;
    let backends = |port: u16, address: fn(u8) -> IpAddr| -> String {
        let backend = |n| {
            let address = SocketAddr::new(address(n), port);
            let name = web_name(n);
            format!("[[service.backend]]\nname = \"{name}\"\naddress = \"{address}\"\n")
        };
        (1..=WEBS).map(backend).collect()
    };
    start_dns(&lab)?;
    let mut lab = paired_of(lab, |lab| {
        let back = format!("{}/128 dev eth1", six(LB_BACK));
        lab.config.ha.addresses.push(back);
        lab.config.tables = format!(
            "[[service]]\nname = \"six\"\nvip = \"{}/tcp\"\nslots = 1009\n\
             [service.check]\ntype = \"none\"\n{}\
             [[service]]\nname = \"dns\"\nvip = \"{VIP}:53/udp\"\nslots = 1009\n\
             [service.check]\ntype = \"none\"\n{}",
            service6(),
            backends(WEB_PORT, |n| six(web_ip(n)).into()),
            backends(53, |n| web_ip(n).into()),
        );
    })?;
    let dns = SocketAddr::from((VIP, 53));
    for n in 1..=WEBS {
        for service in ["six", "dns"] {
            let name = format!("{service}/{}", web_name(n));
            wait_for(PATIENCE, &format!("{name} to serve"), || {
                let shown = lab.lbctl_json(&["backend", "show", &name])?;
                ensure!(shown["slots"].as_u64() > Some(0), "{shown}");
                Ok(())
            })?;
        }
    }
    let earlier = Regulars::start_at(&lab, service6(), 12)?;
    earlier.wait_for_each()?;
    lab.must_lbctl(&["backend", "drain", "six/web1"])?;
    let later = Regulars::start_at(&lab, service6(), 30)?;
    later.wait_for_each()?;
    let mut askers = askers(&lab, dns, 30)?;
    let found = answers(&mut askers)?;
    for balancer in [First, Second] {
        let alarms = alarms(&lab, balancer)?;
        ensure!(alarms == "[]", "{}: {alarms}", balancer.host());
    }
    wait_for(PATIENCE, "the standby to know of them", || {
        let flows = |balancer| -> Result<u64> {
            let shown = lab.lbctl_json_on(balancer, &["backend", "show", "six/web2"])?;
            Ok(shown["recorded_flows"].as_u64().unwrap_or(0))
        };
        let [led, followed] = [flows(First)?, flows(Second)?];
        ensure!(led > 0 && followed > 0, "{led}, and {followed} there");
        Ok(())
    })?;
    lab.kill_balancer(First)?;
    wait_for_leader(&lab, Second)?;
    for regulars in [earlier, later] {
        regulars.wait_for_each()?;
        for served in regulars.stop() {
            served.context("a connection broke")?;
        }
    }
    let answered = ask_at(&lab, service6(), 30)?;
    ensure!(!answered.contains_key("web1"), "{answered:?}");
    ensure!(
        answers(&mut askers)? == found,
        "the other one sends them elsewhere"
    );
    Ok(())
}
