//! The flow hash: SipHash-1-3 of a few words, keyed.
//!
//! The key is a secret that both load balancers of a pair share, so that both send a connection to
//! the same backend, and no client can choose which. Under one key, as many words are hashed each
//! time, so the length block of the general construction is left out: one round for each word, three
//! to finish (Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012).

/// The hash of `words` under `key`.
#[inline(always)]
#[must_use]
pub const fn keyed<const N: usize>(key: [u64; 2], words: [u64; N]) -> u64 {
    let mut v = [
        key[0] ^ 0x736f_6d65_7073_6575,
        key[1] ^ 0x646f_7261_6e64_6f6d,
        key[0] ^ 0x6c79_6765_6e65_7261,
        key[1] ^ 0x7465_6462_7974_6573,
    ];
    let mut next = 0;
    while next < N {
        v[3] ^= words[next];
        v = round(v);
        v[0] ^= words[next];
        next += 1;
    }
    v[2] ^= 0xff;
    v = round(round(round(v)));
    v[0] ^ v[1] ^ v[2] ^ v[3]
}

#[inline(always)]
const fn round([v0, v1, v2, v3]: [u64; 4]) -> [u64; 4] {
    let v0 = v0.wrapping_add(v1);
    let v2 = v2.wrapping_add(v3);
    let v1 = v1.rotate_left(13) ^ v0;
    let v3 = v3.rotate_left(16) ^ v2;
    let v0 = v0.rotate_left(32);
    let v2 = v2.wrapping_add(v1);
    let v0 = v0.wrapping_add(v3);
    let v1 = v1.rotate_left(17) ^ v2;
    let v3 = v3.rotate_left(21) ^ v0;
    let v2 = v2.rotate_left(32);
    [v0, v1, v2, v3]
}

/// Maps a hash evenly to one of `slots` slots, by its upper half.
#[inline(always)]
#[must_use]
pub const fn slot_of(hash: u64, slots: u32) -> u32 {
    (((hash >> 32) * slots as u64) >> 32) as u32
}

#[cfg(test)]
mod tests;
