//! What has to be there before anything can be answered: the tables that this program works with,
//! and the secret that the app servers share. The database may be away when the program starts.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use tokio::time::sleep;

use super::refusal::Refusal;
use super::secret::Secret;
use super::site::Site;
use super::store::schema::{self, MIGRATIONS, Schema};
use crate::db;

/// How often it is looked whether the tables are there.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Whether anything can be answered.
#[derive(Debug)]
pub(crate) enum Prepared {
    /// Not yet, or never.
    No(String),
    /// With the secret that the app servers share.
    Yes(Secret),
}

impl Default for Prepared {
    fn default() -> Self {
        Self::No("waiting for the database".to_owned())
    }
}

impl Prepared {
    /// What is missing.
    pub(crate) fn missing(&self) -> Option<&str> {
        match self {
            Prepared::No(why) => Some(why),
            Prepared::Yes(_) => None,
        }
    }

    pub(crate) fn check(&self) -> Result<(), Refusal> {
        match self.missing() {
            Some(why) => Err(Refusal::Unreadable(why.to_owned())),
            None => Ok(()),
        }
    }

    pub(crate) fn secret(&self) -> Option<&Secret> {
        match self {
            Prepared::No(_) => None,
            Prepared::Yes(secret) => Some(secret),
        }
    }
}

/// Prepares the database, or waits until it is prepared: one whose primary is away may have all
/// that it takes to be read.
pub(crate) async fn prepare(site: Arc<Site>) {
    let mut migration = Some(tokio::spawn({
        let cluster = site.cluster().clone();
        async move { db::migrate(&cluster, &MIGRATIONS).await }
    }));
    let mut failed = None;
    loop {
        if let Some(ended) = migration.take_if(|migration| migration.is_finished())
            && let Ok(Err(error)) = ended.await
        {
            tracing::error!(%error, "the schema was not changed");
            failed = Some(error.to_string());
        }
        // Once it has ended no read sees an older schema, so it is waited for where it can end.
        let missing = if migration.is_some() && !site.is_paused() {
            Missing::Something("the schema is being brought up to date".to_owned())
        } else {
            let missing = missing(&site).await;
            missing.unwrap_or_else(|error| Missing::Something(format!("{error:#}")))
        };
        match missing {
            Missing::Nothing(secret) => {
                site.prepare(Prepared::Yes(secret));
                tracing::info!("the database is ready");
                break;
            }
            Missing::Something(what) => wait_for(&site, failed.clone().unwrap_or(what)),
        }
        sleep(LOOK_EVERY).await;
    }
    // It goes on when there is a primary again.
    if let Some(migration) = migration {
        let _ = migration.await;
    }
}

fn wait_for(site: &Site, what: String) {
    if site.prepared().missing() != Some(&what) {
        tracing::warn!(what, "not ready");
        site.prepare(Prepared::No(what));
    }
}

enum Missing {
    Nothing(Secret),
    Something(String),
}

async fn missing(site: &Site) -> Result<Missing> {
    let mut read = site.cluster().read().await?;
    let something = match schema::compare(&mut read).await? {
        Schema::Current => match schema::secret(&mut read).await? {
            Some(secret) => return Ok(Missing::Nothing(secret)),
            None => {
                drop(read);
                make_secret(site).await?;
                "the shared secret is not here yet".to_owned()
            }
        },
        Schema::Behind => "the schema is not here yet".to_owned(),
        Schema::Ahead(version) => format!(
            "the schema is from the future: this program does not know its change {version}"
        ),
    };
    Ok(Missing::Something(something))
}

async fn make_secret(site: &Site) -> Result<()> {
    let secret = Secret::random().map_err(|error| anyhow::anyhow!("no random bytes: {error}"))?;
    let mut write = site.cluster().write().await?;
    schema::make_secret(&mut write, &secret).await?;
    write.commit().await?;
    Ok(())
}
