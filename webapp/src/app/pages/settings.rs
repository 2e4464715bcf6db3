//! What people set for themselves.

use askama::Template;
use bytes::Bytes;
use hyper::Response;

use super::frame::{Errors, Frame, Notice};
use super::{done, sent_by_viewer};
use crate::app::call::Call;
use crate::app::input::{About, Password};
use crate::app::refusal::Refusal;
use crate::app::site::Site;
use crate::app::store::account;
use crate::app::store::session::{self, Listed, SessionId};

const HERE: &str = "/settings";

#[derive(Template)]
#[template(path = "settings.html")]
pub(super) struct Settings<'t> {
    pub(super) frame: &'t Frame,
    pub(super) errors: Errors,
    pub(super) name: &'t str,
    pub(super) about: &'t str,
    pub(super) sessions: Vec<ShownSession>,
}

/// A session.
pub(super) struct ShownSession {
    pub(super) id: u64,
    pub(super) agent: String,
    pub(super) address: String,
    pub(super) since: String,
    pub(super) since_datetime: String,
    pub(super) until: String,
    pub(super) until_datetime: String,
    /// Whether it is the one that asks.
    pub(super) this: bool,
}

impl ShownSession {
    fn new(session: Listed, this: SessionId) -> Self {
        let agent = session.agent.trim();
        Self {
            id: session.id.0,
            agent: if agent.is_empty() {
                "A program without a name".to_owned()
            } else {
                agent.to_owned()
            },
            since: session.created_ms.readable(),
            since_datetime: session.created_ms.rfc3339(),
            until: session.expires_ms.readable(),
            until_datetime: session.expires_ms.rfc3339(),
            this: session.id == this,
            address: session.address,
        }
    }
}

pub(super) async fn page(site: &Site, call: &Call<'_>) -> Result<Response<Bytes>, Refusal> {
    show(site, call, None, Errors::default()).await
}

async fn show(
    site: &Site,
    call: &Call<'_>,
    about: Option<&str>,
    errors: Errors,
) -> Result<Response<Bytes>, Refusal> {
    let mut visit = site.visit(call).await?;
    let viewer = visit.viewer.clone().ok_or(Refusal::SignedOut)?;
    let db = &mut visit.db;
    let read = async {
        let person = account::by_id(db, viewer.account).await?;
        Ok((person, session::list(db, viewer.account, call.now).await?))
    };
    let read = read.await;
    let ((person, sessions), visited) = visit.end(read)?;
    let person = person.ok_or(Refusal::SignedOut)?;
    let this = viewer.session;
    let frame = Frame::new(site, call, Some(visited))?;
    let status = errors.status();
    let sessions = sessions.into_iter();
    let page = Settings {
        frame: &frame,
        errors,
        name: &person.name,
        about: about.unwrap_or(&person.about),
        sessions: sessions
            .map(|session| ShownSession::new(session, this))
            .collect(),
    };
    frame.show(status, &page)
}

pub(super) async fn set_about(site: &Site, call: &Call<'_>) -> Result<Response<Bytes>, Refusal> {
    let (form, key) = sent_by_viewer(call)?;
    let mut errors = Errors::default();
    let Some(about) = errors.take("about", About::parse(form.get("about"))) else {
        return show(site, call, Some(form.get("about")), errors).await;
    };
    let wrote = site.set_about(call, &about, &key).await?;
    done(site, HERE, Notice::AboutSet, &wrote)
}

pub(super) async fn set_password(site: &Site, call: &Call<'_>) -> Result<Response<Bytes>, Refusal> {
    let (form, key) = sent_by_viewer(call)?;
    let current = Password::guess(form.get("current"));
    match site
        .set_password(call, current, form.get("new"), &key)
        .await
    {
        Ok(wrote) => done(site, HERE, Notice::PasswordSet, &wrote),
        Err(Refusal::Invalid(errors)) => show(site, call, None, Errors::of(errors)).await,
        Err(refusal) => Err(refusal),
    }
}

pub(super) async fn end_session(
    site: &Site,
    call: &Call<'_>,
    id: SessionId,
) -> Result<Response<Bytes>, Refusal> {
    let (_, key) = sent_by_viewer(call)?;
    let wrote = site.end_session(call, id, &key).await?;
    done(site, HERE, Notice::SessionEnded, &wrote)
}

pub(super) async fn end_others(site: &Site, call: &Call<'_>) -> Result<Response<Bytes>, Refusal> {
    let (_, key) = sent_by_viewer(call)?;
    let wrote = site.end_others(call, &key).await?;
    done(site, HERE, Notice::SessionEnded, &wrote)
}
