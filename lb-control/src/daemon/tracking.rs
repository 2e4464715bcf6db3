//! What is wrong on this host that others would rather have right, and so lowers its priority.

use crate::config::{Name, Track, Tracked};
use crate::proto::vrrp::Priority;
use crate::shell::tracking::Missing;
use std::fmt;

/// Something that lowers the priority now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lowering {
    pub(super) why: String,
    pub(super) weight: u8,
}

impl fmt::Display for Lowering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (by {})", self.why, self.weight)
    }
}

/// What of that which is tracked is wrong, where this is missing, and these services have no
/// backend.
pub(super) fn lowerings(
    tracked: &[Track],
    missing: &Missing,
    has_no_backend: impl Fn(&Name) -> bool,
) -> Vec<Lowering> {
    let why = |tracked: &Tracked| match tracked {
        Tracked::Interface(name) => missing.interfaces.get(name).map(ToString::to_string),
        Tracked::Route(network) => {
            let missing = missing.routes.contains(network);
            missing.then(|| format!("there is no route to {network}"))
        }
        Tracked::Service(name) => has_no_backend(name).then(|| format!("{name}: no backend is up")),
    };
    let wrong = tracked.iter().filter_map(|track| {
        Some(Lowering {
            why: why(&track.tracked)?,
            weight: track.weight,
        })
    });
    wrong.collect()
}

/// What is left of the configured priority.
pub(super) fn effective(configured: Priority, lowerings: &[Lowering]) -> Priority {
    let lower = |left: Priority, by: &Lowering| left.lowered_by(by.weight);
    lowerings.iter().fold(configured, lower)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Network;
    use std::net::{IpAddr, Ipv4Addr};

    fn track(tracked: Tracked, weight: u8) -> Track {
        Track { tracked, weight }
    }

    fn priority(number: u8) -> Priority {
        Priority::new(number).unwrap()
    }

    #[test]
    fn what_is_wrong_lowers_the_priority_and_nothing_else_does() {
        let www: Name = "www".parse().unwrap();
        let default = Network::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0).unwrap();
        let tracked = [
            track(Tracked::Interface("eth1".to_owned()), 20),
            track(Tracked::Interface("eth2".to_owned()), 7),
            track(Tracked::Route(default), 30),
            track(Tracked::Service(www.clone()), 40),
        ];
        let fine = lowerings(&tracked, &Missing::default(), |_| false);
        assert_eq!(fine, []);
        assert_eq!(effective(priority(100), &fine), priority(100));

        let missing = Missing {
            interfaces: [("eth1".to_owned(), "eth1 is down".to_owned())].into(),
            routes: [default].into(),
        };
        let wrong = lowerings(&tracked, &missing, |name| *name == www);
        let said: Vec<&str> = wrong.iter().map(|each| each.why.as_str()).collect();
        let expected = [
            "eth1 is down",
            "there is no route to 0.0.0.0/0",
            "www: no backend is up",
        ];
        assert_eq!(said, expected);
        assert_eq!(effective(priority(100), &wrong), priority(10));
    }

    #[test]
    fn a_priority_of_one_is_left() {
        let lowering = |weight| Lowering {
            why: String::new(),
            weight,
        };
        let much = [lowering(254), lowering(254)];
        assert_eq!(effective(priority(254), &much), priority(1));
        assert_eq!(effective(priority(5), &much[..1]), priority(1));
    }
}
