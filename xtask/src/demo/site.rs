//! The whole site: a request followed from the name to the database and back, and what visitors
//! notice when each part dies under them.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use kit::crowd::{self, Crowd, Ledger, Tally};
use kit::http::Response;
use kit::lab::Lab;
use kit::layout::Balancer::{First, Second};
use kit::layout::{APPS, DBS, DNS, SITE, VIP, app_name, db_name, web_name};
use kit::visitor::Visitor;
use kit::wait;

use super::report::Report;
use super::webs::{backend, expect};
use super::{PATIENCE, WEBS, pause};

/// How many read, and how many also write.
const READERS: usize = 8;
const WRITERS: usize = 2;
/// The web server that is killed.
const WEB: u8 = 2;
/// The app server that is killed.
const APP: u8 = 1;
/// The replica that is killed.
const REPLICA: u8 = 3;
/// The database server that becomes the primary.
const HEIR: u8 = 2;

/// What visitors may notice.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Notice {
    /// No page and no post fails.
    Nothing,
    /// Connections to a web server that just died.
    Refusals,
    /// Nothing can be written, and the site says so; no page fails.
    Pause,
}

/// Follows a request on its way, then has visitors at work while things die.
pub(super) fn story(lab: &mut Lab, report: &mut Report, each: Duration) -> Result<()> {
    walk(lab, report)?;
    let crowd = Crowd::start(lab, "visitor", READERS, WRITERS)?;
    report.head_of_site();
    let mut stage = Stage {
        lab,
        crowd: &crowd,
        report,
        each,
    };
    stage.balancers()?;
    stage.webs()?;
    stage.apps()?;
    stage.databases()?;
    report.legend_of_site();
    let ledger = crowd.stop()?;
    settle_accounts(lab, report, &ledger)
}

/// What the phases are played on.
struct Stage<'a> {
    lab: &'a mut Lab,
    crowd: &'a Crowd,
    report: &'a mut Report,
    each: Duration,
}

impl Stage<'_> {
    fn balancers(&mut self) -> Result<()> {
        self.phase("all is well", Notice::Nothing, |_| Ok(()))?;
        self.phase("lb, which leads, loses power", Notice::Nothing, |lab| {
            lab.kill_balancer(First)?;
            lab.wait_until_leads(Second, PATIENCE).map(drop)
        })?;
        self.phase("lb is back, and leads again", Notice::Nothing, |lab| {
            lab.revive_balancer(First)?;
            lab.wait_until_synchronised(PATIENCE)?;
            lab.wait_until_leads(First, PATIENCE).map(drop)
        })
    }

    fn webs(&mut self) -> Result<()> {
        self.phase("web1 is stopped in order", Notice::Nothing, |lab| {
            lab.terminate("web1")?;
            web_is(lab, 1, "down")?;
            lab.wait_until_ended("web1", PATIENCE)
        })?;
        self.phase("web1 is back", Notice::Nothing, |lab| {
            lab.start_web(1)?;
            web_is(lab, 1, "up")
        })?;
        let name = format!("{} is killed, not yet noticed", web_name(WEB));
        self.act(&name, Notice::Refusals, |lab| {
            lab.stop_web(WEB)?;
            web_is(lab, WEB, "down")
        })?;
        let name = format!("{} is known to be dead", web_name(WEB));
        self.phase(&name, Notice::Nothing, |_| Ok(()))?;
        let name = format!("{} is back", web_name(WEB));
        self.phase(&name, Notice::Nothing, |lab| {
            lab.start_web(WEB)?;
            web_is(lab, WEB, "up")
        })
    }

    fn apps(&mut self) -> Result<()> {
        let name = format!("{} is killed", app_name(APP));
        self.phase(&name, Notice::Nothing, |lab| lab.kill_app(APP))?;
        let name = format!("{} is back", app_name(APP));
        self.phase(&name, Notice::Nothing, |lab| lab.start_app(APP))
    }

    fn databases(&mut self) -> Result<()> {
        let replica = db_name(REPLICA);
        let killed = format!("{replica}, a replica, is killed");
        self.phase(&killed, Notice::Nothing, |lab| lab.kill_db(REPLICA))?;
        let back = format!("{replica} is back, and catches up");
        self.phase(&back, Notice::Nothing, |lab| lab.start_db(REPLICA))?;
        self.phase("db1, the primary, is killed", Notice::Pause, |lab| {
            lab.kill_db(1)
        })?;
        let heir = db_name(HEIR);
        let promoted = format!("{heir} is promoted");
        let crowd = self.crowd;
        self.act(&promoted, Notice::Pause, |lab| {
            lab.promote(HEIR)?;
            wait::wait_until(PATIENCE, "posts to be taken", || crowd.posts_everywhere())
        })?;
        let primary = format!("{heir} is the primary");
        self.phase(&primary, Notice::Nothing, |_| Ok(()))?;
        self.phase("db1 is back, as a replica", Notice::Nothing, |lab| {
            lab.return_db(1, HEIR)
        })
    }

    /// Does something, and shows what visitors notice while it is done and for some time after.
    fn phase(
        &mut self,
        name: &str,
        notice: Notice,
        act: impl FnOnce(&mut Lab) -> Result<()>,
    ) -> Result<()> {
        let each = self.each;
        self.act(name, notice, |lab| {
            act(lab)?;
            pause(each)
        })
    }

    /// Does something, and shows what visitors notice while it is done.
    fn act(
        &mut self,
        name: &str,
        notice: Notice,
        act: impl FnOnce(&mut Lab) -> Result<()>,
    ) -> Result<()> {
        self.report.begin(name);
        act(self.lab)?;
        let tally = self.crowd.take();
        self.report.row_of_site(&tally);
        self.judge(name, notice, &tally);
        Ok(())
    }

    fn judge(&mut self, name: &str, notice: Notice, tally: &Tally) {
        let mut expect = |holds, otherwise: String| {
            self.report.expect(holds, &format!("{name}: {otherwise}"));
        };
        let failed = tally.failed();
        expect(
            failed == 0 || notice == Notice::Refusals,
            format!("{failed} pages or posts failed"),
        );
        expect(
            tally.paused == 0 || notice == Notice::Pause,
            format!("{} posts were refused", tally.paused),
        );
        expect(
            tally.unseen == 0,
            format!("{} posts were not on the next page", tally.unseen),
        );
        expect(tally.pages > 0, "nobody read anything".to_owned());
    }
}

/// Waits until lbd says that web server `n` is up, or down.
fn web_is(lab: &Lab, n: u8, state: &str) -> Result<()> {
    let what = format!("lbd to notice that {} is {state}", web_name(n));
    wait::wait_for(PATIENCE, &what, || {
        let services = ["www", "https"];
        services.iter().try_for_each(|service| {
            let found = backend(lab, service, n)?;
            expect(&found, "operational", state)
        })
    })
}

/// Follows a page that somebody reads, and a post that the same person writes, on their way.
fn walk(lab: &Lab, report: &mut Report) -> Result<()> {
    let begun = Instant::now();
    let addresses = lab.resolve(SITE)?;
    ensure!(addresses == [VIP], "{SITE} is at {addresses:?}");
    let asked = begun.elapsed();
    let status = lab.lbctl_json(&["ha", "status"])?;
    let leader = if status["role"] == "leader" {
        First
    } else {
        Second
    };

    let visitor = lab.visitor(PATIENCE)?;
    let client = lab.client();
    let (read, visitor) = client.run(move || Followed::page(visitor))??;
    let (written, seen) = client.run(move || Followed::post(visitor))??;

    report.step(&format!("somebody types https://{SITE}/"));
    let dns = format!("{SITE} is at {VIP}, says the server at {DNS}");
    report.stop(1, "DNS", &dns, asked);
    let lb = format!("{VIP} is {}'s, which leads", leader.host());
    report.follow(2, "load balancer", &lb);
    let web = format!("{} got the connection, and speaks TLS as {SITE}", read.web);
    report.follow(3, "web server", &web);
    let app = format!(
        "{} was asked by it, each showing the other a certificate",
        read.app
    );
    report.follow(4, "app server", &app);
    let db = format!("{}, a replica, was read", read.db);
    report.follow(5, "database", &db);
    report.stop(6, "response", &read.answer, read.took);

    report.step("the same person signs up, and posts something");
    let dns = "the address is known for a minute";
    report.follow(1, "DNS", dns);
    report.follow(2, "load balancer", &lb);
    let web = format!("{}, on the same connection", written.web);
    report.follow(3, "web server", &web);
    report.follow(4, "app server", &written.app);
    let db = format!("{}, the primary, was written to", written.db);
    report.follow(5, "database", &db);
    report.stop(6, "response", &written.answer, written.took);
    let own = format!(
        "the next page has the post; it is from {}, which has what this person wrote last",
        seen.db
    );
    report.note(&own);
    report.expect(read.db != written.db, "the page was not read at a replica");
    Ok(())
}

/// An answer, and who had a part in it.
struct Followed {
    web: String,
    app: String,
    db: String,
    answer: String,
    took: Duration,
}

impl Followed {
    fn page(mut visitor: Visitor) -> Result<(Self, Visitor)> {
        let begun = Instant::now();
        let page = visitor.get("/")?;
        ensure!(page.status == 200, "status {} for /", page.status);
        Ok((Self::of(&page, begun)?, visitor))
    }

    /// A post, and the page after it.
    fn post(mut visitor: Visitor) -> Result<(Self, Self)> {
        const TEXT: &str = "Hello from the other side of a load balancer.";
        let page = crowd::sign_up(&mut visitor, "ada")?;
        let begun = Instant::now();
        let answer = visitor.submit(&page, "/posts", &[("text", TEXT)])?;
        ensure!(answer.status == 303, "status {} for a post", answer.status);
        let written = Self::of(&answer, begun)?;
        let begun = Instant::now();
        let page = visitor.follow(answer)?;
        ensure!(page.text().contains(TEXT), "the post is not there");
        Ok((written, Self::of(&page, begun)?))
    }

    fn of(answer: &Response, begun: Instant) -> Result<Self> {
        let took = begun.elapsed();
        let said = |header: &str| {
            let name = answer.header(header).map(str::to_owned);
            name.with_context(|| format!("there is no {header} in the answer"))
        };
        let what = match answer.header("location") {
            Some(location) => format!("see {location}"),
            None => format!("{} bytes", answer.body.len()),
        };
        Ok(Self {
            web: said("x-served-by")?,
            app: said("x-served-by-app")?,
            db: said("x-served-by-db")?,
            answer: format!("{}, {what}", answer.status),
            took,
        })
    }
}

/// Compares what was acknowledged with what is there.
fn settle_accounts(lab: &mut Lab, report: &mut Report, ledger: &Ledger) -> Result<()> {
    let kept = lab.posts(HEIR)?;
    let count = |text: &String| kept.iter().filter(|each| *each == text).count();
    let lost = ledger.acknowledged.iter().filter(|text| count(text) == 0);
    let lost = lost.count();
    let twice = kept.iter().filter(|text| count(text) > 1).count();
    report.step(&format!(
        "{} posts were acknowledged: {lost} of them are lost, and {twice} are there twice",
        ledger.acknowledged.len()
    ));
    report.expect(lost == 0, &format!("{lost} acknowledged posts are lost"));
    report.expect(twice == 0, &format!("{twice} posts are there twice"));
    report.expect(!ledger.acknowledged.is_empty(), "nobody posted anything");
    Ok(())
}

/// The names of all servers that visitors may be told of, by tier.
pub(super) fn tiers() -> [Vec<String>; 3] {
    [
        (1..=WEBS).map(web_name).collect(),
        (1..=APPS).map(app_name).collect(),
        (1..=DBS).map(db_name).collect(),
    ]
}
