//! What the CLI changed, as a difference to the file: so that both survive a restart.

use super::change::{self, Change, Refusal};
use super::model::{Admin, Backend, BackendRef, Config, Name, Protocol, Service};
use crate::types::{BackendPatch, Check, NewBackend, NewService, ServicePatch};
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tracked: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    idle_timeout: Option<String>,
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

    /// All services of `config`, as what is added to none.
    #[must_use]
    pub fn all_of(config: &Config) -> Self {
        Self::between(&without_services(config), config)
    }

    /// The services of this alone, in the place of those of `config`.
    ///
    /// # Errors
    ///
    /// If they contradict each other: why.
    pub fn in_place_of(&self, config: &Config) -> Result<BTreeMap<Name, Service>, String> {
        let applied = self.apply(&without_services(config));
        if applied.reasons.is_empty() {
            Ok(applied.config.services)
        } else {
            Err(applied.reasons.join("; "))
        }
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
            overlay
                .added_services
                .insert(name.clone(), AddedService::of(service));
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
    /// is left out, told, and kept for when it fits again.
    #[must_use]
    pub fn apply(&self, base: &Config) -> Applied {
        let mut applied = Applied {
            config: base.clone(),
            left_out: Self::default(),
            reasons: Vec::new(),
        };
        // Removals come first, to make room for what is added. What is gone already is as wanted.
        for name in &self.removed_services {
            applied.config.services.remove(name);
        }
        for name in &self.removed_backends {
            match applied.config.services.get_mut(&name.service) {
                Some(service) => drop(service.backends.remove(&name.backend)),
                // The service may come back, with this backend.
                None => drop(applied.left_out.removed_backends.insert(name.clone())),
            }
        }
        for (name, check) in &self.changed_checks {
            let patch = ServicePatch {
                check: Some(check.clone()),
            };
            let change = change::set_service(name.as_str(), &patch);
            if !applied.step(format!("the check of service {name}"), change) {
                let left_out = &mut applied.left_out.changed_checks;
                left_out.insert(name.clone(), check.clone());
            }
        }
        for (name, patch) in &self.changed_backends {
            let (service, backend) = (name.service.as_str(), name.backend.as_str());
            let change = change::set_backend(service, backend, patch);
            if !applied.step(format!("the change of backend {name}"), change) {
                let left_out = &mut applied.left_out.changed_backends;
                left_out.insert(name.clone(), patch.clone());
            }
        }
        for (name, service) in &self.added_services {
            let change = match applied.config.services.get(name) {
                // The file has it by now.
                Some(known) if service.is(known) => service.patch(name),
                _ => service.change(name),
            };
            if !applied.step(format!("service {name}"), change) {
                let left_out = &mut applied.left_out.added_services;
                left_out.insert(name.clone(), service.clone());
            }
        }
        for (name, backend) in &self.added_backends {
            let change = match applied.has(name, backend) {
                // The file has it by now: what else was said of it stands.
                true => backend.patch(name),
                false => backend.change(name),
            };
            if !applied.step(format!("backend {name}"), change) {
                let left_out = &mut applied.left_out.added_backends;
                left_out.insert(name.clone(), backend.clone());
            }
        }
        applied
    }

    /// This, and what was left out of an earlier one where this says nothing else.
    #[must_use]
    pub fn with(mut self, left_out: &Self) -> Self {
        fn extend<K: Ord + Clone, V: Clone>(map: &mut BTreeMap<K, V>, more: &BTreeMap<K, V>) {
            for (key, value) in more {
                map.entry(key.clone()).or_insert_with(|| value.clone());
            }
        }
        let Self {
            removed_services,
            removed_backends,
            changed_checks,
            changed_backends,
            added_services,
            added_backends,
        } = left_out;
        self.removed_services
            .extend(removed_services.iter().cloned());
        self.removed_backends
            .extend(removed_backends.iter().cloned());
        extend(&mut self.changed_checks, changed_checks);
        extend(&mut self.changed_backends, changed_backends);
        extend(&mut self.added_services, added_services);
        extend(&mut self.added_backends, added_backends);
        self
    }

    /// This, but for what it removes.
    #[must_use]
    pub fn without_removals(self) -> Self {
        Self {
            removed_services: BTreeSet::new(),
            removed_backends: BTreeSet::new(),
            ..self
        }
    }

    /// What it does, a line for each change.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        lines.extend(
            self.removed_services
                .iter()
                .map(|name| format!("service {name}: removed")),
        );
        lines.extend(
            self.removed_backends
                .iter()
                .map(|name| format!("backend {name}: removed")),
        );
        lines.extend(
            self.changed_checks
                .keys()
                .map(|name| format!("service {name}: another check")),
        );
        for (name, patch) in &self.changed_backends {
            let weight = patch.weight.map(|weight| format!("weight {weight}"));
            let what: Vec<String> = weight.into_iter().chain(patch.admin.clone()).collect();
            lines.push(format!("backend {name}: {}", what.join(", ")));
        }
        for (name, service) in &self.added_services {
            lines.push(format!("service {name}: added, {}", service.vip));
        }
        for (name, backend) in &self.added_backends {
            let AddedBackend {
                address,
                weight,
                admin,
            } = backend;
            lines.push(format!(
                "backend {name}: added, {address}, weight {weight}, {admin}"
            ));
        }
        lines
    }
}

/// What came of applying an overlay.
#[derive(Clone, Debug, PartialEq)]
pub struct Applied {
    /// The configuration with all that fits.
    pub config: Config,
    /// What does not fit.
    pub left_out: Overlay,
    /// Why not, in words. Removing what is not there needs none.
    pub reasons: Vec<String>,
}

impl Applied {
    /// Whether there is this backend, at this address.
    fn has(&self, name: &BackendRef, wanted: &AddedBackend) -> bool {
        let service = self.config.services.get(&name.service);
        let backend = service.and_then(|service| service.backends.get(&name.backend));
        backend.is_some_and(|backend| backend.address.to_string() == wanted.address)
    }

    fn step(&mut self, what: String, change: Result<Change, Refusal>) -> bool {
        match change.and_then(|change| change::apply(&self.config, &change)) {
            Ok(config) => {
                self.config = config;
                true
            }
            Err(refusal) => {
                self.reasons.push(format!("{what} is left out: {refusal}"));
                false
            }
        }
    }
}

impl AddedService {
    fn of(service: &Service) -> Self {
        let idle_timeout = service.idle_timeout.map(humantime::format_duration);
        Self {
            vip: service.vip.to_string(),
            // What is said of TCP without it.
            tracked: (service.vip.protocol == Protocol::Udp).then_some(service.tracked),
            idle_timeout: idle_timeout.map(|it| it.to_string()),
            slots: service.slots,
            check: Check::from(&service.check),
        }
    }

    fn is(&self, known: &Service) -> bool {
        let known = Self {
            check: self.check.clone(),
            ..Self::of(known)
        };
        *self == known
    }

    fn patch(&self, name: &Name) -> Result<Change, Refusal> {
        let patch = ServicePatch {
            check: Some(self.check.clone()),
        };
        change::set_service(name.as_str(), &patch)
    }

    fn change(&self, name: &Name) -> Result<Change, Refusal> {
        change::add_service(&NewService {
            name: name.to_string(),
            vip: self.vip.clone(),
            tracked: self.tracked,
            idle_timeout: self.idle_timeout.clone(),
            slots: Some(self.slots),
            check: Some(self.check.clone()),
        })
    }
}

impl AddedBackend {
    fn patch(&self, name: &BackendRef) -> Result<Change, Refusal> {
        let patch = BackendPatch {
            weight: Some(self.weight),
            admin: Some(self.admin.to_string()),
        };
        change::set_backend(name.service.as_str(), name.backend.as_str(), &patch)
    }

    fn change(&self, name: &BackendRef) -> Result<Change, Refusal> {
        let new = NewBackend {
            name: name.backend.to_string(),
            address: self.address.clone(),
            weight: Some(self.weight),
        };
        let mut change = change::add_backend(name.service.as_str(), &new)?;
        if let Change::AddBackend(_, backend) = &mut change {
            backend.admin = self.admin;
        }
        Ok(change)
    }
}

fn without_services(config: &Config) -> Config {
    Config {
        services: BTreeMap::new(),
        ..config.clone()
    }
}

/// Whether it is the same service, with another check or other backends at most.
fn same_service(one: &Service, other: &Service) -> bool {
    let of = |service: &Service| {
        let Service {
            vip,
            tracked,
            idle_timeout,
            slots,
            check: _,
            backends: _,
        } = service;
        (*vip, *tracked, *idle_timeout, *slots)
    };
    of(one) == of(other)
}

fn reference(service: &Name, backend: &Name) -> BackendRef {
    BackendRef {
        service: service.clone(),
        backend: backend.clone(),
    }
}
