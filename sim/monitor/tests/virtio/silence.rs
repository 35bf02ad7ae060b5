//! Correct drivers hear nothing, in whatever mode, and neither do those that were misled.

use bringup_core::fault::{Behaviour, Fault, Plan as FaultPlan, Verb};
use bringup_core::{Barrier, Reset, Seen};
use bringup_devices::virtio::{Blk, BlkOptions, MemoryImage, Quirks, Rng, VirtioPci};
use bringup_spec::virtio::blk::{config, feature as blk, request};
use bringup_spec::virtio::pci::common;
use bringup_spec::virtio::{device_type, feature, status};
use proptest::prelude::*;

use crate::device::{Anything, bits};
use crate::plan::Plan;
use crate::rig::Rig;

const MODES: &[u32] = &[
    feature::RING_PACKED,
    feature::EVENT_IDX,
    feature::NOTIFICATION_DATA,
    feature::NOTIF_CONFIG_DATA,
    feature::IN_ORDER,
    feature::RING_RESET,
    feature::ACCESS_PLATFORM,
];

/// A driver of a real disk: it reads the configuration, then the disk, again and again, so that rings wrap.
fn disk(offered: u128, messages: bool) -> Plan {
    let device = move || {
        let options = BlkOptions { queues: 2, ..BlkOptions::default() };
        let pci = VirtioPci::new(Blk::new(MemoryImage::new(1 << 20), options));
        MODES.iter().fold(pci, |pci, bit| pci.offer(*bit, offered >> bit & 1 != 0))
    };
    let mut plan = Plan::new(device, u128::MAX, &[])
        .after("features ok read", |rig| {
            assert_eq!(rig.config64(config::CAPACITY), 2048);
            rig.config(config::SEG_MAX, 4);
            if rig.has(blk::MQ) {
                rig.config(config::NUM_QUEUES, 2);
            }
        })
        .before("driver ok", |rig| {
            rig.set_up(0);
            rig.set_up(1);
        })
        .then(requests);
    plan.messages = messages;
    plan
}

fn requests(rig: &mut Rig) {
    for round in 0..12_u64 {
        for queue in [0, 1] {
            let header = |kind: u32, sector: u64| [&kind.to_le_bytes()[..], &[0; 4], &sector.to_le_bytes()].concat();
            rig.request(queue, &[&header(request::OUT, round), &[7; 512]], &[1]);
            rig.request(queue, &[&header(request::IN, round)], &[512, 1]);
            rig.request(queue, &[&header(request::FLUSH, 0)], &[1]);
        }
    }
}

#[test]
fn a_correct_driver_hears_nothing_in_any_mode() {
    for mode in 0..1_u32 << MODES.len() {
        let chosen: Vec<u32> = (0..).zip(MODES).filter(|(at, _)| mode >> at & 1 != 0).map(|(_, bit)| *bit).collect();
        for messages in [false, true] {
            let plan = disk(bits(&chosen), messages);
            assert_eq!(plan.run().broken(), [], "with {chosen:?}, messages {messages}");
            assert_eq!(plan.race().broken(), [], "with {chosen:?}, messages {messages}, while processors run");
        }
    }
}

#[test]
fn a_driver_that_comes_again_hears_nothing() {
    let plan = disk(bits(MODES), true);
    let mut rig = plan.run();

    plan.live(&mut rig);
    plan.live(&mut rig);

    assert_eq!(rig.broken(), []);
}

#[test]
fn giving_up_and_trying_again_is_right() {
    let plan = disk(bits(MODES), false).before("reset", |rig| {
        rig.reset();
        while rig.read_status() != 0 {}
        rig.add_status(status::ACKNOWLEDGE);
        rig.add_status(status::FAILED);
    });

    let rig = plan.is_silent();

    assert!(rig.bus.fabric.exercised.unwrap().contains("STATUS-D-03"));
}

#[test]
fn a_rule_whose_subject_did_not_come_up_is_not_noted() {
    let rig = disk(bits(&[feature::ACCESS_PLATFORM]), true).is_silent();

    let exercised = rig.bus.fabric.exercised.unwrap();
    for id in ["STATUS-D-03", "INIT-D-10", "FEAT-D-07", "VQ-RESET-D-01", "PCI-KICK-D-02", "SUSPEND-D-04", "BLK-D-25"] {
        assert!(!exercised.contains(id), "{id}");
    }
    for id in ["INIT-D-01", "PCI-COMMON-D-05", "FEAT-D-01", "PCI-KICK-D-01", "PCI-MSIX-D-05", "BLK-D-13"] {
        assert!(exercised.contains(id), "{id}");
    }
}

#[test]
fn a_reset_in_the_middle_of_work_starts_anew() {
    let plan = disk(bits(&[feature::ACCESS_PLATFORM]), false).then(|rig| {
        rig.submit(0, &[&[0; 16]], &[512, 1]);
        rig.reset();
        while rig.read_status() != 0 {}
        rig.free_queues();
        rig.negotiate(u128::MAX);
        rig.config(config::NUM_QUEUES, 2);
        rig.set_up(0);
        rig.set_up(1);
        rig.add_status(status::DRIVER_OK);
        requests(rig);
    });

    plan.is_silent();
}

#[test]
fn a_function_reset_starts_anew() {
    let plan = disk(bits(&[feature::ACCESS_PLATFORM]), false).then(|rig| {
        rig.bus.reset(rig.device, Reset::Function);
        rig.open();
        rig.free_queues();
        rig.negotiate(u128::MAX);
        rig.config(config::NUM_QUEUES, 2);
        rig.set_up(0);
        rig.add_status(status::DRIVER_OK);
    });

    plan.is_silent();
}

#[test]
fn a_queue_reset_is_right_with_and_without_messages() {
    crate::registers::queue_reset().is_silent();
    crate::registers::queue_reset().with_messages().is_silent();
}

#[test]
fn suspend_and_resume_are_right() {
    let rig = crate::status::suspend().is_silent();

    let exercised = rig.bus.fabric.exercised.unwrap();
    for id in ["SUSPEND-D-01", "SUSPEND-D-02", "SUSPEND-D-04", "SUSPEND-D-05", "SUSPEND-D-06"] {
        assert!(exercised.contains(id), "{id}");
    }
}

#[test]
fn nothing_is_said_of_a_device_that_was_pulled_out() {
    let plan = Plan::new(|| VirtioPci::new(Rng::default()), u128::MAX, &[0]).then(|rig| {
        rig.bus.remove(rig.device);
        rig.set_status(0x55);
        rig.notify(3, 1, 9);
        rig.reset();
        rig.read_status();
        rig.free_queues();
        // The rest of the plan waits for a status of 0, which does not come any more.
        rig.status = 0;
    });

    let rig = plan.without("end read").run();

    assert_eq!(rig.broken(), []);
}

#[test]
fn nothing_is_said_of_a_driver_that_was_misled() {
    let lie = Fault {
        verb: Verb::BarRead,
        device: None,
        bar: Some(4),
        address: Some(common::DEVICE_STATUS),
        length: None,
        after: 0,
        times: Some(1),
        behaviour: Behaviour::Corrupt,
        delay_ns: None,
        mask: Some(0x0b),
    };
    let mut rig = Rig::with_faults(Box::new(VirtioPci::new(Rng::default())), FaultPlan::new(vec![lie]));

    // It takes the status at its word.
    rig.reset();
    let shown = rig.read_status();
    rig.set_status(shown | status::DRIVER_OK);
    rig.notify(0, 2, 0);

    assert_eq!((shown, rig.broken()), (0x0b, vec![]));
}

#[test]
fn odd_but_legal_devices_lead_to_no_blame() {
    for quirks in [
        Quirks { huge_lengths: true, ..Quirks::default() },
        Quirks { longer_capabilities: 8, ..Quirks::default() },
        Quirks { unknown_capability: true, reserved_bar: true, vendor_capability: true, ..Quirks::default() },
        Quirks { spurious_every: 2, config_changes: 3, ..Quirks::default() },
        Quirks { one_notify_address: true, ..Quirks::default() },
    ] {
        let device = move || {
            let options = BlkOptions { queues: 2, ..BlkOptions::default() };
            VirtioPci::new(Blk::new(MemoryImage::new(1 << 20), options)).quirks(quirks.clone())
        };
        disk(0, false).on(move || Box::new(device())).is_silent();
    }
}

#[test]
fn the_devices_own_status_bit_is_not_the_drivers_to_keep() {
    let plan = disk(0, false).then(|rig| {
        // As if it had read that the device needs a reset.
        rig.set_status(rig.status | status::DEVICE_NEEDS_RESET);
        rig.set_status(rig.status & !status::DEVICE_NEEDS_RESET);
        rig.add_status(status::FAILED);
    });

    plan.is_silent();
}

#[test]
fn a_console_whose_driver_gives_up_owes_no_messages() {
    let device = || VirtioPci::new(Anything::new(device_type::CONSOLE, &[1]));
    let plan = Plan::new(device, u128::MAX, &[0, 1, 2, 3]).skip("q3 enable", "end").before("end", |rig| {
        rig.submit_unkicked(2, &[8]);
        rig.run();
    });

    plan.is_silent();
}

/// Something that a CPU does to the function.
#[derive(Clone, Debug)]
enum Act {
    ConfigRead(u16),
    ConfigWrite(u16, u32),
    Read(u8, u64, u8),
    Write(u8, u64, u8, u64),
    See(u64, u64, u8),
    Work,
}

fn act() -> impl Strategy<Value = Act> {
    let offset = prop_oneof![0..0x48_u64, 0x1000..0x1004_u64, 0x2000..0x2080_u64, 0x3000..0x3020_u64, 0..0x4000_u64];
    let value = prop_oneof![0..0x20_u64, any::<u64>()];
    let width = prop_oneof![Just(1_u8), Just(2), Just(4), Just(8)];
    prop_oneof![
        (0..64_u16).prop_map(|word| Act::ConfigRead(word * 4)),
        (0..64_u16, any::<u32>()).prop_map(|(word, value)| Act::ConfigWrite(word * 4, value)),
        (prop_oneof![Just(4_u8), 0..7_u8], offset.clone(), width.clone())
            .prop_map(|(bar, offset, width)| Act::Read(bar, offset, width)),
        (prop_oneof![Just(4_u8), 0..7_u8], offset, width, value)
            .prop_map(|(bar, offset, width, value)| Act::Write(bar, offset, width, value)),
        (any::<u64>(), any::<u64>(), 0..8_u8).prop_map(|(iova, len, what)| Act::See(iova, len, what)),
        Just(Act::Work),
    ]
}

proptest! {
    #[test]
    fn garbage_is_survived(device in 1..0x30_u16, racing: bool, acts in proptest::collection::vec(act(), 0..200)) {
        let anything = Anything::new(device, &(0..24).collect::<Vec<u32>>());
        let mut rig = Rig::new(Box::new(VirtioPci::new(anything).offer(feature::RING_PACKED, device % 2 == 0)));
        rig.bus.fabric.concurrent = racing;
        rig.negotiate(u128::MAX);
        for act in acts {
            let id = rig.device;
            match act {
                Act::ConfigRead(at) => {
                    rig.bus.config_read(id, at, 4);
                }
                Act::ConfigWrite(at, value) => {
                    rig.bus.config_write(id, at, 4, value);
                }
                Act::Read(bar, offset, width) => {
                    rig.bus.bar_read(id, bar, offset, width, None);
                }
                Act::Write(bar, offset, width, value) => rig.bus.bar_write(id, bar, offset, width, value, None),
                Act::See(iova, len, what) => rig.bus.show(id, None, match what {
                    0 => Seen::Load { iova, len },
                    1 => Seen::Store { iova, len },
                    2 => Seen::Unmapped { iova, len },
                    3 => Seen::Idle,
                    4 => Seen::Bound,
                    5 => Seen::Unbound,
                    6 => Seen::Barrier(Barrier::Full),
                    _ => Seen::Interrupt { vector: Some(iova as u16) },
                }),
                Act::Work => {
                    rig.bus.work(id);
                }
            }
        }
    }
}
