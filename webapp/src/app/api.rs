//! The same in JSON, for programs. They show the token of their session with each request, so
//! there is no cookie that another site's page could misuse. `openapi.json` describes it.

use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue, WWW_AUTHENTICATE};
use hyper::{Response, StatusCode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::acts::{SignedIn, Wrote};
use super::call::{self, Call};
use super::input::{About, Invalid, Name, Password, PostText};
use super::paging::{self, Page, Place};
use super::refusal::Refusal;
use super::routes::{Api, Found};
use super::servers;
use super::site::{READ_AFTER, Site, Visit, Visited, answered_by, bare};
use super::store::account::{self, Person};
use super::store::post::{self, Post, PostId};
use super::store::session::{self, SessionId, Viewer};

#[cfg(test)]
mod tests;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// RFC 9457.
const PROBLEM: HeaderValue = HeaderValue::from_static("application/problem+json");

const DESCRIPTION: &str = include_str!("api/openapi.json");

/// A client's own name for what it asks for, so that it may ask again.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Credentials {
    name: String,
    password: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewPassword {
    current: String,
    new: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewAbout {
    about: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewPost {
    text: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Edit {
    text: String,
    version: u32,
}

/// Answers a request of the API.
pub(crate) async fn answer(
    site: &Site,
    call: &Call<'_>,
    to: Api,
    found: Found<'_>,
) -> Result<Response<Bytes>, Refusal> {
    match to {
        Api::Description => Ok(raw(StatusCode::OK, JSON, DESCRIPTION.into())),
        Api::SignUp => sign_up(site, call).await,
        Api::SignIn => sign_in(site, call).await,
        Api::SignOut => {
            let wrote = site.sign_out(call).await?.ok_or(Refusal::SignedOut)?;
            Ok(wrote_nothing(site, &wrote))
        }
        Api::Sessions => sessions(site, call).await,
        Api::EndSession => {
            let wrote = site
                .end_session(call, SessionId(found.id), &key(call)?)
                .await?;
            Ok(wrote_nothing(site, &wrote))
        }
        Api::Me => me(site, call).await,
        Api::SetAbout => {
            let NewAbout { about } = body(call)?;
            let about = field("about", About::parse(&about))?;
            let wrote = site.set_about(call, &about, &key(call)?).await?;
            Ok(wrote_nothing(site, &wrote))
        }
        Api::SetPassword => {
            let NewPassword { current, new } = body(call)?;
            let current = Password::guess(&current);
            let wrote = site.set_password(call, current, &new, &key(call)?).await?;
            Ok(wrote_nothing(site, &wrote))
        }
        Api::Person => person(site, call, found.name).await,
        Api::PersonPosts => person_posts(site, call, found.name).await,
        Api::Posts => posts(site, call).await,
        Api::AddPost => {
            let NewPost { text } = body(call)?;
            let text = field("text", PostText::parse(&text))?;
            let (id, wrote) = site.add_post(call, &text, &key(call)?).await?;
            Ok(wrote_value(
                site,
                StatusCode::CREATED,
                &json!({ "id": id.0 }),
                &wrote,
            ))
        }
        Api::Post => show_post(site, call, PostId(found.id)).await,
        Api::EditPost => {
            let Edit { text, version } = body(call)?;
            let text = field("text", PostText::parse(&text))?;
            let id = PostId(found.id);
            let wrote = site
                .edit_post(call, id, version, &text, &key(call)?)
                .await?;
            Ok(wrote_nothing(site, &wrote))
        }
        Api::DeletePost => {
            let wrote = site
                .delete_post(call, PostId(found.id), &key(call)?)
                .await?;
            Ok(wrote_nothing(site, &wrote))
        }
        Api::Status => status(site, call).await,
    }
}

async fn sign_up(site: &Site, call: &Call<'_>) -> Result<Response<Bytes>, Refusal> {
    let Credentials { name, password } = body(call)?;
    let name = field("name", Name::parse(&name))?;
    let password = field("password", Password::choose(&password, &name))?;
    let signed_in = site.sign_up(call, &name, password, &key(call)?).await?;
    Ok(entered(site, &signed_in))
}

async fn sign_in(site: &Site, call: &Call<'_>) -> Result<Response<Bytes>, Refusal> {
    let Credentials { name, password } = body(call)?;
    let name = Name::parse(&name).map_err(|_| Refusal::WrongPassword)?;
    let signed_in = site
        .sign_in(call, &name, Password::guess(&password))
        .await?;
    Ok(entered(site, &signed_in))
}

fn entered(site: &Site, signed_in: &SignedIn) -> Response<Bytes> {
    let value = json!({
        "token": signed_in.secret.reveal(),
        "name": signed_in.name,
        "expires": signed_in.expires.rfc3339(),
    });
    wrote_value(site, StatusCode::CREATED, &value, &signed_in.wrote)
}

async fn sessions(site: &Site, call: &Call<'_>) -> Result<Response<Bytes>, Refusal> {
    let (mut visit, viewer) = signed_in(site, call).await?;
    let sessions = session::list(&mut visit.db, viewer.account, call.now).await;
    let (sessions, visited) = visit.end(sessions)?;
    let sessions = sessions.into_iter().map(|session| {
        json!({
            "id": session.id.0,
            "current": session.id == viewer.session,
            "created": session.created_ms.rfc3339(),
            "expires": session.expires_ms.rfc3339(),
            "address": session.address,
            "agent": session.agent,
        })
    });
    let value = json!({ "sessions": sessions.collect::<Vec<_>>() });
    Ok(read_value(&visited, &value))
}

async fn me(site: &Site, call: &Call<'_>) -> Result<Response<Bytes>, Refusal> {
    let (mut visit, viewer) = signed_in(site, call).await?;
    let person = account::by_id(&mut visit.db, viewer.account).await;
    let (person, visited) = visit.end(person)?;
    let mut value = person_value(&person.ok_or(Refusal::SignedOut)?);
    value["admin"] = viewer.admin.into();
    Ok(read_value(&visited, &value))
}

async fn person(site: &Site, call: &Call<'_>, name: &str) -> Result<Response<Bytes>, Refusal> {
    let name = Name::parse(name).map_err(|_| Refusal::NotFound)?;
    let mut visit = site.visit(call).await?;
    let person = account::person(&mut visit.db, &name).await;
    let (person, visited) = visit.end(person)?;
    let person = person.ok_or(Refusal::NotFound)?;
    Ok(read_value(&visited, &person_value(&person)))
}

fn person_value(person: &Person) -> Value {
    json!({
        "name": person.name,
        "about": person.about,
        "created": person.created_ms.rfc3339(),
    })
}

async fn posts(site: &Site, call: &Call<'_>) -> Result<Response<Bytes>, Refusal> {
    let place = place(call)?;
    let mut visit = site.visit(call).await?;
    let page = post::page(&mut visit.db, None, place, paging::SIZE).await;
    let (page, visited) = visit.end(page)?;
    Ok(read_value(&visited, &page_value(&page)))
}

async fn person_posts(
    site: &Site,
    call: &Call<'_>,
    name: &str,
) -> Result<Response<Bytes>, Refusal> {
    let place = place(call)?;
    let name = Name::parse(name).map_err(|_| Refusal::NotFound)?;
    let mut visit = site.visit(call).await?;
    let db = &mut visit.db;
    let read = async {
        Ok(match account::person(db, &name).await? {
            Some(Person { id, .. }) => Some(post::page(db, Some(id), place, paging::SIZE).await?),
            None => None,
        })
    };
    let read = read.await;
    let (page, visited) = visit.end(read)?;
    let page = page.ok_or(Refusal::NotFound)?;
    Ok(read_value(&visited, &page_value(&page)))
}

fn place(call: &Call<'_>) -> Result<Place, Refusal> {
    Place::parse(&call.query()?).ok_or(Refusal::Malformed("There is no such page of posts."))
}

fn page_value(page: &Page<Post>) -> Value {
    json!({
        "posts": page.items.iter().map(post_value).collect::<Vec<_>>(),
        "older": page.older,
        "newer": page.newer,
    })
}

async fn show_post(site: &Site, call: &Call<'_>, id: PostId) -> Result<Response<Bytes>, Refusal> {
    let mut visit = site.visit(call).await?;
    let post = post::get(&mut visit.db, id).await;
    let (post, visited) = visit.end(post)?;
    let post = post.ok_or(Refusal::NotFound)?;
    Ok(read_value(&visited, &post_value(&post)))
}

fn post_value(post: &Post) -> Value {
    json!({
        "id": post.id.0,
        "author": post.author,
        "text": post.text,
        "version": post.version,
        "created": post.created_ms.rfc3339(),
        "edited": post.edited_ms.map(|edited| edited.rfc3339()),
    })
}

async fn status(site: &Site, call: &Call<'_>) -> Result<Response<Bytes>, Refusal> {
    let (visit, viewer) = signed_in(site, call).await?;
    let ((), visited) = visit.end(Ok(()))?;
    if !viewer.admin {
        return Err(Refusal::Forbidden);
    }
    let value = json!({
        "web": servers::web(call),
        "app": site.name(),
        "db": visited.server,
        "writing": servers::writing(site),
        "servers": servers::list(site),
    });
    Ok(read_value(&visited, &value))
}

async fn signed_in(site: &Site, call: &Call<'_>) -> Result<(Visit, Viewer), Refusal> {
    let mut visit = site.visit(call).await?;
    let viewer = visit.viewer.take().ok_or(Refusal::SignedOut)?;
    Ok((visit, viewer))
}

/// A request's body.
fn body<T: DeserializeOwned>(call: &Call<'_>) -> Result<T, Refusal> {
    let kind = call.header(CONTENT_TYPE.as_str());
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("application/json") {
        return Err(Refusal::MediaType);
    }
    serde_json::from_slice(&call.body)
        .map_err(|_| Refusal::Malformed("The body is not the JSON that is described for this."))
}

fn field<T>(name: &'static str, parsed: Result<T, Invalid>) -> Result<T, Refusal> {
    parsed.map_err(|why| Refusal::Invalid(vec![(name, why)]))
}

fn key(call: &Call<'_>) -> Result<String, Refusal> {
    call::key(call.header(IDEMPOTENCY_KEY.as_str()))
}

fn raw(status: StatusCode, kind: HeaderValue, body: Bytes) -> Response<Bytes> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

fn value(status: StatusCode, kind: HeaderValue, value: &impl Serialize) -> Response<Bytes> {
    match serde_json::to_vec(value) {
        Ok(body) => raw(status, kind, body.into()),
        Err(_) => raw(
            StatusCode::INTERNAL_SERVER_ERROR,
            PROBLEM,
            Bytes::from_static(b"{}"),
        ),
    }
}

fn read_value(visited: &Visited, body: &Value) -> Response<Bytes> {
    let mut response = value(StatusCode::OK, JSON, body);
    answered_by(&mut response, &visited.server);
    response
}

fn wrote_value(site: &Site, status: StatusCode, body: &Value, wrote: &Wrote) -> Response<Bytes> {
    told(site, value(status, JSON, body), wrote)
}

fn wrote_nothing(site: &Site, wrote: &Wrote) -> Response<Bytes> {
    told(site, bare(StatusCode::NO_CONTENT), wrote)
}

/// A response that tells what to bring along to read what was written.
fn told(site: &Site, mut response: Response<Bytes>, wrote: &Wrote) -> Response<Bytes> {
    if let Some(sealed) = site.seal(wrote)
        && let Ok(sealed) = HeaderValue::from_str(&sealed)
    {
        response.headers_mut().insert(READ_AFTER, sealed);
    }
    answered_by(&mut response, &wrote.server);
    response
}

/// Why a request was refused.
pub(crate) fn problem(refusal: &Refusal) -> Response<Bytes> {
    let status = refusal.status();
    let mut told = json!({
        "title": refusal.title(),
        "status": status.as_u16(),
        "detail": refusal.advice(),
    });
    if let Refusal::Invalid(errors) = refusal {
        let errors = errors
            .iter()
            .map(|(field, Invalid(why))| json!({ "field": field, "detail": why }));
        told["errors"] = errors.collect();
    }
    let mut response = value(status, PROBLEM, &told);
    if status == StatusCode::UNAUTHORIZED {
        let bearer = HeaderValue::from_static("Bearer");
        response.headers_mut().insert(WWW_AUTHENTICATE, bearer);
    }
    response
}
