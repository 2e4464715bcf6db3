//! The client: asks as a browser would, over TLS 1.3, and compares each byte of each answer.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use kit::layout::SITE;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::{self, cipher_suite, kx_group};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, HandshakeKind, SignatureScheme,
    version,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::scenario::Scenario;
use crate::support::load::{Client, Connections, Work, while_, wrong};

/// Longer than the head of any answer.
const LONGEST_HEAD: usize = 4 * 1024;
/// As long as the longest record of TLS, so that one read takes it.
const RECORD: usize = 18 * 1024;

/// A browser that asks for the same again and again.
#[derive(Clone)]
pub(crate) struct Browser {
    address: SocketAddr,
    tls: TlsConnector,
    name: ServerName<'static>,
    connections: Connections,
    request: Arc<[u8]>,
    body: Arc<[u8]>,
}

/// The one way to encrypt: what both servers would agree on with most browsers.
pub(crate) fn provider() -> CryptoProvider {
    CryptoProvider {
        cipher_suites: vec![cipher_suite::TLS13_AES_128_GCM_SHA256],
        kx_groups: vec![kx_group::X25519],
        ..ring::default_provider()
    }
}

impl Browser {
    /// A browser at a server that shows this certificate.
    pub(crate) fn new(address: SocketAddr, cert: &Path, scenario: Scenario) -> Result<Self> {
        let certificate = CertificateDer::from_pem_file(cert)
            .with_context(|| format!("failed to read {}", cert.display()))?;
        let provider = Arc::new(provider());
        let known = Known {
            certificate,
            schemes: provider
                .signature_verification_algorithms
                .supported_schemes(),
        };
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(known))
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.resumption = Resumption::disabled();
        let close = match scenario.connections() {
            Connections::Kept => "",
            Connections::Closed => "Connection: close\r\n",
        };
        let path = scenario.path();
        let request = format!(
            "GET {path} HTTP/1.1\r\n\
             Host: {SITE}\r\n\
             User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n\
             Accept: text/html,application/xhtml+xml,image/png,*/*;q=0.8\r\n\
             Accept-Language: en-GB,en;q=0.5\r\n\
             Accept-Encoding: gzip, deflate, br, zstd\r\n\
             Referer: https://{SITE}/\r\n\
             {close}\r\n"
        );
        Ok(Self {
            address,
            tls: TlsConnector::from(Arc::new(config)),
            name: ServerName::try_from(SITE)?,
            connections: scenario.connections(),
            request: request.into_bytes().into(),
            body: scenario.body().into(),
        })
    }

    async fn connect(&self) -> io::Result<TlsStream<BufReader<TcpStream>>> {
        let tcp = TcpStream::connect(self.address)
            .await
            .map_err(while_("connecting"))?;
        tcp.set_nodelay(true)?;
        // TLS by itself reads a record in small pieces, at a system call each.
        let tcp = BufReader::with_capacity(RECORD, tcp);
        let connecting = self.tls.connect(self.name.clone(), tcp);
        let stream = connecting.await.map_err(while_("shaking hands"))?;
        let (_, session) = stream.get_ref();
        if session.handshake_kind() != Some(HandshakeKind::Full) {
            return Err(wrong("not a full handshake"));
        }
        Ok(stream)
    }

    /// A request and its answer, checked.
    async fn exchange(
        &self,
        stream: &mut TlsStream<BufReader<TcpStream>>,
        buffer: &mut [u8],
    ) -> io::Result<()> {
        stream.write_all(&self.request).await?;
        stream.flush().await?;
        let (mut filled, mut begin) = (0, None);
        while begin.is_none_or(|begin| filled < begin + self.body.len()) {
            let read = stream.read(&mut buffer[filled..]).await?;
            if read == 0 {
                return Err(wrong("closed before the end of the answer, or too long"));
            }
            filled += read;
            if begin.is_none() {
                begin = body_begins(&buffer[..filled], self.body.len())?;
            }
        }
        let body = begin.and_then(|begin| buffer.get(begin..filled));
        if body != Some(&self.body) {
            return Err(wrong("another body than wanted"));
        }
        Ok(())
    }
}

impl Client for Browser {
    async fn connection(&self, _turn: usize, work: &Work) -> io::Result<()> {
        let mut stream = self.connect().await?;
        let mut buffer = vec![0; LONGEST_HEAD + self.body.len()];
        loop {
            let answer = self.exchange(&mut stream, &mut buffer).await;
            answer.map_err(while_("asking"))?;
            if self.connections == Connections::Closed {
                let more = stream.read(&mut buffer).await;
                if more.map_err(while_("waiting for the end"))? > 0 {
                    return Err(wrong("more than an answer"));
                }
            }
            work.answered();
            if self.connections == Connections::Closed || work.is_over() {
                return Ok(());
            }
        }
    }
}

/// Where the body begins, once the whole head is there. An error if this is not a right answer's.
fn body_begins(bytes: &[u8], length: usize) -> io::Result<Option<usize>> {
    const END: &[u8] = b"\r\n\r\n";
    let Some(end) = bytes.windows(END.len()).position(|these| these == END) else {
        return Ok(None);
    };
    let head = std::str::from_utf8(&bytes[..end]).map_err(|_| wrong("not text"))?;
    let mut lines = head.split("\r\n");
    if lines.next() != Some("HTTP/1.1 200 OK") {
        return Err(wrong("not 200 OK"));
    }
    let mut fields = lines.filter_map(|line| line.split_once(": "));
    let announced = fields
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.parse::<usize>().ok());
    if announced != Some(length) {
        return Err(wrong("another length than wanted"));
    }
    Ok(Some(end + END.len()))
}

/// Believes one certificate, which it compares. Verifying signatures takes a client longer than
/// making them takes the server, and would hide what the server takes; that both servers' are right
/// is seen before anything is measured.
#[derive(Debug)]
struct Known {
    certificate: CertificateDer<'static>,
    schemes: Vec<SignatureScheme>,
}

impl ServerCertVerifier for Known {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if *end_entity == self.certificate {
            return Ok(ServerCertVerified::assertion());
        }
        let unknown = CertificateError::ApplicationVerificationFailure;
        Err(Error::InvalidCertificate(unknown))
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 was not offered".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes.clone()
    }
}
