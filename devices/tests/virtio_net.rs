//! The network device: packets each way, offloads, and the control queue, in both ring layouts.

mod board;
mod rig;

use bringup_devices::Notices;
use bringup_devices::virtio::{
    CableEnd, Frame, Loopback, Mac, Net, NetBackend, NetOptions, NoPeer, Offload, PacketWriter, Recorded, Replayed,
    VirtioPci, read_packets,
};
use bringup_spec::virtio::feature as ring_feature;
use bringup_spec::virtio::net::{config, ctrl, feature, header, link};
use bringup_spec::virtio::pci::isr;
use rig::{BASIC, Buffer, IN_ORDER, PACKED, Rig, Ring};

const fn bit(number: u32) -> u128 {
    1 << number
}

const CTRL: u128 = bit(feature::CTRL_VQ);
const CSUM: u128 = bit(feature::CSUM);
const TSO4: u128 = bit(feature::HOST_TSO4);
const GUEST_CSUM: u128 = bit(feature::GUEST_CSUM);
const GUEST_TSO4: u128 = bit(feature::GUEST_TSO4);
const MRG: u128 = bit(feature::MRG_RXBUF);
const OWN: Mac = [0x52, 0x54, 0x00, 0x12, 0x34, 0x56];

/// A network card and its driver's queues.
struct Card {
    rig: Rig,
    rx: Ring,
    tx: Ring,
    control: Option<Ring>,
    buffers: Vec<(u16, Buffer)>,
}

impl Card {
    fn new(net: Net, features: u128) -> Self {
        let device = VirtioPci::new(net).offer(ring_feature::RING_PACKED, true).offer(ring_feature::IN_ORDER, true);
        let mut rig = Rig::new(device);
        assert!(rig.negotiate(BASIC | features));
        let (rx, tx) = (rig.queue(0, 16), rig.queue(1, 16));
        let control = (features & CTRL != 0).then(|| rig.queue(2, 4));
        rig.driver_ok();
        Self { rig, rx, tx, control, buffers: Vec::new() }
    }

    fn looped(features: u128) -> Self {
        Self::new(Net::new(Loopback::new(1_000), NetOptions::default()), features)
    }

    /// Gives receive buffers.
    fn give(&mut self, lengths: &[u64]) {
        for len in lengths {
            let buffer = self.rig.room(*len);
            let id = self.rx.add(&mut self.rig.board, &[buffer]);
            self.buffers.push((id, buffer));
        }
        self.rig.kick(&self.rx);
    }

    fn send(&mut self, head: [u8; 12], frame: &[u8]) {
        let chain = [self.rig.out(&head), self.rig.out(frame)];
        assert_eq!(self.rig.transact(&mut self.tx, &chain), 0);
    }

    /// What was received, chain by chain.
    fn received(&mut self) -> Vec<Vec<u8>> {
        let taken = self.rx.take_all(&self.rig.board);
        taken
            .into_iter()
            .map(|(id, len)| {
                let at = self.buffers.iter().position(|(given, _)| *given == id).unwrap();
                let (_, buffer) = self.buffers.remove(at);
                self.rig.bytes(buffer)[..len as usize].to_vec()
            })
            .collect()
    }

    fn command(&mut self, class: u8, command: u8, data: &[u8]) -> u8 {
        let chain = [self.rig.out(&[&[class, command][..], data].concat()), self.rig.room(1)];
        let ring = self.control.as_mut().unwrap();
        assert_eq!(self.rig.transact(ring, &chain), 1);
        self.rig.bytes(chain[1])[0]
    }
}

fn plain() -> [u8; 12] {
    [0; 12]
}

fn frame_to(to: Mac, len: usize) -> Vec<u8> {
    [&to[..], &[2, 0, 0, 0, 0, 9, 0x88, 0xb5], &vec![0x5a; len - 14]].concat()
}

/// TCP over IPv4 with a payload, the checksum left to the device; and the header that says so.
fn tcp(payload: usize) -> (Vec<u8>, [u8; 12]) {
    let mut bytes = [&OWN[..], &[2, 0, 0, 0, 0, 9, 0x08, 0x00, 0x45, 0]].concat();
    bytes.extend(((40 + payload) as u16).to_be_bytes());
    bytes.extend([0, 1, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    bytes.extend([0, 80, 1, 0, 0, 0, 0, 1, 0, 0, 0, 7, 0x50, 0x18, 4, 0]);
    // The sum of the pseudo header.
    let sum = 0x0a00 + 1 + 0x0a00 + 2 + 6 + 20 + payload as u32;
    bytes.extend((((sum & 0xffff) + (sum >> 16)) as u16).to_be_bytes());
    bytes.extend([0, 0]);
    bytes.extend((0..payload).map(|index| index as u8));
    let mut head = plain();
    (head[0], head[6], head[8]) = (header::NEEDS_CSUM, 34, 16);
    (bytes, head)
}

fn tso(payload: usize, size: u16) -> (Vec<u8>, [u8; 12]) {
    let (bytes, mut head) = tcp(payload);
    head[1] = header::GSO_TCPV4;
    head[4..6].copy_from_slice(&size.to_le_bytes());
    (bytes, head)
}

#[test]
fn frame_comes_back_through_the_loop_in_every_layout() {
    for features in [0, PACKED, IN_ORDER, PACKED | IN_ORDER] {
        let mut card = Card::looped(features);
        for len in [14, 60, 1514] {
            card.give(&[2000]);
            let frame = frame_to(OWN, len);
            card.send(plain(), &frame);
            let mut head = plain();
            head[10] = 1;
            assert_eq!(card.received(), [[&head[..], &frame].concat()]);
        }
        assert_eq!(card.rig.board.broken_rules(), [] as [&str; 0]);
    }
}

#[test]
fn frames_wait_for_buffers_in_order() {
    let mut card = Card::looped(0);
    for len in [60, 61, 62] {
        card.send(plain(), &frame_to(OWN, len));
    }
    assert_eq!(card.received().len(), 0);
    card.give(&[100, 100, 100]);
    card.rig.run();
    assert_eq!(card.received().iter().map(Vec::len).collect::<Vec<_>>(), [72, 73, 74]);
}

#[test]
fn frame_fills_several_buffers_only_with_the_feature() {
    for features in [MRG, MRG | PACKED, MRG | IN_ORDER] {
        let mut card = Card::looped(features);
        card.give(&[100, 100, 100, 100]);
        let frame = frame_to(OWN, 250);
        card.send(plain(), &frame);
        let got = card.received();
        assert_eq!(got.iter().map(Vec::len).collect::<Vec<_>>(), [100, 100, 62], "all but the last are full");
        assert_eq!(got[0][10..12], [3, 0]);
        assert_eq!(got.concat()[12..], frame);
        card.send(plain(), &frame_to(OWN, 60));
        assert_eq!(card.received()[0][10..12], [1, 0]);
    }
    let mut card = Card::looped(0);
    card.give(&[100, 100, 100]);
    card.send(plain(), &frame_to(OWN, 250));
    card.send(plain(), &frame_to(OWN, 60));
    assert_eq!(card.received().iter().map(Vec::len).collect::<Vec<_>>(), [72], "what does not fit is lost");
}

#[test]
fn frame_that_the_whole_ring_cannot_hold_is_lost_and_the_next_one_comes() {
    let mut card = Card::looped(MRG);
    card.give(&[20; 16]);
    card.send(plain(), &frame_to(OWN, 1000));
    card.send(plain(), &frame_to(OWN, 60));
    assert_eq!(card.received().concat().len(), 72);
}

#[test]
fn frames_that_are_too_short_too_long_or_wrong_are_lost_and_their_chains_come_back() {
    let mut card = Card::looped(CSUM);
    card.give(&[70_000, 2000]);
    let (_, mut beyond) = tcp(0);
    beyond[6..8].copy_from_slice(&[0xff, 0xff]);
    let (_, segmented) = tso(0, 100);
    card.send(plain(), &[0; 13]);
    card.send(plain(), &vec![0; 65_558]);
    card.send(beyond, &frame_to(OWN, 60));
    card.send(segmented, &frame_to(OWN, 60));
    let short = card.rig.out(&[0; 5]);
    card.rig.transact(&mut card.tx, &[short]);
    assert_eq!(card.received().len(), 0);
    card.send(plain(), &frame_to(OWN, 60));
    assert_eq!(card.received().len(), 1);
}

#[test]
fn checksum_is_completed_for_a_driver_that_takes_only_whole_frames() {
    let (frame, head) = tcp(100);
    let mut card = Card::looped(CSUM);
    card.give(&[2000]);
    card.send(head, &frame);
    let got = card.received();
    assert_eq!((got[0][0], got[0][1]), (0, 0));
    assert!(Frame::whole(got[0][12..].to_vec()).has_valid_checksum());
    assert_ne!(got[0][12..], frame);
}

#[test]
fn checksum_is_left_to_a_driver_that_takes_it_over() {
    let (frame, head) = tcp(100);
    let mut card = Card::looped(CSUM | GUEST_CSUM);
    card.give(&[2000, 2000]);
    card.send(head, &frame);
    let got = card.received();
    assert_eq!(got[0][..10], [header::NEEDS_CSUM, 0, 0, 0, 0, 0, 34, 0, 16, 0]);
    assert_eq!(got[0][12..], frame);
    let offload = Offload { checksum: Some((34, 16)), ..Offload::default() };
    let whole = Frame { bytes: frame, offload, flow: 0 }.finish();
    card.send(plain(), &whole[0].bytes);
    assert_eq!(card.received()[0][0], header::DATA_VALID, "what was checked is said to be");
}

#[test]
fn long_frame_is_cut_up_for_a_driver_that_takes_only_short_ones() {
    let (frame, head) = tso(3000, 1000);
    let mut card = Card::looped(CSUM | TSO4);
    card.give(&[2000; 4]);
    card.send(head, &frame);
    let got = card.received();
    assert_eq!(got.iter().map(Vec::len).collect::<Vec<_>>(), [12 + 54 + 1000; 3]);
    assert!(got.iter().all(|chain| Frame::whole(chain[12..].to_vec()).has_valid_checksum()));
    let payload: Vec<u8> = got.iter().flat_map(|chain| chain[12 + 54..].to_vec()).collect();
    assert_eq!(payload, frame[54..]);
}

#[test]
fn long_frame_stays_whole_for_a_driver_that_takes_it_until_it_says_otherwise() {
    let (frame, head) = tso(3000, 1000);
    let offloads = bit(feature::CTRL_GUEST_OFFLOADS);
    let mut card = Card::looped(CSUM | TSO4 | GUEST_CSUM | GUEST_TSO4 | CTRL | offloads);
    card.give(&[4000; 8]);
    card.send(head, &frame);
    let got = card.received();
    assert_eq!(got[0][..10], [1, header::GSO_TCPV4, 54, 0, 0xe8, 3, 34, 0, 16, 0]);
    assert_eq!((got.len(), &got[0][12..]), (1, &frame[..]));
    let (class, set) = (ctrl::GUEST_OFFLOADS, ctrl::GUEST_OFFLOADS_SET);
    assert_eq!(card.command(class, set, &(GUEST_CSUM as u64).to_le_bytes()), ctrl::OK);
    card.send(head, &frame);
    assert_eq!(card.received().len(), 3);
    let more = (GUEST_CSUM | bit(feature::GUEST_TSO6)) as u64;
    assert_eq!(card.command(class, set, &more.to_le_bytes()), ctrl::ERR, "not negotiated");
}

#[test]
fn features_that_need_others_are_refused_without_them_and_not_offered_either() {
    let mut rig = Rig::new(VirtioPci::new(Net::new(NoPeer, NetOptions::default())));
    for (alone, together) in [
        (TSO4, TSO4 | CSUM),
        (GUEST_TSO4, GUEST_TSO4 | GUEST_CSUM),
        (bit(feature::HOST_ECN) | CSUM, bit(feature::HOST_ECN) | CSUM | bit(feature::HOST_TSO6)),
        (bit(feature::CTRL_RX), bit(feature::CTRL_RX) | CTRL),
    ] {
        assert!(!rig.negotiate(BASIC | alone));
        assert!(rig.negotiate(BASIC | together));
    }
    let options = NetOptions { features: TSO4 | bit(feature::HOST_ECN) | bit(feature::MQ), ..NetOptions::default() };
    let offered = Rig::new(VirtioPci::new(Net::new(NoPeer, options))).offered();
    assert_eq!(offered & (TSO4 | bit(feature::HOST_ECN) | bit(feature::MQ)), 0);
}

#[test]
fn control_queue_filters_addresses_and_vlans() {
    let mut card = Card::looped(CTRL | bit(feature::CTRL_RX) | bit(feature::CTRL_RX_EXTRA) | bit(feature::CTRL_VLAN));
    card.give(&[2000; 8]);
    let other = [2, 0, 0, 0, 0, 7];
    assert_eq!(card.command(ctrl::RX, ctrl::RX_PROMISC, &[0]), ctrl::OK);
    card.send(plain(), &frame_to(other, 60));
    assert_eq!(card.received().len(), 0);
    let tables = [&[1, 0, 0, 0][..], &other, &[0; 4]].concat();
    assert_eq!(card.command(ctrl::MAC, ctrl::MAC_TABLE_SET, &tables), ctrl::OK);
    card.send(plain(), &frame_to(other, 60));
    assert_eq!(card.received().len(), 1);
    let mut tagged = frame_to(OWN, 60);
    tagged[12..16].copy_from_slice(&[0x81, 0, 0, 9]);
    card.send(plain(), &tagged);
    assert_eq!(card.received().len(), 0);
    assert_eq!(card.command(ctrl::VLAN, ctrl::VLAN_ADD, &[9, 0]), ctrl::OK);
    card.send(plain(), &tagged);
    assert_eq!(card.received().len(), 1);
}

#[test]
fn commands_that_do_not_exist_were_not_negotiated_or_lie_are_refused() {
    let mut card = Card::looped(CTRL);
    for (class, command, data) in [
        (ctrl::RX, ctrl::RX_PROMISC, &[1][..]),
        (ctrl::MAC, ctrl::MAC_ADDR_SET, &[2, 0, 0, 0, 0, 1]),
        (ctrl::MAC, ctrl::MAC_TABLE_SET, &[0; 8]),
        (ctrl::VLAN, ctrl::VLAN_ADD, &[1, 0]),
        (ctrl::MQ, ctrl::MQ_VQ_PAIRS_SET, &[1, 0]),
        (ctrl::ANNOUNCE, ctrl::ANNOUNCE_ACK, &[]),
        (ctrl::GUEST_OFFLOADS, ctrl::GUEST_OFFLOADS_SET, &[0; 8]),
        (77, 0, &[]),
    ] {
        assert_eq!(card.command(class, command, data), ctrl::ERR, "{class} {command}");
    }
    let (short, answer) = (card.rig.out(&[0]), card.rig.room(1));
    let ring = card.control.as_mut().unwrap();
    assert_eq!(card.rig.transact(ring, &[short, answer]), 1);
    assert_eq!(card.rig.bytes(answer), [ctrl::ERR]);
}

#[test]
fn address_can_be_changed_and_is_back_after_a_reset() {
    let mut card = Card::looped(CTRL | bit(feature::CTRL_MAC_ADDR) | bit(feature::MAC));
    let new = [2, 1, 2, 3, 4, 5];
    assert_eq!(card.command(ctrl::MAC, ctrl::MAC_ADDR_SET, &new), ctrl::OK);
    let mac: Vec<u64> = (0..6).map(|at| card.rig.config(config::MAC + at, 1)).collect();
    assert_eq!(mac, new.map(u64::from));
    assert!(card.rig.negotiate(BASIC));
    assert_eq!(card.rig.config(config::MAC, 4) as u32, u32::from_le_bytes([OWN[0], OWN[1], OWN[2], OWN[3]]));
}

#[test]
fn pairs_of_queues_are_used_as_far_as_the_driver_says() {
    let features = NetOptions::default().features | bit(feature::MQ);
    let options = NetOptions { pairs: 2, features, ..NetOptions::default() };
    let mut rig = Rig::new(VirtioPci::new(Net::new(Loopback::new(100), options)));
    assert!(rig.negotiate(BASIC | CTRL | bit(feature::MQ)));
    assert_eq!(rig.config(config::MAX_VIRTQUEUE_PAIRS, 2), 2);
    let mut rings: Vec<Ring> = (0..5).map(|index| rig.queue(index, 4)).collect();
    rig.driver_ok();
    let round = |rig: &mut Rig, rings: &mut [Ring]| {
        for rx in [0, 2] {
            let room = rig.room(100);
            rings[rx].add(&mut rig.board, &[room]);
        }
        let chain = [rig.out(&plain()), rig.out(&frame_to(OWN, 60))];
        rig.transact(&mut rings[3], &chain);
        rig.run();
        [0, 2].map(|rx| rings[rx].take_all(&rig.board).len())
    };
    let set = |rig: &mut Rig, rings: &mut [Ring], pairs: u8| {
        let chain = [rig.out(&[ctrl::MQ, ctrl::MQ_VQ_PAIRS_SET, pairs, 0]), rig.room(1)];
        rig.transact(&mut rings[4], &chain);
        rig.bytes(chain[1])[0]
    };
    assert_eq!(round(&mut rig, &mut rings), [1, 0], "only the first pair is used at first");
    assert_eq!([0, 3, 2].map(|pairs| set(&mut rig, &mut rings, pairs)), [ctrl::ERR, ctrl::ERR, ctrl::OK]);
    assert_eq!(round(&mut rig, &mut rings), [0, 1]);
}

#[test]
fn link_and_announcement_are_told() {
    let net = Net::new(Loopback::new(100), NetOptions::default());
    let cord = net.cord();
    let announce = bit(feature::GUEST_ANNOUNCE);
    let mut card = Card::new(net, CTRL | bit(feature::STATUS) | announce);
    card.rig.run();
    assert_eq!(card.rig.config(config::STATUS, 2), u64::from(link::UP));
    cord.plug(false);
    card.rig.board.bus.work(card.rig.board.device);
    assert_eq!((card.rig.config(config::STATUS, 2), card.rig.isr()), (0, isr::CONFIG));
    cord.plug(true);
    cord.announce();
    card.rig.board.bus.work(card.rig.board.device);
    assert_eq!(
        (card.rig.config(config::STATUS, 2), card.rig.isr()),
        (u64::from(link::UP | link::ANNOUNCE), isr::CONFIG)
    );
    assert_eq!(card.command(ctrl::ANNOUNCE, ctrl::ANNOUNCE_ACK, &[]), ctrl::OK);
    assert_eq!(card.rig.config(config::STATUS, 2), u64::from(link::UP));
}

#[test]
fn frames_longer_than_the_told_mtu_do_not_arrive() {
    let features = NetOptions::default().features | bit(feature::MTU);
    let net = Net::new(Loopback::new(100), NetOptions { features, mtu: 1000, ..NetOptions::default() });
    let mut card = Card::new(net, bit(feature::MTU));
    assert_eq!(card.rig.config(config::MTU, 2), 1000);
    card.give(&[2000; 4]);
    for len in [1014, 1015] {
        card.send(plain(), &frame_to(OWN, len));
    }
    assert_eq!(card.received().iter().map(Vec::len).collect::<Vec<_>>(), [1026]);
}

#[test]
fn packets_of_a_file_arrive_at_their_times_and_what_is_sent_is_in_another() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("out.pcapng");
    let writer = PacketWriter::create(&path, Notices::default()).unwrap();
    let packets = vec![(0, frame_to(OWN, 60)), (5_000_000, frame_to(OWN, 70))];
    let backend = Recorded::new(Box::new(Replayed::new(Box::new(NoPeer), packets)), writer);
    let mut card = Card::new(Net::from_box(Box::new(backend), NetOptions::default()), CSUM | TSO4);
    card.give(&[2000; 4]);
    card.rig.board.step(4_900_000);
    assert_eq!(card.received().len(), 1);
    card.rig.board.step(200_000);
    assert_eq!(card.received()[0].len(), 82);
    let (frame, head) = tso(1500, 1000);
    card.send(head, &frame);
    let sent: Vec<usize> = read_packets(&path).unwrap().into_iter().map(|(_, bytes)| bytes.len()).collect();
    assert_eq!(sent, [1054, 554], "as a wire carries them");
}

#[test]
fn cable_carries_both_ways_and_wakes_the_device() {
    let (left, mut right) = CableEnd::pair(100);
    let mut card = Card::new(Net::new(left, NetOptions::default()), 0);
    card.give(&[2000]);
    card.rig.run();
    let now = card.rig.board.bus.fabric.now();
    right.send(now, Frame::whole(frame_to(OWN, 60)));
    card.rig.run();
    assert_eq!(card.received().len(), 1);
    card.send(plain(), &frame_to(OWN, 61));
    let now = card.rig.board.bus.fabric.now();
    assert_eq!(right.receive(now).map(|frame| frame.bytes.len()), Some(61));
}

#[test]
fn cable_joins_the_two_devices_that_name_it_and_no_third() {
    let workshop = bringup_devices::registry::Workshop::new();
    let ends = [(); 3].map(|()| workshop.parse("virtio-net,peer=wire"));
    let refused = ends.into_iter().filter_map(Result::err).map(|error| error.to_string()).collect::<Vec<_>>();
    assert_eq!(refused, ["virtio-net: two devices are on the cable wire already"]);
}
