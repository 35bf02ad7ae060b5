//! Real devices behind their transport, in the middle of whose work another processor drives on.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use bringup_core::dma::Direction;
use bringup_core::{Access, Cx, Device, Function, Reply, Reset};
use bringup_devices::virtio::{Rng, VirtioPci};
use bringup_spec::virtio::net::{config, ctrl};
use bringup_spec::virtio::pci::common;
use bringup_spec::virtio::ring::{desc, packed, split};
use bringup_spec::virtio::{blk, device_type, feature, status};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use crate::device::{Anything, Twisted, bits};
use crate::rig::{Memory, Rig};

type Act = Box<dyn FnOnce() + Send>;
type Acts = Arc<Mutex<VecDeque<Act>>>;

/// A device that works, lets another processor act, works on, and so forth, all in one quantum; at last the processor acts.
struct Interrupted {
    inner: VirtioPci,
    acts: Acts,
}

impl Device for Interrupted {
    fn function(&self) -> Function {
        self.inner.function()
    }

    fn read(&mut self, cx: &mut Cx<'_>, at: Access) -> Reply<u64> {
        self.inner.read(cx, at)
    }

    fn write(&mut self, cx: &mut Cx<'_>, at: Access, value: u64) -> Reply<()> {
        self.inner.write(cx, at, value)
    }

    fn work(&mut self, cx: &mut Cx<'_>) {
        self.inner.work(cx);
        let mut acts = std::mem::take(&mut *self.acts.lock().unwrap());
        while let Some(act) = acts.pop_front() {
            act();
            if !acts.is_empty() {
                self.inner.work(cx);
            }
        }
    }

    fn reset(&mut self, cx: &mut Cx<'_>, kind: Reset) {
        self.inner.reset(cx, kind);
    }
}

/// A driver's hands on memory alone.
#[derive(Clone)]
struct Hands(GuestMemoryMmap);

impl Hands {
    fn put(&self, memory: Memory, offset: u64, bytes: &[u8]) {
        self.0.write_slice(bytes, GuestAddress(memory.at.0 + offset)).unwrap();
    }

    fn put16(&self, memory: Memory, offset: u64, value: u16) {
        self.put(memory, offset, &value.to_le_bytes());
    }

    /// A descriptor or a slot; `first` and `second` are its last four bytes.
    fn describe(&self, table: Memory, index: u16, buffer: Memory, first: u16, second: u16) {
        let at = u64::from(index) * desc::SIZE;
        self.put(table, at, &buffer.iova.to_le_bytes());
        self.put(table, at + 8, &(buffer.len as u32).to_le_bytes());
        self.put16(table, at + 12, first);
        self.put16(table, at + 14, second);
    }

    /// Makes the chain at `head` available as the one with this number.
    fn publish(&self, avail: Memory, size: u16, number: u16, head: u16) {
        self.put16(avail, split::AVAIL_RING + u64::from(number % size) * 2, head);
        self.put16(avail, split::AVAIL_IDX, number + 1);
    }
}

/// A machine whose processors run while its device works, and what another one does meanwhile.
fn machine(inner: VirtioPci, queues: u16, look: fn(&mut Rig)) -> (Rig, Acts, Hands) {
    let acts = Acts::default();
    let mut rig = Rig::racing(Box::new(Interrupted { inner, acts: acts.clone() }));
    rig.negotiate(!bits(&[feature::EVENT_IDX, feature::INDIRECT_DESC, feature::NOTIFICATION_DATA, feature::IN_ORDER]));
    look(&mut rig);
    (0..queues).for_each(|index| rig.set_up(index));
    rig.add_status(status::DRIVER_OK);
    let hands = Hands(rig.bus.fabric.ram.memory().clone());
    (rig, acts, hands)
}

fn found(rig: &Rig) -> Vec<&'static str> {
    rig.broken().into_iter().map(|(id, _)| id).collect()
}

fn rng(packed: bool) -> VirtioPci {
    VirtioPci::new(Rng::default()).offer(feature::RING_PACKED, packed)
}

#[test]
fn a_descriptor_that_is_used_again_before_the_device_is_done_is_right() {
    let (mut rig, acts, hands) = machine(rng(false), 1, |_| {});
    let ([table, avail, used], size) = (rig.queue(0).parts, rig.queue(0).size);
    let other = rig.map(32, Direction::FromDevice);
    rig.submit(0, &[], &[64]);
    let hand = hands.clone();
    acts.lock().unwrap().push_back(Box::new(move || {
        assert_eq!(used_idx(&hand, used), 1);
        hand.describe(table, 0, other, desc::WRITE, 0);
        hand.publish(avail, size, 1, 0);
    }));
    let hand = hands.clone();
    acts.lock().unwrap().push_back(Box::new(move || {
        hand.describe(table, 0, other, 0xffff, 0xffff);
    }));
    rig.run();
    assert_eq!((found(&rig), used_idx(&hands, used)), (vec![], 2));

    hands.describe(table, 1, other, desc::WRITE | desc::NEXT, 1);
    hands.publish(avail, size, 2, 1);
    rig.notify(0, 2, 0);
    assert_eq!(found(&rig), ["VQ-SPLIT-D-06"]);
}

/// How far the device is.
fn used_idx(hands: &Hands, used: Memory) -> u16 {
    hands.0.read_obj(GuestAddress(used.at.0 + split::USED_IDX)).unwrap()
}

#[test]
fn slots_that_go_round_before_the_device_is_done_are_right() {
    let (mut rig, acts, hands) = machine(rng(true), 1, |_| {});
    let ([ring, ..], size) = (rig.queue(0).parts, rig.queue(0).size);
    let buffer = rig.map(32, Direction::FromDevice);
    let flags = move |count: u16| if (count / size).is_multiple_of(2) { packed::AVAIL } else { packed::USED };
    rig.submit(0, &[], &[64]);
    let rounds = 2 * size + 1;
    for count in 1..=rounds {
        let hand = hands.clone();
        acts.lock().unwrap().push_back(Box::new(move || {
            // What was given back is the driver's to write; then the next list.
            hand.put(ring, u64::from((count - 1) % size) * desc::SIZE, &[0x55; 14]);
            hand.describe(ring, count % size, buffer, count % 3, desc::WRITE | flags(count));
        }));
    }
    rig.run();
    assert_eq!(found(&rig), [""; 0]);

    let next = rounds + 1;
    hands.describe(ring, next % size, Memory { iova: 64, ..buffer }, 1, desc::WRITE | flags(next));
    rig.notify(0, 2, 0);
    assert_eq!(found(&rig), ["RSVD-D-04"]);
}

#[test]
fn a_packet_on_a_pair_that_a_command_set_unseen_is_right() {
    const MQ: &[u32] = &[bringup_spec::virtio::net::feature::CTRL_VQ, bringup_spec::virtio::net::feature::MQ];
    let mut card = Anything::new(device_type::NETWORK, MQ).with(config::MAX_VIRTQUEUE_PAIRS, &2_u16.to_le_bytes());
    card.queues = vec![8; 5];
    let (mut rig, acts, hands) = machine(VirtioPci::new(card), 5, |rig| {
        rig.config(config::MAX_VIRTQUEUE_PAIRS, 2);
    });
    let command = rig.map(4, Direction::ToDevice);
    let answer = rig.map(1, Direction::FromDevice);
    let packet = rig.map(72, Direction::ToDevice);
    rig.fill(command, 0, &[ctrl::MQ, ctrl::MQ_VQ_PAIRS_SET, 2, 0]);
    rig.fill(packet, 0, &[0; 72]);
    let ([control, control_avail, _], size) = (rig.queue(4).parts, rig.queue(4).size);
    let [send, send_avail, _] = rig.queue(3).parts;
    let hand = hands.clone();
    acts.lock().unwrap().push_back(Box::new(move || {
        hand.describe(control, 0, command, desc::NEXT, 1);
        hand.describe(control, 1, answer, desc::WRITE, 0);
        hand.publish(control_avail, size, 0, 0);
    }));
    acts.lock().unwrap().push_back(Box::new(move || {
        hands.describe(send, 0, packet, 0, 0);
        hands.publish(send_avail, size, 0, 0);
    }));
    rig.submit(1, &[&[0; 72]], &[]);
    rig.run();
    assert_eq!(found(&rig), [""; 0]);
    rig.submit(3, &[&[0; 72]], &[]);
    assert_eq!(found(&rig), [""; 0]);
}

#[test]
fn several_readers_of_the_capacity_are_no_torn_one() {
    let mut rig = Rig::racing(Box::new(VirtioPci::new(Anything::new(device_type::BLOCK, &[]))));
    rig.negotiate(u128::MAX);
    let generation = |rig: &mut Rig| _ = rig.read(common::CONFIG_GENERATION, 1);
    let half = |rig: &mut Rig, at: u32| _ = rig.config(blk::config::CAPACITY + at, 4);
    (0..3).for_each(|_| generation(&mut rig));
    for at in [0, 0, 4, 4, 0, 4] {
        half(&mut rig, at);
    }
    (0..3).for_each(|_| generation(&mut rig));
    rig.set_up(0);
    rig.add_status(status::DRIVER_OK);
    assert_eq!(found(&rig), [""; 0]);
}

#[test]
fn a_request_from_before_the_disk_was_seen_to_shrink_is_right() {
    const CAPACITY: u64 = 0x2000;
    let disk = Anything::new(device_type::BLOCK, &[]).with(blk::config::CAPACITY, &1000_u64.to_le_bytes());
    let mut rig = Rig::racing(Box::new(Twisted::new(VirtioPci::new(disk)).answers(CAPACITY, 2000, 1)));
    rig.negotiate(u128::MAX);
    assert_eq!(rig.config64(blk::config::CAPACITY), 2000);
    rig.set_up(0);
    rig.add_status(status::DRIVER_OK);
    let header = |sector: u64| [&blk::request::IN.to_le_bytes()[..], &[0; 4], &sector.to_le_bytes()].concat();
    assert_eq!(rig.config64(blk::config::CAPACITY), 1000);
    rig.request(0, &[&header(1500)], &[512, 1]);
    assert_eq!(found(&rig), [""; 0]);
    rig.request(0, &[&header(2000)], &[512, 1]);
    assert_eq!(found(&rig), ["BLK-D-13"]);
}
