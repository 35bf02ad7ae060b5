//! Hunting one bug: lives until what is meant to catch it does.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bringup_bench::explore::Campaign;
use bringup_bench::{Bench, Builder, Report};
use bringup_core::{Chooser, Plan, Severity};
use bringup_devices::registry::Workshop;
use zoo::Bug;

/// How much a hunt may cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    /// The most lives.
    pub(crate) lives: u64,
    /// How many lives of the twin.
    pub(crate) twin_lives: u64,
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
    /// The first of it, as far as it is told in a line.
    pub(crate) first_other: Option<String>,
}

/// Runs lives of a driver with a bug until one of the rules that are meant to catch it does.
pub(crate) fn bug(bug: &Bug, seed: u64, budget: Budget) -> Hunt {
    explore(seed, budget, |chooser| bug.live(machine(bug, chooser)), |rule| bug.expect.contains(&rule))
}

/// Runs as many lives of the twin as there may be. Whatever is found is a false alarm.
pub(crate) fn twin(bug: &Bug, seed: u64, budget: Budget) -> Hunt {
    let budget = Budget { lives: budget.twin_lives, ..budget };
    explore(seed, budget, |chooser| bug.live_twin(machine(bug, chooser)), |_| false)
}

/// The machine of a bug.
fn machine(bug: &Bug, chooser: Box<dyn Chooser>) -> Builder {
    let workshop = Workshop::new();
    let mut builder = Bench::builder().boxed_chooser(chooser);
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

/// Lives until a rule of `meant` catches something. What else is found does not end the hunt.
fn explore(
    seed: u64,
    budget: Budget,
    life: impl Fn(Box<dyn Chooser>) -> Report + Sync,
    meant: impl Fn(&'static str) -> bool + Sync,
) -> Hunt {
    let others: Mutex<(BTreeMap<&'static str, u64>, Option<String>)> = Mutex::default();
    let campaign =
        Campaign { lives: budget.lives, jobs: budget.jobs, seed, stop_at_first: true, ..Campaign::default() };
    let explored = campaign.run(|chooser| {
        let mut report = life(chooser);
        report.findings.retain(|finding| {
            let id = finding.rule.id;
            let kept = meant(id);
            if !kept && finding.rule.severity > Severity::Advice {
                let mut others = others.lock().unwrap_or_else(PoisonError::into_inner);
                *others.0.entry(id).or_default() += 1;
                others.1.get_or_insert_with(|| {
                    let place = finding.place.map(|place| format!(" (line {})", place.line()));
                    format!("{}{}", finding.what, place.unwrap_or_default())
                });
            }
            kept
        });
        report
    });
    let first = explored.failures().next();
    let (others, first_other) = others.into_inner().unwrap_or_else(PoisonError::into_inner);
    Hunt {
        lives: first.map_or(explored.lives, |found| found.life + 1),
        elapsed: first.map_or(explored.elapsed, |found| found.after),
        by: first.map(|found| found.finding.rule.id),
        others,
        first_other,
    }
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
            assert!(bug.plan.is_empty() || Plan::parse(bug.plan).is_ok(), "{}", bug.id);
            for rule in bug.expect {
                assert!(rules::find(rule).is_some(), "{}: {rule}", bug.id);
            }
        }
    }
}
