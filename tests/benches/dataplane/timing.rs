//! The median of many short times.

/// Times from here on count as this long.
const LIMIT: usize = 8_192;

/// How often each time, in nanoseconds, was measured.
#[derive(Debug)]
pub(crate) struct Timing {
    counts: Vec<u32>,
    total: u32,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            counts: vec![0; LIMIT],
            total: 0,
        }
    }
}

impl Timing {
    pub(crate) fn add(&mut self, nanoseconds: u32) {
        let index = (nanoseconds as usize).min(LIMIT - 1);
        self.counts[index] += 1;
        self.total += 1;
    }

    /// The median. Among equal times it lies as far into their nanosecond as into their number,
    /// so that it moves smoothly though the clock counts whole nanoseconds.
    pub(crate) fn median(&self) -> f64 {
        let half = f64::from(self.total) / 2.0;
        let mut below = 0.0;
        for (time, &count) in (0u32..).zip(&self.counts) {
            let count = f64::from(count);
            if below + count >= half && count > 0.0 {
                return f64::from(time) - 0.5 + (half - below) / count;
            }
            below += count;
        }
        f64::NAN
    }
}
