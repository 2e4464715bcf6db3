//! One packet from top to bottom.

use crate::abi::{BackendId, FlowKey, ReverseKey, Service, ServiceKey};
use crate::frame::Frame;
use crate::parse::{self, Kind, Network, Packet};
use crate::reason::Reason;
use crate::tables::{Route, Tables};
use crate::{fence, rewrite, select};

/// What is to be done with a packet, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Why; [`Reason::action`] says what.
    pub reason: Reason,
    /// The interface to forward by, if it is forwarded.
    pub egress: u32,
    /// The backend it goes to or comes from; 0 if there is none.
    pub backend: BackendId,
}

impl Verdict {
    const fn only(reason: Reason) -> Self {
        Self {
            reason,
            egress: 0,
            backend: 0,
        }
    }
}

/// Decides about a frame and rewrites it accordingly.
#[inline(always)]
pub fn process<F: Frame + ?Sized, T: Tables>(frame: &mut F, tables: &T) -> Verdict {
    let features = tables.features();
    let ip = match parse::network(frame, features) {
        Ok(ip) => ip,
        Err(reason) => return Verdict::only(fence::unless_fenced(frame, tables, reason)),
    };
    let packet = match parse::transport(frame, &ip, features) {
        Ok(packet) => packet,
        Err(Reason::Fragment) => return Verdict::only(fragment(frame, tables, &ip)),
        Err(reason) => return Verdict::only(fence::unless_fenced(frame, tables, reason)),
    };
    let key = ServiceKey::new(ip.destination, packet.destination_port, ip.proto);
    match tables.service(&key) {
        Some(service) => from_client(frame, tables, &packet, &service),
        None => from_backend(frame, tables, &packet),
    }
}

/// The fragments that follow the first one tell nobody where they belong, so none is forwarded. They
/// are left to the stack, which forgets them in a while if the first one does not come.
#[inline(always)]
fn fragment<F: Frame + ?Sized, T: Tables>(frame: &mut F, tables: &T, ip: &Network) -> Reason {
    let service = parse::first_fragment(frame, ip)
        .and_then(|port| tables.service(&ServiceKey::new(ip.destination, port, ip.proto)));
    match service {
        Some(_) => Reason::ServiceFragment,
        None => Reason::Fragment,
    }
}

/// This host has the service's address, and what it sends to itself does not come in by an
/// interface. So nobody else has a reason to send from it. Were such a packet forwarded, the
/// backend's answer would be for the service, and so for another backend.
///
/// Any other source may be made up, too: the address of another service, or of a backend. To find
/// that out would take more look-ups for each packet, and stop nobody from making up the address of
/// a client.
#[inline(always)]
fn from_client<F: Frame + ?Sized, T: Tables>(
    frame: &mut F,
    tables: &T,
    packet: &Packet,
    service: &Service,
) -> Verdict {
    let ip = &packet.ip;
    if ip.source == ip.destination {
        return Verdict::only(Reason::Spoofed);
    }
    if ip.ttl <= 1 {
        return Verdict::only(Reason::TtlExceeded);
    }
    let opens = packet.kind == Kind::Open;
    if opens && fence::is_fenced(tables) {
        return Verdict::only(Reason::Fenced);
    }
    let flow = FlowKey::new(ip.source, packet.source_port, service.id);
    let Some((id, backend)) = select::select(tables, service, &flow, packet.kind) else {
        return Verdict::only(Reason::NoBackend);
    };
    if rewrite::to_backend(frame, packet, backend).is_none() {
        return Verdict::only(Reason::Runt);
    }
    tables.count_in(id, ip.bytes, opens);
    Verdict {
        reason: Reason::ToBackend,
        egress: backend.ifindex,
        backend: id,
    }
}

/// Only a packet that came in by the interface that leads to its backend is taken for an answer:
/// else any client could speak as a backend, and so as the service. An answer that really comes by
/// another way than requests go is left to the stack, which cannot tell it from that either.
#[inline(always)]
fn from_backend<F: Frame + ?Sized, T: Tables>(
    frame: &mut F,
    tables: &T,
    packet: &Packet,
) -> Verdict {
    let ip = &packet.ip;
    let key = ReverseKey::new(ip.source, packet.source_port, ip.proto);
    let Some(service) = tables.reverse(&key) else {
        return Verdict::only(Reason::NotOurs);
    };
    let backend = tables.backend(service.backend);
    if backend.is_none_or(|backend| backend.ifindex != tables.ingress()) {
        return Verdict::only(Reason::NotOurs);
    }
    let seen_as = (service.vip, service.port);
    let (reason, egress, rewritten) = match tables.route(ip, service.vip) {
        // The answer to a health check, for example.
        Route::NotForwarded => return Verdict::only(Reason::NotForwarded),
        Route::Stack => (
            Reason::ToClientByStack,
            0,
            rewrite::to_client_by_stack(frame, packet, seen_as),
        ),
        Route::Via { .. } if ip.ttl <= 1 => return Verdict::only(Reason::TtlExceeded),
        Route::Via {
            ifindex,
            next_hop,
            source,
        } => (
            Reason::ToClient,
            ifindex,
            rewrite::to_client(frame, packet, seen_as, (next_hop, source)),
        ),
    };
    if rewritten.is_none() {
        return Verdict::only(Reason::Runt);
    }
    tables.count_out(service.backend, ip.bytes);
    Verdict {
        reason,
        egress,
        backend: service.backend,
    }
}
