//! What people see while databases are away.

use hyper::Method;

use super::kit::{App, Databases, rules};

#[tokio::test(flavor = "multi_thread")]
async fn without_a_primary_pages_are_read_and_what_is_typed_is_kept() {
    let databases = Databases::start(2);
    let app = App::over(databases.clone(), rules()).await;
    let mut alice = app.signed_up("paused_alice").await;
    let page = alice.write("Before the primary died").await;
    databases.servers().server("db1").unwrap().kill().unwrap();

    // At once, before anyone has noticed; then for as long as it takes.
    let text = [("text", "Typed while <nobody> listens")];
    for _ in 0..2 {
        let refused = alice.submit(&page, "/posts", &text).await;
        assert_eq!(refused.status, 503, "{}", refused.text);
        assert!(refused.shows(">Typed while &#60;nobody&#62; listens</textarea>"));
        assert!(!refused.header("retry-after").is_empty());
        app.until("writing is paused", async |browser| {
            browser.get("/").await.shows("Writing is paused")
        })
        .await;
    }
    let refused = alice.submit(&page, "/posts", &text).await;
    assert!(refused.shows("<h1>Writing is paused</h1>"));
    for path in [
        "/",
        "/people/paused_alice",
        "/settings",
        "/login",
        "/signup",
    ] {
        let page = alice.get(path).await;
        assert_eq!(page.status, 200, "{path}");
        assert!(
            page.shows("Writing is paused: everything can be read"),
            "{path}"
        );
    }
    assert!(alice.get("/").await.shows("Before the primary died"));
    assert_eq!(alice.get("/readyz").await.status, 200);
    // Neither in nor up, and nobody is told that a password was wrong.
    let mut other = app.browser();
    for (path, action) in [("/login", "/login"), ("/signup", "/signup")] {
        let page = other.get(path).await;
        let fields = [
            ("name", "paused_bob"),
            ("password", "correct horse battery"),
        ];
        let refused = other.submit(&page, action, &fields).await;
        assert_eq!(refused.status, 503);
        assert!(refused.shows("value=\"paused_bob\""));
        assert!(!refused.shows("correct horse battery"));
    }

    // An app server that starts now has all that it takes to be read.
    let late = App::over(databases.clone(), rules()).await;
    assert!(
        late.browser()
            .get("/")
            .await
            .shows("Before the primary died")
    );

    // It comes back, as the primary; the form that was kept is sent again, once.
    {
        let mut servers = databases.servers();
        let primary = servers.server("db1").unwrap();
        primary.restart().unwrap();
        primary.sql("SET GLOBAL read_only = OFF").unwrap();
    }
    app.until("writing goes on", async |browser| {
        !browser.get("/").await.shows("Writing is paused")
    })
    .await;
    let page = alice.send(&refused, "/posts", &text).await;
    assert!(page.shows("Typed while &#60;nobody&#62; listens"));
    let again = alice.submit(&refused, "/posts", &text).await;
    assert_eq!(again.status, 303);
    assert_eq!(
        app.sql("SELECT COUNT(*) FROM post WHERE text LIKE 'Typed while%'"),
        "1"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn it_waits_for_its_database_and_says_so() {
    let databases = Databases::start(1);
    databases.servers().server("db1").unwrap().stop().unwrap();
    let app = App::begin(databases.clone(), rules());
    let mut browser = app.browser();
    assert_eq!(browser.get("/healthz").await.status, 200);
    let ready = browser.get("/readyz").await;
    assert_eq!(ready.status, 503);
    assert!(!ready.text.trim().is_empty());
    let page = browser.get("/").await;
    assert_eq!(page.status, 503);
    assert!(page.shows("Not available right now") && !page.shows("db1"));
    let api = browser.get("/api/posts").await;
    assert_eq!(api.status, 503);
    assert_eq!(api.header("content-type"), "application/problem+json");

    {
        let mut servers = databases.servers();
        let primary = servers.server("db1").unwrap();
        primary.restart().unwrap();
        primary.sql("SET GLOBAL read_only = OFF").unwrap();
    }
    app.until_ready().await;
    assert_eq!(browser.get("/").await.status, 200);
    app.site.readiness().drain();
    let ready = browser.get("/readyz").await;
    assert_eq!((ready.status, ready.text.trim()), (503, "draining"));
    assert_eq!(browser.get("/").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_from_the_future_is_left_alone() {
    let databases = Databases::start(1);
    let app = App::over(databases.clone(), rules()).await;
    app.sql(
        "INSERT INTO _sqlx_migrations (version, description, installed_on, success, checksum,
         execution_time) VALUES (9999, 'later', NOW(), 1, 'x', 0)",
    );
    let old = App::begin(databases, rules());
    old.until("it says so", async |browser| {
        browser.get("/readyz").await.shows("from the future")
    })
    .await;
    assert_eq!(old.browser().get("/").await.status, 503);
    // One that was there before goes on.
    assert_eq!(app.browser().get("/").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn app_servers_that_start_together_share_what_they_sign_with() {
    let databases = Databases::start(1);
    let one = App::begin(databases.clone(), rules());
    let two = App::begin(databases, rules());
    one.until_ready().await;
    two.until_ready().await;
    let written = one.signed_up("shared_alice").await.cookies["__Host-written"].clone();
    let open = |app: &App| {
        let prepared = app.site.prepared();
        crate::app::written::open(&written, prepared.secret().unwrap())
    };
    assert!(open(&one).is_some());
    assert_eq!(open(&one), open(&two));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_inside_tells_nothing_of_the_inside() {
    let databases = Databases::start(1);
    let app = App::over(databases, rules()).await;
    let mut alice = app.signed_up("inside_alice").await;
    app.sql("ALTER TABLE post CHANGE COLUMN text words VARCHAR(1000) NOT NULL");
    let page = alice.get("/").await;
    assert_eq!(page.status, 500);
    for inside in ["SELECT", "column", "text'", "webapp", "sqlx", "1054"] {
        assert!(!page.shows(inside), "{inside}");
    }
    let headers = [("content-type", "application/json")];
    let answer = alice
        .ask(Method::GET, "/api/posts", &headers, Ok("".into()))
        .await;
    assert_eq!(answer.status, 500);
    assert!(!answer.shows("column") && answer.shows("Something went wrong"));
}
