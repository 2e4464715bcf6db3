use super::{locked, may_ignore_limit};
use nix::sys::mman::MlockAllFlags;

#[test]
fn what_is_locked_depends_on_the_limit() {
    for all in [false, true] {
        let flags = locked(all);
        assert!(flags.contains(MlockAllFlags::MCL_CURRENT));
        assert_eq!(flags.contains(MlockAllFlags::MCL_FUTURE), all);
        assert_ne!(flags.bits() & libc::MCL_ONFAULT, 0);
    }
}

#[test]
fn a_capability_is_read_from_the_effective_ones() {
    let status = |permitted: &str, effective: &str| {
        may_ignore_limit(&format!(
            "Name:\tlbd\nCapInh:\t0000000000000000\nCapPrm:\t{permitted}\nCapEff:\t{effective}\n"
        ))
    };
    assert!(status("000001ffffffffff", "000001ffffffffff"));
    assert!(status("0000000000004000", "0000000000004000"));
    assert!(!status("0000000000004000", "0000000000000000"));
    assert!(!status("0000000000000000", "0000000000002000"));
    assert!(!may_ignore_limit(""));
}
