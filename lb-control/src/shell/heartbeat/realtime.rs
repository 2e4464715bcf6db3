//! What makes a thread wake up in time on a busy host.

use nix::sys::mman::{MlockAllFlags, mlockall};
use std::io;

/// Above everything ordinary, below the kernel's own threads (50).
const PRIORITY: libc::c_int = 20;

/// Gives the calling thread realtime scheduling, and keeps the process in memory. Returns what was
/// refused, and what to do about it.
pub(super) fn acquire() -> Vec<String> {
    let mut lacking = Vec::new();
    if let Err(error) = schedule() {
        lacking.push(format!(
            "no realtime scheduling ({error}): allow CAP_SYS_NICE, or LimitRTPRIO={PRIORITY}"
        ));
    }
    // What is there now, as it is touched: not what others of the process will need, which would
    // fail where the limit is low, and not all of the stacks.
    let flags = MlockAllFlags::MCL_CURRENT | on_fault();
    if let Err(error) = mlockall(flags) {
        lacking.push(format!(
            "memory is not locked ({error}): allow CAP_IPC_LOCK, or LimitMEMLOCK=infinity"
        ));
    }
    lacking
}

fn schedule() -> io::Result<()> {
    // SAFETY: plain data for which zero is valid.
    let mut param: libc::sched_param = unsafe { std::mem::zeroed() };
    param.sched_priority = PRIORITY;
    let policy = libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK;
    // SAFETY: 0 is the calling thread, and the parameters live until the call returns.
    match unsafe { libc::sched_setscheduler(0, policy, &raw const param) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// nix has no name for it.
fn on_fault() -> MlockAllFlags {
    MlockAllFlags::from_bits_retain(libc::MCL_ONFAULT)
}
