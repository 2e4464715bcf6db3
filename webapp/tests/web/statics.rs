//! Static files, as clients and caches ask for them.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::path::Path;

use nix::sys::signal::Signal;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::certificates::Authority;
use crate::client::{Answer, Client, HOST, raw, statuses};
use crate::program::{Web, peak_memory, web};

/// A web server with files alone.
struct Files {
    authority: Authority,
    root: TempDir,
    web: Web,
    address: SocketAddr,
}

impl Files {
    fn start(write: impl FnOnce(&Path)) -> Self {
        let authority = Authority::new();
        let root = tempfile::tempdir().unwrap();
        write(root.path());
        let start = web().tls(&authority.issue(HOST)).root(root.path());
        let mut web = start.arg("--in-memory", "100000").start();
        let address = web.address("https");
        Self {
            authority,
            root,
            web,
            address,
        }
    }

    async fn client(&self) -> Client {
        Client::http1(self.address, &self.authority.identity("client")).await
    }

    async fn both(&self) -> [Client; 2] {
        let identity = self.authority.identity("client");
        [
            Client::http1(self.address, &identity).await,
            Client::http2(self.address, &identity).await,
        ]
    }
}

/// Text that compresses well.
fn prose() -> String {
    (0..500)
        .map(|n| format!("Line {n} of a text that says little.\n"))
        .collect()
}

/// Bytes that do not.
fn noise(length: usize) -> Vec<u8> {
    let blocks = (0u64..).flat_map(|n| Sha256::digest(n.to_le_bytes()).to_vec());
    blocks.take(length).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_are_served_with_what_caches_need() {
    let files = Files::start(|root| {
        fs::write(root.join("index.html"), "<p>hello").unwrap();
        fs::create_dir(root.join("docs")).unwrap();
        fs::write(root.join("docs/index.html"), "<p>docs").unwrap();
        fs::write(root.join("app.3f2b9c1d.js"), "1").unwrap();
        fs::write(root.join("empty"), "").unwrap();
    });
    for mut client in files.both().await {
        let page = client.get("/", &[]).await;
        assert_eq!((page.status.as_u16(), page.text()), (200, "<p>hello"));
        assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
        assert_eq!(page.header("cache-control"), "no-cache");
        assert_eq!(page.header("accept-ranges"), "bytes");
        assert_eq!(page.header("x-content-type-options"), "nosniff");
        assert!(
            page.header("content-security-policy")
                .contains("default-src 'self'")
        );
        assert!(
            page.header("strict-transport-security")
                .starts_with("max-age=")
        );
        let (etag, modified) = (page.header("etag"), page.header("last-modified"));
        assert!(
            etag.starts_with('"') && etag.ends_with('"') && etag.len() > 10,
            "{etag}"
        );

        for field in [("if-none-match", etag), ("if-modified-since", modified)] {
            let unchanged = client.get("/", &[field]).await;
            assert_eq!((unchanged.status.as_u16(), unchanged.body.len()), (304, 0));
            assert_eq!(unchanged.header("etag"), etag);
            assert_eq!(unchanged.header("content-type"), "");
        }
        assert_eq!(
            client
                .get("/", &[("if-none-match", "\"other\"")])
                .await
                .status,
            200
        );
        assert_eq!(
            client.get("/", &[("if-match", "\"other\"")]).await.status,
            412
        );

        let hashed = client.get("/app.3f2b9c1d.js?v=1", &[]).await;
        assert_eq!(
            hashed.header("cache-control"),
            "public, max-age=31536000, immutable"
        );
        assert_eq!(client.get("/docs/", &[]).await.text(), "<p>docs");
        let moved = client.get("/docs?a=b", &[]).await;
        assert_eq!(
            (moved.status.as_u16(), moved.header("location")),
            (308, "/docs/?a=b")
        );
        assert_eq!(client.get("/empty", &[]).await.body.len(), 0);
        let head = client.ask("HEAD", "/", &[], "").await;
        assert_eq!(
            (head.header("content-length"), head.header("etag")),
            ("8", etag)
        );
        assert!(head.body.is_empty());
        let post = client.ask("POST", "/", &[], "x").await;
        assert_eq!(
            (post.status.as_u16(), post.header("allow")),
            (405, "GET, HEAD")
        );
        assert_eq!(client.get("/nothing", &[]).await.status, 404);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_coding_holds_the_same_content() {
    let files = Files::start(|root| {
        fs::write(root.join("a.txt"), prose()).unwrap();
        fs::write(root.join("a.png"), prose()).unwrap();
        fs::write(root.join("noise.txt"), noise(5000)).unwrap();
    });
    let mut client = files.client().await;
    let mut etags = Vec::new();
    for (accepted, coding) in [
        ("", ""),
        ("br", "br"),
        ("zstd", "zstd"),
        ("gzip", "gzip"),
        ("gzip;q=0.5, zstd;q=0.8", "zstd"),
        ("identity", ""),
        ("br;q=0, *;q=0", ""),
    ] {
        let answer = client.get("/a.txt", &[("accept-encoding", accepted)]).await;
        assert_eq!(answer.header("content-encoding"), coding, "{accepted}");
        assert_eq!(answer.header("vary"), "accept-encoding");
        assert_eq!(
            answer.header("content-length"),
            answer.body.len().to_string()
        );
        assert_eq!(decoded(&answer), prose(), "{accepted}");
        if coding.is_empty() {
            assert_eq!(answer.body.len(), prose().len());
        } else {
            assert!(answer.body.len() < prose().len() / 2);
        }
        let tag = ("if-none-match", answer.header("etag"));
        let again = client
            .get("/a.txt", &[("accept-encoding", accepted), tag])
            .await;
        assert_eq!(
            (again.status.as_u16(), again.header("vary")),
            (304, "accept-encoding")
        );
        etags.push(answer.header("etag").to_owned());
    }
    etags.sort();
    etags.dedup();
    assert_eq!(etags.len(), 4, "one for each coding: {etags:?}");
    for path in ["/a.png", "/noise.txt"] {
        let answer = client
            .get(path, &[("accept-encoding", "gzip, br, zstd")])
            .await;
        assert_eq!(
            (answer.header("content-encoding"), answer.header("vary")),
            ("", ""),
            "{path}"
        );
    }
}

fn decoded(answer: &Answer) -> String {
    let mut text = String::new();
    let body = &answer.body[..];
    match answer.header("content-encoding") {
        "br" => drop(
            brotli::Decompressor::new(body, 4096)
                .read_to_string(&mut text)
                .unwrap(),
        ),
        "gzip" => drop(
            flate2::read::GzDecoder::new(body)
                .read_to_string(&mut text)
                .unwrap(),
        ),
        "zstd" => return String::from_utf8(zstd::decode_all(body).unwrap()).unwrap(),
        _ => return answer.text().to_owned(),
    }
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_are_the_bytes_that_were_asked_for() {
    let (small, large) = (noise(5000), noise(300_000));
    let files = Files::start(|root| {
        fs::write(root.join("small"), &small).unwrap();
        fs::write(root.join("large"), &large).unwrap();
    });
    for mut client in files.both().await {
        for (path, content) in [("/small", &small), ("/large", &large)] {
            let length = content.len();
            for (field, part) in [
                ("bytes=0-0", 0..1),
                ("bytes=100-199", 100..200),
                ("bytes=4000-", 4000..length),
                ("bytes=-10", length - 10..length),
                ("bytes=1-999999999", 1..length),
            ] {
                let answer = client.get(path, &[("range", field)]).await;
                assert_eq!(answer.status, 206, "{path} {field}");
                let range = format!("bytes {}-{}/{length}", part.start, part.end - 1);
                assert_eq!(answer.header("content-range"), range);
                assert_eq!(answer.header("content-length"), part.len().to_string());
                assert!(answer.body == content[part], "{path} {field}");
            }
            let beyond = client.get(path, &[("range", "bytes=999999-")]).await;
            assert_eq!(beyond.status, 416);
            assert_eq!(beyond.header("content-range"), format!("bytes */{length}"));

            let several = client
                .get(path, &[("range", "bytes=0-9,4000-4009,-5")])
                .await;
            assert_eq!(several.status, 206);
            let parts = multipart(&several);
            let expected = [0..10, 4000..4010, length - 5..length];
            assert_eq!(parts.len(), 3);
            for ((range, body), part) in parts.iter().zip(expected) {
                let told = format!("bytes {}-{}/{length}", part.start, part.end - 1);
                assert_eq!(*range, told);
                assert!(*body == content[part]);
            }

            let whole = client.get(path, &[("range", "bytes=0-5,3-9")]).await;
            assert_eq!((whole.status.as_u16(), whole.body.len()), (200, length));
            let (etag, modified) = (whole.header("etag"), whole.header("last-modified"));
            for (tag, status) in [(etag, 206), (modified, 206), ("\"other\"", 200)] {
                let fields = [("range", "bytes=0-9"), ("if-range", tag)];
                assert_eq!(client.get(path, &fields).await.status, status, "{tag}");
            }
            let unchanged = [("range", "bytes=0-9"), ("if-none-match", etag)];
            assert_eq!(client.get(path, &unchanged).await.status, 304);
            let head = client
                .ask("HEAD", path, &[("range", "bytes=0-9")], "")
                .await;
            assert_eq!(head.status, 200);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gibibyte_is_fetched_in_parts_and_held_nowhere() {
    const PIECE: usize = 1 << 20;
    const PIECES: usize = 1 << 10;
    /// What is asked for at a time.
    const PART: usize = PIECE * PIECES / 32;
    /// Far more than a server needs, and far less than the file.
    const MOST: u64 = 256 << 20;
    let mut hash = Sha256::new();
    let files = Files::start(|root| {
        let mut file = fs::File::create(root.join("large.bin")).unwrap();
        let mut piece = noise(PIECE);
        for number in 0..PIECES {
            // No two pieces are the same: their order counts.
            piece[..8].copy_from_slice(&number.to_be_bytes());
            hash.update(&piece);
            file.write_all(&piece).unwrap();
        }
    });
    let mut fetched = Sha256::new();
    let mut clients = files.both().await;
    for start in (0..PIECE * PIECES).step_by(PART) {
        let client = &mut clients[start / PART % 2];
        let range = format!("bytes={start}-{}", start + PART - 1);
        let answer = client.get("/large.bin", &[("range", &range)]).await;
        assert_eq!((answer.status.as_u16(), answer.body.len()), (206, PART));
        fetched.update(&answer.body);
    }
    assert_eq!(fetched.finalize(), hash.finalize());
    let held = peak_memory(files.web.id());
    assert!(held < MOST, "the web server held {held} bytes");
}

/// The parts of a multipart body: what each says that it is, and its bytes.
fn multipart(answer: &Answer) -> Vec<(String, Vec<u8>)> {
    let content_type = answer.header("content-type");
    let boundary = content_type
        .strip_prefix("multipart/byteranges; boundary=")
        .unwrap();
    assert_eq!(
        answer.header("content-length"),
        answer.body.len().to_string()
    );
    let delimiter = format!("\r\n--{boundary}");
    let mut rest = &answer.body[..];
    let mut parts = Vec::new();
    loop {
        rest = rest.strip_prefix(delimiter.as_bytes()).unwrap();
        if rest == b"--\r\n" {
            return parts;
        }
        let end = find(rest, b"\r\n\r\n");
        let head = std::str::from_utf8(&rest[..end]).unwrap();
        let range = head.split("Content-Range: ").nth(1).unwrap();
        rest = &rest[end + 4..];
        let next = find(rest, delimiter.as_bytes());
        parts.push((range.to_owned(), rest[..next].to_vec()));
        rest = &rest[next..];
    }
}

fn find(text: &[u8], what: &[u8]) -> usize {
    text.windows(what.len())
        .position(|part| part == what)
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_path_leads_out_of_the_root() {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret"), "the secret").unwrap();
    let files = Files::start(|root| {
        fs::write(root.join("a.txt"), "inside").unwrap();
        fs::create_dir_all(root.join(".git")).unwrap();
        fs::write(root.join(".git/config"), "the secret").unwrap();
        fs::write(root.join(".env"), "the secret").unwrap();
        let secret = outside.path().join("secret");
        std::os::unix::fs::symlink(&secret, root.join("leak")).unwrap();
        std::os::unix::fs::symlink(outside.path(), root.join("way-out")).unwrap();
        std::os::unix::fs::symlink(root, root.join("round")).unwrap();
        std::os::unix::fs::symlink("a.txt", root.join("alias")).unwrap();
        nix::unistd::mkfifo(&root.join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    });
    let mut client = files.client().await;
    assert_eq!(client.get("/alias", &[]).await.text(), "inside");
    for path in [
        "/leak",
        "/way-out/secret",
        "/.git/config",
        "/.env",
        "/pipe",
        "/round/a.txt",
    ] {
        assert_eq!(client.get(path, &[]).await.status, 404, "{path}");
    }

    let secret = outside.path().join("secret");
    let secret = secret.to_str().unwrap();
    let encoded: String = secret.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let up = |step: &str| format!("/{}{}", step.repeat(12), &secret[1..]);
    let targets = [
        up("../"),
        up("..%2f"),
        up("%2e%2e/"),
        up("%2e%2e%2f"),
        up(".%2e/"),
        up("..\\"),
        up("..%5c"),
        up("%252e%252e/"),
        up("%c0%ae%c0%ae/"),
        up("..%00/"),
        up("....//"),
        up("..;/"),
        up("./../"),
        up("a.txt/../../"),
        format!("//{secret}"),
        format!("/{secret}"),
        format!("/{encoded}"),
        format!("/%2f{}", &secret[1..]),
        "/.git%2fconfig".to_owned(),
        "/%2egit/config".to_owned(),
        "/a.txt/../.env".to_owned(),
        "/.env%00.txt".to_owned(),
        "/a.txt%00".to_owned(),
        "/a.txt%".to_owned(),
        "/%".to_owned(),
        "/a.txt/".to_owned(),
    ];
    let identity = files.authority.identity("client");
    for target in targets {
        let request = format!("GET {target} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n");
        let read = raw(files.address, &identity, request.as_bytes()).await;
        let statuses = statuses(&read);
        assert!(
            matches!(statuses.as_slice(), [400 | 404]),
            "{target}: {read}"
        );
        assert!(
            !read.contains("the secret") && !read.contains("inside"),
            "{target}: {read}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_files_are_there_after_a_hangup_and_the_old_ones_till_then() {
    let mut files = Files::start(|root| fs::write(root.join("a.txt"), "old").unwrap());
    files.web.line("the static files are read");
    files.web.forget();
    fs::write(files.root.path().join("a.txt"), "new").unwrap();
    let mut client = files.client().await;
    assert_eq!(client.get("/a.txt", &[]).await.text(), "old");
    files.web.signal(Signal::SIGHUP);
    files.web.line("the static files are read");
    crate::until("the new file", || async {
        files.client().await.get("/a.txt", &[]).await.text() == "new"
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plain_text_is_sent_to_https() {
    let authority = Authority::new();
    let start = web()
        .tls(&authority.issue(HOST))
        .arg("--redirect", "127.0.0.1:0");
    let mut web = start.arg("--host", HOST).start();
    let address = web.address("redirect");
    let mut client = Client::plain(address).await;
    let moved = client.get("/a?b=c", &[]).await;
    assert_eq!(moved.status, 308);
    assert_eq!(moved.header("location"), format!("https://{HOST}/a?b=c"));
    assert_eq!(moved.header("strict-transport-security"), "");
    assert_eq!(client.get("/healthz", &[]).await.status, 200);
    assert_eq!(client.get("/readyz", &[]).await.status, 200);

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: evil.com\r\n\r\n")
        .await
        .unwrap();
    let mut read = String::new();
    crate::soon("an answer", stream.read_to_string(&mut read))
        .await
        .unwrap();
    assert_eq!(statuses(&read), [421]);
    assert!(!read.contains("evil.com"));
}
