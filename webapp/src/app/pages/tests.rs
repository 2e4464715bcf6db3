//! Each page as it is sent, kept beside this file: a change of a template shows as a change there.
//! With `UPDATE_PAGES=1` they are written anew.

use std::path::Path;

use askama::Template;

use super::admin::Admin;
use super::entry::{SignIn, SignUp};
use super::frame::{Errors, Frame};
use super::posts::{DeletePost, EditPost, PersonPage, ShowPost, Timeline};
use super::refused::{Held, HeldField, Kind, Refused};
use super::settings::{Settings, ShownSession};
use super::view::{Listing, Shown};
use crate::app::input::Invalid;
use crate::app::servers::Server;
use crate::app::store::account::AccountId;
use crate::app::store::session::{SessionId, Viewer};

/// What someone might send who wants a page to be something else.
const HOSTILE: &str =
    "\"><script>alert(1)</script><b onclick='x'>&amp;{{7*7}} '; DROP TABLE post; --";

fn viewer(admin: bool) -> Viewer {
    Viewer {
        session: SessionId(1),
        account: AccountId(1),
        name: "alice".to_owned(),
        admin,
    }
}

fn signed_in() -> Frame {
    Frame::sample(Some(viewer(false)))
}

fn signed_out() -> Frame {
    Frame::sample(None)
}

fn wrong(field: &'static str, why: &'static str) -> Errors {
    Errors::of(vec![(field, Invalid(why))])
}

fn shown(id: u64, own: bool) -> Shown {
    Shown {
        id,
        author: if own { "alice" } else { "bob" }.to_owned(),
        text: HOSTILE.to_owned(),
        time: "2026-11-23 19:05 UTC".to_owned(),
        datetime: "2026-11-23T19:05:13Z".to_owned(),
        edited: own,
        own,
    }
}

fn listing(path: &str) -> Listing {
    Listing {
        items: vec![shown(8, true), shown(7, false)],
        older: Some(7),
        newer: Some(8),
        path: path.to_owned(),
        nothing: "Nothing was written yet.",
    }
}

fn nothing(path: &str) -> Listing {
    Listing {
        items: Vec::new(),
        older: None,
        newer: None,
        path: path.to_owned(),
        nothing: "Nothing was written yet.",
    }
}

/// Holds a page to what each page is held to, and to how it was.
fn check(name: &str, page: &impl Template) {
    let html = page.render().unwrap();
    check_markup(name, &html);
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("src/app/pages/snapshots")
        .join(format!("{name}.html"));
    if std::env::var_os("UPDATE_PAGES").is_some() {
        std::fs::write(&path, &html).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        html, kept,
        "{name} is not as it was; UPDATE_PAGES=1 keeps what it is now"
    );
}

fn check_markup(name: &str, html: &str) {
    let tags = |tag: &str| html.matches(tag).count();
    assert!(
        html.starts_with("<!doctype html>\n<html lang=\"en\">"),
        "{name}"
    );
    assert_eq!(tags("<h1>"), 1, "{name}");
    assert_eq!(tags("<main "), 1, "{name}");
    assert_eq!(tags("<title>"), 1, "{name}");
    // The policy for pages allows none of these.
    for tag in bare_tags(html) {
        let inline = ["script", "style"]
            .iter()
            .any(|inline| tag.starts_with(inline));
        let mut attributes = tag.split_whitespace().skip(1);
        let inline = inline || attributes.any(|it| it.starts_with("on") || it == "style=");
        assert!(!inline, "{name} has <{tag}>");
    }
    assert_eq!(tags("<form "), tags("method=\"post\""), "{name}");
    assert_eq!(
        tags("<form "),
        tags("name=\"code\""),
        "{name}: a form without its code"
    );
    assert_eq!(
        tags("<form "),
        tags("name=\"key\""),
        "{name}: a form without its key"
    );
    let ids: Vec<_> = html
        .split(" id=\"")
        .skip(1)
        .filter_map(|it| it.split('"').next())
        .collect();
    for id in &ids {
        assert_eq!(
            ids.iter().filter(|other| *other == id).count(),
            1,
            "{name}: {id} twice"
        );
    }
    for field in html
        .split("<input ")
        .skip(1)
        .chain(html.split("<textarea ").skip(1))
    {
        let tag = field.split('>').next().unwrap();
        if !tag.contains("type=\"hidden\"") {
            let id = tag
                .split("id=\"")
                .nth(1)
                .and_then(|it| it.split('"').next())
                .unwrap();
            assert!(
                html.contains(&format!("<label for=\"{id}\">")),
                "{name}: {id} has no label"
            );
        }
    }
}

/// The tags of a page, without the values of their attributes.
fn bare_tags(html: &str) -> impl Iterator<Item = String> {
    let tags = html
        .split('<')
        .skip(1)
        .filter_map(|rest| rest.split('>').next());
    tags.map(|tag| tag.split('"').step_by(2).collect())
}

#[test]
fn tags_are_found_whatever_stands_between_them() {
    let html = "<p id=\"a\" title=\"x onclick=y\">&#60;script onclick=</p><br>";
    assert_eq!(
        bare_tags(html).collect::<Vec<_>>(),
        ["p id= title=", "/p", "br"]
    );
}

#[test]
fn timeline() {
    let frame = signed_in();
    let page = Timeline {
        frame: &frame,
        errors: Errors::default(),
        text: "",
        posts: listing("/"),
    };
    check("timeline", &page);
}

#[test]
fn timeline_without_anyone_and_anything() {
    let mut frame = signed_out();
    frame.notice = Some("You are signed out.");
    let page = Timeline {
        frame: &frame,
        errors: Errors::default(),
        text: "",
        posts: nothing("/"),
    };
    check("timeline_signed_out", &page);
}

#[test]
fn timeline_with_an_error_while_writing_is_paused() {
    let mut frame = signed_in();
    frame.paused = true;
    let page = Timeline {
        frame: &frame,
        errors: wrong("text", "A post has at most 1000 characters."),
        text: HOSTILE,
        posts: nothing("/"),
    };
    check("timeline_error", &page);
}

#[test]
fn person() {
    let frame = signed_in();
    let page = PersonPage {
        frame: &frame,
        name: "alice",
        about: HOSTILE,
        since: "2026-11-23 19:05 UTC".to_owned(),
        since_datetime: "2026-11-23T19:05:13Z".to_owned(),
        own: true,
        posts: listing("/people/alice"),
    };
    check("person", &page);
}

#[test]
fn show_post() {
    let frame = signed_out();
    let post = shown(7, false);
    check(
        "show_post",
        &ShowPost {
            frame: &frame,
            post,
        },
    );
}

#[test]
fn edit_post() {
    let frame = signed_in();
    let page = EditPost {
        frame: &frame,
        errors: wrong("text", "It was changed meanwhile."),
        id: 8,
        version: 3,
        text: HOSTILE,
        current: Some(HOSTILE),
    };
    check("edit_post", &page);
}

#[test]
fn delete_post() {
    let frame = signed_in();
    let post = shown(8, true);
    check(
        "delete_post",
        &DeletePost {
            frame: &frame,
            post,
        },
    );
}

#[test]
fn sign_up() {
    let frame = signed_out();
    let page = SignUp {
        frame: &frame,
        errors: wrong("name", "This name is taken."),
        name: HOSTILE,
    };
    check("sign_up", &page);
}

#[test]
fn sign_in() {
    let frame = signed_out();
    let page = SignIn {
        frame: &frame,
        errors: Errors::default(),
        name: HOSTILE,
        next: "/settings",
    };
    check("sign_in", &page);
}

#[test]
fn settings() {
    let frame = signed_in();
    let session = |id, this| ShownSession {
        id,
        agent: HOSTILE.to_owned(),
        address: "2001:db8::1".to_owned(),
        since: "2026-11-23 19:05 UTC".to_owned(),
        since_datetime: "2026-11-23T19:05:13Z".to_owned(),
        until: "2026-12-23 19:05 UTC".to_owned(),
        until_datetime: "2026-12-23T19:05:13Z".to_owned(),
        this,
    };
    let page = Settings {
        frame: &frame,
        errors: Errors::default(),
        name: "alice",
        about: HOSTILE,
        sessions: vec![session(1, true), session(2, false)],
    };
    check("settings", &page);
}

#[test]
fn admin() {
    let frame = Frame::sample(Some(viewer(true)));
    let page = Admin {
        frame: &frame,
        web: HOSTILE,
        app: "app1",
        db: "db2",
        writing: "Everything can be read and written.".to_owned(),
        servers: vec![Server {
            name: "db1".to_owned(),
            role: "primary",
            state: "takes writes".to_owned(),
            lag: "\u{2013}".to_owned(),
            in_use: 1,
        }],
    };
    check("admin", &page);
}

#[test]
fn refused_with_what_was_sent() {
    let field = |name, label, kind, value: &str| HeldField {
        name,
        label,
        kind,
        value: value.to_owned(),
    };
    let mut frame = signed_out();
    frame.known = false;
    let page = Refused {
        frame: &frame,
        title: "Writing is paused",
        advice: "Nothing was done.",
        held: Some(Held {
            action: "/posts/8/edit",
            fields: vec![
                field("version", "", Kind::Hidden, HOSTILE),
                field("name", "Name", Kind::Line, HOSTILE),
                field("text", "Your post", Kind::Text, HOSTILE),
                field("password", "Password", Kind::Password, "never shown"),
            ],
            sign_in: true,
        }),
        request: "0123456789abcdef",
    };
    assert!(!page.render().unwrap().contains("never shown"));
    check("refused_held", &page);
}

#[test]
fn refused() {
    let mut frame = signed_out();
    frame.known = false;
    let page = Refused {
        frame: &frame,
        title: "Page not found",
        advice: "There is nothing here, or it was deleted.",
        held: None,
        request: "",
    };
    check("refused", &page);
}
