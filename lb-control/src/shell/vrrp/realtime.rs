//! A thread that is not kept waiting: neither by other threads, nor by the disk.

use nix::errno::Errno;
use nix::sys::mman::{MlockAllFlags, mlockall};

/// Above everything that is not realtime, below the kernel's interrupt threads, which have 50.
const PRIORITY: libc::c_int = 10;

/// Asks the kernel to prefer the calling thread, and to keep the program's memory. Returns what it
/// refuses.
pub(super) fn ask() -> Vec<String> {
    let mut refused = Vec::new();
    if let Err(error) = schedule() {
        refused.push(format!(
            "the virtual router's thread has no realtime priority, so a busy host may advertise \
             late and lose leadership: {error} (it takes CAP_SYS_NICE)"
        ));
    }
    if let Err(error) = lock_memory() {
        refused.push(format!(
            "memory is not locked, so a host that swaps may advertise late and lose leadership: \
             {error} (it takes CAP_IPC_LOCK)"
        ));
    }
    refused
}

fn schedule() -> Result<(), Errno> {
    let parameters = libc::sched_param {
        sched_priority: PRIORITY,
    };
    // Whatever this thread may start is as any other.
    let policy = libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK;
    // SAFETY: the pointer is to live memory of the type that is asked for; 0 is the calling thread.
    let result = unsafe { libc::sched_setscheduler(0, policy, &raw const parameters) };
    Errno::result(result).map(drop)
}

/// Of each page from when it is first touched: the tables of a load balancer are large, and mapped
/// long before they are used.
fn lock_memory() -> Result<(), Errno> {
    let on_fault = MlockAllFlags::from_bits_retain(libc::MCL_ONFAULT);
    mlockall(MlockAllFlags::MCL_CURRENT | MlockAllFlags::MCL_FUTURE | on_fault)
}
