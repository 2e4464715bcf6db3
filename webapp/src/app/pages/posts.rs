//! The timeline, people's pages, and one's own posts.

use askama::Template;
use bytes::Bytes;
use hyper::{Response, StatusCode};

use super::frame::{Errors, Frame, Notice};
use super::view::{Listing, Shown};
use super::{done, sent_by_viewer};
use crate::app::acts::own;
use crate::app::call::Call;
use crate::app::input::{Invalid, Name, PostText};
use crate::app::paging::{self, Page, Place};
use crate::app::refusal::Refusal;
use crate::app::site::Site;
use crate::app::store::account::{self, AccountId};
use crate::app::store::post::{self, Post, PostId};

#[derive(Template)]
#[template(path = "timeline.html")]
pub(super) struct Timeline<'t> {
    pub(super) frame: &'t Frame,
    pub(super) errors: Errors,
    pub(super) text: &'t str,
    pub(super) posts: Listing,
}

#[derive(Template)]
#[template(path = "person.html")]
pub(super) struct PersonPage<'t> {
    pub(super) frame: &'t Frame,
    pub(super) name: &'t str,
    pub(super) about: &'t str,
    pub(super) since: String,
    pub(super) since_datetime: String,
    pub(super) own: bool,
    pub(super) posts: Listing,
}

#[derive(Template)]
#[template(path = "show_post.html")]
pub(super) struct ShowPost<'t> {
    pub(super) frame: &'t Frame,
    pub(super) post: Shown,
}

#[derive(Template)]
#[template(path = "edit_post.html")]
pub(super) struct EditPost<'t> {
    pub(super) frame: &'t Frame,
    pub(super) errors: Errors,
    pub(super) id: u64,
    pub(super) version: u32,
    pub(super) text: &'t str,
    /// What someone saved meanwhile.
    pub(super) current: Option<&'t str>,
}

#[derive(Template)]
#[template(path = "delete_post.html")]
pub(super) struct DeletePost<'t> {
    pub(super) frame: &'t Frame,
    pub(super) post: Shown,
}

pub(super) async fn timeline(site: &Site, call: &Call<'_>) -> Result<Response<Bytes>, Refusal> {
    show_timeline(site, call, place(call)?, "", Errors::default()).await
}

async fn show_timeline(
    site: &Site,
    call: &Call<'_>,
    place: Place,
    text: &str,
    errors: Errors,
) -> Result<Response<Bytes>, Refusal> {
    let mut visit = site.visit(call).await?;
    let page = page(&mut visit.db, None, place).await;
    let (page, visited) = visit.end(page)?;
    let frame = Frame::new(site, call, Some(visited))?;
    let status = errors.status();
    let timeline = Timeline {
        frame: &frame,
        errors,
        text,
        posts: Listing::new(page, frame.viewer.as_ref(), "/".to_owned()),
    };
    frame.show(status, &timeline)
}

pub(super) async fn add(site: &Site, call: &Call<'_>) -> Result<Response<Bytes>, Refusal> {
    let (form, key) = sent_by_viewer(call)?;
    let mut errors = Errors::default();
    let text = form.get("text");
    let Some(parsed) = errors.take("text", PostText::parse(text)) else {
        return show_timeline(site, call, Place::Newest, text, errors).await;
    };
    let (_, wrote) = site.add_post(call, &parsed, &key).await?;
    done(site, "/", Notice::Posted, &wrote)
}

pub(super) async fn show(
    site: &Site,
    call: &Call<'_>,
    id: PostId,
) -> Result<Response<Bytes>, Refusal> {
    let mut visit = site.visit(call).await?;
    let post = post::get(&mut visit.db, id).await;
    let (post, visited) = visit.end(post)?;
    let post = post.ok_or(Refusal::NotFound)?;
    let frame = Frame::new(site, call, Some(visited))?;
    let post = Shown::new(post, frame.viewer.as_ref());
    let page = ShowPost {
        frame: &frame,
        post,
    };
    frame.show(StatusCode::OK, &page)
}

pub(super) async fn edit_page(
    site: &Site,
    call: &Call<'_>,
    id: PostId,
) -> Result<Response<Bytes>, Refusal> {
    let (frame, post) = mine(site, call, id).await?;
    let page = EditPost {
        frame: &frame,
        errors: Errors::default(),
        id: id.0,
        version: post.version,
        text: &post.text,
        current: None,
    };
    frame.show(StatusCode::OK, &page)
}

pub(super) async fn edit(
    site: &Site,
    call: &Call<'_>,
    id: PostId,
) -> Result<Response<Bytes>, Refusal> {
    let (form, key) = sent_by_viewer(call)?;
    let version = form.get("version").parse();
    let version = version.map_err(|_| Refusal::Malformed("The form is broken."))?;
    let text = form.get("text");
    let mut errors = Errors::default();
    let Some(parsed) = errors.take("text", PostText::parse(text)) else {
        let (frame, _) = mine(site, call, id).await?;
        let page = EditPost {
            frame: &frame,
            errors,
            id: id.0,
            version,
            text,
            current: None,
        };
        return frame.show(StatusCode::UNPROCESSABLE_ENTITY, &page);
    };
    match site.edit_post(call, id, version, &parsed, &key).await {
        Ok(wrote) => done(site, &format!("/posts/{}", id.0), Notice::Edited, &wrote),
        Err(Refusal::Conflict) => conflict(site, call, id, text).await,
        Err(refusal) => Err(refusal),
    }
}

/// Shows what was saved meanwhile beside what was to be saved.
async fn conflict(
    site: &Site,
    call: &Call<'_>,
    id: PostId,
    text: &str,
) -> Result<Response<Bytes>, Refusal> {
    let (frame, post) = mine(site, call, id).await?;
    let why = "It was changed meanwhile. Saving yours replaces the current version.";
    let page = EditPost {
        frame: &frame,
        errors: Errors::of(vec![("text", Invalid(why))]),
        id: id.0,
        version: post.version,
        text,
        current: Some(&post.text),
    };
    frame.show(StatusCode::CONFLICT, &page)
}

pub(super) async fn delete_page(
    site: &Site,
    call: &Call<'_>,
    id: PostId,
) -> Result<Response<Bytes>, Refusal> {
    let (frame, post) = mine(site, call, id).await?;
    let page = DeletePost {
        frame: &frame,
        post: Shown::new(post, frame.viewer.as_ref()),
    };
    frame.show(StatusCode::OK, &page)
}

pub(super) async fn delete(
    site: &Site,
    call: &Call<'_>,
    id: PostId,
) -> Result<Response<Bytes>, Refusal> {
    let (_, key) = sent_by_viewer(call)?;
    let wrote = site.delete_post(call, id, &key).await?;
    done(site, "/", Notice::Deleted, &wrote)
}

pub(super) async fn person(
    site: &Site,
    call: &Call<'_>,
    name: &str,
) -> Result<Response<Bytes>, Refusal> {
    let place = place(call)?;
    let name = Name::parse(name)
        .ok()
        .filter(|parsed| parsed.as_str() == name);
    let name = name.ok_or(Refusal::NotFound)?;
    let mut visit = site.visit(call).await?;
    let db = &mut visit.db;
    let read = async {
        Ok(match account::person(db, &name).await? {
            Some(person) => {
                let page = page(db, Some(person.id), place).await?;
                Some((person, page))
            }
            None => None,
        })
    };
    let read = read.await;
    let (found, visited) = visit.end(read)?;
    let (person, page) = found.ok_or(Refusal::NotFound)?;
    let frame = Frame::new(site, call, Some(visited))?;
    let viewer = frame.viewer.as_ref();
    let page = PersonPage {
        frame: &frame,
        name: &person.name,
        about: &person.about,
        since: person.created_ms.readable(),
        since_datetime: person.created_ms.rfc3339(),
        own: viewer.is_some_and(|viewer| viewer.account == person.id),
        posts: Listing::new(page, viewer, format!("/people/{}", person.name)),
    };
    frame.show(StatusCode::OK, &page)
}

/// One's own post, and the frame to show it in.
async fn mine(site: &Site, call: &Call<'_>, id: PostId) -> Result<(Frame, Post), Refusal> {
    let mut visit = site.visit(call).await?;
    let post = post::get(&mut visit.db, id).await;
    let (post, visited) = visit.end(post)?;
    let viewer = visited.viewer.as_ref().ok_or(Refusal::SignedOut)?;
    let post = own(post, viewer)?;
    Ok((Frame::new(site, call, Some(visited))?, post))
}

fn place(call: &Call<'_>) -> Result<Place, Refusal> {
    Place::parse(&call.query()?).ok_or(Refusal::Malformed("There is no such page of posts."))
}

/// A page of posts. The way to newer ones ends at a full page of the newest.
async fn page(
    db: &mut sqlx::MySqlConnection,
    author: Option<AccountId>,
    place: Place,
) -> sqlx::Result<Page<Post>> {
    let page = post::page(db, author, place, paging::SIZE).await?;
    if matches!(place, Place::After(_)) && page.newer.is_none() {
        return post::page(db, author, Place::Newest, paging::SIZE).await;
    }
    Ok(page)
}
