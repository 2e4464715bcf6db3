//! Whether the interfaces and routes are there that a host of a pair is better off with.
//!
//! The kernel is asked when something changed, and every now and then.

use crate::config::{Network, Track, Tracked};
use futures_util::{FutureExt as _, StreamExt as _, TryStreamExt as _};
use rtnetlink::packet_core::{NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteType,
};
use rtnetlink::{Handle, MulticastGroup, RouteMessageBuilder, new_multicast_connection};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::pin::pin;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

const GROUPS: [MulticastGroup; 3] = [
    MulticastGroup::Link,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv6Route,
];

/// How often everything is asked for without news, so that drift heals.
const PERIOD: Duration = Duration::from_secs(10);

/// How long changes are collected: what replaces a route takes the old one away first.
const SETTLE: Duration = Duration::from_millis(20);

/// How long to wait before netlink is tried again.
const RECONNECT: Duration = Duration::from_secs(1);

/// What is tracked and not there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Missing {
    /// Interfaces, and what is wrong with each, for people.
    pub interfaces: BTreeMap<String, String>,
    /// Networks to which the main table has no route of exactly this prefix.
    pub routes: BTreeSet<Network>,
}

/// Starts asking. Tells whenever something else is missing, and at first. Must be called inside of a
/// tokio runtime.
pub fn spawn(tracked: &[Track], events: mpsc::UnboundedSender<Missing>) {
    let (mut interfaces, mut routes) = (BTreeSet::new(), BTreeSet::new());
    for track in tracked {
        match &track.tracked {
            Tracked::Interface(name) => drop(interfaces.insert(name.clone())),
            Tracked::Route(network) => drop(routes.insert(*network)),
            // The daemon itself knows of them.
            Tracked::Service(_) => {}
        }
    }
    if interfaces.is_empty() && routes.is_empty() {
        return;
    }
    let tracker = Tracker { interfaces, routes };
    tokio::spawn(async move {
        let mut told = None;
        while !events.is_closed() {
            if let Err(error) = tracker.follow(&events, &mut told).await {
                let error = anyhow::Error::new(error);
                tracing::warn!("interfaces and routes are not tracked, will try again: {error:#}");
            }
            sleep(RECONNECT).await;
        }
    });
}

struct Tracker {
    interfaces: BTreeSet<String>,
    routes: BTreeSet<Network>,
}

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("failed to open a netlink socket")]
    Open(#[source] std::io::Error),
    #[error("failed to ask the kernel for its {1}")]
    Ask(#[source] rtnetlink::Error, &'static str),
    #[error("the kernel did not answer within {}s", PERIOD.as_secs())]
    NoAnswer,
}

impl Tracker {
    /// Follows what happens until nobody listens, or the connection breaks.
    async fn follow(
        &self,
        events: &mpsc::UnboundedSender<Missing>,
        told: &mut Option<Missing>,
    ) -> Result<(), Error> {
        let (connection, handle, mut news) =
            new_multicast_connection(&GROUPS).map_err(Error::Open)?;
        let connection = tokio::spawn(connection);
        let result = async {
            loop {
                let asked = timeout(PERIOD, self.ask(&handle)).await;
                let missing = asked.map_err(|_| Error::NoAnswer)??;
                if told.as_ref() != Some(&missing) {
                    if events.send(missing.clone()).is_err() {
                        return Ok(());
                    }
                    *told = Some(missing);
                }
                let concerned = async {
                    while let Some((message, _)) = news.next().await {
                        if self.is_concerned(&message) {
                            break;
                        }
                    }
                };
                if timeout(PERIOD, concerned).await.is_ok() {
                    sleep(SETTLE).await;
                    while let Some(Some(_)) = news.next().now_or_never() {}
                }
            }
        };
        let result = result.await;
        connection.abort();
        result
    }

    /// Whether something changed that is tracked. Routes of others may change all the time.
    fn is_concerned(&self, message: &NetlinkMessage<RouteNetlinkMessage>) -> bool {
        match &message.payload {
            NetlinkPayload::InnerMessage(
                RouteNetlinkMessage::NewRoute(route) | RouteNetlinkMessage::DelRoute(route),
            ) => network(route).is_some_and(|network| self.routes.contains(&network)),
            NetlinkPayload::InnerMessage(_) | NetlinkPayload::Overrun(_) => true,
            _ => false,
        }
    }

    async fn ask(&self, handle: &Handle) -> Result<Missing, Error> {
        let mut missing = Missing {
            interfaces: self
                .interfaces
                .iter()
                .map(|name| (name.clone(), format!("{name} is gone")))
                .collect(),
            routes: self.routes.clone(),
        };
        let mut links = pin!(handle.link().get().execute());
        while let Some(link) = ask("links", links.try_next().await)? {
            let Some(name) = name(&link) else {
                continue;
            };
            let runs = LinkFlags::Up | LinkFlags::Running;
            if link.header.flags.contains(runs) {
                missing.interfaces.remove(name);
            } else if let Some(why) = missing.interfaces.get_mut(name) {
                *why = format!("{name} is down");
            }
        }
        let wanted = |v4| self.routes.iter().any(|it| it.address().is_ipv4() == v4);
        let questions = [
            (true, RouteMessageBuilder::<Ipv4Addr>::new().build()),
            (false, RouteMessageBuilder::<Ipv6Addr>::new().build()),
        ];
        for (_, question) in questions.into_iter().filter(|(v4, _)| wanted(*v4)) {
            let mut routes = pin!(handle.route().get(question).execute());
            while let Some(route) = ask("routes", routes.try_next().await)? {
                if let Some(network) = network(&route)
                    && route.header.kind == RouteType::Unicast
                {
                    missing.routes.remove(&network);
                }
            }
        }
        Ok(missing)
    }
}

fn ask<T>(what: &'static str, answer: Result<T, rtnetlink::Error>) -> Result<T, Error> {
    answer.map_err(|error| Error::Ask(error, what))
}

fn name(link: &LinkMessage) -> Option<&str> {
    let mut attributes = link.attributes.iter();
    attributes.find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.as_str()),
        _ => None,
    })
}

/// Where a route of the main table leads to.
fn network(route: &RouteMessage) -> Option<Network> {
    use rtnetlink::packet_route::AddressFamily::{Inet, Inet6};
    let mut table = u32::from(route.header.table);
    let mut address = match route.header.address_family {
        Inet => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        Inet6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        _ => return None,
    };
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Table(number) => table = *number,
            RouteAttribute::Destination(RouteAddress::Inet(it)) => address = IpAddr::V4(*it),
            RouteAttribute::Destination(RouteAddress::Inet6(it)) => address = IpAddr::V6(*it),
            _ => {}
        }
    }
    let main = table == u32::from(RouteHeader::RT_TABLE_MAIN);
    main.then(|| Network::new(address, route.header.destination_prefix_length))?
}
