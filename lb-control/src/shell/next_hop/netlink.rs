//! Asks the kernel, by rtnetlink, and hears of its changes.

use crate::proto::next_hop::neighbourhood::{Hop, Link, Neighbour, Route, Snapshot};
use futures_util::{FutureExt, Stream, StreamExt, TryStreamExt};
use lb_ebpf::abi::Mac;
use rtnetlink::packet_core::{NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::link::{LinkAttribute, LinkLayerType, LinkMessage};
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteType, RouteVia,
};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::{Handle, MulticastGroup, new_multicast_connection};
use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::time::Duration;
use tokio::task::AbortHandle;

/// How long the kernel may take to answer. It takes microseconds, unless the answer was lost.
const PATIENCE: Duration = Duration::from_secs(10);

/// The changes that are followed.
const GROUPS: [MulticastGroup; 6] = [
    MulticastGroup::Link,
    MulticastGroup::Neigh,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv4Rule,
    MulticastGroup::Ipv6Route,
    MulticastGroup::Ipv6Rule,
];

/// The connection broke, or can no longer be trusted: begin again.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// It could not be made.
    #[error("failed to open a netlink socket")]
    Open(#[source] io::Error),
    /// A question was not answered as it should be.
    #[error("failed to ask the kernel for its {1}")]
    Ask(#[source] rtnetlink::Error, &'static str),
    /// A question was not answered at all.
    #[error("the kernel did not answer within {}s", PATIENCE.as_secs())]
    NoAnswer,
    /// The kernel or the library closed it.
    #[error("the netlink socket was closed")]
    Closed,
}

/// What the kernel tells without being asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// A neighbour answered, or fell silent.
    Neighbour(Hop, Neighbour),
    /// Links or routes changed, or news were lost: everything is to be asked for again.
    Changed,
}

/// A connection to the kernel.
pub(super) struct Netlink {
    handle: Handle,
    news: Pin<Box<dyn Stream<Item = News> + Send + Sync>>,
    connection: AbortHandle,
}

impl Drop for Netlink {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Netlink {
    /// Connects, and follows changes from now on.
    pub(super) fn open() -> Result<Self, Error> {
        let (connection, handle, messages) =
            new_multicast_connection(&GROUPS).map_err(Error::Open)?;
        let connection = tokio::spawn(connection).abort_handle();
        let news = messages.filter_map(|(message, _)| std::future::ready(news(&message)));
        Ok(Self {
            handle,
            news: Box::pin(news),
            connection,
        })
    }

    /// Waits for news.
    pub(super) async fn next(&mut self) -> Result<News, Error> {
        self.news.next().await.ok_or(Error::Closed)
    }

    /// The next of the news that are there already.
    pub(super) fn next_waiting(&mut self) -> Result<Option<News>, Error> {
        match self.news.next().now_or_never() {
            None => Ok(None),
            Some(None) => Err(Error::Closed),
            Some(Some(news)) => Ok(Some(news)),
        }
    }

    /// Asks for everything that matters to these targets.
    pub(super) async fn snapshot(&self, targets: &BTreeSet<IpAddr>) -> Result<Snapshot, Error> {
        tokio::time::timeout(PATIENCE, self.ask(targets))
            .await
            .map_err(|_| Error::NoAnswer)?
    }

    async fn ask(&self, targets: &BTreeSet<IpAddr>) -> Result<Snapshot, Error> {
        let mut snapshot = Snapshot::default();

        let mut links = pin!(self.handle.link().get().execute());
        while let Some(message) = ask("links", links.try_next().await)? {
            snapshot.links.insert(message.header.index, link(&message));
        }

        for target in targets {
            snapshot.routes.insert(*target, self.route(*target).await?);
        }

        let mut neighbours = pin!(self.handle.neighbours().get().execute());
        while let Some(message) = ask("neighbours", neighbours.try_next().await)? {
            snapshot.neighbours.extend(neighbour(&message));
        }
        Ok(snapshot)
    }

    async fn route(&self, target: IpAddr) -> Result<Route, Error> {
        let mut question = RouteMessage::default();
        let (family, length, destination) = match target {
            IpAddr::V4(target) => (AddressFamily::Inet, 32, RouteAddress::Inet(target)),
            IpAddr::V6(target) => (AddressFamily::Inet6, 128, RouteAddress::Inet6(target)),
        };
        question.header.address_family = family;
        question.header.destination_prefix_length = length;
        let destination = RouteAttribute::Destination(destination);
        question.attributes.push(destination);
        let mut answers = pin!(self.handle.route().get(question).execute());
        match answers.try_next().await {
            Ok(Some(message)) => Ok(route(target, &message)),
            Ok(None) => Ok(Route::None),
            // The network is unreachable, or a route says so or forbids it.
            Err(rtnetlink::Error::NetlinkError(error)) => {
                tracing::debug!(%target, %error, "no route");
                Ok(Route::None)
            }
            Err(error) => Err(Error::Ask(error, "routes")),
        }
    }

    /// Makes the kernel ask for a neighbour, or ask again, as if there were a packet for it.
    pub(super) async fn poke(&self, hop: Hop) -> Result<(), Error> {
        let request = self
            .handle
            .neighbours()
            .add(hop.ifindex, hop.address)
            .state(NeighbourState::None)
            .flags(NeighbourFlags::Use)
            .replace()
            .execute();
        match tokio::time::timeout(PATIENCE, request).await {
            Ok(Ok(())) => Ok(()),
            // The link may be down, or have gone since. News of that are on their way.
            Ok(Err(rtnetlink::Error::NetlinkError(error))) => {
                tracing::debug!(?hop, %error, "the kernel does not ask for a neighbour");
                Ok(())
            }
            Ok(Err(error)) => Err(Error::Ask(error, "neighbours")),
            Err(_) => Err(Error::NoAnswer),
        }
    }
}

fn ask<T>(what: &'static str, answer: Result<T, rtnetlink::Error>) -> Result<T, Error> {
    answer.map_err(|error| Error::Ask(error, what))
}

fn news(message: &NetlinkMessage<RouteNetlinkMessage>) -> Option<News> {
    match &message.payload {
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewNeighbour(message)) => {
            neighbour(message).map(|(hop, neighbour)| News::Neighbour(hop, neighbour))
        }
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelNeighbour(message)) => {
            neighbour(message).map(|(hop, _)| News::Neighbour(hop, Neighbour::Silent))
        }
        NetlinkPayload::InnerMessage(_) | NetlinkPayload::Overrun(_) => Some(News::Changed),
        _ => None,
    }
}

fn link(message: &LinkMessage) -> Link {
    let mut link = Link {
        name: format!("interface {}", message.header.index),
        mac: None,
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Address(address)
                if message.header.link_layer_type == LinkLayerType::Ether =>
            {
                link.mac = Mac::try_from(address.as_slice()).ok();
            }
            _ => {}
        }
    }
    link
}

fn route(target: IpAddr, message: &RouteMessage) -> Route {
    match message.header.kind {
        RouteType::Unicast => {}
        RouteType::Local => return Route::Local,
        RouteType::Broadcast => return Route::Unusable("is a broadcast address"),
        RouteType::Anycast => return Route::Unusable("is an anycast address"),
        RouteType::Multicast => return Route::Unusable("is a multicast address"),
        _ => return Route::None,
    }
    let mut ifindex = None;
    let mut address = target;
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Oif(index) => ifindex = Some(*index),
            RouteAttribute::Gateway(RouteAddress::Inet(gateway)) => address = (*gateway).into(),
            RouteAttribute::Gateway(RouteAddress::Inet6(gateway)) => address = (*gateway).into(),
            RouteAttribute::Via(RouteVia::Inet(gateway)) => address = (*gateway).into(),
            RouteAttribute::Via(RouteVia::Inet6(gateway)) => address = (*gateway).into(),
            RouteAttribute::Via(_) => {
                return Route::Unusable("is behind a router that is not one of IP");
            }
            RouteAttribute::Encap(_) => {
                return Route::Unusable("is behind a tunnel, which is not supported");
            }
            _ => {}
        }
    }
    match ifindex {
        Some(ifindex) => Route::Via(Hop { ifindex, address }),
        None => Route::None,
    }
}

fn neighbour(message: &NeighbourMessage) -> Option<(Hop, Neighbour)> {
    let mut address = None;
    let mut mac = None;
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(inet)) => {
                address = Some(IpAddr::V4(*inet));
            }
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(inet6)) => {
                address = Some(IpAddr::V6(*inet6));
            }
            NeighbourAttribute::LinkLayerAddress(bytes) => {
                mac = Mac::try_from(bytes.as_slice()).ok();
            }
            _ => {}
        }
    }
    let hop = Hop {
        ifindex: message.header.ifindex,
        address: address?,
    };
    let neighbour = match (message.header.state, mac) {
        (
            NeighbourState::Reachable
            | NeighbourState::Stale
            | NeighbourState::Delay
            | NeighbourState::Probe
            | NeighbourState::Permanent,
            Some(mac),
        ) => Neighbour::Valid(mac),
        _ => Neighbour::Silent,
    };
    Some((hop, neighbour))
}
