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
    let explored = campaign.run(|chooser| life(chooser));
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
    let explored = campaign.run(|chooser| life(chooser));
    assert!(
        explored.finished && explored.is_clean(),
        "{:?}",
        explored.found
    );
    assert!(explored.lives > 100);
}
