//! What the processors' time goes to, as the kernel counts it: see proc(5).

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};

/// How many there are.
pub(crate) fn count() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// What all processes of a group have taken, which must not have ended.
pub(crate) fn of_group(group: i32) -> Result<Duration> {
    let mut ticks = 0;
    for entry in fs::read_dir("/proc")? {
        let stat = entry?.path().join("stat");
        // Most have none, and some have ended since the directory was read.
        if let Ok(text) = fs::read_to_string(stat)
            && let Some(stat) = Stat::parse(&text)
            && stat.group == group
        {
            ticks += stat.ticks;
        }
    }
    Ok(time(ticks))
}

/// What this process has taken.
pub(crate) fn own() -> Result<Duration> {
    let text = fs::read_to_string("/proc/self/stat")?;
    let stat = Stat::parse(&text).context("/proc/self/stat is not what it should be")?;
    Ok(time(stat.ticks))
}

/// What everything on this machine has taken, and what its host took from it.
pub(crate) fn everybody() -> Result<Duration> {
    let text = fs::read_to_string("/proc/stat")?;
    let line = text.lines().next().unwrap_or_default();
    let ticks = busy(line).context("/proc/stat is not what it should be")?;
    Ok(time(ticks))
}

/// All but idle and iowait; guests are counted with user and nice already.
fn busy(line: &str) -> Option<u64> {
    let fields = line.strip_prefix("cpu ")?.split_whitespace();
    let ticks: Vec<u64> = fields.map(str::parse).collect::<Result<_, _>>().ok()?;
    let [user, nice, system, _idle, _iowait, irq, softirq, steal, ..] = ticks[..] else {
        return None;
    };
    Some(user + nice + system + irq + softirq + steal)
}

fn time(ticks: u64) -> Duration {
    // SAFETY: sysconf(3) has no preconditions.
    let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    Duration::from_secs_f64(ticks as f64 / per_second as f64)
}

/// What matters here of `/proc/PID/stat`.
struct Stat {
    /// The process group.
    group: i32,
    /// Of user and system, of all threads.
    ticks: u64,
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        // The program's name, in parentheses, may have anything in it.
        let (_, rest) = text.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        // These are the third field of the line and those after it.
        let field = |number: usize| fields.get(number - 3);
        Some(Self {
            group: field(5)?.parse().ok()?,
            ticks: field(14)?.parse::<u64>().ok()? + field(15)?.parse::<u64>().ok()?,
        })
    }
}
