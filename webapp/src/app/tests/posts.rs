//! Writing, reading, changing and deleting.

use super::kit::{App, in_page};

fn count(app: &App, text: &str) -> String {
    app.sql(&format!("SELECT COUNT(*) FROM post WHERE text = '{text}'"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_post_is_written_changed_and_deleted() {
    let app = App::start().await;
    let mut alice = app.signed_up("story_alice").await;
    let page = alice.write("My first post\nin two lines").await;
    assert!(page.shows("Your post is out.") && page.shows("My first post\nin two lines</p>"));
    let page = alice.get("/people/story_alice").await;
    let [id] = page.posts()[..] else {
        panic!("{}", page.text)
    };
    let (edit, delete) = (format!("/posts/{id}/edit"), format!("/posts/{id}/delete"));
    assert!(page.shows(&format!("href=\"{edit}\"")));

    let page = alice.get(&edit).await;
    assert!(page.shows(">My first post\nin two lines</textarea>"));
    let page = alice
        .send(&page, &edit, &[("text", "My better post")])
        .await;
    assert!(page.shows("Your post was changed.") && page.shows("My better post"));
    assert!(page.shows("(edited)") && !page.shows("My first post"));

    let page = alice.get(&delete).await;
    assert!(page.shows("Delete this post?") && page.shows("My better post"));
    let page = alice.send(&page, &delete, &[]).await;
    assert!(page.shows("Your post was deleted.") && !page.shows("My better post"));
    assert_eq!(alice.get(&format!("/posts/{id}")).await.status, 404);
    assert_eq!(alice.get(&edit).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_written_is_text() {
    let app = App::start().await;
    let mut alice = app.signed_up("text_alice").await;
    for text in [
        "<script>alert(document.cookie)</script>",
        "\"><img src=x onerror=alert(1)>",
        "Robert'); DROP TABLE post; --",
        "\\' OR 1=1 -- \\",
        "{{ 7 * 7 }} {% raw %} ${7*7} %s %n",
        "\u{1f469}\u{200d}\u{1f469}\u{200d}\u{1f467} \u{202e}right to left\u{202c} e\u{301} \u{e000}",
        "&lt;b&gt; &#0; &amp;",
        "javascript:alert(1) https://evil.example/\"onmouseover=\"x",
    ] {
        let page = alice.write(text).await;
        assert!(
            page.shows(&format!("dir=\"auto\">{}</p>", in_page(text))),
            "{text}"
        );
        assert!(!page.shows("<script") && !page.shows("<img"));
        let id = page.posts()[0];
        let edit = alice.get(&format!("/posts/{id}/edit")).await;
        assert!(
            edit.shows(&format!(">{}</textarea>", in_page(text))),
            "{text}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_taken_comes_back_with_the_reason() {
    let app = App::start().await;
    let mut alice = app.signed_up("reason_alice").await;
    let page = alice.get("/").await;
    let long = "\u{e9}".repeat(1001);
    for (text, why) in [
        ("", "Write something first."),
        (" \r\n \u{200b}", "Write something first."),
        (&*long, "at most 1000 characters"),
        ("a\u{7}b", "Control characters are not text."),
    ] {
        let refused = alice.submit(&page, "/posts", &[("text", text)]).await;
        assert_eq!(refused.status, 422, "{text:.20}");
        assert!(
            refused.shows(why) && refused.shows(&format!(">{text}</textarea>")),
            "{text:.20}"
        );
        assert!(refused.shows("<title>Error: "));
    }
    let most = "\u{e9}".repeat(1000);
    assert!(alice.write(&most).await.shows(&most));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_sent_again_is_written_once() {
    let app = App::start().await;
    let mut alice = app.signed_up("again_alice").await;
    let page = alice.get("/").await;
    let text = [("text", "Pressed twice")];
    for _ in 0..3 {
        assert!(
            alice
                .send(&page, "/posts", &text)
                .await
                .shows("Pressed twice")
        );
    }
    assert_eq!(count(&app, "Pressed twice"), "1");

    // At the same time, from many connections.
    let page = alice.get("/").await;
    let text = [("text", "Pressed by many")];
    let mut tasks = tokio::task::JoinSet::new();
    let page = std::sync::Arc::new(page);
    for _ in 0..8 {
        let (mut alice, page) = (alice.clone(), page.clone());
        tasks.spawn(async move {
            let answer = alice.submit(&page, "/posts", &text).await;
            assert_eq!(answer.status, 303, "{}", answer.text);
            // Whoever was answered sees it.
            assert!(alice.follow(&answer).await.shows("Pressed by many"));
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
    assert_eq!(count(&app, "Pressed by many"), "1");

    // Gone back to and sent with another text, it is another post.
    alice
        .send(&page, "/posts", &[("text", "Gone back to")])
        .await;
    assert_eq!(count(&app, "Gone back to"), "1");
    // Another form with the same text is another post, too.
    alice.write("Gone back to").await;
    assert_eq!(count(&app, "Gone back to"), "2");
    // Another's key is another's.
    let mut bob = app.signed_up("again_bob").await;
    let theirs = bob.get("/").await.form("/posts");
    let fields = [
        ("code", &*theirs[0].1),
        ("key", &*page.form("/posts")[1].1),
        ("text", "Pressed twice"),
    ];
    assert_eq!(bob.post("/posts", &fields).await.status, 303);
    assert_eq!(count(&app, "Pressed twice"), "2");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_does_not_undo_another_unseen() {
    let app = App::start().await;
    let mut alice = app.signed_up("conflict_alice").await;
    let id = alice.write("Version one").await.posts()[0];
    let edit = format!("/posts/{id}/edit");
    let one = alice.get(&edit).await;
    let two = alice.get(&edit).await;
    alice
        .send(&one, &edit, &[("text", "From the first tab")])
        .await;
    let conflict = alice
        .submit(&two, &edit, &[("text", "From the second tab")])
        .await;
    assert_eq!(conflict.status, 409);
    assert!(conflict.shows("From the first tab</p>"));
    assert!(conflict.shows(">From the second tab</textarea>"));
    assert!(
        alice
            .get(&format!("/posts/{id}"))
            .await
            .shows("From the first tab")
    );
    // Seen, it may be replaced.
    let page = alice
        .send(&conflict, &edit, &[("text", "From the second tab")])
        .await;
    assert!(page.shows("From the second tab"));
    // The same form again is the same edit, and no conflict.
    let fields = [("text", "From the second tab")];
    assert_eq!(alice.submit(&conflict, &edit, &fields).await.status, 303);
}

#[tokio::test(flavor = "multi_thread")]
async fn others_posts_are_only_read() {
    let app = App::start().await;
    let mut alice = app.signed_up("owner_alice").await;
    let id = alice.write("Mine alone").await.posts()[0];
    let mut mallory = app.signed_up("owner_mallory").await;
    let page = mallory.get(&format!("/posts/{id}")).await;
    assert!(page.shows("Mine alone") && !page.shows("/edit"));
    let hidden = mallory.get("/settings").await.form("/settings/about");
    let mut fields: Vec<_> = hidden
        .iter()
        .map(|(name, value)| (&**name, &**value))
        .collect();
    fields.extend([("version", "0"), ("text", "Not mine")]);
    for action in ["edit", "delete"] {
        let path = format!("/posts/{id}/{action}");
        assert_eq!(mallory.get(&path).await.status, 403);
        assert_eq!(mallory.post(&path, &fields).await.status, 403);
        assert_eq!(
            app.browser().get(&path).await.location(),
            format!("/login?next={path}")
        );
    }
    assert_eq!(count(&app, "Mine alone"), "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_lead_to_each_post_once_and_back() {
    let app = App::start().await;
    let mut alice = app.signed_up("pages_alice").await;
    // As many as two pages and a half have, without two and a half pages' worth of requests.
    app.sql(
        "INSERT INTO post (account_id, text, created_ms)
             SELECT a.id, CONCAT('Post ', n.seq), 1 FROM account a JOIN seq_1_to_45 n
             WHERE a.name = 'pages_alice'",
    );
    alice.write("The latest").await;
    let mut page = alice.get("/people/pages_alice").await;
    let first = page.posts();
    assert_eq!(first.len(), 20);
    assert!(!page.shows("rel=\"prev\""));
    let mut seen = first.clone();
    let link = |page: &super::kit::Answer, rel: &str| {
        let rest = page.text.split(&format!("rel=\"{rel}\" href=\"")).nth(1)?;
        Some(rest.split('"').next().unwrap().to_owned())
    };
    while let Some(next) = link(&page, "next") {
        page = alice.get(&next).await;
        seen.extend(page.posts());
    }
    assert_eq!(seen.len(), 46);
    assert!(seen.is_sorted_by(|one, two| one > two));
    let mut steps = 0;
    while let Some(newer) = link(&page, "prev") {
        page = alice.get(&newer).await;
        steps += 1;
    }
    assert_eq!((steps, page.posts()), (2, first));

    for bad in ["before=x", "before=1&after=2", "after=-1", "before=%ff"] {
        assert_eq!(alice.get(&format!("/?{bad}")).await.status, 400, "{bad}");
    }
    assert!(
        alice
            .get("/people/pages_alice?before=1")
            .await
            .shows("nothing further")
    );
    assert_eq!(alice.get("/people/pages_nobody").await.status, 404);
    assert_eq!(alice.get("/people/Pages_Alice").await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn everyone_reads_their_own_writes_from_the_replica() {
    let app = App::start().await;
    let mut alice = app.signed_up("causal_alice").await;
    let mut on_replica = 0;
    for n in 0..40 {
        let text = format!("Causal {n}");
        let page = alice.write(&text).await;
        assert!(page.shows(&text), "{n}: {}", page.header("x-served-by-db"));
        on_replica += usize::from(page.header("x-served-by-db") == "db2");
    }
    assert!(
        on_replica > 30,
        "{on_replica} of 40 pages came from the replica"
    );
    // A position that nobody sealed is not waited for.
    let begun = std::time::Instant::now();
    alice.cookies.insert(
        "__Host-written".to_owned(),
        "MC0xLTk5OTk5OTk5.AAAA".to_owned(),
    );
    assert_eq!(alice.get("/").await.status, 200);
    assert!(begun.elapsed() < std::time::Duration::from_millis(400));
}
