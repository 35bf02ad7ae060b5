//! Feature negotiation.

use bringup_devices::virtio::{Quirks, Rng, VirtioPci};
use bringup_spec::virtio::net::feature as net;
use bringup_spec::virtio::pci::common;
use bringup_spec::virtio::{device_type, feature};

use crate::device::{Anything, Twisted, bits};
use crate::plan::{Plan, planted};
use crate::rig::Rig;
use crate::status::entropy;

/// Only the negotiation, and the end.
fn negotiation(device: fn() -> VirtioPci) -> Plan {
    Plan::new(device, u128::MAX, &[]).skip("features ok read", "end")
}

fn known_only() -> Plan {
    let device = || VirtioPci::new(Rng::default()).quirks(Quirks { unknown_features: bits(&[5]), ..Quirks::default() });
    Plan::new(device, !bits(&[5]), &[]).skip("features ok read", "end")
}

fn card() -> VirtioPci {
    VirtioPci::new(Anything::new(device_type::NETWORK, &[net::CTRL_VQ, net::CTRL_RX]))
}

fn functions(sr_iov: bool) -> Plan {
    let device = move || {
        let twisted = Twisted::new(VirtioPci::new(Rng::default()).offer(feature::SR_IOV, true));
        if sr_iov { twisted.sr_iov() } else { twisted }
    };
    let wanted = if sr_iov { u128::MAX } else { !bits(&[feature::SR_IOV]) };
    Plan::of(move || Box::new(device()), wanted, &[]).skip("features ok read", "end")
}

/// Sets VF Enable.
fn enable_functions(rig: &mut Rig) {
    rig.bus.config_write(rig.device, 0x108, 2, 1);
}

planted! {
    accepting_what_is_not_offered_is_found: "FEAT-D-01",
        negotiation(|| VirtioPci::new(Rng::default())),
        |plan| plan.instead("features", |rig| rig.write_features(rig.offered | bits(&[feature::RING_PACKED])));
    accepting_a_feature_without_what_it_needs_is_found: "FEAT-D-02",
        negotiation(card),
        |plan| plan.instead("features", |rig| rig.write_features(rig.offered & !bits(&[net::CTRL_VQ])));
    accepting_a_bit_without_a_meaning_is_found: "FEAT-D-05",
        known_only(),
        |plan| plan.instead("features", |rig| rig.write_features(rig.offered));
    leaving_version_1_out_is_found: "RSVD-D-01",
        negotiation(|| VirtioPci::new(Rng::default())),
        |plan| plan.instead("features", |rig| rig.write_features(rig.offered & !bits(&[feature::VERSION_1])));
    driving_a_device_without_version_1_is_found: "IMP-FEAT-01",
        negotiation(|| VirtioPci::new(Rng::default())),
        |plan| plan.on(|| Box::new(VirtioPci::new(Rng::default()).offer(feature::VERSION_1, false)));
    leaving_access_platform_out_is_advised_against: "RSVD-D-03",
        negotiation(|| VirtioPci::new(Rng::default())),
        |plan| plan.instead("features", |rig| rig.write_features(rig.offered & !bits(&[feature::ACCESS_PLATFORM])));
    accepting_sr_iov_without_the_capability_is_found: "RSVD-D-10",
        functions(false),
        |plan| plan.instead("features", |rig| rig.write_features(rig.offered));
    virtual_functions_before_the_negotiation_are_found: "RSVD-D-11",
        functions(true).after("features ok read", enable_functions),
        |plan| plan.before("features ok", enable_functions);
    reading_features_without_choosing_which_is_found: "IMP-INIT-01",
        entropy(),
        |plan| plan.before("features read", |rig| {
            rig.read(common::DEVICE_FEATURE, 4);
        });
}

#[test]
fn legacy_bits_are_legal_on_a_transitional_device_only() {
    let device = |transitional: bool| {
        let quirks = Quirks { unknown_features: bits(&[feature::ANY_LAYOUT]), ..Quirks::default() };
        VirtioPci::new(Rng::default()).quirks(quirks).transitional(transitional)
    };

    let modern = Plan::new(move || device(false), u128::MAX, &[]).skip("features ok read", "end").run();
    Plan::new(move || device(true), u128::MAX, &[]).skip("features ok read", "end").is_silent();

    assert_eq!(modern.broken().iter().map(|(id, _)| *id).collect::<Vec<_>>(), ["FEAT-D-05"]);
}
