//! A TCP echo listener: connections that can live for as long as a test likes, and whose every
//! byte can be compared with what was sent.

use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};

/// Echoes until the process ends. A peer that goes away ends only its own connection.
pub(crate) async fn serve(listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, _peer)) => {
                tokio::spawn(echo(stream));
            }
            // Out of descriptors, most likely: some will be closed soon.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn echo(mut stream: TcpStream) {
    // Errors are the peer's business: it sees that its bytes do not come back.
    let _ = stream.set_nodelay(true);
    let (mut from, mut to) = stream.split();
    let _ = tokio::io::copy(&mut from, &mut to).await;
}
