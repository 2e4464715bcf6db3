//! What a request for a file gets, whatever it asks for.

use std::fs;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::header::{ACCEPT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, HeaderValue, RANGE};
use hyper::{HeaderMap, Method};
use proptest::prelude::*;

use super::{Asset, Assets, Entry, Keeping};

const CONTENT: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyz";

/// The same content in memory and in a file.
fn both() -> (tempfile::TempDir, [Assets; 2]) {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("a.txt"), CONTENT).unwrap();
    let read = |in_memory| Assets::read(root.path(), Keeping { in_memory }).unwrap();
    let assets = [read(1000), read(0)];
    (root, assets)
}

fn asset(assets: &Assets) -> &Asset {
    match &assets.entries["a.txt"] {
        Entry::File(asset) => asset,
        Entry::Directory => panic!("it is a file"),
    }
}

/// Status, headers and body of an answer.
fn asked(asset: &Asset, fields: &[(hyper::header::HeaderName, &str)]) -> (u16, HeaderMap, Bytes) {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(name, HeaderValue::from_str(value).unwrap());
    }
    let response = asset.answer(&Method::GET, &headers);
    let (parts, body) = response.into_parts();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let body = runtime.block_on(body.collect()).unwrap().to_bytes();
    (parts.status.as_u16(), parts.headers, body)
}

#[test]
fn what_is_in_memory_and_what_is_not_is_told_apart() {
    let (_root, [memory, file]) = both();
    assert_eq!((memory.len(), memory.memory()), (1, CONTENT.len()));
    assert_eq!((file.len(), file.memory()), (1, 0));
    for assets in [&memory, &file] {
        let (status, _, body) = asked(asset(assets), &[]);
        assert_eq!((status, &body[..]), (200, CONTENT));
    }
}

#[test]
fn a_file_that_is_replaced_is_served_as_it_was() {
    let (root, [_, file]) = both();
    let path = root.path().join("a.txt");
    fs::write(root.path().join("b.txt"), "other").unwrap();
    fs::rename(root.path().join("b.txt"), &path).unwrap();
    assert_eq!(&asked(asset(&file), &[]).2[..], CONTENT);
}

proptest! {
    /// One part is the bytes that its header says, and as many as its length says.
    #[test]
    fn one_part_is_what_it_says(first in 0usize..60, length in 0usize..60, kind in 0..3) {
        let (_root, assets) = both();
        let last = first + length;
        let field = match kind {
            0 => format!("bytes={first}-{last}"),
            1 => format!("bytes={first}-"),
            _ => format!("bytes=-{length}"),
        };
        let total = CONTENT.len();
        let expected = match kind {
            0 => first..(last + 1).min(total),
            1 => first..total,
            _ => total - length.min(total)..total,
        };
        for assets in &assets {
            let (status, headers, body) = asked(asset(assets), &[(RANGE, &field)]);
            if expected.start >= expected.end {
                prop_assert_eq!(status, 416);
                prop_assert_eq!(&headers[CONTENT_RANGE], &format!("bytes */{total}"));
            } else {
                prop_assert_eq!(status, 206);
                prop_assert_eq!(&body[..], &CONTENT[expected.clone()]);
                prop_assert_eq!(&headers[CONTENT_LENGTH], &expected.len().to_string());
                let told = format!("bytes {}-{}/{total}", expected.start, expected.end - 1);
                prop_assert_eq!(&headers[CONTENT_RANGE], &told);
            }
        }
    }

    /// Nothing that a client may send makes an answer whose length is not that of its body.
    #[test]
    fn a_length_is_always_that_of_the_body(
        range in "bytes=[0-9,\\- ]{0,20}",
        accepted in "(br|gzip|zstd|\\*|identity|;q=0|,| ){0,6}",
    ) {
        let (_root, assets) = both();
        for assets in &assets {
            let fields = [(RANGE, range.as_str()), (ACCEPT_ENCODING, accepted.as_str())];
            let (status, headers, body) = asked(asset(assets), &fields);
            prop_assert!(matches!(status, 200 | 206 | 416), "{}", status);
            if let Some(length) = headers.get(CONTENT_LENGTH) {
                prop_assert_eq!(length, &body.len().to_string());
            }
        }
    }
}
