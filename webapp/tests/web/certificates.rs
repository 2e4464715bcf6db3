//! A private authority, and certificates of it in files.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
};
use tempfile::TempDir;
use webapp::tls::{Files, Identity};

static NUMBER: AtomicUsize = AtomicUsize::new(0);

/// Issues certificates, and keeps them in a directory of its own.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    directory: TempDir,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // No two have the same name: a certificate of another one is then of an unknown issuer.
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("Private authority {number}");
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let issuer = CertifiedIssuer::self_signed(params, key).unwrap();
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("ca.pem"), issuer.as_ref().pem()).unwrap();
        Self { issuer, directory }
    }

    /// The certificate of the authority itself.
    pub(crate) fn ca(&self) -> PathBuf {
        self.path("ca.pem")
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    fn path(&self, file: &str) -> PathBuf {
        self.directory.path().join(file)
    }

    /// A certificate for a name; an earlier one of that name is replaced.
    pub(crate) fn issue(&self, name: &str) -> Files {
        self.issue_with(name, name, |_| ())
    }

    /// One whose time is over.
    pub(crate) fn issue_expired(&self, name: &str) -> Files {
        self.issue_with(&format!("{name}-expired"), name, |params| {
            params.not_before = date_time_ymd(2019, 1, 1);
            params.not_after = date_time_ymd(2020, 1, 1);
        })
    }

    fn issue_with(
        &self,
        file: &str,
        name: &str,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Files {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let files = Files {
            cert: self.path(&format!("{file}.pem")),
            key: self.path(&format!("{file}.key")),
            ca: self.ca(),
        };
        fs::write(&files.cert, certificate.pem()).unwrap();
        fs::write(&files.key, key.serialize_pem()).unwrap();
        files
    }

    pub(crate) fn identity(&self, name: &str) -> Identity {
        Identity::load(&self.issue(name)).unwrap()
    }
}
