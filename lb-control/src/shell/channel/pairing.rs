//! What the operator asks for: to invite, to join, to look, to forget.

use super::{JoinError, join};
use crate::proto::pairing::{PairSecret, Token};
use anyhow::{Context as _, Result};
use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};
use tokio::sync::{mpsc, oneshot};
use tokio_rustls::rustls::pki_types::CertificateDer;

/// Pairs this host with another one.
#[derive(Clone)]
pub struct Pairing {
    commands: mpsc::Sender<Command>,
    own: CertificateDer<'static>,
}

/// What the task of the channel is asked to do.
pub(super) enum Command {
    Invite(oneshot::Sender<Result<Invited>>),
    Adopt {
        peer: CertificateDer<'static>,
        secret: PairSecret,
        reply: oneshot::Sender<Result<()>>,
    },
    Forget(oneshot::Sender<Result<()>>),
    Look(oneshot::Sender<Status>),
}

/// An invitation that was opened.
#[derive(Clone, Debug)]
pub struct Invited {
    /// What the other host needs.
    pub token: Token,
    /// For how long it is of use.
    pub lifetime: Duration,
}

/// How things are.
#[derive(Clone, Debug)]
pub struct Status {
    /// This host's certificate.
    pub own: CertificateDer<'static>,
    /// The other's, if the two are paired.
    pub peer: Option<CertificateDer<'static>>,
    /// The connection, if there is one.
    pub connection: Option<Ends>,
    /// For how long an invitation is open yet.
    pub invitation: Option<Duration>,
    /// What keeps this host from listening.
    pub fault: Option<String>,
    /// What went wrong last with the peer, or at one of its addresses.
    pub failure: Option<Failure>,
    /// Connections from other addresses than the peer's that were turned away.
    pub strangers: u64,
}

/// A connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// Our address.
    pub local: IpAddr,
    /// The peer's.
    pub remote: IpAddr,
    /// Since when.
    pub since: SystemTime,
}

/// Something that went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// When.
    pub at: SystemTime,
    /// What, and with whom.
    pub reason: String,
}

impl Pairing {
    pub(super) const fn new(commands: mpsc::Sender<Command>, own: CertificateDer<'static>) -> Self {
        Self { commands, own }
    }

    /// Opens an invitation. An earlier one is void.
    ///
    /// # Errors
    ///
    /// If nobody could come in, or lbd is stopping.
    pub async fn invite(&self) -> Result<Invited> {
        self.ask(Command::Invite)
            .await
            .context(JoinError::Stopping)?
    }

    /// Joins the host that the token is of. This host's secret is replaced by that one's.
    ///
    /// Goes on to its end once it has begun: the other host may have said yes.
    ///
    /// # Errors
    ///
    /// If the other host is not reached or refuses, or what it said cannot be kept.
    pub async fn join(&self, token: &str) -> Result<(), JoinError> {
        let token = Token::decode(token)?;
        let this = self.clone();
        let joined = tokio::spawn(async move { this.join_with(token).await });
        joined.await.unwrap_or(Err(JoinError::Stopping))
    }

    async fn join_with(&self, token: Token) -> Result<(), JoinError> {
        let secret = join::ask(&token, &self.own).await?;
        let adopt = |reply| Command::Adopt {
            peer: token.certificate.into(),
            secret,
            reply,
        };
        let adopted = self.ask(adopt).await.ok_or(JoinError::Stopping)?;
        adopted.map_err(JoinError::NotKept)
    }

    /// How things are.
    ///
    /// # Errors
    ///
    /// If lbd is stopping.
    pub async fn status(&self) -> Result<Status> {
        self.ask(Command::Look).await.context(JoinError::Stopping)
    }

    /// Trusts the other host no longer.
    ///
    /// # Errors
    ///
    /// If that cannot be kept, or lbd is stopping.
    pub async fn forget(&self) -> Result<()> {
        self.ask(Command::Forget)
            .await
            .context(JoinError::Stopping)?
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.ok()?;
        answer.await.ok()
    }
}

impl fmt::Debug for Pairing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pairing").finish_non_exhaustive()
    }
}
