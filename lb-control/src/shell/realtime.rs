//! A thread that is not kept waiting: neither by other threads, nor by the disk.

use nix::errno::Errno;
use nix::sys::mman::{MlockAllFlags, mlockall};
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};
use std::fs;

#[cfg(test)]
mod tests;

/// How urgent a thread is, among those that are realtime. The kernel's interrupt threads have 50.
#[derive(Clone, Copy, Debug)]
pub(super) enum Urgency {
    /// A virtual router, which has several intervals to be heard.
    Router = 10,
    /// Heartbeats, by which the lease is renewed in a part of an interval.
    Heartbeat = 20,
}

/// Asks the kernel to prefer the calling thread, and to keep the program's memory. Returns what it
/// refuses, and what to do about it.
pub(super) fn ask(urgency: Urgency) -> Vec<String> {
    let priority = urgency as libc::c_int;
    let mut refused = Vec::new();
    if let Err(error) = schedule(priority) {
        refused.push(format!(
            "no realtime scheduling ({error}): allow CAP_SYS_NICE, or LimitRTPRIO={priority}"
        ));
    }
    if let Err(error) = mlockall(locked(may_lock_all())) {
        refused.push(format!(
            "memory is not locked ({error}): allow CAP_IPC_LOCK, or LimitMEMLOCK=infinity"
        ));
    }
    refused
}

fn schedule(priority: libc::c_int) -> Result<(), Errno> {
    let parameters = libc::sched_param {
        sched_priority: priority,
    };
    // Whatever this thread may start is as any other.
    let policy = libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK;
    // SAFETY: the pointer is to live memory of the type that is asked for; 0 is the calling thread.
    let result = unsafe { libc::sched_setscheduler(0, policy, &raw const parameters) };
    Errno::result(result).map(drop)
}

/// What is there now, and, if `all`, what will be: a thread reads what others have allocated. The
/// last thread that asks decides for all of the process, so all ask for the same.
///
/// Each page from when it is first touched: the tables of a load balancer are large, and mapped long
/// before they are used.
fn locked(all: bool) -> MlockAllFlags {
    let on_fault = MlockAllFlags::from_bits_retain(libc::MCL_ONFAULT);
    let future = match all {
        true => MlockAllFlags::MCL_FUTURE,
        false => MlockAllFlags::empty(),
    };
    MlockAllFlags::MCL_CURRENT | future | on_fault
}

/// Whether there is no limit to what may be locked. Where there is one, memory that is to be locked
/// and exceeds it would not be given at all.
fn may_lock_all() -> bool {
    let unlimited =
        getrlimit(Resource::RLIMIT_MEMLOCK).is_ok_and(|(limit, _)| limit == RLIM_INFINITY);
    unlimited
        || fs::read_to_string("/proc/thread-self/status").is_ok_and(|it| may_ignore_limit(&it))
}

/// Whether these lines of `proc_pid_status(5)` are of a thread that has CAP_IPC_LOCK.
fn may_ignore_limit(status: &str) -> bool {
    const CAP_IPC_LOCK: u32 = 14;
    let mut lines = status.lines();
    let effective = lines.find_map(|line| line.strip_prefix("CapEff:"));
    let effective = effective.and_then(|it| u64::from_str_radix(it.trim(), 16).ok());
    effective.is_some_and(|it| it & (1 << CAP_IPC_LOCK) != 0)
}
