//! What is in the files of an identity.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::{Context as _, Result, ensure};
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::CertifiedKey;
use tokio_rustls::rustls;

/// An identity as it was read.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) certified: Arc<CertifiedKey>,
    pub(super) verifiers: Option<Verifiers>,
    pub(super) stamp: Stamp,
}

/// Who is believed.
#[derive(Debug)]
pub(super) struct Verifiers {
    pub(super) clients: Arc<dyn ClientCertVerifier>,
    pub(super) servers: Arc<dyn ServerCertVerifier>,
}

impl Loaded {
    pub(super) fn read(
        cert: &Path,
        key: &Path,
        ca: Option<&Path>,
        stamp: Stamp,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self> {
        let chain = certificates(cert)?;
        let private = PrivateKeyDer::from_pem_file(key)
            .with_context(|| format!("no private key could be read from {}", key.display()))?;
        let certified = CertifiedKey::from_der(chain, private, provider).with_context(|| {
            format!(
                "{} and {} do not belong together",
                cert.display(),
                key.display()
            )
        })?;
        let verifiers = ca.map(|ca| Verifiers::read(ca, provider)).transpose()?;
        Ok(Self {
            certified: Arc::new(certified),
            verifiers,
            stamp,
        })
    }
}

impl Verifiers {
    fn read(ca: &Path, provider: &Arc<CryptoProvider>) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(ca)? {
            roots
                .add(certificate)
                .with_context(|| format!("{} holds no authority", ca.display()))?;
        }
        let roots = Arc::new(roots);
        let clients =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(provider))
                .build()?;
        let servers =
            WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(provider)).build()?;
        Ok(Self { clients, servers })
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let read = CertificateDer::pem_file_iter(path).and_then(|found| found.collect());
    let found: Vec<_> =
        read.with_context(|| format!("no certificate could be read from {}", path.display()))?;
    ensure!(!found.is_empty(), "{} holds no certificate", path.display());
    Ok(found)
}

/// When and how large files were: another stamp, another content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Stamp(Vec<Option<(SystemTime, u64)>>);

impl Stamp {
    pub(super) fn of<'a>(paths: impl Iterator<Item = &'a PathBuf>) -> Self {
        let stamp = |path: &PathBuf| {
            let metadata = std::fs::metadata(path).ok()?;
            Some((metadata.modified().ok()?, metadata.len()))
        };
        Self(paths.map(stamp).collect())
    }
}
