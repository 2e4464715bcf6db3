//! The paths of the API, and the methods each of them has.

use hyper::Method;

/// What a path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route<'a> {
    Version,
    Status,
    Stats,
    Metrics,
    Events,
    Ha,
    Switch,
    Release,
    Pair,
    Invitation,
    Join,
    Changes,
    Services,
    Service(&'a str),
    AllBackends,
    Backends(&'a str),
    Backend(&'a str, &'a str),
}

impl<'a> Route<'a> {
    pub(super) fn of(path: &'a str) -> Option<Self> {
        let mut segments = path.strip_prefix("/v1/")?.split('/');
        let route = match (
            segments.next()?,
            segments.next(),
            segments.next(),
            segments.next(),
        ) {
            ("version", None, ..) => Self::Version,
            ("status", None, ..) => Self::Status,
            ("stats", None, ..) => Self::Stats,
            ("metrics", None, ..) => Self::Metrics,
            ("events", None, ..) => Self::Events,
            ("ha", None, ..) => Self::Ha,
            ("ha", Some("switch"), None, _) => Self::Switch,
            ("ha", Some("release"), None, _) => Self::Release,
            ("pair", None, ..) => Self::Pair,
            ("pair", Some("invitation"), None, _) => Self::Invitation,
            ("pair", Some("join"), None, _) => Self::Join,
            ("changes", None, ..) => Self::Changes,
            ("services", None, ..) => Self::Services,
            ("backends", None, ..) => Self::AllBackends,
            ("services", Some(service), None, _) => Self::Service(service),
            ("services", Some(service), Some("backends"), None) => Self::Backends(service),
            ("services", Some(service), Some("backends"), Some(backend)) => {
                Self::Backend(service, backend)
            }
            _ => return None,
        };
        segments.next().is_none().then_some(route)
    }

    /// The methods it has, as the `Allow` header says them.
    pub(super) const fn allow(self) -> &'static str {
        match self {
            Self::Version
            | Self::Status
            | Self::Stats
            | Self::Metrics
            | Self::Events
            | Self::Ha
            | Self::AllBackends => "GET",
            Self::Changes | Self::Pair => "GET, DELETE",
            Self::Switch | Self::Release | Self::Invitation | Self::Join => "POST",
            Self::Services | Self::Backends(_) => "GET, POST",
            Self::Service(_) | Self::Backend(..) => "GET, PATCH, DELETE",
        }
    }

    pub(super) fn has(self, method: &Method) -> bool {
        self.allow().split(", ").any(|each| each == method.as_str())
    }
}
