//! A single probe: one connection, one question.

use crate::config::Probe;
use crate::proto::health::{Answer, Failure};
use bytes::Bytes;
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST, USER_AGENT};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use tokio::net::TcpStream;

/// Asks once. Says in words what went wrong. Takes as long as it takes: the caller limits it.
pub(super) async fn run(probe: &Probe, address: SocketAddr) -> Result<(), Failure> {
    match probe {
        Probe::None => Ok(()),
        Probe::Tcp => {
            let stream = connect(address).await?;
            // Closes with a reset. Nothing was said, and thousands of probes would else leave as
            // many sockets in TIME_WAIT. If it fails, it is only less tidy.
            let _ = stream.set_zero_linger();
            Ok(())
        }
        Probe::Http { path, host, expect } => {
            let stream = connect(address).await?;
            let host = host.clone().unwrap_or_else(|| address.to_string());
            let status = get(stream, path, &host).await.map_err(|error| Failure {
                reason: format!("GET {path}: {error}"),
                answer: Answer::None,
            })?;
            if status.as_u16() == *expect {
                Ok(())
            } else {
                let status = status.as_u16();
                Err(Failure {
                    reason: format!("GET {path}: status {status}, expected {expect}"),
                    answer: Answer::Other,
                })
            }
        }
    }
}

/// What a probe that succeeded found, in words.
pub(super) fn success(probe: &Probe) -> String {
    match probe {
        Probe::None => "not checked".to_owned(),
        Probe::Tcp => "connected".to_owned(),
        Probe::Http { path, expect, .. } => format!("GET {path}: status {expect}"),
    }
}

async fn connect(address: SocketAddr) -> Result<TcpStream, Failure> {
    TcpStream::connect(address).await.map_err(|error| Failure {
        reason: format!("connect: {}", io_words(&error)),
        answer: match error.kind() {
            io::ErrorKind::ConnectionRefused => Answer::Refused,
            _ => Answer::None,
        },
    })
}

/// Asks for a path, and reads no more than the status.
async fn get(stream: TcpStream, path: &str, host: &str) -> Result<StatusCode, String> {
    let request = Request::get(path)
        .header(HOST, host)
        .header(USER_AGENT, "headgate")
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| words(&error))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| words(&error))?;
    let mut answer = pin!(sender.send_request(request));
    let answer = tokio::select! {
        answer = &mut answer => answer,
        // It may have ended because it was answered: the answer knows.
        _ = connection => answer.await,
    };
    answer
        .map(|response| response.status())
        .map_err(|error| words(&error))
}

/// The innermost cause, which is what an operator can act on.
fn words(error: &(dyn Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    match innermost.downcast_ref::<io::Error>() {
        Some(error) => io_words(error),
        None => innermost.to_string(),
    }
}

/// `connection refused`, and not `Connection refused (os error 111)`.
fn io_words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::NetworkDown
        | io::ErrorKind::PermissionDenied
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::TimedOut => error.kind().to_string(),
        _ => error.to_string(),
    }
}
