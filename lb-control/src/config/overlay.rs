//! What the CLI changed, as a difference to the file: so that both survive a restart.

use super::change::{self, Change, Refusal};
use super::model::{Admin, Backend, BackendRef, Config, Name, Service};
use super::text::format_vip;
use crate::api::types::{BackendPatch, Check, NewBackend, NewService, ServicePatch};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The difference between the services of the file and those that run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Overlay {
    removed_services: BTreeSet<Name>,
    removed_backends: BTreeSet<BackendRef>,
    changed_checks: BTreeMap<Name, Check>,
    changed_backends: BTreeMap<BackendRef, BackendPatch>,
    added_services: BTreeMap<Name, AddedService>,
    added_backends: BTreeMap<BackendRef, AddedBackend>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AddedService {
    vip: String,
    slots: u32,
    check: Check,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AddedBackend {
    address: String,
    weight: u16,
    admin: Admin,
}

impl Overlay {
    /// Whether nothing was changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What must be done to the services of `base` to have those of `running`.
    #[must_use]
    pub fn between(base: &Config, running: &Config) -> Self {
        let mut overlay = Self::default();
        for (name, service) in &base.services {
            match running.services.get(name) {
                Some(now) if same_service(service, now) => {
                    overlay.compare_service(name, service, now);
                }
                Some(_) | None => {
                    overlay.removed_services.insert(name.clone());
                }
            }
        }
        for (name, service) in &running.services {
            if base
                .services
                .get(name)
                .is_some_and(|before| same_service(before, service))
            {
                continue;
            }
            overlay.added_services.insert(
                name.clone(),
                AddedService {
                    vip: format_vip(service.vip),
                    slots: service.slots,
                    check: Check::from(&service.check),
                },
            );
            for (backend, wanted) in &service.backends {
                overlay.add_backend(name, backend, wanted);
            }
        }
        overlay
    }

    fn compare_service(&mut self, name: &Name, before: &Service, now: &Service) {
        if before.check != now.check {
            self.changed_checks
                .insert(name.clone(), Check::from(&now.check));
        }
        for (backend_name, backend) in &before.backends {
            let reference = reference(name, backend_name);
            match now.backends.get(backend_name) {
                Some(wanted) if wanted == backend => {}
                Some(wanted) if wanted.address == backend.address => {
                    let patch = BackendPatch {
                        weight: (wanted.weight != backend.weight).then_some(wanted.weight),
                        admin: (wanted.admin != backend.admin).then(|| wanted.admin.to_string()),
                    };
                    self.changed_backends.insert(reference, patch);
                }
                Some(wanted) => {
                    self.removed_backends.insert(reference);
                    self.add_backend(name, backend_name, wanted);
                }
                None => {
                    self.removed_backends.insert(reference);
                }
            }
        }
        for (backend_name, wanted) in &now.backends {
            if !before.backends.contains_key(backend_name) {
                self.add_backend(name, backend_name, wanted);
            }
        }
    }

    fn add_backend(&mut self, service: &Name, backend: &Name, wanted: &Backend) {
        self.added_backends.insert(
            reference(service, backend),
            AddedBackend {
                address: wanted.address.to_string(),
                weight: wanted.weight,
                admin: wanted.admin,
            },
        );
    }

    /// Does to `base` what was changed by CLI. The file may have changed since: what no longer fits
    /// is left out, and told.
    #[must_use]
    pub fn apply(&self, base: &Config) -> (Config, Vec<String>) {
        let mut config = base.clone();
        let mut left_out = Vec::new();
        // Removals come first, to make room for what is added. What is gone already is as wanted.
        for name in &self.removed_services {
            config.services.remove(name);
        }
        for name in &self.removed_backends {
            if let Some(service) = config.services.get_mut(&name.service) {
                service.backends.remove(&name.backend);
            }
        }
        let mut step = |what: String, change: Result<Change, Refusal>| match change
            .and_then(|change| change::apply(&config, &change))
        {
            Ok(changed) => config = changed,
            Err(refusal) => left_out.push(format!("{what} was left out: {refusal}")),
        };
        for (name, check) in &self.changed_checks {
            let patch = ServicePatch {
                check: Some(check.clone()),
            };
            step(
                format!("the check of service {name}"),
                change::set_service(name.as_str(), &patch),
            );
        }
        for (name, patch) in &self.changed_backends {
            step(
                format!("the change of backend {name}"),
                change::set_backend(name.service.as_str(), name.backend.as_str(), patch),
            );
        }
        for (name, service) in &self.added_services {
            let new = NewService {
                name: name.to_string(),
                vip: service.vip.clone(),
                slots: Some(service.slots),
                check: Some(service.check.clone()),
            };
            step(format!("service {name}"), change::add_service(&new));
        }
        for (name, backend) in &self.added_backends {
            let new = NewBackend {
                name: name.backend.to_string(),
                address: backend.address.clone(),
                weight: Some(backend.weight),
            };
            let change =
                change::add_backend(name.service.as_str(), &new).map(|change| match change {
                    Change::AddBackend(name, mut wanted) => {
                        wanted.admin = backend.admin;
                        Change::AddBackend(name, wanted)
                    }
                    other => other,
                });
            step(format!("backend {name}"), change);
        }
        (config, left_out)
    }
}

/// Whether it is the same service, with another check or other backends at most.
fn same_service(one: &Service, other: &Service) -> bool {
    one.vip == other.vip && one.slots == other.slots
}

fn reference(service: &Name, backend: &Name) -> BackendRef {
    BackendRef {
        service: service.clone(),
        backend: backend.clone(),
    }
}
