//! Which request paths reach which files.

use std::fs;
use std::path::Path;

use super::{open, relative};

#[test]
fn plain_paths_stay_below_the_root() {
    for (request, expected) in [
        ("/", "index.html"),
        ("/a.txt", "a.txt"),
        ("/css/site.css", "css/site.css"),
        ("/docs/", "docs/index.html"),
        ("//a.txt", "a.txt"),
        ("/with%20space.txt", "with space.txt"),
        ("/caf%C3%A9", "café"),
        ("/a..b", "a..b"),
    ] {
        assert_eq!(
            relative(request).as_deref(),
            Some(Path::new(expected)),
            "{request}"
        );
    }
}

#[test]
fn paths_that_escape_or_hide_are_refused() {
    for request in [
        "",
        "*",
        "a.txt",
        "/..",
        "/../etc/passwd",
        "/a/../../etc/passwd",
        "/%2e%2e/etc/passwd",
        "/%2E%2e%2fetc/passwd",
        "/a/%2e/b",
        "/.git/config",
        "/a/.htpasswd",
        "/..%5cwindows",
        "/a%5cb",
        "/a%00.txt",
        "/a%0ab",
        "/a%",
        "/a%2",
        "/a%zz",
        "/a%ff",
        "/%+1%+1",
    ] {
        assert_eq!(relative(request), None, "{request}");
    }
}

#[test]
fn a_doubly_encoded_path_is_decoded_once() {
    assert_eq!(
        relative("/%252e%252e/a").as_deref(),
        Some(Path::new("%2e%2e/a"))
    );
}

#[tokio::test]
async fn only_regular_files_under_the_root_are_opened() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().canonicalize().unwrap().join("root");
    fs::create_dir_all(root.join("sub")).unwrap();
    fs::write(root.join("a.html"), "inside").unwrap();
    fs::write(dir.path().join("secret"), "outside").unwrap();
    std::os::unix::fs::symlink("../secret", root.join("leak")).unwrap();
    std::os::unix::fs::symlink("a.html", root.join("alias")).unwrap();

    let file = open(&root, "/a.html").await.unwrap();
    assert_eq!(file.body.length(), 6);
    assert_eq!(file.content_type, "text/html; charset=utf-8");
    assert!(open(&root, "/alias").await.is_some());
    for refused in ["/leak", "/sub", "/sub/", "/a.html/", "/missing"] {
        assert!(open(&root, refused).await.is_none(), "{refused}");
    }
}
