//! The PCI transport and the rings of virtio devices, seen through the entropy device, which has nothing of its own.

mod board;
mod rig;

use bringup_core::pci::offset;
use bringup_core::{Reset, pci};
use bringup_devices::virtio::{Blk, Host, Quirks, Rng, SharedMemory, VirtioDevice, VirtioPci};
use bringup_spec::virtio::pci::{NO_VECTOR, cap, cfg_type, common, isr};
use bringup_spec::virtio::{feature, ring, status};
use rig::{BASIC, EVENT_IDX, IN_ORDER, INDIRECT, PACKED, RING_RESET, Rig, Ring, SUSPEND};

fn rng() -> VirtioPci {
    VirtioPci::new(Rng::new(1)).offer(feature::RING_PACKED, true).offer(feature::IN_ORDER, true)
}

/// A rig that is live, with one queue.
fn live(device: VirtioPci, features: u128, size: u16) -> (Rig, Ring) {
    let mut rig = Rig::new(device);
    assert!(rig.negotiate(features));
    let ring = rig.queue(0, size);
    rig.driver_ok();
    (rig, ring)
}

const LAYOUTS: [u128; 4] = [BASIC, BASIC | EVENT_IDX, BASIC | PACKED, BASIC | PACKED | EVENT_IDX];

// --- Identity and capabilities ---------------------------------------------------------------------------------------

#[test]
fn modern_and_transitional_ids_are_as_the_specification_has_them() {
    let ids = |device: VirtioPci| {
        let mut rig = Rig::new(device);
        let (bus, id) = (&mut rig.board.bus, rig.board.device);
        [0, 2, offset::REVISION, offset::SUBSYSTEM]
            .map(|at| bus.config_read(id, at, if at == offset::REVISION { 1 } else { 2 }))
    };
    let [vendor, device, revision, subsystem] = ids(rng());
    assert_eq!((vendor, device), (0x1af4, 0x1044));
    assert!(revision >= 1 && subsystem >= 0x40);
    assert_eq!(ids(rng().transitional(true)), [0x1af4, 0x1005, 0, 4]);
}

#[test]
fn structures_lie_in_their_bar_and_notification_has_room_for_every_queue() {
    let mut rig = Rig::new(VirtioPci::new(Blk::memory(1 << 20)));
    for kind in [cfg_type::COMMON, cfg_type::ISR, cfg_type::NOTIFY, cfg_type::DEVICE] {
        let part = Rig::parts(&mut rig.board, kind)[0];
        let (_, bar) = rig.board.bus.bar(rig.board.device, part.bar).unwrap();
        assert!(part.offset.is_multiple_of(4) && part.offset + part.len <= bar.size, "{kind}");
    }
    let notify = Rig::parts(&mut rig.board, cfg_type::NOTIFY)[0];
    rig.set(common::QUEUE_SELECT, 2, 0);
    assert!(notify.len >= rig.get(common::QUEUE_NOTIFY_OFF, 2) * u64::from(notify.multiplier) + 4);
    let mut rig = Rig::new(rng());
    assert!(Rig::parts(&mut rig.board, cfg_type::DEVICE).is_empty());
}

#[test]
fn window_in_configuration_space_reaches_the_registers() {
    let mut rig = Rig::new(rng());
    let (bus, id) = (&mut rig.board.bus, rig.board.device);
    let mut at = bus.config_read(id, offset::CAPABILITIES, 1) as u16;
    while bus.config_read(id, at + u16::from(cap::CFG_TYPE), 1) as u8 != cfg_type::PCI {
        at = bus.config_read(id, at + 1, 1) as u16;
    }
    bus.config_write(id, at + u16::from(cap::BAR), 1, 4);
    bus.config_write(id, at + u16::from(cap::OFFSET), 4, common::DEVICE_STATUS as u32);
    bus.config_write(id, at + u16::from(cap::LENGTH), 4, 1);
    bus.config_write(id, at + u16::from(cap::PCI_CFG_DATA), 4, u32::from(status::ACKNOWLEDGE));
    assert_eq!(bus.config_read(id, at + u16::from(cap::PCI_CFG_DATA), 4) & 0xff, u32::from(status::ACKNOWLEDGE));
    assert_eq!(rig.status(), status::ACKNOWLEDGE);
}

/// A device with memory to share.
struct Sharer(Vec<u8>);

impl VirtioDevice for Sharer {
    fn device_type(&self) -> u16 {
        26
    }
    fn features(&self) -> u128 {
        0
    }
    fn queues(&self) -> Vec<u16> {
        vec![4]
    }
    fn work(&mut self, _host: &mut Host<'_, '_>) {}
    fn reset(&mut self) {}
    fn shared_memory(&self) -> Vec<SharedMemory> {
        vec![SharedMemory { id: 3, len: 5000 }, SharedMemory { id: 7, len: 16 }]
    }
    fn read_shared(&mut self, id: u8, offset: u64, into: &mut [u8]) {
        into.copy_from_slice(&self.0[offset as usize + usize::from(id)..][..into.len()]);
    }
    fn write_shared(&mut self, id: u8, offset: u64, from: &[u8]) {
        self.0[offset as usize + usize::from(id)..][..from.len()].copy_from_slice(from);
    }
}

#[test]
fn shared_memory_regions_are_told_of_and_reached() {
    let mut rig = Rig::new(VirtioPci::new(Sharer(vec![0; 6000])));
    let parts = Rig::parts(&mut rig.board, cfg_type::SHARED_MEMORY);
    assert_eq!(parts.iter().map(|part| part.len).collect::<Vec<_>>(), [5000, 16]);
    let second = parts[1];
    rig.board.write(second.bar, second.offset + 8, 8, 0x1122_3344_5566_7788);
    assert_eq!(rig.board.read(second.bar, second.offset + 12, 4), 0x1122_3344);
    assert_eq!(rig.board.read(second.bar, second.offset + 16, 4), 0);
    assert_eq!(rig.board.read(parts[0].bar, parts[0].offset + 12, 4), 0x5566_7788);
}

// --- Status and features ---------------------------------------------------------------------------------------------

#[test]
fn features_are_refused_without_version_1_or_beyond_what_was_offered() {
    let mut rig = Rig::new(rng());
    let offered = rig.offered();
    assert!(rig.negotiate(offered));
    assert!(rig.negotiate(BASIC));
    assert!(!rig.negotiate(BASIC & !(1 << feature::VERSION_1)));
    assert!(!rig.negotiate(BASIC | 1 << feature::SR_IOV));
    assert!(!rig.negotiate(BASIC | 1));
    assert!(rig.negotiate(BASIC), "what was accepted once is accepted again");
}

#[test]
fn features_read_back_stay_after_agreement_and_are_zero_beyond_the_last_window() {
    let mut rig = Rig::new(rng());
    assert!(rig.negotiate(BASIC));
    rig.set(common::DRIVER_FEATURE_SELECT, 4, 1);
    assert_eq!(rig.get(common::DRIVER_FEATURE, 4), (BASIC >> 32) as u64);
    rig.set(common::DRIVER_FEATURE, 4, 0);
    assert_eq!(rig.get(common::DRIVER_FEATURE, 4), (BASIC >> 32) as u64);
    rig.set(common::DEVICE_FEATURE_SELECT, 4, 4);
    assert_eq!(rig.get(common::DEVICE_FEATURE, 4), 0);
}

#[test]
fn status_bits_stay_until_a_reset() {
    let mut rig = Rig::new(rng());
    rig.set_status(status::ACKNOWLEDGE);
    rig.set_status(status::DRIVER);
    assert_eq!(rig.status(), status::ACKNOWLEDGE | status::DRIVER);
    rig.set_status(status::DEVICE_NEEDS_RESET | status::FAILED);
    assert_eq!(rig.status(), status::ACKNOWLEDGE | status::DRIVER | status::FAILED);
    rig.set_status(0);
    assert_eq!(rig.status(), 0);
}

#[test]
fn nothing_is_taken_before_driver_ok() {
    let mut rig = Rig::new(rng());
    assert!(rig.negotiate(BASIC));
    let mut ring = rig.queue(0, 4);
    let buffer = rig.room(8);
    ring.add(&mut rig.board, &[buffer]);
    rig.kick(&ring);
    rig.run();
    assert_eq!((ring.take(&rig.board), rig.isr()), (None, 0));
    rig.driver_ok();
    rig.kick(&ring);
    rig.run();
    assert!(ring.take(&rig.board).is_some());
}

#[test]
fn device_is_silent_after_a_reset_and_its_registers_are_as_at_first() {
    for kind in [None, Some(Reset::Function)] {
        let (mut rig, mut ring) = live(rng(), BASIC, 4);
        rig.enable_msix();
        let buffer = rig.room(8);
        ring.add(&mut rig.board, &[buffer]);
        rig.kick(&ring);
        match kind {
            None => rig.set_status(0),
            Some(kind) => {
                rig.board.bus.reset(rig.board.device, kind);
                let command = pci::command::MEMORY | pci::command::BUS_MASTER;
                rig.board.bus.config_write(rig.board.device, offset::COMMAND, 2, command.into());
            }
        }
        rig.run();
        assert_eq!((ring.take(&rig.board), rig.vectors()), (None, vec![]));
        rig.set(common::QUEUE_SELECT, 2, 0);
        let vector = u64::from(NO_VECTOR);
        let registers =
            [common::QUEUE_ENABLE, common::QUEUE_MSIX_VECTOR, common::CONFIG_MSIX_VECTOR, common::QUEUE_RESET];
        assert_eq!(registers.map(|register| rig.get(register, 2)), [0, vector, vector, 0]);
        assert_eq!((rig.get(common::QUEUE_SIZE, 2), rig.get(common::QUEUE_DESC, 4)), (256, 0));
    }
}

// --- Queues ----------------------------------------------------------------------------------------------------------

#[test]
fn missing_queue_has_size_zero_and_takes_nothing() {
    let mut rig = Rig::new(rng());
    assert_eq!(rig.get(common::NUM_QUEUES, 2), 1);
    rig.set(common::QUEUE_SELECT, 2, 1);
    rig.set(common::QUEUE_SIZE, 2, 4);
    rig.set(common::QUEUE_ENABLE, 2, 1);
    assert_eq!((rig.get(common::QUEUE_SIZE, 2), rig.get(common::QUEUE_ENABLE, 2)), (0, 0));
    assert_eq!(rig.get(common::QUEUE_MSIX_VECTOR, 2), u64::from(NO_VECTOR));
}

#[test]
fn sizes_are_powers_of_two_unless_packed_rings_were_agreed_on() {
    let mut rig = Rig::new(rng().queue_size(100));
    rig.set(common::QUEUE_SELECT, 2, 0);
    assert_eq!(rig.get(common::QUEUE_SIZE, 2), 64);
    assert!(rig.negotiate(BASIC));
    rig.set(common::QUEUE_SIZE, 2, 12);
    assert_eq!(rig.get(common::QUEUE_SIZE, 2), 64);
    assert!(rig.negotiate(BASIC | PACKED));
    assert_eq!(rig.get(common::QUEUE_SIZE, 2), 100);
    rig.set(common::QUEUE_SIZE, 2, 12);
    assert_eq!(rig.get(common::QUEUE_SIZE, 2), 12);
    rig.set(common::QUEUE_SIZE, 2, 101);
    assert_eq!(rig.get(common::QUEUE_SIZE, 2), 12);
}

#[test]
fn enabled_queue_cannot_be_moved() {
    let mut rig = Rig::new(rng());
    assert!(rig.negotiate(BASIC));
    let ring = rig.queue(0, 4);
    rig.set(common::QUEUE_SIZE, 2, 2);
    rig.set(common::QUEUE_DESC, 4, 0);
    rig.set(common::QUEUE_ENABLE, 2, 0);
    assert_eq!(rig.get(common::QUEUE_SIZE, 2), 4);
    assert_eq!(rig.get(common::QUEUE_DESC, 4), ring.desc.iova & 0xffff_ffff);
    assert_eq!(rig.get(common::QUEUE_ENABLE, 2), 1);
}

#[test]
fn chains_of_all_lengths_come_back_in_rings_of_all_sizes() {
    for features in LAYOUTS.iter().flat_map(|layout| [*layout, layout | IN_ORDER]) {
        let sizes: &[u16] = if features & PACKED != 0 { &[1, 2, 3, 5, 8] } else { &[1, 2, 4, 8] };
        for size in sizes {
            let (mut rig, mut ring) = live(rng(), features, *size);
            for turn in 0..3 * size + 1 {
                let len = turn % size + 1;
                let buffers: Vec<_> = (0..len).map(|_| rig.room(3)).collect();
                assert_eq!(rig.transact(&mut ring, &buffers), 3 * u32::from(len), "{features:x} {size} {turn}");
                assert!(buffers.iter().all(|buffer| rig.bytes(*buffer) != [0xa5; 3]));
            }
            assert_eq!(rig.board.broken_rules(), [] as [&str; 0]);
        }
    }
}

#[test]
fn index_wraps_at_65536_and_slots_at_the_end_of_the_ring() {
    for (features, turns) in LAYOUTS.into_iter().zip([33_000, 33_000, 100, 100]) {
        let (mut rig, mut ring) = live(rng(), features, 2);
        let buffer = rig.room(1);
        for _ in 0..turns {
            ring.add(&mut rig.board, &[buffer]);
            ring.add(&mut rig.board, &[buffer]);
            rig.kick(&ring);
            rig.board.step(20_000);
            assert_eq!(ring.take_all(&rig.board).len(), 2);
        }
    }
}

#[test]
fn indirect_tables_are_followed_alone_and_after_other_descriptors() {
    for features in [BASIC | INDIRECT, BASIC | INDIRECT | PACKED] {
        let (mut rig, mut ring) = live(rng(), features, 2);
        let buffers: Vec<_> = (0..5).map(|_| rig.room(2)).collect();
        ring.add_indirect(&mut rig.board, &buffers);
        rig.kick(&ring);
        rig.run();
        assert_eq!(ring.take(&rig.board).map(|(_, len)| len), Some(10));
    }
    let (mut rig, mut ring) = live(rng(), BASIC | INDIRECT, 4);
    let (first, second) = (rig.room(2), rig.room(3));
    let table = rig.out(&[&second.window.iova.to_le_bytes()[..], &[3, 0, 0, 0, 2, 0, 0, 0]].concat());
    let (address, write) = (first.window.iova, ring::desc::WRITE);
    ring.add_raw(&mut rig.board, &[(address, 2, write), (table.window.iova, 16, ring::desc::INDIRECT)]);
    rig.kick(&ring);
    rig.run();
    assert_eq!(ring.take(&rig.board).map(|(_, len)| len), Some(5));
}

/// Elements of a chain, features, and how many elements the ring has.
type Wrong = (&'static str, u128, Vec<(u64, u32, u16)>);

#[test]
fn rings_that_cannot_be_right_make_the_device_ask_for_a_reset() {
    let (read, write, table) = (0, ring::desc::WRITE, ring::desc::INDIRECT);
    let cases: Vec<Wrong> = vec![
        ("readable after writable", BASIC, vec![(0x1000, 4, write), (0x1000, 4, read)]),
        ("readable after writable", BASIC | PACKED, vec![(0x1000, 4, write), (0x1000, 4, read)]),
        ("table outside of memory", BASIC | INDIRECT, vec![(0x1000, 16, table)]),
        ("table outside of memory", BASIC | INDIRECT | PACKED, vec![(0x1000, 16, table)]),
        ("table of a size that is no multiple", BASIC | INDIRECT, vec![(0x1000, 17, table)]),
        ("table of a size that is no multiple", BASIC | INDIRECT | PACKED, vec![(0x1000, 17, table)]),
        ("table without the feature", BASIC | PACKED, vec![(0x1000, 16, table)]),
        ("empty table", BASIC | INDIRECT | PACKED, vec![(0x1000, 0, table)]),
        ("endless table", BASIC | INDIRECT | PACKED, vec![(0x1000, 0xffff_fff0, table)]),
    ];
    for (what, features, elements) in cases {
        let (mut rig, mut ring) = live(rng(), features, 4);
        rig.enable_msix();
        ring.add_raw(&mut rig.board, &elements);
        rig.kick(&ring);
        rig.run();
        assert_eq!(rig.status() & status::DEVICE_NEEDS_RESET, status::DEVICE_NEEDS_RESET, "{what}");
        assert_eq!(rig.vectors(), [0], "{what}: a configuration interrupt says so");
        assert!(rig.negotiate(features), "{what}: a reset mends it");
        ring = rig.queue(0, 4);
        rig.driver_ok();
        let buffer = rig.room(4);
        assert_eq!(rig.transact(&mut ring, &[buffer]), 4, "{what}");
    }
}

#[test]
fn loop_of_descriptors_and_head_outside_the_table_end() {
    let (mut rig, ring) = live(rng(), BASIC, 4);
    let buffer = rig.room(4);
    let looped = [&buffer.window.iova.to_le_bytes()[..], &[4, 0, 0, 0, 3, 0, 0, 0]].concat();
    rig.board.fill(ring.desc, &looped);
    rig.board.fill(ring.driver.part(2), &[1, 0, 0, 0]);
    rig.kick(&ring);
    rig.run();
    assert_ne!(rig.status() & status::DEVICE_NEEDS_RESET, 0);
    let (mut rig, ring) = live(rng(), BASIC, 4);
    rig.board.fill(ring.driver.part(2), &[1, 0, 4, 0]);
    rig.kick(&ring);
    rig.run();
    assert_ne!(rig.status() & status::DEVICE_NEEDS_RESET, 0);
}

#[test]
fn available_index_that_runs_ahead_of_the_ring_ends() {
    let (mut rig, ring) = live(rng(), BASIC, 4);
    rig.board.fill(ring.driver.part(2), &[5, 0]);
    rig.kick(&ring);
    rig.run();
    assert_ne!(rig.status() & status::DEVICE_NEEDS_RESET, 0);
}

#[test]
fn queue_at_an_address_that_is_not_aligned_or_not_mapped_breaks_the_device() {
    for (address, features) in [(0x1008, BASIC), (0x10_0000, BASIC), (!15, BASIC), (0x10_0000, BASIC | PACKED)] {
        let mut rig = Rig::new(rng());
        assert!(rig.negotiate(features));
        rig.set(common::QUEUE_SELECT, 2, 0);
        for register in [common::QUEUE_DESC, common::QUEUE_DRIVER, common::QUEUE_DEVICE] {
            rig.set(register, 4, address & 0xffff_ffff);
            rig.set(register + 4, 4, address >> 32);
        }
        rig.set(common::QUEUE_ENABLE, 2, 1);
        rig.driver_ok();
        let notify = Rig::parts(&mut rig.board, cfg_type::NOTIFY)[0];
        rig.board.write(notify.bar, notify.offset, 2, 0);
        rig.run();
        assert_ne!(rig.status() & status::DEVICE_NEEDS_RESET, 0, "{address:x}");
    }
}

// --- Queue reset -----------------------------------------------------------------------------------------------------

#[test]
fn reset_queue_starts_anew_with_what_it_is_given() {
    for features in [BASIC | RING_RESET, BASIC | RING_RESET | PACKED] {
        let (mut rig, mut ring) = live(rng(), features, 8);
        let buffer = rig.room(4);
        rig.transact(&mut ring, &[buffer]);
        ring.add(&mut rig.board, &[buffer]);
        rig.set(common::QUEUE_SELECT, 2, 0);
        rig.set(common::QUEUE_RESET, 2, 1);
        assert_eq!((rig.get(common::QUEUE_RESET, 2), rig.get(common::QUEUE_ENABLE, 2)), (0, 0));
        rig.kick(&ring);
        rig.run();
        assert_eq!(ring.take(&rig.board), None);
        let mut ring = rig.queue(0, 2);
        assert_eq!(rig.get(common::QUEUE_RESET, 2), 0);
        for _ in 0..5 {
            assert_eq!(rig.transact(&mut ring, &[buffer]), 4);
        }
    }
}

#[test]
fn queue_reset_that_takes_time_shows_until_it_is_over() {
    let quirks = Quirks { slow_queue_reset: 10_000, ..Quirks::default() };
    let (mut rig, _) = live(rng().quirks(quirks), BASIC | RING_RESET, 8);
    rig.set(common::QUEUE_RESET, 2, 1);
    assert_eq!((rig.get(common::QUEUE_RESET, 2), rig.get(common::QUEUE_ENABLE, 2)), (1, 1));
    rig.set(common::QUEUE_SIZE, 2, 2);
    rig.set(common::QUEUE_ENABLE, 2, 1);
    rig.board.step(10_000);
    assert_eq!((rig.get(common::QUEUE_RESET, 2), rig.get(common::QUEUE_ENABLE, 2)), (0, 0));
    assert_eq!(rig.get(common::QUEUE_SIZE, 2), 256, "what was written meanwhile is lost");
    let mut ring = rig.queue(0, 2);
    let buffer = rig.room(4);
    assert_eq!(rig.transact(&mut ring, &[buffer]), 4);
}

#[test]
fn queue_is_not_reset_without_the_feature() {
    let (mut rig, mut ring) = live(rng(), BASIC, 8);
    rig.set(common::QUEUE_RESET, 2, 1);
    assert_eq!((rig.get(common::QUEUE_RESET, 2), rig.get(common::QUEUE_ENABLE, 2)), (0, 1));
    let buffer = rig.room(4);
    assert_eq!(rig.transact(&mut ring, &[buffer]), 4);
}

// --- Interrupts ------------------------------------------------------------------------------------------------------

#[test]
fn pin_is_asserted_for_a_used_buffer_and_reading_the_isr_lets_go_of_it() {
    let (mut rig, mut ring) = live(rng(), BASIC, 4);
    let buffer = rig.room(4);
    rig.transact(&mut ring, &[buffer]);
    assert!(rig.board.bus.intx(rig.board.device));
    assert_eq!(rig.isr(), isr::QUEUE);
    assert!(!rig.board.bus.intx(rig.board.device));
    assert_eq!(rig.isr(), 0);
}

#[test]
fn vectors_read_back_and_are_none_when_there_are_not_so_many() {
    let mut rig = Rig::new(rng());
    rig.set(common::QUEUE_SELECT, 2, 0);
    for (vector, shown) in [(1, 1), (2, NO_VECTOR), (0, 0), (NO_VECTOR, NO_VECTOR)] {
        rig.set(common::QUEUE_MSIX_VECTOR, 2, vector.into());
        rig.set(common::CONFIG_MSIX_VECTOR, 2, vector.into());
        assert_eq!(rig.get(common::QUEUE_MSIX_VECTOR, 2), u64::from(shown));
        assert_eq!(rig.get(common::CONFIG_MSIX_VECTOR, 2), u64::from(shown));
    }
    let quirks = Quirks { no_vectors: true, ..Quirks::default() };
    let mut rig = Rig::new(rng().quirks(quirks));
    rig.set(common::CONFIG_MSIX_VECTOR, 2, 0);
    assert_eq!(rig.get(common::CONFIG_MSIX_VECTOR, 2), u64::from(NO_VECTOR));
}

#[test]
fn queue_without_a_vector_raises_no_message() {
    let (mut rig, mut ring) = live(rng(), BASIC, 4);
    rig.enable_msix();
    rig.set(common::QUEUE_MSIX_VECTOR, 2, NO_VECTOR.into());
    let buffer = rig.room(4);
    rig.transact(&mut ring, &[buffer]);
    assert_eq!(rig.vectors(), [0_u16; 0]);
    rig.set(common::QUEUE_MSIX_VECTOR, 2, 1);
    rig.transact(&mut ring, &[buffer]);
    assert_eq!(rig.vectors(), [1]);
}

#[test]
fn flags_suppress_interrupts_in_both_layouts() {
    for (features, none) in [(BASIC, 1), (BASIC | PACKED, ring::packed::EVENT_DISABLE)] {
        let (mut rig, mut ring) = live(rng(), features, 4);
        rig.enable_msix();
        let buffer = rig.room(4);
        rig.set_driver_event(&ring, none, 0);
        rig.transact(&mut ring, &[buffer]);
        assert_eq!(rig.vectors(), [0_u16; 0]);
        rig.set_driver_event(&ring, 0, 0);
        rig.transact(&mut ring, &[buffer]);
        assert_eq!(rig.vectors(), [1]);
    }
}

#[test]
fn interrupt_comes_at_the_named_buffer_and_at_no_other() {
    for (features, flags) in [(BASIC | EVENT_IDX, 1), (BASIC | EVENT_IDX | PACKED, ring::packed::EVENT_DESC)] {
        let (mut rig, mut ring) = live(rng(), features, 4);
        rig.enable_msix();
        let buffer = rig.room(4);
        // The third buffer; with split rings the flags mean nothing now.
        rig.set_driver_event(&ring, flags, if features & PACKED != 0 { 2 | 1 << 15 } else { 2 });
        let counts: Vec<usize> = (0..4)
            .map(|_| {
                rig.transact(&mut ring, &[buffer]);
                rig.vectors().len()
            })
            .collect();
        assert_eq!(counts, [0, 0, 1, 0], "{features:x}");
    }
}

#[test]
fn one_interrupt_stands_for_all_buffers_of_a_quantum_that_reach_the_named_one() {
    for (features, flags) in [(BASIC | EVENT_IDX, 0), (BASIC | EVENT_IDX | PACKED, ring::packed::EVENT_DESC)] {
        for event in 0..4_u16 {
            let (mut rig, mut ring) = live(rng(), features, 4);
            rig.enable_msix();
            rig.set_driver_event(&ring, flags, if features & PACKED != 0 { event | 1 << 15 } else { event });
            for _ in 0..3 {
                let buffer = rig.room(4);
                ring.add(&mut rig.board, &[buffer]);
            }
            rig.kick(&ring);
            rig.run();
            assert_eq!(ring.take_all(&rig.board).len(), 3);
            assert_eq!(rig.vectors().len(), usize::from(event < 3), "{features:x} {event}");
        }
    }
}

#[test]
fn device_says_where_it_wants_to_be_kicked_next() {
    for features in [BASIC | EVENT_IDX, BASIC | EVENT_IDX | PACKED] {
        let (mut rig, mut ring) = live(rng(), features, 4);
        let buffer = rig.room(4);
        for turn in 1..=3_u16 {
            rig.transact(&mut ring, &[buffer]);
            let expected = if features & PACKED != 0 { (ring::packed::EVENT_DESC, turn | 1 << 15) } else { (0, turn) };
            assert_eq!(rig.device_event(&ring), expected);
        }
    }
}

#[test]
fn kicks_carry_what_the_features_say() {
    for (bits, quirks) in [
        (1 << feature::NOTIFICATION_DATA, Quirks::default()),
        (1 << feature::NOTIF_CONFIG_DATA, Quirks::default()),
        (1 << feature::NOTIFICATION_DATA | 1 << feature::NOTIF_CONFIG_DATA, Quirks::default()),
        (1 << feature::NOTIF_CONFIG_DATA, Quirks { one_notify_address: true, ..Quirks::default() }),
        (0, Quirks { one_notify_address: true, ..Quirks::default() }),
    ] {
        let device = rng().offer(feature::NOTIFICATION_DATA, true).offer(feature::NOTIF_CONFIG_DATA, true);
        let (mut rig, mut ring) = live(device.quirks(quirks), BASIC | bits, 4);
        let buffer = rig.room(4);
        assert_eq!(rig.transact(&mut ring, &[buffer]), 4);
    }
}

// --- Suspension ------------------------------------------------------------------------------------------------------

#[test]
fn suspended_device_rests_until_it_is_resumed() {
    let (mut rig, mut ring) = live(rng().offer(feature::SUSPEND, true), BASIC | SUSPEND, 4);
    rig.enable_msix();
    let value = rig.status();
    rig.set_status(value | status::SUSPEND);
    assert_eq!(rig.status(), value & !status::DRIVER_OK | status::SUSPEND);
    let buffer = rig.room(4);
    ring.add(&mut rig.board, &[buffer]);
    rig.kick(&ring);
    rig.run();
    assert_eq!((ring.take(&rig.board), rig.vectors()), (None, vec![]));
    rig.set_status(value);
    assert_eq!(rig.status(), value);
    rig.run();
    assert!(ring.take(&rig.board).is_some(), "what was made available meanwhile is found");
}

#[test]
fn suspension_means_nothing_before_the_device_is_live_or_without_the_feature() {
    let mut rig = Rig::new(rng().offer(feature::SUSPEND, true));
    assert!(rig.negotiate(BASIC | SUSPEND));
    let value = rig.status();
    rig.set_status(value | status::SUSPEND);
    assert_eq!(rig.status(), value);
    let (mut rig, _) = live(rng(), BASIC, 4);
    let value = rig.status();
    rig.set_status(value | status::SUSPEND);
    assert_eq!(rig.status(), value);
}

#[test]
fn change_of_the_configuration_during_suspension_is_told_after_it() {
    let blk = Blk::memory(1 << 20);
    let hand = blk.hand();
    let (mut rig, _) = live(VirtioPci::new(blk).offer(feature::SUSPEND, true), BASIC | SUSPEND, 4);
    rig.enable_msix();
    let value = rig.status();
    hand.resize(2 << 20);
    rig.board.bus.work(rig.board.device);
    assert_eq!(rig.vectors(), [0]);
    rig.set_status(value | status::SUSPEND);
    hand.resize(3 << 20);
    rig.run();
    assert_eq!((rig.vectors(), rig.config(0, 4)), (vec![], 4096));
    rig.set_status(value);
    rig.run();
    assert_eq!((rig.vectors(), rig.config(0, 4)), (vec![0], 6144));
}

// --- Oddities --------------------------------------------------------------------------------------------------------

#[test]
fn configuration_change_is_told_by_the_generation_the_isr_and_an_interrupt() {
    let blk = Blk::memory(1 << 20);
    let hand = blk.hand();
    let (mut rig, _) = live(VirtioPci::new(blk), BASIC, 4);
    let before = rig.generation();
    hand.resize(2 << 20);
    rig.board.bus.work(rig.board.device);
    assert_ne!(rig.generation(), before);
    assert_eq!((rig.config(0, 4), rig.isr()), (4096, isr::CONFIG));
    rig.enable_msix();
    hand.resize(1 << 20);
    rig.board.bus.work(rig.board.device);
    assert_eq!((rig.vectors(), rig.isr()), (vec![0], isr::CONFIG));
}

#[test]
fn torn_read_is_told_by_the_generation_and_ends() {
    let quirks = Quirks { config_changes: 2, ..Quirks::default() };
    let mut rig = Rig::new(VirtioPci::new(Blk::memory(1 << 20)).quirks(quirks));
    let mut reads = (0..4).map(|_| {
        let before = rig.generation();
        let capacity = rig.config(0, 4) | rig.config(4, 4) << 32;
        (capacity, rig.generation() == before)
    });
    let torn = u64::from(!2048_u32);
    assert_eq!(reads.next(), Some((torn, false)));
    assert_eq!(reads.next(), Some((torn, false)));
    assert_eq!(reads.next(), Some((2048, true)));
    assert_eq!(reads.next(), Some((2048, true)));
}

#[test]
fn reset_that_takes_time_shows_the_old_status_and_loses_writes() {
    let quirks = Quirks { slow_reset: 10_000, ..Quirks::default() };
    let mut rig = Rig::new(rng().quirks(quirks));
    rig.set_status(status::ACKNOWLEDGE);
    rig.set_status(0);
    assert_eq!(rig.status(), status::ACKNOWLEDGE);
    rig.set_status(status::DRIVER);
    rig.board.step(10_000);
    assert_eq!(rig.status(), 0);
}

#[test]
fn odd_functions_still_work_for_a_driver_that_looks_closely() {
    let quirks = Quirks {
        unknown_features: 1 << 49 | 1 << 120,
        unknown_capability: true,
        reserved_bar: true,
        vendor_capability: true,
        longer_capabilities: 4,
        huge_lengths: true,
        revision: Some(42),
        longer_config: 8,
        spurious_every: 1,
        ..Quirks::default()
    };
    let mut rig = Rig::new(rng().quirks(quirks));
    assert!(rig.offered() >> 120 & 1 != 0);
    assert!(!rig.negotiate(BASIC | 1 << 120));
    assert!(rig.negotiate(BASIC));
    let mut ring = rig.queue(0, 4);
    rig.driver_ok();
    let buffer = rig.room(4);
    assert_eq!(rig.transact(&mut ring, &[buffer]), 4);
    assert_eq!(rig.isr(), isr::QUEUE | isr::CONFIG);
}

#[test]
fn device_that_breaks_after_some_kicks_works_again_after_a_reset() {
    let quirks = Quirks { needs_reset_after: 2, ..Quirks::default() };
    let (mut rig, mut ring) = live(rng().quirks(quirks), BASIC, 4);
    let buffer = rig.room(4);
    rig.transact(&mut ring, &[buffer]);
    ring.add(&mut rig.board, &[buffer]);
    rig.kick(&ring);
    rig.run();
    assert_ne!(rig.status() & status::DEVICE_NEEDS_RESET, 0);
    assert_eq!(ring.take(&rig.board), None);
    assert!(rig.negotiate(BASIC));
    let mut ring = rig.queue(0, 4);
    rig.driver_ok();
    for _ in 0..5 {
        assert_eq!(rig.transact(&mut ring, &[buffer]), 4);
    }
}

#[test]
fn addresses_can_be_accessed_by_halves_and_as_a_whole() {
    let mut rig = Rig::new(rng());
    rig.set(common::QUEUE_SELECT, 2, 0);
    rig.set(common::QUEUE_DESC + 4, 4, 0x12);
    rig.set(common::QUEUE_DESC, 4, 0x3456_7890);
    assert_eq!((rig.get(common::QUEUE_DESC, 4), rig.get(common::QUEUE_DESC + 4, 4)), (0x3456_7890, 0x12));
    assert_eq!(rig.get(common::QUEUE_DESC, 8), 0x12_3456_7890);
    rig.set(common::QUEUE_DRIVER, 8, 0xfedc_ba98_7654_3210);
    assert_eq!(rig.get(common::QUEUE_DRIVER + 4, 4), 0xfedc_ba98);
}
