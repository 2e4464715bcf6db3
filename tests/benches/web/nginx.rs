//! nginx's configuration: good for many clients, and doing all that the web server does.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;

use kit::layout::SITE;
use kit::pki::Files;

use crate::scenario::PAGE;

/// What the configuration is made from.
pub(crate) struct Settings<'a> {
    /// The server's name.
    pub(crate) name: &'a str,
    pub(crate) address: SocketAddr,
    pub(crate) workers: usize,
    /// Where it keeps its own files.
    pub(crate) directory: &'a Path,
    pub(crate) log: &'a Path,
    /// The files that it serves.
    pub(crate) root: &'a Path,
    /// Its certificate, which it also shows to the app server.
    pub(crate) identity: &'a Files,
    pub(crate) app: SocketAddr,
    /// The app server's name in its certificate.
    pub(crate) app_name: &'a str,
    /// What it says besides the headers that it makes by itself, with files…
    pub(crate) file_headers: &'a [(String, String)],
    /// … and with pages of the app server.
    pub(crate) page_headers: &'a [(String, String)],
}

impl Settings<'_> {
    pub(crate) fn to_config(&self) -> String {
        let Self {
            name,
            address,
            workers,
            app,
            app_name,
            ..
        } = self;
        let Files { cert, key, ca } = self.identity;
        let (cert, key, ca) = (cert.display(), key.display(), ca.display());
        let (directory, log) = (self.directory.display(), self.log.display());
        let root = self.root.display();
        let file_headers = headers(self.file_headers);
        let page_headers = headers(self.page_headers);
        let page = PAGE;
        format!(
            r#"user root;
daemon off;
worker_processes {workers};
worker_rlimit_nofile 16384;
pid {directory}/pid;
error_log {directory}/error.log warn;
events {{
    worker_connections 8192;
}}
http {{
    types {{ image/png png; }}
    server_tokens off;
    tcp_nopush on;
    sendfile on;
    # Files are looked up and opened once, not for each request.
    open_file_cache max=1000 inactive=1h;
    open_file_cache_valid 1h;

    # What the web server logs, in the same form.
    log_format json escape=json '{{"time":"$time_iso8601","server":"{name}",'
        '"request_id":"$request_id","client":"$remote_addr","method":"$request_method",'
        '"host":"$host","path":"$uri","version":"$server_protocol","tls":"$https",'
        '"status":$status,"bytes":$body_bytes_sent,"complete":"$request_completion",'
        '"seconds":$request_time,"upstream":"$upstream_addr","user_agent":"$http_user_agent"}}';
    access_log {log} json buffer=64k flush=200ms;

    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;

    limit_conn_zone $binary_remote_addr zone=each:1m;
    limit_conn each 1024;
    client_header_timeout 30s;
    client_body_timeout 30s;
    send_timeout 30s;
    keepalive_timeout 30s;
    keepalive_requests 1000000000;
    large_client_header_buffers 4 32k;
    client_max_body_size 1m;

    upstream app {{
        least_conn;
        server {app} max_fails=3 fail_timeout=5s;
        keepalive 64;
        keepalive_requests 1000000000;
    }}

    server {{
        listen {address} ssl http2 backlog=4096;
        server_name {SITE};
        ssl_certificate {cert};
        ssl_certificate_key {key};
        ssl_protocols TLSv1.2 TLSv1.3;
        http2_max_concurrent_streams 128;
        root {root};

        location / {{
{file_headers}        }}
        location {page} {{
{page_headers}            proxy_pass https://app;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $host;
            proxy_set_header X-Request-Id $request_id;
            proxy_set_header Forwarded "for=$remote_addr;host=$host;proto=https";
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_set_header X-Forwarded-Proto https;
            proxy_set_header X-Forwarded-Host $host;
            proxy_set_header X-Served-By-Web {name};
            proxy_set_header Via "1.1 {name}";
            proxy_connect_timeout 2s;
            proxy_read_timeout 30s;
            proxy_ssl_protocols TLSv1.3;
            proxy_ssl_certificate {cert};
            proxy_ssl_certificate_key {key};
            proxy_ssl_trusted_certificate {ca};
            proxy_ssl_verify on;
            proxy_ssl_server_name on;
            proxy_ssl_name {app_name};
        }}
    }}
}}
"#
        )
    }
}

/// One directive a header. What is different with each request, nginx has a variable for.
fn headers(headers: &[(String, String)]) -> String {
    let mut directives = String::new();
    for (name, value) in headers {
        let value = match name.as_str() {
            "x-request-id" => "$request_id".to_owned(),
            _ => format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\"")),
        };
        // Writing to a String does not fail.
        let _ = writeln!(directives, "            add_header {name} {value} always;");
    }
    directives
}
