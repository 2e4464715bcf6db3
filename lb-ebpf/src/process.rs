//! One packet from top to bottom.

use crate::abi::{BackendId, FlowKey, ReverseKey, Service, ServiceKey};
use crate::frame::Frame;
use crate::parse::{Segment, SegmentKind, parse};
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
    let segment = match parse(frame) {
        Ok(segment) => segment,
        Err(Reason::NotIpv4) if fence::is_unanswered(frame, tables) => {
            return Verdict::only(Reason::Fenced);
        }
        Err(reason) => return Verdict::only(reason),
    };
    let key = ServiceKey::tcp(segment.destination, segment.destination_port);
    match tables.service(&key) {
        Some(service) => from_client(frame, tables, &segment, &service),
        None => from_backend(frame, tables, &segment),
    }
}

#[inline(always)]
fn from_client<F: Frame + ?Sized, T: Tables>(
    frame: &mut F,
    tables: &T,
    segment: &Segment,
    service: &Service,
) -> Verdict {
    if segment.ttl <= 1 {
        return Verdict::only(Reason::TtlExceeded);
    }
    if segment.kind == SegmentKind::Open && fence::is_fenced(tables) {
        return Verdict::only(Reason::Fenced);
    }
    let flow = FlowKey {
        client: segment.source,
        client_port: segment.source_port,
        service: service.id,
    };
    let Some((id, backend)) = select::select(tables, service, &flow, segment.kind) else {
        return Verdict::only(Reason::NoBackend);
    };
    if rewrite::to_backend(frame, segment, backend).is_none() {
        return Verdict::only(Reason::BadTcp);
    }
    tables.count_in(id, segment.bytes, segment.kind == SegmentKind::Open);
    Verdict {
        reason: Reason::ToBackend,
        egress: backend.ifindex,
        backend: id,
    }
}

#[inline(always)]
fn from_backend<F: Frame + ?Sized, T: Tables>(
    frame: &mut F,
    tables: &T,
    segment: &Segment,
) -> Verdict {
    let key = ReverseKey::tcp(segment.source, segment.source_port);
    let Some(service) = tables.reverse(&key) else {
        return Verdict::only(Reason::NotOurs);
    };
    let seen_as = (service.vip, service.port);
    let (reason, egress, rewritten) =
        match tables.route(service.vip, segment.destination, segment.bytes) {
            // The answer to a health check, for example.
            Route::NotForwarded => return Verdict::only(Reason::NotForwarded),
            Route::Stack => (
                Reason::ToClientByStack,
                0,
                rewrite::to_client_by_stack(frame, segment, seen_as),
            ),
            Route::Via { .. } if segment.ttl <= 1 => return Verdict::only(Reason::TtlExceeded),
            Route::Via {
                ifindex,
                next_hop,
                source,
            } => (
                Reason::ToClient,
                ifindex,
                rewrite::to_client(frame, segment, seen_as, (next_hop, source)),
            ),
        };
    if rewritten.is_none() {
        return Verdict::only(Reason::BadTcp);
    }
    tables.count_out(service.backend, segment.bytes);
    Verdict {
        reason,
        egress,
        backend: service.backend,
    }
}
