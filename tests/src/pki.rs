//! A certificate authority of a lab's own, and the certificates by which its hosts know each other.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// An authority. What it issues is in its directory.
#[derive(Debug)]
pub struct Authority {
    directory: PathBuf,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// Where a certificate is, the key to it, and the authority that its owner trusts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// The certificate.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// The authority's certificate.
    pub ca: PathBuf,
}

impl Files {
    /// Those of `owner`, in an authority's directory.
    pub fn of(owner: &str, directory: &Path) -> Self {
        Self {
            cert: directory.join(format!("{owner}.pem")),
            key: directory.join(format!("{owner}.key")),
            ca: directory.join("ca.pem"),
        }
    }
}

/// When a certificate is good for something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validity {
    /// Since yesterday, for a year.
    Current,
    /// Until yesterday.
    Expired,
}

impl Authority {
    /// Makes an authority, and the directory for what it issues. Its own certificate is `ca.pem`.
    pub fn create(directory: &Path) -> Result<Self> {
        fs::create_dir(directory)
            .with_context(|| format!("failed to create {}", directory.display()))?;
        let mut params = params("Headgate lab authority", &[], Validity::Current)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)
            .context("failed to make the certificate of an authority")?;
        let authority = Self {
            directory: directory.to_owned(),
            issuer,
        };
        write(&authority.ca(), &authority.issuer.pem())?;
        Ok(authority)
    }

    /// Its own certificate.
    pub fn ca(&self) -> PathBuf {
        self.directory.join("ca.pem")
    }

    /// The files of whoever was issued a certificate as `owner`.
    pub fn files(&self, owner: &str) -> Files {
        Files::of(owner, &self.directory)
    }

    /// Issues a certificate for these host names and addresses, good for servers and for clients.
    pub fn issue(&self, owner: &str, names: &[&str]) -> Result<Files> {
        self.issue_for(owner, names, Validity::Current)
    }

    /// Like [`issue`](Self::issue), for a time. What the owner had before is replaced.
    pub fn issue_for(&self, owner: &str, names: &[&str], validity: Validity) -> Result<Files> {
        let mut params = params(owner, names, validity)?;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let key = KeyPair::generate()?;
        let certificate = params
            .signed_by(&key, &self.issuer)
            .with_context(|| format!("failed to make the certificate of {owner}"))?;
        let files = self.files(owner);
        write(&files.key, &key.serialize_pem())?;
        write(&files.cert, &certificate.pem())?;
        Ok(files)
    }
}

fn params(owner: &str, names: &[&str], validity: Validity) -> Result<CertificateParams> {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let mut params = CertificateParams::new(names).context("not a name for a certificate")?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, owner);
    let now = SystemTime::now();
    let (since, until) = match validity {
        Validity::Current => (now - DAY, now + 365 * DAY),
        Validity::Expired => (now - 2 * DAY, now - DAY),
    };
    params.not_before = since.into();
    params.not_after = until.into();
    Ok(params)
}

/// Replaces a file at once, so that whoever reads it meanwhile gets the old or the new one.
fn write(path: &Path, text: &str) -> Result<()> {
    let new = path.with_extension("new");
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .and_then(|()| fs::rename(&new, path));
    written.with_context(|| format!("failed to write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::Trust;
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use rustls::{ClientConnection, ServerConfig, ServerConnection};
    use std::sync::Arc;

    /// The outcome of a handshake between a client with this trust and a server with these files.
    fn handshake(trust: &Trust, name: &str, server: &Files) -> Result<(), rustls::Error> {
        let certificates = CertificateDer::pem_file_iter(&server.cert).unwrap();
        let certificates = certificates.collect::<Result<_, _>>().unwrap();
        let key = PrivateKeyDer::from_pem_file(&server.key).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(certificates, key)?;
        let mut server = ServerConnection::new(Arc::new(server))?;
        let name = name.to_owned().try_into().unwrap();
        let mut client = ClientConnection::new(trust.config(), name)?;
        let mut wire = Vec::new();
        while client.is_handshaking() || server.is_handshaking() {
            client.write_tls(&mut wire).unwrap();
            server.read_tls(&mut &wire[..]).unwrap();
            server.process_new_packets()?;
            wire.clear();
            server.write_tls(&mut wire).unwrap();
            client.read_tls(&mut &wire[..]).unwrap();
            client.process_new_packets()?;
            wire.clear();
        }
        Ok(())
    }

    #[test]
    fn what_an_authority_issues_is_good_for_its_name_and_its_time() {
        let directory = tempfile::tempdir().unwrap();
        let ours = Authority::create(&directory.path().join("ours")).unwrap();
        let others = Authority::create(&directory.path().join("others")).unwrap();
        let names = ["www.foobar.com", "10.0.2.11"];
        let web = ours.issue("web1", &names).unwrap();
        let trust = Trust::in_authority(&web.ca).unwrap();
        for name in names {
            handshake(&trust, name, &web).unwrap();
        }
        handshake(&trust, "www.example.net", &web).unwrap_err();

        let foreign = others.issue("web1", &names).unwrap();
        handshake(&trust, "www.foobar.com", &foreign).unwrap_err();

        let expired = ours.issue_for("web1", &names, Validity::Expired).unwrap();
        assert_eq!(expired, web, "the files are replaced");
        handshake(&trust, "www.foobar.com", &expired).unwrap_err();
    }
}
