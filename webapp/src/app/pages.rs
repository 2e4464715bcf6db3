//! The pages: HTML that works without scripts. A form that was taken leads to a page by another
//! request, so that loading it again sends nothing again.

mod admin;
mod entry;
mod frame;
mod posts;
mod refused;
mod settings;
mod view;

#[cfg(test)]
mod tests;

use bytes::Bytes;
use hyper::header::{HeaderValue, LOCATION};
use hyper::{Response, StatusCode};

use super::acts::Wrote;
use super::call::{self, Call, FORM_KEY};
use super::cookies::Cookie;
use super::form::Form;
use super::refusal::Refusal;
use super::routes::{Found, To};
use super::site::{Site, add_cookie, answered_by, bare};
use super::store::post::PostId;
use super::store::session::SessionId;
use super::written;
use frame::Notice;

pub(crate) use refused::refuse;

/// Answers a request for a page.
pub(crate) async fn answer(
    site: &Site,
    call: &Call<'_>,
    found: Found<'_>,
) -> Result<Response<Bytes>, Refusal> {
    match found.to {
        To::Timeline => posts::timeline(site, call).await,
        To::AddPost => posts::add(site, call).await,
        To::ShowPost => posts::show(site, call, PostId(found.id)).await,
        To::EditPage => posts::edit_page(site, call, PostId(found.id)).await,
        To::EditPost => posts::edit(site, call, PostId(found.id)).await,
        To::DeletePage => posts::delete_page(site, call, PostId(found.id)).await,
        To::DeletePost => posts::delete(site, call, PostId(found.id)).await,
        To::Person => posts::person(site, call, found.name).await,
        To::SignUpPage => entry::sign_up_page(site, call).await,
        To::SignUp => entry::sign_up(site, call).await,
        To::SignInPage => entry::sign_in_page(site, call).await,
        To::SignIn => entry::sign_in(site, call).await,
        To::SignOut => entry::sign_out(site, call).await,
        To::Settings => settings::page(site, call).await,
        To::SetAbout => settings::set_about(site, call).await,
        To::SetPassword => settings::set_password(site, call).await,
        To::EndSession => settings::end_session(site, call, SessionId(found.id)).await,
        To::EndOthers => settings::end_others(site, call).await,
        To::Admin => admin::page(site, call).await,
        // Answered elsewhere.
        To::Asset | To::Health | To::Ready | To::Api(_) => Err(Refusal::NotFound),
    }
}

/// The fields of one of our forms, and the key of this one.
fn sent(call: &Call<'_>) -> Result<(Form, String), Refusal> {
    let form = call.form()?;
    call.admit(&form)?;
    let key = call::key(form.get(FORM_KEY))?;
    Ok((form, key))
}

/// The same of a form that takes someone who is signed in.
fn sent_by_viewer(call: &Call<'_>) -> Result<(Form, String), Refusal> {
    // The browser has forgotten a session that ended: that is what to say, not that its form is
    // out of date.
    if call.session.is_none() {
        return Err(Refusal::SignedOut);
    }
    sent(call)
}

/// Leads to another page.
fn lead_to(path: &str) -> Result<Response<Bytes>, Refusal> {
    let path =
        HeaderValue::from_str(path).map_err(|_| Refusal::Malformed("The address is broken."))?;
    let mut response = bare(StatusCode::SEE_OTHER);
    response.headers_mut().insert(LOCATION, path);
    Ok(response)
}

/// Leads to the page that shows what was done, read from where it is to be seen.
fn done(
    site: &Site,
    path: &str,
    notice: Notice,
    wrote: &Wrote,
) -> Result<Response<Bytes>, Refusal> {
    let mut response = lead_to(path)?;
    add_cookie(&mut response, notice.cookie());
    if let Some(sealed) = site.seal(wrote) {
        add_cookie(&mut response, Cookie::Written.set(&sealed, written::LIFE));
    }
    answered_by(&mut response, &wrote.server);
    Ok(response)
}
