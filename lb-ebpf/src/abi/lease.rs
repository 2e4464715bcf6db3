//! `LEASE`: until when this host may act as owner of the services' addresses. `VIPS`: which these
//! are.

/// The only element of `LEASE`: nanoseconds of `CLOCK_BOOTTIME`, always written whole. 0: the host
/// was never given a lease, or had it taken away.
///
/// A moment, not a flag: it passes although nobody is left to say so.
pub type LeaseUntil = u64;

/// What an address in `VIPS` leads to: it is there, or is not.
pub type IsVip = u32;
