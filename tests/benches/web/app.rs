//! The app server that both gateways lead to: always the same short page, over mutual TLS.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use kit::netns::Namespace;
use kit::pki::Files;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, version};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;

use crate::browser::provider;
use crate::scenario::{PAGE, page};
use crate::support::load::wrong;

/// What a gateway must have told about the client.
const TOLD: [&str; 2] = ["x-forwarded-for: ", "x-request-id: "];
/// Longer than the head of any request.
const LONGEST: usize = 8 * 1024;

/// A server that serves. Dropping this ends it.
pub(crate) struct App {
    // Kept for its threads.
    _runtime: Runtime,
}

impl App {
    /// Serves at `address`, as the owner of these files, whoever has a certificate of the same
    /// authority.
    pub(crate) fn start(
        namespace: &Namespace,
        address: SocketAddr,
        files: &Files,
        threads: usize,
    ) -> Result<Self> {
        let acceptor = TlsAcceptor::from(Arc::new(config(files)?));
        let listener = namespace.run(move || std::net::TcpListener::bind(address))??;
        listener.set_nonblocking(true)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads)
            .enable_io()
            .build()?;
        runtime.spawn(async move {
            if let Err(error) = accept(listener, acceptor).await {
                eprintln!("the app server ended: {error}");
            }
        });
        Ok(Self { _runtime: runtime })
    }
}

fn config(files: &Files) -> Result<ServerConfig> {
    let unread = || format!("failed to read {}", files.cert.display());
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&files.ca).with_context(unread)?)?;
    let provider = Arc::new(provider());
    let clients =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()?;
    let certificate = CertificateDer::from_pem_file(&files.cert).with_context(unread)?;
    let key = PrivateKeyDer::from_pem_file(&files.key).with_context(unread)?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&version::TLS13])?
        .with_client_cert_verifier(clients)
        .with_single_cert(vec![certificate], key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.send_tls13_tickets = 0;
    Ok(config)
}

async fn accept(listener: std::net::TcpListener, acceptor: TlsAcceptor) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let answers = Arc::new(Answers::new());
    loop {
        let (stream, _) = listener.accept().await?;
        let (acceptor, answers) = (acceptor.clone(), Arc::clone(&answers));
        tokio::spawn(async move {
            // A gateway that gives up a connection is nobody's fault, and what a client misses by
            // it is counted there.
            let _ = serve(stream, &acceptor, &answers).await;
        });
    }
}

struct Answers {
    page: Vec<u8>,
    ready: Vec<u8>,
    untold: Vec<u8>,
}

impl Answers {
    fn new() -> Self {
        let answer = |status: &str, body: &[u8]| {
            let head = format!(
                "HTTP/1.1 {status}\r\n\
                 Content-Type: text/html; charset=utf-8\r\n\
                 Cache-Control: no-store\r\n\
                 X-Served-By-App: app1\r\n\
                 Content-Length: {}\r\n\r\n",
                body.len()
            );
            [head.as_bytes(), body].concat()
        };
        Self {
            page: answer("200 OK", &page()),
            ready: answer("200 OK", b"ready\n"),
            untold: answer("400 Bad Request", b"nothing is said about the client\n"),
        }
    }

    fn to(&self, head: &str) -> &[u8] {
        let path = head.split(' ').nth(1);
        if path != Some(PAGE) {
            return &self.ready;
        }
        let head = head.to_ascii_lowercase();
        if TOLD.iter().all(|field| head.contains(field)) {
            &self.page
        } else {
            &self.untold
        }
    }
}

async fn serve(stream: TcpStream, acceptor: &TlsAcceptor, answers: &Answers) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let stream = BufReader::with_capacity(LONGEST, stream);
    let mut stream = acceptor.accept(stream).await?;
    let mut buffer = [0; LONGEST];
    let mut filled = 0;
    loop {
        let read = stream.read(&mut buffer[filled..]).await?;
        if read == 0 {
            return Ok(());
        }
        filled += read;
        let text = std::str::from_utf8(&buffer[..filled]).map_err(|_| wrong("not text"))?;
        // Nobody sends a body here, or the next request before this one is answered.
        if let Some(head) = text.strip_suffix("\r\n\r\n") {
            stream.write_all(answers.to(head)).await?;
            stream.flush().await?;
            filled = 0;
        }
    }
}
