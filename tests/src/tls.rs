//! The client's side of TLS: whom to believe, and a stream.

use std::io;
use std::net::{IpAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::pki::Files;

/// Whose certificates a client believes.
#[derive(Debug, Clone)]
pub struct Trust(Arc<ClientConfig>);

impl Trust {
    /// Trust in the authority with this certificate, and nobody else.
    pub fn in_authority(ca: &Path) -> Result<Self> {
        let config = builder(ca)?.with_no_client_auth();
        Ok(Self(Arc::new(config)))
    }

    /// The same for a client that shows a certificate of its own.
    pub fn as_owner_of(files: &Files) -> Result<Self> {
        let missing = || format!("failed to read {}", files.cert.display());
        let certificates = CertificateDer::pem_file_iter(&files.cert)
            .and_then(Iterator::collect)
            .with_context(missing)?;
        let key = PrivateKeyDer::from_pem_file(&files.key)
            .with_context(|| format!("failed to read {}", files.key.display()))?;
        let config = builder(&files.ca)?.with_client_auth_cert(certificates, key)?;
        Ok(Self(Arc::new(config)))
    }

    pub(crate) fn config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.0)
    }

    /// Speaks TLS over a connection to a server that must be `host`.
    pub(crate) fn connect(
        &self,
        host: &str,
        tcp: TcpStream,
    ) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
        let name = match host.parse::<IpAddr>() {
            Ok(address) => Ok(ServerName::from(address)),
            Err(_) => ServerName::try_from(host.to_owned()),
        };
        let name = name.map_err(io::Error::other)?;
        let client = ClientConnection::new(self.config(), name).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(client, tcp);
        // A server that nobody should believe is an error here, and not when it is asked.
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(stream)
    }
}

type Builder = rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert>;

fn builder(ca: &Path) -> Result<Builder> {
    let failed = || format!("failed to read {}", ca.display());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca).with_context(failed)? {
        roots.add(certificate.with_context(failed)?)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(builder.with_root_certificates(roots))
}
