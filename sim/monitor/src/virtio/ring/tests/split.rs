//! Split rings: each rule's planted violation.

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
const SIZE: u16 = 4;

/// A driver of a split queue that does what it is told, and a device.
pub(super) struct Queue {
    pub(super) stand: Stand,
    pub(super) setup: Setup,
    /// Buffers that the device may read and write.
    readable: u64,
    writable: u64,
    /// Memory for tables.
    tables: u64,
    pub(super) idx: u16,
    used: u16,
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
        let (descriptors, driver) = (map(16 * SIZE, Direction::ToDevice), map(6 + 2 * SIZE, Direction::ToDevice));
        let device = map(6 + 8 * SIZE, Direction::FromDevice);
        let (readable, writable) = (map(4096, Direction::ToDevice), map(4096, Direction::FromDevice));
        let tables = map(4096, Direction::ToDevice);
        let features = features.iter().fold(1 << feature::ACCESS_PLATFORM, |all, bit| all | 1 << bit);
        let setup = Setup { index: 0, size: SIZE, descriptors, driver, device, features };
        Self { stand, setup, readable, writable, tables, idx: 0, used: 0 }
    }

    fn enable(&mut self) {
        self.stand.enable(self.setup);
    }

    pub(super) fn start(&mut self) {
        self.enable();
        self.stand.phase(|phase| phase.driver_ok = true);
    }

    // The driver.

    fn bytes(address: u64, len: u32, flags: u16, next: u16) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&address.to_le_bytes());
        bytes[8..12].copy_from_slice(&len.to_le_bytes());
        bytes[12..14].copy_from_slice(&flags.to_le_bytes());
        bytes[14..].copy_from_slice(&next.to_le_bytes());
        bytes
    }

    pub(super) fn raw(&mut self, index: u16, address: u64, len: u32, flags: u16, next: u16) {
        let at = self.setup.descriptors + 16 * u64::from(index);
        self.stand.put(at, &Self::bytes(address, len, flags, next));
    }

    /// A descriptor of a buffer that suits its flags.
    pub(super) fn desc(&mut self, index: u16, flags: u16, next: u16) {
        let address = if flags & WRITE != 0 { self.writable } else { self.readable };
        self.raw(index, address, 16, flags, next);
    }

    /// An entry of a table.
    pub(super) fn entry(&mut self, index: u64, flags: u16, next: u16) {
        let address = if flags & WRITE != 0 { self.writable } else { self.readable };
        let at = self.tables + 16 * index;
        self.stand.put(at, &Self::bytes(address, 16, flags, next));
    }

    pub(super) fn table(&mut self, index: u16, len: u32, more: u16) {
        let at = self.tables;
        self.raw(index, at, len, INDIRECT | more, 0);
    }

    fn slot(&self, place: u16) -> u64 {
        self.setup.driver + 4 + 2 * u64::from(place % SIZE)
    }

    pub(super) fn fill(&mut self, heads: &[u16]) {
        for head in heads {
            let slot = self.slot(self.idx);
            self.stand.put16(slot, *head);
            self.idx = self.idx.wrapping_add(1);
        }
    }

    pub(super) fn store_idx(&mut self) {
        self.stand.put16(self.setup.driver + 2, self.idx);
    }

    fn event_at(&self) -> u64 {
        self.setup.device + 4 + 8 * u64::from(SIZE)
    }

    fn look(&mut self) {
        let at = if self.setup.has(feature::EVENT_IDX) { self.event_at() } else { self.setup.device };
        self.stand.load(at, 2);
    }

    pub(super) fn expose(&mut self, heads: &[u16]) {
        self.fill(heads);
        self.stand.barrier(Barrier::Write);
        self.store_idx();
        self.stand.barrier(Barrier::Full);
        self.look();
    }

    pub(super) fn kick(&mut self) {
        self.kick_with(self.idx);
    }

    fn kick_with(&mut self, data: u16) {
        if self.setup.has(feature::NOTIFICATION_DATA) {
            self.stand.kick(u32::from(data) << 16, 4);
        } else {
            self.stand.kick(0, 2);
        }
    }

    pub(super) fn send(&mut self, heads: &[u16]) {
        self.expose(heads);
        self.kick();
    }

    fn avail_flags(&mut self, flags: u16) {
        self.stand.put16(self.setup.driver, flags);
    }

    // The device.

    pub(super) fn used_flags(&mut self, flags: u16) {
        let at = self.setup.device;
        self.stand.device(|stand| stand.place(at, &flags.to_le_bytes()));
    }

    pub(super) fn avail_event(&mut self, event: u16) {
        let at = self.event_at();
        self.stand.device(|stand| stand.place(at, &event.to_le_bytes()));
    }

    /// Gives chains back, one entry for each.
    pub(super) fn give(&mut self, heads: &[u16]) {
        for head in heads {
            self.give_batch(*head, 1);
        }
    }

    /// One entry for a batch.
    fn give_batch(&mut self, last: u16, count: u16) {
        self.stand.begin();
        self.give_now(last, count);
        self.stand.end();
    }

    /// One entry for a batch, while the device works.
    pub(super) fn give_now(&mut self, last: u16, count: u16) {
        let (base, place) = (self.setup.device, u64::from(self.used % SIZE));
        self.used = self.used.wrapping_add(count);
        self.stand.place(base + 4 + 8 * place, &u32::from(last).to_le_bytes());
        self.stand.place(base + 8 + 8 * place, &0_u32.to_le_bytes());
        self.stand.place(base + 2, &self.used.to_le_bytes());
    }
}

/// One readable descriptor, sent.
fn one(q: &mut Queue) {
    q.start();
    q.desc(0, 0, 0);
    q.send(&[0]);
    q.stand.idle();
}

/// A table of two entries, sent.
fn one_table(q: &mut Queue) {
    q.start();
    q.entry(0, NEXT, 1);
    q.entry(1, WRITE, 0);
    q.table(0, 32, 0);
    q.send(&[0]);
}

planted! { Queue;
    a_misaligned_table_is_found: VQ_SPLIT_D_01, BOTH, [],
        |q| { q.setup.descriptors = q.tables + 8; q.enable(); },
        |q| { q.setup.descriptors = q.tables + 16; q.enable(); };
    a_size_of_three_is_found: IMP_SPLIT_01, BOTH, [], |q| { q.setup.size = 3; q.enable(); }, |q| q.enable();
    parts_that_overlap_are_found: IMP_SPLIT_02, BOTH, [],
        |q| { q.setup.descriptors = q.tables; q.setup.driver = q.tables + 62; q.enable(); },
        |q| { q.setup.descriptors = q.tables; q.setup.driver = q.tables + 64; q.enable(); };
    used_flags_that_are_set_at_first_are_found: VQ_SPLIT_EVT_D_06, BOTH, [],
        |q| { q.stand.place(q.setup.device, &[1, 0]); q.enable(); }, |q| q.enable();
    a_dirty_available_index_is_found: IMP_SPLIT_07, BOTH, [],
        |q| { q.stand.place(q.setup.driver + 2, &[5, 0]); q.enable(); },
        |q| { q.desc(0, 0, 0); q.fill(&[0]); q.store_idx(); q.enable(); };
    a_readable_element_behind_a_writable_one_is_found: VQ_SPLIT_D_04, BOTH, [],
        |q| { q.start(); q.desc(0, WRITE | NEXT, 1); q.desc(1, 0, 0); q.send(&[0]); },
        |q| { q.start(); q.desc(0, NEXT, 1); q.desc(1, WRITE, 0); q.send(&[0]); };
    a_readable_entry_behind_a_writable_descriptor_is_found: VQ_SPLIT_D_04, BOTH, [INDIRECT_DESC],
        |q| { q.start(); q.desc(0, WRITE | NEXT, 1); q.entry(0, 0, 0); q.table(1, 16, 0); q.send(&[0]); },
        |q| { q.start(); q.desc(0, NEXT, 1); q.entry(0, WRITE, 0); q.table(1, 16, 0); q.send(&[0]); };
    a_loop_is_found: VQ_SPLIT_D_06, BOTH, [],
        |q| { q.start(); q.desc(0, NEXT, 1); q.desc(1, NEXT, 0); q.send(&[0]); },
        |q| { q.start(); q.desc(0, NEXT, 1); q.desc(1, 0, 0); q.send(&[0]); };
    a_loop_in_a_table_is_found: VQ_SPLIT_D_06, BOTH, [INDIRECT_DESC],
        |q| { q.start(); q.entry(0, NEXT, 1); q.entry(1, NEXT, 0); q.table(0, 32, 0); q.send(&[0]); }, one_table;
    a_link_that_leaves_the_order_is_found: VQ_SPLIT_D_07, BOTH, [IN_ORDER],
        |q| { q.start(); q.desc(0, NEXT, 2); q.desc(2, 0, 0); q.send(&[0]); },
        |q| {
            q.start();
            for first in [0, 3, 2, 1] {
                let (second, third) = ((first + 1) % 4, (first + 2) % 4);
                q.desc(first, NEXT, second);
                q.desc(second, NEXT, third);
                q.desc(third, 0, 0);
                q.send(&[first]);
                q.give(&[first]);
            }
        };
    a_table_without_the_feature_is_found: VQ_SPLIT_IND_D_01, BOTH, [],
        |q| { q.start(); q.table(0, 16, 0); q.send(&[0]); q.give(&[0]); },
        |q| { q.setup.features |= 1 << feature::INDIRECT_DESC; q.start(); q.entry(0, 0, 0); q.table(0, 16, WRITE); q.send(&[0]); };
    a_table_in_a_table_is_found: VQ_SPLIT_IND_D_02, BOTH, [INDIRECT_DESC],
        |q| { q.start(); q.entry(0, INDIRECT, 0); q.table(0, 16, 0); q.send(&[0]); }, one_table;
    a_chain_longer_than_the_queue_is_found: VQ_SPLIT_IND_D_03, BOTH, [INDIRECT_DESC],
        |q| { q.start(); for i in 0..5 { q.entry(i, NEXT * u16::from(i < 4), i as u16 + 1); } q.table(0, 80, 0); q.send(&[0]); },
        |q| { q.start(); for i in 0..4 { q.entry(i, NEXT * u16::from(i < 3), i as u16 + 1); } q.table(0, 80, 0); q.send(&[0]); };
    a_table_with_next_is_found: VQ_SPLIT_IND_D_04, BOTH, [INDIRECT_DESC],
        |q| { q.start(); q.entry(0, 0, 0); q.table(0, 16, NEXT); q.send(&[0]); }, one_table;
    a_table_out_of_order_is_found: VQ_SPLIT_IND_D_05, BOTH, [INDIRECT_DESC, IN_ORDER],
        |q| { q.start(); q.entry(0, NEXT, 2); q.entry(2, 0, 0); q.table(0, 48, 0); q.send(&[0]); }, one_table;
    a_table_of_odd_length_is_found: IMP_SPLIT_06, BOTH, [INDIRECT_DESC],
        |q| { q.start(); q.table(0, 20, 0); q.send(&[0]); }, one_table;
    an_entry_that_leaves_its_table_is_found: IMP_SPLIT_06, BOTH, [INDIRECT_DESC],
        |q| { q.start(); q.entry(0, NEXT, 1); q.table(0, 16, 0); q.send(&[0]); }, one_table;
    an_index_that_goes_back_is_found: VQ_SPLIT_D_08, BOTH, [],
        |q| { one(q); q.idx = 0; q.store_idx(); q.kick(); },
        |q| { one(q); q.desc(1, 0, 0); q.send(&[1]); };
    reserved_flags_of_the_available_ring_are_found: VQ_SPLIT_EVT_D_01, BOTH, [],
        |q| { q.start(); q.avail_flags(2); q.stand.idle(); }, |q| { q.start(); q.avail_flags(1); q.stand.idle(); };
    flags_of_the_available_ring_with_event_idx_are_found: VQ_SPLIT_EVT_D_03, BOTH, [EVENT_IDX],
        |q| { q.start(); q.avail_flags(1); q.stand.idle(); }, |q| { q.start(); q.avail_flags(0); q.stand.idle(); };
    a_kick_that_avail_event_held_back_without_the_feature_is_missed: VQ_SPLIT_EVT_D_07, SHOWN, [],
        |q| { q.start(); q.desc(0, 0, 0); q.expose(&[0]); q.stand.load(q.event_at(), 2); q.stand.idle(); }, one;
    a_kick_although_the_flag_is_set_is_advice: VQ_SPLIT_EVT_D_08, BOTH, [],
        |q| { q.start(); q.used_flags(1); q.desc(0, 0, 0); q.send(&[0]); },
        |q| { q.start(); q.used_flags(1); q.desc(0, 0, 0); q.expose(&[0]); q.stand.idle(); q.used_flags(0); q.kick(); };
    a_missing_kick_is_found_when_all_is_idle: VQ_SPLIT_EVT_D_09, BOTH, [],
        |q| { q.start(); q.desc(0, 0, 0); q.expose(&[0]); q.stand.idle(); }, one;
    a_missing_kick_for_what_was_exposed_before_the_device_ran_is_found: VQ_SPLIT_EVT_D_09, BOTH, [],
        |q| { q.enable(); q.desc(0, 0, 0); q.expose(&[0]); q.stand.idle(); q.stand.phase(|p| p.driver_ok = true); q.stand.idle(); },
        |q| { q.enable(); q.desc(0, 0, 0); q.expose(&[0]); q.stand.idle(); q.stand.phase(|p| p.driver_ok = true); q.kick(); q.stand.idle(); };
    a_kick_that_the_flag_held_back_with_event_idx_is_missed: VQ_SPLIT_EVT_D_10, BOTH, [EVENT_IDX],
        |q| { q.start(); q.desc(0, 0, 0); q.send(&[0]); q.used_flags(1); q.avail_event(1); q.desc(1, 0, 0); q.expose(&[1]); q.stand.idle(); },
        |q| { q.start(); q.desc(0, 0, 0); q.send(&[0]); q.used_flags(1); q.avail_event(1); q.desc(1, 0, 0); q.send(&[1]); q.stand.idle(); };
    a_missing_kick_for_a_batch_is_found: VQ_SPLIT_EVT_D_11, BOTH, [EVENT_IDX],
        |q| { q.start(); q.desc(0, 0, 0); q.desc(1, 0, 0); q.expose(&[0, 1]); q.stand.idle(); },
        |q| { q.start(); q.desc(0, 0, 0); q.desc(1, 0, 0); q.send(&[0, 1]); q.stand.idle(); };
    a_kick_although_the_event_did_not_pass_is_advice: VQ_SPLIT_EVT_D_12, BOTH, [EVENT_IDX],
        |q| { q.start(); q.avail_event(7); q.desc(0, 0, 0); q.send(&[0]); },
        |q| { q.start(); q.avail_event(7); q.desc(0, 0, 0); q.expose(&[0]); q.stand.idle(); };
    a_missing_write_barrier_is_found: VQ_SPLIT_D_14, SHOWN, [],
        |q| { q.start(); q.desc(0, 0, 0); q.stand.barrier(Barrier::Write); q.fill(&[0]); q.store_idx(); q.kick(); },
        |q| { q.start(); q.desc(0, 0, 0); q.fill(&[0]); q.stand.barrier(Barrier::Write); q.desc(1, 0, 0); q.store_idx(); q.kick(); };
    a_descriptor_behind_the_write_barrier_is_found: VQ_SPLIT_D_14, SHOWN, [],
        |q| { q.start(); q.fill(&[0]); q.stand.barrier(Barrier::Read); q.desc(0, 0, 0); q.store_idx(); q.kick(); }, one;
    a_missing_full_barrier_is_found: VQ_SPLIT_D_15, SHOWN, [],
        |q| { q.start(); q.desc(0, 0, 0); q.fill(&[0]); q.stand.barrier(Barrier::Full); q.store_idx(); q.stand.barrier(Barrier::Write); q.look(); q.kick(); },
        one;
    a_missing_full_barrier_with_event_idx_is_found: VQ_SPLIT_D_15, SHOWN, [EVENT_IDX],
        |q| { q.start(); q.desc(0, 0, 0); q.fill(&[0]); q.stand.barrier(Barrier::Full); q.store_idx(); q.look(); q.kick(); }, one;
    a_head_that_does_not_exist_is_found: IMP_SPLIT_03, BOTH, [], |q| { q.start(); q.send(&[4]); }, one;
    a_link_to_a_descriptor_that_does_not_exist_is_found: IMP_SPLIT_03, BOTH, [],
        |q| { q.start(); q.desc(3, NEXT, 4); q.send(&[3]); }, one;
    reserved_flags_of_a_descriptor_are_advice: IMP_SPLIT_04, BOTH, [],
        |q| { q.start(); q.desc(0, 0x80, 0); q.send(&[0]); }, one;
    a_head_that_leaves_the_order_is_found: IMP_SPLIT_05, BOTH, [IN_ORDER],
        |q| { q.start(); q.desc(1, 0, 0); q.send(&[1]); },
        |q| { q.start(); q.desc(0, NEXT, 1); q.desc(1, 0, 0); q.desc(2, 0, 0); q.send(&[0, 2]); q.give_batch(2, 2); q.desc(3, 0, 0); q.send(&[3]); };
    a_head_in_flight_is_not_to_be_used_again: IMP_SPLIT_09, BOTH, [],
        |q| { one(q); q.send(&[0]); }, |q| { one(q); q.give(&[0]); q.send(&[0]); };
    a_descriptor_in_flight_is_not_to_be_used_again: IMP_SPLIT_09, BOTH, [],
        |q| { one(q); q.desc(1, NEXT, 0); q.send(&[1]); },
        |q| { one(q); q.give(&[0]); q.desc(1, NEXT, 0); q.send(&[1]); };
    a_changed_descriptor_is_found: CLEANUP_D_01, BOTH, [],
        |q| { one(q); q.desc(0, 0, 1); q.give(&[0]); },
        |q| { one(q); q.give(&[0]); q.desc(0, 0, 1); q.stand.idle(); };
    a_changed_table_is_found_when_it_comes_back: CLEANUP_D_01, BOTH, [INDIRECT_DESC],
        |q| { one_table(q); q.entry(0, NEXT, 2); q.give(&[0]); },
        |q| { one_table(q); q.give(&[0]); q.entry(0, NEXT, 2); q.stand.idle(); };
    a_changed_table_is_found_when_all_is_idle: CLEANUP_D_01, BOTH, [INDIRECT_DESC],
        |q| { one_table(q); q.entry(0, NEXT, 2); q.stand.idle(); }, |q| { one_table(q); q.stand.idle(); };
    a_changed_available_entry_is_found: CLEANUP_D_01, BOTH, [],
        |q| { one(q); q.stand.put16(q.slot(0), 3); q.give(&[0]); },
        |q| { one(q); q.give(&[0]); q.stand.put16(q.slot(0), 3); q.stand.idle(); };
    a_buffer_that_is_taken_away_is_found: CLEANUP_D_02, BOTH, [],
        |q| { one(q); q.stand.unmap(q.readable); }, |q| { one(q); q.give(&[0]); q.stand.unmap(q.readable); };
    a_table_that_is_taken_away_is_found: CLEANUP_D_02, BOTH, [INDIRECT_DESC],
        |q| { one_table(q); q.stand.unmap(q.tables); }, |q| { one_table(q); q.give(&[0]); q.stand.unmap(q.tables); };
    a_ring_that_is_taken_away_is_found: CLEANUP_D_02, BOTH, [],
        |q| { q.start(); q.stand.unmap(q.setup.device); }, |q| { q.start(); q.stand.unmap(q.tables); };
    a_chain_for_a_suspended_device_is_found: SUSPEND_D_03, BOTH, [],
        |q| { one(q); q.stand.phase(|p| p.suspended = true); q.stand.idle(); q.desc(1, 0, 0); q.expose(&[1]); q.stand.idle(); },
        |q| { one(q); q.stand.phase(|p| p.suspended = true); q.stand.idle(); q.stand.idle(); };
    an_element_that_is_not_mapped_is_found: RSVD_D_04, BOTH, [],
        |q| { q.start(); q.raw(0, 0x1000, 16, 0, 0); q.send(&[0]); }, one;
    an_element_that_runs_over_its_mapping_is_found: RSVD_D_04, BOTH, [],
        |q| { q.start(); q.raw(0, q.readable + 4090, 16, 0, 0); q.send(&[0]); },
        |q| { q.start(); q.raw(0, q.readable + 4080, 16, 0, 0); q.send(&[0]); };
    an_element_mapped_for_the_other_direction_is_found: RSVD_D_04, BOTH, [],
        |q| { q.start(); q.raw(0, q.readable, 16, WRITE, 0); q.send(&[0]); },
        |q| { q.start(); q.raw(0, q.writable, 16, WRITE, 0); q.send(&[0]); };
    an_element_that_is_no_memory_is_found: RSVD_D_05, BOTH, [],
        |q| { q.setup.features = 0; q.start(); q.raw(0, u64::MAX - 8, 16, 0, 0); q.send(&[0]); },
        |q| { q.setup.features = 0; one(q); };
    a_kick_without_the_whole_index_is_found: IMP_NOTIF_01, BOTH, [NOTIFICATION_DATA],
        |q| { q.start(); q.desc(0, 0, 0); q.expose(&[0]); q.kick_with(0); },
        |q| { q.start(); for _ in 0..5 { q.desc(0, 0, 0); q.send(&[0]); q.give(&[0]); } };
    a_repeated_kick_with_other_data_is_found: IMP_NOTIF_03, BOTH, [NOTIFICATION_DATA],
        |q| { one(q); q.kick_with(2); }, |q| { one(q); q.kick(); };
    a_store_to_the_used_ring_is_found: IMP_VQ_02, SHOWN, [],
        |q| { q.start(); q.stand.put16(q.setup.device, 1); },
        |q| { q.start(); q.stand.put16(q.setup.driver, 1); };
}

#[test]
fn a_chain_of_2_to_the_32_bytes_is_right_and_one_more_is_not() {
    let mut queue = Queue::new(&[], true);
    queue.start();
    queue.raw(0, queue.readable, u32::MAX, NEXT, 1);
    queue.raw(1, queue.readable, 1, 0, 0);
    queue.raw(2, queue.readable, u32::MAX, NEXT, 3);
    queue.raw(3, queue.readable, 2, 0, 0);

    queue.send(&[0]);
    // No mapping is so long.
    assert_eq!(queue.stand.verdict().found, [rules::RSVD_D_04.id]);

    queue.send(&[2]);
    assert_eq!(queue.stand.verdict().found, [rules::RSVD_D_04.id, rules::VQ_SPLIT_D_06.id]);
}

#[test]
fn a_batch_comes_back_with_one_entry() {
    let mut queue = Queue::new(&[feature::IN_ORDER], true);
    queue.start();
    queue.desc(0, WRITE, 0);
    queue.desc(1, WRITE, 0);
    queue.desc(2, WRITE, 0);
    queue.send(&[0, 1, 2]);

    queue.give_batch(1, 2);
    queue.give_batch(2, 1);

    let returned = queue.stand.share(|shared| std::mem::take(&mut shared.returned));
    assert_eq!(returned.iter().map(|chain| (chain.id, chain.written)).collect::<Vec<_>>(), [(0, 16), (1, 0), (2, 0)]);
    assert_eq!(queue.stand.verdict().found, [""; 0]);
}

#[test]
fn indices_go_round_at_65536_without_a_finding() {
    let mut queue = Queue::new(&[feature::EVENT_IDX], true);
    queue.start();
    for head in 0..SIZE {
        queue.desc(head, 0, 0);
    }
    for _ in 0..65_540 / u32::from(SIZE) {
        queue.send(&[3, 1, 0, 2]);
        queue.give(&[1, 0, 2, 3]);
        queue.avail_event(queue.idx);
    }
    queue.stand.idle();
    assert_eq!(queue.idx, 4);
    assert_eq!(queue.stand.verdict().found, [""; 0]);
}

#[test]
fn an_event_across_the_wrap_is_missed_if_there_is_no_kick() {
    let mut queue = Queue::new(&[feature::EVENT_IDX], true);
    queue.start();
    for head in 0..SIZE {
        queue.desc(head, 0, 0);
    }
    for _ in 0..65_535 / 3 {
        queue.send(&[0, 1, 2]);
        queue.give(&[0, 1, 2]);
        queue.avail_event(queue.idx);
    }
    // 65535 and 0 are filled; 65535 is named.
    queue.expose(&[1, 2]);
    queue.stand.idle();
    assert_eq!(queue.stand.verdict().found, [rules::VQ_SPLIT_EVT_D_11.id]);
}

#[test]
fn a_kick_is_not_owed_if_the_device_changed_its_mind_before_the_driver_looked() {
    let mut queue = Queue::new(&[], false);
    queue.start();
    queue.desc(0, 0, 0);
    queue.fill(&[0]);
    queue.store_idx();
    queue.used_flags(1);
    queue.stand.idle();
    queue.used_flags(0);
    queue.stand.idle();
    assert_eq!(queue.stand.verdict().found, [""; 0]);
}

#[test]
fn a_used_index_of_nonsense_is_not_the_drivers_fault() {
    let mut queue = Queue::new(&[], true);
    one(&mut queue);
    let at = queue.setup.device + 2;
    queue.stand.device(|stand| stand.place(at, &900_u16.to_le_bytes()));
    queue.send(&[0]);
    assert_eq!(queue.stand.verdict().found, [""; 0]);
    assert!(queue.stand.share(|shared| shared.ring.as_mut().unwrap().is_lost()));
}

#[test]
fn a_mixed_chain_is_shown_with_all_its_elements() {
    let mut queue = Queue::new(&[feature::INDIRECT_DESC], true);
    queue.start();
    queue.desc(3, NEXT, 0);
    queue.entry(0, NEXT, 1);
    queue.entry(1, WRITE, 0);
    queue.table(0, 32, 0);
    queue.send(&[3]);
    let exposed = queue.stand.share(|shared| std::mem::take(&mut shared.exposed));
    let elements: Vec<(u64, u32, bool)> =
        exposed.iter().flat_map(|chain| &chain.elements).map(|e| (e.address, e.len, e.writable)).collect();
    assert_eq!(elements, [(queue.readable, 16, false), (queue.readable, 16, false), (queue.writable, 16, true)]);
    assert_eq!(exposed[0].id, 3);
    assert_eq!(queue.stand.verdict().found, [""; 0]);
}

#[test]
fn a_kick_stays_owed_while_the_event_stays_among_what_was_filled() {
    let mut queue = Queue::new(&[feature::EVENT_IDX], false);
    queue.start();
    queue.avail_event(1);
    for head in 0..SIZE {
        queue.desc(head, 0, 0);
    }
    queue.expose(&[0, 1]);
    queue.stand.device(|_| {});
    queue.expose(&[2]);
    queue.avail_event(0);
    queue.stand.idle();
    assert_eq!(queue.stand.verdict().found, [rules::VQ_SPLIT_EVT_D_11.id]);
}

#[test]
fn a_kick_is_not_owed_any_more_once_the_event_left_what_was_filled() {
    let mut queue = Queue::new(&[feature::EVENT_IDX], false);
    queue.start();
    queue.avail_event(1);
    queue.desc(0, 0, 0);
    queue.desc(1, 0, 0);
    queue.expose(&[0, 1]);
    queue.stand.device(|_| {});
    queue.avail_event(2);
    queue.avail_event(1);
    queue.stand.idle();
    assert_eq!(queue.stand.verdict().found, [""; 0]);
}
