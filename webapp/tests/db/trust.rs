//! Who is believed to be a database server.

use std::sync::{Arc, Mutex};

use kit::pki::{Authority, Validity};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use webapp::db::Cluster;

use crate::support::{Site, blocking, state_of, until};

/// Why db1 is of no use to this configuration.
async fn refusal(config: webapp::db::Config) -> String {
    let cluster = Cluster::start(config).unwrap();
    until("the server to be looked at", || {
        !state_of(&cluster, "db1").why.contains("was not looked at")
    })
    .await;
    assert!(cluster.read().await.is_err());
    assert!(cluster.write().await.is_err());
    state_of(&cluster, "db1").why
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_a_server_of_the_right_name_and_authority_is_believed() {
    let mut site = Site::start(1);
    site.cluster("").await;

    // Another authority than the one that issued the server's certificate.
    let others = Authority::create(&site.path("others")).unwrap();
    let mut config = site.config("");
    config.ca = others.ca();
    let why = refusal(config).await;
    assert!(why.contains("invalid peer certificate"), "{why}");

    // A password that is wrong.
    let mut config = site.config("");
    config.password_file = site.path("wrong.password");
    std::fs::write(&config.password_file, "wrong\n").unwrap();
    let why = refusal(config).await;
    assert!(
        why.contains("is of no use") && why.contains("1045"),
        "{why}"
    );

    // The right authority, and a certificate for another server.
    let another = site
        .authority
        .issue("another", &["db9", "10.0.2.39"])
        .unwrap();
    blocking(|| {
        let db1 = site.db.server("db1")?;
        db1.stop()?;
        db1.set_files(another);
        db1.restart()
    });
    let why = refusal(site.config("")).await;
    assert!(why.contains("not valid for name"), "{why}");

    // The right name, until yesterday.
    let expired = Validity::Expired;
    let expired = site
        .authority
        .issue_for("expired", &["127.0.0.1"], expired)
        .unwrap();
    blocking(|| {
        let db1 = site.db.server("db1")?;
        db1.stop()?;
        db1.set_files(expired);
        db1.restart()
    });
    let why = refusal(site.config("")).await;
    assert!(why.contains("certificate expired"), "{why}");

    // A server that speaks no TLS at all.
    let plain = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut config = site.config("");
    config.servers[0].port = plain.local_addr().unwrap().port();
    let answers = Arc::new(Mutex::new(Vec::new()));
    tokio::spawn(greet_without_tls(plain, Arc::clone(&answers)));
    let why = refusal(config).await;
    assert!(why.contains("does not support TLS"), "{why}");
    // Not even the name of the account was told.
    let answers = answers.lock().unwrap();
    assert!(
        !answers.is_empty() && answers.iter().all(Vec::is_empty),
        "{answers:?}"
    );
}

/// Greets as a server does that can do everything but TLS, and takes note of what comes after that.
async fn greet_without_tls(listener: TcpListener, answers: Arc<Mutex<Vec<Vec<u8>>>>) {
    const CAPABILITIES: u32 = 0x8000_0000 | 0x0108_8200 | 0x000f_a200;
    const SSL: u32 = 0x0800;
    let capabilities = (CAPABILITIES & !SSL).to_le_bytes();
    let mut greeting = vec![10];
    greeting.extend_from_slice(b"5.5.5-10.11.19-MariaDB\0");
    greeting.extend_from_slice(&7_u32.to_le_bytes());
    greeting.extend_from_slice(b"12345678\0");
    greeting.extend_from_slice(&capabilities[..2]);
    greeting.extend_from_slice(&[45, 2, 0]);
    greeting.extend_from_slice(&capabilities[2..]);
    greeting.push(21);
    greeting.extend_from_slice(&[0; 10]);
    greeting.extend_from_slice(b"123456789012\0mysql_native_password\0");
    let length = u32::try_from(greeting.len()).unwrap().to_le_bytes();
    let packet = [&length[..3], &[0], &greeting].concat();
    while let Ok((mut stream, _)) = listener.accept().await {
        stream.write_all(&packet).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        answers.lock().unwrap().push(answer);
    }
}
