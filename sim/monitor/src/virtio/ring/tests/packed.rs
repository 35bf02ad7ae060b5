//! Packed rings: each rule's planted violation.

use bringup_core::Barrier;
use bringup_core::dma::Direction;
use bringup_spec::virtio::feature;

use super::stand::{Stand, Verdict};
use super::{BOTH, SHOWN, planted};
use crate::virtio::ring::Setup;
use crate::virtio::rules::ring as rules;

const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT: u16 = 4;
const AVAIL: u16 = 1 << 7;
const USED: u16 = 1 << 15;
const SIZE: u16 = 4;

/// A slot and the wrap counter there.
#[derive(Clone, Copy)]
struct At {
    slot: u16,
    wrap: bool,
}

impl At {
    fn after(self, slots: u16) -> Self {
        let slot = self.slot + slots;
        if slot < SIZE { Self { slot, wrap: self.wrap } } else { Self { slot: slot - SIZE, wrap: !self.wrap } }
    }

    fn available(self) -> u16 {
        if self.wrap { AVAIL } else { USED }
    }
}

/// A driver of a packed queue that does what it is told, and a device.
pub(super) struct Queue {
    pub(super) stand: Stand,
    pub(super) setup: Setup,
    readable: u64,
    writable: u64,
    tables: u64,
    next: At,
    used: At,
}

impl Queue {
    pub(super) fn life(features: &[u32], shown: bool, act: fn(&mut Self)) -> Verdict {
        let mut queue = Self::new(features, shown);
        act(&mut queue);
        queue.stand.verdict()
    }

    /// A life in which the driver may run while the device works.
    pub(super) fn race(features: &[u32], act: fn(&mut Self)) -> Verdict {
        let mut queue = Self::new(features, false);
        queue.stand.race();
        act(&mut queue);
        queue.stand.verdict()
    }

    pub(super) fn new(features: &[u32], shown: bool) -> Self {
        let mut stand = Stand::new(shown);
        let mut map = |len: u16, direction| stand.map(len.into(), direction);
        let descriptors = map(16 * SIZE, Direction::Bidirectional);
        let (driver, device) = (map(4, Direction::ToDevice), map(4, Direction::FromDevice));
        let (readable, writable) = (map(4096, Direction::ToDevice), map(4096, Direction::FromDevice));
        let tables = map(4096, Direction::Bidirectional);
        let always = 1 << feature::ACCESS_PLATFORM | 1 << feature::RING_PACKED;
        let features = features.iter().fold(always, |all, bit| all | 1 << bit);
        let setup = Setup { index: 0, size: SIZE, descriptors, driver, device, features };
        let start = At { slot: 0, wrap: true };
        Self { stand, setup, readable, writable, tables, next: start, used: start }
    }

    fn enable(&mut self) {
        self.stand.enable(self.setup);
    }

    pub(super) fn start(&mut self) {
        self.enable();
        self.stand.phase(|phase| phase.driver_ok = true);
    }

    // The driver.

    fn at(&self, slot: u16) -> u64 {
        self.setup.descriptors + 16 * u64::from(slot)
    }

    fn buffer(&self, flags: u16) -> u64 {
        if flags & WRITE != 0 { self.writable } else { self.readable }
    }

    /// All of a slot but its flags.
    pub(super) fn body_of(&mut self, slot: u16, address: u64, len: u32, id: u16) {
        let mut bytes = [0; 14];
        bytes[..8].copy_from_slice(&address.to_le_bytes());
        bytes[8..12].copy_from_slice(&len.to_le_bytes());
        bytes[12..].copy_from_slice(&id.to_le_bytes());
        let at = self.at(slot);
        self.stand.put(at, &bytes);
    }

    pub(super) fn body(&mut self, slot: u16, flags: u16, id: u16) {
        let address = self.buffer(flags);
        self.body_of(slot, address, 16, id);
    }

    fn flags(&mut self, slot: u16, flags: u16) {
        let at = self.at(slot) + 14;
        self.stand.put16(at, flags);
    }

    /// Writes a list; its head's flags last. `flags` are those of its slots, but for AVAIL and USED.
    pub(super) fn list(&mut self, id: u16, flags: &[u16]) {
        let head = self.next;
        let mut at = head;
        for (index, flags) in flags.iter().enumerate() {
            self.body(at.slot, *flags, id);
            if index > 0 {
                self.flags(at.slot, flags | at.available());
            }
            at = at.after(1);
        }
        self.publish(head, flags[0]);
        self.next = at;
    }

    fn publish(&mut self, head: At, flags: u16) {
        self.stand.barrier(Barrier::Write);
        self.flags(head.slot, flags | head.available());
        self.stand.barrier(Barrier::Full);
        self.stand.load(self.setup.device, 4);
    }

    pub(super) fn send(&mut self, id: u16, flags: &[u16]) {
        self.list(id, flags);
        self.kick();
    }

    /// An entry of a table.
    pub(super) fn entry(&mut self, index: u64, flags: u16) {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.buffer(flags).to_le_bytes());
        bytes[8] = 16;
        bytes[14..].copy_from_slice(&flags.to_le_bytes());
        let at = self.tables + 16 * index;
        self.stand.put(at, &bytes);
    }

    pub(super) fn table(&mut self, id: u16, len: u32) {
        let head = self.next;
        self.body_of(head.slot, self.tables, len, id);
        self.publish(head, INDIRECT);
        self.next = head.after(1);
        self.kick();
    }

    pub(super) fn kick(&mut self) {
        self.kick_with(self.next.slot, self.next.wrap);
    }

    fn kick_with(&mut self, slot: u16, wrap: bool) {
        if self.setup.has(feature::NOTIFICATION_DATA) {
            self.stand.kick(u32::from(slot) << 16 | u32::from(wrap) << 31, 4);
        } else {
            self.stand.kick(0, 2);
        }
    }

    fn ask(&mut self, off_wrap: u16, flags: u16) {
        self.stand.put16(self.setup.driver, off_wrap);
        self.stand.put16(self.setup.driver + 2, flags);
    }

    // The device.

    pub(super) fn want(&mut self, off_wrap: u16, flags: u16) {
        let at = self.setup.device;
        self.stand.device(|stand| {
            stand.place(at, &off_wrap.to_le_bytes());
            stand.place(at + 2, &flags.to_le_bytes());
        });
    }

    /// A used descriptor that frees so many slots.
    pub(super) fn give(&mut self, id: u16, slots: u16) {
        self.stand.begin();
        self.give_now(id, slots);
        self.stand.end();
    }

    /// The same while the device works.
    pub(super) fn give_now(&mut self, id: u16, slots: u16) {
        let at = self.at(self.used.slot);
        let flags = if self.used.wrap { AVAIL | USED } else { 0 };
        self.stand.place(at + 12, &id.to_le_bytes());
        self.stand.place(at + 14, &flags.to_le_bytes());
        self.used = self.used.after(slots);
    }

    /// The device takes so many slots from one on.
    pub(super) fn take(&mut self, slot: u16, slots: u16) {
        for ahead in 0..slots {
            self.stand.fetch::<16>(self.at((slot + ahead) % SIZE));
        }
    }
}

/// One slot, sent.
fn one(q: &mut Queue) {
    q.start();
    q.send(7, &[0]);
    q.stand.idle();
}

/// A list of two slots, sent.
fn two(q: &mut Queue) {
    q.start();
    q.send(7, &[NEXT, WRITE]);
}

fn one_table(q: &mut Queue) {
    q.start();
    q.entry(0, 0);
    q.entry(1, WRITE);
    q.table(7, 32);
}

/// The ring is filled, comes back, and is filled again: all wraps are passed.
fn round(q: &mut Queue) {
    q.start();
    for id in 0..5 {
        q.send(id, &[NEXT, NEXT, WRITE]);
        q.give(id, 3);
    }
    q.stand.idle();
}

fn limited(q: &mut Queue, limit: u32) {
    q.start();
    q.stand.share(|shared| shared.ring.as_mut().unwrap().limit(limit));
}

planted! { Queue;
    a_misaligned_ring_is_found: VQ_PACKED_D_01, BOTH, [],
        |q| { q.setup.descriptors = q.tables + 4; q.enable(); }, |q| { q.setup.descriptors = q.tables + 16; q.enable(); };
    a_misaligned_event_structure_is_found: VQ_PACKED_D_01, BOTH, [],
        |q| { q.setup.driver = q.tables + 2; q.enable(); }, |q| { q.setup.driver = q.tables + 4; q.enable(); };
    a_size_of_none_is_found: IMP_PACK_01, BOTH, [], |q| { q.setup.size = 0; q.enable(); }, |q| q.enable();
    a_dirty_ring_is_found: IMP_PACK_02, BOTH, [],
        |q| { q.stand.place(q.at(3), &[0xa5; 16]); q.enable(); },
        |q| { q.body(0, 0, 0); q.flags(0, AVAIL); q.enable(); };
    a_slot_in_flight_that_is_made_available_again_is_found: VQ_PACKED_D_02, BOTH, [],
        |q| { q.start(); for id in 0..4 { q.list(id, &[0]); } q.kick(); q.list(4, &[0]); q.kick(); },
        |q| { q.start(); for id in 0..4 { q.list(id, &[0]); } q.kick(); q.give(2, 1); q.send(2, &[0]); };
    a_changed_slot_is_found: VQ_PACKED_D_03, BOTH, [],
        |q| { two(q); q.body(1, 0, 7); q.stand.idle(); }, |q| { two(q); q.give(7, 2); q.body(1, 0, 7); q.stand.idle(); };
    a_changed_tail_is_found_when_it_comes_back: VQ_PACKED_D_03, BOTH, [],
        |q| { two(q); q.body(1, 0, 7); q.give(7, 2); }, |q| { two(q); q.stand.idle(); q.give(7, 2); };
    a_kick_that_names_the_last_slot_is_found: VQ_PACKED_D_04, BOTH, [NOTIFICATION_DATA],
        |q| { q.start(); q.list(0, &[0]); q.kick_with(0, true); }, round;
    a_kick_with_the_wrong_wrap_counter_is_found: VQ_PACKED_D_04, BOTH, [NOTIFICATION_DATA],
        |q| { q.start(); q.list(0, &[NEXT, NEXT, NEXT, 0]); q.kick_with(0, true); }, round;
    a_kick_that_names_no_slot_is_found: IMP_NOTIF_02, BOTH, [NOTIFICATION_DATA],
        |q| { q.start(); q.list(0, &[NEXT, NEXT, NEXT, 0]); q.kick_with(4, true); }, round;
    a_repeated_kick_with_other_data_is_found: IMP_NOTIF_03, BOTH, [NOTIFICATION_DATA],
        |q| { one(q); q.kick_with(2, true); }, |q| { one(q); q.kick(); };
    a_list_longer_than_the_device_takes_is_found: VQ_PACKED_D_06, BOTH, [],
        |q| { limited(q, 2); q.send(0, &[NEXT, NEXT, 0]); }, |q| { limited(q, 2); q.send(0, &[NEXT, 0]); };
    a_table_longer_than_the_device_takes_is_found: VQ_PACKED_IND_D_03, BOTH, [INDIRECT_DESC],
        |q| { limited(q, 1); q.entry(0, 0); q.entry(1, 0); q.table(0, 32); },
        |q| { limited(q, 2); q.entry(0, 0); q.entry(1, 0); q.table(0, 32); };
    a_list_without_an_end_is_found: VQ_PACKED_D_07, BOTH, [],
        |q| { q.start(); q.send(0, &[NEXT, NEXT, NEXT, NEXT]); }, |q| { q.start(); q.send(0, &[NEXT, NEXT, NEXT, 0]); };
    a_readable_slot_behind_a_writable_one_is_found: VQ_PACKED_D_08, BOTH, [],
        |q| { q.start(); q.send(0, &[NEXT | WRITE, 0]); }, two;
    a_readable_entry_behind_a_writable_one_is_found: VQ_PACKED_D_08, BOTH, [INDIRECT_DESC],
        |q| { q.start(); q.entry(0, WRITE); q.entry(1, 0); q.table(0, 32); }, one_table;
    a_list_without_room_is_found: VQ_PACKED_D_10, BOTH, [],
        |q| { q.start(); q.send(0, &[NEXT, NEXT, 0]); q.send(1, &[NEXT, 0]); },
        |q| { q.start(); q.send(0, &[NEXT, NEXT, 0]); q.give(0, 3); q.send(1, &[NEXT, 0]); };
    a_head_that_comes_first_is_found: VQ_PACKED_D_11, BOTH, [],
        |q| { q.start(); q.body(0, NEXT, 0); q.body(1, 0, 0); q.publish(q.next, NEXT); q.kick(); q.flags(1, AVAIL); q.kick(); },
        two;
    a_tail_with_the_heads_wrap_counter_is_found: IMP_PACK_06, BOTH, [],
        |q| {
            q.start();
            q.send(0, &[NEXT, NEXT, 0]);
            q.give(0, 3);
            q.body(3, NEXT, 1);
            q.body(0, 0, 1);
            q.flags(0, AVAIL);
            q.publish(q.next, NEXT);
            q.kick();
        },
        round;
    a_table_without_the_feature_is_found: VQ_PACKED_IND_D_01, BOTH, [],
        |q| { q.start(); q.table(0, 16); }, |q| { q.setup.features |= 1 << feature::INDIRECT_DESC; one_table(q); };
    a_table_with_next_is_found: VQ_PACKED_IND_D_02, BOTH, [INDIRECT_DESC],
        |q| { q.start(); q.entry(0, NEXT); q.entry(1, 0); q.table(0, 32); }, one_table;
    a_table_in_a_list_is_found: VQ_PACKED_IND_D_04, BOTH, [INDIRECT_DESC],
        |q| { q.start(); q.send(0, &[NEXT, INDIRECT]); }, one_table;
    a_list_behind_a_table_is_found: VQ_PACKED_IND_D_04, BOTH, [INDIRECT_DESC],
        |q| { q.start(); q.send(0, &[INDIRECT | NEXT, 0]); }, one_table;
    a_table_of_odd_length_is_found: IMP_PACK_10, BOTH, [INDIRECT_DESC],
        |q| { q.start(); q.table(0, 2); }, one_table;
    a_missing_write_barrier_is_found: VQ_PACKED_D_13, SHOWN, [],
        |q| { q.start(); q.stand.barrier(Barrier::Full); q.body(0, 0, 0); q.flags(0, AVAIL); q.kick(); }, one;
    a_tail_behind_the_write_barrier_is_found: VQ_PACKED_D_13, SHOWN, [],
        |q| { q.start(); q.body(0, 0, 0); q.body(1, 0, 0); q.stand.barrier(Barrier::Write); q.flags(1, AVAIL); q.flags(0, AVAIL | NEXT); q.kick(); },
        two;
    a_missing_full_barrier_is_found: VQ_PACKED_D_14, SHOWN, [],
        |q| { q.start(); q.body(0, 0, 0); q.stand.barrier(Barrier::Full); q.flags(0, AVAIL); q.stand.barrier(Barrier::Write); q.stand.load(q.setup.device, 4); q.kick(); },
        one;
    the_wrong_wrap_counter_is_found: IMP_PACK_03, BOTH, [],
        |q| { q.start(); q.send(0, &[NEXT, NEXT, NEXT, 0]); q.give(0, 4); q.body(0, 0, 0); q.flags(0, AVAIL); q.kick(); }, round;
    flags_that_are_alike_are_found: IMP_PACK_04, BOTH, [],
        |q| { q.start(); q.body(0, 0, 0); q.flags(0, AVAIL | USED); q.kick(); }, round;
    an_id_in_flight_is_not_to_be_used_again: IMP_PACK_07, BOTH, [],
        |q| { one(q); q.send(7, &[0]); }, |q| { one(q); q.give(7, 1); q.send(7, &[0]); };
    reserved_flags_of_an_event_structure_are_found: IMP_PACK_14, BOTH, [],
        |q| { q.start(); q.ask(0, 2); q.stand.idle(); }, |q| { q.start(); q.ask(9, 1); q.stand.idle(); };
    an_event_at_no_slot_is_found: IMP_PACK_15, BOTH, [EVENT_IDX],
        |q| { q.start(); q.ask(4, 2); q.stand.idle(); }, |q| { q.start(); q.ask(3 | 1 << 15, 2); q.stand.idle(); };
    a_missing_kick_is_found_when_all_is_idle: IMP_PACK_16, BOTH, [],
        |q| { q.start(); q.list(0, &[0]); q.stand.idle(); }, one;
    a_missing_kick_for_the_slot_that_is_named_is_found: IMP_PACK_16, BOTH, [EVENT_IDX],
        |q| { q.start(); q.want(1 | 1 << 15, 2); q.list(0, &[NEXT, 0]); q.stand.idle(); },
        |q| { q.start(); q.want(1 | 1 << 15, 2); q.send(0, &[NEXT, 0]); q.stand.idle(); };
    a_missing_kick_for_a_slot_of_the_lap_before_is_found: IMP_PACK_16, BOTH, [EVENT_IDX],
        |q| { q.start(); q.send(0, &[NEXT, NEXT, 0]); q.give(0, 3); q.want(3 | 1 << 15, 2); q.list(0, &[NEXT, 0]); q.stand.idle(); },
        |q| { q.start(); q.send(0, &[NEXT, NEXT, 0]); q.give(0, 3); q.want(3, 2); q.list(0, &[NEXT, 0]); q.stand.idle(); q.give(0, 2); q.want(1, 2); q.send(0, &[0]); };
    a_kick_although_the_device_wants_none_is_advice: IMP_PACK_17, BOTH, [],
        |q| { q.start(); q.want(0, 1); q.send(0, &[0]); }, |q| { q.start(); q.want(0, 1); q.list(0, &[0]); q.stand.idle(); };
    a_changed_table_is_found: CLEANUP_D_01, BOTH, [INDIRECT_DESC],
        |q| { one_table(q); q.entry(1, 0); q.give(7, 1); }, |q| { one_table(q); q.give(7, 1); q.entry(1, 0); q.stand.idle(); };
    a_buffer_that_is_taken_away_is_found: CLEANUP_D_02, BOTH, [],
        |q| { one(q); q.stand.unmap(q.readable); }, |q| { one(q); q.give(7, 1); q.stand.unmap(q.readable); };
    a_chain_for_a_suspended_device_is_found: SUSPEND_D_03, BOTH, [],
        |q| { one(q); q.stand.phase(|p| p.suspended = true); q.stand.idle(); q.list(1, &[0]); q.stand.idle(); },
        |q| { one(q); q.stand.phase(|p| p.suspended = true); q.stand.idle(); q.stand.idle(); };
    a_slot_that_leads_nowhere_is_found: RSVD_D_04, BOTH, [],
        |q| { q.start(); q.body_of(0, u64::MAX, 16, 0); q.publish(q.next, 0); q.stand.kick(0, 2); }, one;
    a_slot_that_is_no_memory_is_found: RSVD_D_05, BOTH, [],
        |q| { q.setup.features = 1 << feature::RING_PACKED; q.start(); q.body_of(0, 64, 16, 0); q.publish(q.next, 0); q.stand.kick(0, 2); },
        |q| { q.setup.features = 1 << feature::RING_PACKED; one(q); };
    a_store_to_the_devices_event_structure_is_found: IMP_VQ_02, SHOWN, [],
        |q| { q.start(); q.stand.put16(q.setup.device, 1); }, |q| { q.start(); q.ask(0, 1); };
}

#[test]
fn a_batch_comes_back_with_one_descriptor() {
    let mut queue = Queue::new(&[feature::IN_ORDER], true);
    queue.start();
    queue.list(0, &[WRITE]);
    queue.list(1, &[NEXT, WRITE]);
    queue.send(2, &[WRITE]);

    queue.give(1, 3);
    queue.give(2, 1);

    let returned = queue.stand.share(|shared| std::mem::take(&mut shared.returned));
    // The first stands for all of its writable bytes; the device said nothing of the others.
    assert_eq!(returned.iter().map(|chain| (chain.id, chain.written)).collect::<Vec<_>>(), [(0, 16), (1, 0), (2, 0)]);
    assert_eq!(queue.stand.verdict().found, [""; 0]);
}

#[test]
fn lists_that_come_back_out_of_order_free_slots_from_the_used_place_on() {
    let mut queue = Queue::new(&[], true);
    queue.start();
    queue.list(0, &[0]);
    queue.send(1, &[NEXT, NEXT, 0]);

    queue.give(1, 3);
    queue.send(2, &[NEXT, NEXT, 0]);
    queue.give(0, 1);
    queue.give(2, 3);
    queue.stand.idle();

    let returned = queue.stand.share(|shared| std::mem::take(&mut shared.returned));
    assert_eq!(returned.iter().map(|chain| chain.id).collect::<Vec<_>>(), [1, 0, 2]);
    assert_eq!(queue.stand.verdict().found, [""; 0]);
}

#[test]
fn heads_that_are_stored_from_the_last_to_the_first_show_all_lists_at_once() {
    let mut queue = Queue::new(&[], true);
    queue.start();
    for slot in 0..3 {
        queue.body(slot, 0, slot);
    }
    queue.stand.barrier(Barrier::Write);
    for slot in [2, 1, 0] {
        queue.flags(slot, AVAIL);
    }
    queue.stand.kick(0, 2);
    let exposed = queue.stand.share(|shared| std::mem::take(&mut shared.exposed));
    assert_eq!(exposed.iter().map(|chain| chain.id).collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!(queue.stand.verdict().found, [""; 0]);
}

#[test]
fn an_id_of_nonsense_is_not_the_drivers_fault() {
    let mut queue = Queue::new(&[], true);
    one(&mut queue);
    queue.give(9, 1);
    queue.send(7, &[0]);
    assert_eq!(queue.stand.verdict().found, [""; 0]);
    assert!(queue.stand.share(|shared| shared.ring.as_mut().unwrap().is_lost()));
}

#[test]
fn a_heads_flags_may_be_stored_together_with_its_length_and_id() {
    let mut queue = Queue::new(&[], true);
    queue.start();
    queue.stand.put(queue.at(0), &queue.readable.to_le_bytes());
    queue.stand.barrier(Barrier::Write);
    let mut rest = [0; 8];
    rest[0] = 16;
    rest[6..].copy_from_slice(&AVAIL.to_le_bytes());
    queue.stand.put(queue.at(0) + 8, &rest);
    queue.stand.kick(0, 2);
    assert_eq!(queue.stand.share(|shared| shared.exposed.len()), 1);
    assert_eq!(queue.stand.verdict().found, [""; 0]);
}

#[test]
fn a_kick_stays_owed_while_the_slot_that_is_named_stays_among_those_made_available() {
    let mut queue = Queue::new(&[feature::EVENT_IDX], false);
    queue.start();
    queue.want(1 | 1 << 15, 2);
    queue.list(0, &[NEXT, 0]);
    queue.stand.device(|_| {});
    queue.list(1, &[0]);
    queue.want(1 << 15, 2);
    queue.stand.idle();
    assert_eq!(queue.stand.verdict().found, [rules::IMP_PACK_16.id]);
}
