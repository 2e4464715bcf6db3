//! Signing up, in and out; what people set; and what they must not get away with.

use std::time::Duration;

use super::kit::{App, Databases, PASSWORD, escape, in_page, rules};
use crate::app::attempts::Allowance;

#[tokio::test(flavor = "multi_thread")]
async fn someone_signs_up_out_and_in_again() {
    let app = App::start().await;
    let mut browser = app.browser();
    let page = browser.get("/").await;
    assert_eq!(page.status, 200);
    assert!(page.shows("href=\"/login\"") && !page.shows("action=\"/posts\""));

    let page = browser.get("/signup").await;
    let visitor = browser.cookies["__Host-visitor"].clone();
    let fields = [("name", "Entry_Alice"), ("password", PASSWORD)];
    let page = browser.send(&page, "/signup", &fields).await;
    assert_eq!(page.status, 200);
    assert!(page.shows("Welcome!") && page.shows("href=\"/people/entry_alice\""));
    assert_ne!(browser.cookies["__Host-session"], visitor);
    // What was done is said once.
    assert!(!browser.get("/").await.shows("Welcome!"));

    let left = browser.cookies["__Host-session"].clone();
    let page = browser.send(&page, "/logout", &[]).await;
    assert!(page.shows("You are signed out.") && page.shows("href=\"/login\""));
    assert!(!browser.cookies.contains_key("__Host-session"));
    // It has ended in the database, not only in the browser.
    browser.cookies.insert("__Host-session".to_owned(), left);
    assert!(browser.get("/").await.shows("href=\"/login\""));
    browser.cookies.remove("__Host-session");

    let page = browser.get("/settings").await;
    assert_eq!(page.location(), "/login?next=/settings");
    let page = browser.follow(&page).await;
    let wrong = [("name", "entry_alice"), ("password", "wrong horse battery")];
    let page = browser.submit(&page, "/login", &wrong).await;
    assert_eq!(page.status, 422);
    assert!(page.shows("Name and password do not go together.") && page.shows("entry_alice"));
    assert!(!page.shows("wrong horse battery"));
    let right = [("name", " ENTRY_alice "), ("password", PASSWORD)];
    let page = browser.send(&page, "/login", &right).await;
    assert!(page.shows("<h1>Settings</h1>") && page.shows("Test/1.0"));
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_names_and_wrong_passwords_cannot_be_told_apart() {
    let app = App::start().await;
    app.signed_up("apart_alice").await;
    let mut answers = Vec::new();
    for name in ["apart_alice", "apart_nobody", "' OR 1=1; --", "a"] {
        let mut browser = app.browser();
        let page = browser.get("/login").await;
        let fields = [("name", name), ("password", "wrong horse battery")];
        let answer = browser.submit(&page, "/login", &fields).await;
        assert!(!browser.cookies.contains_key("__Host-session"));
        answers.push((answer.status, answer.shows("do not go together")));
    }
    assert_eq!(answers, [(422, true); 4]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_taken_once_however_it_is_written() {
    let app = App::start().await;
    app.signed_up("taken_alice").await;
    let mut browser = app.browser();
    let page = browser.get("/signup").await;
    let fields = [("name", "TAKEN_Alice"), ("password", PASSWORD)];
    let page = browser.submit(&page, "/signup", &fields).await;
    assert_eq!(page.status, 422);
    assert!(page.shows("This name is taken.") && page.shows("value=\"TAKEN_Alice\""));
    let count = app.sql("SELECT COUNT(*) FROM account WHERE name = 'taken_alice'");
    assert_eq!(count, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn signing_up_sent_twice_is_one_account_and_no_error() {
    let app = App::start().await;
    let mut browser = app.browser();
    let page = browser.get("/signup").await;
    let fields = [("name", "twice_alice"), ("password", PASSWORD)];
    let mut again = browser.clone();
    let (one, two) = tokio::join!(
        browser.submit(&page, "/signup", &fields),
        again.submit(&page, "/signup", &fields)
    );
    assert_eq!(
        (one.status, two.status),
        (303, 303),
        "{} {}",
        one.text,
        two.text
    );
    assert!(browser.get("/").await.shows("/people/twice_alice"));
    assert!(again.get("/").await.shows("/people/twice_alice"));
    // With another password it is someone else's account.
    let fields = [
        ("name", "twice_alice"),
        ("password", "another horse battery"),
    ];
    assert_eq!(
        app.browser().submit(&page, "/signup", &fields).await.status,
        403
    );
    let mut third = app.browser();
    third.cookies = browser.cookies.clone();
    third.cookies.remove("__Host-session");
    let refused = third.submit(&page, "/signup", &fields).await;
    assert!(refused.shows("This name is taken."), "{}", refused.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn passwords_are_kept_as_hashes() {
    let app = App::start().await;
    app.signed_up("hash_alice").await;
    let kept = app.sql("SELECT password FROM account WHERE name = 'hash_alice'");
    assert!(kept.starts_with("$argon2id$"), "{kept}");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_passwords_are_tried_only_so_often() {
    let few = Allowance {
        burst: 3,
        every: Duration::from_secs(600),
    };
    let mut rules = rules();
    rules.account_attempts = few;
    let app = App::over(Databases::shared(), rules).await;
    app.signed_up("limit_alice").await;
    app.signed_up("limit_bob").await;
    let mut browser = app.browser();
    let page = browser.get("/login").await;
    let wrong = [("name", "limit_alice"), ("password", "wrong horse battery")];
    for _ in 0..3 {
        assert_eq!(browser.submit(&page, "/login", &wrong).await.status, 422);
    }
    // Not even the right one now; what was typed is kept, but for the password.
    let right = [("name", "limit_alice"), ("password", PASSWORD)];
    let page = browser.submit(&page, "/login", &right).await;
    assert_eq!(page.status, 429);
    let wait: u64 = page.header("retry-after").parse().unwrap();
    assert!((590..=601).contains(&wait), "{wait}");
    assert!(page.shows("value=\"limit_alice\"") && !page.shows(PASSWORD));
    // Another account, and another network, may.
    let other = [("name", "limit_bob"), ("password", PASSWORD)];
    assert_eq!(browser.submit(&page, "/login", &other).await.status, 303);
    let mut elsewhere = app.browser();
    elsewhere.address = "198.51.100.7".to_owned();
    let page = elsewhere.get("/login").await;
    assert_eq!(elsewhere.submit(&page, "/login", &right).await.status, 303);
    // A right one gives its attempts back.
    for _ in 0..5 {
        let page = elsewhere.get("/login").await;
        assert_eq!(elsewhere.submit(&page, "/login", &right).await.status, 303);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn app_servers_count_attempts_together() {
    let mut rules = rules();
    rules.account_attempts = Allowance {
        burst: 3,
        every: Duration::from_secs(600),
    };
    let one = App::over(Databases::shared(), rules).await;
    let two = App::over(Databases::shared(), rules).await;
    one.signed_up("together_alice").await;
    let attempt = async |app, password| sign_in(app, "together_alice", password).await;
    let wrong = "wrong horse battery";
    assert_eq!(attempt(&one, wrong).await, 422);
    assert_eq!(attempt(&two, wrong).await, 422);
    // The right one gives back what was counted at either.
    assert_eq!(attempt(&one, PASSWORD).await, 303);
    let statuses = [
        attempt(&two, wrong).await,
        attempt(&one, wrong).await,
        attempt(&two, wrong).await,
        attempt(&one, wrong).await,
        attempt(&two, PASSWORD).await,
    ];
    assert_eq!(statuses, [422, 422, 422, 429, 429]);
    // At the same time as well.
    let at = |n: u8| if n.is_multiple_of(2) { &one } else { &two };
    let many = (0..8).map(|n| sign_in(at(n), "together_bob", wrong));
    let many = futures_util::future::join_all(many).await;
    let compared = many.iter().filter(|status| **status == 422).count();
    assert_eq!(compared, 3, "{many:?}");
}

async fn sign_in(app: &App, name: &str, password: &str) -> u16 {
    let mut browser = app.browser();
    let page = browser.get("/login").await;
    let fields = [("name", name), ("password", password)];
    browser.submit(&page, "/login", &fields).await.status
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_with_very_many_networks_tries_only_so_often() {
    let mut rules = rules();
    rules.network_attempts = Allowance {
        burst: 1,
        every: Duration::from_secs(6000),
    };
    let app = App::over(Databases::shared(), rules).await;
    let mut browser = app.browser();
    let page = browser.get("/login").await;
    let mut statuses = Vec::new();
    for n in 0..12 {
        browser.address = format!("2001:db8:8:{n:x}::1");
        let fields = [("name", "wide_nobody"), ("password", "wrong horse battery")];
        statuses.push(browser.submit(&page, "/login", &fields).await.status);
    }
    assert_eq!(statuses, [[422; 10].as_slice(), &[429; 2]].concat());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_network_tries_accounts_only_so_often() {
    let mut rules = rules();
    rules.network_attempts = Allowance {
        burst: 4,
        every: Duration::from_secs(600),
    };
    let app = App::over(Databases::shared(), rules).await;
    let mut browser = app.browser();
    let page = browser.get("/login").await;
    let mut statuses = Vec::new();
    for n in 0..6 {
        browser.address = format!("2001:db8:7:7::{n}");
        let name = format!("network_{n}");
        let fields = [("name", &*name), ("password", "wrong horse battery")];
        statuses.push(browser.submit(&page, "/login", &fields).await.status);
    }
    assert_eq!(statuses, [422, 422, 422, 422, 429, 429]);
}

#[tokio::test(flavor = "multi_thread")]
async fn forms_of_others_and_of_other_sites_do_nothing() {
    let app = App::start().await;
    let mut alice = app.signed_up("forged_alice").await;
    let mut mallory = app.signed_up("forged_mallory").await;
    let page = alice.get("/").await;
    let mallorys = mallory.get("/").await;
    // With mallory's code, without any, and with alice's cut short.
    let code = page.form("/posts")[0].1.clone();
    for code in [&*mallorys.form("/posts")[0].1, "", &code[..42]] {
        let answer = alice
            .post("/posts", &[("code", code), ("text", "forged")])
            .await;
        assert_eq!(answer.status, 403);
        assert!(answer.shows("This form is out of date") && answer.shows(">forged</textarea>"));
    }
    // From another site, even with the right one: nothing, and no form to send it again.
    let body = format!("code={code}&text=forged");
    for origin in [
        "https://evil.example",
        "null",
        "https://www.foobar.com.evil.example",
    ] {
        let headers = [
            ("content-type", "application/x-www-form-urlencoded"),
            ("origin", origin),
        ];
        let answer = alice
            .ask(
                hyper::Method::POST,
                "/posts",
                &headers,
                Ok(body.clone().into()),
            )
            .await;
        assert_eq!(answer.status, 403);
        assert!(!answer.shows("forged</textarea>") && !answer.shows("action=\"/posts\""));
    }
    // As a plain-text form, which another site's page may send without asking.
    let headers = [("content-type", "text/plain")];
    let answer = alice
        .ask(hyper::Method::POST, "/posts", &headers, Ok(body.into()))
        .await;
    assert_eq!(answer.status, 415);
    assert_eq!(
        app.sql("SELECT COUNT(*) FROM post WHERE text = 'forged'"),
        "0"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_people_say_about_themselves_is_text() {
    let app = App::start().await;
    let mut alice = app.signed_up("about_alice").await;
    let hostile = "</p><script>alert(1)</script>\n'; DROP TABLE account; -- \u{1f600} %s {{7*7}}";
    let page = alice.get("/settings").await;
    let page = alice
        .send(&page, "/settings/about", &[("about", hostile)])
        .await;
    assert!(page.shows("Your page was changed.") && page.shows(&in_page(hostile)));
    let page = app.browser().get("/people/about_alice").await;
    assert!(page.shows(&in_page(hostile)) && !page.shows("<script"));
    let kept = app.sql("SELECT about = 0x3C2F703E3C7363726970743E FROM account LIMIT 1");
    assert!(!kept.is_empty());

    let long = "x".repeat(501);
    let settings = alice.get("/settings").await;
    let refused = alice
        .submit(&settings, "/settings/about", &[("about", &long)])
        .await;
    assert_eq!(refused.status, 422);
    assert!(refused.shows(&long) && refused.shows("at most 500 characters"));
    let page = alice
        .send(&refused, "/settings/about", &[("about", "")])
        .await;
    assert_eq!(page.status, 200);
    assert!(
        !app.browser()
            .get("/people/about_alice")
            .await
            .shows("script")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_names_and_passwords_are_names_and_passwords() {
    let app = App::start().await;
    let mut browser = app.browser();
    let page = browser.get("/signup").await;
    for name in [
        "<script>alert(1)</script>",
        "' OR '1'='1",
        "a\u{0}b",
        "\u{202e}ecila",
        "x".repeat(5000).as_str(),
    ] {
        let fields = [("name", name), ("password", PASSWORD)];
        let answer = browser.submit(&page, "/signup", &fields).await;
        assert_eq!(answer.status, 422, "{name:.40}");
        assert!(!answer.shows("<script"));
        assert!(answer.shows(&in_page(name)), "{name:.40}");
    }
    let password = "'; DROP TABLE account; -- <b>\u{1f600}";
    let fields = [("name", "hostile_alice"), ("password", password)];
    assert_eq!(browser.submit(&page, "/signup", &fields).await.status, 303);
    let mut other = app.browser();
    let page = other.get("/login").await;
    let fields = [("name", "hostile_alice"), ("password", password)];
    assert_eq!(other.submit(&page, "/login", &fields).await.status, 303);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_form_is_refused_with_the_reason() {
    let app = App::start().await;
    let mut alice = app.signed_up("broken_alice").await;
    let page = alice.get("/").await;
    let code = page.form("/posts")[0].1.clone();
    for body in [
        format!("code={code}&text=%ff%fe"),
        format!("code={code}&text=%"),
        format!("code={code}&text=a&text=b"),
    ] {
        assert_eq!(alice.post_raw("/posts", body.into()).await.status, 400);
    }
    let mut raw = format!("code={code}&text=").into_bytes();
    raw.extend([0xc3, 0x28]);
    assert_eq!(alice.post_raw("/posts", raw.into()).await.status, 400);
    let key = "k".repeat(129);
    let fields = [("code", &*code), ("key", &*key), ("text", "x")];
    assert_eq!(alice.post("/posts", &fields).await.status, 400);
    let empty = alice.post_raw("/posts", "".into()).await;
    assert_eq!(empty.status, 403);
    let nul = format!("code={code}&text={}", escape("a\0b"));
    assert_eq!(alice.post_raw("/posts", nul.into()).await.status, 422);

    for (unread, status) in [
        (crate::server::Unread::TooLarge, 413),
        (crate::server::Unread::TooSlow, 408),
        (crate::server::Unread::Broken, 400),
    ] {
        let answer = alice
            .ask(hyper::Method::POST, "/posts", &[], Err(unread))
            .await;
        assert_eq!(answer.status, status);
        assert!(answer.shows("<h1>"));
    }
    let count = app.sql("SELECT COUNT(*) FROM post JOIN account a ON a.id = account_id WHERE a.name = 'broken_alice'");
    assert_eq!(count, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_administrators_see_the_servers() {
    let app = App::start().await;
    let mut alice = app.signed_up("admin_alice").await;
    assert_eq!(
        app.browser().get("/admin").await.location(),
        "/login?next=/admin"
    );
    let refused = alice.get("/admin").await;
    assert_eq!(refused.status, 403);
    assert!(!refused.shows("db1"));
    app.sql("UPDATE account SET admin = 1 WHERE name = 'admin_alice'");
    app.until("the replica has it", async |_| {
        alice.clone().get("/admin").await.status == 200
    })
    .await;
    let page = alice.get("/admin").await;
    assert!(page.shows("<dd id=\"web\">web1</dd>") && page.shows("<dd id=\"app\">app1</dd>"));
    assert!(page.shows("<th scope=\"row\">db1</th><td>primary</td><td>takes writes"));
    assert!(page.shows("<th scope=\"row\">db2</th><td>replica</td><td>takes reads"));
    assert!(page.shows("Everything can be read and written."));
    assert_eq!(page.header("x-served-by-app"), "app1");
    let database = page.header("x-served-by-db");
    assert!(
        page.shows(&format!("<dd id=\"db\">{database}</dd>")),
        "{database}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn each_answer_is_guarded_and_names_no_server_unasked() {
    let mut rules = rules();
    rules.name_servers = false;
    let app = App::over(Databases::shared(), rules).await;
    let mut browser = app.browser();
    for path in [
        "/",
        "/nowhere",
        "/login",
        "/api/posts",
        "/api/nowhere",
        "/healthz",
    ] {
        let answer = browser.get(path).await;
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert!(
            answer
                .header("content-security-policy")
                .starts_with("default-src 'none'")
        );
        assert!(!answer.header("content-security-policy").contains("unsafe"));
        assert_eq!(answer.header("cache-control"), "no-store", "{path}");
        assert_eq!(answer.header("x-served-by-app"), "");
        assert_eq!(answer.header("x-served-by-db"), "");
    }
    let page = browser.get("/").await;
    let style = page.text.split("href=\"/assets/").nth(1).unwrap();
    let style = format!("/assets/{}", style.split('"').next().unwrap());
    let answer = browser.get(&style).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), "text/css; charset=utf-8");
    assert!(answer.header("cache-control").contains("immutable"));
    let tag = answer.header("etag").to_owned();
    let known = [("if-none-match", &*tag)];
    let again = browser
        .ask(hyper::Method::GET, &style, &known, Ok("".into()))
        .await;
    assert_eq!((again.status, &*again.text), (304, ""));
    assert_eq!(browser.get("/assets/site.css").await.status, 404);
    let wrong = browser
        .ask(hyper::Method::DELETE, "/login", &[], Ok("".into()))
        .await;
    assert_eq!(
        (wrong.status, wrong.header("allow")),
        (405, "GET, HEAD, POST")
    );
}
