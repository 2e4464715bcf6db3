//! `lbd`, the daemon: argument parsing and wiring.

use anyhow::{Context as _, ensure};
use clap::{Parser, Subcommand};
use lb_control::api::scrape::Scrapes;
use lb_control::api::{listener, server};
use lb_control::config::{self, ChannelConfig, Config, Ha, HeartbeatLinks, Heartbeats};
use lb_control::daemon::{Daemon, Handle, Inputs, Peer, StartHeartbeats, Watchers, Wire};
use lb_control::dataplane::{self, Attacher, Kernel, Lease, NewFlows, Options, Pins};
use lb_control::desired;
use lb_control::here::{Here, Load};
use lb_control::observe::events::Events;
use lb_control::observe::service_manager::{self, Notify};
use lb_control::proto::heartbeat::Key;
use lb_control::proto::pairing::PairSecret;
use lb_control::shell::channel::{self, Channel};
use lb_control::shell::health::Checker;
use lb_control::shell::heartbeat::{self, Heartbeat, Link, Settings};
use lb_control::shell::host;
use lb_control::shell::next_hop::Resolver;
use lb_control::shell::tracking;
use lb_control::shell::vrrp::{self, Router, Teller};
use lb_control::shell::witness;
use lb_control::state::identity::{self, Identity};
use lb_control::state::{self, secret};
use lb_ebpf::abi::{Flow, FlowKey};
use std::io::IsTerminal as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, fmt};

/// An XDP layer-4 load balancer.
///
/// Runs in the foreground and logs to standard error; the environment variable LBD_LOG sets how
/// much: warn, info (the default), debug.
#[derive(Parser)]
#[command(name = "lbd", version, args_conflicts_with_subcommands = true)]
struct Args {
    /// The configuration file
    #[arg(long, default_value = "/etc/headgate/lbd.toml")]
    config: PathBuf,
    /// Log the verdict on every packet (slow)
    #[arg(long)]
    log_verdicts: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Check a configuration file, and do nothing else
    Check {
        /// The file
        #[arg(default_value = "/etc/headgate/lbd.toml")]
        file: PathBuf,
    },
    /// Take the program from all interfaces and remove everything that is pinned
    Detach {
        /// The configuration file
        #[arg(long, default_value = "/etc/headgate/lbd.toml")]
        config: PathBuf,
        /// Where everything is pinned, if the configuration file is not to be asked
        #[arg(long, value_name = "DIRECTORY", conflicts_with = "config")]
        bpffs: Option<PathBuf>,
    },
}

fn main() -> ExitCode {
    match execute(Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lbd: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn execute(args: Args) -> anyhow::Result<()> {
    match args.command {
        Some(Command::Check { file }) => {
            let config = read_config(&file)?;
            let backends = config.services.values().map(|it| it.backends.len());
            println!(
                "{}: fine; services: {}, backends: {}",
                file.display(),
                config.services.len(),
                backends.sum::<usize>()
            );
            Ok(())
        }
        Some(Command::Detach { config, bpffs }) => {
            let bpffs = match bpffs {
                Some(bpffs) => bpffs,
                // Interfaces that are gone must not keep the others attached.
                None => config::parse(&read(&config)?, &config)?.bpffs,
            };
            let interfaces = dataplane::detach(&Pins::new(&bpffs))?;
            println!("detached from {}", list(&interfaces));
            Ok(())
        }
        None => run(&args.config, args.log_verdicts),
    }
}

fn list(interfaces: &[String]) -> String {
    if interfaces.is_empty() {
        "nothing: it was not attached".to_owned()
    } else {
        interfaces.join(", ")
    }
}

/// What is logged: what `LBD_LOG` says, and verdicts if they are asked for.
fn log_filter(log_verdicts: bool) -> anyhow::Result<EnvFilter> {
    let wanted = match std::env::var("LBD_LOG") {
        Ok(wanted) if !wanted.is_empty() => wanted,
        _ => "info".to_owned(),
    };
    let filter = EnvFilter::builder()
        .parse(&wanted)
        .with_context(|| format!("LBD_LOG={wanted:?}: it must be as warn, info or debug"))?;
    Ok(if log_verdicts {
        filter.add_directive("lb_xdp=debug".parse()?)
    } else {
        filter
    })
}

fn read(file: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(file)
        .with_context(|| format!("cannot read the configuration file {}", file.display()))
}

/// Reads a configuration that this host can run.
fn read_config(file: &Path) -> anyhow::Result<Config> {
    let text = read(file)?;
    let config = config::parse(&text, file)?;
    config::check_interfaces(&text, file, host::check_interface)?;
    let own = host::addresses().context("cannot ask for this host's addresses")?;
    config::check_addresses(&text, file, &own)?;
    Ok(config)
}

#[tokio::main]
async fn run(file: &Path, log_verdicts: bool) -> anyhow::Result<()> {
    let events = Events::default();
    let log = fmt::layer()
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .with_filter(log_filter(log_verdicts)?);
    tracing_subscriber::registry()
        .with(log)
        .with(events.layer())
        .init();
    let notify = Arc::new(Notify::from_env()?);

    let config = read_config(file)?;
    ensure!(
        nix::unistd::Uid::effective().is_root(),
        "only root may load programs and attach them: try sudo"
    );
    if let Some(warning) = host::mount_warning() {
        tracing::warn!("{warning}");
    }
    let pins = Pins::new(&config.bpffs);
    let _lock = pins.lock()?;
    let vips = config.services.values().map(|service| &service.vip);
    let keys: Vec<_> = vips.map(desired::service_key).collect();
    let features = desired::features(&keys);
    let options = Options {
        limits: config.limits,
        features,
        log_verdicts,
        fenced: config.ha.iter().any(|ha| ha.heartbeats.is_some()),
        tells_flows: config.ha.iter().any(|ha| ha.channel.is_some()),
    };
    let mut load = loader(&pins, options);
    let object = load(features)?;
    let secret = secret::load_or_create(&config.state_dir)?;
    let (heartbeat_sender, heartbeats) = mpsc::unbounded_channel();
    let virtual_routers = config.virtual_routers();
    let tellers: Vec<Teller> = virtual_routers
        .iter()
        .map(|_| Teller::new())
        .collect::<Result<_, _>>()
        .context("failed to make an event descriptor")?;
    let mut heartbeats_of =
        heartbeats_of(config.ha.clone(), &pins, tellers.clone(), heartbeat_sender)?;
    let peer = heartbeats_of(secret)?;
    let (channel_sender, channel) = mpsc::channel(CHANNEL_EVENTS);
    let pair = match config.ha.as_ref().and_then(|ha| ha.channel.as_ref()) {
        Some(channel) => start_channel(&config, channel, secret, channel_sender)?,
        None => None,
    };
    for warning in state::exposed(&config.state_dir) {
        tracing::warn!("{warning}");
    }
    let pairing = pair.as_ref().map(|(_, channel)| channel.pairing());
    let (flow_sender, new_flows) = mpsc::channel(FLOW_BATCHES);
    if options.tells_flows {
        tokio::spawn(read_new_flows(NewFlows::open(&pins)?, flow_sender));
    }
    let mut attacher = Attacher::new(object, &pins, &config.interfaces);
    if !attacher.takes_over() {
        let (_, failures) = attacher.attach();
        ensure!(failures.is_empty(), failures.join("; "));
    }

    let (health_sender, health) = mpsc::channel(1024);
    let (hop_sender, next_hops) = mpsc::channel(1024);
    let (leading_sender, leading) = mpsc::unbounded_channel();
    let mut routers = Vec::new();
    for (number, (is, teller)) in virtual_routers.into_iter().zip(tellers).enumerate() {
        let Some(settings) = vrrp::Settings::of(&is, &config) else {
            continue;
        };
        let events = vrrp::Events::of(number, leading_sender.clone());
        routers.push((is, Router::spawn(settings, teller, events)?));
    }
    let (request_sender, requests) = mpsc::channel(64);
    let handle = Handle::new(request_sender);
    let (stop_sender, stop) = watch::channel(false);
    let scrapes = config
        .metrics
        .map(|address| Scrapes::spawn(address, handle.clone(), stopped(stop.clone())));
    let (missing_sender, missing) = mpsc::unbounded_channel();
    if let Some(ha) = &config.ha {
        tracking::spawn(&ha.track, missing_sender);
    }
    let (witness_sender, witness) = mpsc::unbounded_channel();
    if let Some(address) = config.ha.as_ref().and_then(|ha| ha.witness) {
        witness::spawn(address, witness_sender);
    }
    let watchers = Watchers {
        checker: Checker::spawn(health_sender),
        resolver: Resolver::spawn(hop_sender),
        routers,
        peer,
        heartbeats: heartbeats_of,
        pair: pair.map(|(host, channel)| (host, Box::new(channel) as Box<dyn Wire>)),
        host: Box::new(Here {
            load,
            features,
            attacher,
            notify: Arc::clone(&notify),
            scrapes,
        }),
    };
    let (reload_sender, reloads) = mpsc::channel(1);

    let kernel = Kernel::open(&pins)?;
    let socket = config.socket.clone();
    let listener = listener::bind(&socket)?;
    let mut daemon = Daemon::start(config, kernel, watchers, secret)?;
    daemon.look_at_host();

    let sources = server::Sources {
        daemon: handle.clone(),
        events: events.clone(),
        pairing,
    };
    let api = tokio::spawn(server::serve(listener, sources, stopped(stop.clone())));
    tokio::spawn(reload_on_hangup(file.to_owned(), reload_sender));
    if notify.is_there() {
        let notify = Arc::clone(&notify);
        tokio::spawn(async move { service_manager::tell(&notify, &handle, &events).await });
    }
    tokio::spawn(async move {
        wait_for_signal().await;
        notify.stopping();
        stop_sender.send_replace(true);
    });
    tracing::info!(socket = %socket.display(), "ready");
    daemon
        .run(
            Inputs {
                requests,
                health,
                next_hops,
                leading,
                heartbeats,
                channel,
                new_flows,
                missing,
                witness,
                reloads,
            },
            stopped(stop),
        )
        .await;
    daemon.release();
    api.await?;
    tracing::info!("stopped; traffic goes on, `lbd detach` ends it");
    Ok(())
}

/// Digits of a certificate's fingerprint that its host is called by.
const HOST_NAME: usize = 16;

/// What happened on the channel, and was not dealt with yet.
const CHANNEL_EVENTS: usize = 256;

/// Batches of newly recorded flows that wait for the daemon. The program's buffer holds the rest.
const FLOW_BATCHES: usize = 4;

/// Hands the flows that the program records to the daemon.
async fn read_new_flows(mut reader: NewFlows, daemon: mpsc::Sender<Vec<(FlowKey, Flow)>>) {
    loop {
        let mut batch = Vec::new();
        if let Err(error) = reader.next_batch(&mut batch).await {
            tracing::error!(%error, "the other host is not told of newly recorded flows");
            return;
        }
        if daemon.send(batch).await.is_err() {
            return;
        }
    }
}

/// Starts the channel to the other host, and says what this one is called on it. Without an address
/// to reach the other from, there is none.
fn start_channel(
    config: &Config,
    channel: &ChannelConfig,
    secret: [u64; 2],
    events: mpsc::Sender<channel::Event>,
) -> anyhow::Result<Option<(String, Channel)>> {
    let Some(ha) = &config.ha else {
        return Ok(None);
    };
    let links = match links(ha, &channel.links, channel.port) {
        Ok(links) => links,
        Err(error) => {
            tracing::warn!("there is no channel to the other host: {error:#}");
            return Ok(None);
        }
    };
    let identity = Identity::load_or_create(&config.state_dir)?;
    let mut host = identity::fingerprint(identity.certificate());
    host.truncate(HOST_NAME);
    let settings = channel::Settings {
        links: links
            .iter()
            .map(|link| channel::Link {
                local: link.local,
                remote: link.remote,
            })
            .collect(),
        identity,
        peer: identity::load_peer(&config.state_dir)?,
        secret: PairSecret(secret),
        state_dir: config.state_dir.clone(),
    };
    Ok(Some((host, Channel::spawn(settings, events)?)))
}

/// How heartbeats are started, if there are to be any. Whoever starts them waits until there is a
/// lease: the program is not to be attached before. Whether this host may keep it is for the daemon
/// to say.
fn heartbeats_of(
    ha: Option<Ha>,
    pins: &Pins,
    routers: Vec<Teller>,
    events: mpsc::UnboundedSender<heartbeat::Event>,
) -> anyhow::Result<StartHeartbeats> {
    /// The thread needs a few system calls for it.
    const LEASE_WAIT: Duration = Duration::from_secs(1);
    let lease = Lease::open(pins)?;
    // Nobody else can have taken over as long as it lasts.
    let mut goes_on = lease.until() > dataplane::boot_ns();
    Ok(Box::new(move |secret| {
        let Some((ha, heartbeats)) = ha
            .as_ref()
            .and_then(|ha| Some((ha, ha.heartbeats.as_ref()?)))
        else {
            return Ok(None);
        };
        let settings = heartbeat_settings(ha, heartbeats, secret)?;
        let routers = routers.clone();
        let heartbeat = Heartbeat::spawn(&settings, lease.clone(), routers, events.clone())?;
        heartbeat.refresh(true);
        let start = Instant::now();
        while lease.until() <= dataplane::boot_ns() && start.elapsed() < LEASE_WAIT {
            std::thread::sleep(Duration::from_millis(1));
        }
        let may_resume = std::mem::replace(&mut goes_on, false);
        Ok(Peer::new(ha, &settings, heartbeat, may_resume))
    }))
}

fn heartbeat_settings(
    ha: &Ha,
    heartbeats: &Heartbeats,
    secret: [u64; 2],
) -> anyhow::Result<Settings> {
    let secret: Vec<u8> = secret.iter().flat_map(|half| half.to_ne_bytes()).collect();
    Ok(Settings {
        links: links(ha, &heartbeats.links, heartbeats.port)?,
        timing: heartbeats.timing,
        key: Key::from_secret(&secret),
        patience: heartbeat::PATIENCE,
    })
}

/// The ways to the other host, by this port on both.
fn links(ha: &Ha, links: &HeartbeatLinks, port: u16) -> anyhow::Result<Vec<Link>> {
    let at = |address: Ipv4Addr| SocketAddr::from((address, port));
    Ok(match links {
        HeartbeatLinks::Own(peer) => {
            let interface = &ha.interface;
            let local = host::address_toward(interface, *peer).with_context(|| {
                format!(
                    "{interface} has no address of its own to reach {peer} from: `ip addr add … dev \
                     {interface}`"
                )
            })?;
            vec![Link {
                local: at(local),
                remote: at(*peer),
                interface: Some(interface.clone()),
            }]
        }
        HeartbeatLinks::Named(links) => links
            .iter()
            .map(|link| Link {
                local: at(link.local),
                remote: at(link.remote),
                interface: None,
            })
            .collect(),
    })
}

/// Loads the program with the parts that are needed, and reads its log, if it has one.
fn loader(pins: &Pins, options: Options) -> Load {
    let pins = pins.clone();
    let mut logger: Option<AbortHandle> = None;
    Box::new(move |features| {
        let options = Options {
            features,
            ..options
        };
        let mut object = dataplane::load(&pins, &options)?;
        if options.log_verdicts {
            let next = spawn_logger(&mut object)?;
            if let Some(before) = logger.replace(next) {
                before.abort();
            }
        }
        Ok(object)
    })
}

fn spawn_logger(object: &mut aya::Ebpf) -> anyhow::Result<AbortHandle> {
    const PERIOD: Duration = Duration::from_millis(100);
    let mut logger = aya_log::EbpfLogger::init(object).context("read the program's log")?;
    let task = tokio::spawn(async move {
        let mut ticks = tokio::time::interval(PERIOD);
        loop {
            ticks.tick().await;
            logger.flush();
        }
    });
    Ok(task.abort_handle())
}

async fn stopped(mut stop: watch::Receiver<bool>) {
    // An error means that the sender is gone, which it only is when everything ends.
    let _ = stop.wait_for(|stop| *stop).await;
}

async fn wait_for_signal() {
    let (Ok(mut terminate), Ok(mut interrupt)) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) else {
        return std::future::pending().await;
    };
    tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
}

async fn reload_on_hangup(file: PathBuf, reloads: mpsc::Sender<Result<Config, String>>) {
    let Ok(mut hangup) = signal(SignalKind::hangup()) else {
        return;
    };
    while hangup.recv().await.is_some() {
        let config = read_config(&file).map_err(|error| format!("{error:#}"));
        if reloads.send(config).await.is_err() {
            return;
        }
    }
}
