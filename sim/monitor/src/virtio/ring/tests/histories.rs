//! Correct histories are silent, and are followed chain by chain.

use bringup_spec::virtio::feature;
use proptest::prelude::*;

use super::model::{Dice, Model};

/// The features that a ring's rules depend on.
const FEATURES: [u32; 4] = [feature::EVENT_IDX, feature::INDIRECT_DESC, feature::IN_ORDER, feature::NOTIFICATION_DATA];

/// Lives a correct history, and compares what was followed with what happened.
fn live(packed: bool, size: u16, set: u32, shown: bool, seed: u64, steps: u32) {
    let features = FEATURES.iter().enumerate().filter(|(at, _)| set >> at & 1 != 0);
    let features = features.fold(0_u128, |all, (_, bit)| all | 1 << bit);
    let mut model = Model::new(packed, size, features, shown);
    let mut dice = Dice(seed);

    for _ in 0..steps {
        model.step(&mut dice);
    }
    model.finish(&mut dice);

    let case = format!("packed {packed}, size {size}, features {set:#b}, shown {shown}, seed {seed}");
    let findings = &model.stand.bus.fabric.findings;
    assert!(findings.is_empty(), "{case}: {}", findings[0]);
    let (exposed, returned) =
        model.stand.share(|shared| (std::mem::take(&mut shared.exposed), std::mem::take(&mut shared.returned)));
    assert_eq!(exposed, model.exposed, "{case}");
    assert_eq!(returned, model.returned, "{case}");
}

/// Lives a correct history in which the driver runs while the device works. What is said of its chains must be true.
fn race(packed: bool, size: u16, set: u32, seed: u64, steps: u32) {
    let features = FEATURES.iter().enumerate().filter(|(at, _)| set >> at & 1 != 0);
    let features = features.fold(0_u128, |all, (_, bit)| all | 1 << bit);
    let mut model = Model::racing(packed, size, features);
    let mut dice = Dice(seed);

    for _ in 0..steps {
        model.step(&mut dice);
    }
    model.finish(&mut dice);

    let case = format!("packed {packed}, size {size}, features {set:#b}, seed {seed}, steps {steps}");
    let findings = &model.stand.bus.fabric.findings;
    assert!(findings.is_empty(), "{case}: {}", findings[0]);
    let (exposed, followed) =
        model.stand.share(|shared| (std::mem::take(&mut shared.exposed), !shared.ring.as_mut().unwrap().is_lost()));
    let mut real = model.exposed.iter();
    assert!(exposed.iter().all(|chain| real.any(|other| other == chain)), "{case}: {exposed:x?}");
    assert!(followed, "{case}: lost");
}

#[test]
fn every_combination_of_features_may_race() {
    for set in 0..16 {
        for (packed, size) in (1..=8).map(|size| (true, size)).chain([1, 2, 4, 8].map(|size| (false, size))) {
            for seed in 0..8 {
                race(packed, size, set, u64::from(set) << 8 | u64::from(size) | seed << 16, 60);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn correct_split_histories_are_silent(size in 0_u32..=3, set in 0_u32..16, shown: bool, seed: u64, steps in 1_u32..200) {
        live(false, 1 << size, set, shown, seed, steps);
    }

    #[test]
    fn correct_split_drivers_that_run_while_the_device_works_are_not_blamed(
        size in 0_u32..=3, set in 0_u32..16, seed: u64, steps in 1_u32..200,
    ) {
        race(false, 1 << size, set, seed, steps);
    }

    #[test]
    fn correct_packed_drivers_that_run_while_the_device_works_are_not_blamed(
        size in 1_u16..=16, set in 0_u32..16, seed: u64, steps in 1_u32..200,
    ) {
        race(true, size, set, seed, steps);
    }

    #[test]
    fn correct_packed_histories_are_silent(size in 1_u16..=8, set in 0_u32..16, shown: bool, seed: u64, steps in 1_u32..200) {
        live(true, size, set, shown, seed, steps);
    }
}

#[test]
fn every_combination_of_features_is_silent() {
    for set in 0..16 {
        for shown in [true, false] {
            for size in 1..=8_u16 {
                live(true, size, set, shown, u64::from(set) << 8 | u64::from(size), 60);
            }
            for size in [1, 2, 4, 8] {
                live(false, size, set, shown, u64::from(set) << 8 | u64::from(size), 60);
            }
        }
    }
}
