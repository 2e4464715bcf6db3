//! What the program records, as it does.

use super::{Error, Pins, kernel};
use aya::maps::{MapData, RingBuf};
use lb_ebpf::abi::{Flow, FlowKey, NewFlow};
use std::fmt;
use std::io;
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::sleep;

/// Flows that one call takes at most, so that the caller gets to do something else, too.
const BATCH: usize = 4_096;

/// For how long flows gather before they are taken. The program wakes the reader only for a flow
/// that is the first after all others were taken, and pays for that with an interrupt to its own
/// processor: several microseconds in a virtual machine, many times what the flow costs otherwise.
/// So it pays once in this time, however many flows there are.
const GATHER: Duration = Duration::from_millis(1);

/// `NEW_FLOWS`: every flow that the program records, takes over for another backend, or sees in
/// another phase, if it was loaded with [`Options::tells_flows`](super::Options::tells_flows).
///
/// Flows that did not fit because nobody read are counted as `Tracking::Untold`: whoever needs all
/// of them reads all tables then ([`Dataplane::flows`](super::Dataplane::flows)). There is one
/// buffer, so there may be only one reader. It begins with what its predecessor has left.
pub struct NewFlows {
    buffer: AsyncFd<RingBuf<MapData>>,
    /// Whether the last batch was not all there was.
    behind: bool,
}

impl NewFlows {
    /// Opens the map that [`super::load`] pinned. Must be called within a tokio runtime that has
    /// timers.
    pub fn open(pins: &Pins) -> Result<Self, Error> {
        let buffer = kernel::open(pins, "NEW_FLOWS")?;
        // SAFETY: the buffer owns its descriptor, and never replaces it.
        let buffer = unsafe { AsyncFd::register_with_interest(buffer, Interest::READABLE) }
            .map_err(|error| Error::new("wait for the map NEW_FLOWS", io::Error::from(error)))?;
        Ok(Self {
            buffer,
            behind: false,
        })
    }

    /// Waits until there are flows, and a millisecond for others to come, and appends them to
    /// `into`: all there are, up to 4,096. In the order in which they were recorded; of a flow that
    /// is there twice, the last one counts.
    ///
    /// May be dropped while it waits: nothing is lost.
    pub async fn next_batch(&mut self, into: &mut Vec<(FlowKey, Flow)>) -> Result<(), Error> {
        let before = into.len();
        while into.len() == before {
            let mut ready = self
                .buffer
                .readable_mut()
                .await
                .map_err(|error| Error::new("wait for the map NEW_FLOWS", error))?;
            if !self.behind {
                sleep(GATHER).await;
            }
            self.behind = !take(ready.get_inner_mut(), into);
            if !self.behind {
                ready.clear_ready();
            }
        }
        Ok(())
    }
}

/// Takes a batch. Whether that was all: only then does the program wake us again.
fn take(buffer: &mut RingBuf<MapData>, into: &mut Vec<(FlowKey, Flow)>) -> bool {
    for _ in 0..BATCH {
        let Some(record) = buffer.next() else {
            return true;
        };
        // Only the program of this version writes there, and only whole records.
        if let Ok(NewFlow { key, flow }) = bytemuck::try_pod_read_unaligned(&record) {
            into.push((key, flow));
        }
    }
    false
}

impl fmt::Debug for NewFlows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewFlows").finish_non_exhaustive()
    }
}
