//! Which servers there are, for those who look after them.

use serde::Serialize;

use super::call::Call;
use super::site::Site;
use crate::db::{Role, ServerState};

/// A database server.
#[derive(Debug, Serialize)]
pub(crate) struct Server {
    pub(crate) name: String,
    pub(crate) role: &'static str,
    pub(crate) state: String,
    /// How far it is behind.
    pub(crate) lag: String,
    pub(crate) in_use: usize,
}

impl Server {
    fn of(server: ServerState, writable: bool) -> Self {
        let role = match server.role {
            Role::Away => "away",
            Role::Primary => "primary",
            Role::Replica => "replica",
            Role::Standalone => "standalone",
        };
        let state = match (server.role, server.in_rotation) {
            (Role::Primary, _) if writable => "takes writes".to_owned(),
            (Role::Primary, _) => format!("takes no writes: {}", server.why),
            (_, true) => "takes reads".to_owned(),
            (_, false) => format!("out of rotation: {}", server.why),
        };
        Self {
            role,
            state,
            lag: match server.lag {
                Some(lag) => format!("{:.1} s", lag.as_secs_f64()),
                None => "\u{2013}".to_owned(),
            },
            in_use: server.in_use,
            name: server.name,
        }
    }
}

/// The databases as this app server sees them.
pub(crate) fn list(site: &Site) -> Vec<Server> {
    let writable = site.cluster().writable().is_ok();
    let servers = site.cluster().state().into_iter();
    servers.map(|server| Server::of(server, writable)).collect()
}

/// Whether something can be written; if not, why.
pub(crate) fn writing(site: &Site) -> String {
    match site.cluster().writable() {
        Ok(()) => "Everything can be read and written.".to_owned(),
        Err(error) => format!("Writing is paused: {error}."),
    }
}

/// The web server that passed the request on, by its own word.
pub(crate) fn web<'c>(call: &'c Call<'_>) -> &'c str {
    match call.header("x-served-by-web") {
        "" => "none, asked directly",
        name => name,
    }
}
