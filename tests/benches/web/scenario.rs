//! What is measured: what is asked for, and how.

use kit::random::Random;

use crate::support::load::Connections;

/// One of the measurements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Scenario {
    /// A file of 10 KiB, on connections that are kept.
    #[value(name = "keep_10k")]
    Keep10k,
    /// A file of 200 bytes, on connections that are kept.
    #[value(name = "keep_small")]
    KeepSmall,
    /// The small file, on a new connection each time.
    #[value(name = "new_tls")]
    NewTls,
    /// A page of the app server, on connections that are kept.
    #[value(name = "gateway")]
    Gateway,
}

/// The path of the app server's page.
pub(crate) const PAGE: &str = "/app/page";
/// How long that page is.
const PAGE_LENGTH: usize = 1_024;

/// A file that both servers have.
pub(crate) struct File {
    pub(crate) path: &'static str,
    length: usize,
}

const MEDIUM: File = File {
    path: "/medium.png",
    length: 10 * 1024,
};
const SMALL: File = File {
    path: "/small.png",
    length: 200,
};
pub(crate) const FILES: [File; 2] = [MEDIUM, SMALL];

impl File {
    /// What no server would compress.
    pub(crate) fn content(&self) -> Vec<u8> {
        let mut random = Random::seeded(self.length as u64);
        let bytes = std::iter::repeat_with(|| random.bits() as u8);
        bytes.take(self.length).collect()
    }
}

/// The app server's page.
pub(crate) fn page() -> Vec<u8> {
    b"<p>An app server's page.</p>\n"
        .iter()
        .copied()
        .cycle()
        .take(PAGE_LENGTH)
        .collect()
}

impl Scenario {
    pub(crate) const ALL: [Self; 4] = [Self::Keep10k, Self::KeepSmall, Self::NewTls, Self::Gateway];

    /// The end of its figures' names.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Keep10k => "keep_10k",
            Self::KeepSmall => "keep_small",
            Self::NewTls => "new_tls",
            Self::Gateway => "gateway",
        }
    }

    pub(crate) const fn path(self) -> &'static str {
        match self {
            Self::Keep10k => MEDIUM.path,
            Self::KeepSmall | Self::NewTls => SMALL.path,
            Self::Gateway => PAGE,
        }
    }

    /// The body of the right answer.
    pub(crate) fn body(self) -> Vec<u8> {
        match self {
            Self::Keep10k => MEDIUM.content(),
            Self::KeepSmall | Self::NewTls => SMALL.content(),
            Self::Gateway => page(),
        }
    }

    pub(crate) const fn connections(self) -> Connections {
        match self {
            Self::Keep10k | Self::KeepSmall | Self::Gateway => Connections::Kept,
            Self::NewTls => Connections::Closed,
        }
    }
}
