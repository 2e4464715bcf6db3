//! TLS as the channel uses it: version 1.3 alone, a certificate on each side that is the only one
//! trusted by the other, no resumption. Whoever is connected has shown its key just now.

use crate::state::identity::{Identity, NAME, anchor};
use anyhow::Result;
use std::io;
use std::sync::Arc;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::server::{ClientHello, WebPkiClientVerifier};
use tokio_rustls::rustls::sign::SingleCertAndKey;
use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::rustls::{
    AlertDescription, CertificateError, ClientConfig, Error, ServerConfig, SupportedProtocolVersion,
};

/// The protocol (RFC 7301) of two hosts that are paired.
const PAIR: &[u8] = b"headgate-pair/1";

/// That of a host that wants to be.
const JOIN: &[u8] = b"headgate-join/1";

const VERSIONS: &[&SupportedProtocolVersion] = &[&TLS13];

/// What a client wants.
pub(super) enum Wanted {
    Pair,
    Join,
}

/// Trust in the peer.
#[derive(Clone)]
pub(super) struct Trust {
    pub(super) client: Arc<ClientConfig>,
    pub(super) server: Arc<ServerConfig>,
}

impl Trust {
    pub(super) fn new(identity: &Identity, peer: &CertificateDer<'_>) -> Result<Self> {
        let anchors = Arc::new(anchor(peer)?);
        let own = Arc::new(SingleCertAndKey::from(identity.certified()));
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&anchors), provider())
                .build()?;
        let mut server = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(VERSIONS)?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::clone(&own) as _);
        server.alpn_protocols = vec![PAIR.to_vec()];
        server.send_tls13_tickets = 0;
        let mut client = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(VERSIONS)?
            .with_root_certificates(anchors)
            .with_client_cert_resolver(own);
        client.alpn_protocols = vec![PAIR.to_vec()];
        client.resumption = Resumption::disabled();
        Ok(Self {
            client: Arc::new(client),
            server: Arc::new(server),
        })
    }
}

/// For a host that invites: it shows its certificate, and asks for none.
pub(super) fn inviting(identity: &Identity) -> Result<Arc<ServerConfig>> {
    let own = Arc::new(SingleCertAndKey::from(identity.certified()));
    let mut server = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(VERSIONS)?
        .with_no_client_auth()
        .with_cert_resolver(own);
    server.alpn_protocols = vec![JOIN.to_vec()];
    server.send_tls13_tickets = 0;
    Ok(Arc::new(server))
}

/// For a host that joins the one with this certificate.
pub(super) fn joining(inviting: &CertificateDer<'_>) -> Result<Arc<ClientConfig>> {
    let mut client = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(VERSIONS)?
        .with_root_certificates(anchor(inviting)?)
        .with_no_client_auth();
    client.alpn_protocols = vec![JOIN.to_vec()];
    client.resumption = Resumption::disabled();
    Ok(Arc::new(client))
}

/// Both hosts have the same name.
pub(super) fn name() -> io::Result<ServerName<'static>> {
    ServerName::try_from(NAME).map_err(io::Error::other)
}

pub(super) fn wanted(hello: &ClientHello<'_>) -> Option<Wanted> {
    hello.alpn()?.find_map(|protocol| match protocol {
        PAIR => Some(Wanted::Pair),
        JOIN => Some(Wanted::Join),
        _ => None,
    })
}

/// Random bytes that nobody can foretell.
pub(super) fn random<const LEN: usize>() -> Result<[u8; LEN]> {
    let mut bytes = [0; LEN];
    let filled = provider().secure_random.fill(&mut bytes);
    filled.map_err(|_| anyhow::anyhow!("the system gives no random bytes"))?;
    Ok(bytes)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// What went wrong, in an operator's words.
pub(super) fn explain(error: &io::Error) -> String {
    let tls = error.get_ref().and_then(|error| error.downcast_ref());
    match tls {
        Some(Error::InvalidCertificate(why)) => certificate(why),
        Some(Error::NoCertificatesPresented) => "it shows no certificate".to_owned(),
        Some(Error::AlertReceived(alert)) => refused_by_peer(*alert),
        Some(Error::InvalidMessage(_) | Error::InappropriateMessage { .. }) => {
            "it does not speak TLS".to_owned()
        }
        Some(Error::PeerIncompatible(why)) => {
            format!("it does not speak TLS 1.3 as the channel of a pair does: {why:?}")
        }
        Some(other) => format!("TLS failed: {other}"),
        None if error.kind() == io::ErrorKind::UnexpectedEof => {
            "it closed the connection".to_owned()
        }
        None => error.to_string(),
    }
}

fn certificate(why: &CertificateError) -> String {
    match why {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "its certificate has expired, or the clock of this host is wrong: if the clock is right, \
             remove `pair` from the state directory there, and pair the hosts again"
                .to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "its certificate is not valid yet: the clock of one of the hosts is wrong".to_owned()
        }
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "its certificate is not that of the host that this one is paired with: if it should be, \
             pair them again"
                .to_owned()
        }
        other => format!("its certificate is refused: {other}"),
    }
}

/// An alert in which the other end says what it thinks of this one.
fn refused_by_peer(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::CertificateExpired => {
            "it says that this host's certificate is not valid now: if its clock is right, remove `pair` \
             from the state directory, and pair the hosts again"
                .to_owned()
        }
        AlertDescription::UnknownCA
        | AlertDescription::DecryptError
        | AlertDescription::BadCertificate => {
            "it is paired with another host than this one: if it should not be, pair them again"
                .to_owned()
        }
        other => format!("it refuses the connection: {other:?}"),
    }
}
