//! Why a packet was treated as it was, and what is done with it: one enum, one mapping.

/// The verdict on a packet. Each has a counter, at its index in `REASONS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u32)]
pub enum Reason {
    /// Sent to a backend.
    ToBackend = 0,
    /// Sent to a client.
    ToClient = 1,
    /// Rewritten for the client, then left to the stack to find the neighbour.
    ToClientByStack = 2,
    /// Neither for a service nor from a backend: from the interface, that is, that leads to it.
    NotOurs = 3,
    /// Not IP, or of a version that no service is of.
    NotIp = 4,
    /// IP, but of a protocol that no service is of.
    OtherProtocol = 5,
    /// A fragment that is not for a service, or does not say so: only the first one has the ports.
    Fragment = 6,
    /// From a backend, but for this host itself or for nobody we can reach.
    NotForwarded = 7,
    /// Shorter than an Ethernet header with its tags.
    Runt = 8,
    /// The IPv4 header contradicts itself or the frame.
    BadIpv4 = 9,
    /// The TCP header contradicts itself or the packet.
    BadTcp = 10,
    /// The packet may not be forwarded any further.
    TtlExceeded = 11,
    /// The service has no backend.
    NoBackend = 12,
    /// The first fragment of a packet for a service. Without it nobody can put the packet together:
    /// the stack would, and answer with a RST, since it knows of no such connection.
    ServiceFragment = 13,
    /// For a service, and from its own address: somebody made it up.
    Spoofed = 14,
    /// Addressed to the owner of a virtual address, which this host may not be: its lease lapsed.
    Fenced = 15,
    /// The IPv6 header, or one that extends it, contradicts itself or the frame.
    BadIpv6 = 16,
    /// The UDP header contradicts itself or the packet.
    BadUdp = 17,
}

/// What the driver does with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// To the network stack.
    Pass,
    /// Nowhere.
    Drop,
    /// Out of an interface.
    Forward,
}

impl Reason {
    /// Every reason, in the order of its index.
    pub const ALL: [Self; 18] = [
        Self::ToBackend,
        Self::ToClient,
        Self::ToClientByStack,
        Self::NotOurs,
        Self::NotIp,
        Self::OtherProtocol,
        Self::Fragment,
        Self::NotForwarded,
        Self::Runt,
        Self::BadIpv4,
        Self::BadTcp,
        Self::TtlExceeded,
        Self::NoBackend,
        Self::ServiceFragment,
        Self::Spoofed,
        Self::Fenced,
        Self::BadIpv6,
        Self::BadUdp,
    ];

    /// What is done with such a packet.
    ///
    /// What cannot be ours goes to the stack as if we were not there. What is ours, or is so
    /// broken that no host would want it, is dropped.
    #[must_use]
    pub const fn action(self) -> Action {
        match self {
            Self::ToBackend | Self::ToClient => Action::Forward,
            Self::ToClientByStack
            | Self::NotOurs
            | Self::NotIp
            | Self::OtherProtocol
            | Self::Fragment
            | Self::NotForwarded => Action::Pass,
            Self::Runt
            | Self::BadIpv4
            | Self::BadTcp
            | Self::TtlExceeded
            | Self::NoBackend
            | Self::ServiceFragment
            | Self::Spoofed
            | Self::Fenced
            | Self::BadIpv6
            | Self::BadUdp => Action::Drop,
        }
    }

    /// The counter's name in status, metrics and documentation.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ToBackend => "to_backend",
            Self::ToClient => "to_client",
            Self::ToClientByStack => "to_client_by_stack",
            Self::NotOurs => "not_ours",
            Self::NotIp => "not_ip",
            Self::OtherProtocol => "other_protocol",
            Self::Fragment => "fragment",
            Self::NotForwarded => "not_forwarded",
            Self::Runt => "runt",
            Self::BadIpv4 => "bad_ipv4",
            Self::BadTcp => "bad_tcp",
            Self::TtlExceeded => "ttl_exceeded",
            Self::NoBackend => "no_backend",
            Self::ServiceFragment => "service_fragment",
            Self::Spoofed => "spoofed",
            Self::Fenced => "fenced",
            Self::BadIpv6 => "bad_ipv6",
            Self::BadUdp => "bad_udp",
        }
    }

    /// The counter, explained to an operator.
    #[must_use]
    pub const fn explanation(self) -> &'static str {
        match self {
            Self::ToBackend => "sent to a backend",
            Self::ToClient => "sent back to a client",
            Self::ToClientByStack => {
                "sent back to a client by the stack: neighbour unknown, or too large"
            }
            Self::NotOurs => "passed: neither for a service nor from a backend",
            Self::NotIp => "passed: not IP, or of a version that no service is of",
            Self::OtherProtocol => "passed: IP, but of a protocol that no service is of",
            Self::Fragment => "passed: a fragment that does not say it is for a service",
            Self::NotForwarded => "passed: from a backend, for this host or without a route",
            Self::Runt => "dropped: shorter than an Ethernet header with its tags",
            Self::BadIpv4 => "dropped: the IPv4 header contradicts itself or the frame",
            Self::BadTcp => "dropped: the TCP header contradicts itself or the packet",
            Self::TtlExceeded => "dropped: time to live exceeded",
            Self::NoBackend => "dropped: the service has no backend",
            Self::ServiceFragment => "dropped: for a service, but the first fragment of a packet",
            Self::Spoofed => "dropped: for a service, from its own address",
            Self::Fenced => {
                "dropped: a new connection, or a question for the address, after the lease lapsed"
            }
            Self::BadIpv6 => "dropped: a header of IPv6 contradicts itself or the frame",
            Self::BadUdp => "dropped: the UDP header contradicts itself or the packet",
        }
    }
}
