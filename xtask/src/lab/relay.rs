//! A way from this machine into a lab: a port of the loopback interface that leads to the site.

use std::io;
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use kit::interrupt;
use kit::layout::{Layout, SITE, VIP};
use kit::netns::Namespace;

/// How long to sleep between two looks for somebody who connects.
const LOOK: Duration = Duration::from_millis(20);
/// How long the site may take to accept a connection.
const PATIENCE: Duration = Duration::from_secs(10);

/// Serves until Ctrl-C.
pub(super) fn serve(name: &str, port: u16) -> Result<()> {
    let layout = Layout::load(name)?;
    ensure!(
        layout.is_site(),
        "the lab {name} has no site: `cargo xtask lab up --site` makes one that has"
    );
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .with_context(|| format!("failed to listen on 127.0.0.1:{port}"))?;
    listener.set_nonblocking(true)?;
    super::print(&explain(port, &layout.pki_dir().join("ca.pem")))?;
    interrupt::catch()?;
    let client = layout.namespace("client");
    while !interrupt::arrived() {
        match listener.accept() {
            Ok((stream, _)) => {
                let client = client.clone();
                thread::spawn(move || {
                    if let Err(error) = relay(stream, &client) {
                        eprintln!("a connection was lost: {error:#}");
                    }
                });
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(LOOK),
            Err(error) => return Err(error).context("failed to accept a connection"),
        }
    }
    Ok(())
}

/// How to get there.
fn explain(port: u16, authority: &Path) -> String {
    let authority = authority.display();
    format!(
        "{SITE} is at 127.0.0.1:{port} of this machine, until Ctrl-C. With another terminal:\n\
         \n  curl --cacert {authority} --connect-to ::127.0.0.1:{port} https://{SITE}/\
         \n  chromium --user-data-dir=/tmp/headgate-browser --ignore-certificate-errors \\\
         \n    --host-resolver-rules='MAP {SITE} 127.0.0.1:{port}' https://{SITE}/\n\
         \n(The browser does not know the lab's authority, whose certificate is {authority}: import it,\
         \nor have it ignored as above, in a profile for nothing else.)\n"
    )
}

/// Carries bytes to the site and back, until both sides have ended.
fn relay(inside: TcpStream, client: &Namespace) -> Result<()> {
    let vip = (VIP, 443).into();
    let outside = client.run(move || TcpStream::connect_timeout(&vip, PATIENCE))?;
    let outside = outside.context("the site does not accept connections")?;
    inside.set_nonblocking(false)?;
    let back = thread::spawn({
        let (from, to) = (outside.try_clone()?, inside.try_clone()?);
        move || copy(from, to)
    });
    copy(inside, outside);
    // It has nothing to tell: a side that is gone ends the other one.
    let _ = back.join();
    Ok(())
}

fn copy(mut from: TcpStream, mut to: TcpStream) {
    // Who ended, and why, is the business of the two ends.
    let _ = io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
}
