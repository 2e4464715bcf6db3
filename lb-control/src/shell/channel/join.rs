//! Asks another host to be let in.

use super::attempt::{CONNECT, HANDSHAKE, connect, handshake};
use super::{frames, tls};
use crate::proto::pairing::{Answer, PairSecret, Request, Token};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::time::timeout;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::CertificateDer;

/// This host could not join the other one.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The token says so itself.
    #[error(transparent)]
    Token(#[from] crate::proto::pairing::TokenError),
    /// The operator is on the wrong host.
    #[error("this token was made on this host: run `lbctl pair join` on the other one")]
    Own,
    /// The certificate in the token cannot be used.
    #[error("the certificate in the token cannot be used")]
    Certificate(#[source] anyhow::Error),
    /// It was not reached.
    #[error("the inviting host was not reached within {limit} s each: {0}", limit = CONNECT.as_secs())]
    Unreached(String),
    /// The conversation failed.
    #[error(
        "{address}: {reason}; if its invitation is over, `lbctl pair init` there makes another"
    )]
    Failed {
        /// Where.
        address: SocketAddr,
        /// How.
        reason: String,
    },
    /// It said no.
    #[error("{address} refuses: {reason}")]
    Refused {
        /// Where.
        address: SocketAddr,
        /// What it said.
        reason: String,
    },
    /// It said yes, and that could not be kept.
    #[error(
        "the other host took this one as its peer, but this one could not keep that: {0:#}; mend it, and begin again with `lbctl pair init` there"
    )]
    NotKept(anyhow::Error),
    /// There is nobody who could keep it.
    #[error("lbd is stopping")]
    Stopping,
}

/// Asks to be let in. Returns the pair's secret.
pub(super) async fn ask(token: &Token, own: &CertificateDer<'_>) -> Result<PairSecret, JoinError> {
    let inviting = CertificateDer::from(token.certificate.as_slice());
    if inviting == *own {
        return Err(JoinError::Own);
    }
    let config = tls::joining(&inviting).map_err(JoinError::Certificate)?;
    let request = Request {
        secret: token.secret.clone(),
        certificate: own.to_vec(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let mut unreached = Vec::new();
    for address in &token.addresses {
        let address = *address;
        let stream = match connect(None, address).await {
            Ok(stream) => stream,
            Err(error) => {
                unreached.push(format!("{address}: {error}"));
                continue;
            }
        };
        let failed = |reason| JoinError::Failed { address, reason };
        let answer = match timeout(2 * HANDSHAKE, talk(stream, &config, &request)).await {
            Ok(answer) => answer.map_err(|error| failed(tls::explain(&error)))?,
            Err(_) => return Err(failed("it does not answer".to_owned())),
        };
        return match answer {
            Answer::Welcome(secret) => Ok(secret),
            Answer::Refused(reason) => Err(JoinError::Refused { address, reason }),
        };
    }
    Err(JoinError::Unreached(unreached.join("; ")))
}

async fn talk(
    stream: tokio::net::TcpStream,
    config: &Arc<ClientConfig>,
    request: &Request,
) -> io::Result<Answer> {
    let mut stream = handshake(stream, config).await?;
    frames::write_message(&mut stream, &request.encode()).await?;
    let message = frames::read_message(&mut stream).await?;
    Answer::decode(&message).map_err(io::Error::other)
}
