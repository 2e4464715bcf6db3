//! What services and backends may not be to each other.
//!
//! Services and backends are added one by one, by the file, the API and the overlay alike, and each
//! is held against all that are there: so every pair is looked at once, when its second is added.

use super::model::{Backend, BackendRef, Config, Ha, Name, Service};
use std::collections::BTreeSet;
use std::collections::btree_map::Entry;
use std::net::IpAddr;

/// An advertisement counts its addresses in a byte (RFC 9568, section 5.2.5).
pub(super) const ADVERTISED_MAX: usize = 255;

/// Why something does not fit.
#[derive(Debug)]
pub(super) struct Misfit {
    pub(super) about: About,
    pub(super) message: String,
}

/// What of the newcomer does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum About {
    /// Its name is taken.
    Name,
    /// Its address is in the way of another.
    Address,
    /// It is one too many.
    Count,
}

fn misfit(about: About, message: String) -> Misfit {
    Misfit { about, message }
}

/// Adds a service. Its own backends, if any, are held against the others too.
pub(super) fn add_service(
    config: &mut Config,
    name: &Name,
    service: Service,
) -> Result<(), Misfit> {
    if config.services.contains_key(name) {
        return Err(misfit(
            About::Name,
            format!("there is a service {name} already: names of services are unique"),
        ));
    }
    if config.services.len() >= as_len(config.limits.services) {
        return Err(misfit(
            About::Count,
            format!(
                "service {name} is one too many: limits.services is {}",
                config.limits.services
            ),
        ));
    }
    if let Some(ha) = &config.ha {
        if has(ha, service.vip.ip()) {
            return Err(misfit(
                About::Address,
                format!(
                    "{} is among the addresses of [ha]: services' addresses belong to it anyway",
                    service.vip.ip()
                ),
            ));
        }
        if let Some(whose) = ha.fixed(service.vip.ip()) {
            return Err(misfit(
                About::Address,
                format!(
                    "{} is {whose}: whoever leads has a service's address, so it must be another",
                    service.vip.ip()
                ),
            ));
        }
        let vips = config.services.values().map(|each| each.vip.ip());
        let vips: BTreeSet<_> = vips.chain([service.vip.ip()]).collect();
        let named = ha.addresses.iter().map(|each| each.address);
        let family = |each: &IpAddr| each.is_ipv4() == service.vip.ip().is_ipv4();
        if vips.into_iter().chain(named).filter(family).count() > ADVERTISED_MAX {
            return Err(misfit(
                About::Count,
                format!(
                    "service {name} has one address too many: [ha] can share {ADVERTISED_MAX} of \
                     a family at most"
                ),
            ));
        }
    }
    for (other_name, other) in &config.services {
        if other.vip == service.vip {
            return Err(misfit(
                About::Address,
                format!(
                    "service {other_name} has {} already: every service has its own address, port \
                     and protocol",
                    service.vip
                ),
            ));
        }
        for (backend, other) in &other.backends {
            if other.address.ip() == service.vip.ip() {
                return Err(misfit(
                    About::Address,
                    format!(
                        "{} is the address of backend {other_name}/{backend}: a virtual address \
                         cannot be a backend's too",
                        service.vip.ip()
                    ),
                ));
            }
        }
    }
    let mut empty = service;
    let backends = std::mem::take(&mut empty.backends);
    config.services.insert(name.clone(), empty);
    for (backend, wanted) in backends {
        let backend = BackendRef {
            service: name.clone(),
            backend,
        };
        if let Err(misfit) = add_backend(config, &backend, wanted) {
            config.services.remove(name);
            return Err(misfit);
        }
    }
    Ok(())
}

/// Adds a backend to a service that is there.
pub(super) fn add_backend(
    config: &mut Config,
    name: &BackendRef,
    backend: Backend,
) -> Result<(), Misfit> {
    let there = config
        .services
        .get(&name.service)
        .is_some_and(|service| service.backends.contains_key(&name.backend));
    if there {
        return Err(misfit(
            About::Name,
            format!(
                "there is a backend {name} already: names of backends are unique within a service"
            ),
        ));
    }
    let count: usize = config
        .services
        .values()
        .map(|each| each.backends.len())
        .sum();
    // Id 0 is never used.
    let most = config.limits.backends.saturating_sub(1);
    if count >= as_len(most) {
        return Err(misfit(
            About::Count,
            format!(
                "backend {name} is one too many: limits.backends is {}, and one of them is kept \
                 free, which leaves {most}",
                config.limits.backends
            ),
        ));
    }
    if let Some(ha) = &config.ha
        && has(ha, backend.address.ip())
    {
        return Err(misfit(
            About::Address,
            format!(
                "{} is among the addresses of [ha]: a backend has an address of its own",
                backend.address.ip()
            ),
        ));
    }
    let own = config.services.get(&name.service).map(|own| own.vip);
    if let Some(vip) = own
        && vip.ip().is_ipv4() != backend.address.is_ipv4()
    {
        return Err(misfit(
            About::Address,
            format!(
                "{} is of another version of IP than {vip}, and addresses are translated within one: \
                 give an address of {}",
                backend.address,
                if vip.ip().is_ipv4() { "IPv4" } else { "IPv6" },
            ),
        ));
    }
    for (service_name, service) in &config.services {
        if service.vip.ip() == backend.address.ip() {
            return Err(misfit(
                About::Address,
                format!(
                    "{} is the virtual address of service {service_name}: a backend has an \
                     address of its own",
                    backend.address.ip()
                ),
            ));
        }
        for (other_name, other) in &service.backends {
            if other.address == backend.address
                && own.is_none_or(|own| own.protocol == service.vip.protocol)
            {
                return Err(misfit(
                    About::Address,
                    format!(
                        "{} is backend {service_name}/{other_name} already: packets on the way \
                         back could not tell the two apart; use another port or address",
                        backend.address
                    ),
                ));
            }
        }
    }
    match config.services.entry(name.service.clone()) {
        Entry::Occupied(mut service) => {
            service
                .get_mut()
                .backends
                .insert(name.backend.clone(), backend);
            Ok(())
        }
        Entry::Vacant(_) => Err(misfit(
            About::Name,
            format!("there is no service {}", name.service),
        )),
    }
}

fn has(ha: &Ha, address: IpAddr) -> bool {
    let groups = ha.groups.iter().flat_map(|group| &group.addresses);
    let mut all = ha.addresses.iter().chain(groups);
    all.any(|each| each.address == address)
}

fn as_len(limit: u32) -> usize {
    usize::try_from(limit).unwrap_or(usize::MAX)
}
