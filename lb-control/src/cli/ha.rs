//! `ha`: who leads, whether the other host lives, and what to do about it.
//!
//! Read in the middle of the night: what is wrong comes first, figures come last.

use super::table::{Mood, Sheet, alarms, paint, seconds};
use super::{Failure, Session};
use crate::types::{Ha, HaGroup, HaPair, HaPeer, HaVersion, Switch};
use comfy_table::Cell;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

impl Session {
    /// `ha switch`
    ///
    /// # Errors
    ///
    /// If it was refused, or there is no answer.
    pub async fn ha_switch(&self, to: Option<String>) -> Result<(), Failure> {
        let ha: Ha = self.client.post("/v1/ha/switch", &Switch { to }).await?;
        self.show(&ha, |_| match ha.role.as_str() {
            "leader" => "this host leads now\n".to_owned(),
            _ => "the other host leads now\n".to_owned(),
        })
    }

    /// `ha release`
    ///
    /// # Errors
    ///
    /// If it was refused, or there is no answer.
    pub async fn ha_release(&self) -> Result<(), Failure> {
        let ha: Ha = self.client.post("/v1/ha/release", &()).await?;
        self.show(&ha, |_| "this host has its own priority again\n".to_owned())
    }
}

pub(super) fn text(ha: &Ha, all_alarms: &[String], colour: bool) -> String {
    let mut text = alarms(all_alarms, colour);
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "{:<12}{value}", format!("{name}:"));
    };
    let mood = match ha.role.as_str() {
        "leader" | "alone" | "standby" => Mood::Good,
        _ => Mood::Middling,
    };
    let role = paint(&ha.role, mood, colour);
    line(
        "role",
        &format!("{role} for {}: {}", seconds(ha.since_s), ha.reason),
    );
    let has_them = match (ha.role.as_str(), &ha.leader) {
        ("leader", _) => "here".to_owned(),
        (_, Some(leader)) => format!("at {}, priority {}", leader.address, leader.priority),
        _ => paint("at no leader that is heard", Mood::Bad, colour),
    };
    for address in &ha.addresses {
        line("address", &format!("{address} ({has_them})"));
    }
    if let Some(peer) = &ha.peer {
        line("other host", &other_host(peer, colour));
        line("lease", &lease(peer, colour));
    }
    if let Some(pair) = &ha.pair {
        line("pair", &self::pair(pair, colour));
        line("revision", &versions(pair));
    }
    if let Some(vrrp) = vrrp(ha) {
        line("VRRP", &vrrp);
    }
    if let Some(priority) = ha.stands_behind {
        let why = format!("to {priority}, by a switchover: `lbctl ha release` ends it");
        line("lowered", &paint(&why, Mood::Middling, colour));
    }
    for why in &ha.lowered_by {
        line("lowered", &paint(why, Mood::Bad, colour));
    }
    let counted = counted(&ha.counters);
    if !counted.is_empty() {
        line("counted", &counted);
    }
    if !ha.groups.is_empty() {
        text.push('\n');
        text.push_str(&groups(&ha.groups, colour));
    }
    if let Some(peer) = &ha.peer {
        text.push('\n');
        text.push_str(&links(peer, colour));
    }
    text
}

fn other_host(peer: &HaPeer, colour: bool) -> String {
    let state = match (&peer.lost, peer.up) {
        (Some(reason), _) => paint(&format!("lost: {reason}"), Mood::Bad, colour),
        (None, true) => paint("lives", Mood::Good, colour),
        (None, false) => paint("not heard yet", Mood::Middling, colour),
    };
    format!("{}, {state}", peer.address)
}

fn lease(peer: &HaPeer, colour: bool) -> String {
    match peer.lease_ms {
        0 => paint(
            "none: this host takes no new connections",
            Mood::Bad,
            colour,
        ),
        left => format!("{left}ms left; heartbeats were late by {} at worst", {
            humantime::format_duration(Duration::from_micros(peer.late_us))
        }),
    }
}

fn pair(pair: &HaPair, colour: bool) -> String {
    if !pair.paired {
        let text = "not paired: `lbctl pair init` on one host, `lbctl pair join` on the other";
        return paint(text, Mood::Bad, colour);
    }
    let Some(host) = &pair.host else {
        let reason = pair.down.as_deref().unwrap_or("no greeting yet");
        return paint(&format!("not connected: {reason}"), Mood::Bad, colour);
    };
    let since = pair.since_s.map_or_else(String::new, seconds);
    let state = match &pair.lacks {
        None => paint("synchronised", Mood::Good, colour),
        Some(reason) => paint(reason, Mood::Bad, colour),
    };
    let lag = match pair.lag_ms {
        0 => String::new(),
        lag => format!(", {lag}ms behind"),
    };
    let role = match (host.leads, host.ready) {
        (true, _) => "leads",
        (false, true) => "is ready to lead",
        (false, false) => "is not ready to lead",
    };
    format!(
        "{state}{lag}; connected for {since} to {}, lbd {}, which {role}",
        host.name, host.release
    )
}

/// Here, and at the other host.
fn versions(pair: &HaPair) -> String {
    let version = |it: &HaVersion| format!("{} of term {}, {}", it.epoch, it.term, it.hash);
    let here = version(&pair.version);
    match &pair.host {
        Some(host) if host.version == pair.version => format!("{here} (on both)"),
        Some(host) => format!("{here} (there: {})", version(&host.version)),
        None => here,
    }
}

fn vrrp(ha: &Ha) -> Option<String> {
    let interface = ha.interface.as_ref()?;
    let from = ha.address.as_ref();
    Some(format!(
        "vrid {}, priority {}, every {}ms from {} on {interface}",
        ha.vrid?,
        priority(ha.priority?, ha.effective_priority),
        ha.interval_ms?,
        from.map_or("no address", String::as_str),
    ))
}

/// What is left of it, if something lowers it: `80 of 200`.
fn priority(configured: u8, effective: Option<u8>) -> String {
    match effective {
        Some(effective) if effective != configured => format!("{effective} of {configured}"),
        _ => configured.to_string(),
    }
}

fn groups(groups: &[HaGroup], colour: bool) -> String {
    let header = [
        "GROUP", "FAMILY", "ROLE", "SINCE", "PRIORITY", "VRID", "SHARED", "LEADER", "REASON",
    ];
    let mut sheet = Sheet::new(header, &[3, 4, 5], colour);
    for group in groups {
        let mood = match group.role.as_str() {
            "leader" | "standby" => Mood::Good,
            _ => Mood::Middling,
        };
        let leader = group.leader.as_ref();
        let leader = leader.map(|it| format!("{} ({})", it.address, it.priority));
        sheet.row(vec![
            Cell::new(group.name.as_deref().unwrap_or("-")),
            Cell::new(&group.family),
            sheet.mood(&group.role, mood),
            Cell::new(seconds(group.since_s)),
            Cell::new(priority(group.priority, Some(group.effective_priority))),
            Cell::new(group.vrid),
            Cell::new(group.addresses.join(", ")),
            Cell::new(leader.unwrap_or_else(|| "-".to_owned())),
            Cell::new(&group.reason),
        ]);
    }
    sheet.text()
}

fn counted(counters: &BTreeMap<String, u64>) -> String {
    let counted = counters.iter().filter(|(_, count)| **count > 0);
    let counted: Vec<String> = counted
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    counted.join(", ")
}

fn links(peer: &HaPeer, colour: bool) -> String {
    let header = ["LINK", "STATE", "SINCE", "LOST AFTER", "COUNTED"];
    let mut sheet = Sheet::new(header, &[2, 3], colour);
    for link in &peer.links {
        let mood = match link.state.as_str() {
            "up" => Mood::Good,
            "init" => Mood::Middling,
            _ => Mood::Bad,
        };
        let detection = link.detection_ms.map(|it| format!("{it}ms"));
        sheet.row(vec![
            Cell::new(format!("{} > {}", link.local, link.remote)),
            sheet.mood(&link.state, mood),
            Cell::new(seconds(link.since_s)),
            Cell::new(detection.unwrap_or_else(|| "-".to_owned())),
            Cell::new(counted(&link.counters)),
        ]);
    }
    sheet.text()
}
