//! What the API says of the pair, and does about it. The daemon's task has no part in this.

use super::connections::Answer;
use super::route::Route;
use super::server::{Fault, in_time, json, read};
use crate::shell::channel::{JoinError, Pairing, Status};
use crate::state::identity::{expiry, fingerprint};
use crate::types::{Invitation, Join, Pair, PairCertificate, PairConnection, PairFailure};
use hyper::StatusCode;
use hyper::body::Incoming;
use std::time::SystemTime;

/// Answers what is asked about `/v1/pair`.
pub(super) async fn answer(
    route: Route<'_>,
    method: &str,
    body: Incoming,
    pairing: Option<&Pairing>,
) -> Result<Answer, Fault> {
    let pairing = pairing.ok_or_else(|| {
        Fault::new(
            StatusCode::CONFLICT,
            "there is no peer in [ha] of the configuration file, or this host had no address to \
             reach it from when lbd was started",
        )
    })?;
    match (route, method) {
        (Route::Invitation, _) => {
            let invited = in_time(pairing.invite()).await?.map_err(failed)?;
            let invitation = Invitation {
                token: invited.token.encode(),
                lifetime_s: invited.lifetime.as_secs(),
            };
            return Ok(json(StatusCode::CREATED, &invitation, None));
        }
        (Route::Join, _) => {
            let join: Join = read(body).await?;
            let joined = in_time(pairing.join(&join.token)).await?;
            joined.map_err(|error| Fault::new(refusal(&error), error.to_string()))?;
        }
        (_, "DELETE") => in_time(pairing.forget()).await?.map_err(failed)?,
        _ => {}
    }
    let status = in_time(pairing.status()).await?.map_err(failed)?;
    Ok(json(StatusCode::OK, &pair(&status), None))
}

fn failed(error: anyhow::Error) -> Fault {
    Fault::new(StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}"))
}

const fn refusal(error: &JoinError) -> StatusCode {
    match error {
        JoinError::Token(_) | JoinError::Own | JoinError::Certificate(_) => {
            StatusCode::UNPROCESSABLE_ENTITY
        }
        JoinError::Unreached(_) | JoinError::Failed { .. } => StatusCode::BAD_GATEWAY,
        JoinError::Refused { .. } => StatusCode::CONFLICT,
        JoinError::NotKept(_) | JoinError::Stopping => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn pair(status: &Status) -> Pair {
    let certificate = |certificate| PairCertificate {
        fingerprint: fingerprint(certificate),
        expires: expiry(certificate)
            .map(|until| humantime::format_rfc3339_seconds(until).to_string()),
    };
    Pair {
        paired: status.peer.is_some(),
        own: certificate(&status.own),
        peer: status.peer.as_ref().map(certificate),
        connection: status.connection.map(|ends| PairConnection {
            local: ends.local.to_string(),
            remote: ends.remote.to_string(),
            since_s: ago(ends.since),
        }),
        invitation_s: status.invitation.map(|left| left.as_secs()),
        fault: status.fault.clone(),
        failure: status.failure.as_ref().map(|failure| PairFailure {
            since_s: ago(failure.at),
            reason: failure.reason.clone(),
        }),
        strangers: status.strangers,
    }
}

fn ago(moment: SystemTime) -> u64 {
    moment.elapsed().unwrap_or_default().as_secs()
}
