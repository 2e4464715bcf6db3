//! A service manager that only listens.

use super::{Notify, tell, words};
use crate::daemon::{Handle, Request};
use crate::observe::events::Events;
use crate::types::{Ha, Status};
use std::ffi::OsString;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;
use tokio::sync::mpsc;
use tracing_subscriber::layer::SubscriberExt as _;

fn heard(socket: &UnixDatagram) -> String {
    let mut buffer = [0; 1_000];
    let length = socket.recv(&mut buffer).unwrap();
    String::from_utf8(buffer[..length].to_vec()).unwrap()
}

/// Listens, with a limit on how long.
fn listening(socket: UnixDatagram) -> UnixDatagram {
    socket
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    socket
}

fn says_everything(socket: &UnixDatagram, name: OsString) {
    let watched = Notify::new(&name, Some(Duration::from_secs(10))).unwrap();
    assert!(watched.is_there());
    assert_eq!(watched.watchdog_period(), Some(Duration::from_secs(5)));
    watched.ready("leader");
    assert_eq!(heard(socket), "READY=1\nSTATUS=leader\n");
    watched.watchdog();
    assert_eq!(heard(socket), "WATCHDOG=1\n");
    // What is said must not be taken for another line.
    watched.status("standby\nWATCHDOG=trigger");
    assert_eq!(heard(socket), "STATUS=standby WATCHDOG=trigger\n");
    let unwatched = Notify::new(&name, None).unwrap();
    assert_eq!(unwatched.watchdog_period(), None);
    unwatched.watchdog();
    unwatched.stopping();
    assert_eq!(heard(socket), "STOPPING=1\nSTATUS=stopping\n");
}

#[test]
fn a_path_and_an_abstract_name_are_reached() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify");
    let socket = listening(UnixDatagram::bind(&path).unwrap());
    says_everything(&socket, path.into());

    let name = format!("headgate-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let socket = listening(UnixDatagram::bind_addr(&address).unwrap());
    says_everything(&socket, format!("@{name}").into());
}

#[test]
fn nobody_need_be_there() {
    let long = "/x".repeat(100);
    let error = Notify::new(long.as_ref(), None).unwrap_err();
    assert!(format!("{error:#}").contains("NOTIFY_SOCKET"), "{error:#}");
    // Whoever listens may come later, and may be another one the next time.
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify");
    let notify = Notify::new(path.as_os_str(), Some(Duration::from_secs(1))).unwrap();
    notify.watchdog();
    for _ in 0..2 {
        let socket = listening(UnixDatagram::bind(&path).unwrap());
        notify.watchdog();
        assert_eq!(heard(&socket), "WATCHDOG=1\n");
        std::fs::remove_file(&path).unwrap();
    }
    let none = Notify::default();
    assert!(!none.is_there());
    none.watchdog();
    none.stopping();
}

/// Whoever does not read must not be waited for.
#[test]
fn one_that_hangs_holds_nobody_up() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify");
    let socket = listening(UnixDatagram::bind(&path).unwrap());
    let notify = Notify::new(path.as_os_str(), Some(Duration::from_secs(1))).unwrap();
    for _ in 0..10_000 {
        notify.watchdog();
    }
    assert_eq!(heard(&socket), "WATCHDOG=1\n");
}

fn status(role: &str) -> Status {
    Status {
        version: "0".to_owned(),
        revision: 1,
        uptime_s: 1,
        alarms: vec!["an alarm".to_owned()],
        interfaces: Vec::new(),
        ha: Ha {
            role: role.to_owned(),
            ..Ha::default()
        },
        services: Vec::new(),
        changes: Vec::new(),
        flows: crate::types::Flows::default(),
    }
}

#[test]
fn what_is_said_is_short() {
    let said = words(&status("standby"));
    assert_eq!(said, "standby; backends: 0 of 0 serve; alarms: 1");
}

#[tokio::test(flavor = "multi_thread")]
async fn ready_comes_first_and_then_what_changed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify");
    let socket = listening(UnixDatagram::bind(&path).unwrap());
    let notify = Notify::new(path.as_os_str(), None).unwrap();
    let events = Events::default();
    let (requests, mut receiver) = mpsc::channel(1);
    let daemon = Handle::new(requests);
    let telling = tokio::spawn({
        let events = events.clone();
        async move { tell(&notify, &daemon, &events).await }
    });
    for (role, said) in [
        ("standby", "READY=1\nSTATUS=standby"),
        ("leader", "STATUS=leader"),
    ] {
        let Some(Request::Status(reply)) = receiver.recv().await else {
            panic!("something else was asked");
        };
        reply.send(status(role)).unwrap();
        let heard = tokio::task::block_in_place(|| heard(&socket));
        assert!(heard.starts_with(said), "{heard}");
        let subscriber = tracing_subscriber::registry().with(events.layer());
        tracing::subscriber::with_default(subscriber, || tracing::info!("leads"));
    }
    // The daemon ends.
    drop(receiver);
    telling.await.unwrap();
}
