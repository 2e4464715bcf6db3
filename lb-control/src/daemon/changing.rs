//! Another configuration: by CLI, or from the file.

use super::{Daemon, chain};
use crate::config::{BackendRef, Change, Config, Overlay, Refusal, change};
use crate::dataplane::Dataplane;
use crate::desired;
use crate::state::changes;
use lb_ebpf::abi::BackendId;
use std::collections::BTreeSet;

impl<D: Dataplane> Daemon<D> {
    pub(super) fn change(
        &mut self,
        wanted: &Change,
        if_revision: Option<u64>,
    ) -> Result<u64, Refusal> {
        if let Some(expected) = if_revision.filter(|expected| *expected != self.revision) {
            return Err(Refusal::Conflict {
                expected,
                actual: self.revision,
            });
        }
        if let Change::RemoveBackend {
            backend,
            force: true,
        } = wanted
            && let Some(id) = self.leaving(backend)
        {
            self.world.cut.insert(id);
            let result = self.reconcile(&self.running.clone());
            result.map_err(|error| Refusal::Failed(chain(&error)))?;
            return Ok(self.revision);
        }
        let next = match wanted {
            Change::Reset => self.base.clone(),
            wanted => change::apply(&self.running, wanted)?,
        };
        // Whatever is refused is refused before anything is kept or done.
        desired::desired_with(&mut self.built, &next, &self.world, &self.tables)
            .map_err(|full| Refusal::Invalid(full.to_string()))?;
        let left_out = match wanted {
            Change::Reset => Overlay::default(),
            _ => self.left_out.clone(),
        };
        self.keep(&next, self.revision + 1, &left_out)
            .map_err(|error| Refusal::Failed(chain(&error)))?;
        if *wanted == Change::Reset {
            self.left_out = left_out;
            self.warnings.clear();
        }
        if let Change::RemoveBackend {
            backend,
            force: true,
        } = wanted
            && let Some(id) = self.ids.get(backend)
        {
            self.world.cut.insert(*id);
        }
        let result = self.reconcile(&next);
        self.accept(next);
        result.map_err(|error| {
            let error = chain(&error);
            Refusal::Failed(format!("the change is kept and tried again: {error}"))
        })?;
        Ok(self.revision)
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

    /// Writes down what must outlive this process.
    fn keep(&self, config: &Config, revision: u64, left_out: &Overlay) -> anyhow::Result<()> {
        let overlay = Overlay::between(&self.base, config).with(left_out);
        changes::save(&self.base.state_dir, &changes::Kept { revision, overlay })
    }

    /// Writes down what runs. Where that fails, it is tried again at each sweep.
    pub(super) fn keep_running(&mut self) {
        let result = self.keep(&self.running, self.revision, &self.left_out);
        let unkept = result.err().map(|error| chain(&error));
        if let Some(error) = unkept.as_ref().filter(|_| self.unkept != unkept) {
            tracing::error!(error, "what runs is not written down");
        }
        self.unkept = unkept;
    }

    /// Takes the configuration file as it is now. Nothing is changed if it is wrong, or does not
    /// fit.
    pub(super) fn read_again(&mut self, file: Result<Config, String>) {
        let result = file.and_then(|file| self.reload(file));
        self.refused_file = result.err();
        if let Some(error) = &self.refused_file {
            tracing::error!(error, "kept the old configuration");
        }
    }

    fn reload(&mut self, base: Config) -> Result<(), String> {
        let overlay = Overlay::between(&self.base, &self.running).with(&self.left_out);
        let applied = overlay.apply(&base);
        let next = applied.config;
        desired::desired_with(&mut self.built, &next, &self.world, &self.tables)
            .map_err(|full| full.to_string())?;
        let restart = self.base.differs_until_restart(&base);
        if !restart.is_empty() {
            let keys = restart.join(", ");
            tracing::warn!("{keys}: kept as it was until lbd is started again");
        }
        for reason in &applied.reasons {
            tracing::warn!("{reason}");
        }
        self.left_out = applied.left_out;
        self.warnings = applied.reasons;
        self.warnings.extend(restart.iter().map(|key| {
            let how = match *key {
                // Their sizes are those of the maps.
                "limits" | "bpffs" => "stop lbd, `lbd detach` with the old file, and start it",
                _ => "start lbd again",
            };
            format!("{key} in the configuration file differs from what runs: {how}")
        }));
        self.base.services = base.services;
        self.base.idle_timeout = base.idle_timeout;
        self.running.idle_timeout = base.idle_timeout;
        let next = Config {
            services: next.services,
            ..self.running.clone()
        };
        let result = self.reconcile(&next);
        self.accept(next);
        self.keep_running();
        if let Err(error) = result {
            tracing::error!(
                error = chain(&error),
                "could not apply the new configuration"
            );
        }
        tracing::info!(revision = self.revision, "reloaded the configuration");
        Ok(())
    }

    /// Makes `config` the running one.
    fn accept(&mut self, config: Config) {
        self.running = config;
        self.revision += 1;
        let known: BTreeSet<BackendRef> = self.ids.keys().cloned().collect();
        self.health.retain(|backend, _| known.contains(backend));
        self.world.up.retain(|backend, _| known.contains(backend));
        self.watch();
        self.look_at_host();
        self.tell_router();
    }
}
