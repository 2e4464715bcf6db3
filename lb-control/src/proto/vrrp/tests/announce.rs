use super::vrid;
use crate::proto::vrrp::announce::{
    Node, gratuitous_arp, neighbour_advertisement, virtual_mac_v4, virtual_mac_v6,
};
use std::net::{Ipv4Addr, Ipv6Addr};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn gratuitous_arp_is_a_request_that_names_the_address_twice() {
    let own = [0x02, 0, 0, 0, 0, 0x0a];
    let frame = gratuitous_arp(own, Ipv4Addr::new(192, 0, 2, 100));
    let expected = [
        // to all, from the interface, ARP
        "ffffffffffff",
        "02000000000a",
        "0806",
        // Ethernet, IPv4, 6 and 4 bytes, a request
        "0001",
        "0800",
        "0604",
        "0001",
        // sender, target
        "02000000000a",
        "c0000264",
        "ffffffffffff",
        "c0000264",
    ];
    assert_eq!(hex(&frame), expected.concat());
}

#[test]
fn neighbour_advertisements_override() {
    let address = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x100);
    // Checksums computed independently.
    for (node, checksum, flags) in [(Node::Router, "18fa", "a0"), (Node::Host, "98fa", "20")] {
        let frame = neighbour_advertisement(virtual_mac_v6(vrid(0x33)), address, node);
        let expected = [
            // to all nodes, from the virtual router, IPv6
            "333300000001",
            "00005e000233",
            "86dd",
            // version 6, 32 bytes, ICMPv6, hop limit 255
            "60000000",
            "0020",
            "3a",
            "ff",
            "20010db8000000000000000000000100",
            "ff020000000000000000000000000001",
            // neighbour advertisement
            "8800",
            checksum,
            flags,
            "000000",
            "20010db8000000000000000000000100",
            // target's link-layer address
            "0201",
            "00005e000233",
        ];
        assert_eq!(hex(&frame), expected.concat());
    }
}

#[test]
fn virtual_macs_hold_the_vrid() {
    assert_eq!(hex(&virtual_mac_v4(vrid(0x33))), "00005e000133");
    assert_eq!(hex(&virtual_mac_v6(vrid(255))), "00005e0002ff");
}
