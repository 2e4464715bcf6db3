//! Which requests there are.

use hyper::Method;

use super::refusal::Refusal;

/// A request's kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum To {
    Timeline,
    AddPost,
    ShowPost,
    EditPage,
    EditPost,
    DeletePage,
    DeletePost,
    Person,
    SignUpPage,
    SignUp,
    SignInPage,
    SignIn,
    SignOut,
    Settings,
    SetAbout,
    SetPassword,
    EndSession,
    EndOthers,
    Admin,
    Asset,
    Health,
    Ready,
    Api(Api),
}

/// A request's kind, of those that speak JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Api {
    Description,
    SignUp,
    SignIn,
    Sessions,
    EndSession,
    SignOut,
    Me,
    SetAbout,
    SetPassword,
    Person,
    PersonPosts,
    Posts,
    AddPost,
    Post,
    EditPost,
    DeletePost,
    Status,
}

/// A line of the table. In a path, `{id}` stands for a number and `{name}` for a segment.
pub(crate) struct Route {
    pub(crate) method: Method,
    pub(crate) path: &'static str,
    pub(crate) to: To,
}

/// A request's kind, with what its path says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found<'p> {
    pub(crate) to: To,
    pub(crate) id: u64,
    pub(crate) name: &'p str,
}

const fn get(path: &'static str, to: To) -> Route {
    Route {
        method: Method::GET,
        path,
        to,
    }
}

const fn post(path: &'static str, to: To) -> Route {
    Route {
        method: Method::POST,
        path,
        to,
    }
}

const fn api(method: Method, path: &'static str, to: Api) -> Route {
    Route {
        method,
        path,
        to: To::Api(to),
    }
}

/// All of them.
pub(crate) const ROUTES: &[Route] = &[
    get("/", To::Timeline),
    post("/posts", To::AddPost),
    get("/posts/{id}", To::ShowPost),
    get("/posts/{id}/edit", To::EditPage),
    post("/posts/{id}/edit", To::EditPost),
    get("/posts/{id}/delete", To::DeletePage),
    post("/posts/{id}/delete", To::DeletePost),
    get("/people/{name}", To::Person),
    get("/signup", To::SignUpPage),
    post("/signup", To::SignUp),
    get("/login", To::SignInPage),
    post("/login", To::SignIn),
    post("/logout", To::SignOut),
    get("/settings", To::Settings),
    post("/settings/about", To::SetAbout),
    post("/settings/password", To::SetPassword),
    post("/settings/sessions/{id}/end", To::EndSession),
    post("/settings/sessions/end-others", To::EndOthers),
    get("/admin", To::Admin),
    get("/assets/{name}", To::Asset),
    get("/healthz", To::Health),
    get("/readyz", To::Ready),
    api(Method::GET, "/api/openapi.json", Api::Description),
    api(Method::POST, "/api/accounts", Api::SignUp),
    api(Method::GET, "/api/accounts/{name}", Api::Person),
    api(Method::GET, "/api/accounts/{name}/posts", Api::PersonPosts),
    api(Method::GET, "/api/account", Api::Me),
    api(Method::PUT, "/api/account/about", Api::SetAbout),
    api(Method::PUT, "/api/account/password", Api::SetPassword),
    api(Method::GET, "/api/sessions", Api::Sessions),
    api(Method::POST, "/api/sessions", Api::SignIn),
    api(Method::DELETE, "/api/sessions/{id}", Api::EndSession),
    api(Method::DELETE, "/api/session", Api::SignOut),
    api(Method::GET, "/api/posts", Api::Posts),
    api(Method::POST, "/api/posts", Api::AddPost),
    api(Method::GET, "/api/posts/{id}", Api::Post),
    api(Method::PUT, "/api/posts/{id}", Api::EditPost),
    api(Method::DELETE, "/api/posts/{id}", Api::DeletePost),
    api(Method::GET, "/api/status", Api::Status),
];

/// Whether a path belongs to the JSON API, whether or not there is such a request.
pub(crate) fn is_api(path: &str) -> bool {
    path == "/api" || path.starts_with("/api/")
}

/// Finds the kind of a request. HEAD is what GET is.
pub(crate) fn find<'p>(method: &Method, path: &'p str) -> Result<Found<'p>, Refusal> {
    let method = match *method {
        Method::HEAD => &Method::GET,
        _ => method,
    };
    let mut others: Vec<&str> = Vec::new();
    for route in ROUTES {
        let Some((id, name)) = matched(route.path, path) else {
            continue;
        };
        if route.method == *method {
            let to = route.to;
            return Ok(Found { to, id, name });
        }
        others.push(route.method.as_str());
        if route.method == Method::GET {
            others.push(Method::HEAD.as_str());
        }
    }
    if others.is_empty() {
        Err(Refusal::NotFound)
    } else {
        Err(Refusal::Method(others.join(", ")))
    }
}

/// What a path says where a route's path leaves it open.
fn matched<'p>(pattern: &str, path: &'p str) -> Option<(u64, &'p str)> {
    let (mut id, mut name) = (0, "");
    let mut segments = path.split('/');
    for part in pattern.split('/') {
        let segment = segments.next()?;
        match part {
            "{id}" => id = number(segment)?,
            "{name}" => name = Some(segment).filter(|name| !name.is_empty())?,
            fixed if fixed == segment => {}
            _ => return None,
        }
    }
    segments.next().is_none().then_some((id, name))
}

/// A number as it is written in links: one page has one address.
fn number(segment: &str) -> Option<u64> {
    let digits = segment.bytes().all(|byte| byte.is_ascii_digit());
    let plain = digits && !segment.starts_with('0');
    plain.then(|| segment.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(method: Method, path: &str) -> Option<(To, u64, &str)> {
        let found = find(&method, path).ok()?;
        Some((found.to, found.id, found.name))
    }

    #[test]
    fn each_route_is_found_by_its_own_path() {
        for route in ROUTES {
            let path = route.path.replace("{id}", "7").replace("{name}", "alice");
            let found = find(&route.method, &path).unwrap();
            assert_eq!(found.to, route.to, "{path}");
            assert_eq!(found.id == 7, route.path.contains("{id}"));
            assert_eq!(found.name == "alice", route.path.contains("{name}"));
        }
    }

    #[test]
    fn what_is_not_in_the_table_is_not_found() {
        for path in [
            "",
            "//",
            "/posts/",
            "/posts/x",
            "/posts/-1",
            "/posts/+1",
            "/posts/07",
            "/posts/1/",
            "/posts//edit",
            "/posts/18446744073709551616",
            "/people/",
            "/people/a/b",
            "/ADMIN",
            "/login/",
            "/api",
            "/%6cogin",
        ] {
            assert_eq!(to(Method::GET, path), None, "{path:?}");
        }
    }

    #[test]
    fn another_method_is_told_which_there_are() {
        let allowed = |method, path| match find(&method, path) {
            Err(Refusal::Method(allowed)) => allowed,
            other => panic!("{other:?}"),
        };
        assert_eq!(allowed(Method::DELETE, "/login"), "GET, HEAD, POST");
        assert_eq!(allowed(Method::GET, "/logout"), "POST");
        assert_eq!(
            allowed(Method::PATCH, "/api/posts/7"),
            "GET, HEAD, PUT, DELETE"
        );
        assert_eq!(to(Method::HEAD, "/login"), Some((To::SignInPage, 0, "")));
    }
}
