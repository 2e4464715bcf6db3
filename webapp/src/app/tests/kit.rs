//! Databases, app servers over them, and browsers.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use hyper::header::{COOKIE, HeaderMap, LOCATION, SET_COOKIE};
use hyper::{Method, Request};
use kit::mariadb::{MariaDb, Options, Place};
use kit::pki::Authority;
use tempfile::TempDir;

use crate::app::attempts::Allowance;
use crate::app::ready::prepare;
use crate::app::site::{Rules, Site};
use crate::app::store::Moment;
use crate::db::{Cluster, Config, Limits};
use crate::server::{Readiness, Unread};

/// How long something may take that is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) const PASSWORD: &str = "correct horse battery";

/// A primary and its replicas. They end when this is dropped.
pub(super) struct Databases {
    mariadb: Mutex<MariaDb>,
    _directory: TempDir,
}

impl Databases {
    pub(super) fn start(servers: u8) -> Arc<Self> {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::create(&directory.path().join("pki")).unwrap();
        let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tmp");
        let options = Options {
            directory: directory.path(),
            authority: &authority,
            template: &target.join("empty-mariadb"),
            keep: false,
        };
        let mariadb = MariaDb::start(&options, Place::on_loopback(servers).unwrap()).unwrap();
        Arc::new(Self {
            mariadb: Mutex::new(mariadb),
            _directory: directory,
        })
    }

    /// Those of all tests that run at the same time and harm none.
    pub(super) fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<Databases>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let started = Self::start(2);
            *shared = Arc::downgrade(&started);
            started
        })
    }

    pub(super) fn servers(&self) -> MutexGuard<'_, MariaDb> {
        self.mariadb.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A program's own view of them.
    pub(super) fn cluster(&self) -> Cluster {
        let config: Config = toml::from_str(&self.servers().config("")).unwrap();
        let limits = Limits {
            probe_interval: Duration::from_millis(100),
            ..config.limits.clone()
        };
        Cluster::start(Config { limits, ..config }).unwrap()
    }
}

pub(super) fn rules() -> Rules {
    let plenty = Allowance {
        burst: 1000,
        every: Duration::from_millis(1),
    };
    Rules {
        session_life: Duration::from_secs(3600),
        account_attempts: plenty,
        network_attempts: plenty,
        hashing: 2,
        name_servers: true,
    }
}

/// An app server, and the databases that it needs.
#[derive(Clone)]
pub(super) struct App {
    pub(super) site: Arc<Site>,
    pub(super) databases: Arc<Databases>,
}

impl App {
    /// One that is ready.
    pub(super) async fn start() -> Self {
        Self::over(Databases::shared(), rules()).await
    }

    pub(super) async fn over(databases: Arc<Databases>, rules: Rules) -> Self {
        let app = Self::begin(databases, rules);
        app.until_ready().await;
        app
    }

    /// One that has just begun.
    pub(super) fn begin(databases: Arc<Databases>, rules: Rules) -> Self {
        let cluster = databases.cluster();
        let site = Site::new("app1", cluster, Readiness::default(), rules).unwrap();
        let site = Arc::new(site);
        tokio::spawn(prepare(Arc::clone(&site)));
        Self { site, databases }
    }

    pub(super) async fn until_ready(&self) {
        self.until("/readyz is 200", async |browser| {
            browser.get("/readyz").await.status == 200
        })
        .await;
    }

    /// Waits until something holds.
    pub(super) async fn until(&self, what: &str, holds: impl AsyncFn(&mut Browser) -> bool) {
        let mut browser = self.browser();
        let waited = tokio::time::timeout(PATIENCE, async {
            while !holds(&mut browser).await {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        if waited.await.is_err() {
            let ready = browser.get("/readyz").await.text;
            panic!("waited in vain until {what}; /readyz says {ready}");
        }
    }

    pub(super) fn browser(&self) -> Browser {
        Browser {
            app: self.clone(),
            cookies: BTreeMap::new(),
            address: "192.0.2.7".to_owned(),
            agent: "Test/1.0".to_owned(),
            later: Duration::ZERO,
        }
    }

    /// A browser whose user has just signed up.
    pub(super) async fn signed_up(&self, name: &str) -> Browser {
        let mut browser = self.browser();
        let page = browser.get("/signup").await;
        let fields = [("name", name), ("password", PASSWORD)];
        let answer = browser.submit(&page, "/signup", &fields).await;
        assert_eq!(answer.status, 303, "{}", answer.text);
        browser
    }

    /// Runs a statement on the primary, and returns its rows.
    pub(super) fn sql(&self, statement: &str) -> String {
        let mut servers = self.databases.servers();
        let primary = servers.server("db1").unwrap();
        primary.sql(&format!("USE webapp; {statement}")).unwrap()
    }
}

/// Someone's browser, without scripts, behind the web tier.
#[derive(Clone)]
pub(super) struct Browser {
    app: App,
    pub(super) cookies: BTreeMap<String, String>,
    pub(super) address: String,
    pub(super) agent: String,
    /// How much later it is for this browser's requests.
    pub(super) later: Duration,
}

/// What was answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) text: String,
}

impl Browser {
    pub(super) async fn get(&mut self, path: &str) -> Answer {
        self.ask(Method::GET, path, &[], Ok(Bytes::new())).await
    }

    /// Fills in the form of a page that goes to `action`. The answer is not followed.
    pub(super) async fn submit(
        &mut self,
        page: &Answer,
        action: &str,
        fields: &[(&str, &str)],
    ) -> Answer {
        let form = page.form(action);
        let hidden = form.iter().map(|(name, value)| (&**name, &**value));
        let fields: Vec<_> = hidden.chain(fields.iter().copied()).collect();
        self.post(action, &fields).await
    }

    pub(super) async fn post(&mut self, action: &str, fields: &[(&str, &str)]) -> Answer {
        let pairs = fields
            .iter()
            .map(|(name, value)| format!("{name}={}", escape(value)));
        let body = pairs.collect::<Vec<_>>().join("&");
        self.post_raw(action, body.into()).await
    }

    pub(super) async fn post_raw(&mut self, action: &str, body: Bytes) -> Answer {
        let headers = [
            ("content-type", "application/x-www-form-urlencoded"),
            ("origin", "https://www.foobar.com"),
            ("sec-fetch-site", "same-origin"),
        ];
        self.ask(Method::POST, action, &headers, Ok(body)).await
    }

    /// Goes where an answer leads.
    pub(super) async fn follow(&mut self, answer: &Answer) -> Answer {
        assert_eq!(answer.status, 303, "{}", answer.text);
        let path = answer.location().to_owned();
        self.get(&path).await
    }

    /// Submits, and goes where that leads.
    pub(super) async fn send(
        &mut self,
        page: &Answer,
        action: &str,
        fields: &[(&str, &str)],
    ) -> Answer {
        let answer = self.submit(page, action, fields).await;
        self.follow(&answer).await
    }

    /// Opens a page and writes a post there.
    pub(super) async fn write(&mut self, text: &str) -> Answer {
        let page = self.get("/").await;
        self.send(&page, "/posts", &[("text", text)]).await
    }

    pub(super) async fn ask(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Result<Bytes, Unread>,
    ) -> Answer {
        let cookies = self
            .cookies
            .iter()
            .map(|(name, value)| format!("{name}={value}"));
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "app1:9443")
            .header("x-forwarded-host", "www.foobar.com")
            .header("x-forwarded-proto", "https")
            .header("x-forwarded-for", &self.address)
            .header("x-served-by-web", "web1")
            .header("user-agent", &self.agent)
            .header(COOKIE, cookies.collect::<Vec<_>>().join("; "));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let web = IpAddr::from([10, 0, 2, 11]);
        let now = Moment::now().after(self.later);
        let response = self.app.site.respond(&parts, body, web, now).await;
        let (parts, body) = response.into_parts();
        for cookie in parts.headers.get_all(SET_COOKIE) {
            self.keep(cookie.to_str().unwrap());
        }
        Answer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            text: String::from_utf8(body.to_vec()).unwrap(),
        }
    }

    fn keep(&mut self, cookie: &str) {
        // A browser takes a __Host- cookie only with all of these.
        for part in ["Path=/", "Secure", "HttpOnly", "SameSite=Lax"] {
            assert!(cookie.split("; ").any(|it| it == part), "{cookie}");
        }
        let (name, value) = cookie.split(';').next().unwrap().split_once('=').unwrap();
        assert!(name.starts_with("__Host-"), "{cookie}");
        if cookie.ends_with("Max-Age=0") {
            self.cookies.remove(name);
        } else {
            self.cookies.insert(name.to_owned(), value.to_owned());
        }
    }
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    pub(super) fn location(&self) -> &str {
        self.header(LOCATION.as_str())
    }

    pub(super) fn shows(&self, text: &str) -> bool {
        self.text.contains(text)
    }

    /// The hidden fields of the form that goes to `action`.
    pub(super) fn form(&self, action: &str) -> Vec<(String, String)> {
        let begin = format!("action=\"{action}\"");
        let (_, rest) = self
            .text
            .split_once(&begin)
            .unwrap_or_else(|| panic!("no form for {action} in {}", self.text));
        let form = rest.split("</form>").next().unwrap();
        let hidden = form.split("<input type=\"hidden\" name=\"").skip(1);
        let fields = hidden.map(|rest| {
            let (name, rest) = rest.split_once("\" value=\"").unwrap();
            let value = rest.split('"').next().unwrap();
            (name.to_owned(), value.to_owned())
        });
        fields.collect()
    }

    /// The numbers of the posts on the page, in their order.
    pub(super) fn posts(&self) -> Vec<u64> {
        let ids = self.text.split("id=\"post-").skip(1);
        ids.map(|rest| rest.split('"').next().unwrap().parse().unwrap())
            .collect()
    }
}

/// As `application/x-www-form-urlencoded` wants it.
pub(super) fn escape(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// As it stands in a page.
pub(super) fn in_page(text: &str) -> String {
    text.replace('&', "&#38;")
        .replace('<', "&#60;")
        .replace('>', "&#62;")
        .replace('"', "&#34;")
        .replace('\'', "&#39;")
}
