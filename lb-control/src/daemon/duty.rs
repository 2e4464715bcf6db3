//! One virtual router of this host: what it was told, and what it said last.

use crate::config::VirtualRouter;
use crate::proto::vrrp::{Disagreement, Family, LeadReason};
use crate::shell::vrrp::{Event, Report, Router, Stranger, Wanted};
use crate::sync::Situation;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// For how long a second leader is an alarm after it was last heard.
const SECOND_LEADER_SHOWN: Duration = Duration::from_secs(10);

/// For how long forged advertisements are an alarm after the last one.
const FORGERY_SHOWN: Duration = Duration::from_secs(10);

/// For how long a router of the same number is an alarm after it was last seen.
const STRANGER_SHOWN: Duration = Duration::from_secs(30);

/// What this host is to the addresses of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Not known yet.
    Starting,
    /// It has them.
    Leader,
    /// It is ready to take them.
    Standby,
}

impl Role {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Leader => "leader",
            Self::Standby => "standby",
        }
    }
}

/// Another host that led while this one did.
#[derive(Clone, Copy)]
struct SecondLeader {
    address: IpAddr,
    seen: Instant,
    /// Whether this host yielded to it, and not the other way round.
    won: bool,
}

impl SecondLeader {
    fn is_news(&self) -> bool {
        self.seen.elapsed() < SECOND_LEADER_SHOWN
    }

    fn alarm(&self) -> String {
        let Self { address, won, .. } = self;
        let end = match won {
            true => "this host yielded to it",
            false => "it was told to yield",
        };
        format!("{address} led, too, and {end}: did the two not hear each other?")
    }
}

/// What a router does not know.
#[derive(Default)]
pub(super) struct Circumstances {
    /// Until shortly before, the other host was not heard.
    pub(super) apart: bool,
    /// This host hands over, for this reason.
    pub(super) handing_over: Option<String>,
}

/// A virtual router of this host, and what it said last.
pub(super) struct Duty {
    pub(super) is: VirtualRouter,
    /// Nobody is there to be told anything once it was released, or ended.
    pub(super) router: Option<Router>,
    pub(super) told: Option<Wanted>,
    pub(super) role: Role,
    pub(super) since: Instant,
    pub(super) reason: String,
    pub(super) report: Report,
    second: Option<SecondLeader>,
    forged: Option<(IpAddr, Instant)>,
    stranger: Option<(Stranger, Instant)>,
    withheld: Option<String>,
    /// It stands by because somebody else led.
    follows: bool,
    pub(super) faults: Vec<String>,
}

impl Duty {
    pub(super) fn new(is: VirtualRouter, router: Option<Router>) -> Self {
        Self {
            is,
            router,
            told: None,
            role: Role::Starting,
            since: Instant::now(),
            reason: "lbd was started".to_owned(),
            report: Report::default(),
            second: None,
            forged: None,
            stranger: None,
            withheld: None,
            follows: false,
            faults: Vec::new(),
        }
    }

    /// What people call it. Nothing, for the one of the main group and IPv4.
    fn label(&self) -> String {
        match (&self.is.group, self.is.family) {
            (None, Family::V4) => String::new(),
            (None, Family::V6) => "IPv6: ".to_owned(),
            (Some(group), Family::V4) => format!("group {group}: "),
            (Some(group), Family::V6) => format!("group {group}, IPv6: "),
        }
    }

    /// Tells the router what is wanted, if it was not told yet.
    pub(super) fn follow(&mut self, wanted: Wanted) {
        if self.told.as_ref() == Some(&wanted) {
            return;
        }
        if let Some(router) = &self.router {
            router.follow(wanted.clone());
        }
        self.told = Some(wanted);
    }

    /// How things are with who leads, if heartbeats of the other host arrive or do not.
    pub(super) fn situation(&self, peer_lives: bool) -> Situation {
        Situation {
            leads: self.role == Role::Leader,
            only_lacks_leave: self.withheld.is_some(),
            hears_leader: self.report.leader.is_some(),
            peer_lives,
        }
    }

    fn becomes(&mut self, role: Role, reason: String) {
        self.role = role;
        self.reason = reason;
        self.since = Instant::now();
        self.withheld = None;
        self.follows = false;
    }

    /// Why it is what it is.
    pub(super) fn reason(&self) -> String {
        let stands_by = self.role == Role::Standby && self.follows;
        match (&self.withheld, self.report.leader) {
            (Some(hold), None) if stands_by => {
                format!("no leader is heard any more, and this host may not lead: {hold}")
            }
            (None, None) if stands_by => "no leader is heard any more".to_owned(),
            _ => self.reason.clone(),
        }
    }

    /// Takes what the router says.
    pub(super) fn on_event(&mut self, event: Event, circumstances: &Circumstances) {
        let label = self.label();
        match event {
            Event::StandsBy => {
                tracing::info!("{label}stands by: another may lead");
                self.withheld = None;
                if self.role == Role::Starting {
                    self.becomes(Role::Standby, "lbd was started".to_owned());
                }
            }
            Event::Leads(reason) => {
                match reason {
                    LeadReason::ActiveDown | LeadReason::PeerLost => {
                        tracing::warn!(%reason, "{label}leads")
                    }
                    _ => tracing::info!(%reason, "{label}leads"),
                }
                self.becomes(Role::Leader, reason.to_string());
            }
            Event::Yields(reason) => {
                let winner = reason.winner();
                let handed_over = circumstances.handing_over.as_ref().zip(winner);
                let reason = match handed_over {
                    Some((why, winner)) => format!("handed over to {winner}: {why}"),
                    None => reason.to_string(),
                };
                // One that was heard all the time did not lead before: it takes over.
                if winner.is_some() && !circumstances.apart {
                    tracing::info!(reason, "{label}yields");
                } else {
                    tracing::warn!(reason, "{label}yields");
                }
                if let Some(winner) = winner.filter(|_| circumstances.apart) {
                    self.on_second_leader(winner, true);
                }
                self.becomes(Role::Standby, reason);
                self.follows = winner.is_some();
            }
            Event::SecondActive(peer) => self.on_second_leader(peer, false),
            Event::Withheld(hold) => {
                tracing::error!(hold, "{label}nobody leads, and this host may not");
                self.withheld = Some(hold);
            }
            Event::Faults(faults) => {
                for fault in faults.iter().filter(|it| !self.faults.contains(it)) {
                    tracing::error!("{label}{fault}");
                }
                for fault in self.faults.iter().filter(|it| !faults.contains(it)) {
                    tracing::info!("{label}no longer: {fault}");
                }
                self.faults = faults;
            }
            Event::Notice(notice) => tracing::warn!("{label}{notice}"),
            Event::Report(report) => {
                if report.leader.is_some() {
                    self.withheld = None;
                }
                if let Some(found) = report.disagreement
                    && self.report.disagreement != Some(found)
                {
                    tracing::warn!("{label}{}", disagreement(found));
                }
                if let Some(tie) = self.tie(&report)
                    && self.tie(&self.report).is_none()
                {
                    tracing::warn!("{label}{tie}");
                }
                if let Some(source) = report.forger {
                    let now = Instant::now();
                    let shown = |(_, seen): &(_, Instant)| *seen + FORGERY_SHOWN > now;
                    if !self.forged.as_ref().is_some_and(shown) {
                        tracing::error!("{label}{}", forgery(source));
                    }
                    self.forged = Some((source, now));
                }
                if let Some(stranger) = report.stranger {
                    if self.shown_stranger() != Some(stranger) {
                        tracing::warn!("{label}{}", self.strange(stranger));
                    }
                    self.stranger = Some((stranger, Instant::now()));
                }
                self.report = report;
            }
            Event::Ended => {
                self.router = None;
                let fault = "the virtual router ended: start lbd again".to_owned();
                tracing::error!("{label}{fault}");
                self.faults = vec![fault];
            }
        }
    }

    fn on_second_leader(&mut self, address: IpAddr, won: bool) {
        let known = self.second.filter(SecondLeader::is_news);
        let second = SecondLeader {
            address,
            seen: Instant::now(),
            won,
        };
        if known.is_none() {
            tracing::warn!("{}{}", self.label(), second.alarm());
        }
        self.second = Some(second);
    }

    /// Another router of the same number, if one was seen lately.
    fn shown_stranger(&self) -> Option<Stranger> {
        let (stranger, seen) = self.stranger?;
        (seen.elapsed() < STRANGER_SHOWN).then_some(stranger)
    }

    fn strange(&self, Stranger { address, peer }: Stranger) -> String {
        let vrid = self.is.vrid;
        format!(
            "advertisements with this host's vrid, {vrid}, come from {address}, which is not `peer` \
             ({peer}), and are not heeded: if {address} is the other host, name it in [ha] of this \
             host's configuration file, and start lbd again; if it is another router, give it another \
             vrid, or both hosts"
        )
    }

    /// Whether the priorities of the two do not say who leads.
    fn tie(&self, report: &Report) -> Option<String> {
        let leader = report.leader?;
        let priority = self.told.as_ref()?.priority;
        (leader.priority == priority).then(|| {
            format!(
                "{} leads with this host's own priority, {priority}: of two that start together \
                 the higher address would. Give each another `priority`",
                leader.address
            )
        })
    }

    pub(super) fn alarms(&self) -> Vec<String> {
        let mut alarms = self.faults.clone();
        let second = self.second.filter(SecondLeader::is_news);
        alarms.extend(second.map(|second| second.alarm()));
        if let Some((source, seen)) = self.forged
            && seen.elapsed() < FORGERY_SHOWN
        {
            alarms.push(forgery(source));
        }
        alarms.extend(self.shown_stranger().map(|it| self.strange(it)));
        if let Some(hold) = &self.withheld {
            alarms.push(format!("nobody leads, and this host may not: {hold}"));
        }
        alarms.extend(self.report.disagreement.map(disagreement));
        alarms.extend(self.tie(&self.report));
        let label = self.label();
        alarms
            .iter()
            .map(|alarm| format!("{label}{alarm}"))
            .collect()
    }
}

fn forgery(source: IpAddr) -> String {
    format!(
        "advertisements that are not the other host's arrive from {source}, and are refused: \
         somebody on this link forges them, or the two have different secrets: pair them again"
    )
}

fn disagreement(found: Disagreement) -> String {
    let what = match (found.addresses, found.interval) {
        (true, true) => "other addresses and another interval",
        (true, false) => "other addresses",
        _ => "another interval",
    };
    format!(
        "{} was told {what} than this host: give both the same services and [ha]",
        found.peer
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::proto::vrrp::{Interval, Leader, Priority, YieldReason};
    use std::path::Path;

    const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    const TOGETHER: Circumstances = Circumstances {
        apart: false,
        handing_over: None,
    };
    const APART: Circumstances = Circumstances {
        apart: true,
        handing_over: None,
    };

    fn priority(number: u8) -> Priority {
        Priority::new(number).expect("a priority")
    }

    /// One that was told to have priority 100.
    fn duty() -> Duty {
        let text = "interfaces = [\"eth0\"]\n[ha]\ninterface = \"eth0\"\nvrid = 51\n\
                    addresses = [\"192.0.2.20/32\"]\n";
        let config = config::parse(text, Path::new("lbd.toml")).expect("a configuration");
        let mut duty = Duty::new(config.virtual_routers().remove(0), None);
        duty.follow(Wanted {
            addresses: config.shared_by(&duty.is),
            priority: priority(100),
            eligible: Ok(()),
            may_begin: Ok(()),
            may_resume: true,
        });
        duty
    }

    fn hears(duty: &mut Duty, leads: u8) {
        let leader = Leader {
            address: OTHER,
            priority: priority(leads),
            interval: Interval::from_centiseconds(10).expect("an interval"),
            heard: Instant::now(),
        };
        let report = Report {
            leader: Some(leader),
            ..Report::default()
        };
        duty.on_event(Event::Report(report), &TOGETHER);
    }

    #[test]
    fn another_router_of_the_same_number_is_an_alarm() {
        let mut duty = duty();
        let [address, peer] = [9, 2].map(|last| std::net::Ipv4Addr::new(192, 0, 2, last));
        let report = Report {
            stranger: Some(Stranger { address, peer }),
            ..Report::default()
        };
        duty.on_event(Event::Report(report), &TOGETHER);
        // It lasts, though not each report has seen one.
        duty.on_event(Event::Report(Report::default()), &TOGETHER);
        let alarms = duty.alarms().concat();
        let says = "vrid, 51, come from 192.0.2.9, which is not `peer` (192.0.2.2)";
        assert!(alarms.contains(says), "{alarms}");
    }

    #[test]
    fn a_tie_is_an_alarm_while_it_lasts() {
        let mut duty = duty();
        hears(&mut duty, 101);
        assert_eq!(duty.alarms(), Vec::<String>::new());
        hears(&mut duty, 100);
        let alarms = duty.alarms().concat();
        assert!(
            alarms.contains("192.0.2.2 leads with this host's own"),
            "{alarms}"
        );
        hears(&mut duty, 101);
        assert_eq!(duty.alarms(), Vec::<String>::new());
    }

    #[test]
    fn why_it_stands_by_is_what_is_so_now() {
        let outranked = || {
            Event::Yields(YieldReason::HigherPriority {
                peer: OTHER,
                priority: priority(99),
            })
        };
        let mut duty = duty();
        duty.on_event(Event::Leads(LeadReason::ActiveDown), &TOGETHER);
        let planned = Circumstances {
            handing_over: Some("planned switchover".to_owned()),
            ..TOGETHER
        };
        duty.on_event(outranked(), &planned);
        hears(&mut duty, 99);
        let reason = "handed over to 192.0.2.2: planned switchover";
        assert_eq!(duty.reason(), reason);
        duty.on_event(Event::Report(Report::default()), &TOGETHER);
        assert_eq!(duty.reason(), "no leader is heard any more");
        duty.on_event(Event::Withheld("a reason".to_owned()), &TOGETHER);
        assert!(duty.reason().ends_with("may not lead: a reason"));
        hears(&mut duty, 99);
        assert_eq!(duty.reason(), reason);

        duty.on_event(Event::Leads(LeadReason::PeerLost), &TOGETHER);
        duty.on_event(outranked(), &TOGETHER);
        hears(&mut duty, 99);
        assert_eq!(
            duty.reason(),
            "192.0.2.2 leads: its priority, 99, was higher"
        );
    }

    #[test]
    fn whoever_yields_after_a_partition_says_that_both_led() {
        let outranked = || {
            Event::Yields(YieldReason::HigherPriority {
                peer: OTHER,
                priority: priority(200),
            })
        };
        let mut duty = duty();
        duty.on_event(Event::Leads(LeadReason::PeerLost), &APART);
        duty.on_event(outranked(), &APART);
        let alarms = duty.alarms().concat();
        assert!(
            alarms.contains("192.0.2.2 led, too, and this host yielded"),
            "{alarms}"
        );
        // One that was heard all the time takes over: nothing is wrong.
        let mut relieved = self::duty();
        relieved.on_event(Event::Leads(LeadReason::PeerLost), &TOGETHER);
        relieved.on_event(outranked(), &TOGETHER);
        assert_eq!(relieved.alarms(), Vec::<String>::new());
    }
}
