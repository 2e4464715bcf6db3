//! Changes made by CLI: what there is to change, from what the API was told, to another
//! configuration.

use super::model::{Admin, Backend, BackendRef, Check, Config, Name, Service, Vip};
use super::validate::{self, About, Misfit};
use super::values;
use crate::types::{BackendPatch, NewBackend, NewService, ServicePatch};
use lb_ebpf::abi::capacity;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// A change of the configuration.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// A new service, without backends.
    AddService(Name, Service),
    /// Another health check.
    SetCheck(Name, Check),
    /// Away with a service and its backends.
    RemoveService(Name),
    /// A new backend.
    AddBackend(BackendRef, Backend),
    /// Another weight or administrative state.
    SetBackend(BackendRef, Option<u16>, Option<Admin>),
    /// Away with a backend: it drains first, unless by force.
    RemoveBackend {
        /// Which.
        backend: BackendRef,
        /// Cut its connections.
        force: bool,
    },
    /// Back to the file: away with all other changes.
    Reset,
    /// Other services, as the file or the other host of a pair has them.
    Replace {
        /// All of them.
        services: BTreeMap<Name, Service>,
        /// Backends that leave by force.
        cut: Vec<BackendRef>,
        /// What it is, for people.
        what: String,
    },
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AddService(name, service) => write!(f, "add service {name} {}", service.vip),
            Self::SetCheck(name, _) => write!(f, "set the check of service {name}"),
            Self::RemoveService(name) => write!(f, "remove service {name}"),
            Self::AddBackend(name, backend) => write!(
                f,
                "add backend {name} {} with weight {}",
                backend.address, backend.weight
            ),
            Self::SetBackend(name, weight, admin) => {
                write!(f, "set backend {name}")?;
                if let Some(weight) = weight {
                    write!(f, " to weight {weight}")?;
                }
                match admin {
                    Some(Admin::Ready) => f.write_str(" to ready"),
                    Some(Admin::Drain) => f.write_str(" to drain"),
                    None => Ok(()),
                }
            }
            Self::RemoveBackend { backend, force } => {
                let how = if *force { " by force" } else { "" };
                write!(f, "remove backend {backend}{how}")
            }
            Self::Reset => f.write_str("go back to the file"),
            Self::Replace { what, .. } => f.write_str(what),
        }
    }
}

/// Why something was not done. Nothing was changed then, unless it says so.
#[derive(Clone, Debug, PartialEq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// It contradicts the configuration.
    #[error("{0}")]
    Invalid(String),
    /// There is no such object.
    #[error("{0}")]
    NotFound(String),
    /// There is such an object already.
    #[error("{0}")]
    Exists(String),
    /// Somebody else was faster.
    #[error("the configuration is at revision {actual}, not {expected}: look at it again")]
    Conflict {
        /// The revision that was expected.
        expected: u64,
        /// The one there is.
        actual: u64,
    },
    /// It should have worked.
    #[error("{0}")]
    Failed(String),
}

/// The configuration after a change.
///
/// # Errors
///
/// If the change does not fit.
pub fn apply(config: &Config, change: &Change) -> Result<Config, Refusal> {
    let mut config = config.clone();
    match change {
        Change::AddService(name, service) => {
            validate::add_service(&mut config, name, service.clone()).map_err(refusal)?;
        }
        Change::SetCheck(name, check) => {
            service_mut(&mut config, name)?.check = check.clone();
        }
        Change::RemoveService(name) => {
            service_mut(&mut config, name)?;
            config.services.remove(name);
        }
        Change::AddBackend(name, backend) => {
            service_mut(&mut config, &name.service)?;
            validate::add_backend(&mut config, name, backend.clone()).map_err(refusal)?;
        }
        Change::SetBackend(name, weight, admin) => {
            let backend = backend_mut(&mut config, name)?;
            backend.weight = weight.unwrap_or(backend.weight);
            backend.admin = admin.unwrap_or(backend.admin);
        }
        // The file is known to whoever applies this.
        Change::Reset => {}
        Change::Replace { services, .. } => config.services.clone_from(services),
        Change::RemoveBackend { backend, force: _ } => {
            backend_mut(&mut config, backend)?;
            service_mut(&mut config, &backend.service)?
                .backends
                .remove(&backend.backend);
        }
    }
    Ok(config)
}

/// The change that `POST /v1/services` asks for.
///
/// # Errors
///
/// If a value is not allowed.
pub fn add_service(new: &NewService) -> Result<Change, Refusal> {
    let vip: Vip = new.vip.parse().map_err(invalid)?;
    let idle_timeout = match &new.idle_timeout {
        Some(text) => Some(values::idle_timeout(text).map_err(invalid)?),
        None => None,
    };
    let service = Service {
        vip,
        tracked: values::tracked(&vip, new.tracked).map_err(invalid)?,
        idle_timeout,
        slots: match new.slots {
            Some(slots) => values::slots(i64::from(slots)).map_err(invalid)?,
            None => u32::try_from(capacity::SLOTS_PER_SERVICE).map_err(invalid)?,
        },
        check: match &new.check {
            Some(check) => values::check_from_api(check).map_err(invalid)?,
            None => values::default_check(&vip).map_err(invalid)?,
        },
        backends: BTreeMap::new(),
    };
    Ok(Change::AddService(name(&new.name)?, service))
}

/// The change that `PATCH /v1/services/{service}` asks for.
///
/// # Errors
///
/// If a value is not allowed.
pub fn set_service(service: &str, patch: &ServicePatch) -> Result<Change, Refusal> {
    let Some(check) = &patch.check else {
        return Err(Refusal::Invalid(
            "nothing to change: give a check".to_owned(),
        ));
    };
    Ok(Change::SetCheck(
        name(service)?,
        values::check_from_api(check).map_err(invalid)?,
    ))
}

/// The change that `DELETE /v1/services/{service}` asks for.
///
/// # Errors
///
/// If a value is not allowed.
pub fn remove_service(service: &str) -> Result<Change, Refusal> {
    Ok(Change::RemoveService(name(service)?))
}

/// The change that `POST /v1/services/{service}/backends` asks for.
///
/// # Errors
///
/// If a value is not allowed.
pub fn add_backend(service: &str, new: &NewBackend) -> Result<Change, Refusal> {
    let backend = Backend {
        address: values::backend_address(&new.address).map_err(invalid)?,
        weight: values::weight(i64::from(new.weight.unwrap_or(1))).map_err(invalid)?,
        admin: super::model::Admin::Ready,
    };
    Ok(Change::AddBackend(
        backend_ref(service, &new.name)?,
        backend,
    ))
}

/// The change that `PATCH /v1/services/{service}/backends/{backend}` asks for.
///
/// # Errors
///
/// If a value is not allowed.
pub fn set_backend(service: &str, backend: &str, patch: &BackendPatch) -> Result<Change, Refusal> {
    if patch.weight.is_none() && patch.admin.is_none() {
        return Err(Refusal::Invalid(
            "nothing to change: give a weight or an administrative state".to_owned(),
        ));
    }
    let weight = match patch.weight {
        Some(weight) => Some(values::weight(i64::from(weight)).map_err(invalid)?),
        None => None,
    };
    let admin = match &patch.admin {
        Some(admin) => Some(values::admin(admin).map_err(invalid)?),
        None => None,
    };
    Ok(Change::SetBackend(
        backend_ref(service, backend)?,
        weight,
        admin,
    ))
}

/// The change that `DELETE /v1/services/{service}/backends/{backend}` asks for.
///
/// # Errors
///
/// If a value is not allowed.
pub fn remove_backend(service: &str, backend: &str, force: bool) -> Result<Change, Refusal> {
    Ok(Change::RemoveBackend {
        backend: backend_ref(service, backend)?,
        force,
    })
}

/// That there is no service of this name, with the closest one there is.
#[must_use]
pub fn no_service<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Refusal {
    Refusal::NotFound(format!(
        "there is no service {name}{}",
        values::did_you_mean(name, known)
    ))
}

/// That there is no backend of this name, with the closest one of its service.
#[must_use]
pub fn no_backend<'a>(
    service: &str,
    backend: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Refusal {
    Refusal::NotFound(format!(
        "service {service} has no backend {backend}{}",
        values::did_you_mean(backend, known)
    ))
}

fn service_mut<'a>(config: &'a mut Config, name: &Name) -> Result<&'a mut Service, Refusal> {
    if !config.services.contains_key(name) {
        let known = config.services.keys().map(Name::as_str);
        return Err(no_service(name.as_str(), known));
    }
    config
        .services
        .get_mut(name)
        .ok_or_else(|| no_service(name.as_str(), []))
}

fn backend_mut<'a>(config: &'a mut Config, name: &BackendRef) -> Result<&'a mut Backend, Refusal> {
    let service = service_mut(config, &name.service)?;
    let missing = no_backend(
        name.service.as_str(),
        name.backend.as_str(),
        service.backends.keys().map(Name::as_str),
    );
    service.backends.get_mut(&name.backend).ok_or(missing)
}

fn name(text: &str) -> Result<Name, Refusal> {
    text.parse().map_err(invalid)
}

fn backend_ref(service: &str, backend: &str) -> Result<BackendRef, Refusal> {
    Ok(BackendRef {
        service: name(service)?,
        backend: name(backend)?,
    })
}

fn invalid(fault: impl ToString) -> Refusal {
    Refusal::Invalid(fault.to_string())
}

fn refusal(misfit: Misfit) -> Refusal {
    match misfit.about {
        About::Name => Refusal::Exists(misfit.message),
        About::Address | About::Count => Refusal::Invalid(misfit.message),
    }
}
