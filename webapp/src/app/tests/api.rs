//! The API, held to its description.

use hyper::Method;
use serde_json::{Value, json};

use super::kit::{App, PASSWORD};

const DESCRIPTION: &str = include_str!("../api/openapi.json");

/// A program that uses the API, and checks each answer against the description.
struct Client {
    app: App,
    token: String,
    /// What it brings along to read what it wrote.
    read_after: String,
    description: Value,
}

impl Client {
    fn new(app: &App) -> Self {
        Self {
            app: app.clone(),
            token: String::new(),
            read_after: String::new(),
            description: serde_json::from_str(DESCRIPTION).unwrap(),
        }
    }

    async fn sign_up(app: &App, name: &str) -> Self {
        let mut client = Self::new(app);
        let body = json!({ "name": name, "password": PASSWORD });
        let (status, session) = client.ask("POST /api/accounts", &[], Some(body)).await;
        assert_eq!(status, 201, "{session}");
        client.token = session["token"].as_str().unwrap().to_owned();
        client
    }

    /// Asks for `"METHOD /path"`. What is described is the path with its last number or name left
    /// open.
    async fn ask(
        &mut self,
        what: &str,
        headers: &[(&str, &str)],
        body: Option<Value>,
    ) -> (u16, Value) {
        let (method, path) = what.split_once(' ').unwrap();
        let bearer = format!("Bearer {}", self.token);
        let read_after = self.read_after.clone();
        let mut headers = headers.to_vec();
        headers.push(("content-type", "application/json"));
        if !self.token.is_empty() {
            headers.push(("authorization", &bearer));
        }
        if !read_after.is_empty() {
            headers.push(("read-after", &read_after));
        }
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let mut browser = self.app.browser();
        let answer = browser
            .ask(method.clone(), path, &headers, Ok(body.into()))
            .await;
        if !answer.header("read-after").is_empty() {
            self.read_after = answer.header("read-after").to_owned();
        }
        assert!(browser.cookies.is_empty(), "the API sets no cookies");
        let value = if answer.text.is_empty() {
            Value::Null
        } else {
            serde_json::from_str(&answer.text).unwrap()
        };
        self.check(&method, path, &answer, &value);
        (answer.status, value)
    }

    /// Whether the answer is one that is described.
    fn check(&self, method: &Method, path: &str, answer: &super::kit::Answer, value: &Value) {
        let path = path.split('?').next().unwrap();
        let paths = self.description["paths"].as_object().unwrap();
        let described = paths.iter().find(|(pattern, item)| {
            let method = method.as_str().to_ascii_lowercase();
            fits(pattern, path) && item.get(&method).is_some()
        });
        let (pattern, item) =
            described.unwrap_or_else(|| panic!("{method} {path} is not described"));
        let operation = &item[method.as_str().to_ascii_lowercase()];
        let responses = &operation["responses"];
        let status = answer.status.to_string();
        let response = match responses.get(&status) {
            Some(response) => response,
            None => {
                assert!(
                    answer.status >= 400,
                    "{method} {pattern}: {status} is not described"
                );
                self.resolve(&responses["default"])
            }
        };
        if response["headers"].get("Read-After").is_some() {
            assert!(
                !answer.header("read-after").is_empty(),
                "{method} {pattern}"
            );
        }
        match response["content"].as_object() {
            Some(content) => {
                let (kind, media) = content.iter().next().unwrap();
                assert_eq!(answer.header("content-type"), kind, "{method} {pattern}");
                self.conform(&media["schema"], value, pattern);
            }
            None => assert_eq!(answer.text, "", "{method} {pattern}"),
        }
    }

    fn resolve<'d>(&'d self, schema: &'d Value) -> &'d Value {
        match schema["$ref"].as_str() {
            Some(reference) => self.description.pointer(&reference[1..]).unwrap(),
            None => schema,
        }
    }

    /// As much of JSON Schema as the description uses for what is answered.
    fn conform(&self, schema: &Value, value: &Value, at: &str) {
        let schema = self.resolve(schema);
        if let Some(choices) = schema["enum"].as_array() {
            assert!(choices.contains(value), "{at}: {value}");
            return;
        }
        let kinds: Vec<&str> = match &schema["type"] {
            Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
            kind => vec![kind.as_str().unwrap()],
        };
        let kind = match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(number) if number.is_u64() => "integer",
            Value::Number(_) => "number",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        assert!(kinds.contains(&kind), "{at}: {value} is no {kinds:?}");
        if let (Some("date-time"), Some(text)) = (schema["format"].as_str(), value.as_str()) {
            humantime::parse_rfc3339(text).unwrap();
        }
        if let (Some(items), Some(values)) = (schema.get("items"), value.as_array()) {
            values
                .iter()
                .for_each(|value| self.conform(items, value, at));
        }
        if let (Some(properties), Some(fields)) =
            (schema["properties"].as_object(), value.as_object())
        {
            for name in schema["required"].as_array().into_iter().flatten() {
                assert!(
                    fields.contains_key(name.as_str().unwrap()),
                    "{at} lacks {name}"
                );
            }
            for (name, value) in fields {
                let at = format!("{at}.{name}");
                let property = properties
                    .get(name)
                    .unwrap_or_else(|| panic!("{at} is unexpected"));
                self.conform(property, value, &at);
            }
        }
    }
}

fn fits(pattern: &str, path: &str) -> bool {
    let (pattern, path): (Vec<_>, Vec<_>) =
        (pattern.split('/').collect(), path.split('/').collect());
    pattern.len() == path.len()
        && pattern
            .iter()
            .zip(&path)
            .all(|(part, segment)| part.starts_with('{') || part == segment)
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_pages_do_can_be_done() {
    let app = App::start().await;
    let mut alice = Client::sign_up(&app, "api_alice").await;
    let (status, me) = alice.ask("GET /api/account", &[], None).await;
    assert_eq!(
        (status, &me["name"], &me["admin"]),
        (200, &json!("api_alice"), &json!(false))
    );

    let text = "<b>Hello</b> '; DROP TABLE post; --";
    let body = json!({ "text": text });
    let key = [("idempotency-key", "one")];
    let (status, post) = alice.ask("POST /api/posts", &key, Some(body.clone())).await;
    assert_eq!(status, 201);
    let (_, again) = alice.ask("POST /api/posts", &key, Some(body.clone())).await;
    assert_eq!(post, again);
    let (_, other) = alice.ask("POST /api/posts", &[], Some(body)).await;
    assert_ne!(post, other);

    let one = format!("/api/posts/{}", post["id"]);
    let (_, read) = alice.ask(&format!("GET {one}"), &[], None).await;
    assert_eq!(
        (&read["text"], &read["version"], &read["edited"]),
        (&json!(text), &json!(0), &Value::Null)
    );
    let edit = |version| Some(json!({ "text": "Changed", "version": version }));
    let (status, _) = alice.ask(&format!("PUT {one}"), &[], edit(0)).await;
    assert_eq!(status, 204);
    let (status, _) = alice.ask(&format!("PUT {one}"), &[], edit(0)).await;
    assert_eq!(status, 409);
    let (_, read) = alice.ask(&format!("GET {one}"), &[], None).await;
    assert_eq!(
        (&read["text"], &read["version"]),
        (&json!("Changed"), &json!(1))
    );

    let (status, posts) = alice
        .ask("GET /api/accounts/api_alice/posts", &[], None)
        .await;
    assert_eq!((status, posts["posts"].as_array().unwrap().len()), (200, 2));
    let before = format!("GET /api/posts?before={}", other["id"]);
    let (status, posts) = alice.ask(&before, &[], None).await;
    assert_eq!((status, &posts["posts"][0]["id"]), (200, &post["id"]));
    let (status, _) = alice.ask(&format!("DELETE {one}"), &[], None).await;
    assert_eq!(status, 204);
    assert_eq!(alice.ask(&format!("GET {one}"), &[], None).await.0, 404);
    assert_eq!(alice.ask(&format!("DELETE {one}"), &[], None).await.0, 404);

    let about = json!({ "about": "At the API" });
    assert_eq!(
        alice
            .ask("PUT /api/account/about", &[], Some(about))
            .await
            .0,
        204
    );
    let (_, person) = alice.ask("GET /api/accounts/api_alice", &[], None).await;
    assert_eq!(person["about"], "At the API");

    let mut second = Client::new(&app);
    let credentials = json!({ "name": "api_alice", "password": PASSWORD });
    let (status, session) = second
        .ask("POST /api/sessions", &[], Some(credentials))
        .await;
    assert_eq!(status, 201);
    second.token = session["token"].as_str().unwrap().to_owned();
    let (_, sessions) = second.ask("GET /api/sessions", &[], None).await;
    let sessions = sessions["sessions"].as_array().unwrap().clone();
    assert_eq!(sessions.len(), 2);
    assert_eq!(
        (&sessions[0]["current"], &sessions[1]["current"]),
        (&json!(true), &json!(false))
    );
    let end = format!("DELETE /api/sessions/{}", sessions[1]["id"]);
    assert_eq!(second.ask(&end, &[], None).await.0, 204);
    alice.read_after = second.read_after.clone();
    assert_eq!(alice.ask("GET /api/account", &[], None).await.0, 401);

    let password = json!({ "current": PASSWORD, "new": "a new horse battery" });
    let (status, _) = second
        .ask("PUT /api/account/password", &[], Some(password))
        .await;
    assert_eq!(status, 204);
    assert_eq!(second.ask("GET /api/status", &[], None).await.0, 403);
    app.sql("UPDATE account SET admin = 1 WHERE name = 'api_alice'");
    // An administrator's right is read like anything else.
    let about = json!({ "about": "" });
    second.ask("PUT /api/account/about", &[], Some(about)).await;
    let (status, told) = second.ask("GET /api/status", &[], None).await;
    assert_eq!(status, 200);
    assert_eq!(
        (&told["web"], &told["app"]),
        (&json!("web1"), &json!("app1"))
    );
    assert_eq!(told["servers"][0]["role"], "primary");

    assert_eq!(second.ask("DELETE /api/session", &[], None).await.0, 204);
    assert_eq!(second.ask("DELETE /api/session", &[], None).await.0, 401);
    assert_eq!(
        Client::new(&app)
            .ask("GET /api/openapi.json", &[], None)
            .await
            .0,
        200
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_a_problem_that_says_so() {
    let app = App::start().await;
    let mut alice = Client::sign_up(&app, "problem_alice").await;
    let mut nobody = Client::new(&app);
    let text = |text: &str| Some(json!({ "text": text }));
    for (what, body, status) in [
        ("POST /api/posts", text(""), 422),
        ("POST /api/posts", text(&"x".repeat(1001)), 422),
        ("POST /api/posts", text("a\u{0}b"), 422),
        ("POST /api/posts", Some(json!({ "text": 1 })), 400),
        (
            "POST /api/posts",
            Some(json!({ "text": "a", "as": "bob" })),
            400,
        ),
        ("POST /api/posts", Some(json!([])), 400),
        ("POST /api/posts", None, 400),
        ("GET /api/posts?before=x", None, 400),
        ("GET /api/posts/999999999", None, 404),
        ("GET /api/accounts/nobody_at_all", None, 404),
        ("GET /api/accounts/%27%20OR%201=1", None, 404),
        ("DELETE /api/sessions/999999999", None, 404),
        (
            "POST /api/accounts",
            Some(json!({ "name": "a", "password": PASSWORD })),
            422,
        ),
        (
            "POST /api/accounts",
            Some(json!({ "name": "problem_alice", "password": PASSWORD })),
            422,
        ),
        (
            "POST /api/sessions",
            Some(json!({ "name": "problem_alice", "password": "no" })),
            401,
        ),
    ] {
        let (answered, problem) = alice.ask(what, &[], body).await;
        assert_eq!(answered, status, "{what}: {problem}");
        assert_eq!(problem["status"], status);
    }
    for what in [
        "GET /api/account",
        "GET /api/sessions",
        "DELETE /api/posts/1",
        "GET /api/status",
    ] {
        assert_eq!(nobody.ask(what, &[], None).await.0, 401, "{what}");
    }
    assert_eq!(nobody.ask("POST /api/posts", &[], text("a")).await.0, 401);

    // As a form, which another site's page could send; and with the cookie that it would bring.
    let mut browser = app.signed_up("problem_bob").await;
    let plain = [
        ("content-type", "text/plain"),
        ("origin", "https://evil.example"),
    ];
    let body = json!({ "text": "forged by api" }).to_string();
    let answer = browser
        .ask(Method::POST, "/api/posts", &plain, Ok(body.clone().into()))
        .await;
    assert_eq!(answer.status, 415);
    let json = [
        ("content-type", "application/json"),
        ("origin", "https://evil.example"),
    ];
    let answer = browser
        .ask(Method::POST, "/api/posts", &json, Ok(body.into()))
        .await;
    assert_eq!(answer.status, 401);
    assert_eq!(answer.header("www-authenticate"), "Bearer");
    assert_eq!(
        app.sql("SELECT COUNT(*) FROM post WHERE text = 'forged by api'"),
        "0"
    );
    let answer = browser.get("/api/nowhere").await;
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (404, "application/problem+json")
    );
    let answer = browser
        .ask(Method::DELETE, "/api/posts", &[], Ok("".into()))
        .await;
    assert_eq!(
        (answer.status, answer.header("allow")),
        (405, "GET, HEAD, POST")
    );
}
