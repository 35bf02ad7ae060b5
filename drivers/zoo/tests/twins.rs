//! The correct drivers of the zoo are correct: in the friendliest machine and in wild ones, with the devices and the faults that
//! bring their bugs out.

use std::collections::BTreeSet;

use bringup_bench::{Bench, Builder};
use bringup_core::choice::{Quiet, Seeded};
use bringup_core::{Plan, Severity};
use bringup_devices::registry::Workshop;
use zoo::{Bug, BUGS};

/// The machine of a bug; seed 0 is the friendliest one.
fn machine(bug: &Bug, seed: u64) -> Builder {
    let workshop = Workshop::new();
    let builder = match seed {
        0 => Bench::builder().chooser(Quiet),
        _ => Bench::builder().chooser(Seeded::new(seed)),
    };
    let builder = bug.devices.iter().fold(builder, |builder, spec| {
        let (name, device) = workshop.parse(spec).unwrap();
        builder.boxed_device(&name, device)
    });
    match bug.plan {
        "" => builder,
        plan => builder.plan(Plan::parse(plan).unwrap()),
    }
}

/// What is found in lives of the twin, with the seed.
fn found_in_twin(bug: &Bug, seeds: std::ops::Range<u64>) -> Vec<String> {
    let lives = seeds.map(|seed| (seed, bug.live_twin(machine(bug, seed))));
    lives
        .flat_map(|(seed, report)| {
            report
                .findings
                .into_iter()
                .map(move |finding| (seed, finding))
        })
        .filter(|(_, finding)| finding.rule.severity != Severity::Advice)
        .map(|(seed, finding)| {
            let (id, rule, what) = (bug.id, finding.rule.id, finding.what);
            format!("{id} with seed {seed}: {rule}: {what}")
        })
        .collect()
}

#[test]
fn twins_live_without_a_finding() {
    let found: Vec<String> = BUGS
        .iter()
        .flat_map(|bug| found_in_twin(bug, 0..16))
        .collect();
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn bugs_in_the_friendliest_machine_are_found_by_what_is_meant_to() {
    // Those that need no chance: the others are hunted by `bringup zoo`.
    let certain = [
        "irq-handled-but-not-claimed",
        "irq-vectors-freed-before-handler",
        "irq-listener-closed-but-called",
        "lock-not-safe-from-interrupts",
        "lock-order-turned-around",
        "sleep-allocation-in-handler",
        "bar-used-after-unbind",
        "record-copied-with-its-header",
        "work-outlives-its-driver",
        "timer-outlives-its-driver",
        "probe-failure-leaks-handler",
        "virtio-kick-before-driver-ok",
        "vectors-off-by-one",
        "capability-length-unchecked",
        "cq-generation-in-the-id",
    ];
    for id in certain {
        let bug = Bug::find(id).unwrap();
        let rules: BTreeSet<&str> = bug.live(machine(bug, 0)).rules().into_iter().collect();
        assert!(
            bug.expect.iter().any(|rule| rules.contains(rule)),
            "{id}: {rules:?}"
        );
    }
}
