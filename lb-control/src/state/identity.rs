//! Who this host is to the other one of a pair, and who the other one is: certificates (RFC 5280)
//! that sign themselves, and the key of this host's own.
//!
//! In the directory `pair` of the state directory: `key.pem`, `cert.pem`, and `peer.pem`, which is
//! there once the two are paired.

mod expiry;
#[cfg(test)]
mod tests;

pub use expiry::expiry;

use super::Replacement;
use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CertificateParams, DistinguishedName, DnType, IsCa, KeyPair, PKCS_ECDSA_P256_SHA256};
use sha2::{Digest as _, Sha256};
use std::fmt::{self, Write as _};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::sign::CertifiedKey;

/// The name in every certificate of a pair. Which host it is, the key tells.
pub const NAME: &str = "headgate-pair";

const DIRECTORY: &str = "pair";
const KEY: &str = "key.pem";
const CERTIFICATE: &str = "cert.pem";
const PEER: &str = "peer.pem";

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Before its beginning a certificate is refused: hosts whose clocks differ must be able to pair.
const VALID_SINCE: Duration = DAY;
const VALID_FOR: Duration = DAY.saturating_mul(10 * 365);

/// A host's certificate, and the key to it.
#[derive(Clone)]
pub struct Identity {
    certified: Arc<CertifiedKey>,
    certificate: CertificateDer<'static>,
}

impl Identity {
    /// This host's: made when it is asked for the first time, then kept.
    ///
    /// # Errors
    ///
    /// If it cannot be read or made, or the two files do not belong together.
    pub fn load_or_create(state_dir: &Path) -> Result<Self> {
        let directory = directory(state_dir);
        let (key, certificate) = (key_file(state_dir), directory.join(CERTIFICATE));
        // It is written last: without it, nobody knows the key yet.
        let Some(found) = read(&certificate)? else {
            return Self::create(&directory);
        };
        let again = "remove all of the directory to make new ones, and pair the hosts again";
        let found = parse_certificate(&found).with_context(|| damaged(&certificate, again))?;
        let pem = read(&key)?
            .with_context(|| format!("{} is missing: restore it, or {again}", key.display()))?;
        let secret = PrivateKeyDer::from_pem_slice(&pem).with_context(|| damaged(&key, again))?;
        Self::new(found, secret).with_context(|| {
            let (key, certificate) = (key.display(), certificate.display());
            format!("{key} is not the key to {certificate}: restore them, or {again}")
        })
    }

    fn create(directory: &Path) -> Result<Self> {
        let now = SystemTime::now();
        let (certificate, key) = make(now - VALID_SINCE, now + VALID_FOR)
            .context("failed to make this host's certificate")?;
        super::replace(directory, KEY, key.serialize_pem().as_bytes())?;
        super::replace(directory, CERTIFICATE, pem(&certificate).as_bytes())?;
        Self::new(certificate, key.into())
    }

    fn new(certificate: CertificateDer<'static>, key: PrivateKeyDer<'static>) -> Result<Self> {
        let chain = vec![certificate.clone()];
        let certified = CertifiedKey::from_der(chain, key, &ring::default_provider())?;
        Ok(Self {
            certified: Arc::new(certified),
            certificate,
        })
    }

    /// One that is valid at other times, and kept nowhere.
    #[cfg(test)]
    pub(crate) fn valid(since: SystemTime, until: SystemTime) -> Self {
        let (certificate, key) = make(since, until).expect("a certificate");
        Self::new(certificate, key.into()).expect("an identity")
    }

    /// The certificate alone, which is no secret.
    #[must_use]
    pub const fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// The certificate with its key, as TLS needs it.
    pub(crate) fn certified(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.certified)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("fingerprint", &fingerprint(&self.certificate))
            .finish_non_exhaustive()
    }
}

/// Where all of this is kept.
pub(super) fn directory(state_dir: &Path) -> PathBuf {
    state_dir.join(DIRECTORY)
}

/// Where this host's key is kept.
pub(super) fn key_file(state_dir: &Path) -> PathBuf {
    directory(state_dir).join(KEY)
}

/// The certificate of the other host, if this one is paired.
///
/// # Errors
///
/// If it cannot be read, or is damaged.
pub fn load_peer(state_dir: &Path) -> Result<Option<CertificateDer<'static>>> {
    let path = directory(state_dir).join(PEER);
    let Some(pem) = read(&path)? else {
        return Ok(None);
    };
    let again = "remove it, and pair the hosts again";
    let certificate = parse_certificate(&pem).with_context(|| damaged(&path, again))?;
    Ok(Some(certificate))
}

/// Puts this certificate in the place of the other host's.
pub(super) fn prepare_peer(
    state_dir: &Path,
    certificate: &CertificateDer<'_>,
) -> Result<Replacement> {
    anchor(certificate)?;
    let pem = pem(certificate);
    Replacement::prepare(&directory(state_dir), PEER, pem.as_bytes())
}

/// From now on, there is no other host.
///
/// # Errors
///
/// If the certificate is there and cannot be removed.
pub fn forget_peer(state_dir: &Path) -> Result<()> {
    let path = directory(state_dir).join(PEER);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("failed to remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// What a certificate is told from others by: SHA-256 of all of it, in hexadecimal.
#[must_use]
pub fn fingerprint(certificate: &CertificateDer<'_>) -> String {
    let mut text = String::new();
    for byte in Sha256::digest(certificate) {
        // A string takes everything.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Trust in this certificate, and in no other.
///
/// # Errors
///
/// If it is no certificate.
pub(crate) fn anchor(certificate: &CertificateDer<'_>) -> Result<RootCertStore> {
    let mut anchors = RootCertStore::empty();
    anchors.add(certificate.clone().into_owned())?;
    Ok(anchors)
}

fn make(since: SystemTime, until: SystemTime) -> Result<(CertificateDer<'static>, KeyPair)> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = CertificateParams::new(vec![NAME.to_owned()])?;
    params.is_ca = IsCa::NoCa;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, NAME);
    params.not_before = since.into();
    params.not_after = until.into();
    let certificate = params.self_signed(&key)?;
    Ok((certificate.der().clone(), key))
}

fn read(path: &PathBuf) -> Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("failed to read {}", path.display())),
    }
}

fn damaged(path: &Path, advice: &str) -> String {
    format!("{} is damaged: restore it, or {advice}", path.display())
}

fn parse_certificate(pem: &[u8]) -> Result<CertificateDer<'static>> {
    let certificates = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>()?;
    ensure!(
        certificates.len() == 1,
        "there are {} certificates in it, and it must be one",
        certificates.len()
    );
    let certificate = certificates.into_iter().next().context("no certificate")?;
    anchor(&certificate)?;
    Ok(certificate)
}

/// RFC 7468.
fn pem(certificate: &CertificateDer<'_>) -> String {
    const LINE: usize = 64;
    let mut text = "-----BEGIN CERTIFICATE-----\n".to_owned();
    for (index, character) in STANDARD.encode(certificate).chars().enumerate() {
        if index > 0 && index % LINE == 0 {
            text.push('\n');
        }
        text.push(character);
    }
    text.push_str("\n-----END CERTIFICATE-----\n");
    text
}
