//! Which part of a representation a request wants (RFC 9110, section 14).

use std::ops::Range;

/// More ranges than this in one request are nothing that a player or a download manager asks for.
const MOST: usize = 16;

/// What is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// All of it.
    Whole,
    /// These parts, in this order; at least one, and no two overlap.
    Parts(Vec<Range<u64>>),
    /// Nothing that there is.
    Unsatisfiable,
}

/// Reads the field `Range`, for a representation of this length.
///
/// What is not understood is ignored, as the RFC wants it. So are ranges that overlap and those
/// that are too many: a client gains nothing by them except that the server sends more.
pub(super) fn wanted(field: &str, length: u64) -> Wanted {
    let Some((unit, set)) = field.split_once('=') else {
        return Wanted::Whole;
    };
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return Wanted::Whole;
    }
    let mut parts = Vec::new();
    let mut any = false;
    for spec in set.split(',').map(str::trim) {
        // A list may have empty elements (section 5.6.1).
        if spec.is_empty() {
            continue;
        }
        match satisfied(spec, length) {
            None => return Wanted::Whole,
            Some(part) => {
                any = true;
                parts.extend(part);
            }
        }
        if parts.len() > MOST {
            return Wanted::Whole;
        }
    }
    if !any || (length == 0 && !parts.is_empty()) || overlap(&parts) {
        Wanted::Whole
    } else if parts.is_empty() {
        Wanted::Unsatisfiable
    } else {
        Wanted::Parts(parts)
    }
}

/// `None` for what is no range, `Some(None)` for one that lies behind the end.
fn satisfied(spec: &str, length: u64) -> Option<Option<Range<u64>>> {
    let (first, last) = spec.split_once('-')?;
    if first.is_empty() {
        let suffix = number(last)?.min(length);
        // Of an empty representation, the last bytes are all that there are.
        let some = suffix > 0 || (length == 0 && number(last)? > 0);
        return Some(some.then(|| length - suffix..length));
    }
    let first = number(first)?;
    let last = if last.is_empty() {
        u64::MAX
    } else {
        number(last)?
    };
    if last < first {
        return None;
    }
    Some((first < length).then(|| first..last.saturating_add(1).min(length)))
}

/// Digits alone; a number that is larger than any length is as good as the largest.
fn number(digits: &str) -> Option<u64> {
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(digits.parse().unwrap_or(u64::MAX))
}

fn overlap(parts: &[Range<u64>]) -> bool {
    let mut sorted: Vec<_> = parts.iter().collect();
    sorted.sort_by_key(|part| part.start);
    sorted.windows(2).any(|pair| pair[1].start < pair[0].end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_examples_of_the_rfc() {
        // Section 14.1.2, of a representation of 10,000 bytes.
        for (field, expected) in [
            ("bytes=0-499", &[(0, 500)][..]),
            ("bytes=500-999", &[(500, 1000)]),
            ("bytes=-500", &[(9500, 10_000)]),
            ("bytes=9500-", &[(9500, 10_000)]),
            ("bytes=0-0,-1", &[(0, 1), (9999, 10_000)]),
            (
                "bytes= 0-999, 4500-5499, -1000",
                &[(0, 1000), (4500, 5500), (9000, 10_000)],
            ),
            ("BYTES=0-0", &[(0, 1)]),
            ("bytes=9999-99999999999999999999999", &[(9999, 10_000)]),
            ("bytes=-99999999999999999999999", &[(0, 10_000)]),
            ("bytes=,0-0,,", &[(0, 1)]),
            ("bytes=1-1, 20000-", &[(1, 2)]),
        ] {
            let parts = expected.iter().map(|&(start, end)| start..end).collect();
            assert_eq!(wanted(field, 10_000), Wanted::Parts(parts), "{field}");
        }
    }

    #[test]
    fn what_is_not_understood_is_ignored() {
        for field in [
            "",
            "bytes",
            "bytes=",
            "bytes=,",
            "bytes=-",
            "bytes=a-b",
            "bytes=5-4",
            "bytes=+1-2",
            "bytes=1-2-3",
            "bytes=1",
            "lines=1-2",
            "bytes=0-1,x",
            "bytes=--1",
            "bytes=0x1-",
        ] {
            assert_eq!(wanted(field, 10), Wanted::Whole, "{field}");
        }
    }

    #[test]
    fn ranges_behind_the_end_are_unsatisfiable() {
        for field in [
            "bytes=10-",
            "bytes=10-20,30-",
            "bytes=-0",
            "bytes=18446744073709551616-",
        ] {
            assert_eq!(wanted(field, 10), Wanted::Unsatisfiable, "{field}");
        }
        assert_eq!(wanted("bytes=0-", 0), Wanted::Unsatisfiable);
        assert_eq!(wanted("bytes=-5", 0), Wanted::Whole);
    }

    #[test]
    fn overlapping_and_countless_ranges_cost_no_more_than_the_whole() {
        assert_eq!(wanted("bytes=0-5,3-8", 10), Wanted::Whole);
        assert_eq!(wanted("bytes=0-,0-,0-", 10), Wanted::Whole);
        let many = (0..17).map(|n| format!("{}-{}", n * 2, n * 2));
        let many = format!("bytes={}", many.collect::<Vec<_>>().join(","));
        assert_eq!(wanted(&many, 100), Wanted::Whole);
    }

    proptest! {
        #[test]
        fn parts_lie_within_and_apart(
            field in "bytes=[0-9,\\- ]{0,24}|[a-z=0-9,\\-]{0,12}",
            length in prop_oneof![0u64..50, Just(u64::MAX)],
        ) {
            if let Wanted::Parts(parts) = wanted(&field, length) {
                prop_assert!(!parts.is_empty() && parts.len() <= MOST);
                for part in &parts {
                    prop_assert!(part.start < part.end && part.end <= length);
                }
                let total: u64 = parts.iter().map(|part| part.end - part.start).sum();
                prop_assert!(total <= length);
            }
        }
    }
}
