//! What a virtual router wants done, and why.

use super::values::{Claim, Priority};
use std::fmt;
use std::net::IpAddr;

/// What is to be done. Effects are to be carried out in the order in which they are given out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The addresses are ours: answer for them.
    Lead {
        /// Why.
        reason: LeadReason,
    },
    /// The addresses are no longer ours: do not answer for them.
    Yield {
        /// Why.
        reason: YieldReason,
    },
    /// Send an advertisement: [`Machine::advert`](super::Machine::advert) with this claim.
    SendAdvert {
        /// What it says of us.
        claim: Claim,
    },
    /// Tell the neighbours that the addresses are ours: see [`announce`](super::announce).
    Announce,
    /// Tell the operator: somebody else led while we do. It has to yield to us, and is told so.
    /// While it does not, this comes again, as often as [`Repeats::spacing`](super::Repeats)
    /// allows. Not said of the moment in which a leader of lower priority is relieved.
    SecondActive {
        /// Its address.
        peer: IpAddr,
    },
    /// Tell the operator: nobody leads, and we may not.
    Withheld {
        /// Why we may not.
        hold: String,
    },
    /// Tell the operator: the configuration of a peer, which is heeded nevertheless, is not ours.
    /// Given out when it changes.
    Disagrees {
        /// Its address.
        peer: IpAddr,
        /// It has other virtual addresses.
        addresses: bool,
        /// It has another interval.
        interval: bool,
    },
}

/// Why a router leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeadReason {
    /// It owns the addresses.
    Owner,
    /// Nobody that leads was heard for the active-down interval.
    ActiveDown,
    /// The one that led, or may have, was lost by other signs than its advertisements.
    PeerLost,
    /// Whoever led gave up.
    Released,
    /// An earlier one on this host led.
    Resumed,
    /// It was told to: see [`Machine::take_over`](super::Machine::take_over).
    Switched,
    /// Whoever leads has a lower priority.
    Preempts {
        /// Its address.
        peer: IpAddr,
        /// Its priority.
        priority: Priority,
    },
}

/// Why a router no longer leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum YieldReason {
    /// Somebody of a higher priority leads.
    HigherPriority {
        /// Its address.
        peer: IpAddr,
        /// Its priority.
        priority: Priority,
    },
    /// Somebody of the same priority and a higher address leads.
    HigherAddress {
        /// Its address.
        peer: IpAddr,
    },
    /// It may not lead any longer, for this reason.
    Held(String),
    /// An interface that it needs is down, or gone: this says which.
    LinkDown(String),
    /// It was shut down.
    Shutdown,
}

impl fmt::Display for LeadReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Owner => f.write_str("it owns the addresses"),
            Self::ActiveDown => f.write_str("no leader was heard"),
            Self::PeerLost => f.write_str("the other host was lost"),
            Self::Released => f.write_str("the leader gave up"),
            Self::Resumed => f.write_str("it led before it was started again"),
            Self::Switched => f.write_str("planned switchover: the other host handed over"),
            Self::Preempts { peer, priority } => {
                write!(f, "{peer} led with the lower priority {priority}")
            }
        }
    }
}

impl YieldReason {
    /// Who leads instead, if somebody does.
    #[must_use]
    pub const fn winner(&self) -> Option<IpAddr> {
        match self {
            Self::HigherPriority { peer, .. } | Self::HigherAddress { peer } => Some(*peer),
            Self::Held(_) | Self::LinkDown(_) | Self::Shutdown => None,
        }
    }
}

impl fmt::Display for YieldReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HigherPriority { peer, priority } => {
                write!(f, "{peer} leads: its priority, {priority}, was higher")
            }
            Self::HigherAddress { peer } => {
                write!(
                    f,
                    "{peer} leads with the same priority and a higher address"
                )
            }
            Self::Held(reason) | Self::LinkDown(reason) => f.write_str(reason),
            Self::Shutdown => f.write_str("lbd was stopped"),
        }
    }
}
