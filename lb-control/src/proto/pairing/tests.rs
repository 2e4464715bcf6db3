//! Tokens, invitations and messages, good and bad.

use super::*;
use crate::proto::mutation::{nearly, nearly_json};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;
use sha2::Digest as _;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

fn secret(byte: u8) -> OneTimeSecret {
    OneTimeSecret::new([byte; OneTimeSecret::LEN])
}

fn token() -> Token {
    Token {
        addresses: ["192.0.2.2:4786", "[2001:db8::2]:4786"]
            .map(|text| text.parse::<SocketAddr>().unwrap())
            .to_vec(),
        secret: secret(7),
        certificate: b"a certificate".to_vec(),
    }
}

#[test]
fn a_token_says_what_it_was_made_of() {
    let line = token().encode();
    assert!(line.starts_with("headgate1."), "{line}");
    assert!(!line.contains(char::is_whitespace), "{line}");
    let read = Token::decode(&format!(" {line}\n")).unwrap();
    assert_eq!(read.addresses, token().addresses);
    assert!(read.secret.is(&secret(7)));
    assert_eq!(read.certificate, b"a certificate");
}

#[test]
fn bad_tokens_are_told_from_each_other() {
    let line = token().encode();
    for len in "headgate1.".len()..line.len() {
        let cut = Token::decode(&line[..len]).unwrap_err();
        assert_eq!(cut, TokenError::Damaged, "{len}");
    }
    let version = Token::decode(&line.replace("headgate1.", "headgate2.")).unwrap_err();
    let message = version.to_string();
    assert!(
        message.contains("headgate2; this is headgate1"),
        "{message}"
    );
    for foreign in [
        "",
        "garbage",
        "headgate",
        "a.b",
        "headgatex.1",
        "headgate12345.",
    ] {
        let error = Token::decode(foreign).unwrap_err();
        assert_eq!(error, TokenError::Foreign, "{foreign}");
    }
    for damaged in [
        "headgate1.",
        "headgate1.ä",
        "headgate1.AAAA",
        "headgate1.A A",
    ] {
        let error = Token::decode(damaged).unwrap_err();
        assert_eq!(error, TokenError::Damaged, "{damaged}");
    }
}

#[test]
fn secrets_are_not_shown() {
    let request = Request {
        secret: secret(0xab),
        certificate: Vec::new(),
        version: "1".to_owned(),
    };
    let welcome = Answer::Welcome(PairSecret([0xabab; 2]));
    let shown = format!("{:?} {request:?} {welcome:?}", token());
    assert!(shown.contains("(..)"), "{shown}");
    for digits in ["171", "43947", "ab, ab", "7, 7"] {
        assert!(!shown.contains(digits), "{shown}");
    }
}

#[test]
fn an_invitation_is_for_one() {
    let start = Instant::now();
    let mut invitation = Invitation::new(secret(1), start);
    assert_eq!(invitation.left(start), Some(LIFETIME));
    assert_eq!(invitation.accept(&secret(1), start), Ok(()));
    assert_eq!(invitation.left(start), None);
    let again = invitation.accept(&secret(1), start);
    assert_eq!(again, Err(Refusal::Expired));
}

#[test]
fn an_invitation_ends() {
    let start = Instant::now();
    let mut invitation = Invitation::new(secret(1), start);
    let last = start + LIFETIME - Duration::from_nanos(1);
    assert_eq!(invitation.left(last), Some(Duration::from_nanos(1)));
    assert_eq!(
        invitation.accept(&secret(1), start + LIFETIME),
        Err(Refusal::Expired)
    );
    assert_eq!(invitation.accept(&secret(1), last), Ok(()));
}

#[test]
fn wrong_attempts_do_not_end_an_invitation() {
    let start = Instant::now();
    let mut invitation = Invitation::new(secret(1), start);
    let mut nearly = [1; OneTimeSecret::LEN];
    nearly[31] = 2;
    for _ in 0..1_000 {
        let wrong = invitation.accept(&OneTimeSecret::new(nearly), start);
        assert_eq!(wrong, Err(Refusal::Wrong));
    }
    assert_eq!(invitation.left(start), Some(LIFETIME));
    assert_eq!(invitation.accept(&secret(1), start), Ok(()));
}

#[test]
fn messages_are_read_as_they_were_written() {
    let request = Request {
        secret: secret(3),
        certificate: vec![1, 2, 3],
        version: "0.1.0".to_owned(),
    };
    let read = Request::decode(&request.encode()).unwrap();
    assert!(read.secret.is(&request.secret));
    assert_eq!(
        (read.certificate, read.version),
        (vec![1, 2, 3], "0.1.0".to_owned())
    );
    for answer in [
        Answer::Welcome(PairSecret([1, u64::MAX])),
        Answer::Refused("no".to_owned()),
    ] {
        assert_eq!(Answer::decode(&answer.encode()).unwrap(), answer);
    }
    // Of a later release.
    let more = br#"{"secret":"x","certificate":"","version":"9","more":1}"#;
    let error = Request::decode(more).unwrap_err().to_string();
    assert!(error.contains("secret is not 32 bytes"), "{error}");
}

/// What release 0.1 writes: others must read it.
#[test]
fn messages_are_written_as_they_were() {
    let secret_of_threes = "AwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwM";
    let request = Request {
        secret: secret(3),
        certificate: vec![1, 2, 3],
        version: "0.1.0".to_owned(),
    };
    let written =
        format!(r#"{{"secret":"{secret_of_threes}","certificate":"AQID","version":"0.1.0"}}"#);
    assert_eq!(String::from_utf8(request.encode()).unwrap(), written);
    for (answer, written) in [
        (
            Answer::Welcome(PairSecret([1, u64::MAX])),
            r#"{"secret":"AQAAAAAAAAD__________w"}"#,
        ),
        (Answer::Refused("no".to_owned()), r#"{"refused":"no"}"#),
    ] {
        assert_eq!(String::from_utf8(answer.encode()).unwrap(), written);
        assert_eq!(Answer::decode(written.as_bytes()).unwrap(), answer);
    }
}

fn requests() -> Vec<Vec<u8>> {
    let request = |length| Request {
        secret: secret(3),
        certificate: vec![1; length],
        version: "0.1.0".to_owned(),
    };
    [0, 1, 600].map(|length| request(length).encode()).into()
}

fn answers() -> Vec<Vec<u8>> {
    let answers = [
        Answer::Welcome(PairSecret([1, u64::MAX])),
        Answer::Refused("no".to_owned()),
    ];
    answers.map(|answer| answer.encode()).into()
}

fn values(texts: &[Vec<u8>]) -> Vec<serde_json::Value> {
    let parse = |text: &Vec<u8>| serde_json::from_slice(text).unwrap();
    texts.iter().map(parse).collect()
}

fn check_messages(bytes: &[u8]) -> Result<(), TestCaseError> {
    if let Ok(request) = Request::decode(bytes) {
        let again = Request::decode(&request.encode()).unwrap();
        prop_assert!(again.secret.is(&request.secret));
        prop_assert_eq!(again.certificate, request.certificate);
        prop_assert_eq!(again.version, request.version);
    }
    if let Ok(answer) = Answer::decode(bytes) {
        prop_assert_eq!(Answer::decode(&answer.encode()).unwrap(), answer);
    }
    Ok(())
}

/// What a token holds, without its checksum.
fn held(token: &Token) -> Vec<u8> {
    let line = token.encode();
    let bytes = URL_SAFE_NO_PAD.decode(line.trim_start_matches("headgate1."));
    let mut bytes = bytes.unwrap();
    bytes.truncate(bytes.len() - 4);
    bytes
}

proptest! {
    #[test]
    fn messages_that_are_nearly_right_are_refused_or_mean_something(
        bytes in nearly([requests(), answers()].concat()),
        value in nearly_json(values(&[requests(), answers()].concat())),
    ) {
        check_messages(&bytes)?;
        check_messages(value.to_string().as_bytes())?;
    }

    #[test]
    fn tokens_that_are_nearly_right_are_refused_or_mean_something(bytes in nearly(vec![held(&token())])) {
        let sum = sha2::Sha256::digest(&bytes);
        let whole = [&bytes, &sum[..4]].concat();
        let line = format!("headgate1.{}", URL_SAFE_NO_PAD.encode(whole));
        if let Ok(token) = Token::decode(&line) {
            prop_assert_eq!(token.encode(), line);
            prop_assert!((1..=8).contains(&token.addresses.len()));
        }
    }

    #[test]
    fn garbage_is_refused(bytes: Vec<u8>, text: String) {
        let _ = Token::decode(&text);
        let _ = Token::decode(&format!("headgate1.{text}"));
        let _ = Request::decode(&bytes);
        let _ = Answer::decode(&bytes);
    }

    #[test]
    fn no_character_of_a_token_may_change(at in 10_usize.., with in "[A-Za-z0-9_-]") {
        let mut line = token().encode();
        let at = 10 + at % (line.len() - 10);
        let changes = line[at..=at] != with;
        line.replace_range(at..=at, &with);
        prop_assert_eq!(Token::decode(&line).err(), changes.then_some(TokenError::Damaged));
    }
}
