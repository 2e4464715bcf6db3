//! A lab: a client, a load balancer and web servers, each a network namespace, on this machine.
//!
//! ```no_run
//! # fn main() -> anyhow::Result<()> {
//! # let programs: kit::lab::Programs = todo!();
//! let mut lab = kit::lab::Lab::builder(programs).webs(2).build()?;
//! lab.start_web(1)?;
//! lab.start_lbd()?;
//! lab.client().run(|| { /* sockets made here are the client's */ })?;
//! # Ok(())
//! # }
//! ```

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Write as _};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::layout::{self, Balancer, Layout};
use crate::lbd_config::LbdConfig;
use crate::mariadb::MariaDb;
use crate::netns::Namespace;
use crate::pki::Authority;
use crate::process::{self, Process};
use crate::{http, site, topology, wait};

/// How long a program may take to start or to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where the programs are that run in a lab.
#[derive(Debug, Clone)]
pub struct Programs {
    /// The daemon.
    pub lbd: PathBuf,
    /// Its command line client.
    pub lbctl: PathBuf,
    /// The web server.
    pub webapp: PathBuf,
}

/// What a lab will be like.
#[derive(Debug)]
pub struct Builder {
    programs: Programs,
    name: Option<String>,
    webs: u8,
    pair: bool,
    site: bool,
    ipv6: bool,
}

impl Builder {
    /// Gives the lab a name, instead of one that is unique.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    /// How many web servers there is room for; 2 unless told.
    #[must_use]
    pub fn webs(mut self, webs: u8) -> Self {
        self.webs = webs;
        self
    }

    /// Makes it a lab with two load balancers, one of which leads.
    #[must_use]
    pub fn pair(mut self) -> Self {
        self.pair = true;
        self
    }

    /// Gives its hosts addresses of IPv6 beside those of IPv4: see [`layout::six`].
    #[must_use]
    pub fn ipv6(mut self) -> Self {
        self.ipv6 = true;
        self
    }

    /// Makes it a lab with a whole site: DNS in front of the load balancers, app servers and
    /// databases behind the web servers, which serve HTTPS. See [`Lab::start_site`].
    #[must_use]
    pub fn site(mut self) -> Self {
        self.site = true;
        self
    }

    /// Creates namespaces, wires and files. No program is started.
    pub fn build(self) -> Result<Lab> {
        let name = self.name.unwrap_or_else(unique_name);
        let mut layout = Layout::new(&name, self.webs)?;
        if self.pair {
            layout = layout.with_pair();
        }
        if self.site {
            layout = layout.with_site()?;
        }
        if self.ipv6 {
            layout = layout.with_ipv6();
        }
        // The configuration asks for paths that the programs do not create.
        layout.save()?;
        // From here on there is something to clean up, which dropping this does.
        let mut lab = Lab {
            config: LbdConfig::of(&layout),
            lbd_options: Vec::new(),
            lbd_environment: Vec::new(),
            running: BTreeMap::new(),
            lbds: [None, None],
            programs: self.programs,
            authority: None,
            databases: None,
            keep: false,
            layout,
        };
        lab.write_config()?;
        for &balancer in lab.layout.balancers() {
            let bpffs = lab.layout.bpffs_of(balancer);
            fs::create_dir(&bpffs)?;
            fs::create_dir(lab.layout.state_dir_of(balancer))?;
            mount(
                Some("bpf"),
                &bpffs,
                Some("bpf"),
                MsFlags::empty(),
                None::<&str>,
            )
            .context("failed to mount a BPF file system")?;
        }
        topology::create(&lab.layout)?;
        if lab.layout.is_site() {
            lab.authority = Some(site::prepare(&lab.layout)?);
        }
        Ok(lab)
    }
}

fn unique_name() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("t{}_{count}", std::process::id())
}

/// A lab. Dropping it ends its programs and removes it, unless it is [kept](Lab::keep).
#[derive(Debug)]
pub struct Lab {
    /// What [`write_config`](Lab::write_config) writes.
    pub config: LbdConfig,
    /// What lbd is told beside its configuration when it is started.
    pub lbd_options: Vec<&'static str>,
    /// What it finds in its environment then, beside what is in ours.
    pub lbd_environment: Vec<(&'static str, OsString)>,
    layout: Layout,
    programs: Programs,
    /// What runs on the hosts that are no balancers, by their names.
    running: BTreeMap<String, Process>,
    /// What runs on the first balancer, and on the second: lbd, or keepalived in its place.
    lbds: [Option<Process>; 2],
    /// Whose certificates a site's hosts have.
    authority: Option<Authority>,
    /// The databases of a site, once they were started.
    pub(crate) databases: Option<MariaDb>,
    keep: bool,
}

impl Lab {
    /// Starts the description of a lab.
    pub fn builder(programs: Programs) -> Builder {
        Builder {
            programs,
            name: None,
            webs: 2,
            pair: false,
            site: false,
            ipv6: false,
        }
    }

    /// All labs that exist, running or left by a crash.
    pub fn all() -> Result<Vec<Layout>> {
        Layout::all()
    }

    /// Removes a lab, whoever made it, and whatever state it is in.
    pub fn down(name: &str) -> Result<()> {
        remove(&Layout::load(name)?)
    }

    /// A lab that exists, as whoever made it has left it. Dropping this leaves it, too.
    pub fn open(name: &str, programs: Programs) -> Result<Self> {
        let layout = Layout::load(name)?;
        Ok(Self {
            config: LbdConfig::of(&layout),
            lbd_options: Vec::new(),
            lbd_environment: Vec::new(),
            running: BTreeMap::new(),
            lbds: [None, None],
            programs,
            authority: None,
            databases: layout.is_site().then(|| site::open_databases(&layout)),
            keep: true,
            layout,
        })
    }

    /// Leaves the lab as it is, to be removed later by [`Lab::down`].
    pub fn keep(mut self) {
        self.keep = true;
    }

    /// Its names and files.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The programs that it runs.
    pub fn programs(&self) -> &Programs {
        &self.programs
    }

    /// The authority of a site's certificates, in a lab that was made by this process.
    pub fn authority(&self) -> Result<&Authority> {
        let authority = self.authority.as_ref();
        authority.context("the key of the lab's authority is gone with the one who made the lab")
    }

    /// The client's namespace.
    pub fn client(&self) -> Namespace {
        self.layout.namespace("client")
    }

    /// The load balancer's namespace: the first one's, if there are two.
    pub fn lb(&self) -> Namespace {
        self.balancer(Balancer::First)
    }

    /// The namespace of a load balancer.
    pub fn balancer(&self, balancer: Balancer) -> Namespace {
        self.layout.namespace(balancer.host())
    }

    /// Unplugs a balancer at the switch: nothing gets through, and it does not notice.
    pub fn cut(&self, balancer: Balancer) -> Result<()> {
        topology::cut(&self.layout, balancer)
    }

    /// Plugs it in again.
    pub fn heal(&self, balancer: Balancer) -> Result<()> {
        topology::heal(&self.layout, balancer)
    }

    /// Keeps the two balancers from hearing each other, while everybody else hears both.
    pub fn part_balancers(&self) -> Result<()> {
        topology::part(&self.layout, true)
    }

    /// Lets them hear each other again.
    pub fn rejoin_balancers(&self) -> Result<()> {
        topology::part(&self.layout, false)
    }

    /// Drops what the two balancers tell each other over their channel. Heartbeats get through.
    pub fn cut_channel(&self) -> Result<()> {
        let port = layout::CHANNEL_PORT;
        let table = format!(
            "table ip cut {{\n\
                 chain incoming {{\n\
                     type filter hook input priority 0;\n\
                     tcp dport {port} drop\n\
                     tcp sport {port} drop\n\
                 }}\n\
             }}\n"
        );
        self.nft(Balancer::First, &table)
    }

    /// Lets it through again.
    pub fn heal_channel(&self) -> Result<()> {
        self.nft(Balancer::First, "delete table ip cut\n")
    }

    /// Has nft read this on a balancer.
    pub fn nft(&self, balancer: Balancer, input: &str) -> Result<()> {
        let mut child = self
            .balancer(balancer)
            .command("nft")?
            .args(["-f", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("failed to start nft")?;
        if let Some(mut stdin) = child.stdin.take() {
            // If it has stopped reading, its own error below says why.
            let _ = stdin.write_all(input.as_bytes());
        }
        let output = child.wait_with_output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "nft refused: {}", said.trim());
        Ok(())
    }

    /// Cuts a balancer off, and kills everything on it: as if it lost power.
    pub fn kill_balancer(&mut self, balancer: Balancer) -> Result<()> {
        self.cut(balancer)?;
        self.clear_balancer(balancer)
    }

    /// Kills everything on a balancer, which stays plugged in.
    pub fn clear_balancer(&mut self, balancer: Balancer) -> Result<()> {
        if let Some(lbd) = self.lbd(balancer).take() {
            lbd.kill()?;
        }
        process::kill_all(&[self.balancer(balancer)])
    }

    /// Power comes back to a balancer that was [killed](Self::kill_balancer): of what its kernel had,
    /// nothing is left, and lbd is started.
    pub fn revive_balancer(&mut self, balancer: Balancer) -> Result<()> {
        self.remove_addresses(balancer)?;
        self.detach_on(balancer)?;
        self.heal(balancer)?;
        self.start_lbd_on(balancer)
    }

    /// Kills lbd on a balancer that may have been started by another process, and nothing else there.
    pub fn kill_only_lbd(&mut self, balancer: Balancer) -> Result<()> {
        if let Some(lbd) = self.lbd(balancer).take() {
            return lbd.kill();
        }
        let mut killed = false;
        wait::wait_for(PATIENCE, "lbd to end", || {
            let mut left = Vec::new();
            for pid in self.balancer(balancer).pids()? {
                // One that ended meanwhile has no name any more.
                let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
                if name.trim() == "lbd" {
                    left.push(pid);
                }
            }
            for &pid in &left {
                killed |= kill(Pid::from_raw(pid), Signal::SIGKILL).is_ok();
            }
            ensure!(left.is_empty(), "{left:?}");
            Ok(())
        })?;
        ensure!(killed, "lbd does not run on {}", balancer.host());
        Ok(())
    }

    /// Whether a balancer was [cut](Self::cut) off.
    pub fn is_cut(&self, balancer: Balancer) -> Result<bool> {
        topology::is_cut(&self.layout, balancer)
    }

    fn lbd(&mut self, balancer: Balancer) -> &mut Option<Process> {
        let [first, second] = &mut self.lbds;
        match balancer {
            Balancer::First => first,
            Balancer::Second => second,
        }
    }

    /// The namespace of web server `n`.
    pub fn web(&self, n: u8) -> Namespace {
        self.layout.namespace(&layout::web_name(n))
    }

    /// Makes an interface of a host anew that was deleted.
    pub fn plug_in(&self, host: &str, device: &str) -> Result<()> {
        topology::plug_in(&self.layout, host, device)
    }

    /// Starts web server `n`, and waits until it answers.
    pub fn start_web(&mut self, n: u8) -> Result<()> {
        ensure!((1..=self.layout.webs()).contains(&n), "there is no web{n}");
        let name = layout::web_name(n);
        let namespace = self.web(n);
        let mut command = namespace.command(&self.programs.webapp)?;
        command.args(["web", "--name", &name]);
        if self.layout.is_site() {
            site::web_arguments(&self.layout, n, &mut command);
        } else {
            // By the latter, the kernel takes connections of both versions.
            let any = if self.layout.has_ipv6() {
                "[::]"
            } else {
                "0.0.0.0"
            };
            command.args(["--listen", &format!("{any}:{}", layout::WEB_PORT)]);
            command.args(["--echo", &format!("{any}:{}", layout::ECHO_PORT)]);
        }
        self.start(&name, command)?;
        self.wait_until(&name, || {
            let answer = namespace.run(move || {
                http::get(layout::web_address(n), "/healthz", Duration::from_secs(1))
            })?;
            Ok(answer.map(|_| ())?)
        })
    }

    /// Starts what a host is there for.
    pub(crate) fn start(&mut self, host: &str, command: Command) -> Result<()> {
        ensure!(!self.running.contains_key(host), "{host} runs already");
        let process = Process::start(command, &self.layout.log(host))?;
        self.running.insert(host.to_owned(), process);
        Ok(())
    }

    /// Has nothing to do any more with what runs on a host.
    pub(crate) fn forget(&mut self, host: &str) {
        self.running.remove(host);
    }

    /// Waits until what was started on a host answers.
    pub(crate) fn wait_until(
        &mut self,
        host: &str,
        mut answers: impl FnMut() -> Result<()>,
    ) -> Result<()> {
        let log = self.layout.log(host);
        let process = self.running.get_mut(host);
        let process = process.with_context(|| format!("{host} does not run"))?;
        wait::wait_for(PATIENCE, &format!("{host} to answer"), || {
            if let Some(status) = process.ended()? {
                bail!("it ended with {status}: {}", last_lines(&log));
            }
            answers()
        })
    }

    /// Kills what runs on a host with SIGKILL, as a crash would.
    pub(crate) fn kill(&mut self, host: &str) -> Result<()> {
        let process = self.running.remove(host);
        let process = process.with_context(|| format!("{host} does not run"))?;
        process.kill()
    }

    /// Asks what runs on a host to end, with SIGTERM.
    pub fn terminate(&self, host: &str) -> Result<()> {
        let process = self.running.get(host);
        let process = process.with_context(|| format!("{host} does not run"))?;
        process.signal(Signal::SIGTERM)
    }

    /// Waits until what runs on a host has ended in order.
    pub fn wait_until_ended(&mut self, host: &str, limit: Duration) -> Result<()> {
        let process = self.running.remove(host);
        let mut process = process.with_context(|| format!("{host} does not run"))?;
        let status = wait::wait_for(limit, &format!("{host} to end"), || {
            process.ended()?.context("it still runs")
        })?;
        ensure!(status.success(), "{host} ended with {status}");
        Ok(())
    }

    /// Starts all web servers.
    pub fn start_webs(&mut self) -> Result<()> {
        (1..=self.layout.webs()).try_for_each(|n| self.start_web(n))
    }

    /// Kills web server `n` with SIGKILL, as a crash would.
    pub fn stop_web(&mut self, n: u8) -> Result<()> {
        self.kill(&layout::web_name(n))
    }

    /// Writes the configuration of lbd, on each balancer.
    pub fn write_config(&self) -> Result<()> {
        self.layout.balancers().iter().try_for_each(|&balancer| {
            let path = self.layout.config_of(balancer);
            fs::write(&path, self.config.to_toml(&self.layout, balancer))
                .with_context(|| format!("failed to write {}", path.display()))
        })
    }

    /// Starts lbd with the configuration as written, and waits until `lbctl status` works.
    pub fn start_lbd(&mut self) -> Result<()> {
        self.start_lbd_on(Balancer::First)
    }

    /// Like [`start_lbd`](Self::start_lbd), on either balancer.
    pub fn start_lbd_on(&mut self, balancer: Balancer) -> Result<()> {
        ensure!(self.lbd(balancer).is_none(), "lbd runs already");
        let namespace = self.balancer(balancer);
        let mut command = namespace.command(&self.programs.lbd)?;
        command.arg("--config").arg(self.layout.config_of(balancer));
        command.args(&self.lbd_options);
        command.envs(self.lbd_environment.iter().cloned());
        let log = self.layout.log(balancer.lbd());
        let mut process = Process::start(command, &log)?;
        let answers = wait::wait_for(PATIENCE, "lbd to answer", || {
            if let Some(status) = process.ended()? {
                return Ok(Err(status));
            }
            let output = self.lbctl_on(balancer, &["status"])?;
            let said = String::from_utf8_lossy(&output.stderr);
            ensure!(output.status.success(), "lbctl status: {}", said.trim());
            Ok(Ok(()))
        });
        *self.lbd(balancer) = Some(process);
        answers.and_then(|answer| match answer {
            Ok(()) => Ok(()),
            Err(status) => {
                *self.lbd(balancer) = None;
                bail!("lbd ended with {status}: {}", last_lines(&log))
            }
        })
    }

    /// Starts keepalived in the place of a balancer's lbd. It is to have the same addresses, and
    /// this priority.
    pub fn start_keepalived_on(&mut self, balancer: Balancer, priority: u8) -> Result<()> {
        ensure!(self.lbd(balancer).is_none(), "something runs already");
        self.write_keepalived_config(balancer, priority)?;
        let name = balancer.keepalived();
        let file = |suffix| self.layout.run_dir().join(format!("{name}{suffix}"));
        // One that was killed leaves them, and the next one refuses to start.
        for pid in [file(".pid"), file("-vrrp.pid")] {
            if pid.exists() {
                fs::remove_file(pid)?;
            }
        }
        let mut command = self.balancer(balancer).command("keepalived")?;
        command
            .args(["--dont-fork", "--log-console", "--vrrp", "--use-file"])
            .arg(file(".conf"))
            .arg("--pid")
            .arg(file(".pid"))
            .arg("--vrrp_pid")
            .arg(file("-vrrp.pid"));
        let log = self.layout.log(name);
        *self.lbd(balancer) = Some(Process::start(command, &log)?);
        Ok(())
    }

    /// Gives a keepalived that runs another priority.
    pub fn reload_keepalived_on(&self, balancer: Balancer, priority: u8) -> Result<()> {
        self.write_keepalived_config(balancer, priority)?;
        self.signal_lbd(balancer, Signal::SIGHUP)
    }

    fn write_keepalived_config(&self, balancer: Balancer, priority: u8) -> Result<()> {
        let file = format!("{}.conf", balancer.keepalived());
        let path = self.layout.run_dir().join(file);
        fs::write(&path, self.config.ha.to_keepalived(priority))
            .with_context(|| format!("failed to write {}", path.display()))
    }

    /// Sends a signal to all processes of keepalived on a balancer: it has a parent that would
    /// start its child again, and a child that would end in order without its parent.
    pub fn signal_keepalived_on(&self, balancer: Balancer, signal: Signal) -> Result<()> {
        let is_keepalived = |pid: &i32| {
            let name = fs::read_to_string(format!("/proc/{pid}/comm"));
            name.is_ok_and(|name| name.trim() == "keepalived")
        };
        let mut pids = self.balancer(balancer).pids()?;
        pids.retain(is_keepalived);
        ensure!(!pids.is_empty(), "keepalived does not run");
        for pid in pids {
            kill(Pid::from_raw(pid), signal)?;
        }
        Ok(())
    }

    /// Whether a balancer has the shared addresses: both, or none. An error if it has only one.
    pub fn has_addresses(&self, balancer: Balancer) -> Result<bool> {
        match self.addresses(balancer)?[..] {
            [] => Ok(false),
            [_, _] => Ok(true),
            [(address, _), ..] => bail!("{address} alone of the shared addresses"),
        }
    }

    /// Takes the shared addresses away, as far as a balancer has them.
    pub fn remove_addresses(&self, balancer: Balancer) -> Result<()> {
        let addresses = self.addresses(balancer)?;
        let delete = |(address, device)| format!("address delete {address}/32 dev {device}\n");
        let batch: String = addresses.into_iter().map(delete).collect();
        self.balancer(balancer).ip_batch(&batch)
    }

    /// The shared addresses that a balancer has, and on which interface it has them.
    fn addresses(&self, balancer: Balancer) -> Result<Vec<(Ipv4Addr, &'static str)>> {
        let table = self
            .balancer(balancer)
            .run(|| fs::read_to_string("/proc/thread-self/net/fib_trie"))??;
        let lines: Vec<&str> = table.lines().map(str::trim).collect();
        let mut shared = vec![(layout::VIP, "eth0"), (layout::LB_BACK, "eth1")];
        shared.retain(|(address, _)| {
            let leaf = format!("|-- {address}");
            lines
                .windows(2)
                .any(|pair| pair[0] == leaf && pair[1].contains("host LOCAL"))
        });
        Ok(shared)
    }

    /// Kills lbd with SIGKILL, as a crash would.
    pub fn kill_lbd(&mut self) -> Result<()> {
        self.kill_lbd_on(Balancer::First)
    }

    /// Like [`kill_lbd`](Self::kill_lbd), on either balancer.
    pub fn kill_lbd_on(&mut self, balancer: Balancer) -> Result<()> {
        let lbd = self.lbd(balancer).take();
        lbd.context("lbd does not run")?.kill()
    }

    /// Freezes lbd with SIGSTOP, on either balancer.
    pub fn freeze_lbd_on(&self, balancer: Balancer) -> Result<()> {
        self.signal_lbd(balancer, Signal::SIGSTOP)
    }

    /// Lets it go on with SIGCONT.
    pub fn thaw_lbd_on(&self, balancer: Balancer) -> Result<()> {
        self.signal_lbd(balancer, Signal::SIGCONT)
    }

    /// Sends lbd a signal.
    pub fn signal_lbd(&self, balancer: Balancer, signal: Signal) -> Result<()> {
        self.running_lbd(balancer)?.signal(signal)
    }

    /// The process that lbd is.
    pub fn lbd_pid(&self, balancer: Balancer) -> Result<Pid> {
        self.running_lbd(balancer)?.pid()
    }

    fn running_lbd(&self, balancer: Balancer) -> Result<&Process> {
        let [first, second] = &self.lbds;
        let lbd = match balancer {
            Balancer::First => first,
            Balancer::Second => second,
        };
        lbd.as_ref().context("lbd does not run")
    }

    /// Stops lbd with SIGTERM.
    pub fn stop_lbd(&mut self) -> Result<()> {
        self.stop_lbd_on(Balancer::First)
    }

    /// Like [`stop_lbd`](Self::stop_lbd), on either balancer.
    pub fn stop_lbd_on(&mut self, balancer: Balancer) -> Result<()> {
        let lbd = self.lbd(balancer).take();
        let status = lbd.context("lbd does not run")?.stop(PATIENCE)?;
        ensure!(status.success(), "lbd ended with {status}");
        Ok(())
    }

    /// Makes lbd read its configuration again, with SIGHUP.
    pub fn reload_lbd(&self) -> Result<()> {
        self.signal_lbd(Balancer::First, Signal::SIGHUP)
    }

    /// What the programs wrote: that of `lbd`, `web1`, ….
    pub fn log(&self, program: &str) -> Result<String> {
        let path = self.layout.log(program);
        fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))
    }

    /// Runs `lbd detach`, which removes links and pins.
    pub fn detach(&self) -> Result<()> {
        self.detach_on(Balancer::First)
    }

    /// Like [`detach`](Self::detach), on either balancer.
    pub fn detach_on(&self, balancer: Balancer) -> Result<()> {
        let mut lbd = self.balancer(balancer).command(&self.programs.lbd)?;
        let config = self.layout.config_of(balancer);
        let output = lbd.arg("detach").arg("--config").arg(config).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success(),
            "lbd detach failed: {}",
            said.trim()
        );
        Ok(())
    }

    /// Runs lbd with these arguments, such as `check FILE`, until it ends.
    pub fn run_lbd(&self, args: &[&OsStr]) -> Result<Output> {
        let mut lbd = self.lb().command(&self.programs.lbd)?;
        Ok(lbd.args(args).output()?)
    }

    /// Runs lbctl against this lab's lbd.
    pub fn lbctl(&self, args: &[&str]) -> Result<Output> {
        self.lbctl_on(Balancer::First, args)
    }

    /// Runs lbctl against a balancer's lbd.
    pub fn lbctl_on(&self, balancer: Balancer, args: &[&str]) -> Result<Output> {
        Command::new(&self.programs.lbctl)
            .arg("--socket")
            .arg(self.layout.socket_of(balancer))
            .args(args)
            .output()
            .with_context(|| format!("failed to run {}", self.programs.lbctl.display()))
    }

    /// Gives both balancers the same secret before they are started, where they are not to be
    /// [paired](Self::pair_up): both must hash alike, or connections break when the other one leads.
    pub fn share_secret(&self) -> Result<()> {
        self.layout.balancers().iter().try_for_each(|&balancer| {
            let path = self.layout.state_dir_of(balancer).join("secret");
            fs::write(&path, b"both know this 1")
                .with_context(|| format!("failed to write {}", path.display()))
        })
    }

    /// Puts the state of a balancer on a disk of its own, which is small, before its lbd is started.
    pub fn limit_disk(&self, balancer: Balancer) -> Result<()> {
        mount(
            Some("small"),
            &self.layout.state_dir_of(balancer),
            Some("tmpfs"),
            MsFlags::empty(),
            Some("size=256k,mode=755"),
        )
        .context("failed to mount a small disk")
    }

    /// Fills that disk to the last byte.
    pub fn fill_disk(&self, balancer: Balancer) -> Result<()> {
        let mut ballast = fs::File::create(self.ballast(balancer))?;
        for _ in 0..1_000 {
            match ballast.write_all(&[0; 4_096]) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::StorageFull => return Ok(()),
                Err(error) => return Err(error).context("failed to fill the disk"),
            }
        }
        bail!("the disk of {} is not limited", balancer.host())
    }

    /// Gives it room again.
    pub fn clear_disk(&self, balancer: Balancer) -> Result<()> {
        Ok(fs::remove_file(self.ballast(balancer))?)
    }

    fn ballast(&self, balancer: Balancer) -> PathBuf {
        self.layout.state_dir_of(balancer).join("ballast")
    }

    /// Waits until each of two balancers knows all that the other one does.
    pub fn wait_until_synchronised(&self, limit: Duration) -> Result<()> {
        self.layout.balancers().iter().try_for_each(|&balancer| {
            let what = format!("{} to be synchronised", balancer.host());
            wait::wait_for(limit, &what, || {
                let ha = self.lbctl_json_on(balancer, &["ha", "status"])?;
                ensure!(ha["pair"]["synchronised"] == true, "{ha}");
                Ok(())
            })
        })
    }

    /// Waits until a balancer leads, and has the shared addresses; returns why it does.
    pub fn wait_until_leads(&self, balancer: Balancer, limit: Duration) -> Result<String> {
        wait::wait_for(limit, &format!("{} to lead", balancer.host()), || {
            let ha = self.lbctl_json_on(balancer, &["ha", "status"])?;
            ensure!(ha["role"] == "leader", "{ha}");
            ensure!(self.has_addresses(balancer)?, "it has no addresses");
            let reason = ha["reason"].as_str();
            Ok(reason.context("lbctl gives no reason")?.to_owned())
        })
    }

    /// Pairs the two balancers: what one knows, the other does.
    pub fn pair_up(&self) -> Result<()> {
        let token = self.must_lbctl_on(Balancer::First, &["pair", "init"])?;
        let token = String::from_utf8(token).context("a token is text")?;
        self.must_lbctl_on(Balancer::Second, &["pair", "join", token.trim()])
            .map(drop)
    }

    /// Runs lbctl with `--json`, and returns what it says.
    pub fn lbctl_json(&self, args: &[&str]) -> Result<serde_json::Value> {
        self.lbctl_json_on(Balancer::First, args)
    }

    /// Like [`lbctl_json`](Self::lbctl_json), against a balancer's lbd.
    pub fn lbctl_json_on(&self, balancer: Balancer, args: &[&str]) -> Result<serde_json::Value> {
        let printed = self.must_lbctl_on(balancer, &[args, &["--json"]].concat())?;
        serde_json::from_slice(&printed)
            .with_context(|| format!("lbctl {} --json did not print JSON", args.join(" ")))
    }

    /// Runs lbctl against this lab's lbd; an error if it does not do what it is asked to.
    pub fn must_lbctl(&self, args: &[&str]) -> Result<()> {
        self.must_lbctl_on(Balancer::First, args).map(drop)
    }

    /// Like [`must_lbctl`](Self::must_lbctl), against a balancer's lbd; returns what lbctl prints.
    pub fn must_lbctl_on(&self, balancer: Balancer, args: &[&str]) -> Result<Vec<u8>> {
        let output = self.lbctl_on(balancer, args)?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success(),
            "lbctl {} failed: {}",
            args.join(" "),
            said.trim()
        );
        Ok(output.stdout)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if self.keep {
            return;
        }
        let lbds = std::mem::take(&mut self.lbds);
        let running = std::mem::take(&mut self.running);
        for process in running.into_values().chain(lbds.into_iter().flatten()) {
            // One that ended by itself is as good.
            let _ = process.kill();
        }
        if let Err(error) = remove(&self.layout) {
            eprintln!("failed to remove the lab {}: {error:#}", self.layout.name());
        }
    }
}

/// Removes everything of a lab. Each step is tried even if one before it failed, and the
/// directory goes last: as long as something may be left, the lab can be found.
fn remove(layout: &Layout) -> Result<()> {
    let namespaces: Vec<_> = layout
        .namespaces()
        .into_iter()
        .filter(Namespace::exists)
        .collect();
    let mut result = process::kill_all(&namespaces);
    // Closing the pins detaches the programs.
    for &balancer in layout.balancers() {
        for mounted in [layout.bpffs_of(balancer), layout.state_dir_of(balancer)] {
            if let Err(error) = umount2(&mounted, MntFlags::MNT_DETACH)
                && !matches!(error, nix::errno::Errno::EINVAL | nix::errno::Errno::ENOENT)
            {
                let what = format!("failed to unmount {}", mounted.display());
                result = result.and(Err(error).context(what));
            }
        }
    }
    for namespace in &namespaces {
        result = result.and(namespace.delete());
    }
    result?;
    fs::remove_dir_all(layout.run_dir())
        .with_context(|| format!("failed to remove {}", layout.run_dir().display()))
}

/// The end of a log, for an error message.
fn last_lines(log: &std::path::Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(5)..].join("\n")
}
