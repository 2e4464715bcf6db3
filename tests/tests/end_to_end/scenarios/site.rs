//! The whole site: DNS, load balancers, web servers, app servers, databases.

use super::{PATIENCE, programs};
use anyhow::{Context as _, Result, ensure};
use kit::crowd::{self, Crowd, Tally};
use kit::http::Connection;
use kit::lab::Lab;
use kit::layout::Balancer::{First, Second};
use kit::layout::{APP_PORT, APPS, DBS, HTTPS_PORT, SITE, VIP};
use kit::layout::{app_ip, app_name, db_name, web_ip, web_name};
use kit::pki::{Authority, Validity};
use kit::tls::Trust;
use kit::wait::{wait_for, wait_until};
use std::collections::BTreeSet;
use std::fs;
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

const WEBS: u8 = 3;

/// A site that runs, behind one load balancer.
fn site() -> Result<Lab> {
    site_with(|_| Ok(()))
}

/// The same, where something is changed before anything is started.
fn site_with(change: impl FnOnce(&mut Lab) -> Result<()>) -> Result<Lab> {
    let mut lab = Lab::builder(programs()?).webs(WEBS).site().build()?;
    change(&mut lab)?;
    lab.write_config()?;
    lab.start_site()?;
    lab.start_lbd()?;
    (1..=WEBS).try_for_each(|n| wait_for_web(&lab, n, "up"))?;
    Ok(lab)
}

/// Waits until lbd knows of web server `n` what it says by HTTPS and by HTTP.
fn wait_for_web(lab: &Lab, n: u8, operational: &str) -> Result<()> {
    for service in ["https", "www"] {
        let name = format!("{service}/{}", web_name(n));
        wait_for(PATIENCE, &format!("{name} to be {operational}"), || {
            let backend = lab.lbctl_json(&["backend", "show", &name])?;
            ensure!(backend["operational"] == operational, "{backend}");
            Ok(())
        })?;
    }
    Ok(())
}

/// Runs curl as the client, who believes the lab's authority.
fn curl(lab: &Lab, args: &[&str]) -> Result<Output> {
    let authority = lab.layout().pki_dir().join("ca.pem");
    let mut curl = lab.layout().command("client", "curl")?;
    curl.args(["--silent", "--show-error", "--max-time", "10"]);
    curl.arg("--cacert").arg(authority);
    Ok(curl.args(args).output()?)
}

fn names(of: impl Fn(u8) -> String, count: u8) -> BTreeSet<String> {
    (1..=count).map(of).collect()
}

/// Has the crowd go on, and looks at what it noticed meanwhile.
fn watch(crowd: &Crowd) -> Result<Tally> {
    const MORE: u64 = 200;
    let mut seen = crowd.take();
    wait_for(PATIENCE, "visitors to read and write", || {
        let tally = crowd.take();
        seen.add(&tally);
        ensure!(seen.pages >= MORE, "they have read {}", seen.pages);
        Ok(())
    })?;
    Ok(seen)
}

/// An error if somebody noticed something.
fn nothing_noticed(tally: &Tally) -> Result<()> {
    let well = tally.failed() == 0 && tally.paused == 0 && tally.unseen == 0 && tally.posts > 0;
    ensure!(well, "{tally:?}");
    Ok(())
}

/// A page by name, through every tier; and what is not right is not believed.
pub(crate) fn a_page_comes_through_all_tiers() -> Result<()> {
    let lab = site()?;
    let url = format!("https://{SITE}/");
    let format = "\n%{remote_ip} %{http_version} %header{x-served-by} %header{x-served-by-app} \
                  %header{x-served-by-db}";
    let (mut webs, mut apps) = (BTreeSet::new(), BTreeSet::new());
    for _ in 0..30 {
        let output = curl(&lab, &["--fail", "--write-out", format, &url])?;
        ensure!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout)?;
        ensure!(text.contains("</html>"), "{text}");
        let last: Vec<&str> = text.lines().last().unwrap_or_default().split(' ').collect();
        let [address, version, web, app, db] = last[..] else {
            anyhow::bail!("not what curl was to write: {last:?}");
        };
        ensure!(address == VIP.to_string() && version == "2", "{last:?}");
        ensure!(names(db_name, DBS).contains(db) && db != "db1", "{last:?}");
        webs.insert(web.to_owned());
        apps.insert(app.to_owned());
    }
    ensure!(webs == names(web_name, WEBS), "{webs:?}");
    ensure!(apps == names(app_name, APPS), "{apps:?}");

    let plain = curl(&lab, &["--head", &format!("http://{SITE}/posts?page=2")])?;
    let plain = String::from_utf8(plain.stdout)?.to_lowercase();
    let location = format!("\r\nlocation: https://{SITE}/posts?page=2\r\n");
    ensure!(plain.starts_with("http/1.1 308 "), "{plain}");
    ensure!(plain.contains(&location), "{plain}");

    // Not by its address, not by another name, not vouched for by anybody else.
    for (args, code) in [
        (&["https://192.0.2.10/"][..], 60),
        (
            &[
                "--connect-to",
                "::192.0.2.10:443",
                "https://www.example.net/",
            ],
            60,
        ),
        (
            &["--cacert", "/etc/ssl/certs/ca-certificates.crt", &url],
            60,
        ),
        (&["https://wwww.foobar.com/"], 6),
    ] {
        let output = curl(&lab, args)?;
        let told = String::from_utf8_lossy(&output.stderr);
        // Where the machine has no certificates of others, curl cannot read them.
        let unread = told.contains("error setting certificate");
        ensure!(
            output.status.code() == Some(code) || unread,
            "{args:?}: {told}"
        );
    }
    Ok(())
}

/// Who posts something sees it at once, wherever the next page comes from.
pub(crate) fn everybody_reads_their_own_posts() -> Result<()> {
    let lab = site()?;
    let mut visitor = lab.visitor(PATIENCE)?;
    let seen = lab
        .client()
        .run(move || -> Result<Vec<[BTreeSet<String>; 2]>> {
            crowd::sign_up(&mut visitor, "ada")?;
            let mut seen = Vec::new();
            for number in 0..30 {
                let text = format!("number {number}, as <b>text</b> & nothing else");
                let page = visitor.get("/")?;
                let answer = visitor.submit(&page, "/posts", &[("text", &text)])?;
                ensure!(answer.status == 303, "{}: {}", answer.status, answer.text());
                let written = answer.header("x-served-by-db").unwrap_or_default();
                ensure!(written == "db1", "written at {written:?}");
                // Another connection: most often, another web server.
                visitor.hang_up();
                let page = visitor.follow(answer)?;
                let text =
                    format!("number {number}, as &#60;b&#62;text&#60;/b&#62; &#38; nothing else");
                ensure!(page.text().contains(&text), "{}", page.text());
                let said = |header| page.header(header).into_iter().map(str::to_owned).collect();
                seen.push([said("x-served-by"), said("x-served-by-db")]);
            }
            Ok(seen)
        })??;
    let all =
        |index: usize| -> BTreeSet<&String> { seen.iter().flat_map(|page| &page[index]).collect() };
    ensure!(all(0).len() == usize::from(WEBS), "{:?}", all(0));
    ensure!(
        all(1).iter().any(|name| *name != "db1"),
        "all pages were read at the primary"
    );
    Ok(())
}

/// One of everything that there are several of dies, one after the other, under load.
pub(crate) fn nothing_redundant_is_missed() -> Result<()> {
    let mut lab = Lab::builder(programs()?).webs(WEBS).pair().site().build()?;
    lab.config.ha.unicast = true;
    lab.write_config()?;
    lab.start_site()?;
    for balancer in [First, Second] {
        lab.start_lbd_on(balancer)?;
    }
    lab.wait_until_leads(First, PATIENCE)?;
    lab.pair_up()?;
    lab.wait_until_synchronised(PATIENCE)?;
    (1..=WEBS).try_for_each(|n| wait_for_web(&lab, n, "up"))?;
    let crowd = Crowd::start(&lab, "user", 3, 2)?;
    nothing_noticed(&watch(&crowd)?)?;

    lab.kill_balancer(First)?;
    lab.wait_until_leads(Second, PATIENCE)?;
    nothing_noticed(&watch(&crowd)?).context("a balancer was killed")?;
    lab.revive_balancer(First)?;
    lab.wait_until_synchronised(PATIENCE)?;
    lab.wait_until_leads(First, PATIENCE)?;
    nothing_noticed(&watch(&crowd)?).context("a balancer was revived")?;

    // Until it is noticed, new connections to it are refused; then nothing is left of it.
    lab.stop_web(2)?;
    wait_for_web(&lab, 2, "down")?;
    let mut noticed = crowd.take();
    noticed.errors.retain(|what, _| {
        !["refused", "reset", "end of file", "broken pipe"]
            .iter()
            .any(|end| what.contains(end))
    });
    ensure!(noticed.errors.is_empty(), "{noticed:?}");
    nothing_noticed(&watch(&crowd)?).context("a web server was killed")?;
    lab.start_web(2)?;
    wait_for_web(&lab, 2, "up")?;

    lab.kill_app(1)?;
    let tally = watch(&crowd)?;
    nothing_noticed(&tally).context("an app server was killed")?;
    lab.start_app(1)?;
    wait_until_read_at(&crowd, "app1")?;

    lab.kill_db(3)?;
    nothing_noticed(&watch(&crowd)?).context("a replica was killed")?;
    lab.start_db(3)?;
    wait_until_read_at(&crowd, "db3")?;
    every_post_is_there(&mut lab, crowd, 1)
}

/// Waits until pages come from a server, and nobody notices anything else.
fn wait_until_read_at(crowd: &Crowd, name: &str) -> Result<()> {
    let mut seen = crowd.take();
    wait_for(PATIENCE, &format!("pages from {name}"), || {
        seen.add(&crowd.take());
        ensure!(seen.read_at.contains_key(name), "{seen:?}");
        Ok(())
    })?;
    nothing_noticed(&watch(crowd)?).with_context(|| format!("{name} is back"))
}

/// Sends the visitors home. What was acknowledged is at database `n`, once; and so it is, after a
/// moment, at the others that run.
fn every_post_is_there(lab: &mut Lab, crowd: Crowd, n: u8) -> Result<()> {
    let ledger = crowd.stop()?;
    let posts = lab.posts(n)?;
    let unique: BTreeSet<&String> = posts.iter().collect();
    ensure!(unique.len() == posts.len(), "a post is there twice");
    let lost: Vec<&String> = ledger
        .acknowledged
        .iter()
        .filter(|text| !unique.contains(text))
        .collect();
    ensure!(lost.is_empty(), "acknowledged and not there: {lost:?}");
    ensure!(!ledger.acknowledged.is_empty(), "nobody posted anything");
    for other in 1..=DBS {
        if other == n || !lab.db_runs(other)? {
            continue;
        }
        wait_for(PATIENCE, &format!("{} to catch up", db_name(other)), || {
            let count = lab.posts(other)?.len();
            ensure!(count == posts.len(), "{count} of {}", posts.len());
            Ok(())
        })?;
    }
    Ok(())
}

/// The primary dies: everything can be read, and the site says that nothing can be written. One is
/// promoted: it can. What was acknowledged is there.
pub(crate) fn a_dead_primary_pauses_writing_until_one_is_promoted() -> Result<()> {
    let mut lab = site()?;
    let crowd = Crowd::start(&lab, "user", 2, 2)?;
    nothing_noticed(&watch(&crowd)?)?;
    lab.kill_db(1)?;
    wait_until(PATIENCE, "posts to be refused", || crowd.take().paused > 0)?;
    let tally = watch(&crowd)?;
    ensure!(tally.failed() == 0, "{tally:?}");
    ensure!(tally.posts == 0 && tally.paused > 0, "{tally:?}");

    lab.promote(2)?;
    wait_until(PATIENCE, "posts to be taken", || crowd.posts_everywhere())?;
    crowd.take();
    let tally = watch(&crowd)?;
    nothing_noticed(&tally)?;
    let written: Vec<&String> = tally
        .written_at
        .keys()
        .filter(|it| it.starts_with("db"))
        .collect();
    ensure!(written == ["db2"], "{written:?}");

    lab.return_db(1, 2)?;
    wait_until_read_at(&crowd, "db1")?;
    every_post_is_there(&mut lab, crowd, 2)
}

/// Without app servers there are static pages, and a page that says what happened.
pub(crate) fn without_app_servers_the_rest_is_there() -> Result<()> {
    let mut lab = site()?;
    (1..=APPS).try_for_each(|n| lab.kill_app(n))?;
    let url = |path: &str| format!("https://{SITE}{path}");
    wait_for(PATIENCE, "the error page", || {
        let status = ["--write-out", "\n%{http_code}", &url("/")];
        let text = String::from_utf8(curl(&lab, &status)?.stdout)?;
        let code = text.lines().last().unwrap_or_default();
        ensure!(matches!(code, "502" | "503"), "{text}");
        ensure!(text.contains("We are having trouble"), "{text}");
        Ok(())
    })?;
    let fixed = curl(&lab, &["--fail", &url("/robots.txt")])?;
    ensure!(
        fixed.status.success() && !fixed.stdout.is_empty(),
        "{fixed:?}"
    );

    lab.start_app(2)?;
    wait_for(PATIENCE, "the page to be back", || {
        let output = curl(&lab, &["--fail", &url("/")])?;
        ensure!(output.status.success(), "{output:?}");
        Ok(())
    })
}

/// Between the tiers, nobody is believed who is not vouched for by the site's authority, for the
/// time being, by the name that is asked for.
pub(crate) fn strangers_between_tiers_are_refused() -> Result<()> {
    let mut lab = site()?;
    let others = Authority::create(&lab.layout().run_dir().join("others"))?;

    // To an app server, as a client from the web tier's network.
    let app = (app_ip(1), APP_PORT).into();
    let ask = |trust: Trust| {
        lab.web(1).run(move || {
            let name = app_name(1);
            Connection::open_tls(app, &name, &trust, PATIENCE)?.get("/healthz")
        })
    };
    let web = lab.authority()?.files("web1");
    let answer = ask(Trust::as_owner_of(&web)?)??;
    ensure!(answer.status == 200, "{answer:?}");
    let nobody = ask(Trust::in_authority(&web.ca)?)?;
    ensure!(nobody.is_err(), "one without a certificate: {nobody:?}");
    let mut stranger = others.issue("web1", &["web1"])?;
    stranger.ca.clone_from(&web.ca);
    let stranger = ask(Trust::as_owner_of(&stranger)?)?;
    ensure!(stranger.is_err(), "one of another authority: {stranger:?}");

    // To the web servers, as an app server that is not the one it claims to be.
    let foreign = |lab: &Lab| -> Result<()> {
        let files = others.issue("app1", &["app1"])?;
        let own = lab.authority()?.files("app1");
        fs::copy(files.key, own.key)?;
        fs::copy(files.cert, own.cert)?;
        Ok(())
    };
    let issue = |lab: &Lab, name, validity| {
        let authority = lab.authority()?;
        authority.issue_for("app1", &[name], validity).map(drop)
    };
    for (what, replace) in [
        ("expired", &|lab: &Lab| {
            issue(lab, "app1", Validity::Expired) as Result<()>
        }),
        ("of another name", &|lab: &Lab| {
            issue(lab, "app2", Validity::Current)
        }),
        ("of another authority", &foreign),
    ] as [(&str, &dyn Fn(&Lab) -> Result<()>); 3]
    {
        lab.kill_app(1)?;
        replace(&lab)?;
        lab.start_app(1)?;
        for _ in 0..12 {
            let wanted = ["--fail", "--dump-header", "-", &format!("https://{SITE}/")];
            let output = curl(&lab, &wanted)?;
            ensure!(output.status.success(), "{what}: {output:?}");
            let head = String::from_utf8_lossy(&output.stdout).to_lowercase();
            ensure!(head.contains("x-served-by-app: app2"), "{what}: {head}");
        }
    }
    Ok(())
}

/// A web server that is stopped in order says so, and finishes what it has: a long download, too.
pub(crate) fn a_web_server_that_stops_in_order_loses_nothing() -> Result<()> {
    const BYTES: u64 = 64 << 20;
    let mut lab = site()?;
    let crowd = Crowd::start(&lab, "user", 3, 2)?;
    nothing_noticed(&watch(&crowd)?)?;

    // A download from web1, slow until it is told to hurry.
    let (trust, hurry) = (lab.trust()?, Arc::new(AtomicBool::new(false)));
    let got = Arc::new(AtomicU64::new(0));
    let download = lab.client().spawn({
        let (hurry, got) = (Arc::clone(&hurry), Arc::clone(&got));
        move || -> Result<()> {
            loop {
                let vip = (VIP, 443).into();
                let mut connection = Connection::open_tls(vip, SITE, &trust, PATIENCE)?;
                let answer = connection.get("/whoami")?;
                if answer.served_by.as_deref() != Some("web1") {
                    continue;
                }
                let served = connection.check_stream(BYTES, |bytes| {
                    got.store(bytes, Ordering::Relaxed);
                    if !hurry.load(Ordering::Relaxed) {
                        std::thread::sleep(Duration::from_millis(20));
                    }
                    true
                })?;
                ensure!(served.as_deref() == Some("web1"), "it came from {served:?}");
                return Ok(());
            }
        }
    })?;
    wait_until(PATIENCE, "the download to begin", || {
        got.load(Ordering::Relaxed) > 0
    })?;

    lab.terminate("web1")?;
    wait_for_web(&lab, 1, "down")?;
    // It does not listen any more, and the download goes on.
    let address = (web_ip(1), HTTPS_PORT).into();
    let listens = || {
        let limit = Duration::from_secs(1);
        lab.lb()
            .run(move || std::net::TcpStream::connect_timeout(&address, limit).is_ok())
    };
    wait_for(PATIENCE, "web1 to stop listening", || {
        ensure!(!listens()?, "it listens");
        Ok(())
    })?;
    let tally = watch(&crowd)?;
    nothing_noticed(&tally)?;
    let before = got.load(Ordering::Relaxed);
    ensure!(before < BYTES, "the download was too fast to show anything");
    hurry.store(true, Ordering::Relaxed);
    match download.join() {
        Ok(outcome) => outcome?.context("the download broke")?,
        Err(_) => anyhow::bail!("the download panicked"),
    }
    lab.wait_until_ended("web1", PATIENCE)?;
    nothing_noticed(&watch(&crowd)?)?;
    lab.start_web(1)?;
    wait_for_web(&lab, 1, "up")?;
    wait_until_read_at(&crowd, "web1")?;
    every_post_is_there(&mut lab, crowd, 1)
}
