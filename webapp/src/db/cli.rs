//! `webapp db`: what the servers are, and promotion.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::{Parser, Subcommand};
use serde_json::json;

use super::promote::promote;
use super::{Cluster, Config, Role, ServerState};

/// Options of the role.
#[derive(Debug, Parser)]
pub struct Args {
    /// The configuration: a file with the cluster, alone or as its table `db`
    #[arg(
        long,
        alias = "database",
        value_name = "FILE",
        global = true,
        default_value = super::DEFAULT_FILE
    )]
    config: PathBuf,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show what each server is, and whether reads go to it
    Status {
        /// Print JSON
        #[arg(short, long)]
        json: bool,
    },
    /// Make a replica the primary
    ///
    /// It is refused if that loses transactions that another replica has, or while another server
    /// can be written to. A promotion that was interrupted is completed by the same command.
    Promote {
        /// The server's name in the configuration
        #[arg(value_name = "HOST")]
        target: String,

        /// Say what would be done, and do nothing
        #[arg(long)]
        dry_run: bool,

        /// Give up what this server has and no other one; may be given several times
        #[arg(long, value_name = "HOST")]
        without: Vec<String>,

        /// How many seconds applying what was received may take
        #[arg(long, value_name = "SECONDS", default_value_t = 60)]
        apply_seconds: u64,
    },
}

/// Runs the role.
pub async fn run(args: Args) -> Result<()> {
    let config = Config::load(&args.config)?;
    match args.command {
        Command::Status { json } => status(config, json).await,
        Command::Promote {
            target,
            dry_run,
            without,
            apply_seconds,
        } => {
            let limit = Duration::from_secs(apply_seconds);
            promote(&config, &target, &without, dry_run, limit).await
        }
    }
}

async fn status(config: Config, json: bool) -> Result<()> {
    let cluster = Cluster::start(config)?;
    cluster.until_looked_at().await;
    let servers = cluster.state();
    if json {
        let writes = cluster.writable().map_err(|error| error.to_string());
        println!("{}", as_json(&servers, writes.err().as_deref()));
        return Ok(());
    }
    print!("{}", as_table(&servers));
    if let Err(error) = cluster.writable() {
        println!("\n{error}");
    }
    Ok(())
}

fn as_json(servers: &[ServerState], no_writes: Option<&str>) -> serde_json::Value {
    let servers: Vec<_> = servers
        .iter()
        .map(|server| {
            json!({
                "name": server.name,
                "role": role(server.role),
                "in_rotation": server.in_rotation,
                "lag_seconds": server.lag.map(|lag| lag.as_secs_f64()),
                "position": server.position,
                "version": server.version,
                "why": server.why,
            })
        })
        .collect();
    json!({ "servers": servers, "writable": no_writes.is_none(), "why": no_writes })
}

fn as_table(servers: &[ServerState]) -> String {
    let mut rows = vec![["NAME", "ROLE", "READS", "LAG", "POSITION", "NOTE"].map(str::to_owned)];
    rows.extend(servers.iter().map(|server| {
        [
            server.name.clone(),
            role(server.role).to_owned(),
            if server.in_rotation { "yes" } else { "no" }.to_owned(),
            server.lag.map_or_else(
                || "-".to_owned(),
                |lag| format!("{:.1}s", lag.as_secs_f64()),
            ),
            server.position.clone(),
            server.why.clone(),
        ]
    }));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..6).map(|column| width(column).unwrap_or(0)).collect();
    let mut table = String::new();
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(line, "{cell:<width$}  ");
        }
        let _ = writeln!(table, "{}", line.trim_end());
    }
    table
}

const fn role(role: Role) -> &'static str {
    match role {
        Role::Away => "away",
        Role::Primary => "primary",
        Role::Replica => "replica",
        Role::Standalone => "standalone",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(name: &str, role: Role) -> ServerState {
        ServerState {
            name: name.to_owned(),
            role,
            in_rotation: role == Role::Replica,
            why: "is as it is".to_owned(),
            lag: (role == Role::Replica).then_some(Duration::from_millis(1_500)),
            position: "0-1-5".to_owned(),
            version: "10.11".to_owned(),
            in_use: 0,
            idle: 0,
        }
    }

    #[test]
    fn people_get_a_table() {
        let servers = [server("db1", Role::Primary), server("db2", Role::Replica)];
        assert_eq!(
            as_table(&servers),
            "NAME  ROLE     READS  LAG   POSITION  NOTE\n\
             db1   primary  no     -     0-1-5     is as it is\n\
             db2   replica  yes    1.5s  0-1-5     is as it is\n"
        );
    }

    #[test]
    fn programs_get_the_same() {
        let value = as_json(&[server("db2", Role::Replica)], Some("no primary"));
        assert_eq!(value["servers"][0]["role"], "replica");
        assert_eq!(value["servers"][0]["lag_seconds"], 1.5);
        assert_eq!(value["writable"], false);
        assert_eq!(value["why"], "no primary");
    }
}
