//! The driver's whole life under random choices, fault plans and allocation failures: never a panic, never a leak, never a
//! finding, and never wrong data without an error.

use bringup_bench::{Bench, Errno, Report};
use bringup_core::choice::{Bytes, Seeded};
use bringup_core::fault::{Behaviour, Fault, Verb};
use bringup_core::{Chooser, Plan};
use bringup_devices::Edu;
use proptest::prelude::*;

const FACTORIAL: u32 = 0xc004_6500;

#[derive(Clone, Debug)]
enum Step {
    Write { at: i64, bytes: Vec<u8> },
    Read { at: i64, len: usize },
    Factorial(u32),
    Rebind,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (-2_i64..4200, prop::collection::vec(any::<u8>(), 0..5000)).prop_map(|(at, bytes)| Step::Write { at, bytes }),
        4 => (-2_i64..4200, 0_usize..5000).prop_map(|(at, len)| Step::Read { at, len }),
        2 => any::<u32>().prop_map(Step::Factorial),
        1 => Just(Step::Rebind),
    ]
}

fn fault() -> impl Strategy<Value = Fault> {
    let verb = prop::sample::select(Verb::ALL.to_vec());
    let behaviour = prop::sample::select(Behaviour::ALL.to_vec());
    (
        verb,
        behaviour,
        prop::option::of(0_u64..0xa0),
        0_u64..40,
        prop::option::of(1_u64..5),
        any::<u64>(),
        0_u64..2_000_000_000,
    )
        .prop_filter("means something", |(verb, behaviour, ..)| {
            behaviour.applies_to(*verb)
        })
        .prop_map(
            |(verb, behaviour, address, after, times, mask, delay)| Fault {
                verb,
                device: None,
                bar: None,
                // An offset means something only for registers.
                address: address
                    .filter(|_| matches!(verb, Verb::BarRead | Verb::BarWrite))
                    .map(|at| at & !3),
                length: Some(4),
                after,
                times,
                behaviour,
                delay_ns: (behaviour == Behaviour::Delay).then_some(delay),
                mask: (behaviour == Behaviour::Corrupt).then_some(mask),
            },
        )
}

/// Lives with `steps`; `trusted` says that no fault is planned, so data must be right.
fn live(chooser: impl Chooser + 'static, plan: Plan, steps: &[Step], trusted: bool) -> Report {
    let bench = Bench::builder()
        .device("edu", Edu::default())
        .chooser(chooser)
        .plan(plan)
        .build()
        .unwrap();
    // A load may fail for want of memory, and a device that lies may not be taken for an edu.
    if bench.load(&edu::BRINGUP_MODULE).is_ok() {
        let mut model = [0_u8; 4096];
        let mut known = [true; 4096];
        for step in steps {
            use_it(&bench, step, &mut model, &mut known, trusted);
        }
    }
    bench.finish()
}

fn use_it(
    bench: &Bench,
    step: &Step,
    model: &mut [u8; 4096],
    known: &mut [bool; 4096],
    trusted: bool,
) {
    if let Step::Rebind = step {
        let _ = bench.unbind("edu");
        let _ = bench.bind("edu");
        return;
    }
    let Ok(file) = bench.open("edu") else { return };
    match step {
        Step::Write { at, bytes } => {
            file.seek(*at);
            let outcome = file.write(bytes);
            let Ok(start) = usize::try_from(*at) else {
                assert!(outcome.is_err());
                return;
            };
            let end = (start + bytes.len()).min(4096).max(start.min(4096));
            match outcome {
                Ok(count) => {
                    assert!(count <= bytes.len());
                    for (index, byte) in bytes[..count].iter().enumerate() {
                        (model[start + index], known[start + index]) = (*byte, true);
                    }
                }
                // It may have arrived or not.
                Err(_) => known[start.min(4096)..end].fill(false),
            }
        }
        Step::Read { at, len } => {
            let mut back = vec![0; *len];
            file.seek(*at);
            let outcome = file.read(&mut back);
            let Ok(start) = usize::try_from(*at) else {
                assert!(outcome.is_err());
                return;
            };
            if let (Ok(count), true) = (outcome, trusted) {
                assert_eq!(count, (*len).min(4096_usize.saturating_sub(start)));
                for index in (start..start + count).filter(|index| known[*index]) {
                    assert_eq!(back[index - start], model[index], "byte {index}");
                }
            }
        }
        Step::Factorial(number) => {
            let mut argument = number.to_ne_bytes();
            let outcome = file.ioctl_with(FACTORIAL, &mut argument);
            if let (Ok(_), true) = (outcome, trusted) {
                let expected = (1..=(*number).min(40)).fold(1_u32, u32::wrapping_mul);
                // From 34! on there are 32 factors of two.
                assert_eq!(u32::from_ne_bytes(argument), expected);
            }
            assert!(!matches!(outcome, Err(Errno(code)) if code >= 0));
        }
        Step::Rebind => {}
    }
}

fn assert_clean(report: &Report) -> Result<(), TestCaseError> {
    let findings: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
    prop_assert!(
        findings.is_empty() && !report.crashed,
        "{}\n{}",
        findings.join("\n"),
        report.log_text()
    );
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, max_shrink_iters: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn under_random_schedules_and_allocation_failures_data_are_right(seed in any::<u64>(), steps in prop::collection::vec(step(), 0..12)) {
        assert_clean(&live(Seeded::new(seed), Plan::new(Vec::new()), &steps, true))?;
    }

    #[test]
    fn under_random_faults_it_stays_clean(seed in any::<u64>(), faults in prop::collection::vec(fault(), 1..4), steps in prop::collection::vec(step(), 0..8)) {
        assert_clean(&live(Seeded::new(seed), Plan::new(faults), &steps, false))?;
    }

    #[test]
    fn under_any_bytes_as_choices_it_stays_clean(bytes in prop::collection::vec(any::<u8>(), 0..300), steps in prop::collection::vec(step(), 0..6)) {
        assert_clean(&live(Bytes::new(bytes), Plan::new(Vec::new()), &steps, true))?;
    }
}

/// Fails the n-th allocation of a life, for every n until the life needs no more.
struct FailNth(usize);

impl Chooser for FailNth {
    fn choose(&mut self, point: bringup_core::Point, _options: u32) -> u32 {
        if point != bringup_core::Point::Allocation {
            return 0;
        }
        self.0 = self.0.wrapping_sub(1);
        u32::from(self.0 == usize::MAX)
    }
}

#[test]
fn every_single_allocation_may_fail() {
    let steps = [
        Step::Write {
            at: 0,
            bytes: vec![1; 100],
        },
        Step::Read { at: 0, len: 100 },
        Step::Factorial(5),
        Step::Rebind,
    ];
    let mut failed = 0;
    for n in 0.. {
        let report = live(FailNth(n), Plan::new(Vec::new()), &steps, true);
        assert!(report.is_clean(), "allocation {n}: {:#?}", report.findings);
        if report.stats.failed_allocations == 0 {
            break;
        }
        failed += 1;
    }
    assert!(failed >= 8, "only {failed} allocations were made");
}
