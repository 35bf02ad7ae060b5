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

struct Timer(fn(&Locks), *const Locks);

/// Runs a timer's handler.
///
/// # Safety
///
/// The data is a `Timer` whose locks are alive.
unsafe fn fire(data: *const ()) -> u32 {
    // SAFETY: The caller's contract.
    let timer = unsafe { &*data.cast::<Timer>() };
    // SAFETY: As above.
    timer.0(unsafe { &*timer.1 });
    0
}

/// Runs `body` as a process, and with it `handler` in a timer's callback a microsecond later.
fn with_handler(handler: fn(&Locks), body: impl FnOnce(&Locks)) -> Report {
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
fn a_timer_that_is_cancelled_under_a_lock_of_its_callback_is_found() {
    let report = with_handler(
        |locks| *locks.events.lock() += 1,
        |locks| {
            rt::sleep(2_000);
            let _events = locks.events.lock();
            // SAFETY: Nothing calls it: it is cancelled at once.
            let callback = unsafe { rt::Callback::new(fire, core::ptr::null()) };
            rt::time::hrtimer_start(1, rt::time::now() + 1_000_000, callback);
            rt::time::hrtimer_cancel(1);
        },
    );
    assert_eq!(report.rules(), ["lock-order"]);
    assert!(report.findings[0].what.starts_with("the end of a timer's callback is waited for"));
}

#[test]
fn a_timer_that_is_cancelled_without_its_lock_is_silent() {
    let report = with_handler(
        |locks| *locks.events.lock() += 1,
        |locks| {
            rt::sleep(2_000);
            *locks.events.lock() += 1;
            // SAFETY: Nothing calls it: it is cancelled at once.
            let callback = unsafe { rt::Callback::new(fire, core::ptr::null()) };
            rt::time::hrtimer_start(1, rt::time::now() + 1_000_000, callback);
            rt::time::hrtimer_cancel(1);
        },
    );
    assert!(report.is_clean());
}

/// Takes a mutex in the thread of a handler, and gives the handler back with the mutex held, or not.
fn threaded(held: bool) -> Report {
    unsafe fn wake(_data: *const ()) -> u32 {
        rt::irq::irqreturn::WAKE_THREAD
    }
    unsafe fn thread(data: *const ()) -> u32 {
        // SAFETY: The callback's data are the locks, which outlive the registration.
        *unsafe { &*data.cast::<Locks>() }.first.lock() += 1;
        rt::irq::irqreturn::HANDLED
    }
    let bench = Bench::builder().device("edu", bringup_devices::Edu::default()).build().unwrap();
    let device = bench.with_bus(|bus| bus.find("edu")).unwrap();
    bench
        .run("driver", || {
            let locks = Locks::new();
            rt::pci::enable_device_mem(device);
            rt::pci::set_master(device);
            let (bar, _) = rt::pci::iomap(device, 0).unwrap();
            let kinds = rt::irq::IrqKinds { msi: true, ..Default::default() };
            let irq = rt::irq::alloc_vectors(device, 1, 1, kinds).unwrap().first;
            let data: *const Locks = &raw const *locks;
            // SAFETY: The locks outlive the registration.
            let (wake, thread) =
                unsafe { (rt::Callback::new(wake, data.cast()), rt::Callback::new(thread, data.cast())) };
            let id = rt::irq::request_irq(irq, 0, "edu", wake, Some(thread)).unwrap();
            rt::mmio_write(bar + 0x60, 4, 1, false);
            rt::sleep(100_000);
            rt::mmio_write(bar + 0x64, 4, 1, false);
            let guard = held.then(|| locks.first.lock());
            rt::irq::free_irq(irq, id);
            drop(guard);
            rt::irq::free_vectors(device);
            rt::pci::iounmap(bar);
        })
        .unwrap();
    bench.finish()
}

#[test]
fn a_handler_that_is_taken_back_under_a_lock_of_its_thread_is_found() {
    let report = threaded(true);
    assert_eq!(report.rules(), ["lock-order"]);
    assert!(report.findings[0].what.starts_with("the end of the thread of handler edu is waited for"));
}

#[test]
fn a_handler_that_is_taken_back_without_the_lock_of_its_thread_is_silent() {
    assert!(threaded(false).is_clean());
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
