//! Who answered, and how the databases are.

use askama::Template;
use bytes::Bytes;
use hyper::{Response, StatusCode};

use super::frame::Frame;
use crate::app::call::Call;
use crate::app::refusal::Refusal;
use crate::app::servers::{self, Server};
use crate::app::site::Site;

#[derive(Template)]
#[template(path = "admin.html")]
pub(super) struct Admin<'t> {
    pub(super) frame: &'t Frame,
    pub(super) web: &'t str,
    pub(super) app: &'t str,
    pub(super) db: &'t str,
    /// Whether something can be written; if not, why.
    pub(super) writing: String,
    pub(super) servers: Vec<Server>,
}

pub(super) async fn page(site: &Site, call: &Call<'_>) -> Result<Response<Bytes>, Refusal> {
    let ((), visited) = site.visit(call).await?.end(Ok(()))?;
    match &visited.viewer {
        None => return Err(Refusal::SignedOut),
        Some(viewer) if !viewer.admin => return Err(Refusal::Forbidden),
        Some(_) => {}
    }
    let server = visited.server.clone();
    let frame = Frame::new(site, call, Some(visited))?;
    let page = Admin {
        frame: &frame,
        web: servers::web(call),
        app: site.name(),
        db: &server,
        writing: servers::writing(site),
        servers: servers::list(site),
    };
    frame.show(StatusCode::OK, &page)
}
