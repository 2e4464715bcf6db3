//! Which paths of requests name which files.

use proptest::prelude::*;

use super::{Named, named, of_segments, percent_decode};

#[test]
fn plain_paths_name_files() {
    for (request, expected) in [
        ("/", "index.html"),
        ("//", "index.html"),
        ("/a.txt", "a.txt"),
        ("/css/site.css", "css/site.css"),
        ("/docs/", "docs/index.html"),
        ("//a.txt", "a.txt"),
        ("/a//b", "a/b"),
        ("/with%20space.txt", "with space.txt"),
        ("/caf%C3%A9", "café"),
        ("/a..b", "a..b"),
        ("/a%2Fb", "a/b"),
    ] {
        assert_eq!(named(request), Named::File(expected.into()), "{request}");
    }
}

#[test]
fn paths_that_escape_name_nothing() {
    for request in [
        "",
        "*",
        "a.txt",
        "/.",
        "/..",
        "/../etc/passwd",
        "/a/../../etc/passwd",
        "/a/..",
        "/%2e%2e/etc/passwd",
        "/.%2e/etc/passwd",
        "/%2E%2e%2fetc/passwd",
        "/..%2f..%2fetc%2fpasswd",
        "/a/%2e/b",
        "/.git/../a",
        "/..%5cwindows",
        "/a%5cb",
        "/a\\b",
        "/a%00.txt",
        "/a%0ab",
        "/a%0d%0aSet-Cookie:x",
        "/a%7f",
        "/a%",
        "/a%2",
        "/a%zz",
        "/a%ff",
        "/%c0%ae%c0%ae/etc/passwd",
        "/%e0%80%ae%e0%80%ae/etc/passwd",
        "/%u002e%u002e/etc/passwd",
        "/%+1%+1",
    ] {
        assert_eq!(named(request), Named::Nonsense, "{request}");
    }
}

#[test]
fn dotfiles_are_hidden() {
    for request in [
        "/.git/config",
        "/a/.htpasswd",
        "/%2egit/config",
        "/...",
        "/.well-known/",
    ] {
        assert_eq!(named(request), Named::Hidden, "{request}");
    }
}

#[test]
fn a_doubly_encoded_path_is_decoded_once() {
    assert_eq!(named("/%252e%252e/a"), Named::File("%2e%2e/a".into()));
}

proptest! {
    /// Whatever is asked for, a name has no segment that a file system would take for another
    /// directory, and none that is hidden.
    #[test]
    fn no_name_leads_elsewhere(request in "[/.%2eEfF5cC0a-c\\\\]{0,24}|\\PC{0,16}") {
        if let Named::File(name) = named(&format!("/{request}")) {
            prop_assert!(!name.is_empty());
            for segment in name.split('/') {
                prop_assert!(!segment.is_empty() && !segment.starts_with('.'), "{}", name);
                prop_assert!(!segment.contains(['\\', '\0']), "{}", name);
            }
        }
    }

    /// The short way gives what the long one does.
    #[test]
    fn plain_paths_are_what_they_decode_to(rest in "[a-c./%2e-]{0,16}") {
        let long = percent_decode(&rest).map_or(Named::Nonsense, |decoded| of_segments(&decoded));
        let path = format!("/{rest}");
        prop_assert_eq!(named(&path), long);
    }
}
