//! Attempts at passwords. They are counted in the database, so that all app servers together allow
//! as many as one would.

use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::call::Call;
use super::refusal::Refusal;
use super::shut::Shut;
use super::store::Moment;
use super::store::attempt::{self, Who};
use crate::db::Write;

/// Of a site's customers so many share a wider network, as far as attempts are concerned.
const NEIGHBOURS: u32 = 10;

/// How many attempts there may be: so many at once, and one more each so often. A token bucket, kept
/// as the time at which it is full again (the generic cell rate algorithm, ITU-T I.371).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Allowance {
    pub(crate) burst: u32,
    pub(crate) every: Duration,
}

/// How long to wait before there may be another attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct TooMany(Duration);

impl Allowance {
    /// When all are there again after one more, if there may be one.
    fn take(self, full: Moment, now: Moment) -> Result<Moment, TooMany> {
        let most = self.every.saturating_mul(self.burst.saturating_sub(1));
        let ahead = full.since(now);
        // So far ahead is only what another clock has written, or another allowance.
        if ahead > most.saturating_add(self.every) {
            return Ok(now.after(self.every));
        }
        if ahead > most {
            return Err(TooMany(ahead - most));
        }
        Ok(full.max(now).after(self.every))
    }

    /// For so many who are counted together.
    fn times(self, many: u32) -> Self {
        Self {
            burst: self.burst.saturating_mul(many),
            every: self.every / many,
        }
    }
}

/// Counts attempts at one account from one network, and those of a network at whatever accounts.
pub(crate) struct Attempts {
    account: Allowance,
    network: Allowance,
    shut: Mutex<Shut>,
}

impl Attempts {
    pub(crate) fn new(account: Allowance, network: Allowance) -> Self {
        let shut = Mutex::new(Shut::new());
        Self {
            account,
            network,
            shut,
        }
    }

    /// Refuses at once whom the database has refused a moment ago.
    pub(crate) fn look(&self, call: &Call<'_>, name: &str) -> Result<(), Refusal> {
        let mut shut = self.shut();
        let networks = self.networks(call).map(|(who, _)| who);
        for who in networks.chain([at_account(call, name)]) {
            if let Some(until) = shut.until(&who, call.now) {
                return Err(Refusal::TooMany(until.since(call.now)));
            }
        }
        Ok(())
    }

    /// Counts an attempt of the request's network, in a transaction that is to be committed before
    /// anything is tried. What is refused is not counted.
    pub(crate) async fn by_network(&self, tx: &mut Write, call: &Call<'_>) -> Result<(), Refusal> {
        for (who, allowed) in self.networks(call) {
            self.count(tx, call, who, allowed).await?;
        }
        Ok(())
    }

    /// Counts an attempt of the request's network at an account, which need not exist; as
    /// [`by_network`](Self::by_network).
    pub(crate) async fn at_account(
        &self,
        tx: &mut Write,
        call: &Call<'_>,
        name: &str,
    ) -> Result<(), Refusal> {
        let who = at_account(call, name);
        self.count(tx, call, who, self.account).await
    }

    /// Forgets those at an account: the last one was right.
    pub(crate) async fn forgive(
        &self,
        tx: &mut Write,
        call: &Call<'_>,
        name: &str,
    ) -> Result<(), Refusal> {
        Ok(attempt::forget(tx, &at_account(call, name)).await?)
    }

    async fn count(
        &self,
        tx: &mut Write,
        call: &Call<'_>,
        who: Who,
        allowed: Allowance,
    ) -> Result<(), Refusal> {
        let (full, now) = attempt::full(tx, &who).await?;
        match allowed.take(full, now) {
            Ok(full) => Ok(attempt::keep(tx, &who, full).await?),
            Err(TooMany(wait)) => {
                self.shut().shut(&who, call.now.after(wait));
                Err(Refusal::TooMany(wait))
            }
        }
    }

    /// The networks that the request's attempts are counted for, each with what it may. Whoever has
    /// one of IPv6 has very many of them.
    fn networks(&self, call: &Call<'_>) -> impl Iterator<Item = (Who, Allowance)> {
        let narrow = (by_network(call.network()), self.network);
        let wide = call.wide_network().map(by_network);
        let wide = wide.map(|wide| (wide, self.network.times(NEIGHBOURS)));
        [narrow].into_iter().chain(wide)
    }

    fn shut(&self) -> MutexGuard<'_, Shut> {
        // Nothing that holds it can leave it half-changed.
        self.shut.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn by_network(network: (IpAddr, u8)) -> Who {
    let (address, length) = network;
    Who::of(&[b"network", address.to_string().as_bytes(), &[length]])
}

fn at_account(call: &Call<'_>, name: &str) -> Who {
    let (address, _) = call.network();
    let address = address.to_string();
    Who::of(&[b"account", name.as_bytes(), address.as_bytes()])
}

#[cfg(test)]
mod tests {
    use super::*;

    const THREE: Allowance = Allowance {
        burst: 3,
        every: Duration::from_secs(30),
    };

    fn at(seconds: u64) -> Moment {
        Moment((1000 + seconds) * 1000)
    }

    fn wait(seconds: u64) -> Result<Moment, TooMany> {
        Err(TooMany(Duration::from_secs(seconds)))
    }

    #[test]
    fn a_burst_and_then_one_each_interval() {
        let mut full = Moment(0);
        for _ in 0..3 {
            full = THREE.take(full, at(0)).unwrap();
        }
        assert_eq!(THREE.take(full, at(0)), wait(30));
        assert_eq!(THREE.take(full, at(29)), wait(1));
        full = THREE.take(full, at(30)).unwrap();
        assert_eq!(THREE.take(full, at(31)), wait(29));
        // Long after, the whole burst is there again, and no more than it.
        for _ in 0..3 {
            full = THREE.take(full, at(1000)).unwrap();
        }
        assert_eq!(THREE.take(full, at(1000)), wait(30));
    }

    #[test]
    fn a_clock_that_was_ahead_shuts_nobody_out_for_long() {
        assert_eq!(THREE.take(at(91), at(0)), Ok(at(30)));
        assert_eq!(THREE.take(at(90), at(0)), wait(30));
    }

    #[test]
    fn none_is_as_much_as_one() {
        let none = Allowance { burst: 0, ..THREE };
        let full = none.take(Moment(0), at(0)).unwrap();
        assert_eq!(none.take(full, at(0)), wait(30));
    }

    #[test]
    fn many_together_may_as_much_more() {
        let many = THREE.times(10);
        assert_eq!((many.burst, many.every), (30, Duration::from_secs(3)));
    }
}
