//! Registers of the transport.

use bringup_devices::virtio::{Rng, VirtioPci};
use bringup_spec::virtio::pci::{cfg_type, common};
use bringup_spec::virtio::{device_type, feature, status};

use crate::device::{Anything, Twisted};
use crate::plan::{Plan, planted};
use crate::rig::Rig;
use crate::status::entropy;

fn packed() -> Plan {
    Plan::new(|| VirtioPci::new(Rng::default()).offer(feature::RING_PACKED, true), u128::MAX, &[0])
}

/// A driver that resets queue 0, waits, and sets it up again.
pub(crate) fn queue_reset() -> Plan {
    entropy()
        .before("end", |rig| rig.reset_queue(0))
        .before("end", |rig| {
            rig.select(0);
            while rig.read(common::QUEUE_RESET, 2) != 0 {}
        })
        .before("end", |rig| {
            rig.set_up(0);
            rig.request(0, &[], &[8]);
        })
}

/// As [`queue_reset`], in one step.
fn with_queue_reset(reset: fn(&mut Rig)) -> Plan {
    entropy().before("end", reset)
}

fn wait(rig: &mut Rig) {
    while rig.read(common::QUEUE_RESET, 2) != 0 {}
}

/// A device that takes a while to reset a queue.
fn slow() -> Box<dyn bringup_core::Device> {
    Box::new(Twisted::new(VirtioPci::new(Rng::default())).answers(common::QUEUE_RESET, 1, 1))
}

/// A device with two queues for everybody, and one administration queue, number 2; the driver uses one of each.
fn administration(index: u16) -> Plan {
    let device = || {
        let inner = VirtioPci::new(Anything::new(device_type::CONSOLE, &[1])).offer(feature::ADMIN_VQ, true);
        Twisted::new(inner).answers(common::NUM_QUEUES, 2, 100).answers(common::ADMIN_QUEUE_INDEX, 2, 100).answers(
            common::ADMIN_QUEUE_NUM,
            1,
            100,
        )
    };
    Plan::of(move || Box::new(device()), u128::MAX, &[0]).before("driver ok", move |rig| {
        rig.read(common::ADMIN_QUEUE_INDEX, 2);
        rig.read(common::ADMIN_QUEUE_NUM, 2);
        rig.set_up(index);
    })
}

fn capability(rig: &Rig, kind: u8) -> u16 {
    let config = rig.bus.port(rig.device).config();
    let mut at = config.read(0x34, 1) as u16;
    while config.read(at, 1) != 9 || config.read(at + 3, 1) as u8 != kind {
        at = config.read(at + 1, 1) as u16;
    }
    at
}

planted! {
    a_narrow_access_of_a_register_is_found: "PCI-ACC-D-01",
        entropy(),
        |plan| plan.after("q0 discover", |rig| {
            rig.read(common::QUEUE_SIZE, 1);
        });
    writing_to_a_capability_is_found: "PCI-CAP-D-09",
        entropy(),
        |plan| plan.before("end", |rig| {
            let at = capability(rig, cfg_type::COMMON);
            rig.bus.config_write(rig.device, at + 8, 4, 0);
        });
    writing_a_read_only_register_is_found: "PCI-COMMON-D-01",
        entropy(),
        |plan| plan.before("end", |rig| rig.write(common::NUM_QUEUES, 2, 1));
    a_packed_queue_of_size_0_is_found: "PCI-COMMON-D-02",
        packed(),
        |plan| plan.before("q0 size", |rig| rig.write(common::QUEUE_SIZE, 2, 0));
    a_split_queue_of_an_odd_size_is_found: "PCI-COMMON-D-03",
        entropy(),
        |plan| plan.before("q0 size", |rig| rig.write(common::QUEUE_SIZE, 2, 3));
    an_address_written_after_the_queue_was_enabled_is_found: "PCI-COMMON-D-04",
        entropy(),
        |plan| plan.after("q0 enable", |rig| rig.write_addresses(0));
    disabling_a_queue_by_its_enable_register_is_found: "PCI-COMMON-D-06",
        entropy(),
        |plan| plan.before("end", |rig| {
            rig.select(0);
            rig.write(common::QUEUE_ENABLE, 2, 0);
        });
    reusing_a_queue_whose_reset_goes_on_is_found: "PCI-COMMON-D-07",
        queue_reset().on(slow),
        |_| entropy().on(slow).before("end", |rig| {
            rig.reset_queue(0);
            assert_eq!(rig.read(common::QUEUE_RESET, 2), 1);
            rig.set_up(0);
        });
    reusing_a_queue_without_asking_for_its_reset_is_found: "VQ-RESET-D-01",
        queue_reset(),
        |plan| plan.before("end", |rig| {
            rig.reset_queue(0);
            rig.set_up(0);
        });
    enabling_a_queue_again_without_setting_it_up_is_found: "VQ-RESET-D-03",
        with_queue_reset(|_| {}),
        |plan| plan.before("end", |rig| {
            rig.reset_queue(0);
            wait(rig);
            rig.enable();
        });
    an_administration_queue_of_another_number_is_found: "PCI-COMMON-D-10",
        administration(2),
        |_| administration(3);
    writing_the_number_of_administration_queues_is_found: "IMP-PCI-05",
        entropy(),
        |plan| plan.before("end", |rig| rig.write(common::ADMIN_QUEUE_NUM, 2, 1));
    a_vector_beyond_the_table_is_found: "PCI-MSIX-D-04",
        entropy().with_messages(),
        |plan| plan.before("q0 vector", |rig| rig.write_vector(100));
    a_queues_vector_that_nobody_read_back_is_found: "PCI-MSIX-D-05",
        entropy().with_messages(),
        |plan| plan.without("q0 vector read");
    a_queues_register_before_any_queue_was_selected_is_found: "IMP-PCI-02",
        entropy(),
        |plan| plan.before("q0 discover", |rig| {
            rig.read(common::QUEUE_SIZE, 2);
        });
    a_queue_larger_than_the_device_has_it_is_found: "IMP-PCI-03",
        entropy(),
        |plan| plan.before("q0 size", |rig| rig.write(common::QUEUE_SIZE, 2, 512));
    resetting_a_queue_without_the_feature_is_found: "IMP-PCI-04",
        entropy().on(|| Box::new(VirtioPci::new(Rng::default()).offer(feature::RING_RESET, false))),
        |plan| plan.before("end", |rig| rig.reset_queue(0));
    enabling_a_queue_that_is_not_there_is_found: "IMP-PCI-07",
        entropy(),
        |plan| plan.before("driver ok", |rig| {
            rig.discover(1);
            rig.write_addresses(1);
            rig.enable();
        });
    reading_the_isr_with_messages_on_is_advised_against: "PCI-ISR-D-01",
        entropy().with_messages(),
        |plan| plan.before("end", |rig| {
            rig.read_isr();
        });
}

#[test]
fn the_configurations_vector_that_nobody_read_back_is_found() {
    let plan = entropy().with_messages().without("config vector read");

    let broken = plan.run().broken();

    assert_eq!(broken.iter().map(|(id, _)| *id).collect::<Vec<_>>(), ["PCI-MSIX-D-05"]);
}

#[test]
fn enabling_a_queue_without_its_addresses_is_found() {
    let plan = entropy().skip("q0 vector read", "q0 enable").skip("driver ok", "end");

    let broken = plan.run().broken();

    assert_eq!(broken.iter().map(|(id, _)| *id).collect::<Vec<_>>(), ["PCI-COMMON-D-04"]);
}

#[test]
fn kicking_a_queue_that_was_not_enabled_is_found() {
    let plan = entropy().without("q0 enable").skip("driver ok", "end").before("end", |rig| {
        assert_ne!(rig.status & status::DRIVER_OK, 0);
        rig.notify(0, 2, 0);
    });

    let broken = plan.run().broken();

    assert_eq!(broken.iter().map(|(id, _)| *id).collect::<Vec<_>>(), ["IMP-PCI-07"]);
}

#[test]
fn freeing_a_queue_before_its_reset_is_over_is_found() {
    let plan = entropy().before("end", |rig| {
        rig.reset_queue(0);
        rig.free_queues();
    });

    let broken = plan.run().broken();

    assert_eq!(broken.iter().map(|(id, _)| *id).collect::<Vec<_>>(), ["VQ-RESET-D-01"]);
}
