//! `SLOTS`: the Maglev tables of all services, one after the other, two slots an element.

use super::BackendId;
use bytemuck::{Pod, Zeroable};

/// Who owns a share of a service's connections.
///
/// `current` takes new connections. `previous` says what is known about the older ones; see
/// [`SlotState`]. A slot is 4 bytes, aligned, and always written whole, so the program never sees
/// half of a change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Pod, Zeroable)]
#[repr(C, align(4))]
pub struct Slot {
    /// The owner of new connections; 0 if there is none.
    pub current: BackendId,
    /// The oldest owner whose connections may live unrecorded; 0 if there is none.
    pub previous: BackendId,
}

/// The life of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotState {
    /// No backend: `{0, 0}`.
    Empty,
    /// `{a, a}`: everything goes to a; nothing is looked up or recorded.
    Clean(BackendId),
    /// `{b, a}`: new connections go to b and are recorded. Unrecorded ones belong to a. There may be
    /// no b: when every backend drains. Then a may be dead, and only recorded connections go on.
    Dirty {
        /// Takes new connections; 0 if nobody does.
        current: BackendId,
        /// Keeps the ones that are older than every change since the slot was last clean.
        previous: BackendId,
    },
    /// `{b, 0}`: all living connections that belong to others are recorded; the rest is b's.
    Settled(BackendId),
}

impl Slot {
    /// A slot without a backend.
    pub const EMPTY: Self = Self {
        current: 0,
        previous: 0,
    };

    /// A slot whose connections all belong to `owner`.
    #[must_use]
    pub const fn clean(owner: BackendId) -> Self {
        Self {
            current: owner,
            previous: owner,
        }
    }

    /// A slot of `owner`, with connections of others among the recorded flows.
    #[must_use]
    pub const fn settled(owner: BackendId) -> Self {
        Self {
            current: owner,
            previous: 0,
        }
    }

    /// Where the slot is in its life.
    #[must_use]
    pub const fn state(self) -> SlotState {
        match (self.current, self.previous) {
            (0, 0) => SlotState::Empty,
            (current, 0) => SlotState::Settled(current),
            (current, previous) if current == previous => SlotState::Clean(current),
            (current, previous) => SlotState::Dirty { current, previous },
        }
    }
}
