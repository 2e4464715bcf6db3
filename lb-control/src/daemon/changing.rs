//! Another configuration: by CLI, from the file, or from the other host of a pair.
//!
//! A change is prepared first, which refuses what does not fit and does nothing. Between preparing
//! and making it, the other host of a pair takes it over ([`super::agreeing`]).

use super::pairing::Pairing;
use super::{Daemon, chain};
use crate::config::{BackendRef, Change, Config, Overlay, Refusal, change};
use crate::dataplane::Dataplane;
use crate::desired;
use crate::state::changes;
use crate::sync::{Snapshot, Version};
use lb_ebpf::abi::BackendId;
use std::collections::BTreeSet;

/// A change that fits, and is not made yet.
#[derive(Clone, Debug)]
pub(super) struct Prepared {
    /// What it is, for people.
    pub(super) what: String,
    /// The configuration with it.
    pub(super) next: Config,
    /// Backends that leave by force.
    pub(super) cut: Vec<BackendRef>,
    /// The file that it comes from, if that was read anew.
    pub(super) file: Option<File>,
    pub(super) left_out: Option<Overlay>,
}

/// The configuration file, read again.
#[derive(Clone, Debug)]
pub(super) struct File {
    base: Config,
    warnings: Vec<String>,
}

impl<D: Dataplane> Daemon<D> {
    /// The revision of the configuration that runs.
    pub(super) const fn revision(&self) -> u64 {
        self.version.epoch
    }

    /// What a change by CLI, or from the other host, makes of the configuration.
    pub(super) fn prepare(
        &mut self,
        wanted: &Change,
        if_revision: Option<u64>,
    ) -> Result<Prepared, Refusal> {
        let actual = self.revision();
        if let Some(expected) = if_revision.filter(|expected| *expected != actual) {
            return Err(Refusal::Conflict { expected, actual });
        }
        let mut prepared = Prepared {
            what: wanted.to_string(),
            next: self.running.clone(),
            cut: Vec::new(),
            file: None,
            left_out: None,
        };
        match wanted {
            Change::RemoveBackend {
                backend,
                force: true,
            } => prepared.cut.push(backend.clone()),
            Change::Replace { cut, .. } => prepared.cut.clone_from(cut),
            Change::Reset => prepared.left_out = Some(Overlay::default()),
            _ => {}
        }
        prepared.next = match wanted {
            Change::Reset => self.base.clone(),
            // It left before, and finishes its connections.
            Change::RemoveBackend {
                backend,
                force: true,
            } if self.leaving(backend).is_some() => return Ok(prepared),
            wanted => change::apply(&self.running, wanted)?,
        };
        self.fits(&prepared.next).map_err(Refusal::Invalid)?;
        if let Change::AddService(..) = wanted
            && let Some(leading) = &self.leading
        {
            let before = leading.unshared(&self.running);
            let mut after = leading.unshared(&prepared.next).into_iter();
            if let Some(unshared) = after.find(|it| !before.contains(it)) {
                return Err(Refusal::Invalid(unshared));
            }
        }
        Ok(prepared)
    }

    /// Whether there is room in the tables.
    pub(super) fn fits(&mut self, config: &Config) -> Result<(), String> {
        desired::desired_with(&mut self.built, config, &self.world, &self.tables)
            .map(drop)
            .map_err(|full| full.to_string())
    }

    /// Makes a change: writes it down, and makes the tables follow. `is_kept`: the other host has
    /// written it down, so that it is made even if it cannot be written down here yet.
    pub(super) fn commit(&mut self, prepared: Prepared, is_kept: bool) -> Result<u64, Refusal> {
        let Prepared {
            next,
            cut,
            file,
            left_out,
            what,
        } = prepared;
        // One of a pair that only reads its file again has nothing to tell the other.
        let paired = self.pairing.as_ref().is_some_and(Pairing::is_paired);
        let unchanged = next.services == self.running.services && !self.unshared;
        let version = if unchanged && (file.is_none() || paired) {
            self.version.clone()
        } else {
            self.next_version(&next)
        };
        self.install(next, version, file, left_out, &cut, is_kept)?;
        if let Some(pairing) = &mut self.pairing {
            pairing.dropped.clear();
            pairing.dropped_there.clear();
        }
        let revision = self.revision();
        tracing::info!(change = what, revision, "changed");
        Ok(revision)
    }

    /// The version that this host gives to a configuration that it makes the running one.
    pub(super) fn next_version(&self, next: &Config) -> Version {
        self.version.next(&self.host_id, Snapshot::hash(next))
    }

    /// Makes `next` the running configuration. If it cannot be written down it is not made, unless it
    /// `is_kept` elsewhere: then that is tried again at each sweep.
    pub(super) fn install(
        &mut self,
        next: Config,
        version: Version,
        file: Option<File>,
        left_out: Option<Overlay>,
        cut: &[BackendRef],
        is_kept: bool,
    ) -> Result<(), Refusal> {
        let left_out = left_out.unwrap_or_else(|| self.left_out.clone());
        let base = file.as_ref().map_or(&self.base, |file| &file.base);
        match keep(base, &next, &version, &left_out) {
            Ok(()) => self.unkept = None,
            // What the file says is on disk.
            Err(error) if is_kept || file.is_some() => {
                let error = chain(&error);
                tracing::error!(error, "what runs is not written down");
                self.unkept = Some(error);
            }
            Err(error) => return Err(Refusal::Failed(chain(&error))),
        }
        if left_out != self.left_out || file.is_some() {
            self.warnings.clear();
        }
        self.left_out = left_out;
        if let Some(file) = file {
            self.base.services = file.base.services;
            self.base.idle_timeout = file.base.idle_timeout;
            self.running.idle_timeout = file.base.idle_timeout;
            self.warnings = file.warnings;
        }
        for backend in cut {
            let configured = self.ids.get(backend).copied();
            self.world.cut.extend(self.leaving(backend).or(configured));
        }
        let next = Config {
            services: next.services,
            ..self.running.clone()
        };
        let result = self.reconcile(&next);
        self.version = version;
        self.shared();
        self.accept(next);
        result.map_err(|error| {
            let error = chain(&error);
            Refusal::Failed(format!("the change is kept and tried again: {error}"))
        })
    }

    /// The id of a backend that was removed, and finishes its connections.
    fn leaving(&self, backend: &BackendRef) -> Option<BackendId> {
        let mut names = self.names.iter();
        let (id, _) = names.find(|(id, name)| {
            *name == backend
                && self.tables.backends.contains_key(id)
                && !self.world.cut.contains(id)
                && self.ids.get(backend) != Some(id)
        })?;
        (!self.ids.contains_key(backend)).then_some(*id)
    }

    /// Writes down what runs. Where that fails, it is tried again at each sweep.
    pub(super) fn keep_running(&mut self) {
        let result = keep(&self.base, &self.running, &self.version, &self.left_out);
        let unkept = result.err().map(|error| chain(&error));
        if let Some(error) = unkept.as_ref().filter(|_| self.unkept != unkept) {
            tracing::error!(error, "what runs is not written down");
        }
        self.unkept = unkept;
    }

    /// Takes the configuration file as it is now. Nothing is changed if it is wrong, or does not
    /// fit.
    pub(super) fn read_again(&mut self, file: Result<Config, String>) {
        if let Ok(file) = &file {
            self.filed_priority = file.ha.as_ref().map(|ha| ha.priority);
        }
        let prepared = file.and_then(|file| self.prepare_file(file));
        match prepared {
            Ok(prepared) => self.submit(prepared, super::agreeing::Reply::File),
            Err(error) => self.refuse_file(error),
        }
    }

    /// Says why the file that was read is not what runs.
    pub(super) fn refuse_file(&mut self, error: String) {
        tracing::error!(error, "kept the old configuration");
        self.refused_file = Some(error);
    }

    fn prepare_file(&mut self, base: Config) -> Result<Prepared, String> {
        let overlay = Overlay::between(&self.base, &self.running).with(&self.left_out);
        let applied = overlay.apply(&base);
        self.fits(&applied.config)?;
        let restart = self.base.differs_until_restart(&base);
        if !restart.is_empty() {
            let keys = restart.join(", ");
            tracing::warn!("{keys}: kept as it was until lbd is started again");
        }
        for reason in &applied.reasons {
            tracing::warn!("{reason}");
        }
        let mut warnings = applied.reasons;
        warnings.extend(restart.iter().map(|key| {
            let how = match *key {
                // Their sizes are those of the maps.
                "limits" | "bpffs" => "stop lbd, `lbd detach` with the old file, and start it",
                _ => "start lbd again",
            };
            format!("{key} in the configuration file differs from what runs: {how}")
        }));
        Ok(Prepared {
            what: "take over the configuration file".to_owned(),
            next: applied.config,
            cut: Vec::new(),
            file: Some(File { base, warnings }),
            left_out: Some(applied.left_out),
        })
    }

    /// Makes `config` the running one.
    fn accept(&mut self, config: Config) {
        self.running = config;
        let known: BTreeSet<BackendRef> = self.ids.keys().cloned().collect();
        self.health.retain(|backend, _| known.contains(backend));
        self.world.up.retain(|backend, _| known.contains(backend));
        self.world
            .finishing
            .retain(|backend| known.contains(backend));
        self.watch();
        self.look_at_host();
        self.tell_router();
    }
}

/// Writes down what must outlive this process.
fn keep(
    base: &Config,
    config: &Config,
    version: &Version,
    left_out: &Overlay,
) -> anyhow::Result<()> {
    let kept = changes::Kept {
        revision: version.epoch,
        overlay: Overlay::between(base, config).with(left_out),
        version: Some(version.clone()),
    };
    changes::save(&base.state_dir, &kept)
}
