//! The host that lbd runs on: the program on its interfaces, and what packets need besides.

use crate::api::scrape::Scrapes;
use crate::config::Config;
use crate::daemon::{Host, HostState};
use crate::dataplane::Attacher;
use crate::observe::service_manager::Notify;
use crate::shell::host;
use anyhow::Context as _;
use aya::Ebpf;
use lb_ebpf::abi::Features;
use std::sync::Arc;

/// Loads the program, with these parts of it.
pub type Load = Box<dyn FnMut(Features) -> anyhow::Result<Ebpf> + Send>;

/// What is looked at.
pub struct Here {
    /// Loads the program that is attached.
    pub load: Load,
    /// The parts that it has.
    pub features: Features,
    /// Puts the program on the interfaces.
    pub attacher: Attacher,
    /// The service manager, which restarts an lbd that looks no longer.
    pub notify: Arc<Notify>,
    /// The listener for scrapers, if one is configured.
    pub scrapes: Option<Scrapes>,
}

impl Host for Here {
    /// The program takes over from the one of an earlier lbd, or is put back where it is missing.
    fn look(&mut self, config: &Config, may_attach: bool) -> HostState {
        let mut state = HostState {
            alarms: host::alarms(config),
            ..HostState::default()
        };
        if may_attach || !self.attacher.takes_over() {
            let (attachments, failures) = self.attacher.attach();
            state.attachments = attachments;
            // What comes in where the program is not is answered by nobody.
            state.unfit = (!failures.is_empty()).then(|| failures.join("; "));
            state.alarms.extend(failures);
        }
        let deaf = self.scrapes.as_ref().and_then(Scrapes::alarm);
        state.alarms.extend(deaf);
        state
    }

    fn is_intact(&self) -> bool {
        self.attacher.is_intact()
    }

    fn turns(&mut self) {
        self.notify.watchdog();
    }

    fn use_features(&mut self, features: Features) -> anyhow::Result<()> {
        if features == self.features {
            return Ok(());
        }
        let object = (self.load)(features)?;
        let replaced = self.attacher.replace(object);
        self.features = features;
        let names: Vec<_> = features.iter().map(|feature| feature.name()).collect();
        tracing::info!(features = names.join(" "), "replaced the program");
        replaced
            .map_err(anyhow::Error::msg)
            .context("failed to replace the program")
    }
}
