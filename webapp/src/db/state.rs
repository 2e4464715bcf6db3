//! Which server is what, from what each says of itself. It is told what was seen and when; it
//! knows no socket and no clock.
//!
//! A server is the primary because it answers and is not read-only. If two do, there is none to
//! write to. A replica is in the rotation while it answers, its replication runs, and it is not
//! too far behind: by its own word, and by the positions that the primary was seen to have, which
//! also notice a primary that a replica waits for in vain. One that left the rotation returns
//! after several good looks in a row.
//!
//! While no primary is known, a replica that tries to reach one stays in the rotation: it has what
//! there is.

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

use super::dialect::{Dialect, Receiving, Report};
use super::position::Position;
use super::{Error, Limits, Result};

/// What a server is at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// It does not answer.
    Away,
    /// It is not read-only. More than one server may say so of itself.
    Primary,
    /// It is read-only and replicates from another one.
    Replica,
    /// It is read-only and replicates from nobody.
    Standalone,
}

/// What is known of a server.
#[derive(Debug, Clone)]
pub struct ServerState {
    /// Its name in the configuration.
    pub name: String,
    /// What it is.
    pub role: Role,
    /// Whether reads go to it as to a replica.
    pub in_rotation: bool,
    /// Why it is not in the rotation, or what else there is to say of it.
    pub why: String,
    /// How far it is behind the primary.
    pub lag: Option<Duration>,
    /// Its position in the history of writes.
    pub position: String,
    /// Its version.
    pub version: String,
    /// How many of its connections are in use.
    pub in_use: usize,
    /// How many of its connections are not in use.
    pub idle: usize,
}

/// By what a server is judged.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    pub(super) max_lag: Duration,
    pub(super) rise: u32,
    pub(super) fall: u32,
}

impl Rules {
    pub(super) fn of(limits: &Limits) -> Self {
        let Limits {
            max_lag,
            rise,
            fall,
            ..
        } = *limits;
        Self {
            max_lag,
            rise,
            fall,
        }
    }
}

/// Why a look brought no report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// There was no answer in time. It may have been busy, or the machine that asked.
    TimedOut,
    /// It cannot be reached, or went away.
    Lost(String),
    /// It answered, but not with a report.
    Refused(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimedOut => f.write_str("does not answer in time"),
            Self::Lost(why) => write!(f, "cannot be reached: {why}"),
            Self::Refused(why) => write!(f, "is of no use: {why}"),
        }
    }
}

/// Where writes go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Primary {
    /// Nowhere: nobody says that it is the primary.
    None,
    /// To this server.
    One(usize),
    /// Nowhere: several say so.
    Several(Vec<usize>),
}

/// What follows from all looks so far.
#[derive(Debug, Clone)]
pub(super) struct View {
    pub(super) primary: Primary,
    /// Whether the primary would wait in vain for a replica to have what is written.
    pub(super) waits_in_vain: bool,
    /// Whether each server was looked at.
    pub(super) complete: bool,
    pub(super) servers: Vec<ServerState>,
    facts: Vec<Option<(&'static dyn Dialect, Position)>>,
}

impl View {
    /// The server to write to. One whose commits would hang is none: they could not be taken back,
    /// and nobody would know what became of them.
    pub(super) fn writable(&self) -> Result<usize> {
        let primary = self.primary()?;
        match self.servers.get(primary) {
            Some(server) if self.waits_in_vain => Err(Error::NoReplica(server.name.clone())),
            _ => Ok(primary),
        }
    }

    /// The primary.
    pub(super) fn primary(&self) -> Result<usize> {
        match &self.primary {
            Primary::One(server) => Ok(*server),
            Primary::None => Err(Error::NoPrimary(self.each(|_| true))),
            Primary::Several(servers) => {
                let name = |it: &usize| self.servers.get(*it).map(|server| server.name.clone());
                Err(Error::TwoPrimaries(
                    servers.iter().filter_map(name).collect(),
                ))
            }
        }
    }

    /// The servers to read from. If there is neither a replica nor a primary, a server that
    /// replicates from nobody is better than none.
    pub(super) fn readers(&self) -> impl Iterator<Item = usize> {
        let replicas = self.servers.iter().any(|server| server.in_rotation);
        let alone = !replicas && self.primary == Primary::None;
        let servers = self.servers.iter().enumerate();
        servers
            .filter(move |(_, it)| it.in_rotation || alone && it.role == Role::Standalone)
            .map(|(server, _)| server)
    }

    /// Whether there is a server to read from.
    pub(super) fn readable(&self) -> Result<()> {
        if self.readers().next().is_some() || matches!(self.primary, Primary::One(_)) {
            return Ok(());
        }
        Err(Error::NoServer(self.each(|_| true)))
    }

    pub(super) fn dialect(&self, server: usize) -> Option<&'static dyn Dialect> {
        Some(self.facts.get(server)?.as_ref()?.0)
    }

    pub(super) fn position(&self, server: usize) -> Option<&Position> {
        Some(&self.facts.get(server)?.as_ref()?.1)
    }

    fn each(&self, wanted: impl Fn(&ServerState) -> bool) -> String {
        let servers = self.servers.iter().filter(|it| wanted(it));
        let each: Vec<String> = servers
            .map(|it| format!("{} {}", it.name, it.why))
            .collect();
        each.join("; ")
    }
}

/// All servers.
#[derive(Debug)]
pub(super) struct State {
    rules: Rules,
    servers: Vec<Server>,
    primary: Primary,
    /// What the primary was seen to have, and when.
    history: History,
}

#[derive(Debug, Default)]
struct Server {
    name: String,
    looked: bool,
    report: Option<Report>,
    failure: Option<Failure>,
    /// Looks in a row without an answer.
    misses: u32,
    /// Looks in a row at a primary without a replica to wait for. There is none for a moment after
    /// each promotion.
    lonely: u32,
    /// When its replication was last seen to run, or to have no reason to.
    ran: Option<Instant>,
    /// Good looks in a row.
    good: u32,
    in_rotation: bool,
    lag: Option<Duration>,
    why: String,
}

impl State {
    pub(super) fn new(names: Vec<String>, rules: Rules) -> Self {
        let server = |name| Server {
            name,
            why: "was not looked at yet".to_owned(),
            ..Server::default()
        };
        Self {
            rules,
            servers: names.into_iter().map(server).collect(),
            primary: Primary::None,
            history: History::default(),
        }
    }

    /// Takes note of a look at a server.
    pub(super) fn on_look(&mut self, at: usize, now: Instant, outcome: Result<Report, Failure>) {
        let fall = self.rules.fall;
        let Some(server) = self.servers.get_mut(at) else {
            return;
        };
        let first = !std::mem::replace(&mut server.looked, true);
        match outcome {
            Ok(report) => {
                let running = |it: &super::dialect::Channel| it.receiving == Receiving::Running;
                if report.channels.iter().all(running) {
                    server.ran = Some(now);
                }
                server.lonely = match report.waits_in_vain {
                    true => server.lonely.saturating_add(1),
                    false => 0,
                };
                server.report = Some(report);
                server.failure = None;
                server.misses = 0;
            }
            Err(failure) => {
                let missed = server.misses.saturating_add(1);
                server.misses = match failure {
                    Failure::TimedOut => missed,
                    Failure::Lost(_) | Failure::Refused(_) => missed.max(fall),
                };
                server.failure = Some(failure);
            }
        }
        self.find_primary();
        self.remember(at, now);
        self.judge(at, now, first);
    }

    pub(super) fn view(&self) -> View {
        let servers = self.servers.iter().enumerate();
        View {
            primary: self.primary.clone(),
            waits_in_vain: match self.primary {
                Primary::One(at) => self.waits_in_vain(at),
                Primary::None | Primary::Several(_) => false,
            },
            complete: self.servers.iter().all(|server| server.looked),
            servers: servers
                .map(|(at, server)| server.state(self.role(at)))
                .collect(),
            facts: self
                .servers
                .iter()
                .map(|server| {
                    let report = server.report.as_ref()?;
                    // One that is silent may have been replaced: what it had counts no longer.
                    let position = match server.failure {
                        None => report.position.clone(),
                        Some(_) => Position::default(),
                    };
                    Some((report.dialect, position))
                })
                .collect(),
        }
    }

    /// Whether a server says that it is the primary, and did not become silent since.
    fn claims(&self, at: usize) -> bool {
        self.servers.get(at).is_some_and(|server| {
            server.misses < self.rules.fall && server.report.as_ref().is_some_and(|it| it.writable)
        })
    }

    fn waits_in_vain(&self, at: usize) -> bool {
        let server = self.servers.get(at);
        server.is_some_and(|it| it.lonely >= self.rules.fall)
    }

    fn find_primary(&mut self) {
        let claims: Vec<usize> = (0..self.servers.len())
            .filter(|at| self.claims(*at))
            .collect();
        let primary = match claims[..] {
            [] => Primary::None,
            [one] => Primary::One(one),
            _ => Primary::Several(claims),
        };
        if primary != self.primary {
            self.history = History::default();
            self.primary = primary;
        }
    }

    fn remember(&mut self, at: usize, now: Instant) {
        if self.primary == Primary::One(at)
            && let Some(server) = self.servers.get(at)
            && server.failure.is_none()
            && let Some(report) = &server.report
        {
            self.history.add(now, report.position.clone());
        }
    }

    fn role(&self, at: usize) -> Role {
        if self.claims(at) {
            return Role::Primary;
        }
        match self.servers.get(at) {
            Some(Server {
                failure: None,
                report: Some(report),
                ..
            }) => {
                if report.channels.is_empty() {
                    Role::Standalone
                } else {
                    Role::Replica
                }
            }
            _ => Role::Away,
        }
    }

    fn judge(&mut self, at: usize, now: Instant, first: bool) {
        let verdict = self.verdict(at, now);
        let Some(server) = self.servers.get_mut(at) else {
            return;
        };
        match verdict {
            Ok(lag) => {
                // While there is no primary, there is nothing that it could miss.
                if self.primary == Primary::None {
                    server.ran = Some(now);
                }
                server.good = server.good.saturating_add(1);
                // There is nothing bad that the first look would follow.
                server.in_rotation |= first || server.good >= self.rules.rise;
                server.lag = Some(lag);
                server.why = match (server.in_rotation, server.source()) {
                    (true, source) => format!("is a replica of {source}"),
                    (false, _) => format!(
                        "returns to the rotation after {} more good looks",
                        self.rules.rise.saturating_sub(server.good)
                    ),
                };
            }
            Err(Verdict { why, lag }) => {
                server.good = 0;
                server.in_rotation = false;
                server.lag = lag;
                server.why = why;
            }
        }
    }

    /// Whether a server is fit for the rotation: how far it is behind; or why not.
    fn verdict(&self, at: usize, now: Instant) -> Result<Duration, Verdict> {
        let no = |why: String| Err(Verdict { why, lag: None });
        let Some(server) = self.servers.get(at) else {
            return no("does not exist".to_owned());
        };
        if let Some(failure) = &server.failure {
            return no(failure.to_string());
        }
        let Some(report) = &server.report else {
            return no("was not looked at yet".to_owned());
        };
        if report.writable {
            return no(if self.waits_in_vain(at) {
                "is the primary, and has no replica to acknowledge what it writes".to_owned()
            } else {
                "is the primary".to_owned()
            });
        }
        if report.channels.is_empty() {
            return no("is read-only and replicates from nobody".to_owned());
        }
        let mut lag = self.history.lag(&report.position, now);
        for channel in &report.channels {
            let because = |what: &str| match &channel.error {
                Some(error) => no(format!("{what}: {error}")),
                None => no(what.to_owned()),
            };
            if !channel.applying {
                return because("has stopped applying what it replicates");
            }
            let behind = match channel.receiving {
                Receiving::Stopped => return because("has stopped replicating"),
                Receiving::Running => channel.behind,
                // There is no primary that anybody could reach.
                Receiving::Connecting if self.primary == Primary::None => Some(Duration::ZERO),
                Receiving::Connecting => server.ran.map(|ran| now.saturating_duration_since(ran)),
            };
            match behind {
                Some(behind) => lag = lag.max(behind),
                None => return because("does not know how far it is behind"),
            }
        }
        if lag > self.rules.max_lag {
            let [lagging, most] = [lag, self.rules.max_lag].map(rounded);
            return Err(Verdict {
                why: format!("is {lagging} behind, more than {most}"),
                lag: Some(lag),
            });
        }
        Ok(lag)
    }
}

/// Why a server is not fit for the rotation.
struct Verdict {
    why: String,
    lag: Option<Duration>,
}

impl Server {
    fn state(&self, role: Role) -> ServerState {
        let report = self.report.as_ref().filter(|_| self.failure.is_none());
        ServerState {
            name: self.name.clone(),
            role,
            in_rotation: self.in_rotation,
            why: self.why.clone(),
            lag: self.lag,
            position: report.map(|it| it.position.to_string()).unwrap_or_default(),
            version: report.map(|it| it.version.clone()).unwrap_or_default(),
            in_use: 0,
            idle: 0,
        }
    }

    fn source(&self) -> String {
        let channels = self.report.iter().flat_map(|report| &report.channels);
        let sources: Vec<&str> = channels.map(|channel| &*channel.source).collect();
        sources.join(", ")
    }
}

/// A duration as people say it.
fn rounded(duration: Duration) -> impl fmt::Display {
    humantime::format_duration(Duration::from_millis(
        u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
    ))
}

/// The positions that the primary was seen to have, oldest first.
#[derive(Debug, Default)]
struct History(VecDeque<(Instant, Position)>);

impl History {
    /// With two looks a second, minutes pass before any is forgotten.
    const MOST: usize = 512;

    fn add(&mut self, now: Instant, position: Position) {
        let same = |(_, last): &(Instant, Position)| *last == position;
        if self.0.back().is_some_and(same) {
            return;
        }
        if self.0.len() >= Self::MOST {
            // Every other one, so that the oldest ones stay: they tell who is far behind.
            let mut keep = false;
            self.0.retain(|_| {
                keep = !keep;
                keep
            });
        }
        self.0.push_back((now, position));
    }

    /// For how long there has been something that a position lacks.
    fn lag(&self, position: &Position, now: Instant) -> Duration {
        // A position that includes one includes all that were seen before it.
        let lacking = self.0.partition_point(|(_, seen)| position.includes(seen));
        let since = self.0.get(lacking).map(|(since, _)| *since);
        since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }
}

#[cfg(test)]
mod tests;
