//! Making a replica the primary, after the primary died or on purpose.
//!
//! The plan is made from what the servers say of themselves, without a connection at hand, so all
//! that it refuses can be tested. It is made twice: first to be shown, and again once nobody
//! receives anything any more. From then on an old primary that waits for a replica before it
//! acknowledges can acknowledge nothing, should it live after all.

mod perform;

pub(super) use perform::promote;

use super::dialect::Report;
use super::state::Failure;

/// A server and what it said.
#[derive(Debug, Clone)]
struct Surveyed {
    name: String,
    host: String,
    port: u16,
    said: Result<Report, Failure>,
}

/// What will be done.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Plan {
    target: usize,
    steps: Vec<Step>,
    warnings: Vec<String>,
}

/// A step, with the server that it is done on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// It receives nothing more from the old primary.
    StopReceiving(usize),
    /// It applies all that it has received.
    Apply(usize),
    /// It is no replica any more.
    Forget(usize),
    /// It will wait for a replica before it acknowledges.
    EnableSemiSync(usize),
    /// It may be written to.
    Open(usize),
    /// It replicates from the new primary.
    Follow(usize),
}

/// Why there will be no promotion.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
struct Refusal(String);

fn refuse<T>(why: String) -> Result<T, Refusal> {
    Err(Refusal(why))
}

impl Surveyed {
    fn report(&self) -> Option<&Report> {
        self.said.as_ref().ok()
    }

    fn is_replica(&self) -> bool {
        self.report()
            .is_some_and(|it| !it.writable && !it.channels.is_empty())
    }

    fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    fn follows(&self, other: &Self) -> bool {
        let address = other.address();
        self.report()
            .is_some_and(|it| it.channels.iter().all(|channel| channel.source == address))
    }
}

/// Plans to make a server the primary. Servers in `without` are given up: what they have, and
/// nobody else, is lost.
fn plan(servers: &[Surveyed], target: &str, without: &[String]) -> Result<Plan, Refusal> {
    let is_known = |name: &str| servers.iter().any(|server| server.name == name);
    if let Some(stranger) = without.iter().find(|name| !is_known(name)) {
        return refuse(format!("there is no server {stranger}"));
    }
    let named = servers
        .iter()
        .enumerate()
        .find(|(_, server)| server.name == target);
    let Some((at, new)) = named else {
        return refuse(format!("there is no server {target}"));
    };
    let report = match &new.said {
        Ok(report) => report,
        Err(failure) => return refuse(format!("{target} {failure}")),
    };
    for other in servers.iter().filter(|it| it.name != target) {
        if other.report().is_some_and(|it| it.writable) {
            return refuse(format!(
                "{} answers as a primary that can be written to: stop it, or make it read-only",
                other.name
            ));
        }
    }
    let followers = servers
        .iter()
        .enumerate()
        .filter(|(other, it)| *other != at && it.is_replica());
    if report.writable {
        // A promotion that was interrupted is completed.
        let mut steps = Vec::new();
        if !report.channels.is_empty() {
            steps.extend([Step::StopReceiving(at), Step::Apply(at), Step::Forget(at)]);
        }
        let strays = followers.filter(|(_, it)| !it.follows(new));
        steps.extend(strays.map(|(other, _)| Step::Follow(other)));
        return Ok(Plan {
            target: at,
            steps,
            warnings: Vec::new(),
        });
    }
    check(new, report)?;
    for other in servers.iter().filter(|it| it.name != target) {
        compare(new, report, other, without)?;
    }

    let mut steps = Vec::new();
    let followers: Vec<usize> = followers.map(|(other, _)| other).collect();
    steps.extend(followers.iter().copied().map(Step::StopReceiving));
    if !report.channels.is_empty() {
        steps.extend([Step::StopReceiving(at), Step::Apply(at)]);
    }
    if report.semi_sync_replica && !report.semi_sync_primary && report.enable_semi_sync.is_some() {
        steps.push(Step::EnableSemiSync(at));
    }
    // Opened while it still knows whose replica it was: if this is interrupted, what it says tells
    // that it may go on.
    steps.push(Step::Open(at));
    if !report.channels.is_empty() {
        steps.push(Step::Forget(at));
    }
    steps.extend(followers.into_iter().map(Step::Follow));
    Ok(Plan {
        target: at,
        steps,
        warnings: warnings(servers, new, report),
    })
}

/// Whether a server can be the primary at all.
fn check(new: &Surveyed, report: &Report) -> Result<(), Refusal> {
    let name = &new.name;
    if !report.feeds {
        return refuse(format!(
            "{name} keeps no log for others to replicate from: it needs log_bin and \
             log_slave_updates"
        ));
    }
    match report.channels.iter().find(|channel| !channel.applying) {
        Some(channel) => refuse(format!(
            "{name} has stopped applying what it received{}: start that again first",
            channel
                .error
                .as_ref()
                .map_or_else(String::new, |error| format!(" ({error})"))
        )),
        None => Ok(()),
    }
}

/// Whether a server has nothing that would be lost.
fn compare(
    new: &Surveyed,
    report: &Report,
    other: &Surveyed,
    without: &[String],
) -> Result<(), Refusal> {
    let (name, given_up) = (&other.name, without.contains(&other.name));
    match &other.said {
        _ if given_up => Ok(()),
        Ok(theirs) if report.has.includes(&theirs.has) => Ok(()),
        Ok(theirs) => refuse(format!(
            "{name} has what {} lacks ({}): promote {name}, or wait until {} has it too{}",
            new.name,
            report.has.missing(&theirs.has),
            new.name,
            if other.is_replica() {
                ""
            } else {
                ", or give that up with --without"
            }
        )),
        // The one that died: with semi-synchronous replication, what it acknowledged is elsewhere.
        Err(_) if new.follows(other) && !report.channels.is_empty() => Ok(()),
        Err(failure) => refuse(format!(
            "{name} {failure}, so nobody knows whether it has what {} lacks: start it, or give \
             that up with --without {name}",
            new.name
        )),
    }
}

fn warnings(servers: &[Surveyed], new: &Surveyed, report: &Report) -> Vec<String> {
    let mut warnings = Vec::new();
    if !report.semi_sync_replica {
        warnings.push(format!(
            "{} did not replicate semi-synchronously: what the old primary acknowledged last may \
             be lost",
            new.name
        ));
    }
    let acknowledges = report.semi_sync_primary || report.semi_sync_replica;
    let others = || servers.iter().filter(|it| it.name != new.name);
    if acknowledges && !others().any(Surveyed::is_replica) {
        warnings.push(format!(
            "no replica will follow {}: it acknowledges no write, and the site stays read-only, until \
             one does or its semi-synchronous replication is turned off",
            new.name
        ));
    }
    for other in others() {
        let name = &other.name;
        match &other.said {
            Ok(_) if other.is_replica() => {}
            Ok(_) => warnings.push(format!(
                "{name} replicates from nobody, and is left alone: make it follow {} by hand, or \
                 rebuild it",
                new.name
            )),
            Err(failure) => warnings.push(format!(
                "{name} {failure}: should it return, it must be read-only, and may have to be rebuilt"
            )),
        }
    }
    warnings
}

impl Plan {
    /// The plan for people.
    fn show(&self, servers: &[Surveyed]) -> String {
        let name = |at: usize| {
            servers
                .get(at)
                .map(|server| &*server.name)
                .unwrap_or_default()
        };
        let target = name(self.target);
        let mut lines = String::new();
        for (n, step) in self.steps.iter().enumerate() {
            let what = match *step {
                Step::StopReceiving(at) => {
                    format!("{}: stop receiving from the old primary", name(at))
                }
                Step::Apply(at) => format!("{}: apply all that it has received", name(at)),
                Step::Forget(at) => format!("{}: stop being a replica", name(at)),
                Step::EnableSemiSync(at) => {
                    format!("{}: wait for a replica before acknowledging", name(at))
                }
                Step::Open(at) => format!("{}: allow writes", name(at)),
                Step::Follow(at) => format!("{}: replicate from {target}", name(at)),
            };
            lines += &format!("{:>2}. {what}\n", n + 1);
        }
        for warning in &self.warnings {
            lines += &format!("warning: {warning}\n");
        }
        if self.steps.is_empty() {
            lines += &format!("{target} is the primary already, and all replicas follow it\n");
        }
        lines
    }
}

#[cfg(test)]
mod tests;
