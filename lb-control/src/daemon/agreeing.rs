//! What the two hosts agree on: a change is made when the other host has taken it over, or when there
//! is no other host: never at one of the two alone while both live. Where they differ nevertheless,
//! one configuration stays whole, and what is dropped of the other one is told.

use super::Daemon;
use super::changing::Prepared;
use super::leading::Role;
use super::pairing::Pairing;
use crate::config::{Change, Config, Overlay, Refusal};
use crate::dataplane::Dataplane;
use crate::sync::{Message, Proposal, Snapshot, Version};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// How long the other host may take to take over a change.
pub(super) const PATIENCE: Duration = Duration::from_secs(3);

/// When it is tried again to have the other host take over a file that it refused.
const SHARE_AGAIN: Duration = Duration::from_secs(5);

/// Who asked for a change.
pub(super) enum Reply {
    /// Somebody at the API.
    Api(oneshot::Sender<Result<u64, Refusal>>),
    /// Somebody at the other host.
    Peer(u64),
    /// Nobody: the configuration file was read again.
    File,
    /// Nobody: the configuration file was another when lbd was started, and runs here already.
    Unshared,
}

/// A change that the other host is to take over first.
struct Offered {
    prepared: Prepared,
    version: Version,
    reply: Reply,
    since: Instant,
}

/// A change that the leader was asked for.
struct Asked {
    prepared: Prepared,
    reply: Reply,
    since: Instant,
}

/// Where a change is to be made.
enum Place {
    /// Here alone: there is no other host.
    Here,
    /// Here, once the other host has taken it over.
    Both,
    /// At the leader.
    There,
}

/// Changes that the other host has not answered for yet.
#[derive(Default)]
pub(super) struct Pending {
    offered: Option<Offered>,
    asked: BTreeMap<u64, Asked>,
}

impl Pending {
    /// Whether the other host is to take this one over.
    pub(super) fn offers(&self, version: &Version) -> bool {
        let offered = self.offered.as_ref();
        offered.is_some_and(|it| it.version == *version)
    }

    /// Whether something waits for longer than it should.
    pub(super) fn is_late(&self) -> bool {
        let late = |since: Instant| since.elapsed() > PATIENCE;
        self.offered.as_ref().is_some_and(|it| late(it.since))
            || self.asked.values().any(|it| late(it.since))
    }
}

impl<D: Dataplane> Daemon<D> {
    /// Makes a change, where it belongs.
    pub(super) fn submit(&mut self, prepared: Prepared, reply: Reply) {
        let unchanged = prepared.next.services == self.running.services && prepared.cut.is_empty();
        // What the other host does not have is news to it.
        let place = match unchanged && !self.unshared {
            true => Ok(Place::Here),
            false => self.place(),
        };
        match place {
            Ok(Place::Here) => {
                let result = self.commit(prepared, false);
                self.tell_config();
                self.reply(reply, result);
            }
            Ok(Place::Both) => self.offer(prepared, reply),
            Ok(Place::There) => self.ask(prepared, reply),
            Err(refusal) => self.reply(reply, Err(refusal)),
        }
        self.carry_out();
    }

    fn place(&self) -> Result<Place, Refusal> {
        let refuse = |reason: String| Err(Refusal::Failed(reason));
        let Some(pairing) = self.pairing.as_ref().filter(|it| it.is_paired()) else {
            return Ok(Place::Here);
        };
        if let Some(error) = &self.unkept {
            return refuse(format!("what runs cannot be written down: {error}"));
        }
        let leads = self.leads();
        if pairing.connected.is_some() {
            if let Err(reason) = pairing.session.is_synchronised()
                && !(leads && pairing.session.is_spoken())
            {
                return refuse(format!("not now: {reason}: try again"));
            }
            return match (leads, pairing.session.peer_leads()) {
                (true, true) => refuse("not now: both hosts lead: try again".to_owned()),
                (false, true) => Ok(Place::There),
                _ => Ok(Place::Both),
            };
        }
        if self.peer_lives() {
            return refuse(format!(
                "the other host lives, and would not learn of it: the pair's channel is down: {}",
                pairing.reason
            ));
        }
        match self.role() {
            Role::Leader => Ok(Place::Here),
            Role::Starting => {
                refuse("this host was just started, and does not lead yet".to_owned())
            }
            // What it changed would be dropped for what the leader has, or has by then.
            Role::Standby => refuse(format!(
                "this host stands by, and does not reach the other one, which may lead: the pair's \
                 channel is down: {}. Make the change there. If the other host is lost, this one \
                 leads in a moment, and takes it; if that one is gone for good and this one does not \
                 lead (`lbctl ha status` says why), `lbctl pair forget` has it take changes alone",
                pairing.reason
            )),
        }
    }

    /// Has the other host take over the change first.
    fn offer(&mut self, prepared: Prepared, reply: Reply) {
        if prepared.next.services == self.running.services && !self.unshared {
            // Backends that left before are to leave by force: that is in the tables.
            let result = self.commit(prepared, false);
            return self.reply(reply, result);
        }
        let version = self.next_version(&prepared.next);
        let Some(pairing) = &mut self.pairing else {
            return;
        };
        if pairing.pending.offered.is_some() {
            // Once that is made, this one is prepared for what was before.
            let refusal = "something else is being changed: try again".to_owned();
            return self.reply(reply, Err(Refusal::Failed(refusal)));
        }
        let snapshot = Snapshot::of(&prepared.next, version.clone());
        pairing.session.offer(snapshot);
        pairing.pending.offered = Some(Offered {
            prepared,
            version,
            reply,
            since: Instant::now(),
        });
    }

    /// Asks the leader for the change.
    fn ask(&mut self, prepared: Prepared, reply: Reply) {
        let Some(pairing) = &mut self.pairing else {
            return;
        };
        let id = pairing.number();
        pairing.session.say(&Message::Propose(Proposal {
            id,
            from: self.version.clone(),
            services: Overlay::all_of(&prepared.next),
            cut: prepared.cut.clone(),
            what: prepared.what.clone(),
        }));
        let since = Instant::now();
        pairing.pending.asked.insert(
            id,
            Asked {
                prepared,
                reply,
                since,
            },
        );
    }

    fn reply(&mut self, reply: Reply, result: Result<u64, Refusal>) {
        match reply {
            Reply::Api(reply) => {
                match &result {
                    Ok(_) => {}
                    Err(Refusal::Failed(error)) => tracing::error!(error, "failed to change"),
                    Err(refusal) => tracing::info!(%refusal, "refused a change"),
                }
                // Whoever asked may be gone: then the answer goes nowhere.
                drop(reply.send(result));
            }
            Reply::Peer(id) => {
                if let Some(pairing) = &mut self.pairing {
                    pairing.session.say(&Message::Answer { id, result });
                }
            }
            Reply::File => match result {
                Ok(revision) => {
                    self.refused_file = None;
                    tracing::info!(revision, "the configuration file is taken over");
                }
                Err(refusal) => self.refuse_file(refusal.to_string()),
            },
            Reply::Unshared => match result {
                Ok(revision) => {
                    tracing::info!(revision, "the other host has the changed file, too")
                }
                Err(refusal) => self.could_not_share(refusal.to_string()),
            },
        }
    }

    /// The change that was offered is made, or refused.
    pub(super) fn settle_offer(&mut self, result: Result<(), Refusal>) {
        let Some(offered) = self
            .pairing
            .as_mut()
            .and_then(|it| it.pending.offered.take())
        else {
            return;
        };
        let result = result.and_then(|()| {
            if self.next_version(&offered.prepared.next) == offered.version {
                return self.commit(offered.prepared, true);
            }
            let refusal = "something else was changed meanwhile: look what is so now";
            Err(Refusal::Failed(refusal.to_owned()))
        });
        self.tell_config();
        self.reply(offered.reply, result);
    }

    /// The other host is gone: nobody answers any more.
    pub(super) fn settle_without_answer(&mut self) {
        let asked = self
            .pairing
            .as_mut()
            .map(|it| std::mem::take(&mut it.pending.asked));
        for asked in asked.unwrap_or_default().into_values() {
            let refusal = "the leader went away before it answered: look whether it was done";
            self.reply(asked.reply, Err(Refusal::Failed(refusal.to_owned())));
        }
        self.settle_offer(Err(Refusal::Failed(
            "the other host went away before it confirmed. Nothing is changed here yet; if it has the \
             change, this host will, too, when the two are connected again"
                .to_owned(),
        )));
    }

    /// Tells the other host which configuration runs here.
    pub(super) fn tell_config(&mut self) {
        if let Some(pairing) = &mut self.pairing {
            let snapshot = Snapshot::of(&self.running, self.version.clone());
            pairing.session.set_config(snapshot);
        }
    }

    /// The file was another one when lbd was started: that is a change like any other.
    pub(super) fn share_file(&mut self) {
        let Some(pairing) = self.pairing.as_ref().filter(|_| self.unshared) else {
            return;
        };
        let in_step = pairing.connected.is_some() && pairing.session.is_synchronised().is_ok();
        let alone = self.leads() && pairing.connected.is_none() && !self.peer_lives();
        if !in_step && !alone {
            return;
        }
        let mut asked = pairing.pending.asked.values();
        let refused = self.unshared_because.as_ref();
        if asked.any(|it| matches!(it.reply, Reply::Unshared))
            || refused.is_some_and(|(_, at)| at.elapsed() < SHARE_AGAIN)
        {
            return;
        }
        let change = Change::Replace {
            services: self.running.services.clone(),
            cut: Vec::new(),
            what: "the configuration file changed while lbd did not run".to_owned(),
        };
        match self.prepare(&change, None) {
            Ok(prepared) => self.share(prepared),
            Err(refusal) => self.could_not_share(refusal.to_string()),
        }
    }

    /// Like [`Self::submit`], for what runs here already.
    fn share(&mut self, prepared: Prepared) {
        match self.place() {
            Ok(Place::Here | Place::Both) => {
                self.version = self.next_version(&prepared.next);
                self.shared();
                self.keep_running();
                // The other host, if there is one, sees that it is behind.
                self.tell_config();
            }
            Ok(Place::There) => self.ask(prepared, Reply::Unshared),
            Err(refusal) => self.could_not_share(refusal.to_string()),
        }
        self.carry_out();
    }

    /// What runs is what the version says.
    pub(super) fn shared(&mut self) {
        self.unshared = false;
        self.unshared_because = None;
    }

    /// What runs here stays, and is tried again.
    fn could_not_share(&mut self, reason: String) {
        if !self.unshared {
            return;
        }
        let before = self.unshared_because.take();
        if before.is_none_or(|(before, _)| before != reason) {
            tracing::error!(reason, "the other host does not have the changed file");
        }
        self.unshared_because = Some((reason, Instant::now()));
    }

    /// That what runs here is not what the other host has, though it has the same revision.
    pub(super) fn unshared_alarm(&self) -> Option<String> {
        let paired = self.pairing.as_ref().is_some_and(Pairing::is_paired);
        (paired && self.unshared).then(|| {
            let because = self.unshared_because.as_ref();
            let because = because.map_or("not tried yet", |(reason, _)| reason);
            format!(
                "the configuration file changed while lbd did not run, and the other host does not \
                 have that: {because}. It is tried again; or change the file back, and have lbd read \
                 it (SIGHUP)"
            )
        })
    }

    /// Remembers what both have, to tell later what only one of them has.
    pub(super) fn note_common(&mut self) {
        if let Some(pairing) = &mut self.pairing
            && let Some((_, status)) = pairing.session.peer()
            && status.version == self.version
            && !self.unshared
            && pairing.common.as_ref().map(|it| &it.services) != Some(&self.running.services)
        {
            pairing.common = Some(self.running.clone());
        }
    }

    /// Takes over the other host's configuration.
    pub(super) fn adopt(&mut self, snapshot: Snapshot, diverged: bool) {
        let version = snapshot.version.clone();
        if self
            .pairing
            .as_ref()
            .is_some_and(|it| it.pending.offers(&version))
        {
            return self.settle_offer(Ok(()));
        }
        let result = self.try_adopt(&snapshot, diverged);
        let Some(pairing) = &mut self.pairing else {
            return;
        };
        match result {
            Ok(()) => pairing.session.taken(snapshot),
            Err(reason) => {
                tracing::error!(reason, "cannot take over the other host's configuration");
                pairing.session.not_taken(version, reason);
            }
        }
    }

    fn try_adopt(&mut self, snapshot: &Snapshot, diverged: bool) -> Result<(), String> {
        let services = snapshot.services.in_place_of(&self.running)?;
        let next = Config {
            services,
            ..self.running.clone()
        };
        self.fits(&next)?;
        let pairing = self.pairing.as_ref();
        let common = pairing.and_then(|it| it.common.as_ref()).unwrap_or(&next);
        let lost = Overlay::between(common, &self.running);
        let news = Overlay::between(&self.running, &next).lines();
        let joined = pairing.is_some_and(|it| it.joined);
        let lost = match joined {
            // What runs already is not dropped.
            _ if news.is_empty() => Overlay::default(),
            // What it never had it does not drop.
            true => lost.without_removals(),
            false => lost,
        };
        let conflict = diverged || self.unshared || joined;
        let left_out = Some(Overlay::default());
        match self.install(next, snapshot.version.clone(), None, left_out, &[], false) {
            Ok(()) => {}
            // The tables follow at the next sweep.
            Err(refusal) if self.version == snapshot.version => {
                tracing::error!(%refusal, "took over the other host's configuration");
            }
            Err(refusal) => return Err(refusal.to_string()),
        }
        let revision = self.revision();
        if news.is_empty() {
            tracing::info!(
                revision,
                "the other host's revision is this one's: it says the same"
            );
        } else {
            let what = news.join("; ");
            tracing::info!(revision, what, "took over the other host's configuration");
        }
        if let Some(pairing) = &mut self.pairing {
            pairing.dropped_there.clear();
            pairing.dropped = match conflict {
                true => lost.lines(),
                false => Vec::new(),
            };
            for line in &pairing.dropped {
                tracing::warn!(line, "dropped: the other host's configuration stays");
            }
            pairing.tell_dropped();
            pairing.joined = false;
        }
        Ok(())
    }

    /// A change that was asked for at the other host.
    pub(super) fn on_proposed(&mut self, proposal: Proposal) {
        let Proposal {
            id,
            from,
            services,
            cut,
            what,
        } = proposal;
        let prepared = if from == self.version {
            let services = services.in_place_of(&self.running);
            let services = services.map_err(Refusal::Invalid);
            services.and_then(|services| {
                let change = Change::Replace {
                    services,
                    cut,
                    what,
                };
                self.prepare(&change, None)
            })
        } else {
            Err(Refusal::Conflict {
                expected: from.epoch,
                actual: self.revision(),
            })
        };
        match prepared {
            Ok(prepared) if self.leads() || !self.peer_leads() => {
                tracing::info!(change = prepared.what, "the other host asks for a change");
                self.submit(prepared, Reply::Peer(id));
            }
            Ok(_) => {
                let refusal = "leadership is about to pass: try again".to_owned();
                self.reply(Reply::Peer(id), Err(Refusal::Failed(refusal)));
            }
            Err(refusal) => self.reply(Reply::Peer(id), Err(refusal)),
        }
    }

    pub(super) fn on_answered(&mut self, id: u64, result: Result<u64, Refusal>) {
        let Some(asked) = self
            .pairing
            .as_mut()
            .and_then(|it| it.pending.asked.remove(&id))
        else {
            return;
        };
        // The services came before the answer; what else the file says comes now.
        let Prepared {
            next,
            file,
            left_out,
            ..
        } = asked.prepared;
        // It may have had all of it before, and then nothing came.
        let agreed = self.unshared && Snapshot::hash(&next) == self.version.hash;
        let result = match result {
            Ok(_) if file.is_some() || agreed => {
                let next = if agreed { next } else { self.running.clone() };
                let version = self.version.clone();
                let installed = self.install(next, version, file, left_out, &[], false);
                installed.map(|()| self.revision())
            }
            result => result,
        };
        self.reply(asked.reply, result);
    }
}
