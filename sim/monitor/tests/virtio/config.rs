//! The device's configuration, and the window.

use bringup_devices::virtio::VirtioPci;
use bringup_spec::virtio::blk::{config, feature as blk};
use bringup_spec::virtio::pci::{cap, cfg_type, common};
use bringup_spec::virtio::{console, device_type};

use crate::device::Anything;
use crate::plan::{Plan, planted};
use crate::rig::Rig;

/// A disk with a cache, whose driver reads its capacity.
fn disk() -> Plan {
    let device = || {
        let disk = Anything::new(device_type::BLOCK, &[blk::FLUSH, blk::CONFIG_WCE]);
        VirtioPci::new(disk.with(config::CAPACITY, &100_u64.to_le_bytes()))
    };
    Plan::new(device, u128::MAX, &[0]).after("features ok read", |rig| {
        assert_eq!(rig.config64(config::CAPACITY), 100);
        rig.set_config(config::WRITEBACK, 1, 1);
    })
}

fn window_at(rig: &Rig) -> u16 {
    let config = rig.bus.port(rig.device).config();
    let mut at = config.read(0x34, 1) as u16;
    while config.read(at, 1) != 9 || config.read(at + 3, 1) as u8 != cfg_type::PCI {
        at = config.read(at + 1, 1) as u16;
    }
    at
}

/// Points the window somewhere, and reads `width` bytes of the data from byte `from`.
fn window(rig: &mut Rig, bar: u32, offset: u32, length: u32, from: u16, width: u8) {
    let at = window_at(rig);
    rig.bus.config_write(rig.device, at + u16::from(cap::BAR), 1, bar);
    rig.bus.config_write(rig.device, at + u16::from(cap::OFFSET), 4, offset);
    rig.bus.config_write(rig.device, at + u16::from(cap::LENGTH), 4, length);
    rig.bus.config_read(rig.device, at + u16::from(cap::PCI_CFG_DATA) + from, width);
}

/// A driver that also reads the number of queues through the window.
fn windowed() -> Plan {
    disk().then(|rig| window(rig, 4, common::NUM_QUEUES as u32, 2, 0, 2))
}

planted! {
    reading_a_field_that_is_not_there_is_found: "CFG-D-03",
        disk(),
        |plan| plan.then(|rig| {
            rig.config(config::SEG_MAX, 4);
        });
    reading_two_halves_without_the_generation_is_advised_against: "CFG-D-02",
        disk(),
        |plan| plan.then(|rig| {
            rig.config(config::CAPACITY, 4);
            rig.config(config::CAPACITY + 4, 4);
        });
    writing_configuration_before_features_ok_is_found: "INIT-D-07",
        disk(),
        |plan| plan.before("features ok", |rig| rig.set_config(config::WRITEBACK, 1, 1));
    a_window_at_an_odd_offset_is_found: "PCI-CFGACC-D-01",
        windowed(),
        |plan| plan.then(|rig| window(rig, 4, 0x16, 4, 0, 4));
    an_access_to_the_middle_of_the_window_is_found: "PCI-CFGACC-D-02",
        windowed(),
        |plan| plan.then(|rig| window(rig, 4, 0x12, 2, 2, 2));
    a_window_to_the_vector_table_is_found: "PCI-CFGACC-D-03",
        windowed(),
        |plan| plan.then(|rig| window(rig, 1, 0, 4, 0, 4));
    a_window_of_three_bytes_is_found: "IMP-PCI-08",
        windowed(),
        |plan| plan.then(|rig| window(rig, 4, 0, 3, 0, 4));
}

#[test]
fn a_generation_that_was_read_before_only_is_advised_against() {
    let plan = disk().then(|rig| {
        rig.read(common::CONFIG_GENERATION, 1);
        rig.config(config::CAPACITY, 4);
        rig.config(config::CAPACITY + 4, 4);
        rig.config(config::CAPACITY, 4);
    });

    let broken = plan.run().broken();

    assert_eq!(broken.iter().map(|(id, _)| *id).collect::<Vec<_>>(), ["CFG-D-02"]);
}

#[test]
fn a_consoles_emergency_write_is_allowed_at_any_time() {
    let device = || VirtioPci::new(Anything::new(device_type::CONSOLE, &[console::feature::EMERG_WRITE]));
    let plan = Plan::new(device, u128::MAX, &[]).after("features read", |rig| {
        rig.set_config(console::config::EMERG_WR, 4, 33);
    });

    plan.is_silent();
}

#[test]
fn dumping_configuration_space_is_no_use_of_the_window() {
    let plan = disk().before("reset", |rig| {
        for at in (0..256).step_by(4) {
            rig.bus.config_read(rig.device, at, 4);
        }
    });

    plan.is_silent();
}

#[test]
fn what_goes_through_the_window_is_judged_as_any_access() {
    let plan = disk().then(|rig| window(rig, 4, common::QUEUE_SIZE as u32, 1, 0, 1));

    let broken = plan.run().broken();

    assert_eq!(broken.iter().map(|(id, _)| *id).collect::<Vec<_>>(), ["PCI-ACC-D-01"]);
}
