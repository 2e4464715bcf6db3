//! Reads the configuration file.

mod group;
mod ha;
mod track;

use super::model::{Admin, Backend, BackendRef, Check, Config, Limits, Name, Service, Vip};
use super::validate::{self, About};
use super::{raw, values};
use lb_ebpf::abi::capacity;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::Ipv4Addr;
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};
use std::time::Duration;
use toml::Spanned;

const SOCKET: &str = "/run/headgate/lbd.sock";
const STATE_DIR: &str = "/var/lib/headgate";
const BPFFS: &str = "/sys/fs/bpf/headgate";
const IDLE_TIMEOUT: Duration = Duration::from_secs(300);
const RECORDS_PER_SECOND: u32 = 10_000;

/// The longest name of an interface: `IFNAMSIZ` without the terminating zero.
const INTERFACE_MAX: usize = 15;

/// Ids are 16 bits wide.
const SERVICES: RangeInclusive<i64> = 1..=65_535;
const BACKENDS: RangeInclusive<i64> = 2..=65_535;
const FLOWS: RangeInclusive<i64> = 1..=16_777_216;
const RECORDS: RangeInclusive<i64> = 1..=100_000_000;

/// What is wrong with the file, where, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ParseError {
    /// The file.
    pub file: PathBuf,
    /// Line and column, from 1, if it can be said.
    pub place: Option<(usize, usize)>,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if let Some((line, column)) = self.place {
            write!(f, "{line}:{column}:")?;
        }
        write!(f, " {}", self.message)
    }
}

/// Reads a configuration. `file` is for messages only.
///
/// # Errors
///
/// The first thing that is wrong with it.
pub fn parse(text: &str, file: &Path) -> Result<Config, ParseError> {
    read(text).map_err(|fault| fault.in_file(text, file))
}

/// Judges the names of the interfaces, of which the text alone cannot tell whether they exist.
///
/// # Errors
///
/// What `judgement` says of the first that it refuses.
pub fn check_interfaces(
    text: &str,
    file: &Path,
    judgement: impl Fn(&str) -> Result<(), String>,
) -> Result<(), ParseError> {
    let refused = |fault: Fault| fault.in_file(text, file);
    let raw = read_raw(text).map_err(refused)?;
    let mut names = raw.interfaces.get_ref().iter();
    names.try_for_each(|name| judge(name, |name| judgement(name)).map_err(refused))
}

/// Judges the ends of the ways to the other host by the addresses that this one has, of which the text
/// alone cannot tell.
///
/// # Errors
///
/// The first that belongs to the wrong host.
pub fn check_addresses(
    text: &str,
    file: &Path,
    own: &BTreeSet<Ipv4Addr>,
) -> Result<(), ParseError> {
    let refused = |fault: Fault| fault.in_file(text, file);
    let raw = read_raw(text).map_err(refused)?;
    let Some(ha) = &raw.ha else {
        return Ok(());
    };
    ha::check_own(ha.get_ref(), own).map_err(refused)
}

struct Fault {
    span: Option<Range<usize>>,
    message: String,
}

impl Fault {
    fn in_file(self, text: &str, file: &Path) -> ParseError {
        ParseError {
            file: file.to_owned(),
            place: self.span.map(|span| place(text, span.start)),
            message: self.message,
        }
    }
}

fn place(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let line = before.matches('\n').count() + 1;
    let column = before.get(line_start..).unwrap_or("").chars().count() + 1;
    (line, column)
}

/// Judges a value; if it is refused, says where it is.
fn judge<T, V>(
    value: &Spanned<V>,
    judgement: impl FnOnce(&V) -> Result<T, String>,
) -> Result<T, Fault> {
    judgement(value.get_ref()).map_err(|message| Fault {
        span: Some(value.span()),
        message,
    })
}

fn judge_or<T, V>(
    value: Option<&Spanned<V>>,
    default: T,
    judgement: impl FnOnce(&V) -> Result<T, String>,
) -> Result<T, Fault> {
    value.map_or(Ok(default), |value| judge(value, judgement))
}

fn read_raw(text: &str) -> Result<raw::Config, Fault> {
    toml::from_str(text).map_err(|error| Fault {
        span: error.span(),
        message: explain(error.message()),
    })
}

fn read(text: &str) -> Result<Config, Fault> {
    let raw = read_raw(text)?;
    let mut config = Config {
        interfaces: interfaces(&raw.interfaces)?,
        socket: path(raw.socket.as_ref(), "socket", SOCKET)?,
        state_dir: path(raw.state_dir.as_ref(), "state_dir", STATE_DIR)?,
        bpffs: path(raw.bpffs.as_ref(), "bpffs", BPFFS)?,
        idle_timeout: judge_or(raw.idle_timeout.as_ref(), IDLE_TIMEOUT, |text| {
            values::idle_timeout(text)
        })?,
        limits: limits(&raw.limits)?,
        metrics: match &raw.metrics {
            Some(raw) => Some(judge(&raw.listen, |text| values::metrics_address(text))?),
            None => None,
        },
        ha: None,
        services: BTreeMap::new(),
    };
    if let Some(raw) = &raw.ha {
        let mut ha = ha::read(raw.get_ref(), &config.interfaces)?;
        ha.groups = group::read(&raw.get_ref().group, &ha, &config.interfaces)?;
        ha::check_shared(raw.get_ref(), &ha)?;
        config.ha = Some(ha);
    }
    for service in &raw.service {
        add_service(&mut config, service)?;
    }
    if let (Some(raw), Some(ha)) = (&raw.ha, &mut config.ha) {
        ha.track = track::read(&raw.get_ref().track, &config.services)?;
        if let Some(priority) = &raw.get_ref().priority {
            judge(priority, |_| ha::may_be_lowered(ha))?;
        }
        group::read_services(&raw.get_ref().group, &mut ha.groups, &config.services)?;
        judge(raw, |_| {
            let main = config.virtual_routers().into_iter().next();
            if main.is_none_or(|main| config.shared_by(&main).is_empty()) {
                return Err(
                    "[ha] has nothing to share over IPv4: add a service that is of no group, or \
                     addresses"
                        .to_owned(),
                );
            }
            let routers = config.virtual_routers();
            let most = routers.iter().map(|it| config.shared_by(it).len()).max();
            if most > Some(validate::ADVERTISED_MAX) {
                return Err(format!(
                    "[ha]: a group can share {} addresses of a family at most",
                    validate::ADVERTISED_MAX
                ));
            }
            Ok(())
        })?;
    }
    Ok(config)
}

/// Says what the TOML parser says in the words of this file, with a suggestion for an unknown key.
fn explain(message: &str) -> String {
    let message = message.trim_end();
    if let Some(field) = message.strip_prefix("missing field `") {
        return format!("the key {} is missing", field.trim_end_matches('`'));
    }
    let Some(rest) = message.strip_prefix("unknown field `") else {
        return message
            .replace("expected i64", "expected a whole number")
            .replace(
                "expected a sequence",
                "expected a list: [\"…\"], or [[…]] for tables",
            );
    };
    let mut quoted = rest.split('`');
    let unknown = quoted.next().unwrap_or("");
    let known: Vec<&str> = quoted.skip(1).step_by(2).collect();
    let suggestion = match unknown {
        "check" => "; did you mean [service.check]?".to_owned(),
        "backend" => "; did you mean [[service.backend]]?".to_owned(),
        "protocol" => "; it is written with the address: vip = \"192.0.2.10:53/udp\"".to_owned(),
        _ => values::did_you_mean(unknown, known.iter().copied()),
    };
    format!(
        "unknown key {unknown:?}{suggestion} (known here: {})",
        known.join(", ")
    )
}

fn interfaces(raw: &Spanned<Vec<Spanned<String>>>) -> Result<Vec<String>, Fault> {
    judge(raw, |names| {
        if names.is_empty() {
            Err("at least one interface is needed, as interfaces = [\"eth0\"]".to_owned())
        } else {
            Ok(())
        }
    })?;
    let mut interfaces: Vec<String> = Vec::new();
    for name in raw.get_ref() {
        let name = judge(name, |name| {
            let name = interface_name(name)?;
            if interfaces.contains(&name) {
                return Err(format!("interface {name} is named twice: once is enough"));
            }
            Ok(name)
        })?;
        interfaces.push(name);
    }
    Ok(interfaces)
}

fn interface_name(name: &str) -> Result<String, String> {
    let fits = !name.is_empty()
        && name.len() <= INTERFACE_MAX
        && !matches!(name, "." | "..")
        && !name.contains(|each: char| {
            each == '/' || each == ':' || each.is_whitespace() || each.is_control()
        });
    if fits {
        return Ok(name.to_owned());
    }
    Err(format!(
        "{name:?} is not the name of an interface: 1 to {INTERFACE_MAX} characters, without \
         spaces, '/' and ':'"
    ))
}

fn path(raw: Option<&Spanned<String>>, key: &str, default: &str) -> Result<PathBuf, Fault> {
    judge_or(raw, PathBuf::from(default), |text| {
        let path = PathBuf::from(text);
        if path.is_absolute() {
            Ok(path)
        } else {
            Err(format!(
                "{key} must be an absolute path, as {default}, not {text:?}"
            ))
        }
    })
}

fn limits(raw: &raw::Limits) -> Result<Limits, Fault> {
    let limit = |raw: &Option<Spanned<i64>>, key, default, range| {
        judge_or(raw.as_ref(), default, |value| {
            values::within(key, *value, range)
        })
    };
    Ok(Limits {
        services: limit(
            &raw.services,
            "services",
            default(capacity::SERVICES),
            &SERVICES,
        )?,
        backends: limit(
            &raw.backends,
            "backends",
            default(capacity::BACKENDS),
            &BACKENDS,
        )?,
        flows: limit(&raw.flows, "flows", default(capacity::FLOWS), &FLOWS)?,
        records_per_second: limit(
            &raw.records_per_second,
            "records_per_second",
            RECORDS_PER_SECOND,
            &RECORDS,
        )?,
    })
}

fn default(capacity: usize) -> u32 {
    u32::try_from(capacity).unwrap_or(u32::MAX)
}

fn add_service(config: &mut Config, raw: &raw::Service) -> Result<(), Fault> {
    let name: Name = judge(&raw.name, |text| {
        text.parse().map_err(|error| format!("{error}"))
    })?;
    only(raw.mode.as_ref(), "mode", "nat")?;
    only(raw.scheduler.as_ref(), "scheduler", "maglev")?;
    let vip: Vip = judge(&raw.vip, |text| {
        text.parse().map_err(|error| format!("{error}"))
    })?;
    let service = Service {
        vip,
        tracked: match &raw.tracked {
            Some(raw) => judge(raw, |given| values::tracked(&vip, Some(*given)))?,
            None => judge(&raw.vip, |_| values::tracked(&vip, None))?,
        },
        idle_timeout: judge_or(raw.idle_timeout.as_ref(), None, |text| {
            values::idle_timeout(text).map(Some)
        })?,
        slots: judge_or(
            raw.slots.as_ref(),
            default(capacity::SLOTS_PER_SERVICE),
            |value| values::slots(*value),
        )?,
        check: match &raw.check {
            Some(raw) => check(raw)?,
            None => judge(&raw.vip, |_| values::default_check(&vip))?,
        },
        backends: BTreeMap::new(),
    };
    validate::add_service(config, &name, service)
        .map_err(|misfit| fault(misfit, &raw.name, &raw.vip))?;
    for backend in &raw.backend {
        add_backend(config, &name, backend)?;
    }
    Ok(())
}

fn add_backend(config: &mut Config, service: &Name, raw: &raw::Backend) -> Result<(), Fault> {
    let name = BackendRef {
        service: service.clone(),
        backend: judge(&raw.name, |text| {
            text.parse().map_err(|error| format!("{error}"))
        })?,
    };
    let backend = Backend {
        address: judge(&raw.address, |text| values::backend_address(text))?,
        weight: judge_or(raw.weight.as_ref(), 1, |value| values::weight(*value))?,
        admin: judge_or(raw.state.as_ref(), Admin::Ready, |text| values::admin(text))?,
    };
    validate::add_backend(config, &name, backend)
        .map_err(|misfit| fault(misfit, &raw.name, &raw.address))
}

fn fault(misfit: validate::Misfit, name: &Spanned<String>, address: &Spanned<String>) -> Fault {
    let place = match misfit.about {
        About::Name | About::Count => name,
        About::Address => address,
    };
    Fault {
        span: Some(place.span()),
        message: misfit.message,
    }
}

fn only(raw: Option<&Spanned<String>>, key: &str, choice: &str) -> Result<(), Fault> {
    judge_or(raw, (), |text| {
        if text == choice {
            Ok(())
        } else {
            Err(format!(
                "{key} {text:?} is not in this release: {choice:?} is the only one"
            ))
        }
    })
}

fn check(raw: &raw::Check) -> Result<Check, Fault> {
    fn text(value: &Option<Spanned<String>>) -> Option<&str> {
        value.as_ref().map(|value| value.get_ref().as_str())
    }
    fn number(value: &Option<Spanned<i64>>) -> Option<i64> {
        value.as_ref().map(|value| *value.get_ref())
    }
    let written = values::CheckText {
        kind: text(&raw.kind),
        port: number(&raw.port),
        path: text(&raw.path),
        host: text(&raw.host),
        expect: number(&raw.expect),
        interval: text(&raw.interval),
        timeout: text(&raw.timeout),
        rise: number(&raw.rise),
        fall: number(&raw.fall),
    };
    written.check().map_err(|fault| Fault {
        span: match fault.key {
            "type" => raw.kind.as_ref().map(Spanned::span),
            "port" => raw.port.as_ref().map(Spanned::span),
            "path" => raw.path.as_ref().map(Spanned::span),
            "host" => raw.host.as_ref().map(Spanned::span),
            "expect" => raw.expect.as_ref().map(Spanned::span),
            "interval" => raw.interval.as_ref().map(Spanned::span),
            "timeout" => raw.timeout.as_ref().map(Spanned::span),
            "rise" => raw.rise.as_ref().map(Spanned::span),
            _ => raw.fall.as_ref().map(Spanned::span),
        },
        message: fault.message,
    })
}
