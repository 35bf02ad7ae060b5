//! Network devices.

use bringup_devices::virtio::VirtioPci;
use bringup_spec::virtio::device_type;
use bringup_spec::virtio::net::{config, ctrl, feature};

use crate::device::Anything;
use crate::plan::{Plan, planted};
use crate::rig::Rig;

/// Two pairs of queues, and a control queue, number 4.
fn device(features: &'static [u32]) -> VirtioPci {
    let mut card = Anything::new(device_type::NETWORK, features)
        .with(config::MAX_VIRTQUEUE_PAIRS, &2_u16.to_le_bytes())
        .with(config::MTU, &100_u16.to_le_bytes())
        .with(config::RSS_MAX_INDIRECTION_TABLE_LENGTH, &4_u16.to_le_bytes())
        .with(config::SUPPORTED_HASH_TYPES, &7_u32.to_le_bytes());
    card.queues = vec![8; 5];
    VirtioPci::new(card)
}

/// A driver with one pair of queues.
fn card(features: &'static [u32]) -> Plan {
    Plan::new(move || device(features), u128::MAX, &[0, 1])
        .after("features ok read", |rig| {
            if rig.has(feature::MTU) {
                rig.config(config::MTU, 2);
            }
        })
        .then(|rig| {
            rig.request(1, &[&[0; 12], &[0; 60]], &[]);
            rig.request(0, &[], &[2048]);
        })
}

const CTRL: &[u32] = &[feature::CTRL_VQ];

/// A driver with one pair of queues and the control queue, number 2.
fn controlled(features: &'static [u32]) -> Plan {
    Plan::new(move || device(features), u128::MAX, &[0, 1, 2])
}

const MQ: &[u32] = &[
    feature::CTRL_VQ,
    feature::MQ,
    feature::RSS,
    feature::CTRL_RX,
    feature::CTRL_MAC_ADDR,
    feature::HASH_REPORT,
    feature::NOTF_COAL,
    feature::VQ_NOTF_COAL,
    feature::CTRL_GUEST_OFFLOADS,
    feature::CTRL_RX_EXTRA,
];

/// A driver with two pairs of queues and the control queue, number 4.
fn several() -> Plan {
    Plan::new(|| device(MQ), u128::MAX, &[])
        .after("features ok read", |rig| {
            rig.config(config::MAX_VIRTQUEUE_PAIRS, 2);
            rig.config(config::RSS_MAX_INDIRECTION_TABLE_LENGTH, 2);
            rig.config(config::SUPPORTED_HASH_TYPES, 4);
        })
        .before("driver ok", |rig| {
            for index in 0..5 {
                rig.set_up(index);
            }
        })
        .then(|rig| {
            rig.request(1, &[&[0; 20], &[0; 60]], &[]);
            command(rig, 4, ctrl::MQ, ctrl::MQ_VQ_PAIRS_SET, &[2, 0]);
            rig.request(3, &[&[0; 20], &[0; 60]], &[]);
            command(rig, 4, ctrl::MQ, ctrl::MQ_RSS_CONFIG, &rss(1, 1, &[0, 1]));
            command(rig, 4, ctrl::MQ, ctrl::MQ_HASH_CONFIG, &[1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
            command(rig, 4, ctrl::RX, ctrl::RX_PROMISC, &[1]);
            command(rig, 4, ctrl::RX, ctrl::RX_NOBCAST, &[1]);
            command(rig, 4, ctrl::MAC, ctrl::MAC_TABLE_SET, &[0; 8]);
            command(rig, 4, ctrl::MAC, ctrl::MAC_ADDR_SET, &[2, 0, 0, 0, 0, 1]);
            command(rig, 4, ctrl::NOTF_COAL, 1, &[0; 8]);
            command(rig, 4, ctrl::NOTF_COAL, 2, &[1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
            command(rig, 4, ctrl::GUEST_OFFLOADS, ctrl::GUEST_OFFLOADS_SET, &[0; 8]);
        })
}

/// A driver that reads that it is to announce itself.
fn announcing() -> Plan {
    const ANNOUNCE: &[u32] = &[feature::CTRL_VQ, feature::GUEST_ANNOUNCE, feature::STATUS];
    let device = || VirtioPci::new(Anything::new(device_type::NETWORK, ANNOUNCE).with(config::STATUS, &[3, 0]));
    Plan::new(device, u128::MAX, &[0, 1, 2]).then(|rig| {
        rig.request(1, &[&[0; 12], &[0; 60]], &[]);
        rig.config(config::STATUS, 2);
    })
}

fn rss(types: u32, mask: u16, table: &[u16]) -> Vec<u8> {
    let mut bytes = [&types.to_le_bytes()[..], &mask.to_le_bytes(), &[0; 2]].concat();
    table.iter().for_each(|entry| bytes.extend(entry.to_le_bytes()));
    bytes.extend([2, 0, 0]);
    bytes
}

fn command(rig: &mut Rig, queue: u16, class: u8, command: u8, data: &[u8]) {
    rig.request(queue, &[&[&[class, command], data].concat()], &[1]);
}

/// Sends a packet with flags, segmentation and the size of segments.
fn packet(rig: &mut Rig, flags: u8, gso: u8, gso_size: u8) {
    rig.request(1, &[&[flags, gso, 0, 0, gso_size, 0, 20, 0, 6, 0, 0, 0], &[0; 60]], &[]);
}

const CSUM: &[u32] = &[feature::CSUM];
const TSO: &[u32] = &[feature::CSUM, feature::HOST_TSO4];
const TSO6: &[u32] = &[feature::CSUM, feature::HOST_TSO6];
const TUNNEL: &[u32] = &[
    feature::CSUM,
    feature::HOST_TSO4,
    feature::HOST_TSO6,
    feature::HOST_USO,
    feature::HOST_UFO,
    feature::HOST_UDP_TUNNEL_GSO,
    feature::HOST_UDP_TUNNEL_GSO_CSUM,
];

planted! {
    writing_the_mac_address_is_found: "NET-CFG-D-01",
        card(&[feature::MAC]),
        |plan| plan.then(|rig| rig.set_config(config::MAC, 1, 2));
    a_receive_buffer_below_the_mtu_is_found: "NET-CFG-D-08",
        card(&[feature::MTU]),
        |plan| plan.then(|rig| {
            rig.request(0, &[], &[64]);
        });
    a_packet_above_the_mtu_is_found: "NET-CFG-D-09",
        card(&[feature::MTU]),
        |plan| plan.then(|rig| {
            rig.request(1, &[&[0; 12], &[0; 119]], &[]);
        });
    a_packet_shorter_than_its_header_is_found: "NET-TX-D-03",
        card(&[]),
        |plan| plan.then(|rig| {
            rig.request(1, &[&[0; 10]], &[]);
        });
    a_sent_packet_that_counts_buffers_is_found: "NET-TX-D-04",
        card(&[]),
        |plan| plan.then(|rig| {
            rig.request(1, &[&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0], &[0; 60]], &[]);
        });
    a_checksum_left_to_a_device_that_cannot_is_found: "NET-TX-D-05",
        card(&[]),
        |plan| plan.then(|rig| packet(rig, 1, 0, 0));
    tcp_v4_segmentation_that_was_not_accepted_is_found: "NET-TX-D-09",
        card(TSO6).then(|rig| packet(rig, 1, 4, 10)),
        |plan| plan.then(|rig| packet(rig, 1, 1, 10));
    tcp_v6_segmentation_that_was_not_accepted_is_found: "NET-TX-D-11",
        card(TSO).then(|rig| packet(rig, 1, 1, 10)),
        |plan| plan.then(|rig| packet(rig, 1, 4, 10));
    udp_fragmentation_that_was_not_accepted_is_found: "NET-TX-D-13",
        card(TSO),
        |plan| plan.then(|rig| packet(rig, 1, 3, 10));
    udp_segmentation_that_was_not_accepted_is_found: "NET-TX-D-15",
        card(TSO),
        |plan| plan.then(|rig| packet(rig, 1, 5, 10));
    a_tunnel_that_was_not_accepted_is_found: "NET-TX-D-19",
        card(TSO),
        |plan| plan.then(|rig| packet(rig, 1, 0x21, 10));
    an_outer_checksum_that_was_not_accepted_is_found: "NET-TX-D-24",
        card(CSUM).then(|rig| packet(rig, 1, 0, 0)),
        |plan| plan.then(|rig| packet(rig, 9, 0, 0));
    udp_fragmentation_in_a_tunnel_is_found: "NET-TX-D-26",
        card(TUNNEL).then(|rig| packet(rig, 9, 0x21, 10)),
        |plan| plan.then(|rig| packet(rig, 1, 0x23, 10));
    a_tunnel_in_both_kinds_of_packets_is_found: "NET-TX-D-27",
        card(TUNNEL),
        |plan| plan.then(|rig| packet(rig, 1, 0x61, 10));
    an_outer_checksum_without_a_tunnel_is_found: "NET-TX-D-28",
        card(TUNNEL),
        |plan| plan.then(|rig| packet(rig, 9, 1, 10));
    a_checksum_outside_of_the_packet_is_found: "NET-TX-D-32",
        card(CSUM),
        |plan| plan.then(|rig| {
            rig.request(1, &[&[1, 0, 0, 0, 0, 0, 58, 0, 6, 0, 0, 0], &[0; 60]], &[]);
        });
    segmentation_that_nobody_accepted_is_found: "NET-TX-D-33",
        card(CSUM),
        |plan| plan.then(|rig| packet(rig, 1, 1, 10));
    segmentation_without_a_checksum_is_found: "NET-TX-D-34",
        card(TSO),
        |plan| plan.then(|rig| packet(rig, 0, 1, 10));
    segmentation_without_a_size_is_found: "NET-TX-D-35",
        card(TSO),
        |plan| plan.then(|rig| packet(rig, 1, 1, 0));
    flags_of_received_packets_are_found: "NET-TX-D-47",
        card(CSUM),
        |plan| plan.then(|rig| packet(rig, 2, 0, 0));
    a_receive_buffer_below_a_header_is_found: "NET-RXBUF-D-03",
        card(&[feature::MRG_RXBUF]),
        |plan| plan.then(|rig| {
            rig.request(0, &[], &[8]);
        });
    a_receive_mode_without_its_feature_is_found: "NET-CTRL-D-01",
        controlled(CTRL),
        |plan| plan.then(|rig| command(rig, 2, ctrl::RX, ctrl::RX_PROMISC, &[1]));
    an_extra_receive_mode_without_its_feature_is_found: "NET-CTRL-D-02",
        controlled(CTRL),
        |plan| plan.then(|rig| command(rig, 2, ctrl::RX, ctrl::RX_NOBCAST, &[1]));
    a_mac_table_without_its_feature_is_found: "NET-CTRL-D-03",
        controlled(CTRL),
        |plan| plan.then(|rig| command(rig, 2, ctrl::MAC, ctrl::MAC_TABLE_SET, &[0; 8]));
    a_mac_table_of_one_list_is_found: "NET-CTRL-D-05",
        several(),
        |plan| plan.then(|rig| command(rig, 4, ctrl::MAC, ctrl::MAC_TABLE_SET, &[0; 4]));
    an_announcement_that_is_not_acknowledged_is_found: "NET-CTRL-D-08",
        announcing().then(|rig| command(rig, 2, ctrl::ANNOUNCE, ctrl::ANNOUNCE_ACK, &[])),
        |_| announcing();
    pairs_that_are_not_enabled_are_found: "NET-CTRL-D-12",
        several(),
        |_| Plan::new(|| device(MQ), u128::MAX, &[])
            .after("features ok read", |rig| {
                rig.config(config::MAX_VIRTQUEUE_PAIRS, 2);
            })
            .before("driver ok", |rig| {
                for index in [0, 1, 4] {
                    rig.set_up(index);
                }
            })
            .then(|rig| command(rig, 4, ctrl::MQ, ctrl::MQ_VQ_PAIRS_SET, &[2, 0]));
    no_pairs_at_all_are_found: "NET-CTRL-D-13",
        several(),
        |plan| plan.then(|rig| command(rig, 4, ctrl::MQ, ctrl::MQ_VQ_PAIRS_SET, &[0, 0]));
    sending_on_a_pair_that_was_not_set_is_found: "NET-CTRL-D-14",
        several(),
        |plan| plan.after("driver ok", |rig| {
            rig.request(3, &[&[0; 20], &[0; 60]], &[]);
        });
    sending_on_a_pair_that_is_not_used_is_found: "NET-CTRL-D-15",
        several(),
        |plan| plan.then(|rig| {
            command(rig, 4, ctrl::MQ, ctrl::MQ_VQ_PAIRS_SET, &[1, 0]);
            rig.request(3, &[&[0; 20], &[0; 60]], &[]);
        });
    a_hash_configuration_with_reserved_bits_is_found: "NET-CTRL-D-16",
        several(),
        |plan| plan.then(|rig| {
            command(rig, 4, ctrl::MQ, ctrl::MQ_HASH_CONFIG, &[1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
        });
    rss_without_its_feature_is_found: "NET-CTRL-D-17",
        controlled(CTRL),
        |plan| plan.then(|rig| command(rig, 2, ctrl::MQ, ctrl::MQ_RSS_CONFIG, &rss(1, 0, &[0])));
    an_indirection_table_with_a_dead_queue_is_found: "NET-CTRL-D-18",
        several(),
        |plan| plan.then(|rig| command(rig, 4, ctrl::MQ, ctrl::MQ_RSS_CONFIG, &rss(1, 1, &[0, 2])));
    an_indirection_table_of_three_is_found: "NET-CTRL-D-19",
        several(),
        |plan| plan.then(|rig| command(rig, 4, ctrl::MQ, ctrl::MQ_RSS_CONFIG, &rss(1, 2, &[0, 1, 0])));
    an_indirection_table_that_is_too_long_is_found: "NET-CTRL-D-20",
        several(),
        |plan| plan.then(|rig| command(rig, 4, ctrl::MQ, ctrl::MQ_RSS_CONFIG, &rss(1, 7, &[0; 8])));
    hash_types_that_are_not_supported_are_found: "NET-CTRL-D-21",
        several(),
        |plan| plan.then(|rig| command(rig, 4, ctrl::MQ, ctrl::MQ_RSS_CONFIG, &rss(9, 1, &[0, 1])));
    an_offload_that_was_not_accepted_is_found: "NET-CTRL-D-25",
        several(),
        |plan| plan.then(|rig| {
            command(rig, 4, ctrl::GUEST_OFFLOADS, ctrl::GUEST_OFFLOADS_SET, &[0x80, 0, 0, 0, 0, 0, 0, 0]);
        });
    coalescing_of_the_control_queue_is_found: "NET-CTRL-D-26",
        several(),
        |plan| plan.then(|rig| command(rig, 4, ctrl::NOTF_COAL, 2, &[4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]));
    coalescing_without_its_feature_is_found: "NET-CTRL-D-27",
        controlled(CTRL),
        |plan| plan.then(|rig| command(rig, 2, ctrl::NOTF_COAL, 0, &[0; 8]));
    coalescing_of_a_queue_without_its_feature_is_found: "NET-CTRL-D-28",
        controlled(CTRL),
        |plan| plan.then(|rig| command(rig, 2, ctrl::NOTF_COAL, 2, &[0; 12]));
    a_control_queue_that_was_not_accepted_is_found: "IMP-NET-01",
        card(&[]),
        |plan| plan.before("driver ok", |rig| rig.set_up(2));
    a_command_without_room_for_the_answer_is_found: "IMP-NET-03",
        controlled(CTRL),
        |plan| plan.then(|rig| {
            rig.request(2, &[&[0, 0, 1]], &[]);
        });
    a_writable_part_of_a_sent_packet_is_found: "IMP-NET-04",
        card(&[]),
        |plan| plan.then(|rig| {
            rig.request(1, &[&[0; 12], &[0; 60]], &[4]);
        });
}
