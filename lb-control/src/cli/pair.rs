//! `pair`: two load balancers that come to trust each other.

use super::table::seconds;
use super::{Failure, Session};
use crate::types::{Invitation, Join, Pair, PairCertificate};
use hyper::Method;
use std::fmt::Write as _;
use std::io::{self, Read as _, Write as _};

/// Where the token is not in the arguments, but in the standard input.
const STANDARD_INPUT: &str = "-";

/// More than any token.
const TOKEN_MAX: u64 = 64 * 1024;

impl Session {
    /// `pair init`
    ///
    /// # Errors
    ///
    /// If it was refused, or there is no answer.
    pub async fn invite(&self) -> Result<(), Failure> {
        let invited: Invitation = self
            .client
            .act(Method::POST, "/v1/pair/invitation", &())
            .await?;
        // Standard output has the token and nothing else: it may be the input of the other host. As
        // an argument it would be seen in lists of processes, and kept in the shell's history.
        let _ = writeln!(
            io::stderr(),
            "on the other host, within {}: lbctl pair join -, with this line as its standard input",
            seconds(invited.lifetime_s)
        );
        self.show(&invited, |_| format!("{}\n", invited.token))
    }

    /// `pair join`, where `-` is a token from the standard input.
    ///
    /// # Errors
    ///
    /// If it was refused, or there is no answer.
    pub async fn join(&self, token: String) -> Result<(), Failure> {
        let token = match token.as_str() {
            STANDARD_INPUT => {
                let mut text = Vec::new();
                let mut input = io::stdin().take(TOKEN_MAX);
                input.read_to_end(&mut text).map_err(Failure::Input)?;
                String::from_utf8_lossy(&text).into_owned()
            }
            _ => token,
        };
        let pair: Pair = self
            .client
            .act(Method::POST, "/v1/pair/join", &Join { token })
            .await?;
        self.show(&pair, |_| match &pair.peer {
            Some(peer) => format!("paired with {}\n", peer.fingerprint),
            None => "joined, and forgotten meanwhile\n".to_owned(),
        })
    }

    /// `pair status`
    ///
    /// # Errors
    ///
    /// If there is no answer.
    pub async fn pair_status(&self) -> Result<(), Failure> {
        let pair: Pair = self.client.get("/v1/pair").await?;
        self.show(&pair, |_| text(&pair))
    }

    /// `pair forget`
    ///
    /// # Errors
    ///
    /// If it was refused, or there is no answer.
    pub async fn forget(&self) -> Result<(), Failure> {
        let pair: Pair = self.client.act(Method::DELETE, "/v1/pair", &()).await?;
        self.show(&pair, |_| {
            "the other host is trusted no longer; forget this one there, too\n".to_owned()
        })
    }
}

pub(super) fn text(pair: &Pair) -> String {
    let mut text = String::new();
    // A string takes everything.
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "{name}: {value}");
    };
    line("paired", if pair.paired { "yes" } else { "no" }.to_owned());
    line("this host", certificate(&pair.own));
    if let Some(peer) = &pair.peer {
        line("other host", certificate(peer));
    }
    if let Some(connection) = &pair.connection {
        let since = seconds(connection.since_s);
        let (local, remote) = (&connection.local, &connection.remote);
        line("connected", format!("{local} > {remote}, for {since}"));
    } else if pair.paired {
        line("connected", "no".to_owned());
    }
    if let Some(left) = pair.invitation_s {
        line("invitation", format!("open for {}", seconds(left)));
    }
    if let Some(fault) = &pair.fault {
        line("fault", fault.clone());
    }
    if let Some(failure) = &pair.failure {
        let ago = seconds(failure.since_s);
        line("last failure", format!("{ago} ago, {}", failure.reason));
    }
    if pair.strangers > 0 {
        line("strangers turned away", pair.strangers.to_string());
    }
    text
}

fn certificate(certificate: &PairCertificate) -> String {
    let expires = certificate.expires.as_deref().unwrap_or("unknown");
    format!("{}, expires {expires}", certificate.fingerprint)
}
