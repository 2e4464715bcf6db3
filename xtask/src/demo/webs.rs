//! What happens to the web servers, and what users notice of it.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use kit::lab::Lab;
use kit::layout::web_name;
use kit::wait;

use super::load::Load;
use super::report::Report;
use super::{PATIENCE, WEBS, pause};

/// The web server that is killed.
pub(super) const KILLED: u8 = 2;

pub(super) fn wait_until_up(lab: &Lab) -> Result<()> {
    wait::wait_for(PATIENCE, "all web servers to be up", || {
        (1..=WEBS).try_for_each(|n| expect(lab, n, "operational", "up"))
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
        expect(lab, 1, "admin", "ready")
    })?;
    unnoticed(report, "web1 is back")?;

    report.begin("web2 is killed, not yet noticed");
    lab.stop_web(KILLED)?;
    wait::wait_for(PATIENCE, "lbd to notice that web2 is dead", || {
        expect(lab, KILLED, "operational", "down")
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

/// An error unless lbd says that web server `n` is in this state.
fn expect(lab: &Lab, n: u8, field: &str, expected: &str) -> Result<()> {
    let status = lab.lbctl_json(&["status"])?;
    let name = web_name(n);
    let backends = status["services"][0]["backends"].as_array();
    let backend = backends
        .and_then(|backends| backends.iter().find(|backend| backend["name"] == *name))
        .with_context(|| format!("lbctl status does not mention {name}"))?;
    let state = &backend[field];
    ensure!(
        state == expected,
        "{name} is {state} ({})",
        backend["reason"]
    );
    Ok(())
}
