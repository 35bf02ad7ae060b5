//! Kicks.

use bringup_devices::virtio::VirtioPci;
use bringup_spec::virtio::{device_type, feature};

use crate::device::{Anything, bits};
use crate::plan::{Plan, planted};
use crate::rig::Rig;

const DATA: u32 = feature::NOTIFICATION_DATA;
const COOKIE: u32 = feature::NOTIF_CONFIG_DATA;

/// A console's transmit queue, with these features of kicks; no suppression, so that a second kick is nothing odd.
fn console(features: &'static [u32]) -> Plan {
    let device = move || {
        let anything = VirtioPci::new(Anything::new(device_type::CONSOLE, &[]));
        features.iter().fold(anything, |device, bit| device.offer(*bit, true))
    };
    let wanted = !bits(&[DATA, COOKIE, feature::EVENT_IDX]) | bits(features);
    Plan::new(device, wanted, &[0, 1]).then(|rig| {
        rig.request(1, &[b"hello"], &[]);
    })
}

/// Kicks queue 1 once more, with its own value changed.
fn kick(rig: &mut Rig, change: fn(u64, u8, u64) -> (u64, u8, u64)) {
    let (at, width, value) = rig.queue(1).kick(rig);
    let (at, width, value) = change(at, width, value);
    rig.notify(at, width, value);
}

planted! {
    a_kick_of_32_bits_without_data_is_found: "PCI-KICK-D-01",
        console(&[]),
        |plan| plan.then(|rig| kick(rig, |at, _, value| (at, 4, value)));
    a_kick_of_16_bits_with_data_is_found: "PCI-KICK-D-02",
        console(&[DATA]),
        |plan| plan.then(|rig| kick(rig, |at, _, value| (at, 2, value & 0xffff)));
    a_kick_with_another_queues_number_is_found: "PCI-KICK-D-03",
        console(&[]),
        |plan| plan.then(|rig| kick(rig, |at, width, _| (at, width, 0)));
    a_kick_with_data_and_another_queues_number_is_found: "PCI-KICK-D-04",
        console(&[DATA]),
        |plan| plan.then(|rig| kick(rig, |at, width, value| (at, width, value & !0xffff)));
    a_kick_without_the_queues_own_data_is_found: "PCI-KICK-D-05",
        console(&[COOKIE]),
        |plan| plan.then(|rig| kick(rig, |at, width, _| (at, width, 1)));
    a_kick_with_data_without_the_queues_own_is_found: "PCI-KICK-D-06",
        console(&[COOKIE, DATA]),
        |plan| plan.then(|rig| kick(rig, |at, width, value| (at, width, value & !0xffff | 1)));
    a_kick_where_no_queue_is_notified_is_found: "IMP-PCI-06",
        console(&[]),
        |plan| plan.then(|rig| rig.notify(12, 2, 1));
}
