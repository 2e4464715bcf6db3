//! The life of a slot, as far as userspace decides it. What the program does with a slot, and why,
//! is in [`lb_ebpf::select`].

use lb_ebpf::abi::{BackendId, Slot, SlotState};

/// The slot after its owner became `owner` (0: nobody), or after a backend died.
///
/// * Unrecorded connections belong to the oldest owner since the slot was last clean. That one is
///   kept: whatever came to younger owners was recorded.
/// * If it is dead, there is nothing to keep, unless nobody owns the slot: then its name says that
///   there are recorded connections to look up.
/// * If ownership returns to it, everything that belongs to others is recorded: settled.
#[must_use]
pub fn assign(slot: Slot, owner: BackendId, alive: impl Fn(BackendId) -> bool) -> Slot {
    let (oldest, recorded) = match slot.state() {
        SlotState::Empty => (0, false),
        SlotState::Clean(oldest) => (oldest, false),
        SlotState::Settled(oldest) => (oldest, true),
        SlotState::Dirty { previous, .. } => (previous, true),
    };
    let keeps = oldest != 0 && oldest != owner && alive(oldest);
    match (keeps, recorded) {
        (false, false) => Slot::clean(owner),
        (false, true) if owner != 0 => Slot::settled(owner),
        (false, true) | (true, _) => Slot {
            current: owner,
            previous: oldest,
        },
    }
}

/// The slot after an idle time in which every living connection was seen, and so recorded.
#[must_use]
pub fn settle(slot: Slot) -> Slot {
    match slot.state() {
        // Without an owner, unrecorded connections still need one.
        SlotState::Dirty { current: 0, .. } => slot,
        SlotState::Dirty { current, .. } => Slot::settled(current),
        SlotState::Empty | SlotState::Clean(_) | SlotState::Settled(_) => slot,
    }
}

/// The slot when no recorded connection belongs to anyone but its owner.
#[must_use]
pub fn clean(slot: Slot) -> Slot {
    match slot.state() {
        SlotState::Settled(owner) => Slot::clean(owner),
        SlotState::Empty | SlotState::Clean(_) | SlotState::Dirty { .. } => slot,
    }
}
