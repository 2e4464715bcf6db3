//! Asks a third party whether this host is cut off: an address that answers where clients come from,
//! such as that of their router. A connection that is refused is an answer, too.

use std::io::ErrorKind;
use std::net::SocketAddrV4;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, timeout};

/// From one question to the next.
const PERIOD: Duration = Duration::from_millis(100);

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_millis(90);

/// After this long without an answer, the witness is silent.
const SILENCE: Duration = Duration::from_millis(350);

/// Starts asking. Tells whether the witness answers whenever that changes, and at first. Must be
/// called inside of a tokio runtime.
pub fn spawn(witness: SocketAddrV4, events: mpsc::UnboundedSender<bool>) {
    tokio::spawn(async move {
        let mut questions = interval(PERIOD);
        questions.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = Instant::now();
        let mut told = None;
        while !events.is_closed() {
            questions.tick().await;
            if answers(witness).await {
                heard = Instant::now();
            }
            let answers = heard.elapsed() < SILENCE;
            if told != Some(answers) {
                told = Some(answers);
                // Whoever does not listen any more has ended.
                let _ = events.send(answers);
            }
        }
    });
}

async fn answers(witness: SocketAddrV4) -> bool {
    match timeout(PATIENCE, TcpStream::connect(witness)).await {
        Ok(Ok(_)) => true,
        Ok(Err(error)) => error.kind() == ErrorKind::ConnectionRefused,
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::spawn;
    use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
    use std::time::Duration;
    use tokio::net::{TcpListener, TcpSocket, TcpStream};
    use tokio::sync::mpsc::unbounded_channel;
    use tokio::time::timeout;

    async fn first(witness: SocketAddrV4) -> Option<bool> {
        let (sender, mut events) = unbounded_channel();
        spawn(witness, sender);
        let told = async {
            loop {
                // It is believed to answer until it is silent.
                match events.recv().await {
                    Some(true) => {}
                    other => return other,
                }
            }
        };
        timeout(Duration::from_secs(1), told)
            .await
            .unwrap_or(Some(true))
    }

    #[tokio::test]
    async fn one_that_accepts_and_one_that_refuses_answer() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let witness = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
        assert_eq!(first(witness).await, Some(true));
        drop(listener);
        assert_eq!(first(witness).await, Some(true));
    }

    #[tokio::test]
    async fn one_that_takes_nobody_is_silent() {
        let socket = TcpSocket::new_v4().unwrap();
        socket
            .bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
            .unwrap();
        let listener = socket.listen(0).unwrap();
        let SocketAddr::V4(witness) = listener.local_addr().unwrap() else {
            panic!("IPv4");
        };
        // One waits to be accepted, and there is no room for more.
        let _waits = TcpStream::connect(witness).await.unwrap();
        assert_eq!(first(witness).await, Some(false));
    }
}
