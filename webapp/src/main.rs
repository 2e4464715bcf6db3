//! `webapp`: the servers behind the load balancer, one binary with a subcommand per role.

use clap::{Parser, Subcommand};
use mimalloc::MiMalloc;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use webapp::{app, db, log, web};

/// A request takes dozens of short-lived pieces of memory.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

#[derive(Parser)]
#[command(version, about = "The servers behind the Headgate load balancer")]
struct Cli {
    #[command(subcommand)]
    role: Role,
}

#[derive(Subcommand)]
enum Role {
    /// Serve static files and a few test pages, and pass everything else to the app servers.
    Web(Box<web::Args>),
    /// Serve the application to the web servers.
    App(Box<app::Args>),
    /// Look at the database, and promote one of its servers.
    Db(db::Args),
    /// Make an account an administrator's, who sees the servers.
    Grant(app::GrantArgs),
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    log::init();
    raise_descriptors();
    match cli.role {
        Role::Web(args) => web::run(*args).await,
        Role::App(args) => app::run(*args).await,
        Role::Db(args) => db::run(args).await,
        Role::Grant(args) => app::grant(args).await,
    }
}

/// Each connection takes a descriptor, and the limit that processes begin with is for programs that
/// cannot have many.
fn raise_descriptors() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}
