//! Reads the list `track` of `[ha]`.

use super::group::known;
use super::{Fault, interface_name, judge, raw, values};
use crate::config::model::{Name, Network, Service, Track, Tracked};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use toml::Spanned;

/// More than any priority leaves to be lowered has no meaning.
const WEIGHT: RangeInclusive<i64> = 1..=254;

/// Reads what is tracked, where there are these services.
pub(super) fn read(
    raw: &[Spanned<raw::Track>],
    services: &BTreeMap<Name, Service>,
) -> Result<Vec<Track>, Fault> {
    let mut all: Vec<Track> = Vec::new();
    for raw in raw {
        let tracked = tracked(raw, services)?;
        judge(raw, |_| {
            if all.iter().any(|each| each.tracked == tracked) {
                return Err(format!("track: {tracked} is named twice: once is enough"));
            }
            Ok(())
        })?;
        let weight = judge(&raw.get_ref().weight, |weight| {
            values::within("weight", *weight, &WEIGHT)
        })?;
        all.push(Track { tracked, weight });
    }
    Ok(all)
}

fn tracked(
    raw: &Spanned<raw::Track>,
    services: &BTreeMap<Name, Service>,
) -> Result<Tracked, Fault> {
    let raw::Track {
        interface,
        route,
        service,
        ..
    } = raw.get_ref();
    match (interface, route, service) {
        (Some(name), None, None) => {
            judge(name, |name| interface_name(name)).map(Tracked::Interface)
        }
        (None, Some(route), None) => judge(route, |text| network(text)).map(Tracked::Route),
        (None, None, Some(name)) => judge(name, |name| known(name, services))
            .map(|(name, _)| Tracked::Service(name.clone())),
        _ => judge(raw, |_| {
            Err(
                "track: an entry is about one thing, as { interface = \"eth1\", weight = 120 }, or \
                 route = \"0.0.0.0/0\", or service = \"www\""
                    .to_owned(),
            )
        }),
    }
}

/// Reads `198.51.100.0/24`.
fn network(text: &str) -> Result<Network, String> {
    let wrong = || format!("route: {text:?} is not as \"0.0.0.0/0\" or \"2001:db8::/32\"");
    let (address, prefix) = text.split_once('/').ok_or_else(wrong)?;
    let address: IpAddr = address.parse().map_err(|_| wrong())?;
    let prefix: u8 = prefix.parse().map_err(|_| wrong())?;
    let longest = if address.is_ipv4() { 32 } else { 128 };
    if prefix > longest {
        return Err(format!(
            "route: /{prefix} is out of range: /0 to /{longest}"
        ));
    }
    Network::new(address, prefix)
        .ok_or_else(|| format!("route: {address} has more bits set than /{prefix} names"))
}
