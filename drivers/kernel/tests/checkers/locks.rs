//! Locks: order, safety from handlers, and guards that are never dropped.

use bringup_bench::{rt, Bench, Report};
use kernel::{
    interrupt::local_interrupt_disable,
    new_mutex, new_spinlock, new_spinlock_irq,
    prelude::*,
    sync::{Mutex, SpinLock, SpinLockIrq},
};

#[pin_data]
struct Locks {
    #[pin]
    first: Mutex<u32>,
    #[pin]
    second: Mutex<u32>,
    #[pin]
    spin: SpinLock<u32>,
    #[pin]
    events: SpinLockIrq<u32>,
}

impl Locks {
    fn new() -> Pin<KBox<Self>> {
        let locks = pin_init!(Self {
            first <- new_mutex!(0, "first"),
            second <- new_mutex!(0, "second"),
            spin <- new_spinlock!(0, "spin"),
            events <- new_spinlock_irq!(0, "events"),
        });
        KBox::pin_init(locks, GFP_KERNEL).unwrap()
    }
}

/// Runs `body` as a process, and with it `handler` in a timer's callback a microsecond later.
fn with_handler(handler: fn(&Locks), body: impl FnOnce(&Locks)) -> Report {
    struct Timer(fn(&Locks), *const Locks);
    // SAFETY: The callback's only caller passes a `Timer` whose locks are alive.
    unsafe fn fire(data: *const ()) -> u32 {
        // SAFETY: As above.
        let timer = unsafe { &*data.cast::<Timer>() };
        // SAFETY: As above.
        timer.0(unsafe { &*timer.1 });
        0
    }
    let bench = Bench::builder().build().unwrap();
    bench
        .run("user", || {
            let locks = Locks::new();
            let timer = Timer(handler, &raw const *locks);
            // SAFETY: The timer and the locks outlive the sleep, after which it has fired.
            let callback = unsafe { rt::Callback::new(fire, (&raw const timer).cast()) };
            rt::time::hrtimer_start(1, rt::time::now() + 1_000, callback);
            body(&locks);
            rt::sleep(10_000);
        })
        .unwrap();
    bench.finish()
}

fn process(body: impl FnOnce(&Locks)) -> Report {
    let bench = Bench::builder().build().unwrap();
    bench.run("user", || body(&Locks::new())).unwrap();
    bench.finish()
}

#[test]
fn two_orders_of_two_locks_are_found_in_a_life_that_does_not_deadlock() {
    let report = process(|locks| {
        let first = locks.first.lock();
        drop(locks.second.lock());
        drop(first);
        let _second = locks.second.lock();
        let _first = locks.first.lock();
    });
    assert_eq!(report.rules(), ["lock-order"]);
    assert!(report.findings[0].what.contains("\"first\"") && report.findings[0].what.contains("\"second\""));
    assert_eq!(report.findings[0].notes.len(), 2);
}

#[test]
fn one_order_of_two_locks_is_silent() {
    let report = process(|locks| {
        for _ in 0..3 {
            let _first = locks.first.lock();
            let _second = locks.second.lock();
        }
    });
    assert!(report.is_clean());
}

#[test]
fn a_lock_that_is_only_tried_in_the_other_order_is_silent() {
    let report = process(|locks| {
        let first = locks.first.lock();
        drop(locks.second.lock());
        drop(first);
        let _second = locks.second.lock();
        assert!(locks.first.try_lock().is_some());
    });
    assert!(report.is_clean());
}

#[test]
fn a_spinlock_of_a_handler_taken_with_interrupts_on_is_found() {
    let report = with_handler(|locks| *locks.spin.lock() += 1, |locks| *locks.spin.lock() += 1);
    assert_eq!(report.rules(), ["lock-irq-unsafe"]);
    assert!(report.findings[0].place.unwrap().file().ends_with("locks.rs"));
}

#[test]
fn an_irq_spinlock_of_a_handler_is_silent() {
    let report = with_handler(|locks| *locks.events.lock() += 1, |locks| *locks.events.lock() += 1);
    assert!(report.is_clean());
}

#[test]
fn a_spinlock_of_a_handler_taken_with_interrupts_off_is_silent() {
    let report = with_handler(
        |locks| *locks.spin.lock() += 1,
        |locks| {
            let _off = local_interrupt_disable();
            *locks.spin.lock() += 1;
        },
    );
    assert!(report.is_clean());
}

#[test]
fn interrupts_turned_on_while_a_handlers_lock_is_held_are_found() {
    let report = with_handler(
        |locks| *locks.spin.lock() += 1,
        |locks| {
            rt::sleep(2_000);
            let off = local_interrupt_disable();
            let _held = locks.spin.lock();
            drop(off);
        },
    );
    assert_eq!(report.rules(), ["lock-irq-unsafe"]);
}

#[test]
fn an_unsafe_lock_taken_under_a_handlers_lock_is_found() {
    let report = with_handler(
        |locks| *locks.events.lock() += 1,
        |locks| {
            *locks.spin.lock() += 1;
            let _events = locks.events.lock();
            *locks.spin.lock() += 1;
        },
    );
    assert_eq!(report.rules(), ["lock-irq-order"]);
}

#[test]
fn a_lock_that_is_only_taken_under_a_handlers_lock_is_silent() {
    let report = with_handler(
        |locks| *locks.events.lock() += 1,
        |locks| {
            let _events = locks.events.lock();
            *locks.spin.lock() += 1;
        },
    );
    assert!(report.is_clean());
}

#[test]
fn a_guard_that_is_forgotten_is_found_at_the_end_of_its_task() {
    let report = process(|locks| core::mem::forget(locks.first.lock()));
    assert_eq!(report.rules(), ["lock-left-held"]);
}

#[test]
fn a_guard_that_a_handler_forgets_is_found_and_leaves_the_task_able_to_sleep() {
    let report = with_handler(|locks| core::mem::forget(locks.events.lock()), |_| rt::udelay(5_000));
    assert_eq!(report.rules(), ["lock-left-held"]);
}

#[test]
fn a_sleep_under_a_spinlock_names_the_lock() {
    let report = process(|locks| {
        let _held = locks.spin.lock();
        rt::might_sleep();
    });
    assert_eq!(report.rules(), ["sleep-in-atomic"]);
    assert!(report.findings[0].notes[0].contains("\"spin\""), "{:?}", report.findings[0].notes);
}
