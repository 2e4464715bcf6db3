//! The page for what is not answered as asked. What was typed is never lost: it comes back in a
//! form that sends it again.

use askama::Template;
use bytes::Bytes;
use hyper::Response;
use hyper::header::{CONTENT_TYPE, HeaderValue};

use super::entry::to_sign_in;
use super::frame::Frame;
use crate::app::call::{Call, FORM_KEY};
use crate::app::refusal::Refusal;
use crate::app::routes::To;
use crate::app::site::{Site, bare, changes};

#[derive(Template)]
#[template(path = "refused.html")]
pub(super) struct Refused<'t> {
    pub(super) frame: &'t Frame,
    pub(super) title: &'t str,
    pub(super) advice: &'t str,
    pub(super) held: Option<Held<'t>>,
    /// What the log knows the request by.
    pub(super) request: &'t str,
}

/// What was sent.
pub(super) struct Held<'t> {
    pub(super) action: &'t str,
    pub(super) fields: Vec<HeldField>,
    /// Whether it takes someone to sign in first.
    pub(super) sign_in: bool,
}

pub(super) struct HeldField {
    pub(super) name: &'static str,
    pub(super) label: &'static str,
    pub(super) kind: Kind,
    pub(super) value: String,
}

/// How a field is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Hidden,
    Line,
    Text,
    /// Never sent back: it is typed again.
    Password,
}

/// The fields of the form that a route takes.
fn fields(to: To) -> &'static [(&'static str, &'static str, Kind)] {
    match to {
        To::AddPost => &[("text", "Your post", Kind::Text)],
        To::EditPost => &[
            ("version", "", Kind::Hidden),
            ("text", "Your post", Kind::Text),
        ],
        To::SetAbout => &[("about", "About you", Kind::Text)],
        To::SetPassword => &[
            ("current", "Current password", Kind::Password),
            ("new", "New password", Kind::Password),
        ],
        To::SignUp => &[
            ("name", "Name", Kind::Line),
            ("password", "Password", Kind::Password),
        ],
        To::SignIn => &[
            ("next", "", Kind::Hidden),
            ("name", "Name", Kind::Line),
            ("password", "Password", Kind::Password),
        ],
        _ => &[],
    }
}

/// The page that says why.
pub(crate) fn refuse(
    site: &Site,
    call: &Call<'_>,
    to: Option<To>,
    refusal: &Refusal,
) -> Response<Bytes> {
    if matches!(refusal, Refusal::SignedOut)
        && !changes(&call.parts.method)
        && let Ok(response) = to_sign_in(call)
    {
        return response;
    }
    let shown = show(site, call, to, refusal);
    shown.unwrap_or_else(|_| plain(refusal))
}

fn show(
    site: &Site,
    call: &Call<'_>,
    to: Option<To>,
    refusal: &Refusal,
) -> Result<Response<Bytes>, Refusal> {
    // The database is not asked, as it may be what failed.
    let mut frame = Frame::new(site, call, None)?;
    frame.notice = None;
    let held = match to {
        Some(to) if may_be_sent_again(call, refusal) => hold(call, to, refusal, &mut frame),
        _ => None,
    };
    // The title says so already.
    frame.paused &= !matches!(refusal, Refusal::Paused(_));
    let page = Refused {
        frame: &frame,
        title: refusal.title(),
        advice: refusal.advice(),
        held,
        request: call.header("x-request-id"),
    };
    frame.show(refusal.status(), &page)
}

/// Whether the same form may succeed later. One of another site's page is never offered.
fn may_be_sent_again(call: &Call<'_>, refusal: &Refusal) -> bool {
    let later = matches!(
        refusal,
        Refusal::SignedOut
            | Refusal::Stale
            | Refusal::TooMany(_)
            | Refusal::Busy
            | Refusal::GaveWay
            | Refusal::Lost(_)
            | Refusal::Paused(_)
            | Refusal::Unreadable(_)
            | Refusal::Unknown(_)
            | Refusal::Internal(_)
    );
    let elsewhere =
        matches!(call.form(), Ok(form) if matches!(call.admit(&form), Err(Refusal::Foreign)));
    changes(&call.parts.method) && later && !elsewhere
}

fn hold<'t>(call: &'t Call<'_>, to: To, refusal: &Refusal, frame: &mut Frame) -> Option<Held<'t>> {
    let form = call.form().ok()?;
    // The same act: what was done after all is not done twice.
    if let Some(key) = form.find(FORM_KEY) {
        frame.key = key.to_owned();
    }
    let held = |&(name, label, kind): &(&'static str, &'static str, Kind)| {
        let value = match kind {
            Kind::Password => String::new(),
            _ => form.get(name).to_owned(),
        };
        HeldField {
            name,
            label,
            kind,
            value,
        }
    };
    Some(Held {
        action: call.parts.uri.path(),
        fields: fields(to).iter().map(held).collect(),
        sign_in: matches!(refusal, Refusal::SignedOut),
    })
}

/// When not even a page can be made.
fn plain(refusal: &Refusal) -> Response<Bytes> {
    let mut response = bare(refusal.status());
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    *response.body_mut() = Bytes::from(format!("{}\n", refusal.title()));
    response
}
