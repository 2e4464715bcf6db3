//! What `lbctl` does: asks the API, and prints what it says.

mod events;
mod ha;
mod pair;
mod stats;
mod table;
mod wait;

#[cfg(test)]
mod tests;

pub use stats::Sampling;
pub use wait::Goal;

use crate::api::client::{Client, ClientError};
use crate::config::{BackendRef, Name};
use crate::types::{
    Backend, BackendPatch, Changed, NewBackend, NewService, Service, ServicePatch, Status, Version,
};
use hyper::Method;
use serde::Serialize;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

/// How a command ended, if it did not do what it was asked to. Each has its exit code.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The API had no answer, or a refusal.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// What was waited for did not come.
    #[error("{0}")]
    WaitTimedOut(String),
    /// Something needs mending.
    #[error("{0}")]
    Degraded(String),
    /// Standard input could not be read.
    #[error("failed to read the standard input: {0}")]
    Input(io::Error),
    /// The answer could not be printed.
    #[error("failed to write the output: {0}")]
    Output(#[from] io::Error),
}

impl Failure {
    /// The exit code: 1 refused, 3 daemon unreachable, 4 not found, 5 revision conflict, 6 wait
    /// timed out, 7 degraded. 2, usage, is given by the parser of the arguments.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Client(ClientError::Refused(problem)) => match problem.status {
                404 => 4,
                412 => 5,
                _ => 1,
            },
            Self::Client(ClientError::Unreachable { .. } | ClientError::Silent { .. }) => 3,
            Self::Client(ClientError::Garbled { .. }) | Self::Input(_) | Self::Output(_) => 1,
            Self::WaitTimedOut(_) => 6,
            Self::Degraded(_) => 7,
        }
    }
}

/// Ends the program as `result` says, with a message if it failed.
#[must_use]
pub fn exit(result: Result<(), Failure>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        // Nobody reads any further, as in `lbctl stats | head`: nothing to tell, nobody to tell.
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(failure) => {
            // Where standard error is closed, the exit code must do.
            let _ = writeln!(io::stderr(), "lbctl: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}

/// What all commands share.
#[derive(Clone, Debug)]
pub struct Session {
    client: Client,
    json: bool,
    if_revision: Option<u64>,
    colour: bool,
}

impl Session {
    /// A session with whoever `client` reaches.
    #[must_use]
    pub fn new(client: Client, json: bool, if_revision: Option<u64>) -> Self {
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            client,
            json,
            if_revision,
            colour: io::stdout().is_terminal() && !no_colour,
        }
    }

    /// `status`
    ///
    /// # Errors
    ///
    /// With `check`, also if something needs mending.
    pub async fn status(&self, check: bool) -> Result<(), Failure> {
        let status: Status = self.client.get("/v1/status").await?;
        self.show(&status, |colour| table::status(&status, colour))?;
        let faults = degraded(&status);
        if check && !faults.is_empty() {
            return Err(Failure::Degraded(format!(
                "degraded: {}",
                faults.join("; ")
            )));
        }
        Ok(())
    }

    /// `ha status`
    ///
    /// # Errors
    ///
    /// If there is no answer.
    pub async fn ha_status(&self) -> Result<(), Failure> {
        let Status { ha, alarms, .. } = self.client.get("/v1/status").await?;
        self.show(&ha, |colour| ha::text(&ha, &alarms, colour))
    }

    /// `metrics`: the same with or without `--json`, since the format is what it is for.
    ///
    /// # Errors
    ///
    /// If there is no answer.
    pub async fn metrics(&self) -> Result<(), Failure> {
        print(&self.client.text("/v1/metrics").await?)
    }

    /// `service list`
    ///
    /// # Errors
    ///
    /// If there is no answer.
    pub async fn list_services(&self) -> Result<(), Failure> {
        let services: Vec<Service> = self.client.get("/v1/services").await?;
        self.show(&services, |colour| table::services(&services, colour))
    }

    /// `service show`
    ///
    /// # Errors
    ///
    /// If there is no such service, or no answer.
    pub async fn show_service(&self, name: &Name) -> Result<(), Failure> {
        let service: Service = self.client.get(&service_path(name)).await?;
        self.show(&service, |colour| table::service(&service, colour))
    }

    /// `service add`
    ///
    /// # Errors
    ///
    /// If it was refused, or there is no answer.
    pub async fn add_service(&self, new: &NewService) -> Result<(), Failure> {
        let what = format!("service {} added", new.name);
        self.change(Method::POST, "/v1/services", new, &what).await
    }

    /// `service set`
    ///
    /// # Errors
    ///
    /// If it was refused, or there is no answer.
    pub async fn set_service(&self, name: &Name, patch: &ServicePatch) -> Result<(), Failure> {
        let what = format!("service {name} changed");
        self.change(Method::PATCH, &service_path(name), patch, &what)
            .await
    }

    /// `service remove`
    ///
    /// # Errors
    ///
    /// If it was refused, or there is no answer.
    pub async fn remove_service(&self, name: &Name) -> Result<(), Failure> {
        let what = format!("service {name} removed");
        self.change(Method::DELETE, &service_path(name), &(), &what)
            .await
    }

    /// `backend list`
    ///
    /// # Errors
    ///
    /// If there is no such service, or no answer.
    pub async fn list_backends(&self, service: Option<&Name>) -> Result<(), Failure> {
        let path = service.map_or_else(|| "/v1/backends".to_owned(), backends_path);
        let backends: Vec<Backend> = self.client.get(&path).await?;
        self.show(&backends, |colour| table::backends(&backends, colour))
    }

    /// `backend show`
    ///
    /// # Errors
    ///
    /// If there is no such backend, or no answer.
    pub async fn show_backend(&self, name: &BackendRef) -> Result<(), Failure> {
        let backend: Backend = self.client.get(&backend_path(name)).await?;
        self.show(&backend, |colour| table::backend(&backend, colour))
    }

    /// `backend add`
    ///
    /// # Errors
    ///
    /// If it was refused, or there is no answer, or it is not up in time.
    pub async fn add_backend(
        &self,
        name: &BackendRef,
        address: String,
        weight: Option<u16>,
        wait: Option<Duration>,
    ) -> Result<(), Failure> {
        let new = NewBackend {
            name: name.backend.to_string(),
            address,
            weight,
        };
        let what = format!("backend {name} added");
        self.change(Method::POST, &backends_path(&name.service), &new, &what)
            .await?;
        self.wait(name, Goal::Serving, wait).await
    }

    /// `backend set`, `backend drain`, `backend enable`
    ///
    /// # Errors
    ///
    /// If it was refused, or there is no answer, or the goal is not reached in time.
    pub async fn set_backend(
        &self,
        name: &BackendRef,
        patch: &BackendPatch,
        goal: Goal,
        wait: Option<Duration>,
    ) -> Result<(), Failure> {
        let what = match patch.admin.as_deref() {
            Some("drain") => format!("backend {name} drains"),
            Some(_) => format!("backend {name} enabled"),
            None => format!("backend {name} changed"),
        };
        self.change(Method::PATCH, &backend_path(name), patch, &what)
            .await?;
        self.wait(name, goal, wait).await
    }

    /// `backend remove`
    ///
    /// # Errors
    ///
    /// If it was refused, or there is no answer, or it is not gone in time.
    pub async fn remove_backend(
        &self,
        name: &BackendRef,
        force: bool,
        wait: Option<Duration>,
    ) -> Result<(), Failure> {
        let mut path = backend_path(name);
        if force {
            path.push_str("?force=true");
        }
        let what = if force {
            format!("backend {name} removed")
        } else {
            format!("backend {name} goes once its connections have ended")
        };
        self.change(Method::DELETE, &path, &(), &what).await?;
        self.wait(name, Goal::Gone, wait).await
    }

    /// `config diff`
    ///
    /// # Errors
    ///
    /// If there is no answer.
    pub async fn diff(&self) -> Result<(), Failure> {
        let changes: Vec<String> = self.client.get("/v1/changes").await?;
        self.show(&changes, |_| match changes.as_slice() {
            [] => "nothing differs from the configuration file\n".to_owned(),
            changes => changes.join("\n") + "\n",
        })
    }

    /// `config reset`
    ///
    /// # Errors
    ///
    /// If it was refused, or there is no answer.
    pub async fn reset(&self) -> Result<(), Failure> {
        let what = "back to the configuration file";
        self.change(Method::DELETE, "/v1/changes", &(), what).await
    }

    /// `version`
    ///
    /// # Errors
    ///
    /// If it cannot be printed. A daemon that is not there is no error here.
    pub async fn version(&self) -> Result<(), Failure> {
        #[derive(Serialize)]
        struct Versions {
            lbctl: &'static str,
            lbd: Option<String>,
        }
        let answer = self.client.get::<Version>("/v1/version").await;
        let (lbd, shown) = match answer {
            Ok(Version { version }) => (Some(version.clone()), version),
            Err(error) => (None, format!("unknown ({error})")),
        };
        let versions = Versions {
            lbctl: env!("CARGO_PKG_VERSION"),
            lbd,
        };
        self.show(&versions, |_| {
            format!("lbctl {}\nlbd   {shown}\n", versions.lbctl)
        })
    }

    async fn change(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
        what: &str,
    ) -> Result<(), Failure> {
        let changed: Changed = self
            .client
            .change(method, path, body, self.if_revision)
            .await?;
        self.show(&changed, |_| {
            format!("{what} (revision {})\n", changed.revision)
        })
    }

    fn show<T: Serialize>(
        &self,
        value: &T,
        text: impl FnOnce(bool) -> String,
    ) -> Result<(), Failure> {
        let text = if self.json {
            serde_json::to_string_pretty(value).map_err(io::Error::from)? + "\n"
        } else {
            text(self.colour)
        };
        print(&text)
    }
}

/// Writes to standard output at once. `println!` would panic where nobody reads.
fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()?;
    Ok(())
}

/// What makes `status --check` fail.
fn degraded(status: &Status) -> Vec<String> {
    let without_backend = status
        .services
        .iter()
        .filter(|service| !service.backends.iter().any(Backend::serves))
        .map(|service| format!("service {} has no backend up", service.name));
    status
        .alarms
        .iter()
        .cloned()
        .chain(without_backend)
        .collect()
}

fn service_path(name: &Name) -> String {
    format!("/v1/services/{name}")
}

fn backends_path(service: &Name) -> String {
    format!("/v1/services/{service}/backends")
}

fn backend_path(name: &BackendRef) -> String {
    format!("/v1/services/{}/backends/{}", name.service, name.backend)
}
