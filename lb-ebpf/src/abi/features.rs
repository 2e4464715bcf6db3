//! `FEATURES`: the parts of the program that a configuration uses.

/// A part of the program that not every configuration uses. What no service uses is left out when
/// the program is loaded: the value is constant then, and the verifier removes what it rules out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Feature {
    /// Services of IPv6.
    Ipv6 = 1 << 0,
    /// Services of UDP.
    Udp = 1 << 1,
}

/// Some of the features.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features(u32);

impl Feature {
    /// Every feature.
    pub const ALL: [Self; 2] = [Self::Ipv6, Self::Udp];

    /// Its name, where programs are compared.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ipv6 => "ipv6",
            Self::Udp => "udp",
        }
    }
}

impl Features {
    /// What every program has: services of TCP over IPv4.
    pub const NONE: Self = Self(0);

    /// All there is.
    pub const ALL: Self = {
        let mut all = Self::NONE;
        let mut index = 0;
        while index < Feature::ALL.len() {
            all = all.with(Feature::ALL[index]);
            index += 1;
        }
        all
    };

    /// These, and one more.
    #[must_use]
    pub const fn with(self, feature: Feature) -> Self {
        Self(self.0 | feature as u32)
    }

    /// These, and those.
    #[must_use]
    pub const fn and(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    /// Whether it is one of them.
    #[inline(always)]
    #[must_use]
    pub const fn has(self, feature: Feature) -> bool {
        self.0 & feature as u32 != 0
    }

    /// Each of them.
    pub fn iter(self) -> impl Iterator<Item = Feature> {
        Feature::ALL
            .into_iter()
            .filter(move |feature| self.has(*feature))
    }

    /// As they are in `FEATURES`.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// From `FEATURES`.
    #[inline(always)]
    #[must_use]
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }
}

#[cfg(test)]
mod tests {
    use super::{Feature, Features};

    #[test]
    fn each_feature_is_one_bit_of_its_own() {
        let mut seen = Features::NONE;
        for feature in Feature::ALL {
            assert_eq!((feature as u32).count_ones(), 1);
            assert!(!seen.has(feature), "{feature:?}");
            seen = seen.with(feature);
        }
        assert_eq!(seen, Features::ALL);
        assert_eq!(Features::from_bits(seen.bits()), seen);
    }
}
