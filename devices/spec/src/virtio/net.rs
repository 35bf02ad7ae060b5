//! Network device (virtio 1.4 §5.1).

use super::ConfigField;

/// Feature bits.
pub mod feature {
    /// The device completes checksums.
    pub const CSUM: u32 = 0;
    /// The driver takes packets without a full checksum.
    pub const GUEST_CSUM: u32 = 1;
    /// Receive offloads can be changed.
    pub const CTRL_GUEST_OFFLOADS: u32 = 2;
    /// The device advises an MTU.
    pub const MTU: u32 = 3;
    /// The device has a MAC address.
    pub const MAC: u32 = 5;
    /// The driver takes TSOv4.
    pub const GUEST_TSO4: u32 = 7;
    /// The driver takes TSOv6.
    pub const GUEST_TSO6: u32 = 8;
    /// The driver takes TSO with ECN.
    pub const GUEST_ECN: u32 = 9;
    /// The driver takes UFO.
    pub const GUEST_UFO: u32 = 10;
    /// The device takes TSOv4.
    pub const HOST_TSO4: u32 = 11;
    /// The device takes TSOv6.
    pub const HOST_TSO6: u32 = 12;
    /// The device takes TSO with ECN.
    pub const HOST_ECN: u32 = 13;
    /// The device takes UFO.
    pub const HOST_UFO: u32 = 14;
    /// Receive buffers are merged.
    pub const MRG_RXBUF: u32 = 15;
    /// Status field.
    pub const STATUS: u32 = 16;
    /// Control queue.
    pub const CTRL_VQ: u32 = 17;
    /// Receive modes.
    pub const CTRL_RX: u32 = 18;
    /// VLAN filtering.
    pub const CTRL_VLAN: u32 = 19;
    /// More receive modes.
    pub const CTRL_RX_EXTRA: u32 = 20;
    /// The driver announces itself when asked.
    pub const GUEST_ANNOUNCE: u32 = 21;
    /// Several queue pairs.
    pub const MQ: u32 = 22;
    /// The MAC address can be set.
    pub const CTRL_MAC_ADDR: u32 = 23;
    /// Device statistics.
    pub const DEVICE_STATS: u32 = 50;
    /// Hashes of inner headers.
    pub const HASH_TUNNEL: u32 = 51;
    /// Notification coalescing by queue.
    pub const VQ_NOTF_COAL: u32 = 52;
    /// Notification coalescing.
    pub const NOTF_COAL: u32 = 53;
    /// The driver takes USOv4.
    pub const GUEST_USO4: u32 = 54;
    /// The driver takes USOv6.
    pub const GUEST_USO6: u32 = 55;
    /// The device takes USO.
    pub const HOST_USO: u32 = 56;
    /// Hashes are reported.
    pub const HASH_REPORT: u32 = 57;
    /// The driver gives exact header lengths.
    pub const GUEST_HDRLEN: u32 = 59;
    /// Receive-side scaling.
    pub const RSS: u32 = 60;
    /// Receive coalescing.
    pub const RSC_EXT: u32 = 61;
    /// Standby for another device.
    pub const STANDBY: u32 = 62;
    /// Speed and duplex.
    pub const SPEED_DUPLEX: u32 = 63;
    /// Several RSS contexts.
    pub const RSS_CONTEXT: u32 = 64;
    /// The driver takes UDP tunnel GSO.
    pub const GUEST_UDP_TUNNEL_GSO: u32 = 65;
    /// … with outer checksums.
    pub const GUEST_UDP_TUNNEL_GSO_CSUM: u32 = 66;
    /// The device takes UDP tunnel GSO.
    pub const HOST_UDP_TUNNEL_GSO: u32 = 67;
    /// … with outer checksums.
    pub const HOST_UDP_TUNNEL_GSO_CSUM: u32 = 68;
    /// Outer network header.
    pub const OUT_NET_HEADER: u32 = 69;
    /// IPsec.
    pub const IPSEC: u32 = 70;
    /// Bit numbers and names.
    pub const NAMES: &[(u32, &str)] = &[
        (CSUM, "csum"),
        (GUEST_CSUM, "guest_csum"),
        (CTRL_GUEST_OFFLOADS, "ctrl_guest_offloads"),
        (MTU, "mtu"),
        (MAC, "mac"),
        (GUEST_TSO4, "guest_tso4"),
        (GUEST_TSO6, "guest_tso6"),
        (GUEST_ECN, "guest_ecn"),
        (GUEST_UFO, "guest_ufo"),
        (HOST_TSO4, "host_tso4"),
        (HOST_TSO6, "host_tso6"),
        (HOST_ECN, "host_ecn"),
        (HOST_UFO, "host_ufo"),
        (MRG_RXBUF, "mrg_rxbuf"),
        (STATUS, "status"),
        (CTRL_VQ, "ctrl_vq"),
        (CTRL_RX, "ctrl_rx"),
        (CTRL_VLAN, "ctrl_vlan"),
        (CTRL_RX_EXTRA, "ctrl_rx_extra"),
        (GUEST_ANNOUNCE, "guest_announce"),
        (MQ, "mq"),
        (CTRL_MAC_ADDR, "ctrl_mac_addr"),
        (DEVICE_STATS, "device_stats"),
        (HASH_TUNNEL, "hash_tunnel"),
        (VQ_NOTF_COAL, "vq_notf_coal"),
        (NOTF_COAL, "notf_coal"),
        (GUEST_USO4, "guest_uso4"),
        (GUEST_USO6, "guest_uso6"),
        (HOST_USO, "host_uso"),
        (HASH_REPORT, "hash_report"),
        (GUEST_HDRLEN, "guest_hdrlen"),
        (RSS, "rss"),
        (RSC_EXT, "rsc_ext"),
        (STANDBY, "standby"),
        (SPEED_DUPLEX, "speed_duplex"),
        (RSS_CONTEXT, "rss_context"),
        (GUEST_UDP_TUNNEL_GSO, "guest_udp_tunnel_gso"),
        (GUEST_UDP_TUNNEL_GSO_CSUM, "guest_udp_tunnel_gso_csum"),
        (HOST_UDP_TUNNEL_GSO, "host_udp_tunnel_gso"),
        (HOST_UDP_TUNNEL_GSO_CSUM, "host_udp_tunnel_gso_csum"),
        (OUT_NET_HEADER, "out_net_header"),
        (IPSEC, "ipsec"),
    ];
}

/// Offsets in configuration space.
pub mod config {
    /// 6 elements of 8 bits.
    pub const MAC: u32 = 0;
    /// 16 bits.
    pub const STATUS: u32 = 6;
    /// 16 bits.
    pub const MAX_VIRTQUEUE_PAIRS: u32 = 8;
    /// 16 bits.
    pub const MTU: u32 = 10;
    /// 32 bits.
    pub const SPEED: u32 = 12;
    /// 8 bits.
    pub const DUPLEX: u32 = 16;
    /// 8 bits.
    pub const RSS_MAX_KEY_SIZE: u32 = 17;
    /// 16 bits.
    pub const RSS_MAX_INDIRECTION_TABLE_LENGTH: u32 = 18;
    /// 32 bits.
    pub const SUPPORTED_HASH_TYPES: u32 = 20;
    /// 32 bits.
    pub const SUPPORTED_TUNNEL_TYPES: u32 = 24;
    /// Bytes in all.
    pub const LEN: u32 = 28;
}

/// Its configuration space.
pub const CONFIG: &[ConfigField] = &[
    ConfigField::new("mac", config::MAC, 1, &[feature::MAC]).times(6),
    ConfigField::new("status", config::STATUS, 2, &[feature::STATUS]),
    ConfigField::new("max_virtqueue_pairs", config::MAX_VIRTQUEUE_PAIRS, 2, &[feature::MQ, feature::RSS]),
    ConfigField::new("mtu", config::MTU, 2, &[feature::MTU]),
    ConfigField::new("speed", config::SPEED, 4, &[feature::SPEED_DUPLEX]),
    ConfigField::new("duplex", config::DUPLEX, 1, &[feature::SPEED_DUPLEX]),
    ConfigField::new("rss_max_key_size", config::RSS_MAX_KEY_SIZE, 1, &[feature::RSS, feature::HASH_REPORT]),
    ConfigField::new("rss_max_indirection_table_length", config::RSS_MAX_INDIRECTION_TABLE_LENGTH, 2, &[feature::RSS]),
    ConfigField::new("supported_hash_types", config::SUPPORTED_HASH_TYPES, 4, &[feature::RSS, feature::HASH_REPORT]),
    ConfigField::new("supported_tunnel_types", config::SUPPORTED_TUNNEL_TYPES, 4, &[feature::HASH_TUNNEL]),
];

/// The header before each packet (§5.1.6), 12 bytes with VERSION_1.
pub mod header {
    /// Bytes.
    pub const SIZE: u64 = 12;
    /// 8 bits.
    pub const FLAGS: u64 = 0;
    /// 8 bits.
    pub const GSO_TYPE: u64 = 1;
    /// 16 bits.
    pub const HDR_LEN: u64 = 2;
    /// 16 bits.
    pub const GSO_SIZE: u64 = 4;
    /// 16 bits.
    pub const CSUM_START: u64 = 6;
    /// 16 bits.
    pub const CSUM_OFFSET: u64 = 8;
    /// 16 bits.
    pub const NUM_BUFFERS: u64 = 10;
    /// Flag: the checksum is to be completed.
    pub const NEEDS_CSUM: u8 = 1;
    /// Flag: the checksum was verified.
    pub const DATA_VALID: u8 = 2;
    /// Flag: coalescing information.
    pub const RSC_INFO: u8 = 4;
    /// No segmentation.
    pub const GSO_NONE: u8 = 0;
    /// TCP over IPv4.
    pub const GSO_TCPV4: u8 = 1;
    /// UDP fragmentation.
    pub const GSO_UDP: u8 = 3;
    /// TCP over IPv6.
    pub const GSO_TCPV6: u8 = 4;
    /// UDP segmentation.
    pub const GSO_UDP_L4: u8 = 5;
    /// With one of the above: ECN.
    pub const GSO_ECN: u8 = 0x80;
}

/// Bits of the status field.
pub mod link {
    /// The link is up.
    pub const UP: u16 = 1;
    /// The driver is asked to announce itself.
    pub const ANNOUNCE: u16 = 2;
}

/// Control commands (§5.1.9): class, command, data, and a byte for the answer.
pub mod ctrl {
    /// Done.
    pub const OK: u8 = 0;
    /// Refused.
    pub const ERR: u8 = 1;
    /// Class: receive modes.
    pub const RX: u8 = 0;
    /// Promiscuous.
    pub const RX_PROMISC: u8 = 0;
    /// All multicast.
    pub const RX_ALLMULTI: u8 = 1;
    /// All unicast.
    pub const RX_ALLUNI: u8 = 2;
    /// No multicast.
    pub const RX_NOMULTI: u8 = 3;
    /// No unicast.
    pub const RX_NOUNI: u8 = 4;
    /// No broadcast.
    pub const RX_NOBCAST: u8 = 5;
    /// Class: MAC addresses.
    pub const MAC: u8 = 1;
    /// The filter table.
    pub const MAC_TABLE_SET: u8 = 0;
    /// The device's own address.
    pub const MAC_ADDR_SET: u8 = 1;
    /// Class: VLANs.
    pub const VLAN: u8 = 2;
    /// Let one in.
    pub const VLAN_ADD: u8 = 0;
    /// Keep one out.
    pub const VLAN_DEL: u8 = 1;
    /// Class: announcement.
    pub const ANNOUNCE: u8 = 3;
    /// It was made.
    pub const ANNOUNCE_ACK: u8 = 0;
    /// Class: several queue pairs.
    pub const MQ: u8 = 4;
    /// How many are used.
    pub const MQ_VQ_PAIRS_SET: u8 = 0;
    /// Receive-side scaling.
    pub const MQ_RSS_CONFIG: u8 = 1;
    /// Hashes.
    pub const MQ_HASH_CONFIG: u8 = 2;
    /// The least number of pairs.
    pub const MQ_VQ_PAIRS_MIN: u16 = 1;
    /// The greatest.
    pub const MQ_VQ_PAIRS_MAX: u16 = 0x8000;
    /// Class: receive offloads.
    pub const GUEST_OFFLOADS: u8 = 5;
    /// Which are used, 64 bits of feature bits.
    pub const GUEST_OFFLOADS_SET: u8 = 0;
    /// Class: notification coalescing.
    pub const NOTF_COAL: u8 = 6;
}
