//! Campaigns: each strategy finds a race that one order of events shows, says when it is through, does not depend on threads,
//! and what it finds is short.

use bringup_bench::explore::{fails_with, shrink, Campaign, Explored, Strategy};
use bringup_bench::{Bench, Report};
use bringup_core::choice::Replay;
use bringup_core::Chooser;
use kernel::fs::{File, Kiocb};
use kernel::iov::IovIterDest;
use kernel::miscdevice::{MiscDevice, MiscDeviceOptions, MiscDeviceRegistration};
use kernel::prelude::*;
use kernel::time::{delay::udelay, Delta};
use std::boxed::Box;
use std::cell::Cell;
use std::collections::BTreeSet;
use std::string::String;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Mutex;
use std::vec::Vec;

module! {
    type: Counter,
    name: "counter",
    authors: ["Bringup"],
    description: "Counts the reads of its node",
    license: "GPL",
    params: {
        bug: u32 {
            default: 0,
            description: "0 none, 1 a count is lost, 2 memory is lost when the third allocation of a load fails",
        },
    },
}

const LOST_COUNT: u32 = 1;
const LOST_MEMORY: u32 = 2;

std::thread_local! {
    /// How often the node was read: the module's variable, of which each machine has its own.
    static COUNT: Cell<u32> = const { Cell::new(0) };
}

/// Takes a while, in which other tasks may run.
fn rest(steps: u32) {
    for _ in 0..steps {
        udelay(Delta::from_micros(1));
    }
}

#[pin_data(PinnedDrop)]
struct Counter {
    #[pin]
    _node: MiscDeviceRegistration<Node>,
}

impl kernel::InPlaceModule for Counter {
    fn init(_module: &'static ThisModule) -> impl PinInit<Self, Error> {
        COUNT.set(0);
        let prepared = prepare();
        try_pin_init!(Self {
            _: { let () = prepared?; },
            _node <- MiscDeviceRegistration::register(MiscDeviceOptions { name: c"counter" }),
        })
    }
}

/// Allocates three times.
fn prepare() -> Result {
    let first = KBox::new(1_u32, GFP_KERNEL)?;
    let second = KBox::new(2_u32, GFP_KERNEL)?;
    match KBox::new(3_u32, GFP_KERNEL) {
        Ok(_) => Ok(()),
        Err(_) if *module_parameters::bug.value_ref() == LOST_MEMORY => {
            core::mem::forget(second);
            drop(first);
            Err(ENOMEM)
        }
        Err(error) => Err(error.into()),
    }
}

#[pinned_drop]
impl PinnedDrop for Counter {
    fn drop(self: Pin<&mut Self>) {
        assert!(COUNT.get() == 0 || COUNT.get() == 2, "a count was lost");
    }
}

struct Node;

#[vtable]
impl MiscDevice for Node {
    type Ptr = KBox<Self>;

    fn open(_file: &File, _misc: &MiscDeviceRegistration<Self>) -> Result<KBox<Self>> {
        Ok(KBox::new(Node, GFP_KERNEL)?)
    }

    fn read_iter(_kiocb: Kiocb<'_, KBox<Self>>, _iov: &mut IovIterDest<'_>) -> Result<usize> {
        rest(6);
        let seen = COUNT.get();
        if *module_parameters::bug.value_ref() == LOST_COUNT {
            rest(1);
        }
        COUNT.set(seen + 1);
        rest(6);
        Ok(0)
    }
}

/// Two processes read the node once.
fn life(bug: u32, chooser: Box<dyn Chooser>) -> Report {
    let bench = Bench::builder().boxed_chooser(chooser).memory(1 << 16).build().unwrap();
    let number = std::format!("{bug}");
    if bench.load_with(&BRINGUP_MODULE, &[("bug", &number)]).is_ok() {
        let read = || {
            if let Ok(file) = bringup_bench::open("counter") {
                let _ = file.read(&mut [0; 4]);
            } else {
                // No memory to open it with: its count is not asked for.
                COUNT.set(COUNT.get() + 1);
            }
        };
        let jobs = [bench.spawn("one", read), bench.spawn("two", read)];
        for job in &jobs {
            let _ = bench.join(job);
        }
    }
    bench.finish()
}

fn campaign(strategy: Strategy, lives: u64) -> Campaign {
    Campaign { strategy, lives, seed: 1, ..Campaign::default() }
}

fn run(bug: u32, campaign: &Campaign) -> Explored {
    campaign.run(|chooser| life(bug, chooser))
}

const PCT: Strategy = Strategy::Pct { depth: 2 };
const ONE: Strategy = Strategy::Exhaustive { preemptions: 1 };
const TWO: Strategy = Strategy::Exhaustive { preemptions: 2 };

#[test]
fn quiet_life_shows_neither_bug() {
    for bug in 0..3 {
        assert_eq!(life(bug, Box::new(bringup_core::choice::Quiet)).rules(), [] as [&str; 0]);
    }
}

#[test]
fn every_strategy_finds_the_race_and_shrinks_it_to_one_choice() {
    for strategy in [Strategy::Random, PCT, ONE, Strategy::Mixed] {
        let explored = run(LOST_COUNT, &campaign(strategy, 2000));
        assert_eq!(explored.rules(), ["driver-panic"], "{strategy:?}");
        let found = &explored.found[0];
        let cause = found.cause();
        let fails = fails_with(&cause, |chooser| life(LOST_COUNT, chooser));
        let shrunk = shrink(&found.stream, fails);
        assert_eq!(shrunk.iter().filter(|answer| **answer != 0).count(), 1, "{strategy:?}: {shrunk:?}");
        assert_eq!(life(LOST_COUNT, Box::new(Replay::new(shrunk))).rules(), ["driver-panic"]);
    }
}

#[test]
fn no_strategy_finds_anything_in_the_correct_driver() {
    for strategy in [Strategy::Random, PCT, ONE, TWO, Strategy::FailNth, Strategy::Mixed] {
        let explored = run(0, &campaign(strategy, 500));
        assert!(explored.is_clean(), "{strategy:?}: {:?}", explored.found);
    }
}

#[test]
fn search_says_when_it_is_through() {
    let explored = run(0, &campaign(TWO, u64::MAX));
    assert!(explored.finished && explored.is_clean());
    let cut_short = run(0, &campaign(TWO, explored.lives - 1));
    assert!(!cut_short.finished && cut_short.lives == explored.lives - 1);
    assert!(!run(0, &campaign(Strategy::Random, 10)).finished);
}

#[test]
fn failing_each_call_in_turn_finds_the_leak_on_the_error_path() {
    let explored = run(LOST_MEMORY, &campaign(Strategy::FailNth, u64::MAX));
    assert_eq!(explored.rules(), ["leak-memory"]);
    assert_eq!(explored.found[0].life, 3);
    assert!(explored.finished);
}

/// Every outcome of a search: what was found, and what the log says.
fn outcomes(bug: u32, reduced: bool) -> (BTreeSet<String>, Explored) {
    let outcomes = Mutex::new(BTreeSet::new());
    let campaign = Campaign { reduced, ..campaign(TWO, u64::MAX) };
    let explored = campaign.run(|chooser| {
        let report = life(bug, chooser);
        let outcome = std::format!("{:?} {}", report.rules(), report.log_text());
        outcomes.lock().unwrap().insert(outcome);
        report
    });
    (outcomes.into_inner().unwrap(), explored)
}

#[test]
fn reduced_search_has_the_outcomes_of_the_whole_one() {
    for bug in 0..3 {
        let (whole, all) = outcomes(bug, false);
        let (reduced, fewer) = outcomes(bug, true);
        assert_eq!(whole, reduced);
        assert!(all.finished && fewer.finished);
        assert!(fewer.lives <= all.lives);
    }
}

/// What of a campaign must not depend on threads and clocks.
fn account(explored: &Explored) -> String {
    let found: Vec<_> = explored
        .found
        .iter()
        .map(|f| (f.finding.rule.id, f.finding.what.clone(), f.life, &f.stream, f.times))
        .collect();
    let Explored { lives, failed, distinct, finished, coverage, reachable, choices, operations, .. } = explored;
    std::format!("{lives} {failed} {distinct} {finished} {coverage:?} {reachable:?} {choices} {operations} {found:?}")
}

#[test]
fn outcome_does_not_depend_on_the_number_of_threads() {
    for strategy in [Strategy::Random, PCT, TWO, Strategy::Mixed] {
        let with = |jobs| account(&run(LOST_COUNT, &Campaign { jobs, ..campaign(strategy, 700) }));
        let alone = with(1);
        assert_eq!(alone, with(2), "{strategy:?}");
        assert_eq!(alone, with(5), "{strategy:?}");
    }
}

#[test]
fn first_failure_ends_a_campaign_at_the_same_life_with_any_threads() {
    let with = |jobs| run(LOST_COUNT, &Campaign { jobs, stop_at_first: true, ..campaign(Strategy::Random, 5000) });
    let alone = with(1);
    assert_eq!((alone.failed, alone.lives), (1, alone.found[0].life + 1));
    assert_eq!(account(&alone), account(&with(3)));
}

#[test]
fn stop_ends_a_campaign_between_lives() {
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    for jobs in [1, 2] {
        let lived = AtomicU64::new(0);
        stop.store(false, Ordering::Relaxed);
        let campaign = Campaign { jobs, stop: Some(stop.clone()), ..campaign(Strategy::Random, u64::MAX) };
        let explored = campaign.run(|chooser| {
            if lived.fetch_add(1, Ordering::Relaxed) == 300 {
                stop.store(true, Ordering::Relaxed);
            }
            life(0, chooser)
        });
        assert!(!explored.finished);
        assert_eq!(explored.lives, lived.load(Ordering::Relaxed));
    }
}

#[test]
fn panic_of_the_test_itself_comes_through() {
    for jobs in [1, 2] {
        let campaign = Campaign { jobs, ..campaign(Strategy::Random, 50) };
        let outcome = std::panic::catch_unwind(|| {
            campaign.run(|chooser| {
                let report = life(0, chooser);
                assert!(report.choices < 5, "the test objects");
                report
            })
        });
        assert!(outcome.is_err());
    }
}
