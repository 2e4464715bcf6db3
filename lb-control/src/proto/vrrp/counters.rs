//! What happened to a virtual router, in numbers.

use super::refusal::Refusal;
use super::values::Claim;
use std::collections::BTreeMap;

/// What happened to a virtual router since it was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Sound advertisements heard, releases among them.
    pub heard: u64,
    /// Releases heard: advertisements of priority 0.
    pub releases_heard: u64,
    /// Heard, while we led, from others that led too and have to yield to us.
    pub second_actives_heard: u64,
    /// Heard with other virtual addresses than ours.
    pub other_addresses_heard: u64,
    /// Heard with another interval than ours.
    pub other_intervals_heard: u64,
    /// Advertisements sent, releases among them.
    pub sent: u64,
    /// Releases sent.
    pub releases_sent: u64,
    /// How often it began to lead.
    pub led: u64,
    /// How often it ceased to lead.
    pub yielded: u64,
    /// What was not heeded, by [`Refusal::name`].
    pub refused: BTreeMap<&'static str, u64>,
}

impl Counters {
    pub(super) fn count_heard(&mut self, claim: Claim) {
        self.heard += 1;
        self.releases_heard += u64::from(claim == Claim::Release);
    }

    pub(super) fn count_sent(&mut self, claim: Claim) {
        self.sent += 1;
        self.releases_sent += u64::from(claim == Claim::Release);
    }

    pub(super) fn count_refused(&mut self, refusal: &Refusal) {
        *self.refused.entry(refusal.name()).or_default() += 1;
    }
}
