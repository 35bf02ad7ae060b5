//! Consoles, entropy devices and other types.

use bringup_devices::virtio::{Rng, VirtioPci};
use bringup_spec::virtio::console::{control, feature};
use bringup_spec::virtio::{device_type, iommu};

use crate::device::Anything;
use crate::plan::{Plan, planted};
use crate::rig::Rig;
use crate::status::entropy;

const MULTIPORT: &[u32] = &[feature::MULTIPORT];

fn message(port: u32, event: u16, value: u16) -> Vec<u8> {
    [&port.to_le_bytes()[..], &event.to_le_bytes(), &value.to_le_bytes()].concat()
}

fn send(rig: &mut Rig, event: u16, value: u16) {
    rig.request(3, &[&message(7, event, value)], &[]);
}

/// A console with a port 7, and a driver that answers as it should when `answers`.
fn ports(answers: fn(&mut Rig)) -> Plan {
    let device = || {
        let mut console = Anything::new(device_type::CONSOLE, MULTIPORT);
        console.messages.push_back((2, message(7, control::DEVICE_ADD, 1)));
        console.messages.push_back((2, message(7, control::CONSOLE_PORT, 1)));
        VirtioPci::new(console)
    };
    Plan::new(device, u128::MAX, &[0, 1, 2, 3]).then(move |rig| {
        rig.request(2, &[], &[8]);
        rig.request(2, &[], &[8]);
        answers(rig);
    })
}

fn right(rig: &mut Rig) {
    send(rig, control::DEVICE_READY, 1);
    send(rig, control::PORT_READY, 1);
    send(rig, control::PORT_OPEN, 1);
}

fn console(features: &'static [u32]) -> Plan {
    Plan::new(move || VirtioPci::new(Anything::new(device_type::CONSOLE, features)), u128::MAX, &[0, 1]).then(|rig| {
        rig.request(1, &[b"hello"], &[]);
        rig.request(0, &[], &[64]);
    })
}

fn other(kind: u16, features: &'static [u32]) -> Plan {
    Plan::new(move || VirtioPci::new(Anything::new(kind, features)), u128::MAX, &[0])
}

planted! {
    a_readable_buffer_in_a_receive_queue_is_found: "CON-D-01",
        console(&[]),
        |plan| plan.then(|rig| {
            rig.request(0, &[b"hello"], &[]);
        });
    a_writable_buffer_in_a_transmit_queue_is_found: "CON-D-02",
        console(&[]),
        |plan| plan.then(|rig| {
            rig.request(1, &[b"hello"], &[8]);
        });
    ports_before_device_ready_are_found: "CON-D-03",
        ports(right),
        |_| ports(|rig| {
            send(rig, control::PORT_READY, 1);
            send(rig, control::PORT_OPEN, 1);
        });
    a_console_port_that_is_never_opened_is_found: "CON-D-05",
        ports(right),
        |_| ports(|rig| {
            send(rig, control::DEVICE_READY, 1);
            send(rig, control::PORT_READY, 1);
        });
    a_console_port_that_is_closed_is_found: "CON-D-06",
        ports(right),
        |_| ports(|rig| {
            send(rig, control::DEVICE_READY, 1);
            send(rig, control::PORT_READY, 1);
            send(rig, control::PORT_OPEN, 0);
        });
    control_queues_without_multiport_are_found: "IMP-CON-01",
        console(&[]),
        |plan| plan.before("driver ok", |rig| rig.set_up(2));
    a_port_that_is_never_answered_is_found: "IMP-CON-02",
        ports(right),
        |_| ports(|rig| {
            send(rig, control::DEVICE_READY, 1);
            send(rig, control::PORT_OPEN, 1);
        });
    a_readable_buffer_for_entropy_is_found: "RNG-D-01",
        entropy(),
        |plan| plan.then(|rig| {
            rig.request(0, &[b"seed"], &[8]);
        });
    a_second_queue_of_an_entropy_device_is_found: "IMP-RNG-01",
        other(device_type::ENTROPY, &[]),
        |plan| plan.before("driver ok", |rig| rig.set_up(1));
    writing_a_file_systems_configuration_is_found: "FS-D-01",
        other(device_type::FS, &[]),
        |plan| plan.then(|rig| rig.set_config(0, 1, 65));
    writing_an_iommus_page_sizes_is_found: "IOMMU-D-03",
        other(device_type::IOMMU, &[iommu::feature::BYPASS_CONFIG]),
        |plan| plan.then(|rig| rig.set_config(0, 4, 1));
    writing_two_to_bypass_is_found: "IOMMU-D-04",
        other(device_type::IOMMU, &[iommu::feature::BYPASS_CONFIG]).then(|rig| rig.set_config(36, 1, 1)),
        |plan| plan.then(|rig| rig.set_config(36, 1, 2));
    writing_a_memory_devices_configuration_is_found: "MEM-D-01",
        other(device_type::MEMORY, &[]),
        |plan| plan.then(|rig| rig.set_config(48, 4, 1));
    leaving_zero_length_requests_out_is_found: "I2C-D-01",
        other(device_type::I2C, &[0]),
        |plan| plan.instead("features", |rig| rig.write_features(rig.offered & !1));
    an_adapter_without_zero_length_requests_is_found: "I2C-D-02",
        other(device_type::I2C, &[0]),
        |plan| plan.on(|| Box::new(VirtioPci::new(Anything::new(device_type::I2C, &[]))));
}

#[test]
fn device_ready_that_is_never_sent_is_found() {
    let broken = ports(|_| {}).run().broken();

    assert!(broken.iter().any(|(id, _)| *id == "CON-D-03"), "{broken:?}");
}

#[test]
fn the_real_entropy_device_gives_bytes_without_a_word() {
    Plan::new(|| VirtioPci::new(Rng::default()), u128::MAX, &[0])
        .then(|rig| {
            for _ in 0..20 {
                rig.request(0, &[], &[16, 4]);
            }
        })
        .is_silent();
}
