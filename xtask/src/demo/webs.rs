//! What happens to the web servers, and what users notice of it.

use std::time::Duration;

use anyhow::{Result, ensure};
use kit::lab::Lab;
use kit::layout::web_name;
use kit::wait;
use serde_json::Value;

use super::load::Load;
use super::report::Report;
use super::{PATIENCE, WEBS, pause};

/// The web server that is killed.
pub(super) const KILLED: u8 = 2;

pub(super) fn wait_until_up(lab: &Lab) -> Result<()> {
    wait::wait_for(PATIENCE, "all web servers to be up", || {
        (1..=WEBS).try_for_each(|n| expect(&backend(lab, "www", n)?, "operational", "up"))
    })
}

/// What happens, in order. Each phase is a row of the table.
pub(super) fn story(lab: &mut Lab, load: &Load, report: &mut Report, each: Duration) -> Result<()> {
    report.head_of_webs();
    // Users are to notice nothing.
    let unnoticed = |report: &mut Report, name: &str| -> Result<()> {
        pause(each)?;
        let tally = load.take();
        report.row_of_webs(&tally);
        let failed = tally.failed();
        report.expect(failed == 0, &format!("{name}: {failed} requests failed"));
        Ok(())
    };
    report.begin("all is well");
    unnoticed(report, "all is well")?;

    report.begin("web1 is drained");
    lab.must_lbctl(&["backend", "drain", "www/web1"])?;
    unnoticed(report, "web1 is drained")?;

    report.begin("web1 is back");
    lab.must_lbctl(&["backend", "enable", "www/web1"])?;
    wait::wait_for(PATIENCE, "web1 to be back", || {
        expect(&backend(lab, "www", 1)?, "admin", "ready")
    })?;
    unnoticed(report, "web1 is back")?;

    report.begin("web2 is killed, not yet noticed");
    lab.stop_web(KILLED)?;
    wait::wait_for(PATIENCE, "lbd to notice that web2 is dead", || {
        expect(&backend(lab, "www", KILLED)?, "operational", "down")
    })?;
    report.row_of_webs(&load.take());

    report.begin("web2 is known to be dead");
    pause(each)?;
    // The first of these requests may have been begun before.
    report.row_of_webs(&load.take());

    report.begin("web2 is started again");
    lab.start_web(KILLED)?;
    wait_until_up(lab)?;
    unnoticed(report, "web2 is started again")
}

/// What lbd says of web server `n` as a backend of a service.
pub(super) fn backend(lab: &Lab, service: &str, n: u8) -> Result<Value> {
    let name = format!("{service}/{}", web_name(n));
    lab.lbctl_json(&["backend", "show", &name])
}

/// An error unless a backend is in this state.
pub(super) fn expect(backend: &Value, field: &str, expected: &str) -> Result<()> {
    let (name, state) = (&backend["name"], &backend[field]);
    ensure!(
        state == expected,
        "{name} is {state} ({})",
        backend["reason"]
    );
    Ok(())
}
