//! Tests of the followers: rings written by hand, by a driver and a device that know nothing of ours.

mod garbage;
mod histories;
mod model;
mod packed;
mod racing;
mod split;
mod stand;

use std::collections::BTreeSet;

use super::Ring;
use crate::virtio::rules::ring as rules;

impl Ring {
    /// Whether it cannot be followed any more.
    fn is_lost(&mut self) -> bool {
        match self {
            Self::Split(ring) => ring.ledger().lost,
            Self::Packed(ring) => ring.ledger().lost,
        }
    }
}

/// A planted violation finds exactly its rule; without it nothing is found, and the rule is put to the test.
macro_rules! planted {
    ($queue:ty; $( $name:ident: $rule:ident, $modes:expr, [$($feature:ident),*], $bad:expr, $good:expr; )*) => {
        $(
            #[test]
            fn $name() {
                let features = [$(bringup_spec::virtio::feature::$feature),*];
                for shown in $modes {
                    let bad = <$queue>::life(&features, shown, $bad);
                    assert_eq!(bad.found, [rules::$rule.id], "stores shown: {shown}");
                    let good = <$queue>::life(&features, shown, $good);
                    assert_eq!(good.found, [""; 0], "stores shown: {shown}");
                    assert!(good.exercised.contains(rules::$rule.id), "stores shown: {shown}: not exercised");
                }
            }
        )*
        pub(super) static PLANTED: &[&bringup_core::Rule] = &[$(&rules::$rule),*];

        /// The same lives of a driver that runs while the device works: what the test is called, the rule, what is found with the plant
        /// and without.
        pub(super) fn races() -> Vec<super::racing::Race> {
            vec![$({
                let features = [$(bringup_spec::virtio::feature::$feature),*];
                super::racing::Race {
                    name: stringify!($name),
                    rule: rules::$rule.id,
                    planted: <$queue>::race(&features, $bad).found,
                    right: <$queue>::race(&features, $good).found,
                }
            }),*]
        }
    };
}
pub(in crate::virtio::ring::tests) use planted;

/// Whether the CPU's stores, loads and barriers are shown makes no difference.
const BOTH: [bool; 2] = [true, false];
/// Only what is shown tells.
const SHOWN: [bool; 1] = [true];

#[test]
fn each_rule_has_a_planted_violation() {
    let planted: BTreeSet<&str> = split::PLANTED.iter().chain(packed::PLANTED).map(|rule| rule.id).collect();
    let all: BTreeSet<&str> = rules::ALL.iter().map(|rule| rule.id).collect();
    assert_eq!(planted, all);
    assert_eq!(all.len(), rules::ALL.len(), "an id twice");
}

#[test]
fn each_rule_has_a_page_with_its_three_parts() {
    for rule in rules::ALL {
        let parts: Vec<&str> = rule.page.lines().filter(|line| line.starts_with('#')).collect();
        assert_eq!(parts, ["## What it means", "## Why it matters", "## How to see it here"], "{}", rule.id);
        assert!(rule.reference.starts_with("virtio 1.4 §"), "{}", rule.id);
    }
}
