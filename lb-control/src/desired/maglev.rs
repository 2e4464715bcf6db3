//! The Maglev table: which backend owns which slot.
//!
//! "Maglev: A Fast and Reliable Software Network Load Balancer" (NSDI 2016), section 3.4, with
//! weights: in each round a backend earns its weight, and takes a slot whenever it has earned as
//! much as the heaviest backend earns in one round.
//!
//! The table depends on the set of members alone, not on their order, so that two load balancers
//! with the same backends build the same table.

use lb_ebpf::abi::{BackendId, ServiceId};
use lb_ebpf::hash;
use std::collections::BTreeMap;

/// A backend that takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its id: what the table says.
    pub id: BackendId,
    /// What it is recognised by: what its slots depend on.
    pub identity: u64,
    /// Its share, relative to the others'. Not 0.
    pub weight: u16,
}

/// Keys of the two hashes that a member's order of preference comes from. Any would do, but all
/// load balancers must use the same.
const OFFSET_KEY: [u64; 2] = [0x6d61_676c_6576_0001, 0];
const SKIP_KEY: [u64; 2] = [0x6d61_676c_6576_0002, 0];

/// A member's walk through the slots, in its order of preference.
struct Walk {
    id: BackendId,
    weight: u32,
    earned: u32,
    next: u32,
    skip: u32,
}

/// The tables that were built last. Most of what happens leaves most of them as they are, and
/// building one takes milliseconds.
#[derive(Clone, Debug, Default)]
pub struct Built(BTreeMap<ServiceId, (Vec<Member>, Vec<BackendId>)>);

impl Built {
    /// What [`build`] says, built anew only if that differs from the last time.
    pub fn table(&mut self, service: ServiceId, slots: u32, members: &[Member]) -> &[BackendId] {
        let (known, table) = self.0.entry(service).or_default();
        if known != members || table.len() != slots as usize {
            *table = build(slots, members);
            *known = members.to_vec();
        }
        table
    }

    /// Forgets the tables of other services.
    pub fn retain(&mut self, is_wanted: impl Fn(ServiceId) -> bool) {
        self.0.retain(|&service, _| is_wanted(service));
    }
}

/// The owner of each of `slots` slots; 0 everywhere if there is no member. `slots` must be a
/// prime, so that every walk reaches every slot.
#[must_use]
pub fn build(slots: u32, members: &[Member]) -> Vec<BackendId> {
    let mut table = vec![0; slots as usize];
    let Some(heaviest) = members.iter().map(|member| u32::from(member.weight)).max() else {
        return table;
    };
    let mut members = members.to_vec();
    members.sort_by_key(|member| member.identity);
    let mut walks: Vec<Walk> = members.iter().map(|member| walk(member, slots)).collect();

    let mut free = slots;
    loop {
        for walk in &mut walks {
            walk.earned += walk.weight;
            if walk.earned < heaviest {
                continue;
            }
            walk.earned -= heaviest;
            while table[walk.next as usize] != 0 {
                walk.next = (walk.next + walk.skip) % slots;
            }
            table[walk.next as usize] = walk.id;
            free -= 1;
            if free == 0 {
                return table;
            }
        }
    }
}

fn walk(member: &Member, slots: u32) -> Walk {
    let of = |key, range| hash::slot_of(hash::keyed(key, [member.identity]), range);
    Walk {
        id: member.id,
        weight: u32::from(member.weight),
        earned: 0,
        next: of(OFFSET_KEY, slots),
        skip: of(SKIP_KEY, slots - 1) + 1,
    }
}
