//! The machine that watches one backend.

use std::time::{Duration, Instant};

/// How a backend is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Params {
    /// From the beginning of one probe to that of the next.
    pub interval: Duration,
    /// How long a probe may take.
    pub timeout: Duration,
    /// Probes that must succeed in a row before a backend that was down is up.
    pub rise: u32,
    /// Probes that must fail in a row before a backend that was up is down.
    pub fall: u32,
}

/// Which probe a result belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProbeId(u64);

/// How a probe failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// In words.
    pub reason: String,
    /// Who answered nevertheless.
    pub answer: Answer,
}

/// What was heard of a backend when a probe failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Another answer than the expected one.
    Other,
    /// A refused connection: the host lives, and nobody listens.
    Refused,
    /// Nothing, or nothing that makes sense.
    None,
}

/// What is known of the backend from now on.
///
/// Also reported by the first result that agrees with what was known from before, so that a
/// reason can be given for it, and when what is known of one that is down changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transition {
    /// It is up.
    Up,
    /// It is down.
    Down(Down),
}

/// What is known of a backend that is down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Down {
    /// How the last probe failed.
    pub reason: String,
    /// Whether its connections can go on: one that ends in order says that it is not ready any more,
    /// stops listening at some time, and finishes what it has.
    pub finishes: bool,
}

/// What was due when the deadline passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Due {
    /// Nothing: the deadline has not passed.
    Nothing,
    /// A probe is to be started.
    Start(ProbeId),
    /// The probe that runs did not answer in time. It is to be abandoned.
    TimedOut(Option<Transition>),
}

/// Watches one backend.
#[derive(Clone, Debug)]
pub struct Machine {
    params: Params,
    health: Health,
    /// Whether a transition was reported. What was known from before is believed, but not
    /// reported before a result confirms or refutes it.
    reported: bool,
    /// What was reported last of one that is down: anything else is reported, too.
    down: Option<Down>,
    /// Probes in a row that were not answered. One that was never known to be up begins as silent.
    silent: u32,
    phase: Phase,
    next_id: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Health {
    Unknown,
    Up { failures: u32 },
    Down { successes: u32 },
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Waiting { until: Instant },
    Probing { id: ProbeId, started: Instant },
}

impl Machine {
    /// Begins to watch a backend. The first probe is due within a tenth of the interval; where in
    /// it depends on `seed`, so that the probes of many backends do not all leave at once.
    #[must_use]
    pub fn new(params: Params, initial: Option<bool>, now: Instant, seed: u64) -> Self {
        let health = match initial {
            None => Health::Unknown,
            Some(true) => Health::Up { failures: 0 },
            Some(false) => Health::Down { successes: 0 },
        };
        let spread = u32::try_from(seed % 100).unwrap_or(0);
        let until = now + params.interval / 1000 * spread;
        Self {
            params,
            health,
            reported: false,
            down: None,
            silent: if initial == Some(true) {
                0
            } else {
                params.fall
            },
            phase: Phase::Waiting { until },
            next_id: 0,
        }
    }

    /// When [`Self::on_deadline`] is to be called.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        match self.phase {
            Phase::Waiting { until } => until,
            Phase::Probing { started, .. } => started + self.params.timeout,
        }
    }

    /// Does what is due: starts the next probe, or gives up the one that runs.
    pub fn on_deadline(&mut self, now: Instant) -> Due {
        if now < self.deadline() {
            return Due::Nothing;
        }
        match self.phase {
            Phase::Waiting { .. } => {
                let id = ProbeId(self.next_id);
                self.next_id += 1;
                self.phase = Phase::Probing { id, started: now };
                Due::Start(id)
            }
            Phase::Probing { id, .. } => Due::TimedOut(self.on_timeout(now, id)),
        }
    }

    /// Takes a probe's result. That of any but the probe that runs is ignored.
    pub fn on_result(
        &mut self,
        now: Instant,
        id: ProbeId,
        result: Result<(), Failure>,
    ) -> Option<Transition> {
        let Phase::Probing {
            id: running,
            started,
        } = self.phase
        else {
            return None;
        };
        if running != id {
            return None;
        }
        let until = (started + self.params.interval).max(now);
        self.phase = Phase::Waiting { until };
        match result {
            Ok(()) => self.succeeded(),
            Err(failure) => self.failed(failure),
        }
    }

    /// A probe did not answer in time.
    pub fn on_timeout(&mut self, now: Instant, id: ProbeId) -> Option<Transition> {
        let within = humantime::format_duration(self.params.timeout);
        let failure = Failure {
            reason: format!("no answer within {within}"),
            answer: Answer::None,
        };
        self.on_result(now, id, Err(failure))
    }

    fn succeeded(&mut self) -> Option<Transition> {
        let (health, decided) = match self.health {
            Health::Unknown => (Health::Up { failures: 0 }, true),
            Health::Up { .. } => (Health::Up { failures: 0 }, !self.reported),
            Health::Down { successes } if successes + 1 < self.params.rise => {
                let successes = successes + 1;
                (Health::Down { successes }, false)
            }
            Health::Down { .. } => (Health::Up { failures: 0 }, true),
        };
        self.health = health;
        if let Health::Up { .. } = health {
            self.silent = 0;
        }
        self.reported |= decided;
        if decided {
            self.down = None;
        }
        decided.then_some(Transition::Up)
    }

    fn failed(&mut self, Failure { reason, answer }: Failure) -> Option<Transition> {
        match answer {
            Answer::Other => self.silent = 0,
            // Its kernel resets by itself what nobody has any more.
            Answer::Refused if self.down.as_ref().is_some_and(|down| down.finishes) => {
                self.silent = 0;
            }
            Answer::Refused | Answer::None => self.silent = self.silent.saturating_add(1),
        }
        let down = Down {
            reason,
            finishes: self.silent < self.params.fall,
        };
        let (health, decided) = match self.health {
            Health::Unknown => (Health::Down { successes: 0 }, true),
            Health::Down { .. } => {
                let news = self.down.as_ref() != Some(&down);
                (Health::Down { successes: 0 }, news)
            }
            Health::Up { failures } if failures + 1 < self.params.fall => {
                let failures = failures + 1;
                (Health::Up { failures }, false)
            }
            Health::Up { .. } => (Health::Down { successes: 0 }, true),
        };
        self.health = health;
        self.reported |= decided;
        decided.then(|| {
            self.down = Some(down.clone());
            Transition::Down(down)
        })
    }
}
