//! Single values of the protocol: what is allowed, said once.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU8;
use std::time::Duration;

/// Names a virtual router on a link: 1 to 255 (RFC 9568, section 5.2.3).
///
/// IPv4 and IPv6 are separate: the same number names one router of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Vrid(NonZeroU8);

impl Vrid {
    /// The VRID of this number, unless it is 0.
    #[must_use]
    pub const fn new(number: u8) -> Option<Self> {
        match NonZeroU8::new(number) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0.get()
    }
}

impl fmt::Display for Vrid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The address family of a virtual router.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// That of an address.
    #[must_use]
    pub const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

/// The priority of a router that wants to lead: 1 to 255, the highest wins (RFC 9568, section
/// 5.2.4). The 0 of a router that gives up is [`Claim::Release`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Priority(NonZeroU8);

impl Priority {
    /// Of the router whose own addresses are the virtual ones. It leads from its start.
    pub const OWNER: Self = Self(NonZeroU8::MAX);

    /// The priority of this number, unless it is 0.
    #[must_use]
    pub const fn new(number: u8) -> Option<Self> {
        match NonZeroU8::new(number) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0.get()
    }

    /// Lower by `penalty`, but not below 1: what a tracked interface or service that failed makes
    /// of a priority. An owner stays one.
    #[must_use]
    pub fn lowered_by(self, penalty: u8) -> Self {
        if self == Self::OWNER {
            return self;
        }
        Self(NonZeroU8::new(self.get().saturating_sub(penalty)).unwrap_or(NonZeroU8::MIN))
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What the priority field of an advertisement says (RFC 9568, section 5.2.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Claim {
    /// 0: the sender led, and gives up.
    Release,
    /// 1 to 255: the sender leads.
    Lead(Priority),
}

impl Claim {
    /// The field as a number.
    #[must_use]
    pub const fn to_wire(self) -> u8 {
        match self {
            Self::Release => 0,
            Self::Lead(priority) => priority.get(),
        }
    }

    /// What the number in the field means.
    #[must_use]
    pub const fn from_wire(number: u8) -> Self {
        match Priority::new(number) {
            None => Self::Release,
            Some(priority) => Self::Lead(priority),
        }
    }
}

/// The time from one advertisement to the next: 1 to 4095 centiseconds (RFC 9568, section 5.2.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Interval(u16);

impl Interval {
    /// The longest that twelve bits hold, in centiseconds.
    pub const MAX_CENTISECONDS: u16 = 0x0fff;

    /// The interval of so many centiseconds, if it is 1 to 4095 of them.
    #[must_use]
    pub const fn from_centiseconds(centiseconds: u16) -> Option<Self> {
        match centiseconds {
            1..=Self::MAX_CENTISECONDS => Some(Self(centiseconds)),
            _ => None,
        }
    }

    /// In centiseconds.
    #[must_use]
    pub const fn centiseconds(self) -> u16 {
        self.0
    }

    /// As a duration.
    #[must_use]
    pub const fn duration(self) -> Duration {
        Duration::from_millis(self.0 as u64 * 10)
    }

    /// How long a router of this priority lets those of higher ones go first, when the active one
    /// advertises at this interval: `Skew_Time` of RFC 9568, section 6.1.
    #[must_use]
    pub fn skew(self, priority: Priority) -> Duration {
        self.duration() * (256 - u32::from(priority.get())) / 256
    }

    /// After how long a silence a router of this priority holds the active one for down:
    /// `Active_Down_Interval` of RFC 9568, section 6.1.
    #[must_use]
    pub fn active_down(self, priority: Priority) -> Duration {
        self.duration() * 3 + self.skew(priority)
    }
}
