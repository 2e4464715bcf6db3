//! Which of the two hosts reaches the backends: a leader that reaches none of a service's makes way
//! for a standby that does.

use super::Daemon;
use super::switching::{Reply, is_ready};
use crate::config::Name;
use crate::dataplane::Dataplane;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long backends must be up before a host that made way for lack of them is as good as the other
/// again.
const WELL_AGAIN: Duration = Duration::from_secs(10);

/// This host made way because the other reached backends that it did not.
#[derive(Default)]
pub(super) struct MadeWay {
    /// Since when it reaches them again.
    well_since: Option<Instant>,
}

impl<D: Dataplane> Daemon<D> {
    /// Hands over to a standby that reaches backends which this host does not, and takes its rank
    /// back when it reaches them again.
    pub(super) fn weigh_backends(&mut self) {
        let worse_off = self.worse_off();
        if self.leads() {
            if self.switching.is_idle() {
                self.made_way = None;
            }
            if let Some(why) = worse_off
                && self.switching.is_idle()
                && self.peer_is_ready()
            {
                tracing::error!("{why}: handing over");
                self.made_way = Some(MadeWay::default());
                self.switch(Reply::Own(why));
            }
            return;
        }
        let Some(MadeWay { well_since }) = &mut self.made_way else {
            return;
        };
        if worse_off.is_some() {
            *well_since = None;
        } else if well_since.get_or_insert_with(Instant::now).elapsed() > WELL_AGAIN {
            self.made_way = None;
            if self.stop_standing_behind().is_ok() {
                tracing::info!("backends are reached again: back to the configured priority");
            }
        }
    }

    fn peer_is_ready(&self) -> bool {
        let pairing = self.pairing.as_ref();
        pairing.is_some_and(|pairing| is_ready(&pairing.session).is_ok())
    }

    /// The services of which no backend is up here, though some are at the other host.
    fn worse_off(&self) -> Option<String> {
        let (_, theirs) = self.pairing.as_ref()?.session.peer()?;
        let ours = self.count_up();
        let any = |up: &BTreeMap<Name, u32>, name| up.get(name).is_some_and(|count| *count > 0);
        let lacks = ours
            .keys()
            .filter(|name| !any(&ours, name) && any(&theirs.up, name));
        let lacks: Vec<&str> = lacks.map(Name::as_str).collect();
        // If each has what the other lacks, nothing is won.
        let has_more = ours
            .keys()
            .any(|name| any(&ours, name) && !any(&theirs.up, name));
        (!lacks.is_empty() && !has_more).then(|| {
            let lacks = lacks.join(", ");
            format!("no backend of {lacks} is up here, and some are at the other host")
        })
    }
}
