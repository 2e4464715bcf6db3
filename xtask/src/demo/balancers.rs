//! What happens to the load balancers, and what users notice of it.

use std::time::{Duration, Instant};

use anyhow::Result;
use kit::lab::Lab;
use kit::layout::Balancer::{self, First, Second};
use kit::probe::Prober;

use super::load::{Load, Tally};
use super::report::Report;
use super::{PATIENCE, pause};

/// How long it may take until new connections are possible when the leader is lost: some times as
/// long as a standby needs to notice it, as the machine may be busy.
const GAP_MAX: Duration = Duration::from_secs(1);

/// What users may notice.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Notice {
    /// No request fails, and no connection breaks.
    Nothing,
    /// New connections have to wait, for a moment.
    Gap,
}

/// What happens, in order. Each phase is a row of the table.
pub(super) fn story(lab: &mut Lab, load: &Load, report: &mut Report, each: Duration) -> Result<()> {
    report.head_of_balancers();
    let mut stage = Stage {
        lab,
        load,
        report,
        each,
        leader: First,
    };
    stage.phase("all is well", Notice::Nothing, First, |_| Ok(()))?;
    stage.phase("lb hands over to lb2", Notice::Nothing, Second, hand_over)?;
    stage.phase("lb2 hands over to lb", Notice::Nothing, First, hand_over)?;

    let kill_lbd = |lab: &mut Lab| lab.kill_lbd_on(First);
    stage.phase("lbd is killed on lb", Notice::Gap, Second, kill_lbd)?;
    let start_lbd = |lab: &mut Lab| lab.start_lbd_on(First);
    stage.phase("lbd is started again", Notice::Nothing, First, start_lbd)?;

    let kill_host = |lab: &mut Lab| lab.kill_balancer(First);
    stage.phase("lb loses power", Notice::Gap, Second, kill_host)?;
    let revive_host = |lab: &mut Lab| lab.revive_balancer(First);
    stage.phase(
        "lb is back, and catches up",
        Notice::Nothing,
        First,
        revive_host,
    )?;
    report.legend();
    Ok(())
}

/// A planned switchover, as an operator asks for it; either host may be asked.
fn hand_over(lab: &mut Lab) -> Result<()> {
    lab.must_lbctl(&["ha", "switch"])
}

/// What the phases are played on.
struct Stage<'a> {
    lab: &'a mut Lab,
    load: &'a Load,
    report: &'a mut Report,
    each: Duration,
    leader: Balancer,
}

impl Stage<'_> {
    /// Does something, after which this balancer is to lead.
    fn phase(
        &mut self,
        name: &str,
        notice: Notice,
        leader: Balancer,
        act: impl FnOnce(&mut Lab) -> Result<()>,
    ) -> Result<()> {
        self.report.begin(name);
        let prober = Prober::start(&self.lab.client())?;
        prober.wait_until_well(PATIENCE)?;
        let begin = Instant::now();
        act(self.lab)?;
        // A host that comes back leads again once it knows what the other one does.
        let synchronised = match notice {
            Notice::Nothing => {
                self.lab.wait_until_synchronised(PATIENCE)?;
                format!(
                    "the two are synchronised after {}; ",
                    seconds(begin.elapsed())
                )
            }
            Notice::Gap => String::new(),
        };
        let reason = self.lab.wait_until_leads(leader, PATIENCE)?;
        let leads = seconds(begin.elapsed());
        pause(self.each)?;
        let gap = prober.stop(begin)?.unconnected;
        let tally = self.load.take();
        self.report.row_of_balancers(&tally, gap, leader);
        if self.leader != leader {
            let host = leader.host();
            self.report.note(&format!(
                "{synchronised}{host} leads after {leads}: {reason}"
            ));
            self.leader = leader;
        }
        self.judge(name, notice, &tally, gap);
        Ok(())
    }

    fn judge(&mut self, name: &str, notice: Notice, tally: &Tally, gap: Duration) {
        let Tally { broken, .. } = tally;
        let failed = tally.failed();
        let mut expect = |holds, otherwise: String| {
            self.report.expect(holds, &format!("{name}: {otherwise}"));
        };
        expect(*broken == 0, format!("{broken} connections broke"));
        match notice {
            Notice::Nothing => expect(failed == 0, format!("{failed} requests failed")),
            Notice::Gap => expect(
                gap <= GAP_MAX,
                format!("no new connection for {gap:?}, more than {GAP_MAX:?}"),
            ),
        }
    }
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}
