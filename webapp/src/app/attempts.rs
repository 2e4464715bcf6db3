//! Attempts at passwords, counted by each app server for itself.

use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::call::Call;
use super::rate::{Rate, TooMany};
use super::refusal::Refusal;

/// How many attempts there may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Allowance {
    pub(crate) burst: u32,
    pub(crate) every: Duration,
}

/// Attempts at one account from one network, and those of a network at whatever accounts.
pub(crate) struct Attempts {
    accounts: Mutex<Rate>,
    networks: Mutex<Rate>,
    begun: Instant,
}

impl Attempts {
    pub(crate) fn new(account: Allowance, network: Allowance) -> Self {
        let rate = |allowed: Allowance| Mutex::new(Rate::new(allowed.burst, allowed.every));
        Self {
            accounts: rate(account),
            networks: rate(network),
            begun: Instant::now(),
        }
    }

    /// Counts an attempt of the request's network.
    pub(crate) fn by_network(&self, call: &Call<'_>) -> Result<(), Refusal> {
        let mut networks = lock(&self.networks);
        Ok(networks.take(self.begun.elapsed(), call.network())?)
    }

    /// Counts an attempt of the request's network at an account, which need not exist.
    pub(crate) fn at_account(&self, call: &Call<'_>, name: &str) -> Result<(), Refusal> {
        let mut accounts = lock(&self.accounts);
        Ok(accounts.take(self.begun.elapsed(), who(call, name))?)
    }

    /// Forgets those at an account: the last one was right.
    pub(crate) fn forgive(&self, call: &Call<'_>, name: &str) {
        lock(&self.accounts).forgive(self.begun.elapsed(), who(call, name));
    }
}

fn who<'n>(call: &Call<'_>, name: &'n str) -> (&'n str, IpAddr) {
    (name, call.network())
}

fn lock(rate: &Mutex<Rate>) -> MutexGuard<'_, Rate> {
    // Nothing that holds it can leave it half-changed.
    rate.lock().unwrap_or_else(PoisonError::into_inner)
}

impl From<TooMany> for Refusal {
    fn from(TooMany(wait): TooMany) -> Self {
        Refusal::TooMany(wait)
    }
}
