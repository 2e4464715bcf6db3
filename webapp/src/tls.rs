//! TLS: who this server is, and whom it believes.
//!
//! Between the tiers both sides show a certificate of one private authority. What is loaded is
//! looked up anew in each handshake, so a renewed certificate, or another authority, holds from
//! the next connection on.

mod files;
mod peers;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use arc_swap::ArcSwap;
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::CertificateDer;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, ServerConfig, SignatureScheme};
use tokio::signal::unix::{SignalKind, signal};
use tokio_rustls::rustls;

use files::{Loaded, Stamp};
use peers::Peers;

/// HTTP/1.1 and HTTP/2, as they are agreed on in a handshake (RFC 7301, RFC 9113).
pub const HTTP_1_1: &[u8] = b"http/1.1";
/// See [`HTTP_1_1`].
pub const HTTP_2: &[u8] = b"h2";

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Where an identity is kept, each file in PEM.
#[derive(Clone, Debug)]
pub struct Files {
    /// The certificate, and those that lead from it to its authority.
    pub cert: PathBuf,
    /// The private key.
    pub key: PathBuf,
    /// The authorities that peers must descend from.
    pub ca: PathBuf,
}

/// Which clients a server admits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clients {
    /// All of them; none is asked for a certificate.
    Anyone,
    /// Those that show a certificate of the authority.
    Verified,
}

/// A certificate chain, its key, and the authority that peers must descend from.
///
/// Cheap to clone; all clones and all that was made from them follow a reload.
#[derive(Clone, Debug)]
pub struct Identity {
    current: Arc<Current>,
}

/// What holds now, and where the next comes from.
#[derive(Debug)]
struct Current {
    source: Source,
    loaded: ArcSwap<Loaded>,
}

/// The files of an identity. One that only serves the public needs no authority.
#[derive(Clone, Debug)]
struct Source {
    cert: PathBuf,
    key: PathBuf,
    ca: Option<PathBuf>,
}

impl Identity {
    /// Reads an identity of one of the tiers.
    ///
    /// # Errors
    ///
    /// If a file cannot be read, or the key is not the certificate's.
    pub fn load(files: &Files) -> Result<Self> {
        Self::read(Source {
            cert: files.cert.clone(),
            key: files.key.clone(),
            ca: Some(files.ca.clone()),
        })
    }

    /// Reads an identity that is shown to the public. It believes nobody: a client of it, or a
    /// server that wants verified clients, refuses every peer.
    ///
    /// # Errors
    ///
    /// As [`Identity::load`].
    pub fn load_public(cert: PathBuf, key: PathBuf) -> Result<Self> {
        let ca = None;
        Self::read(Source { cert, key, ca })
    }

    fn read(source: Source) -> Result<Self> {
        let loaded = ArcSwap::from_pointee(source.load()?);
        let current = Arc::new(Current { source, loaded });
        Ok(Self { current })
    }

    /// How this identity serves.
    ///
    /// # Panics
    ///
    /// Never: ring has all that the versions of TLS need.
    #[must_use]
    pub fn server(&self, clients: Clients, alpn: &[&[u8]]) -> Arc<ServerConfig> {
        let builder = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("ring serves the default versions");
        let builder = match clients {
            Clients::Anyone => builder.with_no_client_auth(),
            Clients::Verified => builder.with_client_cert_verifier(self.peers()),
        };
        let mut config = builder.with_cert_resolver(Arc::clone(&self.current) as _);
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        config.send_tls13_tickets = 0;
        match clients {
            // A resumed session would pass by the verifier, and so outlive its certificate.
            Clients::Verified => config.session_storage = Arc::new(NoServerSessionStorage {}),
            // Without tickets every connection is a full handshake, which is slower and no less
            // right: so the system's lack of random bytes is no reason not to serve.
            Clients::Anyone => {
                if let Ok(ticketer) = ring::Ticketer::new() {
                    config.ticketer = ticketer;
                    config.send_tls13_tickets = 1;
                }
            }
        }
        Arc::new(config)
    }

    /// How this identity connects: it shows its certificate, and wants one from the server that is
    /// the authority's and has the server's name.
    ///
    /// # Panics
    ///
    /// Never: as [`Identity::server`].
    #[must_use]
    pub fn client(&self, alpn: &[&[u8]]) -> Arc<ClientConfig> {
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("ring serves the default versions")
            .dangerous() // The verifier is rustls's own, found anew in each handshake.
            .with_custom_certificate_verifier(self.peers())
            .with_client_cert_resolver(Arc::clone(&self.current) as _);
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        config.resumption = Resumption::disabled();
        Arc::new(config)
    }

    fn peers(&self) -> Arc<Peers> {
        let current = Arc::clone(&self.current);
        Arc::new(Peers { current })
    }

    /// Reads the files again.
    ///
    /// # Errors
    ///
    /// As [`Identity::load`]; what was loaded before still holds.
    pub fn reload(&self) -> Result<()> {
        let loaded = self.current.source.load()?;
        self.current.loaded.store(Arc::new(loaded));
        Ok(())
    }

    /// Reloads on SIGHUP, and when a file has changed. Never returns.
    pub async fn watch(self) {
        let mut hangups = signal(SignalKind::hangup()).ok();
        let mut seen = self.current.loaded.load().stamp.clone();
        loop {
            let asked = tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => false,
                // A system without signals is asked through the files alone.
                () = async {
                    match &mut hangups {
                        Some(hangups) => drop(hangups.recv().await),
                        None => std::future::pending().await,
                    }
                } => true,
            };
            let stamp = self.stamp().await;
            // A half-renewed pair fails here, and is read again when its other half changes.
            if asked || stamp != seen {
                seen = stamp;
                self.reload_and_say();
            }
        }
    }

    async fn stamp(&self) -> Stamp {
        let source = self.current.source.clone();
        let stamp = tokio::task::spawn_blocking(move || source.stamp()).await;
        stamp.unwrap_or_default()
    }

    fn reload_and_say(&self) {
        let cert = self.current.source.cert.display();
        match self.reload() {
            Ok(()) => tracing::info!(%cert, "the certificate was read again"),
            Err(error) => {
                let error = format!("{error:#}");
                tracing::warn!(%cert, error, "the certificate stays as it was");
            }
        }
    }
}

impl Source {
    fn load(&self) -> Result<Loaded> {
        // Before they are read: what changes meanwhile is then read again.
        let stamp = self.stamp();
        Loaded::read(
            &self.cert,
            &self.key,
            self.ca.as_deref(),
            stamp,
            &provider(),
        )
        .with_context(|| format!("failed to load the identity {}", self.cert.display()))
    }

    fn stamp(&self) -> Stamp {
        Stamp::of([&self.cert, &self.key].into_iter().chain(&self.ca))
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.loaded.load().certified))
    }
}

impl ResolvesClientCert for Current {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.loaded.load().certified))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// The first name for which a certificate is good, if it has one.
#[must_use]
pub fn name_of(certificate: &CertificateDer<'_>) -> Option<String> {
    let certificate = webpki::EndEntityCert::try_from(certificate).ok()?;
    certificate.valid_dns_names().next().map(str::to_owned)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}
