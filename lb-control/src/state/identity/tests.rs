//! What is kept, and what is said when it is not what was kept.

use super::*;
use crate::state::save_peer;
use proptest::prelude::*;
use std::os::unix::fs::PermissionsExt as _;

fn error<T>(result: Result<T>) -> String {
    match result {
        Ok(_) => panic!("it was taken"),
        Err(error) => format!("{error:#}"),
    }
}

#[test]
fn the_identity_stays_the_same_and_its_key_is_nobody_elses() {
    let directory = tempfile::tempdir().unwrap();
    let state_dir = directory.path().join("state");
    let made = Identity::load_or_create(&state_dir).unwrap();
    let loaded = Identity::load_or_create(&state_dir).unwrap();
    assert_eq!(made.certificate(), loaded.certificate());
    let metadata = fs::metadata(state_dir.join("pair/key.pem")).unwrap();
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    let other = tempfile::tempdir().unwrap();
    let other = Identity::load_or_create(other.path()).unwrap();
    assert_ne!(other.certificate(), made.certificate());
    let text = format!("{made:?}");
    assert!(text.contains(&fingerprint(made.certificate())), "{text}");
    assert!(!text.contains("key"), "{text}");
}

#[test]
fn files_that_do_not_fit_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let load = || Identity::load_or_create(directory.path());
    load().unwrap();
    let (key, certificate) = (
        directory.path().join("pair/key.pem"),
        directory.path().join("pair/cert.pem"),
    );
    let good = fs::read(&key).unwrap();
    fs::write(&key, "garbage").unwrap();
    let message = error(load());
    assert!(message.contains("key.pem is damaged"), "{message}");
    fs::remove_file(&key).unwrap();
    let message = error(load());
    assert!(message.contains("key.pem is missing"), "{message}");
    let other = KeyPair::generate().unwrap().serialize_pem();
    fs::write(&key, other).unwrap();
    let message = error(load());
    assert!(message.contains("is not the key to"), "{message}");
    fs::write(&key, good).unwrap();
    let whole = fs::read(&certificate).unwrap();
    fs::write(&certificate, &whole[..whole.len() / 2]).unwrap();
    let message = error(load());
    assert!(message.contains("cert.pem is damaged"), "{message}");
    fs::write(&certificate, whole).unwrap();
    load().unwrap();
    // Nobody knew that key yet: lbd died before the certificate was written.
    fs::remove_file(&certificate).unwrap();
    load().unwrap();
}

#[test]
fn the_peer_is_kept_until_it_is_forgotten() {
    let directory = tempfile::tempdir().unwrap();
    let state_dir = directory.path();
    assert_eq!(load_peer(state_dir).unwrap(), None);
    let other = tempfile::tempdir().unwrap();
    let other = Identity::load_or_create(other.path()).unwrap();
    save_peer(state_dir, other.certificate(), None).unwrap();
    let peer = load_peer(state_dir).unwrap();
    assert_eq!(peer.as_ref(), Some(other.certificate()));
    assert!(save_peer(state_dir, &CertificateDer::from(vec![1, 2, 3]), None).is_err());
    assert_eq!(load_peer(state_dir).unwrap(), peer);
    let path = state_dir.join("pair/peer.pem");
    let pem = fs::read(&path).unwrap();
    fs::write(&path, [pem.clone(), pem].concat()).unwrap();
    let message = error(load_peer(state_dir));
    assert!(message.contains("peer.pem is damaged"), "{message}");
    assert!(message.contains("2 certificates"), "{message}");
    forget_peer(state_dir).unwrap();
    forget_peer(state_dir).unwrap();
    assert_eq!(load_peer(state_dir).unwrap(), None);
}

#[test]
fn the_expiry_is_read_in_both_forms() {
    for until in ["2036-11-20T01:02:03Z", "2061-01-31T23:59:59Z"] {
        let until = humantime::parse_rfc3339(until).unwrap();
        let identity = Identity::valid(SystemTime::UNIX_EPOCH, until);
        assert_eq!(expiry(identity.certificate()), Some(until));
    }
}

proptest! {
    #[test]
    fn damaged_certificates_harm_nobody(at in any::<prop::sample::Index>(), byte: u8) {
        let identity = Identity::valid(SystemTime::UNIX_EPOCH, SystemTime::now());
        let mut der = identity.certificate().to_vec();
        *at.get_mut(&mut der) = byte;
        let _ = expiry(&der);
        let _ = anchor(&CertificateDer::from(der));
    }

    #[test]
    fn garbage_harms_nobody(bytes: Vec<u8>) {
        let _ = expiry(&bytes);
        let _ = anchor(&CertificateDer::from(bytes.clone()));
        let _ = parse_certificate(&bytes);
    }
}
