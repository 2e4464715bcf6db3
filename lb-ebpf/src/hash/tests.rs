use super::{keyed, slot_of};
use proptest::prelude::*;

const KEY: [u64; 2] = [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908];
const SLOTS: u32 = 251;

/// SipHash as its authors define it: `c` rounds for a block, `d` to finish. Written once more, from
/// the paper, so that it shares no code with what is tested.
fn siphash(c: u32, d: u32, key: [u64; 2], blocks: &[u64]) -> u64 {
    let mut v0 = key[0] ^ 0x736f_6d65_7073_6575;
    let mut v1 = key[1] ^ 0x646f_7261_6e64_6f6d;
    let mut v2 = key[0] ^ 0x6c79_6765_6e65_7261;
    let mut v3 = key[1] ^ 0x7465_6462_7974_6573;
    let mut rounds = |count, before: u64, after: (u64, u64)| {
        v3 ^= before;
        for _ in 0..count {
            v0 = v0.wrapping_add(v1);
            v1 = v1.rotate_left(13) ^ v0;
            v0 = v0.rotate_left(32);
            v2 = v2.wrapping_add(v3);
            v3 = v3.rotate_left(16) ^ v2;
            v0 = v0.wrapping_add(v3);
            v3 = v3.rotate_left(21) ^ v0;
            v2 = v2.wrapping_add(v1);
            v1 = v1.rotate_left(17) ^ v2;
            v2 = v2.rotate_left(32);
        }
        v0 ^= after.0;
        v2 ^= after.1;
        v0 ^ v1 ^ v2 ^ v3
    };
    for &block in blocks {
        rounds(c, block, (block, 0));
    }
    rounds(0, 0, (0, 0xff));
    rounds(d, 0, (0, 0))
}

/// The bytes 0, 1, 2, … as the blocks that SipHash makes of them: the last one ends with the length.
fn blocks(len: u8) -> Vec<u64> {
    let mut bytes: Vec<u8> = (0..len).collect();
    bytes.resize(usize::from(len / 8) * 8 + 7, 0);
    bytes.push(len);
    let blocks = bytes.as_chunks::<8>().0;
    blocks.iter().copied().map(u64::from_le_bytes).collect()
}

/// Vectors of the reference implementation, for both sets of parameters.
#[test]
fn the_definition_gives_the_vectors_of_the_reference() {
    for (len, of_2_4, of_1_3) in [
        (0, 0x726f_db47_dd0e_0e31, 0xabac_0158_050f_c4dc),
        (1, 0x74f8_39c5_93dc_67fd, 0xc9f4_9bf3_7d57_ca93),
        (7, 0xab02_00f5_8b01_d137, 0xd392_7d98_9bb1_1140),
        (8, 0x93f5_f579_9a93_2462, 0x3690_9511_8d29_9a8e),
        (15, 0xa129_ca61_49be_45e5, 0xd320_d86d_2a51_9956),
        (63, 0x958a_324c_eb06_4572, 0x9d19_9062_b7bb_b3a8),
    ] {
        assert_eq!(siphash(2, 4, KEY, &blocks(len)), of_2_4, "{len} bytes");
        assert_eq!(siphash(1, 3, KEY, &blocks(len)), of_1_3, "{len} bytes");
    }
}

/// The worst slot's distance from an even share, in standard deviations.
fn worst(words: impl ExactSizeIterator<Item = u64>) -> f64 {
    let mean = words.len() as f64 / f64::from(SLOTS);
    let mut counts = [0u32; SLOTS as usize];
    for word in words {
        counts[slot_of(keyed(KEY, [word]), SLOTS) as usize] += 1;
    }
    let far = |count: &u32| (f64::from(*count) - mean).abs() / mean.sqrt();
    counts.iter().map(far).fold(0.0, f64::max)
}

#[test]
fn the_upper_half_says_the_slot() {
    assert_eq!(slot_of(0x0000_0000_ffff_ffff, SLOTS), 0);
    assert_eq!(slot_of(0x8000_0000_0000_0000, SLOTS), SLOTS / 2);
    assert_eq!(slot_of(0xffff_ffff_0000_0000, SLOTS), SLOTS - 1);
}

#[test]
fn ports_of_one_client_are_spread_evenly() {
    let client = 0x0a33_64c6u64;
    assert!(worst((0..60_000usize).map(|port| client | (port as u64) << 32)) < 5.0);
}

#[test]
fn clients_with_one_port_are_spread_evenly() {
    assert!(worst((0..60_000usize).map(|client| client as u64 | 80 << 32)) < 5.0);
}

#[test]
fn another_key_is_another_hash() {
    for key in [[KEY[0] ^ 1, KEY[1]], [KEY[0], KEY[1] ^ 1 << 63]] {
        let slot = |key, word| slot_of(keyed(key, [word]), SLOTS);
        let same = (0..10_000).filter(|&word| slot(key, word) == slot(KEY, word));
        // One in 251 by chance: about 40.
        assert!(same.count() < 80);
    }
}

proptest! {
    /// Words of a fixed number are so many blocks: what the length block tells is known.
    #[test]
    fn the_hash_is_siphash_1_3_of_its_words(key: [u64; 2], words: [u64; 3]) {
        prop_assert_eq!(keyed(key, words), siphash(1, 3, key, &words));
        prop_assert_eq!(keyed(key, [words[0]]), siphash(1, 3, key, &words[..1]));
    }

    #[test]
    fn a_slot_is_one_of_the_slots(hash: u64, slots in 1u32..) {
        prop_assert!(slot_of(hash, slots) < slots);
    }

    #[test]
    fn one_bit_changes_about_half_of_the_hash(word: u64, bit in 0u32..64) {
        let changed = keyed(KEY, [word]) ^ keyed(KEY, [word ^ 1 << bit]);
        prop_assert!((8..=56).contains(&changed.count_ones()));
    }

    #[test]
    fn each_word_counts(words: [u64; 3], which in 0usize..3, bit in 0u32..64) {
        let mut other = words;
        other[which] ^= 1 << bit;
        let changed = keyed(KEY, words) ^ keyed(KEY, other);
        prop_assert!((8..=56).contains(&changed.count_ones()));
    }
}
