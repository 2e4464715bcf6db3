//! What is measured: two hosts that stand in for each other, with what they run.

use std::net::Ipv4Addr;
use std::process::Child;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use kit::http;
use kit::lab::Lab;
use kit::layout::Balancer::{self, First, Second};
use kit::layout::{ECHO_PORT, LB_BACK, VIP, WEB_PORT, web_ip, web_name};
use kit::wait;
use nix::sys::signal::Signal;

use crate::WEBS;
use crate::support::{haproxy, installed};

/// How long it may take until all is as it was.
const PATIENCE: Duration = Duration::from_secs(30);

/// Who stands in for whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Peer {
    /// Two of Headgate.
    Headgate,
    /// Two of keepalived, each with HAProxy in TCP mode beside it.
    Keepalived,
}

/// How soon one takes the other for lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Setting {
    /// Headgate's own: a heartbeat every 50 ms. For keepalived an advertisement every 100 ms.
    Default,
    /// As soon as either can: 10 ms.
    Fast,
}

/// One of those that are measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Contender {
    pub(crate) peer: Peer,
    pub(crate) setting: Setting,
}

impl Contender {
    pub(crate) const ALL: [Self; 4] = [
        Self::new(Peer::Headgate, Setting::Default),
        Self::new(Peer::Headgate, Setting::Fast),
        Self::new(Peer::Keepalived, Setting::Default),
        Self::new(Peer::Keepalived, Setting::Fast),
    ];

    const fn new(peer: Peer, setting: Setting) -> Self {
        Self { peer, setting }
    }

    pub(crate) const fn name(self) -> &'static str {
        match (self.peer, self.setting) {
            (Peer::Headgate, Setting::Default) => "headgate",
            (Peer::Headgate, Setting::Fast) => "headgate, fast",
            (Peer::Keepalived, Setting::Default) => "keepalived",
            (Peer::Keepalived, Setting::Fast) => "keepalived, fast",
        }
    }

    /// What its figures' names begin with.
    pub(crate) const fn prefix(self) -> &'static str {
        match (self.peer, self.setting) {
            (Peer::Headgate, Setting::Default) => "",
            (Peer::Headgate, Setting::Fast) => "fast.",
            (Peer::Keepalived, Setting::Default) => "keepalived.",
            (Peer::Keepalived, Setting::Fast) => "keepalived.fast.",
        }
    }

    /// An error if it is not installed.
    pub(crate) fn check(self) -> Result<()> {
        match self.peer {
            Peer::Headgate => Ok(()),
            Peer::Keepalived => installed("haproxy").and(installed("keepalived")).map(drop),
        }
    }

    fn configure(self, lab: &mut Lab) -> Result<()> {
        let ha = &mut lab.config.ha;
        ha.unicast = true;
        ha.more = String::new();
        match self.setting {
            Setting::Default => ha.interval = "100ms".to_owned(),
            Setting::Fast if self.peer == Peer::Keepalived => ha.interval = "10ms".to_owned(),
            Setting::Fast => ha.more = "heartbeat = \"10ms\"\n".to_owned(),
        }
        // A host that proxies has no reason to be a router. One that is would send on to the new
        // leader what still comes to it.
        let forwards = match self.peer {
            Peer::Headgate => "1",
            Peer::Keepalived => "0",
        };
        for balancer in [First, Second] {
            let host = lab.balancer(balancer);
            host.sysctl(&[("ipv4/ip_forward", forwards)])?;
        }
        lab.write_config()
    }

    /// Gives the client an address of its own for this contender. Otherwise a web server could see
    /// a connection from the same address and port as before by another way, and would take it for
    /// the old one.
    fn set_source(self, lab: &Lab) -> Result<()> {
        let last = 101 + Self::ALL.iter().position(|it| *it == self).unwrap_or(0);
        let source = Ipv4Addr::new(192, 0, 2, u8::try_from(last)?);
        lab.client().ip_batch(&format!(
            "address replace {source}/24 dev eth0\n\
             route replace {VIP}/32 dev eth0 src {source}\n"
        ))
    }
}

/// Something that a daemon logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sign {
    /// It leads from now on.
    Leads,
    /// It leads no longer, as another does.
    Yields,
    /// It does not reach the other one, of Headgate.
    NoChannel,
}

/// Of keepalived, as Headgate's are.
const fn priority(balancer: Balancer) -> u8 {
    match balancer {
        First => 200,
        Second => 100,
    }
}

/// A contender that is in place: the first one leads, the second one stands by.
pub(crate) struct Pair<'lab> {
    pub(crate) lab: &'lab mut Lab,
    pub(crate) contender: Contender,
    /// The balancer beside each keepalived.
    haproxy: [Option<Child>; 2],
}

impl<'lab> Pair<'lab> {
    pub(crate) fn start(lab: &'lab mut Lab, contender: Contender) -> Result<Self> {
        contender.set_source(lab)?;
        contender.configure(lab)?;
        let mut pair = Self {
            lab,
            contender,
            haproxy: [None, None],
        };
        match pair.bring_up() {
            Ok(()) => Ok(pair),
            // Nothing of it may be in the way of others.
            Err(error) => pair.stop().and(Err(error)),
        }
    }

    fn bring_up(&mut self) -> Result<()> {
        for balancer in [First, Second] {
            self.start_haproxy(balancer)?;
            self.start_daemon(balancer)?;
            wait::wait_for(PATIENCE, "the first one to lead", || {
                ensure!(self.lab.has_addresses(First)?, "it has no addresses");
                Ok(())
            })?;
        }
        self.introduce()?;
        self.wait_until_initial()
    }

    /// Makes two of Headgate known to each other, once.
    fn introduce(&self) -> Result<()> {
        if self.peer() == Peer::Keepalived {
            return Ok(());
        }
        let ha = self.lab.lbctl_json(&["ha", "status"])?;
        if ha["pair"]["paired"] == true {
            return Ok(());
        }
        self.lab.pair_up()
    }

    /// Takes everything away, in whatever state it is.
    pub(crate) fn stop(mut self) -> Result<()> {
        self.lab.rejoin_balancers()?;
        self.lab.heal(First)?;
        self.set_link(First, true)?;
        for balancer in [First, Second] {
            self.lab.clear_balancer(balancer)?;
            self.reap_haproxy(balancer);
            self.remove_traces(balancer)?;
        }
        Ok(())
    }

    pub(crate) const fn peer(&self) -> Peer {
        self.contender.peer
    }

    /// Starts lbd, or keepalived.
    pub(crate) fn start_daemon(&mut self, balancer: Balancer) -> Result<()> {
        match self.peer() {
            Peer::Headgate => self.lab.start_lbd_on(balancer),
            Peer::Keepalived => self.lab.start_keepalived_on(balancer, priority(balancer)),
        }
    }

    /// Ends it in order.
    pub(crate) fn stop_daemon(&mut self, balancer: Balancer) -> Result<()> {
        self.lab.stop_lbd_on(balancer)
    }

    /// Kills it as it is, and nothing else.
    pub(crate) fn kill_daemon(&mut self, balancer: Balancer) -> Result<()> {
        self.signal_daemon(balancer, Signal::SIGKILL)?;
        self.lab.kill_lbd_on(balancer)
    }

    pub(crate) fn signal_daemon(&self, balancer: Balancer, signal: Signal) -> Result<()> {
        match self.peer() {
            Peer::Headgate => self.lab.signal_lbd(balancer, signal),
            Peer::Keepalived => self.lab.signal_keepalived_on(balancer, signal),
        }
    }

    /// As if power were lost.
    pub(crate) fn power_off(&mut self, balancer: Balancer) -> Result<()> {
        self.lab.kill_balancer(balancer)
    }

    /// And came back: of what the kernel had, nothing is left.
    pub(crate) fn power_on(&mut self, balancer: Balancer) -> Result<()> {
        self.reap_haproxy(balancer);
        self.remove_traces(balancer)?;
        self.lab.heal(balancer)?;
        self.start_haproxy(balancer)?;
        self.start_daemon(balancer)
    }

    /// The host's own end of the clients' side.
    pub(crate) fn set_link(&self, balancer: Balancer, up: bool) -> Result<()> {
        let state = if up { "up" } else { "down" };
        let command = format!("link set eth0 {state}\n");
        self.lab.balancer(balancer).ip_batch(&command)
    }

    /// Hands over on purpose, and returns once that was obeyed.
    pub(crate) fn switch(&self) -> Result<()> {
        match self.peer() {
            Peer::Headgate => self.lab.must_lbctl(&["ha", "switch"]),
            // Below the other one's.
            Peer::Keepalived => self.lab.reload_keepalived_on(First, priority(Second) / 2),
        }
    }

    /// And back again.
    pub(crate) fn switch_back(&self) -> Result<()> {
        match self.peer() {
            Peer::Keepalived => self.lab.reload_keepalived_on(First, priority(First)),
            // Its priority is the higher one again, so it takes back.
            Peer::Headgate => self.lab.must_lbctl(&["ha", "release"]),
        }
    }

    /// Waits until these lead, and no others.
    pub(crate) fn wait_for_leaders(&self, leaders: &[Balancer]) -> Result<()> {
        let names: Vec<&str> = leaders.iter().map(|it| it.host()).collect();
        let what = format!("{} to lead", names.join(" and "));
        wait::wait_for(PATIENCE, &what, || {
            for balancer in [First, Second] {
                let leads = self.lab.has_addresses(balancer)?;
                let host = balancer.host();
                ensure!(
                    leads == leaders.contains(&balancer),
                    "{host} has the addresses: {leads}"
                );
            }
            Ok(())
        })
    }

    /// Waits until all is as it was at first: both run and serve, the first one leads, and the
    /// second one is ready to.
    pub(crate) fn wait_until_initial(&self) -> Result<()> {
        self.wait_for_leaders(&[First])?;
        for balancer in [First, Second] {
            let what = format!("{} to be ready", balancer.host());
            wait::wait_for(PATIENCE, &what, || self.is_ready(balancer))?;
        }
        // Whom the others knew for the owner is not what is measured next.
        self.forget_neighbours()?;
        wait::wait_for(PATIENCE, "the service to answer", || {
            for _ in 0..4 * WEBS {
                let answer = || http::get((VIP, 80).into(), "/whoami", Duration::from_secs(1));
                self.lab.client().run(answer)??;
            }
            Ok(())
        })
    }

    fn is_ready(&self, balancer: Balancer) -> Result<()> {
        match self.peer() {
            Peer::Headgate => self.headgate_is_ready(balancer),
            // Who has said that it waits for its turn, or has had it.
            Peer::Keepalived => {
                let log = self.lab.log(balancer.keepalived())?;
                // Its processes write in any order once the first one has begun.
                let started = log.rfind("Starting Keepalived");
                let log = &log[started.unwrap_or(0)..];
                ensure!(
                    log.contains("Entering BACKUP STATE") || log.contains("Entering MASTER STATE"),
                    "keepalived says {log}"
                );
                Ok(())
            }
        }
    }

    fn headgate_is_ready(&self, balancer: Balancer) -> Result<()> {
        let status = self.lab.lbctl_json_on(balancer, &["status"])?;
        let backends = status["services"].as_array().into_iter().flatten();
        for backend in backends
            .flat_map(|service| service["backends"].as_array())
            .flatten()
        {
            let serves = backend["slots"].as_u64() > Some(0);
            ensure!(backend["operational"] == "up" && serves, "{backend}");
        }
        let ha = self.lab.lbctl_json_on(balancer, &["ha", "status"])?;
        let role = match balancer {
            First => "leader",
            Second => "standby",
        };
        let peer = &ha["peer"];
        let may_act = peer["lease_ms"].as_u64() > Some(0);
        ensure!(ha["role"] == role && peer["up"] == true && may_act, "{ha}");
        ensure!(ha["pair"]["synchronised"] == true, "{ha}");
        Ok(())
    }

    /// Empties what the client and the web servers know of their neighbours' hardware addresses.
    fn forget_neighbours(&self) -> Result<()> {
        let forget = |address| format!("neighbour flush to {address} dev eth0\n");
        self.lab.client().ip_batch(&forget(VIP))?;
        (1..=WEBS).try_for_each(|n| self.lab.web(n).ip_batch(&forget(LB_BACK)))
    }

    /// How often a balancer has logged this so far.
    pub(crate) fn logged(&self, balancer: Balancer, sign: Sign) -> Result<usize> {
        let (log, words) = match (self.peer(), sign) {
            (Peer::Headgate, Sign::Leads) => (balancer.lbd(), ": leads reason="),
            (Peer::Headgate, Sign::Yields) => (balancer.lbd(), ": yields reason="),
            (Peer::Headgate, Sign::NoChannel) => (balancer.lbd(), "the pair's channel is down"),
            (Peer::Keepalived, Sign::Leads) => (balancer.keepalived(), "Entering MASTER STATE"),
            (Peer::Keepalived, Sign::Yields) => (balancer.keepalived(), "Entering BACKUP STATE"),
            (Peer::Keepalived, Sign::NoChannel) => return Ok(0),
        };
        Ok(self.lab.log(log)?.matches(words).count())
    }

    /// How often the second one has taken over since it was started.
    pub(crate) fn takeovers(&self) -> Result<u64> {
        match self.peer() {
            Peer::Headgate => {
                let ha = self.lab.lbctl_json_on(Second, &["ha", "status"])?;
                let led = ha["counters"]["led"].as_u64();
                led.with_context(|| format!("lbctl does not say how often lbd led: {ha}"))
            }
            Peer::Keepalived => {
                let log = self.lab.log(Second.keepalived())?;
                Ok(log.matches("Entering MASTER STATE").count() as u64)
            }
        }
    }

    /// Removes what a host forgets when it loses power.
    fn remove_traces(&self, balancer: Balancer) -> Result<()> {
        self.lab.remove_addresses(balancer)?;
        match self.peer() {
            Peer::Headgate => self.lab.detach_on(balancer),
            Peer::Keepalived => Ok(()),
        }
    }

    /// A plain configuration. It listens where it may have no address yet, and checks as often as
    /// Headgate does.
    fn start_haproxy(&mut self, balancer: Balancer) -> Result<()> {
        if self.peer() == Peer::Headgate {
            return Ok(());
        }
        let section = |name: &str, port: u16, to: u16, check: &str| {
            let servers: String = (1..=WEBS)
                .map(|n| {
                    format!(
                        "    server {} {}:{to} check inter 2s\n",
                        web_name(n),
                        web_ip(n)
                    )
                })
                .collect();
            format!(
                "listen {name}\n    bind {VIP}:{port}\n    balance roundrobin\n{check}{servers}"
            )
        };
        let proxies = [
            section("www", 80, WEB_PORT, "    option httpchk GET /healthz\n"),
            section("echo", ECHO_PORT, ECHO_PORT, ""),
        ];
        let host = self.lab.balancer(balancer);
        host.sysctl(&[("ipv4/ip_nonlocal_bind", "1")])?;
        let name = format!("haproxy-{}", balancer.host());
        let child = haproxy::start(self.lab, balancer, &name, &proxies.concat())?;
        *self.haproxy(balancer) = Some(child);
        Ok(())
    }

    fn haproxy(&mut self, balancer: Balancer) -> &mut Option<Child> {
        let [first, second] = &mut self.haproxy;
        match balancer {
            First => first,
            Second => second,
        }
    }

    /// Takes note of one that was killed with its host.
    fn reap_haproxy(&mut self, balancer: Balancer) {
        if let Some(mut child) = self.haproxy(balancer).take() {
            // Whoever killed it may have done this already.
            let _ = child.wait();
        }
    }
}

/// The service that users stay connected to, for lbd.
pub(crate) fn echo_service() -> String {
    let mut service = format!(
        "[[service]]\nname = \"echo\"\nvip = \"{VIP}:{ECHO_PORT}/tcp\"\n\
         [service.check]\ntype = \"tcp\"\ninterval = \"2s\"\ntimeout = \"1s\"\n"
    );
    for n in 1..=WEBS {
        let (name, ip) = (web_name(n), web_ip(n));
        service +=
            &format!("[[service.backend]]\nname = \"{name}\"\naddress = \"{ip}:{ECHO_PORT}\"\n");
    }
    service
}
