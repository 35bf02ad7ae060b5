//! The machine itself: tasks, waits, interrupts, time and the watchdog, driven through the runtime without a driver.

use bringup_bench::{Bench, Limits, rt};
use bringup_core::choice::Seeded;

#[test]
fn a_process_runs_and_sleeps_in_virtual_time() {
    let bench = Bench::builder().build().unwrap();
    let before = bench.now();
    let answer = bench.run("sleeper", || {
        rt::sleep(5_000_000_000);
        42
    });
    assert_eq!(answer, Ok(42));
    assert_eq!(bench.now() - before, 5_000_000_000);
    assert!(bench.finish().is_clean());
}

#[test]
fn tasks_wake_each_other() {
    let bench = Bench::builder().build().unwrap();
    let key = 0x1000;
    let job = bench.spawn("waiter", move || rt::wait(key, None, false, "a wake-up"));
    bench
        .run("waker", move || {
            rt::sleep(10);
            rt::wake_one(key)
        })
        .unwrap();
    assert_eq!(bench.join(&job), Ok(rt::Wake::Woken));
}

#[test]
fn a_wait_ends_at_its_deadline() {
    let bench = Bench::builder().build().unwrap();
    let wake = bench.run("waiter", || rt::wait(0x1000, Some(rt::time::now() + 700), false, "nothing"));
    assert_eq!(wake, Ok(rt::Wake::TimedOut));
    assert!(bench.now() >= 700);
}

#[test]
fn a_signal_ends_an_interruptible_wait() {
    let bench = Bench::builder().build().unwrap();
    let job = bench.spawn("waiter", || rt::wait(0x1000, None, true, "a signal"));
    bench.advance(1000);
    bench.signal(&job);
    assert_eq!(bench.join(&job), Ok(rt::Wake::Signal));
}

#[test]
fn a_task_that_can_never_be_woken_is_found() {
    let bench = Bench::builder().build().unwrap();
    assert!(bench.run("stuck", || rt::wait(0x1000, None, false, "a completion")).is_err());
    assert_eq!(bench.finish().rules(), ["watchdog-hung"]);
}

#[test]
fn a_read_that_blocks_for_ever_is_interrupted_and_no_finding() {
    let bench = Bench::builder().build().unwrap();
    let wake = bench.run("reader", || rt::wait(0x1000, None, true, "something to read"));
    assert_eq!(wake, Ok(rt::Wake::Signal));
    assert!(bench.finish().is_clean());
}

#[test]
fn a_read_that_blocks_while_the_machine_is_busy_is_interrupted_in_the_end() {
    let bench = Bench::builder().build().unwrap();
    let _ticker = bench.spawn("ticker", || (0..10_000).for_each(|_| rt::sleep(1_000_000_000)));
    let wake = bench.run("reader", || rt::wait(0x1000, None, true, "something to read"));
    assert_eq!(wake, Ok(rt::Wake::Signal));
    assert!(bench.now() < 400_000_000_000);
}

#[test]
fn a_task_that_spins_is_found_and_ended() {
    let bench = Bench::builder().build().unwrap();
    let result = bench.run("spinner", || {
        loop {
            rt::udelay(1000);
        }
    });
    assert!(result.is_err());
    let report = bench.finish();
    assert_eq!(report.rules(), ["watchdog-lockup"]);
    assert!(report.findings[0].place.unwrap().file().ends_with("machine.rs"));
}

#[test]
fn a_panic_is_a_bug_with_its_place_and_ends_the_life() {
    let bench = Bench::builder().build().unwrap();
    let result = bench.run("bad", || {
        let empty: Vec<u8> = std::hint::black_box(Vec::new());
        empty[3]
    });
    assert!(result.is_err());
    assert!(bench.run("next", || ()).is_err());
    let report = bench.finish();
    assert_eq!(report.rules(), ["driver-panic"]);
    assert!(report.findings[0].what.contains("out of bounds"));
    assert!(report.crashed);
}

#[test]
fn a_loop_that_sleeps_for_ever_is_found() {
    let bench = Bench::builder().build().unwrap();
    let result = bench.run("poller", || {
        loop {
            rt::sleep(10_000_000);
        }
    });
    assert!(result.is_err());
    assert_eq!(bench.finish().rules(), ["watchdog-hung"]);
}

#[test]
fn lives_follow_each_other_on_one_thread() {
    for seed in 0..50 {
        let bench = Bench::builder().chooser(Seeded::new(seed)).build().unwrap();
        let jobs: Vec<_> = (0..4).map(|n| bench.spawn("worker", move || (0..n).for_each(|_| rt::sleep(10)))).collect();
        jobs.iter().for_each(|job| bench.join(job).unwrap());
        assert!(bench.finish().is_clean());
    }
}

#[test]
fn a_second_bench_on_the_thread_is_refused() {
    let first = Bench::builder().build().unwrap();
    assert!(Bench::builder().build().is_err());
    drop(first);
    assert!(Bench::builder().build().is_ok());
}

#[test]
fn sleeping_with_preemption_off_is_found() {
    let bench = Bench::builder().build().unwrap();
    bench
        .run("atomic", || {
            rt::preempt_disable();
            rt::might_sleep();
            rt::preempt_enable();
        })
        .unwrap();
    assert_eq!(bench.finish().rules(), ["sleep-in-atomic"]);
}

#[test]
fn the_watchdog_takes_the_limits_it_is_given() {
    let limits = Limits { busy_ns: 100, ..Limits::default() };
    let bench = Bench::builder().limits(limits).build().unwrap();
    assert!(bench.run("busy", || rt::udelay(101)).is_err());
    assert_eq!(bench.finish().rules(), ["watchdog-lockup"]);
}

// --- What no driver in safe Rust does, planted below the kernel's interface ------------------------------------------------

mod planted {
    use bringup_bench::module::{Loadable, Loaded};
    use bringup_bench::{Bench, rt};
    use bringup_core::{Access, Bar, Cx, Device, Function, Reply, Reset};

    fn nothing(_: *const ()) -> u32 {
        0
    }

    #[allow(unsafe_code, reason = "callbacks are raw function pointers, as in the kernel")]
    fn callback() -> rt::Callback {
        // SAFETY: `nothing` may be called with anything.
        unsafe { rt::Callback::new(nothing, std::ptr::null()) }
    }

    const fn module(init: fn() -> Result<Loaded, i32>) -> Loadable {
        Loadable {
            name: "planted",
            license: "GPL",
            authors: &[],
            description: None,
            aliases: &[],
            firmware: &[],
            imports_ns: &[],
            params: &[],
            init,
        }
    }

    #[test]
    fn a_timer_left_running_at_unload_is_found() {
        static TIMER: Loadable = module(|| {
            rt::time::hrtimer_start(0x1000, rt::time::now() + 5_000_000_000, callback());
            Ok(Loaded(Box::new(())))
        });
        let bench = Bench::builder().build().unwrap();
        bench.load(&TIMER).unwrap();
        bench.unload("planted").unwrap();
        assert_eq!(bench.finish().rules(), ["leak-timer"]);
    }

    #[test]
    fn a_timer_that_fired_or_was_cancelled_is_not_left() {
        static TIMERS: Loadable = module(|| {
            rt::time::hrtimer_start(0x1000, rt::time::now() + 10, callback());
            rt::time::hrtimer_start(0x2000, rt::time::now() + 5_000_000_000, callback());
            rt::sleep(100);
            assert!(rt::time::hrtimer_cancel(0x2000));
            Ok(Loaded(Box::new(())))
        });
        let bench = Bench::builder().build().unwrap();
        bench.load(&TIMERS).unwrap();
        assert_eq!(bench.finish().rules(), [] as [&str; 0]);
    }

    #[test]
    fn a_failing_init_is_the_loads_error_and_leaves_nothing_loaded() {
        static FAILS: Loadable = module(|| Err(-12));
        let bench = Bench::builder().build().unwrap();
        assert_eq!(bench.load(&FAILS), Err(bringup_bench::Errno(-12)));
        assert_eq!(bench.unload("planted"), Err(bringup_bench::Errno(-2)));
        assert!(bench.finish().is_clean());
    }

    struct Restless;

    impl Device for Restless {
        fn function(&self) -> Function {
            Function::new(0x1234, 1).bar(Bar::memory32(0, 4096))
        }

        fn read(&mut self, cx: &mut Cx<'_>, _at: Access) -> Reply<u64> {
            cx.wake_in(0);
            Ok(0)
        }

        fn write(&mut self, _cx: &mut Cx<'_>, _at: Access, _value: u64) -> Reply<()> {
            Ok(())
        }

        fn work(&mut self, cx: &mut Cx<'_>) {
            cx.wake_in(0);
        }

        fn reset(&mut self, _cx: &mut Cx<'_>, _kind: Reset) {}
    }

    #[test]
    fn a_device_that_never_comes_to_rest_is_found() {
        let bench = Bench::builder().device("restless", Restless).build().unwrap();
        let device = bench.with_bus(|bus| bus.find("restless")).unwrap();
        let result = bench.run("reader", || {
            rt::pci::enable_device_mem(device);
            let (address, _) = rt::pci::iomap(device, 0).unwrap();
            rt::mmio_read(address, 4, false)
        });
        assert!(result.is_err() || bench.is_crashed());
        assert_eq!(bench.finish().rules(), ["watchdog-device"]);
    }
}
