//! A TCP segment in an IPv4 packet in an Ethernet frame, built field by field. Checksums are
//! computed from scratch, by other code than the one that is tested.

pub(crate) const FIN: u8 = 0x01;
pub(crate) const SYN: u8 = 0x02;
pub(crate) const RST: u8 = 0x04;
pub(crate) const ACK: u8 = 0x10;

const ETHERNET: usize = 14;
const IPV4: usize = 20;
const TCP: usize = 20;

/// Start from [`Packet::new`] and change what matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Packet {
    /// Hardware addresses: to, from.
    pub(crate) macs: ([u8; 6], [u8; 6]),
    pub(crate) ethertype: u16,
    pub(crate) tos: u8,
    pub(crate) id: u16,
    /// Flags and offset.
    pub(crate) fragment: u16,
    pub(crate) ttl: u8,
    pub(crate) protocol: u8,
    pub(crate) from: ([u8; 4], u16),
    pub(crate) to: ([u8; 4], u16),
    /// A multiple of four bytes.
    pub(crate) ip_options: Vec<u8>,
    pub(crate) flags: u8,
    /// A multiple of four bytes.
    pub(crate) tcp_options: Vec<u8>,
    pub(crate) payload: Vec<u8>,
    /// What follows the packet in the frame.
    pub(crate) padding: Vec<u8>,
}

impl Packet {
    /// A SYN.
    pub(crate) fn new(from: ([u8; 4], u16), to: ([u8; 4], u16)) -> Self {
        Self {
            macs: ([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]),
            ethertype: 0x0800,
            tos: 0,
            id: 0x1234,
            fragment: 0x4000,
            ttl: 64,
            protocol: 6,
            from,
            to,
            ip_options: Vec::new(),
            flags: SYN,
            tcp_options: Vec::new(),
            payload: Vec::new(),
            padding: Vec::new(),
        }
    }

    /// Bytes of the IP packet.
    pub(crate) fn len(&self) -> usize {
        let options = self.ip_options.len() + self.tcp_options.len();
        IPV4 + TCP + options + self.payload.len()
    }

    /// The frame.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let tcp = self.tcp();
        let header = IPV4 + self.ip_options.len();
        let mut ip = vec![0x40 | (header / 4) as u8, self.tos];
        ip.extend((self.len() as u16).to_be_bytes());
        ip.extend(self.id.to_be_bytes());
        ip.extend(self.fragment.to_be_bytes());
        ip.extend([self.ttl, self.protocol, 0, 0]);
        ip.extend(self.from.0);
        ip.extend(self.to.0);
        ip.extend(&self.ip_options);
        let sum = checksum(&ip).to_be_bytes();
        ip[10..12].copy_from_slice(&sum);

        let mut frame = Vec::new();
        frame.extend(self.macs.0);
        frame.extend(self.macs.1);
        frame.extend(self.ethertype.to_be_bytes());
        frame.extend(ip);
        frame.extend(tcp);
        frame.extend(&self.padding);
        frame
    }

    fn tcp(&self) -> Vec<u8> {
        let mut tcp = Vec::new();
        tcp.extend(self.from.1.to_be_bytes());
        tcp.extend(self.to.1.to_be_bytes());
        tcp.extend([0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08]);
        tcp.extend([
            (((TCP + self.tcp_options.len()) / 4) << 4) as u8,
            self.flags,
        ]);
        tcp.extend([0xfa, 0xf0, 0, 0, 0, 0]);
        tcp.extend(&self.tcp_options);
        tcp.extend(&self.payload);
        let mut summed = Vec::new();
        summed.extend(self.from.0);
        summed.extend(self.to.0);
        summed.extend([0, self.protocol]);
        summed.extend((tcp.len() as u16).to_be_bytes());
        summed.extend(&tcp);
        let sum = checksum(&summed).to_be_bytes();
        tcp[16..18].copy_from_slice(&sum);
        tcp
    }

    /// Bytes of the frame before the TCP header.
    pub(crate) fn tcp_offset(&self) -> usize {
        ETHERNET + IPV4 + self.ip_options.len()
    }
}

/// The Internet checksum as RFC 1071 explains it: big-endian words, carries added back in.
pub(crate) fn checksum(bytes: &[u8]) -> u16 {
    let mut sum = 0u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | pair.get(1).copied().map_or(0, u32::from);
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
