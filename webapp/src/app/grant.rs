//! Making an account an administrator's.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

use super::input::{Invalid, Name};
use super::store::account;
use crate::db::{Cluster, Config};

/// The arguments of `webapp grant`.
#[derive(clap::Args)]
pub struct Args {
    /// The configuration: a file with the cluster, alone or as its table `db`.
    #[arg(long, alias = "config", value_name = "FILE", default_value = crate::db::DEFAULT_FILE)]
    database: PathBuf,

    /// Take the right away instead.
    #[arg(long)]
    revoke: bool,

    /// The account's name.
    #[arg(value_parser = name)]
    name: Name,
}

fn name(text: &str) -> Result<Name, String> {
    Name::parse(text).map_err(|Invalid(why)| why.to_owned())
}

/// Lets an account see the servers, or no longer.
///
/// # Errors
///
/// If the database cannot be written to, or there is no such account.
pub async fn run(args: Args) -> Result<()> {
    let cluster = Cluster::start(Config::load(&args.database)?)?;
    let mut write = cluster.write().await?;
    let name = args.name.as_str();
    if !account::set_admin(&mut write, &args.name, !args.revoke).await? {
        bail!("there is no account {name}: it is added by signing up on the site");
    }
    write.commit().await.context("failed to keep the change")?;
    println!(
        "{name} is {} administrator",
        if args.revoke { "no longer an" } else { "an" }
    );
    Ok(())
}
