//! The driver carries its own numbers, because upstream it can import only `kernel`. They must be the specification's.

use bringup_spec::virtio as spec;

const DRIVER: &str = include_str!("../../virtio_net.rs");
const INTERFACE: &str = include_str!("../../virtio_net/interface.rs");
const PACKET: &str = include_str!("../../virtio_net/packet.rs");

/// The value of a constant in a source, from `after` on.
fn constant(source: &str, after: &str, name: &str) -> u64 {
    let (_, rest) = source.split_once(after).unwrap();
    let line = rest
        .lines()
        .find(|line| line.contains(&format!("const {name}: ")))
        .unwrap_or_else(|| panic!("no {name}"));
    let (_, number) = line.split_once("= ").unwrap();
    let number = number.trim_end_matches(';').replace('_', "");
    match number.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).unwrap(),
        None => number.parse().unwrap(),
    }
}

#[test]
fn ids_are_the_specifications() {
    let kind = spec::device_type::NETWORK;
    let modern = spec::MODERN_DEVICE_BASE + kind;
    assert_eq!(constant(DRIVER, "", "DEVICE"), u64::from(modern));
    let old = spec::TRANSITIONAL.iter().find(|(_, of)| *of == kind);
    assert_eq!(
        constant(DRIVER, "", "DEVICE_TRANSITIONAL"),
        u64::from(old.unwrap().0)
    );
}

#[test]
fn numbers_of_interfaces_are_the_specifications() {
    use spec::net::{config, ctrl, feature, header, link};
    for (source, after, name, expected) in [
        (
            INTERFACE,
            "mod bits",
            "GUEST_CSUM",
            u64::from(feature::GUEST_CSUM),
        ),
        (INTERFACE, "mod bits", "MTU", u64::from(feature::MTU)),
        (INTERFACE, "mod bits", "MAC", u64::from(feature::MAC)),
        (
            INTERFACE,
            "mod bits",
            "MRG_RXBUF",
            u64::from(feature::MRG_RXBUF),
        ),
        (INTERFACE, "mod bits", "STATUS", u64::from(feature::STATUS)),
        (
            INTERFACE,
            "mod bits",
            "CTRL_VQ",
            u64::from(feature::CTRL_VQ),
        ),
        (
            INTERFACE,
            "mod bits",
            "CTRL_RX",
            u64::from(feature::CTRL_RX),
        ),
        (
            INTERFACE,
            "mod bits",
            "CTRL_VLAN",
            u64::from(feature::CTRL_VLAN),
        ),
        (INTERFACE, "mod bits", "MQ", u64::from(feature::MQ)),
        (
            INTERFACE,
            "mod bits",
            "CTRL_MAC_ADDR",
            u64::from(feature::CTRL_MAC_ADDR),
        ),
        (INTERFACE, "mod config", "MAC", u64::from(config::MAC)),
        (INTERFACE, "mod config", "STATUS", u64::from(config::STATUS)),
        (
            INTERFACE,
            "mod config",
            "MAX_VIRTQUEUE_PAIRS",
            u64::from(config::MAX_VIRTQUEUE_PAIRS),
        ),
        (INTERFACE, "mod config", "MTU", u64::from(config::MTU)),
        (INTERFACE, "", "LINK_UP", u64::from(link::UP)),
        (INTERFACE, "", "ACK_OK", u64::from(ctrl::OK)),
        (PACKET, "", "HEADER_SIZE", header::SIZE),
        (PACKET, "", "FLAGS", header::FLAGS),
        (PACKET, "", "GSO_TYPE", header::GSO_TYPE),
        (PACKET, "", "CSUM_START", header::CSUM_START),
        (PACKET, "", "CSUM_OFFSET", header::CSUM_OFFSET),
        (PACKET, "", "NUM_BUFFERS", header::NUM_BUFFERS),
        (PACKET, "", "NEEDS_CSUM", u64::from(header::NEEDS_CSUM)),
        (PACKET, "", "GSO_NONE", u64::from(header::GSO_NONE)),
    ] {
        assert_eq!(constant(source, after, name), expected, "{name}");
    }
}

#[test]
fn commands_are_the_specifications() {
    use spec::net::ctrl::*;
    for (name, class, command) in [
        ("PROMISC", RX, RX_PROMISC),
        ("ALLMULTI", RX, RX_ALLMULTI),
        ("MAC_ADDR_SET", MAC, MAC_ADDR_SET),
        ("VLAN_ADD", VLAN, VLAN_ADD),
        ("VLAN_DEL", VLAN, VLAN_DEL),
        ("VQ_PAIRS_SET", MQ, MQ_VQ_PAIRS_SET),
    ] {
        let line = format!("const {name}: [u8; 2] = [{class}, {command}];");
        assert!(INTERFACE.contains(&line), "{line}");
    }
}
