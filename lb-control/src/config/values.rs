//! Single values: what is allowed, said once, for the file and the API.

use super::model::{Admin, Check, Probe, Protocol, Vip};
use crate::types;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

/// Slots of a service's table. The upper end is Maglev's "small" prime.
const SLOTS: RangeInclusive<i64> = 251..=65_537;
const WEIGHT: RangeInclusive<i64> = 1..=1_000;
const PORT: RangeInclusive<i64> = 1..=65_535;
const STATUS: RangeInclusive<i64> = 100..=599;
const IN_A_ROW: RangeInclusive<i64> = 1..=1_000;
const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const INTERVAL: RangeInclusive<Duration> = Duration::from_millis(100)..=DAY;
const TIMEOUT_MIN: Duration = Duration::from_millis(1);
const PATH_MAX: usize = 1_024;
const HOST_MAX: usize = 255;

/// How long a connection may be silent.
const IDLE_TIMEOUT: RangeInclusive<Duration> = SECOND..=DAY;

/// `; did you mean "x"?` if one of `known` is close to `text`, else nothing.
pub(super) fn did_you_mean<'a>(text: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    known
        .into_iter()
        .map(|each| (strsim::jaro_winkler(text, each), each))
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map_or_else(String::new, |(_, closest)| {
            format!("; did you mean {closest:?}?")
        })
}

/// An address and port that a packet can be sent to.
pub(super) fn address(text: &str, what: &str, example: &str) -> Result<SocketAddr, String> {
    let address = match text.parse::<SocketAddr>() {
        Ok(address) => address,
        Err(_) => {
            if let Ok(ip) = text.trim_matches(['[', ']']).parse::<IpAddr>() {
                let address = SocketAddr::new(ip, 8080);
                return Err(format!("{text:?} has no port: write it as {address}"));
            }
            let port = text.rsplit_once(':').map_or("", |(_, port)| port);
            if !port.is_empty()
                && port.bytes().all(|each| each.is_ascii_digit())
                && port.parse::<u16>().is_err()
            {
                return Err(format!("{text:?}: port {port} is out of range: 1 to 65535"));
            }
            return Err(format!(
                "{text:?} is not {what}: IP address and port, as {example}"
            ));
        }
    };
    if address.port() == 0 {
        return Err(format!("{text:?}: port 0 is out of range: 1 to 65535"));
    }
    let ip = address.ip();
    let Some(kind) = unfit(ip) else {
        return Ok(address);
    };
    Err(format!(
        "{text:?}: {ip} is {kind}; {what} is one that hosts reach over the network, as {example}"
    ))
}

/// What an address is, if it is not one that other hosts reach.
fn unfit(ip: IpAddr) -> Option<&'static str> {
    let is_broadcast = match ip {
        IpAddr::V4(ip) => ip.is_broadcast(),
        IpAddr::V6(_) => false,
    };
    if ip.is_unspecified() {
        Some("the unspecified address")
    } else if ip.is_loopback() {
        Some("a loopback address")
    } else if ip.is_multicast() {
        Some("a multicast address")
    } else if is_broadcast {
        Some("the broadcast address")
    } else {
        match ip {
            IpAddr::V6(ip) if ip.is_unicast_link_local() => {
                Some("a link-local address, which says not on which link")
            }
            IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some() => {
                Some("an IPv4 address in the form of IPv6, which is never sent")
            }
            IpAddr::V4(_) | IpAddr::V6(_) => None,
        }
    }
}

pub(super) fn backend_address(text: &str) -> Result<SocketAddr, String> {
    address(
        text,
        "a backend's address",
        "10.0.2.11:8080 or [2001:db8:2::11]:8080",
    )
}

/// Whether connections of a service stay with their backends.
pub(super) fn tracked(vip: &Vip, given: Option<bool>) -> Result<bool, String> {
    match (vip.protocol, given) {
        (Protocol::Tcp, Some(false)) => Err(format!(
            "connections of TCP always stay with their backends: tracked = false is for services of \
             UDP, and {vip} is none"
        )),
        (Protocol::Tcp, _) => Ok(true),
        (Protocol::Udp, given) => Ok(given.unwrap_or(false)),
    }
}

/// How the backends of a service are checked if nothing else is said.
pub(super) fn default_check(vip: &Vip) -> Result<Check, String> {
    match vip.protocol {
        Protocol::Tcp => Ok(Check::default()),
        Protocol::Udp => Err(format!(
            "{vip} needs a check that says how its backends are asked: type tcp or http, at a port \
             where they answer that, or none"
        )),
    }
}

/// How long connections of a service may be silent, if that is said.
pub(super) fn idle_timeout(text: &str) -> Result<Duration, String> {
    duration("idle_timeout", text, &IDLE_TIMEOUT)
}

/// Where metrics are served: without a password, so only to this host.
pub(super) fn metrics_address(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text.parse().map_err(|_| {
        format!("listen: {text:?} is not an address and port, as 127.0.0.1:9601 or [::1]:9601")
    })?;
    if address.port() == 0 {
        return Err(format!(
            "listen: {text:?}: port 0 is out of range: 1 to 65535"
        ));
    }
    if !address.ip().is_loopback() {
        return Err(format!(
            "listen: {} is not a loopback address, and metrics are served to whoever asks: listen \
             at 127.0.0.1:{}, and let others in through a reverse proxy with TLS",
            address.ip(),
            address.port()
        ));
    }
    Ok(address)
}

/// A whole number within a range.
pub(super) fn within<T: TryFrom<i64>>(
    what: &str,
    value: i64,
    range: &RangeInclusive<i64>,
) -> Result<T, String> {
    let fault = || {
        format!(
            "{what} {value} is out of range: {} to {}",
            range.start(),
            range.end()
        )
    };
    if !range.contains(&value) {
        return Err(fault());
    }
    T::try_from(value).map_err(|_| fault())
}

pub(super) fn weight(value: i64) -> Result<u16, String> {
    within("weight", value, &WEIGHT)
}

pub(super) fn admin(text: &str) -> Result<Admin, String> {
    text.parse().map_err(|error| format!("{error}"))
}

/// Whether a service can have so many slots.
pub(crate) fn can_be_slots(slots: u32) -> bool {
    self::slots(slots.into()).is_ok()
}

/// Slots: a prime, so that every backend's permutation visits each of them.
pub(super) fn slots(value: i64) -> Result<u32, String> {
    let slots: u32 = within("slots", value, &SLOTS)?;
    if is_prime(slots) {
        return Ok(slots);
    }
    let below = (0..slots).rev().find(|each| is_prime(*each)).unwrap_or(251);
    let above = (slots..=65_537)
        .find(|each| is_prime(*each))
        .unwrap_or(65_537);
    Err(format!(
        "slots must be a prime, and {slots} is not: {} or {above} is",
        below.max(251)
    ))
}

fn is_prime(number: u32) -> bool {
    number >= 2
        && (2..)
            .take_while(|divisor| divisor * divisor <= number)
            .all(|divisor| !number.is_multiple_of(divisor))
}

/// A duration within a range.
pub(super) fn duration(
    what: &str,
    text: &str,
    range: &RangeInclusive<Duration>,
) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text)
        .map_err(|_| format!("{what}: {text:?} is not a duration: write 500ms, 5s or 2m"))?;
    if range.contains(&duration) {
        Ok(duration)
    } else {
        Err(format!(
            "{what} {text} is out of range: {} to {}",
            humantime::format_duration(*range.start()),
            humantime::format_duration(*range.end())
        ))
    }
}

/// A health check as somebody wrote it.
#[derive(Default)]
pub(super) struct CheckText<'a> {
    pub(super) kind: Option<&'a str>,
    pub(super) port: Option<i64>,
    pub(super) path: Option<&'a str>,
    pub(super) host: Option<&'a str>,
    pub(super) expect: Option<i64>,
    pub(super) interval: Option<&'a str>,
    pub(super) timeout: Option<&'a str>,
    pub(super) rise: Option<i64>,
    pub(super) fall: Option<i64>,
}

/// What is wrong with a health check, and with which of its keys.
#[derive(Debug)]
pub(super) struct CheckFault {
    pub(super) key: &'static str,
    pub(super) message: String,
}

impl CheckText<'_> {
    pub(super) fn check(&self) -> Result<Check, CheckFault> {
        let at = |key| move |message| CheckFault { key, message };
        let default = Check::default();
        let interval = match self.interval {
            Some(text) => duration("interval", text, &INTERVAL).map_err(at("interval"))?,
            None => default.interval,
        };
        let timeout = match self.timeout {
            Some(text) => {
                let timeout = duration("timeout", text, &(TIMEOUT_MIN..=DAY));
                let timeout = timeout.map_err(at("timeout"))?;
                if timeout > interval {
                    return Err(at("timeout")(format!(
                        "timeout {text} is longer than the interval, {}: a probe must end before \
                         the next begins",
                        humantime::format_duration(interval)
                    )));
                }
                timeout
            }
            None => default.timeout.min(interval),
        };
        let in_a_row = |key, value: Option<i64>, default| match value {
            Some(value) => within(key, value, &IN_A_ROW).map_err(at(key)),
            None => Ok(default),
        };
        Ok(Check {
            probe: self.probe()?,
            port: self.port()?,
            interval,
            timeout,
            rise: in_a_row("rise", self.rise, default.rise)?,
            fall: in_a_row("fall", self.fall, default.fall)?,
        })
    }

    fn probe(&self) -> Result<Probe, CheckFault> {
        let at = |key| move |message| CheckFault { key, message };
        let kind = self.kind.unwrap_or("tcp");
        let probe = match kind {
            "none" => Probe::None,
            "tcp" => Probe::Tcp,
            "http" => return self.http(),
            _ => {
                return Err(at("type")(format!(
                    "{kind:?} is not a type of check: tcp, http or none{}",
                    did_you_mean(kind, ["tcp", "http", "none"])
                )));
            }
        };
        let extra = [
            ("path", self.path.is_some()),
            ("host", self.host.is_some()),
            ("expect", self.expect.is_some()),
        ];
        match extra.iter().find(|(_, given)| *given) {
            Some((key, _)) => Err(at(key)(format!(
                "{key} is for checks of type http, and this one is {kind}"
            ))),
            None => Ok(probe),
        }
    }

    fn port(&self) -> Result<Option<u16>, CheckFault> {
        let at = |message| CheckFault {
            key: "port",
            message,
        };
        match self.port {
            Some(_) if self.kind == Some("none") => Err(at(
                "port is for checks that connect, and this one is none".to_owned(),
            )),
            Some(port) => within("port", port, &PORT).map(Some).map_err(at),
            None => Ok(None),
        }
    }

    fn http(&self) -> Result<Probe, CheckFault> {
        let at = |key| move |message| CheckFault { key, message };
        let path = self.path.unwrap_or("/");
        let printable = |text: &str| text.bytes().all(|each| each.is_ascii_graphic());
        if !path.starts_with('/') || !printable(path) || path.len() > PATH_MAX {
            return Err(at("path")(format!(
                "{path:?} is not a path: it begins with '/' and has no spaces, as /healthz"
            )));
        }
        if let Some(host) = self.host
            && (host.is_empty() || !printable(host) || host.len() > HOST_MAX)
        {
            return Err(at("host")(format!(
                "{host:?} is not a host name, as www.example.net"
            )));
        }
        let expect = match self.expect {
            Some(status) => within("expect", status, &STATUS).map_err(at("expect"))?,
            None => 200,
        };
        Ok(Probe::Http {
            path: path.to_owned(),
            host: self.host.map(str::to_owned),
            expect,
        })
    }
}

/// A health check from the API.
pub(super) fn check_from_api(check: &types::Check) -> Result<Check, String> {
    CheckText {
        kind: Some(&check.kind),
        port: check.port.map(i64::from),
        path: check.path.as_deref(),
        host: check.host.as_deref(),
        expect: check.expect.map(i64::from),
        interval: check.interval.as_deref(),
        timeout: check.timeout.as_deref(),
        rise: check.rise.map(i64::from),
        fall: check.fall.map(i64::from),
    }
    .check()
    .map_err(|fault| fault.message)
}

impl From<&Check> for types::Check {
    fn from(check: &Check) -> Self {
        let (kind, path, host, expect) = match &check.probe {
            Probe::None => ("none", None, None, None),
            Probe::Tcp => ("tcp", None, None, None),
            Probe::Http { path, host, expect } => {
                ("http", Some(path.clone()), host.clone(), Some(*expect))
            }
        };
        Self {
            kind: kind.to_owned(),
            port: check.port,
            path,
            host,
            expect,
            interval: Some(humantime::format_duration(check.interval).to_string()),
            timeout: Some(humantime::format_duration(check.timeout).to_string()),
            rise: Some(check.rise),
            fall: Some(check.fall),
        }
    }
}
