//! Waiting: notifications that come too early, and devices that never answer.

use bringup_bench::{rt, Bench, Limits, Report};
use bringup_core::fault::{Behaviour, Fault, Verb};
use bringup_core::Plan;
use bringup_devices::Edu;
use kernel::{
    new_condvar, new_mutex, new_spinlock_irq,
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        CondVar, Mutex, SpinLockIrq,
    },
};

#[pin_data]
struct Request {
    /// What the handler says, where the handler does not take the lock.
    flag: Atomic<u32>,
    #[pin]
    outer: Mutex<()>,
    /// What the handler says under the lock.
    #[pin]
    done: SpinLockIrq<bool>,
    #[pin]
    changed: CondVar,
}

/// Runs `body` as a process, and with it `handler` in a timer's callback `delay` nanoseconds later.
fn with_handler(delay: u64, handler: fn(&Request), body: impl FnOnce(&Request)) -> Report {
    struct Timer(fn(&Request), *const Request);
    // SAFETY: The callback's only caller passes a `Timer` whose request is alive.
    unsafe fn fire(data: *const ()) -> u32 {
        // SAFETY: As above.
        let timer = unsafe { &*data.cast::<Timer>() };
        // SAFETY: As above.
        timer.0(unsafe { &*timer.1 });
        0
    }
    let bench = Bench::builder().build().unwrap();
    let _ = bench.run("user", || {
        let request = KBox::pin_init(
            pin_init!(Request {
                flag: Atomic::new(0),
                outer <- new_mutex!(()),
                done <- new_spinlock_irq!(false),
                changed <- new_condvar!(),
            }),
            GFP_KERNEL,
        );
        let request = request.unwrap();
        let timer = Timer(handler, &raw const *request);
        // SAFETY: The timer and the request outlive the life's only sleep that is longer than the delay.
        let callback = unsafe { rt::Callback::new(fire, (&raw const timer).cast()) };
        rt::time::hrtimer_start(1, rt::time::now() + delay, callback);
        body(&request);
        rt::sleep(100_000);
    });
    bench.finish()
}

fn says_without_the_lock(request: &Request) {
    request.flag.store(1, Relaxed);
    request.changed.notify_all();
}

fn says_under_the_lock(request: &Request) {
    *request.done.lock() = true;
    request.changed.notify_all();
}

/// Looks, does something that takes a while, and waits: the handler comes in between.
fn checks_too_early(request: &Request, wait: fn(&Request, &mut kernel::sync::MutexGuard<'_, ()>)) {
    let mut guard = request.outer.lock();
    while request.flag.load(Relaxed) == 0 {
        rt::udelay(10_000);
        wait(request, &mut guard);
    }
}

#[test]
fn a_wait_whose_notification_came_before_it_is_found_when_it_hangs() {
    let report = with_handler(5_000, says_without_the_lock, |request| {
        checks_too_early(request, |request, guard| request.changed.wait(guard));
    });
    assert_eq!(report.rules(), ["lost-wakeup"]);
    assert!(report.crashed);
    assert!(report.findings[0].notes.iter().any(|note| note.contains("a timer notified at")));
}

#[test]
fn a_wait_whose_notification_came_before_it_is_found_when_its_time_is_over() {
    let report = with_handler(5_000, says_without_the_lock, |request| {
        checks_too_early(request, |request, guard| {
            let _ = request.changed.wait_interruptible_timeout(guard, 10);
        });
    });
    assert_eq!(report.rules(), ["lost-wakeup"]);
    assert!(!report.crashed);
}

#[test]
fn a_wait_under_the_lock_of_the_handler_is_silent() {
    let report = with_handler(5_000, says_under_the_lock, |request| {
        let mut done = request.done.lock();
        while !*done {
            rt::udelay(10_000);
            request.changed.wait(&mut done);
        }
    });
    assert!(report.is_clean(), "{:?}", report.findings);
}

#[test]
fn a_notification_before_the_lock_was_taken_is_no_lost_one() {
    let report = with_handler(1_000, says_under_the_lock, |request| {
        rt::sleep(20_000);
        let mut done = request.done.lock();
        *done = false;
        let _ = request.changed.wait_interruptible_timeout(&mut done, 10);
    });
    assert!(report.is_clean(), "{:?}", report.findings);
}

#[test]
fn a_hang_after_an_old_notification_says_so_and_blames_nobody_for_it() {
    let report = with_handler(1_000, says_under_the_lock, |request| {
        rt::sleep(20_000);
        let mut done = request.done.lock();
        request.changed.wait(&mut done);
    });
    assert_eq!(report.rules(), ["watchdog-hung"]);
    assert!(report.findings[0].notes[0].contains("when nobody waited"));
}

// --- Devices that never answer -------------------------------------------------------------------------------------------

/// Starts a factorial on an edu that never does any work on its own, and waits for it.
fn silent_edu(wait: impl FnOnce(usize)) -> Report {
    let plan = Plan::new(std::vec![Fault::new(Verb::Time, Behaviour::Drop)]);
    let limits = Limits { busy_operations: 20_000, ..Limits::default() };
    let bench = Bench::builder().device("edu", Edu::default()).plan(plan).limits(limits).build().unwrap();
    let device = bench.with_bus(|bus| bus.find("edu")).unwrap();
    let _ = bench.run("user", || {
        rt::pci::enable_device_mem(device);
        let (address, _) = rt::pci::iomap(device, 0).unwrap();
        rt::mmio_write(address + 0x08, 4, 5, false);
        wait(address);
        rt::pci::iounmap(address);
    });
    bench.finish()
}

fn busy(address: usize) -> bool {
    rt::mmio_read(address + 0x20, 4, false) & 1 != 0
}

#[test]
fn a_loop_without_a_bound_is_found_by_the_register_it_reads() {
    let report = silent_edu(|address| while busy(address) {});
    assert_eq!(report.rules(), ["spin-without-bound"]);
    assert!(report.findings[0].what.starts_with("BAR 0 offset 0x20 read "), "{}", report.findings[0].what);
    assert!(report.findings[0].place.unwrap().file().ends_with("waits.rs"));
}

#[test]
fn a_loop_with_a_delay_and_no_bound_is_found_too() {
    let report = silent_edu(|address| {
        while busy(address) {
            rt::udelay(1_000_000);
        }
    });
    assert_eq!(report.rules(), ["spin-without-bound"]);
}

#[test]
fn a_loop_that_gives_up_is_silent() {
    let report = silent_edu(|address| {
        for _ in 0..1000 {
            if !busy(address) {
                break;
            }
            rt::udelay(1_000);
        }
    });
    assert!(report.is_clean());
}

#[test]
fn a_loop_that_reads_nothing_is_a_lockup() {
    let report = silent_edu(|_| loop {
        rt::spin();
    });
    assert_eq!(report.rules(), ["watchdog-lockup"]);
}
