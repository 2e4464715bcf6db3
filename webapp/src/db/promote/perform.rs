//! Carrying a promotion out.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use futures_util::future::join_all;
use sqlx::Executor as _;
use tokio::time::timeout;

use super::{Plan, Step, Surveyed, plan};
use crate::db::Config;
use crate::db::monitor::Session;
use crate::db::position::Position;
use crate::db::session::Login;
use crate::db::state::Failure;

/// How long a server may take to answer.
const ANSWER: Duration = Duration::from_secs(3);

/// A server, with a connection of the account that promotes if it answers.
struct Host {
    surveyed: Surveyed,
    session: Option<Session>,
}

/// Makes a server the primary, and says what it does.
pub(in crate::db) async fn promote(
    config: &Config,
    target: &str,
    without: &[String],
    dry_run: bool,
    apply: Duration,
) -> Result<()> {
    let mut hosts = meet(config).await?;
    let surveyed = surveyed(&hosts);
    let first = plan(&surveyed, target, without)?;
    print!("{}", first.show(&surveyed));
    if dry_run {
        println!("dry run, nothing was changed");
        return Ok(());
    }
    if first.steps.is_empty() {
        return Ok(());
    }
    lock(&mut hosts).await?;
    let promotion = Promotion {
        hosts: &mut hosts,
        target,
        without,
        apply,
    };
    promotion.run(first).await
}

/// Connects to all servers, and asks what they are.
async fn meet(config: &Config) -> Result<Vec<Host>> {
    let hosts = config.servers.iter().map(async |server| {
        let login = Login::admin(config, server)?;
        let open = timeout(ANSWER, Session::open(&login)).await;
        let (session, said) = match open.unwrap_or(Err(Failure::TimedOut)) {
            Ok(session) => (Some(session), Err(Failure::TimedOut)),
            Err(failure) => (None, Err(failure)),
        };
        let (name, host, port) = (server.name.clone(), server.host.clone(), server.port);
        let mut host = Host {
            surveyed: Surveyed {
                name,
                host,
                port,
                said,
            },
            session,
        };
        host.look().await;
        Ok(host)
    });
    join_all(hosts).await.into_iter().collect()
}

fn surveyed(hosts: &[Host]) -> Vec<Surveyed> {
    hosts.iter().map(|host| host.surveyed.clone()).collect()
}

/// Keeps others from promoting at the same time: their servers are some of these.
async fn lock(hosts: &mut [Host]) -> Result<()> {
    for host in hosts {
        let Some(session) = &mut host.session else {
            continue;
        };
        let locked: Option<i64> = sqlx::query_scalar("SELECT GET_LOCK('headgate.promote', 0)")
            .fetch_one(&mut session.connection)
            .await
            .with_context(|| format!("failed to lock {}", host.surveyed.name))?;
        ensure!(
            locked == Some(1),
            "another promotion is under way on {}: see how it ends",
            host.surveyed.name
        );
    }
    Ok(())
}

impl Host {
    async fn look(&mut self) {
        if let Some(session) = &mut self.session {
            let report = timeout(ANSWER, session.look()).await;
            self.surveyed.said = report.unwrap_or(Err(Failure::TimedOut));
        }
    }

    async fn tell(&mut self, statements: &[impl AsRef<str>]) -> Result<()> {
        let name = &self.surveyed.name;
        let session = self
            .session
            .as_mut()
            .with_context(|| format!("{name} is away"))?;
        for statement in statements {
            let statement = statement.as_ref();
            println!("{name}: {statement}");
            session
                .connection
                .execute(statement)
                .await
                .with_context(|| format!("{name} refused `{statement}`"))?;
        }
        Ok(())
    }
}

/// A promotion that is under way.
struct Promotion<'a> {
    hosts: &'a mut Vec<Host>,
    target: &'a str,
    without: &'a [String],
    apply: Duration,
}

impl Promotion<'_> {
    async fn run(mut self, first: Plan) -> Result<()> {
        let stop: Vec<usize> = first
            .steps
            .iter()
            .filter_map(|step| match step {
                Step::StopReceiving(at) => Some(*at),
                _ => None,
            })
            .collect();
        let ready = self.make_ready(&stop).await;
        let plan = match ready {
            Ok(plan) => plan,
            Err(error) => {
                self.resume(&stop).await;
                return Err(error.context("nothing was changed"));
            }
        };
        self.take_over(&plan).await.with_context(|| {
            format!(
                "the promotion is incomplete: `promote {}` goes on with it",
                self.target
            )
        })
    }

    /// From when this is done, nobody has received anything that the new primary has not applied.
    async fn make_ready(&mut self, stop: &[usize]) -> Result<Plan> {
        for at in stop {
            let host = self.hosts.get_mut(*at).context("no such server")?;
            let statement = host.session.as_ref().map(|it| it.dialect.stop_receiving());
            host.tell(statement.as_slice()).await?;
        }
        for host in &mut *self.hosts {
            host.look().await;
        }
        let plan = plan(&surveyed(self.hosts), self.target, self.without)?;
        if plan.steps.contains(&Step::Apply(plan.target)) {
            self.apply(plan.target).await?;
        }
        Ok(plan)
    }

    async fn apply(&mut self, at: usize) -> Result<()> {
        let host = self.hosts.get_mut(at).context("no such server")?;
        let name = host.surveyed.name.clone();
        let received = match &host.surveyed.said {
            Ok(report) => report
                .channels
                .iter()
                .fold(Position::default(), |all, channel| {
                    all.and(&channel.received)
                }),
            Err(failure) => bail!("{name} {failure}"),
        };
        if received.is_empty() {
            return Ok(());
        }
        let session = host
            .session
            .as_mut()
            .with_context(|| format!("{name} is away"))?;
        println!("{name}: waiting until {received} is applied");
        let applied: Option<i64> = sqlx::query_scalar(session.dialect.wait())
            .bind(received.to_string())
            .bind(self.apply.as_secs_f64())
            .fetch_one(&mut session.connection)
            .await
            .with_context(|| format!("failed to wait for {name}"))?;
        ensure!(
            applied == Some(0),
            "{name} did not apply {received} within {} s: it may need --apply-seconds",
            self.apply.as_secs()
        );
        Ok(())
    }

    /// Has those receive again that were told not to.
    async fn resume(&mut self, stopped: &[usize]) {
        for at in stopped {
            if let Some(host) = self.hosts.get_mut(*at) {
                let statement = host.session.as_ref().map(|it| it.dialect.start_receiving());
                if let Err(error) = host.tell(statement.as_slice()).await {
                    eprintln!("{error:#}: start that by hand");
                }
            }
        }
    }

    async fn take_over(&mut self, plan: &Plan) -> Result<()> {
        let new = self.hosts.get(plan.target).context("no such server")?;
        let (name, host, port) = (
            new.surveyed.name.clone(),
            new.surveyed.host.clone(),
            new.surveyed.port,
        );
        let enable = new
            .surveyed
            .said
            .as_ref()
            .ok()
            .and_then(|report| report.enable_semi_sync);
        let mut failed = Vec::new();
        for step in &plan.steps {
            let (Step::StopReceiving(at)
            | Step::Apply(at)
            | Step::Forget(at)
            | Step::EnableSemiSync(at)
            | Step::Open(at)
            | Step::Follow(at)) = *step;
            let on = self.hosts.get_mut(at).context("no such server")?;
            let dialect = on.session.as_ref().map(|session| session.dialect);
            let dialect = dialect.with_context(|| format!("{} is away", on.surveyed.name))?;
            match step {
                // Done before.
                Step::StopReceiving(_) | Step::Apply(_) => {}
                Step::Forget(_) => on.tell(dialect.forget_primary()).await?,
                Step::EnableSemiSync(_) => on.tell(enable.as_slice()).await?,
                Step::Open(_) => on.tell(dialect.open()).await?,
                // One that cannot follow does not keep the others from it.
                Step::Follow(_) => {
                    if let Err(error) = on.tell(&dialect.follow(&host, port)).await {
                        failed.push(format!("{error:#}"));
                    }
                }
            }
        }
        ensure!(
            failed.is_empty(),
            "{name} is the primary, but {}",
            failed.join("; ")
        );
        println!("{name} is the primary");
        Ok(())
    }
}
