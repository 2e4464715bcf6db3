//! `lbctl`: tells `lbd` what to do, and shows what it does.

use clap::{Args, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use lb_control::api::client::Client;
use lb_control::cli::{Failure, Goal, Sampling, Session, exit};
use lb_control::config::{BackendRef, Name};
use lb_control::types::{BackendPatch, Check, NewService, ServicePatch};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Longer than lbd takes to give up itself.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Tells lbd, the load balancer, what to do, and shows what it does.
///
/// Exit codes: 0 done, 1 refused, 2 usage, 3 daemon unreachable, 4 not found, 5 revision conflict,
/// 6 wait timed out, 7 degraded.
#[derive(Parser)]
#[command(name = "lbctl", version, arg_required_else_help = true)]
struct Arguments {
    /// The socket of lbd
    #[arg(
        long,
        global = true,
        env = "HEADGATE_SOCKET",
        default_value = "/run/headgate/lbd.sock",
        value_name = "PATH"
    )]
    socket: PathBuf,
    /// Print JSON, as the API has it
    #[arg(short, long, global = true)]
    json: bool,
    /// Change nothing unless the configuration is at this revision
    #[arg(long, global = true, value_name = "N")]
    if_revision: Option<u64>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// How things are
    Status {
        /// Exit with 7 if there are alarms, or a service has no backend up
        #[arg(long)]
        check: bool,
    },
    /// High availability: which of two load balancers has the addresses
    #[command(subcommand, arg_required_else_help = true)]
    Ha(HaCommand),
    /// Pairing: two load balancers that trust each other
    #[command(subcommand, arg_required_else_help = true)]
    Pair(PairCommand),
    /// Services: addresses that clients connect to
    #[command(subcommand, arg_required_else_help = true)]
    Service(ServiceCommand),
    /// Backends: servers of a service
    #[command(subcommand, arg_required_else_help = true)]
    Backend(BackendCommand),
    /// What was changed against the configuration file
    #[command(subcommand, arg_required_else_help = true)]
    Config(ConfigCommand),
    /// Packets, bits and connections per second, on this host
    ///
    /// Each of two hosts counts what it forwards itself; a standby forwards nothing, or a rest.
    Stats {
        /// From one sample to the next
        #[arg(long, default_value = "1s", value_parser = interval, value_name = "DUR")]
        interval: Duration,
        /// How often to show rates; 0 goes on until interrupted
        #[arg(long, default_value_t = 1, value_name = "N")]
        count: u64,
        /// Show totals since the maps were made
        #[arg(long, conflicts_with_all = ["interval", "count"])]
        total: bool,
    },
    /// What happened lately, the latest last
    Events {
        /// Go on with what happens next, until interrupted
        #[arg(short, long)]
        follow: bool,
    },
    /// All figures, in Prometheus's text format
    Metrics,
    /// Print completions for a shell
    Completion {
        /// Which shell
        shell: Shell,
    },
    /// Versions of lbctl and lbd
    Version,
}

#[derive(Subcommand)]
enum HaCommand {
    /// Whether this one leads, since when and why, and what was sent and heard
    Status,
    /// Have the other one of the two lead, without a gap
    ///
    /// Works on either: the leader hands over, and the standby takes over. Without --to, each call
    /// passes leadership on: a script names whom it wants. Whoever handed over stands behind the other
    /// until `ha release`, until its lbd is started again, or until it leads because the other ended.
    Switch {
        /// Who is to lead: self, peer, or a host by its address or its name. Does nothing if it leads
        #[arg(long, value_name = "HOST")]
        to: Option<String>,
    },
    /// End on this host what a switch left: it no longer stands behind the other
    ///
    /// A host that handed over keeps its priority below the other's. This gives it its own priority
    /// back; if that is the higher one, and it preempts, it leads again. Refused on a host that did not
    /// hand over.
    Release,
}

#[derive(Subcommand)]
enum PairCommand {
    /// Invite another host: print a token that is of use once, for ten minutes
    ///
    /// The token is a secret. An earlier one is of no use any more.
    Init,
    /// Join the host that a token is of, and take over its configuration and secret
    Join {
        /// What `lbctl pair init` printed on the other host. With -, it is read from standard input,
        /// and does not show in lists of processes
        token: String,
    },
    /// Whether this host is paired and connected, and what went wrong last
    Status,
    /// Trust the other host no longer
    Forget,
}

#[derive(Subcommand)]
enum ConfigCommand {
    /// List what was changed by lbctl
    Diff,
    /// Go back to the file
    Reset,
}

#[derive(Subcommand)]
enum ServiceCommand {
    /// List all services
    List,
    /// Show one, and its backends
    Show {
        /// Its name
        name: Name,
    },
    /// Add one, without backends
    Add {
        /// Its name
        name: Name,
        /// Its address, as 192.0.2.10:80/tcp or [2001:db8::10]:53/udp
        vip: String,
        /// Keep flows of UDP with their backends when backends come and go
        #[arg(long)]
        tracked: bool,
        /// How long a connection may be silent, as 30s, if not as long as for other services
        #[arg(long, value_name = "TIME")]
        idle_timeout: Option<String>,
        /// Slots of its table: a prime, 251 to 65537
        #[arg(long, value_name = "N")]
        slots: Option<u32>,
        #[command(flatten)]
        check: CheckArguments,
    },
    /// Change how the backends of one are checked
    ///
    /// The whole check is replaced: what is not given is as by default.
    #[command(group(clap::ArgGroup::new("what").required(true).args(["check_type"])))]
    Set {
        /// Its name
        name: Name,
        #[command(flatten)]
        check: CheckArguments,
    },
    /// Remove one, with all its backends: its connections are cut
    Remove {
        /// Its name
        name: Name,
    },
}

#[derive(Args)]
struct CheckArguments {
    /// tcp, http or none
    #[arg(long, value_name = "TYPE")]
    check_type: Option<String>,
    /// Another port than the one that gets connections
    #[arg(long, value_name = "PORT", requires = "check_type")]
    check_port: Option<u16>,
    /// What is asked for, with http
    #[arg(long, value_name = "PATH", requires = "check_type")]
    check_path: Option<String>,
    /// The Host header, with http
    #[arg(long, value_name = "HOST", requires = "check_type")]
    check_host: Option<String>,
    /// The status that is expected, with http
    #[arg(long, value_name = "STATUS", requires = "check_type")]
    check_expect: Option<u16>,
    /// From one probe to the next, as 2s
    #[arg(long, value_name = "DUR", requires = "check_type")]
    check_interval: Option<String>,
    /// How long a probe may take, as 500ms
    #[arg(long, value_name = "DUR", requires = "check_type")]
    check_timeout: Option<String>,
    /// Successes in a row until up
    #[arg(long, value_name = "N", requires = "check_type")]
    rise: Option<u32>,
    /// Failures in a row until down
    #[arg(long, value_name = "N", requires = "check_type")]
    fall: Option<u32>,
}

impl CheckArguments {
    fn check(self) -> Option<Check> {
        Some(Check {
            kind: self.check_type?,
            port: self.check_port,
            path: self.check_path,
            host: self.check_host,
            expect: self.check_expect,
            interval: self.check_interval,
            timeout: self.check_timeout,
            rise: self.rise,
            fall: self.fall,
        })
    }
}

#[derive(Subcommand)]
enum BackendCommand {
    /// List all backends, or those of a service
    List {
        /// The service
        service: Option<Name>,
    },
    /// Show one
    Show {
        /// Which, as www/web1
        backend: BackendRef,
    },
    /// Add one
    Add {
        /// Which, as www/web1
        backend: BackendRef,
        /// Where it listens, as 10.0.2.11:8080
        address: String,
        /// Its share, relative to the others': 1 to 1000
        #[arg(long, value_name = "N")]
        weight: Option<u16>,
        #[command(flatten)]
        wait: WaitArguments,
    },
    /// Change one
    Set {
        /// Which, as www/web1
        backend: BackendRef,
        /// Its share, relative to the others': 1 to 1000
        #[arg(long, value_name = "N", required = true)]
        weight: Option<u16>,
    },
    /// Let one finish its connections, and give it no new ones
    Drain {
        /// Which, as www/web1
        backend: BackendRef,
        #[command(flatten)]
        wait: WaitArguments,
    },
    /// Give one connections again
    #[command(visible_alias = "ready", alias = "undrain")]
    Enable {
        /// Which, as www/web1
        backend: BackendRef,
        #[command(flatten)]
        wait: WaitArguments,
    },
    /// Remove one, once its connections have ended
    Remove {
        /// Which, as www/web1
        backend: BackendRef,
        /// Now, and cut its connections
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        wait: WaitArguments,
    },
}

#[derive(Args)]
struct WaitArguments {
    /// Wait until it is so, for 60s unless told; exit with 6 if it takes longer
    #[arg(
        long,
        value_name = "DUR",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "60s",
        value_parser = humantime::parse_duration
    )]
    wait: Option<Duration>,
}

fn interval(text: &str) -> Result<Duration, String> {
    let interval = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if (Duration::from_millis(100)..=Duration::from_secs(86_400)).contains(&interval) {
        Ok(interval)
    } else {
        Err("out of range: 100ms to 1day".to_owned())
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    exit(run(Arguments::parse()).await)
}

async fn run(arguments: Arguments) -> Result<(), Failure> {
    let client = Client::new(&arguments.socket, TIMEOUT);
    let session = Session::new(client, arguments.json, arguments.if_revision);
    match arguments.command {
        Command::Status { check } => session.status(check).await,
        Command::Ha(HaCommand::Status) => session.ha_status().await,
        Command::Ha(HaCommand::Switch { to }) => session.ha_switch(to).await,
        Command::Ha(HaCommand::Release) => session.ha_release().await,
        Command::Pair(PairCommand::Init) => session.invite().await,
        Command::Pair(PairCommand::Join { token }) => session.join(token).await,
        Command::Pair(PairCommand::Status) => session.pair_status().await,
        Command::Pair(PairCommand::Forget) => session.forget().await,
        Command::Service(command) => run_service(&session, command).await,
        Command::Backend(command) => run_backend(&session, command).await,
        Command::Config(ConfigCommand::Diff) => session.diff().await,
        Command::Config(ConfigCommand::Reset) => session.reset().await,
        Command::Stats { total: true, .. } => session.total_stats().await,
        Command::Stats {
            interval, count, ..
        } => session.rates(Sampling { interval, count }).await,
        Command::Events { follow } => session.events(follow).await,
        Command::Metrics => session.metrics().await,
        Command::Completion { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "lbctl", &mut script);
            Ok(std::io::stdout().write_all(&script)?)
        }
        Command::Version => session.version().await,
    }
}

async fn run_service(session: &Session, command: ServiceCommand) -> Result<(), Failure> {
    match command {
        ServiceCommand::List => session.list_services().await,
        ServiceCommand::Show { name } => session.show_service(&name).await,
        ServiceCommand::Add {
            name,
            vip,
            tracked,
            idle_timeout,
            slots,
            check,
        } => {
            let new = NewService {
                name: name.to_string(),
                vip,
                tracked: tracked.then_some(true),
                idle_timeout,
                slots,
                check: check.check(),
            };
            session.add_service(&new).await
        }
        ServiceCommand::Set { name, check } => {
            let patch = ServicePatch {
                check: check.check(),
            };
            session.set_service(&name, &patch).await
        }
        ServiceCommand::Remove { name } => session.remove_service(&name).await,
    }
}

async fn run_backend(session: &Session, command: BackendCommand) -> Result<(), Failure> {
    let admin = |state: &str| BackendPatch {
        weight: None,
        admin: Some(state.to_owned()),
    };
    match command {
        BackendCommand::List { service } => session.list_backends(service.as_ref()).await,
        BackendCommand::Show { backend } => session.show_backend(&backend).await,
        BackendCommand::Add {
            backend,
            address,
            weight,
            wait,
        } => {
            session
                .add_backend(&backend, address, weight, wait.wait)
                .await
        }
        BackendCommand::Set { backend, weight } => {
            let patch = BackendPatch {
                weight,
                admin: None,
            };
            session
                .set_backend(&backend, &patch, Goal::Nothing, None)
                .await
        }
        BackendCommand::Drain { backend, wait } => {
            session
                .set_backend(&backend, &admin("drain"), Goal::Drained, wait.wait)
                .await
        }
        BackendCommand::Enable { backend, wait } => {
            session
                .set_backend(&backend, &admin("ready"), Goal::Serving, wait.wait)
                .await
        }
        BackendCommand::Remove {
            backend,
            force,
            wait,
        } => session.remove_backend(&backend, force, wait.wait).await,
    }
}

#[cfg(test)]
mod tests {
    use super::Arguments;
    use clap::CommandFactory;

    #[test]
    fn arguments_do_not_contradict_each_other() {
        Arguments::command().debug_assert();
    }
}
