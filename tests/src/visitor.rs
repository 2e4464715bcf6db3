//! Somebody who uses the site, as with a browser without JavaScript: keeps a connection and
//! cookies, and fills in forms.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use crate::http::{Connection, Request, Response};
use crate::layout::SITE;
use crate::tls::Trust;

/// A visitor. Its sockets belong to the namespace of the thread that first asks for something.
#[derive(Debug)]
pub struct Visitor {
    address: SocketAddr,
    trust: Trust,
    limit: Duration,
    cookies: BTreeMap<String, String>,
    connection: Option<Connection>,
    renewals: u64,
}

impl Visitor {
    /// Somebody who is at this address by the site's name; each wait is bounded by `limit`.
    pub fn new(address: SocketAddr, trust: Trust, limit: Duration) -> Self {
        Self {
            address,
            trust,
            limit,
            cookies: BTreeMap::new(),
            connection: None,
            renewals: 0,
        }
    }

    /// How often a connection that was kept turned out to be gone when it was to be used again.
    pub fn renewals(&self) -> u64 {
        self.renewals
    }

    /// Hangs up: what is asked for next is asked for on another connection.
    pub fn hang_up(&mut self) {
        self.connection = None;
    }

    /// Forgets all cookies, as if signed up nowhere.
    pub fn forget(&mut self) {
        self.cookies.clear();
    }

    /// Asks for a page. Where the connection that was kept is gone, asks once more on a new one, as
    /// browsers do.
    pub fn get(&mut self, path: &str) -> io::Result<Response> {
        let kept = self.connection.is_some();
        match self.ask("GET", path, &[], &[]) {
            Err(_) if kept => {
                self.renewals += 1;
                self.ask("GET", path, &[], &[])
            }
            answer => answer,
        }
    }

    /// Fills in the form of a page that goes to `action`, and sends it once. The answer is that to
    /// the form itself: a page, or where to find it.
    pub fn submit(
        &mut self,
        page: &Response,
        action: &str,
        fields: &[(&str, &str)],
    ) -> io::Result<Response> {
        let hidden = hidden_fields(&page.text(), action)
            .ok_or_else(|| io::Error::other(format!("the page has no form for {action}")))?;
        let hidden = hidden.iter().map(|(name, value)| (&**name, &**value));
        let body: Vec<String> = hidden
            .chain(fields.iter().copied())
            .map(|(name, value)| format!("{}={}", encode(name), encode(value)))
            .collect();
        let origin = format!("https://{SITE}");
        let headers = [
            ("Content-Type", "application/x-www-form-urlencoded"),
            ("Origin", &*origin),
        ];
        self.ask("POST", action, &headers, body.join("&").as_bytes())
    }

    /// Goes where an answer leads, if it does.
    pub fn follow(&mut self, answer: Response) -> io::Result<Response> {
        match answer.header("location") {
            Some(location) if (300..400).contains(&answer.status) => {
                let location = location.to_owned();
                self.get(&location)
            }
            _ => Ok(answer),
        }
    }

    fn ask(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<Response> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => Connection::open_tls(self.address, SITE, &self.trust, self.limit)?,
        };
        let cookies: Vec<String> = self
            .cookies
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let cookies = cookies.join("; ");
        let mut headers = headers.to_vec();
        if !cookies.is_empty() {
            headers.push(("Cookie", &cookies));
        }
        let answer = connection.send(&Request {
            method,
            path,
            headers: &headers,
            body,
        })?;
        for cookie in answer.all("set-cookie") {
            keep(&mut self.cookies, cookie);
        }
        if !answer.is_last() {
            self.connection = Some(connection);
        }
        Ok(answer)
    }
}

/// Takes a cookie, or drops it where it is to be forgotten: RFC 6265, section 5.2.
fn keep(cookies: &mut BTreeMap<String, String>, cookie: &str) {
    let mut parts = cookie.split(';').map(str::trim);
    let Some((name, value)) = parts.next().and_then(|pair| pair.split_once('=')) else {
        return;
    };
    if parts.any(|attribute| attribute.eq_ignore_ascii_case("max-age=0")) {
        cookies.remove(name);
    } else {
        cookies.insert(name.to_owned(), value.to_owned());
    }
}

/// The hidden fields of the form for `action`, if the page has one.
fn hidden_fields(page: &str, action: &str) -> Option<Vec<(String, String)>> {
    let mut forms = page.split("<form").skip(1);
    let form = forms.find(|form| {
        let tag = form.split('>').next().unwrap_or_default();
        attribute(tag, "action").is_some_and(|it| it == action)
    })?;
    let form = form.split("</form").next()?;
    let inputs = form.split("<input").skip(1);
    let tags = inputs.filter_map(|input| input.split('>').next());
    let hidden = tags.filter(|tag| attribute(tag, "type").is_some_and(|it| it == "hidden"));
    let fields = hidden.filter_map(|tag| Some((attribute(tag, "name")?, attribute(tag, "value")?)));
    Some(fields.collect())
}

/// The value of an attribute in a tag, where it is quoted.
fn attribute(tag: &str, name: &str) -> Option<String> {
    let (_, rest) = tag.split_once(&format!(" {name}=\""))?;
    let value = rest.split('"').next()?;
    let entities = [
        ("&lt;", "<"),
        ("&#60;", "<"),
        ("&gt;", ">"),
        ("&#62;", ">"),
        ("&quot;", "\""),
        ("&#34;", "\""),
        ("&#39;", "'"),
        ("&amp;", "&"),
        ("&#38;", "&"),
    ];
    let mut value = value.to_owned();
    for (entity, character) in entities {
        value = value.replace(entity, character);
    }
    Some(value)
}

/// As `application/x-www-form-urlencoded` wants it.
fn encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' => {
                char::from(byte).to_string()
            }
            b' ' => "+".to_owned(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_found_by_where_it_goes() {
        let page = "<form method=\"get\" action=\"/search\"><input type=\"hidden\" name=\"a\" \
                    value=\"1\"></form>\n<form method=\"post\" action=\"/posts\" class=\"x\">\n\
                    <input type=\"hidden\" name=\"token\" value=\"a&#38;b\">\n\
                    <input type=\"text\" name=\"text\" value=\"\"></form>";
        let fields = hidden_fields(page, "/posts").unwrap();
        assert_eq!(fields, [("token".to_owned(), "a&b".to_owned())]);
        assert_eq!(hidden_fields(page, "/else"), None);
    }

    #[test]
    fn fields_are_encoded() {
        assert_eq!(encode("a b&c=ü"), "a+b%26c%3D%C3%BC");
    }

    #[test]
    fn cookies_are_kept_until_they_end() {
        let mut cookies = BTreeMap::new();
        keep(&mut cookies, "session=abc; Path=/; Secure; HttpOnly");
        keep(&mut cookies, "other=1");
        keep(&mut cookies, "session=def");
        assert_eq!(cookies["session"], "def");
        keep(&mut cookies, "session=; Path=/; Max-Age=0");
        assert_eq!(cookies.len(), 1);
    }
}
