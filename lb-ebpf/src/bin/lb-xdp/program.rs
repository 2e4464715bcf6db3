//! The entry points.

use crate::frame::XdpFrame;
use crate::maps::{self, Maps};
use aya_ebpf::Global;
use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS, XDP_REDIRECT, XDP_TX};
use aya_ebpf::helpers::bpf_redirect;
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use aya_log_ebpf::debug;
use lb_ebpf::abi::{Addr, Features};
use lb_ebpf::parse::network;
use lb_ebpf::process::{Verdict, process};
use lb_ebpf::reason::Action;

/// Whether each verdict is logged. Set at load: while it is 0, the verifier removes the code.
#[unsafe(no_mangle)]
static LOG_VERDICTS: Global<u8> = Global::new(0);

/// Balances a packet.
#[xdp]
#[inline(always)]
pub(crate) fn headgate(context: XdpContext) -> u32 {
    // SAFETY: the context is the kernel's.
    let (mut frame, maps) = unsafe { (XdpFrame::new(context.ctx), Maps::new(context.ctx)) };
    let verdict = process(&mut frame, &maps);
    maps::count_reason(verdict.reason);
    if LOG_VERDICTS.load() != 0 {
        log(&context, &mut frame, verdict);
    }
    act(&context, verdict)
}

/// Returns at once: attached nowhere, measured by benchmarks as the cost of running anything.
#[xdp]
pub(crate) fn nop(_: XdpContext) -> u32 {
    XDP_PASS
}

/// Logs a verdict, with the addresses that the packet has now.
#[inline(always)]
fn log(context: &XdpContext, frame: &mut XdpFrame, verdict: Verdict) {
    let (source, destination) = match network(frame, Features::ALL) {
        Ok(ip) => (ip.source, ip.destination),
        Err(_) => (Addr::default(), Addr::default()),
    };
    debug!(
        context,
        "{} {:i} > {:i} backend {} egress {}",
        verdict.reason.name(),
        source.octets(),
        destination.octets(),
        verdict.backend,
        verdict.egress
    );
}

#[inline(always)]
fn act(context: &XdpContext, verdict: Verdict) -> u32 {
    // SAFETY: the context is the kernel's.
    let ingress = unsafe { (*context.ctx).ingress_ifindex };
    match verdict.reason.action() {
        Action::Pass => XDP_PASS,
        Action::Drop => XDP_DROP,
        Action::Forward if verdict.egress == ingress => XDP_TX,
        Action::Forward => {
            // SAFETY: the helper has no preconditions.
            let _ = unsafe { bpf_redirect(verdict.egress, 0) };
            XDP_REDIRECT
        }
    }
}

/// What the kernel needs to know before it lets a program use helpers that are licensed so.
#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // Never reached: the code has no panics left, or the verifier would refuse the loop.
    loop {}
}
