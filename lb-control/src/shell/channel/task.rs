//! The task that keeps the channel.

use super::attempt::{self, Doors, HANDSHAKE, Outcome, Stream};
use super::listen::Listeners;
use super::pairing::{Command, Ends, Failure, Invited, Status};
use super::places::Places;
use super::queue::Queue;
use super::refusals::Refusals;
use super::tls::{self, Trust};
use super::{Event, Settings, connection, frames};
use crate::proto::pairing::{
    Answer, Invitation, LIFETIME, OneTimeSecret, PairSecret, Request, Token,
};
use crate::state::{self, identity};
use anyhow::{Context as _, Result};
use std::future::pending;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep_until, timeout};
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::CertificateDer;

/// From one look at what should be listened on to the next.
const LOOK: Duration = Duration::from_secs(1);

/// From one attempt to reach the peer to the next, and up to a quarter more.
const REDIAL: Duration = Duration::from_millis(500);

pub(super) struct Task {
    settings: Settings,
    /// In the peer of the settings.
    trust: Option<Trust>,
    inviting: Arc<ServerConfig>,
    invitation: Option<Invitation>,
    queue: Arc<Queue>,
    /// Whether there is a peer.
    paired: Arc<AtomicBool>,
    events: mpsc::Sender<Event>,
    commands: mpsc::Receiver<Command>,
    listeners: Listeners,
    /// Whether accepting failed, and is to rest until the next look.
    rests: bool,
    fault: Option<String>,
    /// For addresses of the peer, and for all others: neither can take the other's.
    places: [Places; 2],
    attempts: JoinSet<Outcome>,
    dialing: bool,
    redial: Instant,
    connection: Option<Connection>,
    refusals: Refusals,
    failure: Option<Failure>,
    /// Those that were turned away.
    strangers: u64,
}

struct Connection {
    ends: Ends,
    run: Pin<Box<dyn Future<Output = String> + Send>>,
}

impl Task {
    pub(super) fn new(
        settings: Settings,
        queue: Arc<Queue>,
        paired: Arc<AtomicBool>,
        events: mpsc::Sender<Event>,
        commands: mpsc::Receiver<Command>,
    ) -> Result<Self> {
        paired.store(settings.peer.is_some(), Ordering::Relaxed);
        let trust = settings.peer.as_ref();
        let trust = trust.map(|peer| Trust::new(&settings.identity, peer));
        let trust = trust
            .transpose()
            .context("the certificates of the pair cannot be used")?;
        let inviting = tls::inviting(&settings.identity)
            .context("the certificate of this host cannot be used")?;
        let listeners = Listeners::new(&settings.links);
        Ok(Self {
            settings,
            trust,
            inviting,
            invitation: None,
            queue,
            paired,
            events,
            commands,
            listeners,
            rests: false,
            fault: None,
            places: Default::default(),
            attempts: JoinSet::new(),
            dialing: false,
            redial: Instant::now(),
            connection: None,
            refusals: Refusals::default(),
            failure: None,
            strangers: 0,
        })
    }

    pub(super) async fn run(mut self) {
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let events = self.events.clone();
        loop {
            let dials = self.dials();
            tokio::select! {
                // Nobody listens to what happens here.
                () = events.closed() => return,
                _ = looks.tick() => {
                    self.rests = false;
                    self.look().await;
                }
                command = self.commands.recv() => match command {
                    Some(command) => self.obey(command).await,
                    None => return,
                },
                reason = ended(&mut self.connection) => self.down(reason).await,
                Some(outcome) = self.attempts.join_next() => {
                    // One that panicked has said so.
                    if let Ok(outcome) = outcome {
                        self.conclude(outcome).await;
                    }
                }
                accepted = self.listeners.accept(), if !self.rests => self.meet(accepted),
                () = sleep_until(self.redial.into()), if dials => self.dial(),
            }
        }
    }

    /// Listens where it should, and nowhere else.
    async fn look(&mut self) {
        let invites = self.invites();
        if !invites {
            self.invitation = None;
        }
        if self.trust.is_some() || invites {
            self.listeners.open();
        } else {
            self.listeners.close();
        }
        let fault = self.listeners.fault();
        if fault != self.fault {
            self.fault.clone_from(&fault);
            self.tell(Event::Fault(fault)).await;
        }
    }

    fn invites(&self) -> bool {
        let invitation = self.invitation.as_ref();
        invitation.is_some_and(|it| it.left(Instant::now()).is_some())
    }

    /// Whether it is for this host to connect. The same one dials over all links, so that no two
    /// connections replace each other.
    fn dials(&self) -> bool {
        let links = &self.settings.links;
        let local = links.iter().map(|link| link.local.ip()).min();
        let remote = links.iter().map(|link| link.remote.ip()).min();
        let idle = self.connection.is_none() && !self.dialing;
        self.trust.is_some() && idle && local < remote
    }

    fn dial(&mut self) {
        if let Some(trust) = &self.trust {
            self.dialing = true;
            let links = self.settings.links.clone();
            let config = Arc::clone(&trust.client);
            self.attempts.spawn(attempt::dial(links, config));
        }
    }

    fn dial_later(&mut self) {
        // Without random bytes there is no jitter, and no harm.
        let [jitter] = tls::random::<1>().unwrap_or_default();
        self.redial = Instant::now() + REDIAL + REDIAL * u32::from(jitter) / (4 * 255);
    }

    fn meet(&mut self, accepted: io::Result<(TcpStream, SocketAddr)>) {
        let (stream, from) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, most likely: others may give some back.
                self.rests = true;
                return self.fail(format!("failed to accept a connection: {error}"));
            }
        };
        let doors = Doors {
            pair: self.trust.as_ref().map(|it| Arc::clone(&it.server)),
            join: self.invites().then(|| Arc::clone(&self.inviting)),
        };
        let attempt = self.attempts.spawn(attempt::accept(stream, from, doors));
        let is_peers = self.is_peers(from.ip());
        let [peers, strangers] = &mut self.places;
        let places = if is_peers { peers } else { strangers };
        if let Some(out) = places.take(from.ip(), attempt) {
            let reason = "too many connections that do not say who they are".to_owned();
            self.refuse(out, reason);
        }
    }

    async fn conclude(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Connected {
                stream,
                local,
                remote,
            } => self.up(*stream, local, remote).await,
            Outcome::Asked {
                stream,
                request,
                from,
            } => self.answer(*stream, &request, from).await,
            Outcome::Refused { from, reason } => self.refuse(from, reason),
            Outcome::Unreached(missed) => {
                self.dialing = false;
                self.dial_later();
                let mut reasons = Vec::new();
                for miss in missed {
                    reasons.push(format!("{}: {}", miss.remote, miss.reason));
                    if miss.refused {
                        self.refuse(miss.remote, miss.reason);
                    }
                }
                self.fail(reasons.join("; "));
            }
            Outcome::Answered => {}
        }
    }

    async fn up(&mut self, stream: Stream, local: IpAddr, remote: IpAddr) {
        self.dialing = false;
        if self.connection.is_some() {
            self.down("the peer has connected anew".to_owned()).await;
        }
        // What is sent by somebody who has not heard of the end of the last connection must not go
        // over this one. When all places are free, all was heard.
        let all = self.events.max_capacity();
        drop(self.events.reserve_many(all).await);
        self.queue.open();
        self.tell(Event::Up { local, remote }).await;
        let run = connection::run(stream, Arc::clone(&self.queue), self.events.clone());
        let since = SystemTime::now();
        self.connection = Some(Connection {
            ends: Ends {
                local,
                remote,
                since,
            },
            run: Box::pin(run),
        });
    }

    async fn down(&mut self, reason: String) {
        self.queue.close();
        if let Some(connection) = self.connection.take() {
            self.dial_later();
            self.fail(format!("{}: {reason}", connection.ends.remote));
            self.tell(Event::Down { reason }).await;
        }
    }

    async fn obey(&mut self, command: Command) {
        // Whoever asked may be gone.
        match command {
            Command::Invite(reply) => {
                let _ = reply.send(self.invite().await);
            }
            Command::Adopt {
                peer,
                secret,
                reply,
            } => {
                let _ = reply.send(self.take_peer(peer, Some(secret)).await);
            }
            Command::Forget(reply) => {
                let _ = reply.send(self.forget().await);
            }
            Command::Look(reply) => {
                let _ = reply.send(self.status());
            }
        }
    }

    fn status(&self) -> Status {
        let invitation = self.invitation.as_ref();
        Status {
            own: self.settings.identity.certificate().clone(),
            peer: self.settings.peer.clone(),
            connection: self.connection.as_ref().map(|it| it.ends),
            invitation: invitation.and_then(|it| it.left(Instant::now())),
            fault: self.fault.clone(),
            failure: self.failure.clone(),
            strangers: self.strangers,
        }
    }

    async fn invite(&mut self) -> Result<Invited> {
        let secret = OneTimeSecret::new(tls::random()?);
        self.invitation = Some(Invitation::new(secret.clone(), Instant::now()));
        self.look().await;
        if !self.listeners.is_open() {
            self.invitation = None;
            anyhow::bail!(
                "nobody could join: {}",
                self.fault.as_deref().unwrap_or("there is no link")
            );
        }
        let token = Token {
            addresses: self.settings.links.iter().map(|link| link.local).collect(),
            secret,
            certificate: self.settings.identity.certificate().to_vec(),
        };
        Ok(Invited {
            token,
            lifetime: LIFETIME,
        })
    }

    /// Answers somebody who asks to join.
    async fn answer(&mut self, mut stream: Stream, request: &Request, from: IpAddr) {
        let answer = match self.admit(request).await {
            Ok(()) => Answer::Welcome(self.settings.secret),
            Err(error) => {
                let reason = format!("{error:#}");
                self.refuse(from, format!("it asked to join: {reason}"));
                Answer::Refused(reason)
            }
        };
        self.attempts.spawn(async move {
            // If it fails, the other end says so.
            let _ = timeout(
                HANDSHAKE,
                frames::write_message(&mut stream, &answer.encode()),
            )
            .await;
            Outcome::Answered
        });
    }

    async fn admit(&mut self, request: &Request) -> Result<()> {
        let invitation = self.invitation.as_mut();
        let invitation =
            invitation.context("no invitation is open: `lbctl pair init` makes one")?;
        invitation.accept(&request.secret, Instant::now())?;
        let peer = CertificateDer::from(request.certificate.clone());
        self.take_peer(peer, None)
            .await
            .context("the inviting host failed to take it as its peer")
    }

    /// Takes it as the other host, and this as the pair's secret, if it was this host that joined.
    async fn take_peer(
        &mut self,
        peer: CertificateDer<'static>,
        secret: Option<PairSecret>,
    ) -> Result<()> {
        let trust = Trust::new(&self.settings.identity, &peer)?;
        state::save_peer(&self.settings.state_dir, &peer, secret.map(|it| it.0))?;
        self.settings.secret = secret.unwrap_or(self.settings.secret);
        self.trust_in(Some((peer, trust)), "this host was paired anew")
            .await;
        self.tell(Event::Paired { secret }).await;
        Ok(())
    }

    async fn forget(&mut self) -> Result<()> {
        identity::forget_peer(&self.settings.state_dir)?;
        self.trust_in(None, "the peer was forgotten").await;
        Ok(())
    }

    /// What was begun with other trust is at an end.
    async fn trust_in(&mut self, peer: Option<(CertificateDer<'static>, Trust)>, reason: &str) {
        let (peer, trust) = peer.unzip();
        self.paired.store(peer.is_some(), Ordering::Relaxed);
        self.settings.peer = peer;
        self.trust = trust;
        self.attempts = JoinSet::new();
        self.dialing = false;
        self.redial = Instant::now();
        self.invitation = None;
        self.down(reason.to_owned()).await;
        self.failure = None;
        self.look().await;
    }

    /// Whether this is an address of the peer, if not the peer.
    fn is_peers(&self, from: IpAddr) -> bool {
        let mut links = self.settings.links.iter();
        links.any(|link| link.remote.ip() == from)
    }

    fn refuse(&mut self, from: IpAddr, reason: String) {
        if !self.is_peers(from) {
            // Anybody may knock: whoever scans ports must not hide what is wrong with the peer.
            tracing::debug!(%from, reason, "a stranger was turned away");
            self.strangers += 1;
            return;
        }
        self.fail(format!("{from}: {reason}"));
        if self.refusals.tell(Instant::now(), from, &reason) {
            // Who is refused must not fill the queue: where there is no place, it is not told.
            let _ = self.events.try_send(Event::Refused { from, reason });
        }
    }

    fn fail(&mut self, reason: String) {
        self.failure = Some(Failure {
            at: SystemTime::now(),
            reason,
        });
    }

    async fn tell(&mut self, event: Event) {
        // Nobody listens any more: the task ends.
        let _ = self.events.send(event).await;
    }
}

async fn ended(connection: &mut Option<Connection>) -> String {
    match connection {
        Some(connection) => connection.run.as_mut().await,
        None => pending().await,
    }
}
