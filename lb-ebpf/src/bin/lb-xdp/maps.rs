//! The maps, and the tables of `lb_ebpf` over them.
//!
//! All but the log are pinned by name by the daemon, and outlive it.

use aya_ebpf::Global;
use aya_ebpf::bindings::{
    BPF_F_MMAPABLE, BPF_FIB_LKUP_RET_FRAG_NEEDED, BPF_FIB_LKUP_RET_NO_NEIGH,
    BPF_FIB_LKUP_RET_SUCCESS, bpf_fib_lookup as FibLookup, xdp_md,
};
use aya_ebpf::btf_maps::{Array, HashMap, PerCpuArray, RingBuf};
use aya_ebpf::helpers::{bpf_fib_lookup, bpf_ktime_get_boot_ns, bpf_ktime_get_coarse_ns};
use aya_ebpf::macros::btf_map;
use lb_ebpf::abi::{
    Addr, Backend, BackendId, Budget, Family, Features, Flow, FlowKey, IsVip, LeaseUntil, Mac,
    NewFlow, Reverse, ReverseKey, Service, ServiceKey, Slot, Tracking, Traffic, capacity,
    slot_pairs,
};
use lb_ebpf::parse::Network;
use lb_ebpf::reason::Reason;
use lb_ebpf::tables::{RecordKind, Route, Tables};

#[btf_map]
static SERVICES: HashMap<ServiceKey, Service, { capacity::SERVICES }> = HashMap::new();
#[btf_map]
static REVERSE: HashMap<ReverseKey, Reverse, { capacity::BACKENDS }> = HashMap::new();
#[btf_map]
static BACKENDS: Array<Backend, { capacity::BACKENDS }> = Array::new();
/// Two slots an element, because the kernel rounds elements up to 8 bytes.
#[btf_map]
static SLOTS: Array<
    [Slot; 2],
    { capacity::SERVICES * slot_pairs(capacity::SLOTS_PER_SERVICE) },
    { BPF_F_MMAPABLE as usize },
> = Array::new();
#[btf_map]
static FLOWS: HashMap<FlowKey, Flow, { capacity::FLOWS }> = HashMap::new();
#[btf_map]
static NEW_FLOWS: RingBuf<NewFlow, { capacity::NEW_FLOWS }> = RingBuf::new();
#[btf_map]
static BACKEND_TRAFFIC: PerCpuArray<Traffic, { capacity::BACKENDS }> = PerCpuArray::new();
/// Read and written by userspace only; here so that it is created and pinned with the others.
#[btf_map]
static RETIRED_TRAFFIC: Array<Traffic, { capacity::SERVICES }> = Array::new();
#[btf_map]
static REASONS: PerCpuArray<u64, { Reason::ALL.len() }> = PerCpuArray::new();
#[btf_map]
static TRACKING: PerCpuArray<u64, { Tracking::ALL.len() }> = PerCpuArray::new();
/// One for each [`RecordKind`].
#[btf_map]
static BUDGETS: PerCpuArray<Budget, 2> = PerCpuArray::new();

/// Mapped into the memory of whoever renews it: a system call may come too late.
#[btf_map]
static LEASE: Array<LeaseUntil, 1, { BPF_F_MMAPABLE as usize }> = Array::new();
#[btf_map]
static VIPS: HashMap<Addr, IsVip, { capacity::SERVICES }> = HashMap::new();

/// The parts of the program that some service uses. Set at load: the verifier removes the others.
#[unsafe(no_mangle)]
static FEATURES: Global<u32> = Global::new(0);

/// Whether this host may act as owner only while it has a lease. Set at load: while it is 0, the
/// verifier removes what asks for the lease.
#[unsafe(no_mangle)]
static LEASES: Global<u8> = Global::new(0);

/// Whether somebody reads `NEW_FLOWS`. Set at load: while it is 0, the verifier removes what tells.
#[unsafe(no_mangle)]
static TELLS_FLOWS: Global<u8> = Global::new(0);

/// How many flows of each kind one CPU may record in a second. Set at load.
#[unsafe(no_mangle)]
static RECORDS_PER_SECOND: Global<u32> = Global::new(10_000);

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const NANOS_PER_MILLI: u64 = 1_000_000;

/// Counts a verdict.
#[inline(always)]
pub(crate) fn count_reason(reason: Reason) {
    add_one(REASONS.get_ptr_mut(reason as u32));
}

#[inline(always)]
fn add_one(counter: Option<*mut u64>) {
    if let Some(counter) = counter {
        // SAFETY: the pointer is to this CPU's element, which no other program run touches now.
        unsafe { *counter += 1 };
    }
}

/// The four words of an address.
#[inline(always)]
fn halves(address: Addr) -> [u32; 4] {
    let [high, low] = address.words().map(u64::to_ne_bytes);
    let ([a, b, c, d, e, f, g, h], [i, j, k, l, m, n, o, p]) = (high, low);
    [[a, b, c, d], [e, f, g, h], [i, j, k, l], [m, n, o, p]].map(u32::from_ne_bytes)
}

/// Reads a hardware address that lies at an even place on the stack. The verifier wants accesses to the
/// stack aligned, and the compiler would take four bytes at once.
#[inline(always)]
fn mac_on_stack(mac: &Mac) -> Mac {
    let words = core::ptr::from_ref(mac).cast::<u16>();
    // SAFETY: both addresses are at even offsets of a structure aligned to 4; `query` lives on.
    let [a, b, c] = unsafe {
        [
            words.read_volatile(),
            words.add(1).read_volatile(),
            words.add(2).read_volatile(),
        ]
    };
    let ([a0, a1], [b0, b1], [c0, c1]) = (a.to_ne_bytes(), b.to_ne_bytes(), c.to_ne_bytes());
    [a0, a1, b0, b1, c0, c1]
}

/// The maps, as they are when a packet arrives.
pub(crate) struct Maps {
    context: *mut xdp_md,
}

impl Maps {
    /// # Safety
    ///
    /// `context` must be what the kernel passed to the program.
    pub(crate) const unsafe fn new(context: *mut xdp_md) -> Self {
        Self { context }
    }
}

impl Tables for Maps {
    #[inline(always)]
    fn features(&self) -> Features {
        Features::from_bits(FEATURES.load())
    }

    #[inline(always)]
    fn service(&self, key: &ServiceKey) -> Option<Service> {
        // SAFETY: services are replaced only by userspace; a copy is taken at once.
        unsafe { SERVICES.get(key).copied() }
    }

    #[inline(always)]
    fn slot(&self, index: u32) -> Option<Slot> {
        let pair = SLOTS.get(index / 2)?;
        Some(if index % 2 == 0 { pair[0] } else { pair[1] })
    }

    #[inline(always)]
    fn backend(&self, id: BackendId) -> Option<&Backend> {
        BACKENDS.get(u32::from(id))
    }

    #[inline(always)]
    fn reverse(&self, key: &ReverseKey) -> Option<Reverse> {
        // SAFETY: as for services.
        unsafe { REVERSE.get(key).copied() }
    }

    #[inline(always)]
    fn is_vip(&self, address: &Addr) -> bool {
        VIPS.get_ptr(address).is_some()
    }

    #[inline(always)]
    fn lease(&self) -> Option<u64> {
        if LEASES.load() == 0 {
            return None;
        }
        // SAFETY: the pointer is to the only element, an aligned word that is written whole;
        // volatile, since userspace writes it at any time.
        let until = LEASE
            .get_ptr(0)
            .map(|until| unsafe { until.read_volatile() });
        Some(until.unwrap_or(0))
    }

    #[inline(always)]
    fn flow(&self, key: &FlowKey) -> Option<Flow> {
        // SAFETY: a record may be replaced meanwhile by another CPU; both are 8 bytes, read at
        // once, and either is right.
        unsafe { FLOWS.get(key).copied() }
    }

    #[inline(always)]
    fn record(&self, key: &FlowKey, flow: Flow) -> bool {
        FLOWS.insert(key, flow, 0).is_ok()
    }

    #[inline(always)]
    fn tell(&self, key: &FlowKey, flow: Flow) -> bool {
        // Without flags, the reader is woken only if it has read all there was: one that lets
        // flows gather costs few interrupts.
        TELLS_FLOWS.load() == 0 || NEW_FLOWS.output(NewFlow { key: *key, flow }, 0).is_ok()
    }

    #[inline(always)]
    fn may_record(&self, kind: RecordKind) -> bool {
        let Some(budget) = BUDGETS.get_ptr_mut(kind as u32) else {
            return false;
        };
        // SAFETY: the pointer is to this CPU's element.
        let budget = unsafe { &mut *budget };
        let second = self.now_ms() / 1_000;
        if budget.second != second {
            *budget = Budget { second, used: 0 };
        }
        if budget.used >= RECORDS_PER_SECOND.load() {
            return false;
        }
        budget.used += 1;
        true
    }

    #[inline(always)]
    fn track(&self, what: Tracking) {
        add_one(TRACKING.get_ptr_mut(what as u32));
    }

    #[inline(always)]
    fn now_ms(&self) -> u32 {
        // SAFETY: the helper has no preconditions.
        (unsafe { bpf_ktime_get_coarse_ns() } / NANOS_PER_MILLI) as u32
    }

    /// Of the clocks that a program can read, the coarse one of [`now_ms`](Self::now_ms) is the
    /// cheapest, but is late by up to a tick, 10 ms where there are 100 a second: as long as a host
    /// needs to be declared dead by an eager peer. And it stands still while the host is suspended,
    /// so the lease would go on when the host wakes up. Only SYNs and ARP requests pay for this one.
    #[inline(always)]
    fn boot_ns(&self) -> u64 {
        // SAFETY: the helper has no preconditions.
        unsafe { bpf_ktime_get_boot_ns() }
    }

    #[inline(always)]
    fn ingress(&self) -> u32 {
        // SAFETY: the context is the kernel's; see `new`.
        unsafe { (*self.context).ingress_ifindex }
    }

    #[inline(always)]
    fn route(&self, packet: &Network, source: Addr) -> Route {
        // SAFETY: plain data for which zero is valid.
        let mut query: FibLookup = unsafe { core::mem::zeroed() };
        query.l4_protocol = packet.proto;
        query.__bindgen_anon_1.tot_len = packet.bytes;
        match packet.family {
            Family::V4 => {
                query.family = AF_INET;
                query.__bindgen_anon_3.ipv4_src = u32::from_ne_bytes(source.octets_v4());
                query.__bindgen_anon_4.ipv4_dst =
                    u32::from_ne_bytes(packet.destination.octets_v4());
            }
            Family::V6 => {
                query.family = AF_INET6;
                query.__bindgen_anon_3.ipv6_src = halves(source);
                query.__bindgen_anon_4.ipv6_dst = halves(packet.destination);
            }
        }
        query.ifindex = self.ingress();
        // SAFETY: the context is the kernel's, and the query is as long as said.
        let answer = unsafe {
            bpf_fib_lookup(
                self.context.cast(),
                (&raw mut query).cast(),
                size_of::<FibLookup>() as i32,
                0,
            )
        };
        match answer as u32 {
            BPF_FIB_LKUP_RET_SUCCESS => Route::Via {
                ifindex: query.ifindex,
                next_hop: mac_on_stack(&query.dmac),
                source: mac_on_stack(&query.smac),
            },
            BPF_FIB_LKUP_RET_NO_NEIGH | BPF_FIB_LKUP_RET_FRAG_NEEDED => Route::Stack,
            _ => Route::NotForwarded,
        }
    }

    #[inline(always)]
    fn count_in(&self, backend: BackendId, bytes: u16, is_syn: bool) {
        if let Some(traffic) = BACKEND_TRAFFIC.get_ptr_mut(u32::from(backend)) {
            // SAFETY: the pointer is to this CPU's element.
            let traffic = unsafe { &mut *traffic };
            traffic.packets_in += 1;
            traffic.bytes_in += u64::from(bytes);
            traffic.connections += u64::from(is_syn);
        }
    }

    #[inline(always)]
    fn count_out(&self, backend: BackendId, bytes: u16) {
        if let Some(traffic) = BACKEND_TRAFFIC.get_ptr_mut(u32::from(backend)) {
            // SAFETY: the pointer is to this CPU's element.
            let traffic = unsafe { &mut *traffic };
            traffic.packets_out += 1;
            traffic.bytes_out += u64::from(bytes);
        }
    }
}
