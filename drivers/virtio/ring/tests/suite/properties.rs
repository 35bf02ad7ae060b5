//! Random sequences of what driver and device do, against the model.

use crate::model::{large_settings, ops, settings, Rig};
use crate::naive::{packed::Packed, split::Split};
use crate::rust_vmm::RustVmm;
use proptest::prelude::*;

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(cases(400))]

    #[test]
    fn split_ring_and_plain_device_are_a_queue(setting in settings(false), ops in ops(200, 20)) {
        Rig::new(setting, true, Split::new).run(&ops);
    }

    #[test]
    fn packed_ring_and_plain_device_are_a_queue(setting in settings(true), ops in ops(200, 20)) {
        Rig::new(setting, true, Packed::new).run(&ops);
    }

    #[test]
    fn split_ring_and_rust_vmm_device_are_a_queue(setting in settings(false), ops in ops(200, 20)) {
        Rig::new(setting, false, RustVmm::new).run(&ops);
    }
}

proptest! {
    #![proptest_config(cases(6))]

    #[test]
    fn largest_split_ring_and_plain_device_are_a_queue(setting in large_settings(false), ops in ops(300, 8)) {
        Rig::new(setting, true, Split::new).run(&ops);
    }

    #[test]
    fn largest_packed_ring_and_plain_device_are_a_queue(setting in large_settings(true), ops in ops(300, 8)) {
        Rig::new(setting, true, Packed::new).run(&ops);
    }

    #[test]
    fn largest_split_ring_and_rust_vmm_device_are_a_queue(setting in large_settings(false), ops in ops(300, 8)) {
        Rig::new(setting, false, RustVmm::new).run(&ops);
    }
}
