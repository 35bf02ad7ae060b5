//! Hunting one bug: lives until what is meant to catch it does.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bringup_bench::{Bench, Builder, Report};
use bringup_core::choice::{Quiet, Seeded};
use bringup_core::{Chooser, Plan, Severity};
use bringup_devices::registry::Workshop;
use zoo::Bug;

/// How much a hunt may cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    /// The most lives.
    pub(crate) lives: u64,
    /// How many threads.
    pub(crate) jobs: usize,
}

/// What a hunt came to.
#[derive(Debug, Default)]
pub(crate) struct Hunt {
    /// Lives that were run.
    pub(crate) lives: u64,
    /// How long that took.
    pub(crate) elapsed: Duration,
    /// The rule that caught it, if one that is meant to did.
    pub(crate) by: Option<&'static str>,
    /// What else was found, and how often.
    pub(crate) others: BTreeMap<&'static str, u64>,
}

/// Runs lives of a driver with a bug until one of the rules that are meant to catch it does.
pub(crate) fn bug(bug: &Bug, seed: u64, budget: Budget) -> Hunt {
    explore(seed, budget, |chooser| bug.live(machine(bug, chooser)), |rule| bug.expect.contains(&rule))
}

/// Runs as many lives of the twin as there may be. Whatever is found is a false alarm.
pub(crate) fn twin(bug: &Bug, seed: u64, budget: Budget) -> Hunt {
    explore(seed, budget, |chooser| bug.live_twin(machine(bug, chooser)), |_| false)
}

/// The machine of a bug.
fn machine(bug: &Bug, chooser: Box<dyn Chooser>) -> Builder {
    let workshop = Workshop::new();
    let mut builder = Bench::builder().chooser(Boxed(chooser));
    let mut kinds: Vec<String> = Vec::new();
    for spec in bug.devices {
        // A test makes them all: see `every_bug_has_a_machine`.
        let Ok((kind, device)) = workshop.parse(spec) else { continue };
        let same = kinds.iter().filter(|other| **other == kind).count();
        let name = if same == 0 { kind.clone() } else { format!("{kind}{same}") };
        builder = builder.boxed_device(&name, device);
        kinds.push(kind);
    }
    match Plan::parse(bug.plan) {
        Ok(plan) => builder.plan(plan),
        Err(_) => builder,
    }
}

/// A chooser whose type is not known here.
struct Boxed(Box<dyn Chooser>);

impl Chooser for Boxed {
    fn choose(&mut self, point: bringup_core::Point, options: u32) -> u32 {
        self.0.choose(point, options)
    }

    fn is_quiet(&self) -> bool {
        self.0.is_quiet()
    }
}

fn explore(
    seed: u64,
    budget: Budget,
    life: impl Fn(Box<dyn Chooser>) -> Report + Sync,
    meant: impl Fn(&'static str) -> bool,
) -> Hunt {
    let started = Instant::now();
    let mut hunt = Hunt::default();
    // Threads come with the explorer; until then every hunt has one.
    debug_assert!(budget.jobs > 0);
    for number in 0..budget.lives {
        let chooser: Box<dyn Chooser> = match number {
            0 => Box::new(Quiet),
            _ => Box::new(Seeded::new((seed << 32) + number)),
        };
        let report = life(chooser);
        hunt.lives += 1;
        for finding in report.findings.iter().filter(|finding| finding.rule.severity != Severity::Advice) {
            if meant(finding.rule.id) {
                hunt.by = Some(finding.rule.id);
            } else {
                *hunt.others.entry(finding.rule.id).or_default() += 1;
            }
        }
        if hunt.by.is_some() {
            break;
        }
    }
    hunt.elapsed = started.elapsed();
    hunt
}

#[cfg(test)]
mod tests {
    use super::*;
    use bringup_bench::rules;
    use zoo::BUGS;

    #[test]
    fn every_bug_has_a_machine_and_names_rules_that_exist() {
        for bug in BUGS {
            for spec in bug.devices {
                assert!(Workshop::new().parse(spec).is_ok(), "{}: {spec}", bug.id);
            }
            assert!(Plan::parse(bug.plan).is_ok(), "{}", bug.id);
            for rule in bug.expect {
                assert!(rules::find(rule).is_some(), "{}: {rule}", bug.id);
            }
        }
    }
}
