//! Tables for people. Columns are stable: new ones come last.

use crate::types::{Backend, Service, Status};
use comfy_table::presets::NOTHING;
use comfy_table::{Cell, CellAlignment, Color, Table};
use std::fmt::Write as _;
use std::time::Duration;

/// How good or bad something is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Mood {
    Good,
    Middling,
    Bad,
}

/// A table without lines, whose columns from `numbers` on are numbers.
pub(super) struct Sheet {
    table: Table,
    colour: bool,
}

impl Sheet {
    pub(super) fn new<const N: usize>(header: [&str; N], numbers: &[usize], colour: bool) -> Self {
        let mut table = Table::new();
        table.load_style(NOTHING);
        if colour {
            table.enforce_styling();
        } else {
            table.force_no_tty();
        }
        table.set_header(header);
        for (index, column) in table.column_iter_mut().enumerate() {
            column.set_padding((0, 2));
            if numbers.contains(&index) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        Self { table, colour }
    }

    pub(super) fn row(&mut self, cells: Vec<Cell>) {
        self.table.add_row(cells);
    }

    pub(super) fn mood(&self, text: impl ToString, mood: Mood) -> Cell {
        let cell = Cell::new(text);
        if !self.colour {
            return cell;
        }
        cell.fg(match mood {
            Mood::Good => Color::DarkGreen,
            Mood::Middling => Color::DarkYellow,
            Mood::Bad => Color::DarkRed,
        })
    }

    pub(super) fn text(&self) -> String {
        self.table.trim_fmt() + "\n"
    }
}

pub(super) fn status(status: &Status, colour: bool) -> String {
    let mut text = format!(
        "lbd {}, revision {}, up {}\n",
        status.version,
        status.revision,
        seconds(status.uptime_s)
    );
    let interfaces: Vec<String> = status
        .interfaces
        .iter()
        .map(|each| format!("{} ({})", each.name, each.mode))
        .collect();
    let flows = &status.flows;
    let _ = writeln!(text, "interfaces: {}", interfaces.join(", "));
    let _ = writeln!(text, "flows: {} of {}", flows.recorded, flows.capacity);
    if status.ha.interface.is_some() {
        let _ = writeln!(text, "role: {}", status.ha.role);
    }
    text.push_str(&alarms(&status.alarms, colour));
    if !status.services.is_empty() {
        text.push('\n');
        text.push_str(&services(&status.services, colour));
    }
    text
}

pub(super) fn alarms(alarms: &[String], colour: bool) -> String {
    let alarms = alarms.iter();
    alarms
        .map(|alarm| paint(&format!("alarm: {alarm}"), Mood::Bad, colour) + "\n")
        .collect()
}

/// A text outside of tables, in the colour of its mood.
pub(super) fn paint(text: &str, mood: Mood, colour: bool) -> String {
    if !colour {
        return text.to_owned();
    }
    let code = match mood {
        Mood::Good => 32,
        Mood::Middling => 33,
        Mood::Bad => 31,
    };
    format!("\u{1b}[{code}m{text}\u{1b}[0m")
}

pub(super) fn services(services: &[Service], colour: bool) -> String {
    let header = [
        "SERVICE", "VIP", "UP", "SLOTS", "CLEAN", "DIRTY", "SETTLED", "EMPTY", "CHECK",
    ];
    let mut sheet = Sheet::new(header, &[2, 3, 4, 5, 6, 7], colour);
    for service in services {
        let up = service.backends.iter().filter(|each| each.serves()).count();
        let all = service.backends.len();
        let mood = match up {
            0 => Mood::Bad,
            _ if up < all => Mood::Middling,
            _ => Mood::Good,
        };
        let slots = &service.slots;
        sheet.row(vec![
            Cell::new(&service.name),
            Cell::new(&service.vip),
            sheet.mood(format!("{up}/{all}"), mood),
            Cell::new(slots.total),
            Cell::new(slots.clean),
            Cell::new(slots.dirty),
            Cell::new(slots.settled),
            Cell::new(slots.empty),
            Cell::new(&service.check),
        ]);
    }
    sheet.text()
}

pub(super) fn service(service: &Service, colour: bool) -> String {
    let mut text = services(std::slice::from_ref(service), colour);
    if !service.backends.is_empty() {
        text.push('\n');
        text.push_str(&backends(&service.backends, colour));
    }
    text
}

pub(super) fn backends(backends: &[Backend], colour: bool) -> String {
    let header = [
        "BACKEND", "ADDRESS", "WEIGHT", "ADMIN", "STATE", "SINCE", "SLOTS", "DRAINING", "FLOWS",
        "REASON",
    ];
    let mut sheet = Sheet::new(header, &[2, 6, 7, 8], colour);
    for backend in backends {
        sheet.row(vec![
            Cell::new(format!("{}/{}", backend.service, backend.name)),
            Cell::new(&backend.address),
            Cell::new(backend.weight),
            sheet.mood(&backend.admin, admin_mood(backend)),
            sheet.mood(&backend.operational, operational_mood(backend)),
            Cell::new(seconds(backend.since_s)),
            Cell::new(backend.slots),
            Cell::new(backend.draining_slots),
            Cell::new(backend.recorded_flows),
            Cell::new(&backend.reason),
        ]);
    }
    sheet.text()
}

pub(super) fn backend(backend: &Backend, colour: bool) -> String {
    backends(std::slice::from_ref(backend), colour)
}

fn admin_mood(backend: &Backend) -> Mood {
    match backend.admin.as_str() {
        "ready" => Mood::Good,
        _ => Mood::Middling,
    }
}

fn operational_mood(backend: &Backend) -> Mood {
    match backend.operational.as_str() {
        "up" => Mood::Good,
        "init" => Mood::Middling,
        _ => Mood::Bad,
    }
}

/// A span of time as people say it, no finer than matters.
pub(super) fn seconds(seconds: u64) -> String {
    let rounded = match seconds {
        0..3_600 => seconds,
        3_600..86_400 => seconds / 60 * 60,
        _ => seconds / 3_600 * 3_600,
    };
    humantime::format_duration(Duration::from_secs(rounded)).to_string()
}
