//! A client over TLS: HTTP/1.1 and HTTP/2 by hyper, and raw bytes for what hyper would not send.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::{http1, http2};
use hyper::{HeaderMap, Request, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;
use webapp::tls::{HTTP_1_1, HTTP_2, Identity};

use crate::{PATIENCE, soon};

pub(crate) const HOST: &str = "www.foobar.com";

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{self:?}"))
    }
}

/// A connection.
pub(crate) enum Client {
    One(http1::SendRequest<Full<Bytes>>),
    Two(http2::SendRequest<Full<Bytes>>),
}

pub(crate) async fn tls(
    address: SocketAddr,
    config: Arc<ClientConfig>,
    name: &str,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from(name.to_owned()).unwrap();
    soon(
        "the TLS handshake",
        TlsConnector::from(config).connect(name, stream),
    )
    .await
}

impl Client {
    pub(crate) async fn http1(address: SocketAddr, identity: &Identity) -> Self {
        let stream = tls(address, identity.client(&[HTTP_1_1]), HOST)
            .await
            .unwrap();
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Self::One(sender)
    }

    pub(crate) async fn plain(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Self::One(sender)
    }

    pub(crate) async fn http2(address: SocketAddr, identity: &Identity) -> Self {
        let stream = tls(address, identity.client(&[HTTP_2]), HOST)
            .await
            .unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(HTTP_2));
        let io = TokioIo::new(stream);
        let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
        tokio::spawn(connection);
        Self::Two(sender)
    }

    /// An answer, whatever it is.
    pub(crate) async fn ask(
        &mut self,
        method: &str,
        path: &str,
        fields: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let answer = self.try_ask(method, path, fields, body.into()).await;
        answer.unwrap_or_else(|error| panic!("{method} {path}: {error:?}"))
    }

    pub(crate) async fn get(&mut self, path: &str, fields: &[(&str, &str)]) -> Answer {
        self.ask("GET", path, fields, "").await
    }

    pub(crate) async fn try_ask(
        &mut self,
        method: &str,
        path: &str,
        fields: &[(&str, &str)],
        body: Bytes,
    ) -> hyper::Result<Answer> {
        let builder = Request::builder().method(method);
        let mut builder = match self {
            Self::One(_) => builder.uri(path).header("host", HOST),
            Self::Two(_) => builder.uri(format!("https://{HOST}{path}")),
        };
        for (name, value) in fields {
            builder = builder.header(*name, *value);
        }
        let request = builder.body(Full::new(body)).unwrap();
        let asked = async {
            let response = match self {
                Self::One(sender) => {
                    sender.ready().await?;
                    sender.send_request(request).await?
                }
                Self::Two(sender) => sender.send_request(request).await?,
            };
            let (parts, body) = response.into_parts();
            Ok(Answer {
                status: parts.status,
                headers: parts.headers,
                body: body.collect().await?.to_bytes(),
            })
        };
        soon("an answer", asked).await
    }
}

/// Sends bytes as they are, and reads until the server closes.
pub(crate) async fn raw(address: SocketAddr, identity: &Identity, bytes: &[u8]) -> String {
    let mut stream = tls(address, identity.client(&[HTTP_1_1]), HOST)
        .await
        .unwrap();
    let mut read = Vec::new();
    let exchange = async {
        // The server may have heard enough before all is sent.
        let _ = stream.write_all(bytes).await;
        // A reset ends what can be read, too.
        let _ = stream.read_to_end(&mut read).await;
    };
    let closed = tokio::time::timeout(PATIENCE, exchange).await.is_ok();
    let read = String::from_utf8_lossy(&read).into_owned();
    assert!(
        closed,
        "it stays open after {:?}: {read}",
        String::from_utf8_lossy(bytes)
    );
    read
}

/// The status of each response in what was read raw.
pub(crate) fn statuses(read: &str) -> Vec<u16> {
    read.split("HTTP/1.1 ")
        .skip(1)
        .map(|response| response[..3].parse().unwrap())
        .collect()
}
