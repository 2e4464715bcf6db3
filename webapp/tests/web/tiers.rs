//! Certificates between the tiers: who is let in, and what happens when they are renewed.

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::rustls::ClientConfig;
use webapp::tls::{HTTP_1_1, Identity};

use crate::app::App;
use crate::certificates::Authority;
use crate::client::{Client, HOST, tls};
use crate::program::web;
use crate::{soon, until};

/// Asks an app server something, and tells why that failed if it did. With TLS 1.3, a client hears
/// only after its handshake that its certificate was refused.
async fn ask(address: SocketAddr, config: Arc<ClientConfig>, name: &str) -> Result<(), String> {
    let asked = async {
        let mut stream = tls(address, config, name).await?;
        let request = b"GET /readyz HTTP/1.1\r\nHost: app1\r\nConnection: close\r\n\r\n";
        stream.write_all(request).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    };
    let answer: std::io::Result<String> = soon("an answer", asked).await;
    match answer {
        Ok(answer) if answer.starts_with("HTTP/1.1 200 ") => Ok(()),
        Ok(other) => Err(format!("answered {other:?}")),
        Err(error) => Err(error.to_string()),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_app_server_lets_in_only_clients_of_its_authority() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let app = App::start("app1", &ours.identity("app1")).await;
    let web1 = ours.identity("web1").client(&[HTTP_1_1]);
    assert_eq!(ask(app.address, web1, "app1").await, Ok(()));

    // A client that believes our authority, and shows a certificate of another one.
    let mut foreign = theirs.issue("web1");
    foreign.ca = ours.ca();
    let expired = ours.issue_expired("web1");
    for files in [foreign, expired] {
        let config = Identity::load(&files).unwrap().client(&[HTTP_1_1]);
        let refused = ask(app.address, config, "app1").await.unwrap_err();
        assert!(refused.contains("alert"), "{refused}");
    }
    let mut roots = tokio_rustls::rustls::RootCertStore::empty();
    let ca = fs::read(ours.ca()).unwrap();
    use tokio_rustls::rustls::pki_types::{CertificateDer, pem::PemObject as _};
    roots
        .add(CertificateDer::from_pem_slice(&ca).unwrap())
        .unwrap();
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let nobody = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let refused = ask(app.address, Arc::new(nobody), "app1")
        .await
        .unwrap_err();
    assert!(refused.contains("CertificateRequired"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_believes_only_the_server_that_it_asks_for() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let client = ours.identity("web1").client(&[HTTP_1_1]);

    let wrong_name = App::start("app2", &ours.identity("app2")).await;
    let refused = ask(wrong_name.address, Arc::clone(&client), "app1")
        .await
        .unwrap_err();
    assert!(refused.contains("not valid for name"), "{refused}");

    let foreign = App::start("app1", &theirs.identity("app1")).await;
    let refused = ask(foreign.address, Arc::clone(&client), "app1")
        .await
        .unwrap_err();
    assert!(refused.contains("UnknownIssuer"), "{refused}");

    let files = ours.issue_expired("app1");
    let expired = App::start("app1", &Identity::load(&files).unwrap()).await;
    let refused = ask(expired.address, client, "app1").await.unwrap_err();
    assert!(refused.to_lowercase().contains("expired"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renewed_certificate_holds_without_a_restart() {
    let authority = Authority::new();
    let files = authority.issue(HOST);
    let mut web = web().tls(&files).start();
    let address = web.address("https");
    let client = authority.identity("client");
    let mut old = Client::http1(address, &client).await;
    let shown = || async {
        let stream = tls(address, client.client(&[HTTP_1_1]), HOST)
            .await
            .unwrap();
        let (_, session) = stream.get_ref();
        session.peer_certificates().unwrap()[0].to_vec()
    };
    let before = shown().await;

    // Half of a renewal: what is loaded stays.
    let renewed = Authority::issue(&authority, HOST);
    let key = fs::read(&renewed.key).unwrap();
    fs::write(&renewed.key, "no key").unwrap();
    web.line("stays as it was");
    assert_eq!(shown().await, before);

    fs::write(&renewed.key, key).unwrap();
    web.line("was read again");
    assert_ne!(shown().await, before);
    assert_eq!(
        old.get("/healthz", &[]).await.status,
        200,
        "older connections live on"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_authority_holds_from_the_next_connection_on() {
    let (old, new) = (Authority::new(), Authority::new());
    let files = old.issue("app1");
    let identity = Identity::load(&files).unwrap();
    let app = App::start("app1", &identity).await;
    let (mut before, mut after) = (old.issue("web1"), new.issue("web1"));
    before.ca = old.ca();
    after.ca = old.ca();
    let before = Identity::load(&before).unwrap().client(&[HTTP_1_1]);
    let after = Identity::load(&after).unwrap().client(&[HTTP_1_1]);
    assert_eq!(ask(app.address, Arc::clone(&before), "app1").await, Ok(()));
    assert!(ask(app.address, Arc::clone(&after), "app1").await.is_err());

    // The server's own certificate stays, so that both clients believe it.
    let watching = tokio::spawn(identity.clone().watch());
    fs::copy(new.ca(), &files.ca).unwrap();
    until("the new authority", || async {
        ask(app.address, Arc::clone(&after), "app1").await.is_ok()
    })
    .await;
    assert!(ask(app.address, before, "app1").await.is_err());
    watching.abort();
}
