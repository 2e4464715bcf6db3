//! `lbctl`, the command line.

use clap::{Parser, Subcommand};
use hyper::Method;
use lb_control::api::client::{Client, Error};
use lb_control::api::types::{BackendPatch, Changed, NewBackend, Status};
use serde::Serialize;
use std::path::PathBuf;
use std::process::ExitCode;

/// Talks to lbd.
#[derive(Parser)]
#[command(name = "lbctl", version)]
struct Args {
    /// Where lbd listens
    #[arg(
        long,
        env = "HEADGATE_SOCKET",
        default_value = "/run/headgate/lbd.sock",
        global = true
    )]
    socket: PathBuf,
    /// Print JSON
    #[arg(short = 'j', long, global = true)]
    json: bool,
    /// Refuse unless the configuration is at this revision
    #[arg(long, global = true)]
    if_revision: Option<u64>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// How everything is
    Status,
    /// Counters
    Stats,
    /// Backends of services
    #[command(subcommand)]
    Backend(BackendCommand),
}

#[derive(Subcommand)]
enum BackendCommand {
    /// Add one
    Add {
        /// As www/web4
        backend: String,
        /// As 10.0.2.14:8080
        address: String,
        /// Its share
        #[arg(long)]
        weight: Option<u16>,
    },
    /// No new connections; the old ones finish
    Drain {
        /// As www/web1
        backend: String,
    },
    /// New connections again
    Enable {
        /// As www/web1
        backend: String,
    },
    /// Away with it, once its connections are finished
    Remove {
        /// As www/web1
        backend: String,
        /// Cut its connections
        #[arg(long)]
        force: bool,
    },
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lbctl: {error}");
            ExitCode::from(match error {
                Error::Unreachable { .. } => 3,
                Error::Refused(problem) => match problem.status {
                    404 => 4,
                    412 => 5,
                    _ => 1,
                },
            })
        }
    }
}

const NOTHING: Option<&()> = None;

async fn run(args: &Args) -> Result<(), Error> {
    let client = Client::new(&args.socket);
    match &args.command {
        Command::Status => {
            let status: Status = client.ask(Method::GET, "/v1/status", NOTHING, None).await?;
            if args.json {
                print_json(&status)
            } else {
                print_status(&status)
            }
        }
        Command::Stats => {
            let stats: serde_json::Value =
                client.ask(Method::GET, "/v1/stats", NOTHING, None).await?;
            print_json(&stats);
        }
        Command::Backend(command) => {
            let changed = change_backend(&client, command, args.if_revision).await?;
            if args.json {
                print_json(&changed)
            } else {
                println!("revision {}", changed.revision)
            }
        }
    }
    Ok(())
}

async fn change_backend(
    client: &Client,
    command: &BackendCommand,
    if_revision: Option<u64>,
) -> Result<Changed, Error> {
    let path = |backend: &str| {
        let (service, backend) = backend.split_once('/').unwrap_or((backend, ""));
        format!("/v1/services/{service}/backends/{backend}")
    };
    let admin = |state: &str| BackendPatch {
        admin: Some(state.to_owned()),
        weight: None,
    };
    match command {
        BackendCommand::Add {
            backend,
            address,
            weight,
        } => {
            let (service, name) = backend.split_once('/').unwrap_or((backend, ""));
            let new = NewBackend {
                name: name.to_owned(),
                address: address.clone(),
                weight: *weight,
            };
            let path = format!("/v1/services/{service}/backends");
            client
                .ask(Method::POST, &path, Some(&new), if_revision)
                .await
        }
        BackendCommand::Drain { backend } => {
            client
                .ask(
                    Method::PATCH,
                    &path(backend),
                    Some(&admin("drain")),
                    if_revision,
                )
                .await
        }
        BackendCommand::Enable { backend } => {
            client
                .ask(
                    Method::PATCH,
                    &path(backend),
                    Some(&admin("ready")),
                    if_revision,
                )
                .await
        }
        BackendCommand::Remove { backend, force } => {
            let path = format!("{}?force={force}", path(backend));
            client
                .ask(Method::DELETE, &path, NOTHING, if_revision)
                .await
        }
    }
}

fn print_json(value: &impl Serialize) {
    if let Ok(text) = serde_json::to_string_pretty(value) {
        println!("{text}");
    }
}

fn print_status(status: &Status) {
    println!(
        "lbd {}, revision {}, up {} s",
        status.version, status.revision, status.uptime_s
    );
    for alarm in &status.alarms {
        println!("ALARM {alarm}");
    }
    for service in &status.services {
        println!("{} {}", service.name, service.vip);
        for b in &service.backends {
            println!(
                "  {} {} {} {} {} slots: {}",
                b.name, b.address, b.admin, b.operational, b.slots, b.reason
            );
        }
    }
}
