//! What must be in time: threads that wait for nobody, and what becomes of a daemon that does.

use super::PATIENCE;
use super::failover::{
    alarms, ha, has_addresses, paired_with, wait_for_leader, wait_for_role, wait_until_ready,
};
use crate::traffic::{Regulars, ask};
use anyhow::{Context as _, Result, ensure};
use kit::held::Held;
use kit::lab::Lab;
use kit::layout::Balancer::{self, First, Second};
use kit::wait::wait_for;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

/// How the kernel schedules a thread (sched(7)).
#[derive(Debug, PartialEq, Eq)]
struct Schedule {
    policy: u32,
    priority: u32,
}

/// `SCHED_OTHER` and `SCHED_FIFO`.
const OTHER: u32 = 0;
const FIFO: u32 = 1;

fn proc(lab: &Lab, balancer: Balancer) -> Result<PathBuf> {
    Ok(PathBuf::from(format!("/proc/{}", lab.lbd_pid(balancer)?)))
}

/// All threads of lbd: what each is called, and how it is scheduled.
fn threads(lab: &Lab, balancer: Balancer) -> Result<Vec<(String, Schedule)>> {
    let mut threads = Vec::new();
    for thread in fs::read_dir(proc(lab, balancer)?.join("task"))? {
        let stat = match fs::read_to_string(thread?.path().join("stat")) {
            // It has ended meanwhile.
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            stat => stat?,
        };
        // proc_pid_stat(5): the name is in parentheses, and fields after it are counted from 3.
        let (begin, rest) = stat.rsplit_once(") ").context("no name")?;
        let (_, name) = begin.split_once('(').context("no name")?;
        let field = |number: usize| -> Result<u32> {
            let field = rest.split(' ').nth(number - 3);
            Ok(field.context("too few fields")?.parse()?)
        };
        let schedule = Schedule {
            priority: field(40)?,
            policy: field(41)?,
        };
        threads.push((name.to_owned(), schedule));
    }
    Ok(threads)
}

/// A part of lbd's memory that it can write to, and that is no file's.
struct Region {
    range: String,
    locked: bool,
}

fn regions(lab: &Lab, balancer: Balancer) -> Result<Vec<Region>> {
    let maps = fs::read_to_string(proc(lab, balancer)?.join("smaps"))?;
    let mut regions = Vec::new();
    let mut current = None;
    for line in maps.lines() {
        if let Some(flags) = line.strip_prefix("VmFlags: ") {
            let locked = flags.split(' ').any(|flag| flag == "lo");
            regions.extend(current.take().map(|range| Region { range, locked }));
        } else if let [range, access, _, _, inode, ..] =
            line.split_whitespace().collect::<Vec<_>>()[..]
            && range.contains('-')
        {
            let is_ours = access == "rw-p" && inode == "0";
            current = is_ours.then(|| range.to_owned());
        }
    }
    Ok(regions)
}

/// The realtime threads are, all others are not, and no memory of lbd can be swapped out: neither
/// what was there when they were started, nor what came later.
pub(crate) fn threads_that_must_be_in_time_wait_for_nobody() -> Result<()> {
    let lab = paired_with(|_| {})?;
    let before: Vec<String> = regions(&lab, First)?
        .into_iter()
        .map(|region| region.range)
        .collect();
    let mut new = 0;
    wait_for(PATIENCE, "lbd to need more memory", || {
        // The threads that answer have memory of their own.
        let asking: Vec<_> = (0..8).map(|_| lab.lbctl_json(&["status"])).collect();
        asking.into_iter().collect::<Result<Vec<_>>>()?;
        let after = regions(&lab, First)?;
        let later = after.iter().filter(|it| !before.contains(&it.range));
        new = later.count();
        ensure!(new > 0);
        Ok(())
    })?;
    println!(
        "{} regions, and {new} that grew or came later",
        before.len()
    );
    for balancer in [First, Second] {
        let threads = threads(&lab, balancer)?;
        for (name, priority) in [("heartbeat", 20), ("vrrp", 10)] {
            let wanted = Schedule {
                policy: FIFO,
                priority,
            };
            let mut found = threads.iter().filter(|(it, _)| it == name);
            let found = [found.next(), found.next()].map(|it| it.map(|(_, schedule)| schedule));
            ensure!(found == [Some(&wanted), None], "{name}: {threads:?}");
        }
        let ordinary = threads
            .iter()
            .filter(|(name, _)| !["heartbeat", "vrrp"].contains(&name.as_str()));
        for (name, schedule) in ordinary {
            ensure!(schedule.policy == OTHER, "{name}: {schedule:?}");
        }
        let status = fs::read_to_string(proc(&lab, balancer)?.join("status"))?;
        let locked = status.lines().find_map(|it| it.strip_prefix("VmLck:"));
        let locked = locked.context("no VmLck")?.trim().trim_end_matches(" kB");
        ensure!(locked.parse::<u64>()? > 0, "{status}");
        let regions = regions(&lab, balancer)?;
        let loose = regions.iter().filter(|region| !region.locked);
        let loose: Vec<_> = loose.map(|region| region.range.as_str()).collect();
        ensure!(loose.is_empty(), "{loose:?} of {} are not", regions.len());
    }
    Ok(())
}

/// Where systemd would listen.
struct Manager(UnixDatagram);

impl Manager {
    /// How often the watchdog was fed since this was last asked.
    fn fed(&self) -> Result<usize> {
        let mut fed = 0;
        let mut buffer = [0; 4_096];
        loop {
            match self.0.recv(&mut buffer) {
                Ok(length) => {
                    let said = String::from_utf8_lossy(&buffer[..length]);
                    fed += usize::from(said.contains("WATCHDOG=1"));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(fed),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// The daemon's loop hangs on the leader, and all else of lbd goes on: the watchdog is fed no
/// longer, leadership is given up, and both hosts say why.
pub(crate) fn a_hung_leader_gives_up_and_says_why() -> Result<()> {
    let mut lab = paired_with(|_| {})?;
    lab.stop_lbd_on(First)?;
    let path = lab.layout().run_dir().join("notify");
    let manager = UnixDatagram::bind(&path)?;
    manager.set_nonblocking(true)?;
    let manager = Manager(manager);
    lab.lbd_environment = vec![
        ("NOTIFY_SOCKET", path.into()),
        ("WATCHDOG_USEC", "10000000".into()),
    ];
    lab.start_lbd_on(First)?;
    wait_until_ready(&lab, First)?;
    wait_for_leader(&lab, First)?;
    wait_for_role(&lab, Second, "standby")?;
    lab.wait_until_synchronised(PATIENCE)?;
    let is_fed = || {
        wait_for(PATIENCE, "the watchdog to be fed", || {
            ensure!(manager.fed()? > 0);
            Ok(())
        })
    };
    is_fed()?;
    let regulars = Regulars::start(&lab, 6)?;
    regulars.wait_for_each()?;

    // Its loop is what the first thread does.
    let held = Held::hold(lab.lbd_pid(First)?)?;
    manager.fed()?;
    wait_for_leader(&lab, Second)?;
    wait_for(PATIENCE, "the hung one to take the addresses away", || {
        ensure!(!has_addresses(&lab, First)?);
        Ok(())
    })?;
    let reason = ha(&lab, Second)?["reason"].clone();
    ensure!(reason == "the other host was lost", "{reason}");
    let told = alarms(&lab, Second)?;
    ensure!(told.contains("its daemon does not answer"), "{told}");
    ask(&lab, 30)?;
    regulars.wait_for_each()?;
    // Meanwhile it would have been fed three times.
    let fed = manager.fed()?;
    ensure!(
        fed == 0,
        "the watchdog of a daemon that hangs was fed {fed} times"
    );

    drop(held);
    wait_for(PATIENCE, "an alarm", || {
        let told = alarms(&lab, First)?;
        ensure!(told.contains("stood still"), "{told}");
        Ok(())
    })?;
    is_fed()?;
    wait_for_leader(&lab, First)?;
    wait_for_role(&lab, Second, "standby")?;
    ask(&lab, 30)?;
    regulars.wait_for_each()?;
    for served in regulars.stop() {
        served.context("a connection broke")?;
    }
    Ok(())
}
