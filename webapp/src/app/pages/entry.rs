//! Signing up, in and out.

use askama::Template;
use bytes::Bytes;
use hyper::{Method, Response};

use super::frame::{Errors, Frame, Notice};
use super::{done, lead_to, sent};
use crate::app::acts::SignedIn;
use crate::app::call::Call;
use crate::app::cookies::Cookie;
use crate::app::input::{Invalid, Name, Password};
use crate::app::refusal::Refusal;
use crate::app::routes::{self, To};
use crate::app::site::{Site, add_cookie};

#[derive(Template)]
#[template(path = "sign_up.html")]
pub(super) struct SignUp<'t> {
    pub(super) frame: &'t Frame,
    pub(super) errors: Errors,
    pub(super) name: &'t str,
}

#[derive(Template)]
#[template(path = "sign_in.html")]
pub(super) struct SignIn<'t> {
    pub(super) frame: &'t Frame,
    pub(super) errors: Errors,
    pub(super) name: &'t str,
    /// Where to go then.
    pub(super) next: &'t str,
}

pub(super) async fn sign_up_page(site: &Site, call: &Call<'_>) -> Result<Response<Bytes>, Refusal> {
    show_sign_up(site, call, "", Errors::default()).await
}

async fn show_sign_up(
    site: &Site,
    call: &Call<'_>,
    name: &str,
    errors: Errors,
) -> Result<Response<Bytes>, Refusal> {
    let frame = frame(site, call).await?;
    let status = errors.status();
    let page = SignUp {
        frame: &frame,
        errors,
        name,
    };
    frame.show(status, &page)
}

pub(super) async fn sign_up(site: &Site, call: &Call<'_>) -> Result<Response<Bytes>, Refusal> {
    let (form, key) = sent(call)?;
    let mut errors = Errors::default();
    let name = errors.take("name", Name::parse(form.get("name")));
    let password = match &name {
        Some(name) => errors.take("password", Password::choose(form.get("password"), name)),
        None => None,
    };
    let (Some(name), Some(password)) = (name, password) else {
        return show_sign_up(site, call, form.get("name"), errors).await;
    };
    match site.sign_up(call, &name, password, &key).await {
        Ok(signed_in) => enter(site, "/", &signed_in),
        Err(Refusal::Invalid(errors)) => {
            show_sign_up(site, call, form.get("name"), Errors::of(errors)).await
        }
        // The form was sent again, with another password than the first time.
        Err(Refusal::WrongPassword) => {
            let taken = vec![("name", Invalid("This name is taken."))];
            show_sign_up(site, call, form.get("name"), Errors::of(taken)).await
        }
        Err(refusal) => Err(refusal),
    }
}

pub(super) async fn sign_in_page(site: &Site, call: &Call<'_>) -> Result<Response<Bytes>, Refusal> {
    let query = call.query()?;
    let next = local(query.get("next"));
    show_sign_in(site, call, "", next, Errors::default()).await
}

async fn show_sign_in(
    site: &Site,
    call: &Call<'_>,
    name: &str,
    next: &str,
    errors: Errors,
) -> Result<Response<Bytes>, Refusal> {
    let frame = frame(site, call).await?;
    let status = errors.status();
    let page = SignIn {
        frame: &frame,
        errors,
        name,
        next,
    };
    frame.show(status, &page)
}

pub(super) async fn sign_in(site: &Site, call: &Call<'_>) -> Result<Response<Bytes>, Refusal> {
    let (form, _) = sent(call)?;
    let next = local(form.get("next"));
    let password = Password::guess(form.get("password"));
    let signed_in = match Name::parse(form.get("name")) {
        Ok(name) => site.sign_in(call, &name, password).await,
        // Nobody's name, and so refused as any other wrong one.
        Err(_) => Err(Refusal::WrongPassword),
    };
    match signed_in {
        Ok(signed_in) => enter(site, if next.is_empty() { "/" } else { next }, &signed_in),
        Err(Refusal::WrongPassword) => {
            let wrong = vec![("name", Invalid("Name and password do not go together."))];
            show_sign_in(site, call, form.get("name"), next, Errors::of(wrong)).await
        }
        Err(refusal) => Err(refusal),
    }
}

pub(super) async fn sign_out(site: &Site, call: &Call<'_>) -> Result<Response<Bytes>, Refusal> {
    sent(call)?;
    let mut response = match site.sign_out(call).await? {
        Some(wrote) => done(site, "/", Notice::SignedOut, &wrote)?,
        None => lead_to("/")?,
    };
    add_cookie(&mut response, Cookie::Session.clear());
    Ok(response)
}

/// Gives the browser its session.
fn enter(site: &Site, path: &str, signed_in: &SignedIn) -> Result<Response<Bytes>, Refusal> {
    let mut response = done(site, path, Notice::Welcome, &signed_in.wrote)?;
    let cookie = Cookie::Session.set(&signed_in.secret.reveal(), site.session_life());
    add_cookie(&mut response, cookie);
    Ok(response)
}

async fn frame(site: &Site, call: &Call<'_>) -> Result<Frame, Refusal> {
    let ((), visited) = site.visit(call).await?.end(Ok(()))?;
    Frame::new(site, call, Some(visited))
}

/// A path that leads to a page of ours, or nothing.
pub(super) fn local(path: &str) -> &str {
    let found = routes::find(&Method::GET, path);
    let page = found.is_ok_and(|found| {
        !matches!(
            found.to,
            To::Asset | To::Health | To::Ready | To::Api(_) | To::SignInPage
        )
    });
    // A name in a path may be anything; in a header it may not.
    let plain = path.bytes().all(|byte| byte.is_ascii_graphic());
    if page && plain { path } else { "" }
}

/// What a page that cannot be had signed out answers.
pub(super) fn to_sign_in(call: &Call<'_>) -> Result<Response<Bytes>, Refusal> {
    match local(call.parts.uri.path()) {
        "" | "/" => lead_to("/login"),
        next => lead_to(&format!("/login?next={}", next.replace('&', "%26"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_pages_come_next() {
        for page in ["/", "/settings", "/posts/7/edit", "/people/alice"] {
            assert_eq!(local(page), page);
        }
        for other in [
            "",
            "//evil.example",
            "https://evil.example",
            "/\\evil.example",
            "/nowhere",
            "/logout",
            "/api/posts",
            "/assets/x",
            "/login",
            "/people/a\r\nSet-Cookie: x",
            "/people/\u{e9}",
        ] {
            assert_eq!(local(other), "", "{other:?}");
        }
    }
}
