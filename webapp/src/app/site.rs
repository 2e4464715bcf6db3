//! What an app server has, and how a request finds its answer.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use arc_swap::ArcSwap;
use bytes::Bytes;
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderName, HeaderValue, REFERRER_POLICY,
    RETRY_AFTER, SET_COOKIE, X_CONTENT_TYPE_OPTIONS,
};
use hyper::http::request::Parts;
use hyper::{Method, Response, StatusCode};
use tokio::sync::Notify;

use super::acts::Wrote;
use super::assets::Assets;
use super::attempts::{Allowance, Attempts};
use super::call::Call;
use super::cookies::Cookie;
use super::passwords::Passwords;
use super::ready::Prepared;
use super::refusal::Refusal;
use super::routes::{self, Found, To};
use super::store::Moment;
use super::store::session::{self, Viewer};
use super::{api, health, pages, written};
use crate::db::{Cluster, Read, Token, Write};
use crate::server::{Readiness, Unread};

/// Names the app server that answered.
pub(crate) const BY_APP: HeaderName = HeaderName::from_static("x-served-by-app");

/// Names the database server that answered it.
pub(crate) const BY_DB: HeaderName = HeaderName::from_static("x-served-by-db");

/// What a client of the API has written: see `written`.
pub(crate) const READ_AFTER: HeaderName = HeaderName::from_static("read-after");

/// No script, no style but our own, no frame around us, no form that leads elsewhere.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; \
     base-uri 'none'; frame-ancestors 'none'",
);

/// How often an answer is tried again that the database was too busy for.
const TRIES: u32 = 3;

/// How people may use the site.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// How long a session lasts.
    pub(crate) session_life: Duration,
    /// Attempts at one account from one network.
    pub(crate) account_attempts: Allowance,
    /// Attempts of one network at whatever accounts, and accounts that it adds.
    pub(crate) network_attempts: Allowance,
    /// How many passwords are hashed at a time.
    pub(crate) hashing: usize,
    /// Whether each response names the servers that answered.
    pub(crate) name_servers: bool,
}

/// An app server.
pub(crate) struct Site {
    name: HeaderValue,
    cluster: Cluster,
    prepared: ArcSwap<Prepared>,
    /// Tells those who wait for that.
    changed: Notify,
    readiness: Readiness,
    passwords: Passwords,
    attempts: Attempts,
    assets: Assets,
    rules: Rules,
}

/// A connection to read from, and who asks. It is to be [ended](Visit::end).
pub(crate) struct Visit {
    pub(crate) db: Read,
    pub(crate) viewer: Option<Viewer>,
}

/// Who asked, and which database answered.
pub(crate) struct Visited {
    pub(crate) viewer: Option<Viewer>,
    pub(crate) server: String,
}

impl Site {
    pub(crate) fn new(
        name: &str,
        cluster: Cluster,
        readiness: Readiness,
        rules: Rules,
    ) -> Result<Self> {
        Ok(Self {
            name: HeaderValue::from_str(name)?,
            cluster,
            prepared: ArcSwap::from_pointee(Prepared::default()),
            changed: Notify::new(),
            readiness,
            passwords: Passwords::new(rules.hashing)?,
            attempts: Attempts::new(rules.account_attempts, rules.network_attempts),
            assets: Assets::new(),
            rules,
        })
    }

    pub(crate) fn name(&self) -> &str {
        self.name.to_str().unwrap_or_default()
    }

    pub(crate) fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    pub(crate) fn readiness(&self) -> &Readiness {
        &self.readiness
    }

    pub(crate) fn passwords(&self) -> &Passwords {
        &self.passwords
    }

    pub(crate) fn attempts(&self) -> &Attempts {
        &self.attempts
    }

    pub(crate) fn assets(&self) -> &Assets {
        &self.assets
    }

    pub(crate) fn session_life(&self) -> Duration {
        self.rules.session_life
    }

    pub(crate) fn prepared(&self) -> Arc<Prepared> {
        self.prepared.load_full()
    }

    pub(crate) fn prepare(&self, prepared: Prepared) {
        self.prepared.store(Arc::new(prepared));
        self.changed.notify_waiters();
    }

    /// Waits until requests can be answered.
    pub(crate) async fn until_prepared(&self) {
        loop {
            // Before the look: what changes after it is told.
            let changed = self.changed.notified();
            if self.prepared().missing().is_none() {
                return;
            }
            changed.await;
        }
    }

    /// Answers a request.
    pub(crate) async fn respond(
        &self,
        parts: &Parts,
        body: Result<Bytes, Unread>,
        peer: IpAddr,
        now: Moment,
    ) -> Response<Bytes> {
        let (body, unread) = match body {
            Ok(body) => (body, None),
            Err(unread) => (Bytes::new(), Some(Refusal::from(unread))),
        };
        let call = Call::new(parts, body, peer, now);
        let found = routes::find(&parts.method, parts.uri.path());
        let to = found.as_ref().ok().map(|found| found.to);
        let answer = match (unread, found) {
            (Some(refusal), _) | (None, Err(refusal)) => Err(refusal),
            (None, Ok(found)) => self.answer(&call, found).await,
        };
        let answer = answer.unwrap_or_else(|refusal| self.refuse(&call, to, &refusal));
        self.finish(answer, to)
    }

    /// Answers once more where the database gave way or the way to it broke: until the commit
    /// nothing is written, and after it these are not what is reported.
    async fn answer(&self, call: &Call<'_>, found: Found<'_>) -> Result<Response<Bytes>, Refusal> {
        let mut tried = 1;
        loop {
            let answer = match found.to {
                To::Asset => self.assets.serve(call, found.name),
                To::Health => Ok(health::healthy()),
                To::Ready => Ok(health::ready(self).await),
                To::Api(to) => api::answer(self, call, to, found).await,
                _ => pages::answer(self, call, found).await,
            };
            match answer {
                Err(refusal) if refusal.is_worth_another_try() && tried < TRIES => tried += 1,
                answer => return answer,
            }
        }
    }

    fn refuse(&self, call: &Call<'_>, to: Option<To>, refusal: &Refusal) -> Response<Bytes> {
        let path = call.parts.uri.path();
        if let Some(cause) = refusal.cause() {
            let request = call.header("x-request-id");
            tracing::warn!(path, request, cause, "a request failed");
        }
        let mut response = if routes::is_api(path) {
            api::problem(refusal)
        } else {
            pages::refuse(self, call, to, refusal)
        };
        let headers = response.headers_mut();
        if let Refusal::Method(allowed) = refusal
            && let Ok(allowed) = HeaderValue::from_str(allowed)
        {
            headers.insert(ALLOW, allowed);
        }
        if let Some(seconds) = refusal.retry_after() {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        response
    }

    /// What each response says.
    fn finish(&self, mut response: Response<Bytes>, to: Option<To>) -> Response<Bytes> {
        let headers = response.headers_mut();
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(CONTENT_SECURITY_POLICY, POLICY);
        // Without any referrer browsers would send `Origin: null` with our own forms.
        headers.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
        if !headers.contains_key(CACHE_CONTROL) {
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
        if self.rules.name_servers || matches!(to, Some(To::Admin)) {
            headers.insert(BY_APP, self.name.clone());
        } else {
            headers.remove(BY_DB);
        }
        response
    }

    /// Opens the page for whoever asks: on a server that has what they wrote last.
    pub(crate) async fn visit(&self, call: &Call<'_>) -> Result<Visit, Refusal> {
        let db = self.read(self.wrote_last(call).as_ref()).await?;
        let mut visit = Visit { db, viewer: None };
        if let Some(secret) = &call.session {
            match session::find(&mut visit.db, secret, call.now).await {
                Ok(viewer) => visit.viewer = viewer,
                Err(error) => {
                    visit.db.failed(&error);
                    return Err(error.into());
                }
            }
        }
        Ok(visit)
    }

    async fn read(&self, written: Option<&Token>) -> Result<Read, Refusal> {
        self.prepared().check()?;
        Ok(match written {
            Some(token) => self.cluster.read_after(token).await?,
            None => self.cluster.read().await?,
        })
    }

    pub(crate) async fn write(&self) -> Result<Write, Refusal> {
        self.prepared().check()?;
        Ok(self.cluster.write().await?)
    }

    /// What whoever asks wrote last, by what their browser or client was told.
    fn wrote_last(&self, call: &Call<'_>) -> Option<Token> {
        let sealed = if routes::is_api(call.parts.uri.path()) {
            call.header(READ_AFTER.as_str())
        } else {
            Cookie::Written.get(&call.parts.headers)?
        };
        written::open(sealed, self.prepared().secret()?)
    }

    /// What was written, for the reader to bring along; `None` if there is nothing to wait for.
    pub(crate) fn seal(&self, wrote: &Wrote) -> Option<String> {
        written::seal(&wrote.token, self.prepared().secret()?)
    }

    /// Whether nothing can be written now.
    pub(crate) fn is_paused(&self) -> bool {
        self.cluster.writable().is_err()
    }
}

impl Visit {
    /// Gives the connection back, with what was read over it or why that failed: a server that
    /// went away is asked no more.
    pub(crate) fn end<T>(self, read: sqlx::Result<T>) -> Result<(T, Visited), Refusal> {
        let server = self.db.server().to_owned();
        match read {
            Ok(value) => {
                self.db.done();
                let viewer = self.viewer;
                Ok((value, Visited { viewer, server }))
            }
            Err(error) => {
                self.db.failed(&error);
                Err(error.into())
            }
        }
    }
}

impl From<Unread> for Refusal {
    fn from(unread: Unread) -> Self {
        match unread {
            Unread::TooLarge => Refusal::TooLarge,
            Unread::TooSlow => Refusal::TooSlow,
            Unread::Broken => Refusal::Malformed("The request ended early."),
        }
    }
}

/// Adds a cookie to a response.
pub(crate) fn add_cookie(response: &mut Response<Bytes>, cookie: Option<HeaderValue>) {
    if let Some(cookie) = cookie {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
}

/// A response without a body.
pub(crate) fn bare(status: StatusCode) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = status;
    response
}

/// Names the database server that answered.
pub(crate) fn answered_by(response: &mut Response<Bytes>, server: &str) {
    if let Ok(server) = HeaderValue::from_str(server) {
        response.headers_mut().insert(BY_DB, server);
    }
}

/// Whether a request may change something.
pub(crate) fn changes(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD)
}
