//! `webapp`: the servers behind the load balancer, one binary with a subcommand per role.

mod echo;
mod web;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(version, about = "The servers behind the Headgate load balancer")]
struct Cli {
    #[command(subcommand)]
    role: Role,
}

#[derive(Subcommand)]
enum Role {
    /// Serve static files and a few test pages over HTTP/1.1.
    Web(web::Args),
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Cli::parse().role {
        Role::Web(args) => web::run(args).await,
    }
}
