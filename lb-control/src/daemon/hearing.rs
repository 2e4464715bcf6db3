//! Who is heard of the other host: it, nobody, or somebody else.

use crate::config::{Ha, HeartbeatLinks};
use crate::proto::heartbeat::Refusal;
use crate::shell::heartbeat::{LinkReport, Status};
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// For how long a heartbeat is an alarm that was not genuine, or came from elsewhere. Whoever sends
/// them sends more of them meanwhile.
const SHOWN: Duration = Duration::from_secs(10);

/// From when on it is an alarm that the other host was never heard.
const UNHEARD: Duration = Duration::from_secs(5);

/// What is doubtful about who is heard.
pub(super) struct Hearing {
    peer: IpAddr,
    /// Ours and the other's, by link.
    links: Vec<[IpAddr; 2]>,
    /// The links are those of `heartbeat_links`, and not just `peer`.
    named: bool,
    port: u16,
    began: Instant,
    /// How many heartbeats of each link were not genuine while the two were not paired: none could
    /// be.
    unpaired: Vec<u64>,
    doubts: Vec<String>,
}

impl Hearing {
    /// Nobody is heard yet. `None`: heartbeats go nowhere.
    pub(super) fn new(ha: &Ha, links: &[[IpAddr; 2]], now: Instant) -> Option<Self> {
        let heartbeats = ha.heartbeats.as_ref()?;
        Some(Self {
            peer: ha.peer?.into(),
            links: links.to_vec(),
            named: matches!(heartbeats.links, HeartbeatLinks::Named(_)),
            port: heartbeats.port,
            began: now,
            unpaired: Vec::new(),
            doubts: Vec::new(),
        })
    }

    /// What is doubtful.
    pub(super) fn doubts(&self) -> &[String] {
        &self.doubts
    }

    /// How many heartbeats of this link were not genuine before the two were paired.
    pub(super) fn unpaired(&self, link: usize) -> u64 {
        self.unpaired.get(link).copied().unwrap_or(0)
    }

    /// Looks again, and logs what is new. `heard`: the other host was heard at some time.
    pub(super) fn look(&mut self, now: Instant, status: &Status, heard: bool, paired: bool) {
        if !paired {
            self.unpaired = status.links.iter().map(forged).collect();
        }
        let doubts = self.doubt(now, status, heard);
        for doubt in doubts.iter().filter(|it| !self.doubts.contains(it)) {
            tracing::warn!("{doubt}");
        }
        for doubt in self.doubts.iter().filter(|it| !doubts.contains(it)) {
            tracing::info!("no longer: {doubt}");
        }
        self.doubts = doubts;
    }

    fn doubt(&self, now: Instant, status: &Status, heard: bool) -> Vec<String> {
        let peer = self.peer;
        let lately = |at: Instant| now.saturating_duration_since(at) < SHOWN;
        let mut doubts = Vec::new();
        for (ends, report) in self.links.iter().zip(&status.links) {
            if let Some((from, _)) = report.stranger.filter(|(_, at)| lately(*at)) {
                doubts.push(self.stranger(*ends, from));
            }
        }
        if status.peer_up {
            return doubts;
        }
        let mut forged = status.links.iter().filter_map(|link| link.session.forged);
        if forged.any(lately) {
            doubts.push(format!(
                "heartbeats that come from {peer} are not genuine: if they are the other host's, it \
                 has another secret: pair the two (again), by `lbctl pair init` on one of them and \
                 `lbctl pair join -` on the other"
            ));
        }
        if doubts.is_empty() && !heard && now.saturating_duration_since(self.began) >= UNHEARD {
            doubts.push(self.unheard(status));
        }
        doubts
    }

    fn stranger(&self, [local, remote]: [IpAddr; 2], from: IpAddr) -> String {
        let place = match self.named {
            true => format!("the other end of {local} > {remote} in heartbeat_links"),
            false => format!("`peer` ({remote})"),
        };
        format!(
            "heartbeats come from {from}, which is not {place}, and are not heeded: if {from} is the \
             other host, name it in [ha] of this host's configuration file, and start lbd again; if \
             it is not, its own file names this host by mistake"
        )
    }

    fn unheard(&self, status: &Status) -> String {
        let peer = self.peer;
        let mut counters = status.links.iter().map(|link| link.session.counters);
        let what = match counters.any(|it| it.unproven > 0 || it.heard > 0) {
            true => "is heard, and does not hear this one",
            false => "was never heard",
        };
        let local = self.links.iter().map(|[local, _]| local.to_string());
        format!(
            "the other host, {peer}, {what}: does lbd run there, is {peer} that host, does [ha] there \
             name {} for this one, and do firewalls let UDP port {} through, both ways?",
            local.collect::<Vec<_>>().join(" and "),
            self.port
        )
    }
}

/// How many of the heartbeats of a link were not genuine.
pub(super) fn forged(report: &LinkReport) -> u64 {
    let refused = report.session.counters.refused;
    refused.get(Refusal::Forged.index()).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::proto::heartbeat::packet::{HOPS, Packet};
    use crate::proto::heartbeat::{self, Diagnostic, Ends, Key, State, Timing};
    use std::path::Path;

    const HERE: IpAddr = address(2);
    const THERE: IpAddr = address(3);

    const fn address(last: u8) -> IpAddr {
        IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, last))
    }

    fn hearing(more: &str, now: Instant) -> Hearing {
        let text = format!(
            "interfaces = [\"eth0\"]\n[ha]\ninterface = \"eth0\"\nvrid = 51\n\
             addresses = [\"192.0.2.20/32\"]\npeer = \"192.0.2.3\"\n{more}"
        );
        let ha = config::parse(&text, Path::new("lbd.toml")).unwrap().ha;
        Hearing::new(&ha.unwrap(), &[[HERE, THERE]], now).unwrap()
    }

    /// What is known of a peer, where nothing else arrived.
    fn known(peer: &heartbeat::Peer) -> Status {
        let report = |session| LinkReport {
            session,
            unsent: 0,
            strangers: 0,
            stranger: None,
        };
        Status {
            links: peer.links().map(report).collect(),
            ..Status::default()
        }
    }

    const ENDS: Ends = Ends {
        source: HERE,
        destination: THERE,
    };

    fn peer(now: Instant) -> heartbeat::Peer {
        let key = Key::from_secret(b"ours");
        heartbeat::Peer::new(Timing::DEFAULT, key, &[(ENDS, 1)], now)
    }

    fn heartbeat_by(secret: &[u8]) -> [u8; heartbeat::packet::LEN] {
        let packet = Packet {
            state: State::Down,
            diagnostic: Diagnostic::None,
            timing: Timing::DEFAULT,
            my_discriminator: 1,
            your_discriminator: 0,
            sequence: 1,
        };
        packet.encode(&Key::from_secret(secret), ENDS.reversed())
    }

    #[test]
    fn heartbeats_of_another_secret_are_an_alarm_while_they_come() {
        let start = Instant::now();
        let (mut hearing, mut peer) = (hearing("", start), peer(start));
        let mut says = |peer: &heartbeat::Peer, now, says: bool| {
            hearing.look(now, &known(peer), true, true);
            let doubts = hearing.doubts().concat();
            assert_eq!(doubts.contains("are not genuine"), says, "{doubts}");
        };
        says(&peer, start, false);
        let payload = heartbeat_by(b"theirs");
        assert!(peer.on_datagram(start, 0, &payload, HOPS - 1).is_err());
        says(&peer, start, false);
        let refused = peer.on_datagram(start, 0, &payload, HOPS);
        assert_eq!(refused, Err(Refusal::Forged));
        says(&peer, start, true);
        let later = start + SHOWN;
        says(&peer, later, false);
        assert!(peer.on_datagram(later, 0, &payload, HOPS).is_err());
        says(&peer, later, true);
    }

    #[test]
    fn what_cannot_be_genuine_yet_is_not_counted_as_forged() {
        let start = Instant::now();
        let (mut hearing, mut peer) = (hearing("", start), peer(start));
        let payload = heartbeat_by(b"theirs");
        assert!(peer.on_datagram(start, 0, &payload, HOPS).is_err());
        hearing.look(start, &known(&peer), false, false);
        assert!(peer.on_datagram(start, 0, &payload, HOPS).is_err());
        hearing.look(start, &known(&peer), false, true);
        let all: Vec<u64> = known(&peer).links.iter().map(forged).collect();
        assert_eq!((all, hearing.unpaired(0)), (vec![2], 1));
    }

    #[test]
    fn who_is_never_heard_is_an_alarm_that_says_what_to_look_at() {
        let start = Instant::now();
        let (mut hearing, mut peer) = (hearing("", start), peer(start));
        let mut doubts = |peer: &heartbeat::Peer, after, heard| {
            hearing.look(start + after, &known(peer), heard, true);
            hearing.doubts().concat()
        };
        let soon = UNHEARD - Duration::from_millis(1);
        assert_eq!(doubts(&peer, soon, false), "");
        let told = doubts(&peer, UNHEARD, false);
        for says in ["192.0.2.3, was never heard", "192.0.2.2", "UDP port 4785"] {
            assert!(told.contains(says), "{says:?} in {told}");
        }
        // One that was lost has an alarm of its own.
        assert_eq!(doubts(&peer, UNHEARD, true), "");
        // It arrives, and does not know of this host.
        let payload = heartbeat_by(b"ours");
        assert_eq!(peer.on_datagram(start, 0, &payload, HOPS), Ok(()));
        let told = doubts(&peer, UNHEARD, false);
        assert!(told.contains("does not hear this one"), "{told}");
    }

    #[test]
    fn heartbeats_from_elsewhere_are_an_alarm_that_names_both_addresses() {
        let start = Instant::now();
        let links = "heartbeat_links = [\"192.0.2.2 > 192.0.2.3\"]\n";
        for (more, says) in [
            ("", "192.0.2.9, which is not `peer` (192.0.2.3)"),
            (
                links,
                "192.0.2.9, which is not the other end of 192.0.2.2 > 192.0.2.3",
            ),
        ] {
            let mut hearing = hearing(more, start);
            let mut status = known(&peer(start));
            status.links[0].stranger = Some((address(9), start));
            hearing.look(start + UNHEARD, &status, false, true);
            let [told] = hearing.doubts() else {
                panic!("{:?}", hearing.doubts());
            };
            assert!(told.contains(says), "{told}");
            hearing.look(start + SHOWN, &status, true, true);
            assert!(hearing.doubts().is_empty());
        }
    }
}
