//! What the daemon tells about itself.

use super::Daemon;
use super::leading::Leading;
use super::pairing::Pairing;
use crate::config::{Admin, Backend, BackendRef, Check, Name, Overlay, Probe, Service};
use crate::dataplane::{Dataplane, Error};
use crate::desired;
use crate::proto::vrrp::Priority;
use crate::types::{self, Flows, Slots, Stats, Status};
use lb_ebpf::abi::{BackendId, ServiceId, Slot, SlotState, Tracking, Traffic};
use lb_ebpf::reason::Reason;
use std::collections::BTreeMap;
use std::net::SocketAddr;

impl<D: Dataplane> Daemon<D> {
    pub(super) fn status(&self) -> Status {
        let services: Vec<_> = self
            .running
            .services
            .iter()
            .map(|(name, service)| self.service(name, service))
            .collect();
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            revision: self.revision(),
            uptime_s: self.started.elapsed().as_secs(),
            alarms: self.alarms(&services),
            interfaces: self.host.attachments.iter().map(interface).collect(),
            ha: self.ha(),
            services,
            changes: self.changes(),
            flows: Flows {
                recorded: self.recorded.values().sum(),
                capacity: u64::from(self.running.limits.flows),
            },
        }
    }

    /// What was changed by CLI, and what of it is left out.
    fn changes(&self) -> Vec<String> {
        let mut lines = Overlay::between(&self.base, &self.running).lines();
        let left_out = self.left_out.lines().into_iter();
        lines.extend(left_out.map(|line| format!("{line} (left out: it does not fit the file)")));
        lines
    }

    fn alarms(&self, services: &[types::Service]) -> Vec<String> {
        let mut alarms: Vec<String> = self.failure.iter().cloned().collect();
        let refused = self.refused_file.iter();
        alarms.extend(refused.map(|error| format!("the configuration file is refused: {error}")));
        alarms.extend(self.warnings.iter().cloned());
        alarms.extend(self.unkept.iter().map(|error| {
            format!("{error}: changes are refused until it works; traffic is as before")
        }));
        alarms.extend(self.unshared_alarm());
        alarms.extend(self.leading.iter().flat_map(Leading::alarms));
        let unshared = |leading: &Leading| leading.unshared(&self.running);
        alarms.extend(self.leading.iter().flat_map(unshared));
        alarms.extend(self.pairing.iter().flat_map(Pairing::alarms));
        if self.leads() && self.peer_leads() {
            alarms.push(
                "the other host says that it leads, too: do advertisements and heartbeats get \
                 through, and is `peer` in [ha] right on both?"
                    .to_owned(),
            );
        }
        if self.made_way.is_some() && !self.leads() {
            alarms.push(
                "this host made way for the other one, which reaches backends that it does not"
                    .to_owned(),
            );
        }
        alarms.extend(self.host.alarms.iter().cloned());
        alarms.extend(self.strangers());
        for service in self.world.panics.keys() {
            alarms.push(format!(
                "{service}: no backend is up; those that failed together go on"
            ));
        }
        if self.refusing {
            alarms.push(
                "flows are not recorded, for lack of room or rate: changes take longer, see the \
                 limits flows and records_per_second"
                    .to_owned(),
            );
        }
        let takes_none = |service: &&types::Service| {
            let mut backends = service.backends.iter();
            service.slots.empty > 0 || backends.all(|backend| backend.slots == 0)
        };
        for service in services.iter().filter(takes_none) {
            alarms.push(format!("{}: no backend takes connections", service.name));
        }
        alarms
    }

    fn ha(&self) -> types::Ha {
        match &self.leading {
            Some(leading) => types::Ha {
                pair: self.pairing.as_ref().map(Pairing::status),
                stands_behind: self.switching.stands_behind.map(Priority::get),
                ..leading.status(&self.running)
            },
            None => types::Ha {
                role: "alone".to_owned(),
                since_s: self.started.elapsed().as_secs(),
                reason: "there is no [ha] in the configuration file".to_owned(),
                ..types::Ha::default()
            },
        }
    }

    /// Backends that are reached by an interface whose answers the program does not see.
    fn strangers(&self) -> impl Iterator<Item = String> {
        let attached: Vec<u32> = self.host.attachments.iter().map(|it| it.ifindex).collect();
        let hops = self.world.next_hops.iter();
        hops.filter(move |(_, hop)| !attached.is_empty() && !attached.contains(&hop.ifindex))
            .map(|(address, hop)| {
                let ifindex = hop.ifindex;
                let name = nix::net::if_::if_indextoname(ifindex);
                let name =
                    name.map_or_else(|_| ifindex.to_string(), |it| it.to_string_lossy().into());
                format!("{address} is reached by {name}, which is not among the interfaces")
            })
    }

    fn service(&self, name: &Name, service: &Service) -> types::Service {
        let known = self
            .tables
            .services
            .get(&desired::service_key(&service.vip));
        let id = known.map(|service| service.id);
        let slots = id
            .and_then(|id| self.tables.slots.get(&id))
            .map_or(&[][..], Vec::as_slice);
        let owned = owned(slots);
        let mut backends: Vec<_> = service
            .backends
            .iter()
            .map(|(backend, config)| self.backend((name, backend), config, &owned))
            .collect();
        backends.extend(self.all_leaving(name, id, &owned));
        types::Service {
            name: name.to_string(),
            vip: service.vip.to_string(),
            slots: by_state(slots),
            check: describe(&service.check),
            backends,
        }
    }

    fn backend(
        &self,
        (service, name): (&Name, &Name),
        config: &Backend,
        owned: &Owned,
    ) -> types::Backend {
        let backend = BackendRef {
            service: service.clone(),
            backend: name.clone(),
        };
        let id = self.ids.get(&backend).copied().unwrap_or(0);
        let health = self.health.get(&backend);
        let unreachable = self.world.unreachable.get(&config.address.ip());
        let (operational, reason) = match (unreachable, self.world.up.get(&backend)) {
            (Some(reason), _) => ("unresolved", reason.clone()),
            (None, Some(up)) => (
                if *up { "up" } else { "down" },
                health.map_or_else(String::new, |health| health.reason.clone()),
            ),
            (None, None) => ("init", "not checked yet".to_owned()),
        };
        let (slots, draining_slots) = owned.of(id);
        types::Backend {
            service: service.to_string(),
            name: name.to_string(),
            address: config.address.to_string(),
            weight: config.weight,
            admin: match config.admin {
                Admin::Ready => "ready",
                Admin::Drain => "drain",
            }
            .to_owned(),
            operational: operational.to_owned(),
            reason,
            since_s: health.map_or(0, |health| health.since.elapsed().as_secs()),
            slots,
            draining_slots,
            recorded_flows: self.recorded.get(&id).copied().unwrap_or(0),
        }
    }

    /// Backends that left the configuration, and finish their connections.
    fn all_leaving(
        &self,
        service: &Name,
        id: Option<ServiceId>,
        owned: &Owned,
    ) -> Vec<types::Backend> {
        let configured: Vec<BackendId> = self.ids.values().copied().collect();
        let backends = self.tables.backends.iter();
        backends
            .filter(|(backend, entry)| Some(entry.service) == id && !configured.contains(backend))
            .map(|(backend, entry)| {
                let port = u16::from_be_bytes(entry.port);
                let address = SocketAddr::new(entry.addr.into(), port).to_string();
                let (slots, draining_slots) = owned.of(*backend);
                types::Backend {
                    service: service.to_string(),
                    // One that was removed before lbd was started has lost its name.
                    name: self
                        .names
                        .get(backend)
                        .map_or_else(|| address.clone(), |name| name.backend.to_string()),
                    address,
                    weight: 0,
                    admin: "removing".to_owned(),
                    operational: if entry.is_alive() { "up" } else { "down" }.to_owned(),
                    reason: "removed; its connections finish".to_owned(),
                    since_s: 0,
                    slots,
                    draining_slots,
                    recorded_flows: self.recorded.get(backend).copied().unwrap_or(0),
                }
            })
            .collect()
    }

    pub(super) fn stats(&self) -> Result<Stats, Error> {
        let mut services = BTreeMap::new();
        let mut backends = BTreeMap::new();
        for (name, service) in &self.running.services {
            let key = desired::service_key(&service.vip);
            let Some(known) = self.tables.services.get(&key) else {
                continue;
            };
            let mut total = self.dataplane.retired(known.id)?;
            for (id, entry) in &self.tables.backends {
                if entry.service == known.id {
                    total += self.dataplane.traffic(*id)?;
                }
            }
            services.insert(name.to_string(), traffic(total));
        }
        for (backend, id) in &self.ids {
            backends.insert(backend.to_string(), traffic(self.dataplane.traffic(*id)?));
        }
        let reasons = Reason::ALL.iter().map(|reason| reason.name().to_owned());
        let tracking = Tracking::ALL.iter().map(|what| what.name().to_owned());
        Ok(Stats {
            at_ns: monotonic_ns(),
            services,
            backends,
            reasons: reasons.zip(self.dataplane.reasons()?).collect(),
            tracking: tracking.zip(self.dataplane.tracking()?).collect(),
        })
    }
}

fn monotonic_ns() -> u64 {
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).map_or(0, |now| {
        now.tv_sec().cast_unsigned() * 1_000_000_000 + now.tv_nsec().cast_unsigned()
    })
}

fn interface(attachment: &crate::dataplane::Attachment) -> types::Interface {
    types::Interface {
        name: attachment.interface.clone(),
        ifindex: attachment.ifindex,
        mode: attachment
            .mode
            .map_or_else(|| "not attached".to_owned(), |mode| mode.to_string()),
    }
}

const fn traffic(traffic: Traffic) -> types::Traffic {
    let Traffic {
        packets_in,
        bytes_in,
        packets_out,
        bytes_out,
        connections,
    } = traffic;
    types::Traffic {
        packets_in,
        bytes_in,
        packets_out,
        bytes_out,
        connections,
    }
}

/// For how many slots each backend takes new connections, and keeps older ones.
struct Owned(BTreeMap<BackendId, (u32, u32)>);

impl Owned {
    fn of(&self, id: BackendId) -> (u32, u32) {
        self.0.get(&id).copied().unwrap_or((0, 0))
    }
}

fn owned(slots: &[Slot]) -> Owned {
    let mut owned: BTreeMap<BackendId, (u32, u32)> = BTreeMap::new();
    for slot in slots {
        owned.entry(slot.current).or_default().0 += 1;
        if slot.previous != slot.current {
            owned.entry(slot.previous).or_default().1 += 1;
        }
    }
    owned.remove(&0);
    Owned(owned)
}

fn by_state(slots: &[Slot]) -> Slots {
    let mut count = Slots {
        total: slots.len() as u32,
        ..Slots::default()
    };
    for slot in slots {
        let state = match slot.state() {
            SlotState::Empty => &mut count.empty,
            SlotState::Clean(_) => &mut count.clean,
            SlotState::Dirty { .. } => &mut count.dirty,
            SlotState::Settled(_) => &mut count.settled,
        };
        *state += 1;
    }
    count
}

fn describe(check: &Check) -> String {
    let probe = match &check.probe {
        Probe::None => return "none".to_owned(),
        Probe::Tcp => "TCP connect".to_owned(),
        Probe::Http { path, expect, .. } => format!("GET {path}, {expect} expected"),
    };
    let port = check.port.map(|port| format!(" at port {port}"));
    format!(
        "{probe}{}, every {}, time-out {}, rise {}, fall {}",
        port.unwrap_or_default(),
        humantime::format_duration(check.interval),
        humantime::format_duration(check.timeout),
        check.rise,
        check.fall
    )
}
