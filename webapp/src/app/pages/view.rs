//! Posts as pages show them.

use crate::app::paging::Page;
use crate::app::store::post::Post;
use crate::app::store::session::Viewer;

/// A post.
pub(super) struct Shown {
    pub(super) id: u64,
    pub(super) author: String,
    pub(super) text: String,
    pub(super) time: String,
    pub(super) datetime: String,
    pub(super) edited: bool,
    /// Whether the reader wrote it.
    pub(super) own: bool,
}

impl Shown {
    pub(super) fn new(post: Post, viewer: Option<&Viewer>) -> Self {
        Self {
            id: post.id.0,
            time: post.created_ms.readable(),
            datetime: post.created_ms.rfc3339(),
            edited: post.edited_ms.is_some(),
            own: viewer.is_some_and(|viewer| viewer.account == post.account),
            author: post.author,
            text: post.text,
        }
    }
}

/// A page of posts, with the way to its neighbours.
pub(super) struct Listing {
    pub(super) items: Vec<Shown>,
    pub(super) older: Option<u64>,
    pub(super) newer: Option<u64>,
    /// Where the pages are.
    pub(super) path: String,
    /// What to say instead of posts.
    pub(super) nothing: &'static str,
}

impl Listing {
    pub(super) fn new(page: Page<Post>, viewer: Option<&Viewer>, path: String) -> Self {
        let nothing = match (page.older, page.newer) {
            (None, None) => "Nothing was written yet.",
            _ => "There is nothing further this way.",
        };
        let posts = page.items.into_iter();
        Self {
            items: posts.map(|post| Shown::new(post, viewer)).collect(),
            older: page.older,
            newer: page.newer,
            path,
            nothing,
        }
    }
}
