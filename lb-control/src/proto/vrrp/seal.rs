//! What shows that an advertisement is of the other host of a pair, and is no recording.
//!
//! VRRP has no authentication (RFC 9568, section 9). Two hosts that exchange heartbeats put a seal
//! behind the message, after its last address:
//!
//! ```text
//! | magic and version: 2 | session: 8 | counter: 8 | code: 16 |
//! ```
//!
//! The code is of the two addresses of the packet, and of everything before the code. The session is
//! that of the sender's heartbeats: whoever exchanges them knows it for the present one, so that what
//! was sealed in another is history. Within a session, the counter rises.
//!
//! While no heartbeats arrive, nobody knows which session is the present one, and a host that is
//! heard should not be taken for dead. Then any is good in which nothing as new was heard: recordings
//! that were never heard here, as those of before lbd was started, pass for news once.

use super::packet::{Ends, split_after_message, vrid_of};
use super::refusal::Refusal;
use super::values::Vrid;
use crate::proto::keyed::{CODE_LEN, Keyed};
use std::collections::VecDeque;
use std::fmt;

/// Bytes of a seal.
pub const LEN: usize = HEAD_LEN + CODE_LEN;

const HEAD_LEN: usize = 18;
/// The last byte is the version.
const MAGIC: [u8; 2] = [0x48, 1];
/// Names the purpose, so that the secret may serve others, too.
const PURPOSE: &[u8] = b"headgate advertisement 1";
/// How many sessions are remembered that were heard last.
const REMEMBERED: usize = 16;

/// The key that both hosts share.
#[derive(Clone)]
pub struct Key(Keyed);

impl Key {
    /// The key that follows from the pair's secret.
    #[must_use]
    pub fn from_secret(secret: &[u8]) -> Self {
        Self(Keyed::derive(PURPOSE, secret))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

/// Seals what a virtual router sends.
#[derive(Clone, Debug)]
pub struct Sealer {
    key: Key,
    counter: u64,
}

impl Sealer {
    /// Seals by this key.
    #[must_use]
    pub const fn new(key: Key) -> Self {
        Self { key, counter: 0 }
    }

    /// Puts a seal behind an advertisement. `clock` is any that never goes back in a session, in
    /// nanoseconds.
    #[must_use]
    pub fn seal(&mut self, advert: Vec<u8>, ends: Ends, session: u64, clock: u64) -> Vec<u8> {
        self.counter = clock.max(self.counter.saturating_add(1));
        let mut sealed = advert;
        sealed.extend(MAGIC);
        sealed.extend(session.to_be_bytes());
        sealed.extend(self.counter.to_be_bytes());
        let code = self.key.0.code(addresses(ends), &[&sealed]);
        sealed.extend(code);
        sealed
    }
}

/// Tells what the other host has sealed from everything else.
#[derive(Clone, Debug)]
pub struct Verifier {
    key: Key,
    vrid: Vrid,
    /// Sessions, and the counter that was heard last in each. What was heard last is at the end.
    heard: VecDeque<(u64, u64)>,
}

impl Verifier {
    /// For the virtual router of this number. What was heard before is not known.
    #[must_use]
    pub fn new(key: Key, vrid: Vrid) -> Self {
        Self {
            key,
            vrid,
            heard: VecDeque::with_capacity(REMEMBERED),
        }
    }

    /// The advertisement, if the other host has sealed it for this way, and it is news. `proven` are
    /// the sessions in which that host is, as heartbeats show; 0 is none.
    ///
    /// # Errors
    ///
    /// If it is not, or is of another virtual router.
    pub fn open<'a>(
        &mut self,
        payload: &'a [u8],
        ends: Ends,
        proven: &[u64],
    ) -> Result<&'a [u8], Refusal> {
        let ours = self.vrid;
        if let Some(theirs) = vrid_of(payload).filter(|theirs| *theirs != ours) {
            return Err(Refusal::OtherVrid { theirs, ours });
        }
        let (advert, seal) = split(payload, ends).ok_or(Refusal::Forged)?;
        let (head, code) = seal
            .split_first_chunk::<HEAD_LEN>()
            .ok_or(Refusal::Forged)?;
        let code = code.try_into().map_err(|_| Refusal::Forged)?;
        if !self
            .key
            .0
            .is_genuine(addresses(ends), &[advert, head], code)
        {
            return Err(Refusal::Forged);
        }
        let [_, _, numbers @ ..] = *head;
        let numbers = u128::from_be_bytes(numbers);
        let (session, counter) = ((numbers >> 64) as u64, numbers as u64);
        let mut heard = self.heard.iter();
        if heard.any(|(of, last)| *of == session && counter <= *last) {
            return Err(Refusal::Replayed);
        }
        let mut proven = proven.iter().filter(|session| **session != 0).peekable();
        if proven.peek().is_some() && proven.all(|it| *it != session) {
            return Err(Refusal::OtherSession);
        }
        self.heard.retain(|(of, _)| *of != session);
        if self.heard.len() == REMEMBERED {
            self.heard.pop_front();
        }
        self.heard.push_back((session, counter));
        Ok(advert)
    }
}

/// What is before the seal, whoever made that. What bears none is left as it is.
#[must_use]
pub fn strip(payload: &[u8], ends: Ends) -> &[u8] {
    split(payload, ends).map_or(payload, |(advert, _)| advert)
}

/// Divides what looks sealed.
fn split(payload: &[u8], ends: Ends) -> Option<(&[u8], &[u8; LEN])> {
    let (advert, rest) = split_after_message(payload, ends)?;
    let seal = rest.try_into().ok()?;
    rest.starts_with(&MAGIC).then_some((advert, seal))
}

const fn addresses(ends: Ends) -> [std::net::IpAddr; 2] {
    [ends.source(), ends.destination()]
}
