//! How lbd ends on one of two hosts: it hands over, goes on for a moment, and leaves a lease behind.

use super::leading::Leading;
use super::{Daemon, switching};
use crate::dataplane::{Dataplane, boot_ns};
use crate::shell::vrrp::Router;
use std::time::Duration;

/// For how long lbd goes on after it was told to end and handed over.
const LINGERING: Duration = Duration::from_millis(500);

/// For how long what still arrives is forwarded after lbd gave up leadership and ended, in
/// nanoseconds.
const FAREWELL_NS: u64 = 5_000_000_000;

impl<D: Dataplane> Daemon<D> {
    /// lbd is to end: the other host leads from now on, if it can.
    pub(super) fn hand_over_at_the_end(&mut self) {
        if self.leads()
            && self
                .pairing
                .as_ref()
                .is_some_and(|it| it.connected.is_some())
        {
            let why = "lbd was told to end".to_owned();
            self.switch(switching::Reply::Own(why));
        }
    }

    /// Whether there is nothing left to do before lbd ends. One that handed over stays for as long as
    /// packets may still come: the other host is to hear of flows that they record.
    pub(super) fn is_through(&self) -> bool {
        let handed_over = self.switching.handed_over;
        self.switching.is_idle() && handed_over.is_none_or(|at| at.elapsed() > LINGERING)
    }

    /// Gives up leadership, so that the other one need not wait to take over.
    pub fn release(&mut self) {
        let duties = self.leading.iter_mut().flat_map(Leading::duties_mut);
        let routers: Vec<Router> = duties.filter_map(|duty| duty.router.take()).collect();
        routers.into_iter().for_each(Router::release);
        // The addresses are gone, and so may the lease be. What still arrives, because somebody has
        // not heard yet who has them now, is forwarded for a while: the tables are the same.
        if let Some(leading) = &mut self.leading
            && leading.peer.take().is_some()
            && let Err(error) = self
                .dataplane
                .renew_lease(boot_ns().saturating_add(FAREWELL_NS))
        {
            tracing::warn!(%error, "new connections that still arrive here are dropped");
        }
    }
}
