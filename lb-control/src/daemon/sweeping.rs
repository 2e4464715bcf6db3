//! What time does to the tables: flows expire, slots come to rest, and what somebody else wrote is
//! mended.

use super::{Daemon, chain};
use crate::dataplane::Dataplane;
use crate::desired::sweep;
use lb_ebpf::abi::Tracking;
use std::collections::BTreeSet;
use std::time::Instant;

impl<D: Dataplane> Daemon<D> {
    pub(super) fn sweep(&mut self) {
        if let Err(error) = self.try_sweep() {
            tracing::error!(error = chain(&error), "could not sweep the tables");
            self.failure = Some(chain(&error));
        }
    }

    fn try_sweep(&mut self) -> anyhow::Result<()> {
        if self.unkept.is_some() {
            self.keep_running();
        }
        // What somebody else wrote is seen, and overwritten, here.
        let found = self.dataplane.read()?;
        if found != self.tables {
            tracing::warn!("the tables are not what they were left: mending them");
            self.tables = found;
        }
        let config = self.running.clone();
        self.reconcile(&config)?;

        let tracking = self.dataplane.tracking()?;
        let count = |what: Tracking| tracking.get(what as usize).copied().unwrap_or(0);
        let refused = count(Tracking::RefusedRate) + count(Tracking::RefusedFull);
        let now_ms = now_ms()?;
        self.refusing = refused != self.refused;
        self.dirty.update(&self.tables, now_ms, self.refusing);
        self.refused = refused;

        let untold = count(Tracking::Untold);
        if untold != self.untold
            && let Some(pairing) = &mut self.pairing
        {
            pairing.session.begin_again(Instant::now());
        }
        self.untold = untold;
        self.carry_out();

        let mut flows = self.dataplane.flows()?;
        for (_, flow) in &mut flows {
            if let Some(since) = self.led_since_ms
                && flow.idle_ms(now_ms) > now_ms.wrapping_sub(since)
            {
                flow.last_seen_ms = since;
            }
        }
        let configured = self.ids.values().copied().collect();
        let idle = sweep::IdleTimes::new(&self.running, &self.tables);
        let swept = sweep::sweep(
            &self.tables,
            &flows,
            &self.dirty,
            &configured,
            (now_ms, &idle),
        );
        self.recorded = swept.recorded;
        if self.mirror().is_some() {
            // What goes and what comes to rest is for the leader to say.
            return Ok(());
        }
        self.dataplane.remove_flows(&swept.expired)?;
        if let Some(pairing) = &mut self.pairing {
            pairing.session.send_flows_gone(&swept.expired);
        }
        self.apply(swept.tables)?;
        if self
            .led_since_ms
            .is_some_and(|since| now_ms.wrapping_sub(since) > idle.longest())
        {
            self.led_since_ms = None;
        }
        let services: BTreeSet<_> = self.tables.services.values().map(|s| s.id).collect();
        for (id, service) in swept.free {
            let service = services.contains(&service).then_some(service);
            self.dataplane.retire(id, service)?;
            self.world.cut.remove(&id);
            self.names.remove(&id);
        }
        Ok(())
    }
}

/// The program's clock: milliseconds since boot, modulo 2³².
pub(super) fn now_ms() -> anyhow::Result<u32> {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC_COARSE)?;
    Ok((now.tv_sec().cast_unsigned() * 1_000 + now.tv_nsec().cast_unsigned() / 1_000_000) as u32)
}
