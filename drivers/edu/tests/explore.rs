//! Campaigns over the driver of edu.

use bringup_bench::explore::{Campaign, Strategy};
use bringup_bench::{Bench, Errno, Report};
use bringup_core::{Chooser, Coverage};
use bringup_devices::Edu;

const FACTORIAL: u32 = 0xc004_6500;

/// One process writes and reads a few bytes, another has a factorial computed.
fn life(chooser: Box<dyn Chooser>) -> Report {
    let bench = Bench::builder()
        .device("edu", Edu::default())
        .boxed_chooser(chooser)
        .memory(1 << 20)
        .build()
        .unwrap();
    if bench.load(&edu::BRINGUP_MODULE).is_ok() {
        let copy = bench.spawn("copy", || {
            let file = bringup_bench::open("edu")?;
            let written = file.write(&[7; 8]);
            file.seek(0);
            let mut back = [0; 8];
            let read = file.read(&mut back);
            Ok::<_, Errno>((written, read, back))
        });
        let factorial = bench.spawn("factorial", || {
            let mut number = 5_u32.to_ne_bytes();
            let answer = bringup_bench::open("edu")?.ioctl_with(FACTORIAL, &mut number)?;
            Ok::<_, Errno>((answer, number))
        });
        // Without memory, or open twice, they are refused.
        let _ = (bench.join(&copy), bench.join(&factorial));
    }
    bench.finish()
}

#[test]
fn each_failing_call_and_each_order_leaves_the_driver_clean() {
    let campaign = Campaign {
        lives: 2000,
        ..Campaign::default()
    };
    let explored = campaign.run(life);
    assert!(explored.is_clean(), "{:?}", explored.found);
    for state in [
        Coverage::AllocationFailed,
        Coverage::ProbeFailed,
        Coverage::Preempted,
        Coverage::TaskOvertook,
        Coverage::TaskBlocked,
    ] {
        assert!(explored.coverage.has(state), "{}", state.name());
    }
    assert!(
        (5..explored.lives).contains(&explored.distinct),
        "{}",
        explored.distinct
    );
}

#[test]
fn every_life_near_the_quiet_one_is_clean() {
    let campaign = Campaign {
        strategy: Strategy::Exhaustive { preemptions: 2 },
        lives: u64::MAX,
        ..Campaign::default()
    };
    let explored = campaign.run(life);
    assert!(
        explored.finished && explored.is_clean(),
        "{:?}",
        explored.found
    );
    assert!(explored.lives > 100);
}

/// Choices for a life that shrink to the quiet one: mostly 0, and ended early.
fn streams() -> impl proptest::strategy::Strategy<Value = Vec<u8>> {
    use proptest::prelude::*;
    prop::collection::vec(
        prop_oneof![6 => Just(0_u8), 2 => Just(1_u8), 1 => any::<u8>()],
        0..200,
    )
}

/// Lives with `writes` of so many bytes each; what it should not do is to write more than four bytes in a machine that puts a
/// device off.
fn forbidden(writes: &[usize], choices: &[u8]) -> bool {
    let bench = Bench::builder()
        .device("edu", Edu::default())
        .chooser(bringup_core::choice::Bytes::new(choices))
        .build()
        .unwrap();
    if bench.load(&edu::BRINGUP_MODULE).is_ok() {
        for len in writes {
            let _ = bench.run("user", || bringup_bench::open("edu")?.write(&vec![7; *len]));
        }
    }
    let report = bench.finish();
    report.stream.choices.contains(&1) && writes.iter().any(|len| *len > 4)
}

#[test]
fn operations_and_choices_shrink_together() {
    use proptest::collection::vec;
    use proptest::test_runner::{Config, TestError, TestRng, TestRunner};
    let config = Config {
        failure_persistence: None,
        ..Config::default()
    };
    let rng = TestRng::deterministic_rng(config.rng_algorithm);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let outcome = runner.run(&(vec(0_usize..64, 0..6), streams()), |(writes, choices)| {
        proptest::prop_assert!(!forbidden(&writes, &choices));
        Ok(())
    });
    let Err(TestError::Fail(_, (writes, choices))) = outcome else {
        panic!("{outcome:?}");
    };
    // Of six writes one is left, and of two hundred choices one.
    assert!(writes.len() == 1 && writes[0] > 4, "{writes:?}");
    assert_eq!(
        choices.iter().filter(|answer| **answer != 0).count(),
        1,
        "{choices:?}"
    );
}
