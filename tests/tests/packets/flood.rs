//! Frames that nobody would send: cases with bytes changed, cut off and added, and pure noise.

use crate::case::Case;
use kit::random::Random;

/// Of the kernel's frame buffer, as much as a test run fills.
const LONGEST: usize = 1600;

/// Where headers are, and so where a change is most interesting.
const HEADERS: usize = 14 + 60 + 60;

/// Spoils the frame of a case.
pub(crate) fn spoil(random: &mut Random, case: &Case) -> Vec<u8> {
    let mut frame = case.frame.clone();
    frame.truncate(LONGEST);
    match random.below(8) {
        0 => frame.truncate(random.below(frame.len() + 1)),
        1 => frame.extend((0..random.below(64)).map(|_| random.bits() as u8)),
        2 => {
            frame = (0..random.below(128))
                .map(|_| random.bits() as u8)
                .collect()
        }
        _ => {}
    }
    let reach = frame.len().min(HEADERS);
    if reach > 0 {
        for _ in 0..random.below(4) {
            frame[random.below(reach)] = value(random);
        }
    }
    frame
}

/// Ends of ranges are where arithmetic goes wrong.
fn value(random: &mut Random) -> u8 {
    const ENDS: [u8; 8] = [0x00, 0x01, 0x0f, 0x40, 0x45, 0x7f, 0x80, 0xff];
    match random.below(2) {
        0 => ENDS[random.below(ENDS.len())],
        _ => random.bits() as u8,
    }
}
