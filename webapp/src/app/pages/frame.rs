//! What is around each page.

use std::time::Duration;

use askama::Template;
use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};

use crate::app::call::{self, Call};
use crate::app::cookies::Cookie;
use crate::app::input::Invalid;
use crate::app::refusal::Refusal;
use crate::app::secret::{Purpose, Secret};
use crate::app::site::{Site, Visited, add_cookie, answered_by};
use crate::app::store::session::Viewer;

/// How long a visitor's forms are good for.
const VISIT: Duration = Duration::from_secs(86_400);

/// The time between a form and the page after it.
const NEXT_PAGE: Duration = Duration::from_secs(60);

/// What is around a page.
pub(super) struct Frame {
    pub(super) style: String,
    pub(super) icon: String,
    /// Who is signed in.
    pub(super) viewer: Option<Viewer>,
    /// Whether that was found out.
    pub(super) known: bool,
    /// The code and the key of the page's forms.
    pub(super) code: String,
    pub(super) key: String,
    pub(super) notice: Option<&'static str>,
    /// Whether nothing can be written now.
    pub(super) paused: bool,
    /// The database that answered, if one did.
    server: Option<String>,
    /// A secret that the browser is yet to be given.
    fresh: Option<Secret>,
}

impl Frame {
    /// `None` if the database was not asked who it is.
    pub(super) fn new(
        site: &Site,
        call: &Call<'_>,
        visited: Option<Visited>,
    ) -> Result<Self, Refusal> {
        let known = visited.is_some();
        let (viewer, server) = match visited {
            Some(Visited { viewer, server }) => (viewer, Some(server)),
            None => (None, None),
        };
        let fresh = match call.holder() {
            Some(_) => None,
            None => Some(Secret::random()?),
        };
        let holder = call.holder().or(fresh.as_ref());
        let code = holder.map(|holder| holder.code(Purpose::Form, b""));
        let notice = Cookie::Notice.get(&call.parts.headers);
        Ok(Self {
            style: site.assets().style(),
            icon: site.assets().icon(),
            viewer,
            known,
            code: code.unwrap_or_default(),
            key: call::fresh_key()?,
            notice: notice.and_then(Notice::parse).map(Notice::text),
            paused: site.is_paused(),
            server,
            fresh,
        })
    }

    /// The page as a response. It takes along what the browser is to remember, or to forget.
    pub(super) fn show(
        &self,
        status: StatusCode,
        page: &impl Template,
    ) -> Result<Response<Bytes>, Refusal> {
        let html = page
            .render()
            .map_err(|error| Refusal::Internal(error.into()))?;
        let mut response = Response::new(Bytes::from(html));
        *response.status_mut() = status;
        let kind = HeaderValue::from_static("text/html; charset=utf-8");
        response.headers_mut().insert(CONTENT_TYPE, kind);
        if let Some(server) = &self.server {
            answered_by(&mut response, server);
        }
        if let Some(fresh) = &self.fresh {
            add_cookie(&mut response, Cookie::Visitor.set(&fresh.reveal(), VISIT));
        }
        if self.notice.is_some() {
            add_cookie(&mut response, Cookie::Notice.clear());
        }
        Ok(response)
    }
}

#[cfg(test)]
impl Frame {
    /// One that is always the same.
    pub(super) fn sample(viewer: Option<Viewer>) -> Self {
        Self {
            style: "/assets/site-0123456789abcdef.css".to_owned(),
            icon: "/assets/icon-0123456789abcdef.svg".to_owned(),
            viewer,
            known: true,
            code: "CODE".to_owned(),
            key: "KEY".to_owned(),
            notice: None,
            paused: false,
            server: None,
            fresh: None,
        }
    }
}

/// What was done, to be said on the next page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Notice {
    Welcome,
    SignedOut,
    Posted,
    Edited,
    Deleted,
    AboutSet,
    PasswordSet,
    SessionEnded,
}

impl Notice {
    const ALL: [Notice; 8] = [
        Notice::Welcome,
        Notice::SignedOut,
        Notice::Posted,
        Notice::Edited,
        Notice::Deleted,
        Notice::AboutSet,
        Notice::PasswordSet,
        Notice::SessionEnded,
    ];

    fn word(self) -> &'static str {
        match self {
            Notice::Welcome => "welcome",
            Notice::SignedOut => "signed-out",
            Notice::Posted => "posted",
            Notice::Edited => "edited",
            Notice::Deleted => "deleted",
            Notice::AboutSet => "about",
            Notice::PasswordSet => "password",
            Notice::SessionEnded => "session-ended",
        }
    }

    fn text(self) -> &'static str {
        match self {
            Notice::Welcome => "Welcome! You are signed in.",
            Notice::SignedOut => "You are signed out.",
            Notice::Posted => "Your post is out.",
            Notice::Edited => "Your post was changed.",
            Notice::Deleted => "Your post was deleted.",
            Notice::AboutSet => "Your page was changed.",
            Notice::PasswordSet => "Your password was changed.",
            Notice::SessionEnded => "Signed out there.",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|notice| notice.word() == word)
    }

    pub(super) fn cookie(self) -> Option<HeaderValue> {
        Cookie::Notice.set(self.word(), NEXT_PAGE)
    }
}

/// What is wrong with the fields of a form.
#[derive(Debug, Default)]
pub(super) struct Errors(Vec<(&'static str, Invalid)>);

impl Errors {
    pub(super) fn of(errors: Vec<(&'static str, Invalid)>) -> Self {
        Self(errors)
    }

    /// Keeps an error with its field, and gives back what was without one.
    pub(super) fn take<T>(&mut self, field: &'static str, parsed: Result<T, Invalid>) -> Option<T> {
        match parsed {
            Ok(value) => Some(value),
            Err(why) => {
                self.0.push((field, why));
                None
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn has(&self, field: &str) -> bool {
        self.0.iter().any(|(known, _)| *known == field)
    }

    pub(super) fn listed(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        self.0.iter().map(|(field, Invalid(why))| (*field, *why))
    }

    pub(super) fn summary(&self) -> &'static str {
        match self.0.len() {
            1 => "One thing needs another look:",
            _ => "Some things need another look:",
        }
    }

    pub(super) fn status(&self) -> StatusCode {
        if self.is_empty() {
            StatusCode::OK
        } else {
            StatusCode::UNPROCESSABLE_ENTITY
        }
    }
}
