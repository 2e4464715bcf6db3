//! What happens to the pair, and how it is undone.

use std::time::Duration;

use anyhow::{Result, ensure};
use kit::layout::Balancer::{self, First, Second};
use nix::sys::signal::Signal;

use crate::contender::{Pair, Peer, Sign};
use crate::support::pause;

/// Longer than anybody here needs to notice anything.
const NOTICED: Duration = Duration::from_secs(1);
/// How long the two do not hear each other: until both have announced themselves for the last time,
/// which keepalived does 5 seconds after it began to lead.
const PARTED: Duration = Duration::from_secs(6);
/// How long the channel is cut: long enough to be missed and to be opened again in vain.
const CHANNEL_IS_CUT: Duration = Duration::from_secs(3);

/// What happens to the one that leads, unless said otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum Fault {
    /// Nothing gets through to it any more, and everything on it is killed.
    HostDead,
    /// Its daemon is killed.
    Kill9,
    /// Its daemon is stopped with SIGSTOP, and goes on when another leads.
    Freeze,
    /// Its link to the clients is set down at its own end.
    LinkCut,
    /// What the two tell each other over TCP is dropped for a while; they hear each other otherwise.
    ChannelCut,
    /// The two did not hear each other, so that both led, and now hear each other again.
    PartitionHeal,
    /// It is told to hand over.
    Switch,
    /// Its daemon is ended in order and started again, and so is the other one's, one by one.
    Restart,
}

impl Fault {
    pub(crate) const ALL: [Self; 8] = [
        Self::HostDead,
        Self::Kill9,
        Self::Freeze,
        Self::LinkCut,
        Self::ChannelCut,
        Self::PartitionHeal,
        Self::Switch,
        Self::Restart,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::HostDead => "host_dead",
            Self::Kill9 => "kill9",
            Self::Freeze => "freeze",
            Self::LinkCut => "link_cut",
            Self::ChannelCut => "channel_cut",
            Self::PartitionHeal => "partition_heal",
            Self::Switch => "switch",
            Self::Restart => "restart",
        }
    }

    /// Whether it can happen to these.
    pub(crate) fn concerns(self, peer: Peer) -> bool {
        self != Self::ChannelCut || peer == Peer::Headgate
    }

    /// What comes before, and is not measured.
    pub(crate) fn prepare(self, pair: &Pair<'_>) -> Result<()> {
        if self == Self::PartitionHeal {
            pair.lab.part_balancers()?;
            pair.wait_for_leaders(&[First, Second])?;
            pause(PARTED)?;
        }
        Ok(())
    }

    /// What is measured, from the beginning of this call on.
    pub(crate) fn happen(self, pair: &mut Pair<'_>) -> Result<()> {
        match self {
            Self::HostDead => pair.power_off(First)?,
            Self::Kill9 => pair.kill_daemon(First)?,
            Self::Freeze => {
                pair.signal_daemon(First, Signal::SIGSTOP)?;
                pause(NOTICED)?;
                pair.signal_daemon(First, Signal::SIGCONT)?;
            }
            Self::LinkCut => pair.set_link(First, false)?,
            Self::ChannelCut => {
                pair.lab.cut_channel()?;
                pause(CHANNEL_IS_CUT)?;
                pair.lab.heal_channel()?;
            }
            Self::PartitionHeal => pair.lab.rejoin_balancers()?,
            Self::Switch => pair.switch()?,
            Self::Restart => {
                for balancer in [First, Second] {
                    pair.stop_daemon(balancer)?;
                    pair.start_daemon(balancer)?;
                    pair.wait_for_leaders(&[First])?;
                }
            }
        }
        pause(NOTICED)
    }

    /// What is logged by whom when it is noticed.
    fn sign(self) -> (Balancer, Sign) {
        match self {
            Self::HostDead
            | Self::Kill9
            | Self::Freeze
            | Self::LinkCut
            | Self::Switch
            | Self::Restart => (Second, Sign::Leads),
            Self::ChannelCut => (First, Sign::NoChannel),
            Self::PartitionHeal => (Second, Sign::Yields),
        }
    }

    /// How often it was noticed so far.
    pub(crate) fn noticed(self, pair: &Pair<'_>) -> Result<usize> {
        let (balancer, sign) = self.sign();
        pair.logged(balancer, sign)
    }

    /// An error if nothing came of it: then nothing was measured, either. `before` is how often it
    /// was noticed before.
    pub(crate) fn ensure_happened(self, pair: &Pair<'_>, before: usize) -> Result<()> {
        let (balancer, sign) = self.sign();
        ensure!(
            self.noticed(pair)? > before,
            "{} did not notice: it did not log {sign:?}",
            balancer.host()
        );
        let leads = |balancer: Balancer| pair.lab.has_addresses(balancer);
        match self {
            Self::HostDead | Self::Kill9 | Self::LinkCut => {
                ensure!(leads(Second)?, "the second one does not lead");
            }
            Self::Switch => pair.wait_for_leaders(&[Second])?,
            Self::Freeze | Self::PartitionHeal | Self::ChannelCut | Self::Restart => {
                pair.wait_for_leaders(&[First])?;
            }
        }
        Ok(())
    }

    /// Undoes it, until all is as it was.
    pub(crate) fn mend(self, pair: &mut Pair<'_>) -> Result<()> {
        match self {
            Self::HostDead => pair.power_on(First)?,
            Self::Kill9 => pair.start_daemon(First)?,
            Self::LinkCut => pair.set_link(First, true)?,
            Self::Switch => pair.switch_back()?,
            Self::Freeze | Self::PartitionHeal | Self::ChannelCut | Self::Restart => {}
        }
        pair.wait_until_initial()
    }
}
