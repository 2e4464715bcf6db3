//! Sessions: where one is signed in, and how that ends.

use std::time::Duration;

use super::kit::{App, Browser, PASSWORD};

async fn signed_in(app: &App, name: &str, agent: &str) -> Browser {
    let mut browser = app.browser();
    browser.agent = agent.to_owned();
    let page = browser.get("/login").await;
    let fields = [("name", name), ("password", PASSWORD)];
    assert_eq!(browser.submit(&page, "/login", &fields).await.status, 303);
    browser
}

async fn is_signed_in(browser: &mut Browser) -> bool {
    browser.get("/settings").await.status == 200
}

/// The number of the session that has this agent.
fn session(app: &App, agent: &str) -> String {
    app.sql(&format!("SELECT id FROM session WHERE agent = '{agent}'"))
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_listed_and_ended_by_their_owner_alone() {
    let app = App::start().await;
    let mut alice = app.signed_up("session_alice").await;
    let mut phone = signed_in(&app, "session_alice", "Phone/1").await;
    let mut tablet = signed_in(&app, "session_alice", "Tablet/1").await;
    let mut mallory = app.signed_up("session_mallory").await;

    let page = tablet.get("/settings").await;
    for agent in ["Test/1.0", "Phone/1", "Tablet/1"] {
        assert!(page.shows(agent), "{agent}");
    }
    assert_eq!(page.text.matches("This browser").count(), 1);

    // Not by someone else, who has a form of their own.
    let end_phone = format!("/settings/sessions/{}/end", session(&app, "Phone/1"));
    let theirs = mallory.get("/settings").await;
    let hidden = theirs.form("/settings/about");
    let fields: Vec<_> = hidden
        .iter()
        .map(|(name, value)| (&**name, &**value))
        .collect();
    assert_eq!(mallory.post(&end_phone, &fields).await.status, 404);
    assert!(is_signed_in(&mut phone).await);

    let page = tablet.send(&page, &end_phone, &[]).await;
    assert!(page.shows("Signed out there.") && !page.shows("Phone/1"));
    phone.cookies.insert(
        "__Host-written".to_owned(),
        tablet.cookies["__Host-written"].clone(),
    );
    assert!(!is_signed_in(&mut phone).await);
    assert!(is_signed_in(&mut alice).await);

    tablet
        .send(&page, "/settings/sessions/end-others", &[])
        .await;
    alice.cookies.insert(
        "__Host-written".to_owned(),
        tablet.cookies["__Host-written"].clone(),
    );
    assert!(!is_signed_in(&mut alice).await);
    assert!(is_signed_in(&mut tablet).await);
    assert!(is_signed_in(&mut mallory).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_by_itself() {
    let app = App::start().await;
    let mut alice = app.signed_up("expiry_alice").await;
    let page = alice.get("/").await;
    alice.later = Duration::from_secs(3599);
    assert!(is_signed_in(&mut alice).await);
    alice.later = Duration::from_secs(3601);
    assert!(!is_signed_in(&mut alice).await);

    // What was being written is kept, and can be sent after signing in again.
    let refused = alice
        .submit(&page, "/posts", &[("text", "Written <slowly>")])
        .await;
    assert_eq!(refused.status, 401);
    assert!(
        refused.shows("You are signed out")
            && refused.shows(">Written &#60;slowly&#62;</textarea>")
    );
    let login = alice.get("/login").await;
    let fields = [("name", "expiry_alice"), ("password", PASSWORD)];
    assert_eq!(alice.submit(&login, "/login", &fields).await.status, 303);
    let text = [("text", "Written <slowly>")];
    let stale = alice.submit(&refused, "/posts", &text).await;
    assert_eq!(stale.status, 403);
    let page = alice.send(&stale, "/posts", &text).await;
    assert!(page.shows("Written &#60;slowly&#62;"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_password_ends_all_other_sessions() {
    let app = App::start().await;
    let mut alice = app.signed_up("password_alice").await;
    let mut phone = signed_in(&app, "password_alice", "Phone/2").await;
    let settings = alice.get("/settings").await;
    let set = |current, new| [("current", current), ("new", new)];
    for (fields, why) in [
        (
            set("wrong horse battery", "a new horse battery"),
            "This is not your password.",
        ),
        (set(PASSWORD, "short"), "at least 10 characters"),
        (set(PASSWORD, "password_alice again"), "does not contain"),
    ] {
        let refused = alice.submit(&settings, "/settings/password", &fields).await;
        assert_eq!(refused.status, 422, "{why}");
        assert!(refused.shows(why), "{}", refused.text);
        assert!(!refused.shows("horse battery"));
    }
    let fields = set(PASSWORD, "a new horse battery");
    let page = alice.send(&settings, "/settings/password", &fields).await;
    assert!(page.shows("Your password was changed."));
    // Sent again, by a second press: it was done, and is not called wrong.
    assert_eq!(
        alice
            .submit(&settings, "/settings/password", &fields)
            .await
            .status,
        303
    );
    phone.cookies.insert(
        "__Host-written".to_owned(),
        alice.cookies["__Host-written"].clone(),
    );
    assert!(!is_signed_in(&mut phone).await);

    let mut again = app.browser();
    let page = again.get("/login").await;
    let old = [("name", "password_alice"), ("password", PASSWORD)];
    assert_eq!(again.submit(&page, "/login", &old).await.status, 422);
    let new = [
        ("name", "password_alice"),
        ("password", "a new horse battery"),
    ];
    assert_eq!(again.submit(&page, "/login", &new).await.status, 303);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_database_has_nothing_that_could_be_used_as_a_session() {
    let app = App::start().await;
    let alice = app.signed_up("hashed_alice").await;
    let secret = &alice.cookies["__Host-session"];
    let hash = app.sql("SELECT HEX(s.hash) FROM session s JOIN account a ON a.id = s.account_id WHERE a.name = 'hashed_alice'");
    assert_eq!(hash.len(), 64);
    let mut thief = app.browser();
    let made = crate::app::secret::Secret::parse(secret).unwrap();
    let stolen = crate::app::secret::Secret::from_bytes(&made.hash()).unwrap();
    assert_eq!(hash.to_lowercase(), hex(&made.hash()));
    thief
        .cookies
        .insert("__Host-session".to_owned(), stolen.reveal());
    assert!(!is_signed_in(&mut thief).await);
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_has_only_so_many_sessions() {
    let app = App::start().await;
    let mut first = app.signed_up("many_alice").await;
    let mut last = first.clone();
    for n in 0..20 {
        last = signed_in(&app, "many_alice", &format!("Many/{n}")).await;
    }
    let count = app.sql("SELECT COUNT(*) FROM session s JOIN account a ON a.id = s.account_id WHERE a.name = 'many_alice'");
    assert_eq!(count, "20");
    first.cookies.insert(
        "__Host-written".to_owned(),
        last.cookies["__Host-written"].clone(),
    );
    assert!(!is_signed_in(&mut first).await);
    assert!(is_signed_in(&mut last).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_ended_is_forgotten_and_nothing_else() {
    let app = App::start().await;
    let mut alice = app.signed_up("sweep_alice").await;
    alice.write("Kept by the sweep").await;
    app.sql("INSERT INTO session (hash, account_id, created_ms, expires_ms, address, agent)
             SELECT REPEAT('x', 32), id, 0, 1, '192.0.2.1', 'Swept' FROM account WHERE name = 'sweep_alice'");
    app.sql("INSERT INTO once (hash, made_ms) VALUES (REPEAT('y', 32), 1)");
    app.sql("INSERT INTO attempt (who, full_ms) VALUES (REPEAT('z', 32), 1)");
    let now = crate::app::store::Moment::now();
    while app.site.sweep(now).await.unwrap() {}
    assert_eq!(
        app.sql("SELECT COUNT(*) FROM session WHERE agent = 'Swept'"),
        "0"
    );
    assert_eq!(app.sql("SELECT COUNT(*) FROM once WHERE made_ms = 1"), "0");
    assert_eq!(
        app.sql("SELECT COUNT(*) FROM attempt WHERE full_ms = 1"),
        "0"
    );
    assert!(is_signed_in(&mut alice).await);
}
