//! Locks and waits: who gets what when, with a machine and without one.

#![allow(unsafe_code, reason = "global locks are initialised by a promise")]

use bringup_bench::{Bench, Report};
use bringup_core::choice::Seeded;
use core::cell::Cell;
use core::pin::Pin;
use kernel::interrupt::{local_interrupt_disable, LocalInterruptDisabled};
use kernel::prelude::*;
use kernel::sync::barrier::{dma_mb, mb, smp_mb, Full, Read, Write};
use kernel::sync::srcu::new_srcu;
use kernel::sync::{
    global_lock, new_condvar, new_mutex, new_spinlock, new_spinlock_irq, Arc, Completion, CondVar,
    CondVarTimeoutResult, GlobalLockedBy, LockedBy, Mutex, SpinLock, SpinLockIrq, Srcu,
};
use kernel::time::{delay::fsleep, Delta};
use pin_init::stack_pin_init;
use std::rc::Rc;
use std::vec::Vec;

fn bench() -> Bench {
    Bench::builder().build().unwrap()
}

/// Runs `body` as the only process of a machine.
fn alone(body: impl FnOnce()) -> Report {
    let bench = bench();
    let _ = bench.run("test", body);
    bench.finish()
}

fn millis(millis: i64) -> Delta {
    Delta::from_millis(millis)
}

#[test]
fn locks_work_without_a_machine() {
    stack_pin_init!(let mutex = new_mutex!(1));
    stack_pin_init!(let spin = new_spinlock!(2));
    stack_pin_init!(let irq = new_spinlock_irq!(3));
    *mutex.lock() += *spin.lock() + *irq.lock();
    assert_eq!(*mutex.lock(), 6);
    mb(Full);
    smp_mb(Read);
    dma_mb(Write);
}

#[test]
fn assuming_that_interrupts_are_off_warns_where_they_are_on() {
    let assume = || {
        // SAFETY: that they are on harms nothing here.
        let _ = unsafe { LocalInterruptDisabled::assume_disabled() };
    };
    let off = alone(|| {
        let _off = local_interrupt_disable();
        assume();
    });
    assert!(off.is_clean(), "{:?}", off.findings);
    assert_eq!(alone(assume).rules(), ["kernel-warning"]);
    let not_by_a_spinlock = alone(|| {
        stack_pin_init!(let spin = new_spinlock!(()));
        let _held = spin.lock();
        assume();
    });
    assert_eq!(not_by_a_spinlock.rules(), ["kernel-warning"]);
}

#[test]
fn a_held_lock_is_not_taken_by_trying() {
    stack_pin_init!(let mutex = new_mutex!(()));
    stack_pin_init!(let spin = new_spinlock!(()));
    stack_pin_init!(let irq = new_spinlock_irq!(()));
    let held = (mutex.try_lock().unwrap(), spin.try_lock().unwrap(), irq.try_lock().unwrap());
    assert!(mutex.try_lock().is_none());
    assert!(spin.try_lock().is_none());
    assert!(irq.try_lock().is_none());
    drop(held);
    assert!(mutex.try_lock().is_some());
    assert!(spin.try_lock().is_some());
    assert!(irq.try_lock().is_some());
}

#[test]
#[should_panic(expected = "is taken while it is held")]
fn a_deadlock_without_a_machine_is_a_panic() {
    stack_pin_init!(let spin = new_spinlock!((), "twice"));
    let _held = spin.lock();
    let _ = spin.lock();
}

#[test]
fn a_mutex_lets_one_task_in_at_a_time() {
    let bench = bench();
    let shared = Arc::pin_init(new_mutex!(Vec::new()), GFP_KERNEL).unwrap();
    let jobs = [1, 2, 3].map(|task| {
        let shared: Arc<Mutex<Vec<u32>>> = shared.clone();
        bench.spawn("worker", move || {
            let mut log = shared.lock();
            log.push(task);
            fsleep(millis(1));
            log.push(task);
        })
    });
    jobs.iter().for_each(|job| bench.join(job).unwrap());
    assert_eq!(*shared.lock(), [1, 1, 2, 2, 3, 3]);
    drop(jobs);
    drop(shared);
    assert!(bench.finish().is_clean());
}

#[test]
fn a_mutex_taken_by_its_holder_is_a_finding_and_the_end() {
    let report = alone(|| {
        stack_pin_init!(let mutex = new_mutex!((), "self"));
        let _held = mutex.lock();
        let _ = mutex.lock();
    });
    assert_eq!(report.rules(), ["lock-recursion"]);
    assert!(report.findings[0].what.contains("\"self\""));
    assert!(report.findings[0].place.unwrap().file().ends_with("sync.rs"));
    assert!(report.crashed);
}

#[test]
fn a_spinlock_taken_by_its_holder_is_a_finding_and_the_end() {
    let report = alone(|| {
        stack_pin_init!(let spin = new_spinlock!((), "self"));
        let _held = spin.lock();
        let _ = spin.lock();
    });
    assert_eq!(report.rules(), ["lock-recursion"]);
    assert!(report.findings[0].place.unwrap().file().ends_with("tests/sync.rs"));
}

#[test]
fn sleeping_under_a_spinlock_is_a_finding_and_afterwards_it_is_not() {
    let report = alone(|| {
        stack_pin_init!(let spin = new_spinlock!(()));
        let held = spin.lock();
        fsleep(millis(1));
        drop(held);
        fsleep(millis(1));
    });
    assert_eq!(report.rules(), ["sleep-in-atomic"]);
}

#[test]
fn taking_a_mutex_under_a_spinlock_is_a_finding_at_the_drivers_line() {
    let report = alone(|| {
        stack_pin_init!(let spin = new_spinlock_irq!(()));
        stack_pin_init!(let mutex = new_mutex!(()));
        let _held = spin.lock();
        drop(mutex.lock());
    });
    assert_eq!(report.rules(), ["sleep-in-atomic"]);
    assert!(report.findings[0].place.unwrap().file().ends_with("tests/sync.rs"));
}

#[test]
fn irq_spinlocks_and_tokens_nest() {
    let report = alone(|| {
        stack_pin_init!(let outer = new_spinlock_irq!(1));
        stack_pin_init!(let inner = new_spinlock_irq!(2));
        {
            let token = local_interrupt_disable();
            let first = outer.lock_with(&token);
            let second = inner.lock();
            assert_eq!(*first + *second, 3);
            assert!(outer.try_lock_with(&token).is_none());
        }
        kernel::task::might_sleep();
    });
    assert!(report.is_clean());
}

#[test]
fn a_panic_under_locks_unwinds_through_their_guards() {
    let report = alone(|| {
        stack_pin_init!(let spin = new_spinlock!(()));
        stack_pin_init!(let mutex = new_mutex!(()));
        let _sleeps = mutex.lock();
        let _spins = spin.lock();
        panic!("on purpose");
    });
    assert_eq!(report.rules(), ["driver-panic"]);
}

#[test]
fn pinned_data_is_reached_through_the_guard() {
    #[pin_data]
    struct Inner {
        #[pin]
        lock: SpinLock<u32>,
        plain: u32,
    }
    fn sum(outer: &SpinLockIrq<Inner>) -> u32 {
        let mut guard = outer.lock();
        let inner: Pin<&mut Inner> = guard.as_mut();
        let total = *inner.lock.lock() + inner.plain;
        total
    }
    stack_pin_init!(let outer = new_spinlock_irq!(pin_init!(Inner { lock <- new_spinlock!(4), plain: 5 })));
    assert_eq!(sum(&outer), 9);
}

struct Owner {
    total: u32,
}

#[test]
fn the_key_of_a_lock_opens_what_it_guards_elsewhere() {
    stack_pin_init!(let owner: Mutex<Owner> = new_mutex!(Owner { total: 1 }));
    let part = LockedBy::new(&owner, 2);
    let mut key = owner.lock();
    key.total += *part.access(&key);
    *part.access_mut(&mut key) = 7;
    assert_eq!((key.total, *part.access(&key)), (3, 7));
}

#[test]
#[should_panic(expected = "mismatched owners")]
fn the_key_of_another_lock_opens_nothing() {
    stack_pin_init!(let owner: Mutex<Owner> = new_mutex!(Owner { total: 1 }));
    stack_pin_init!(let other: Mutex<Owner> = new_mutex!(Owner { total: 1 }));
    let part = LockedBy::new(&owner, 2);
    let _ = part.access(&other.lock());
}

global_lock! {
    // SAFETY: the test initialises it before it is used.
    unsafe(uninit) static COUNTER: Mutex<u32> = 10;
}

#[test]
fn each_life_has_a_global_lock_of_its_own() {
    let mut seen = Vec::new();
    for _ in 0..2 {
        let bench = bench();
        let count = bench.run("init", || {
            // SAFETY: the first thing that this life does with it.
            unsafe { COUNTER.init() };
            *COUNTER.lock() += 1;
            *COUNTER.lock()
        });
        seen.push(count.unwrap());
        assert!(bench.finish().is_clean());
    }
    assert_eq!(seen, [11, 11]);
}

global_lock! {
    /// Two things at once.
    // SAFETY: the test initialises it before it is used.
    pub(crate) unsafe(uninit) static PAIR: SpinLockIrq<KVec<u32>> = KVec::new();
}

#[test]
fn a_global_lock_guards_what_is_elsewhere_too() {
    // SAFETY: nobody else does.
    unsafe { PAIR.init() };
    let mut there = GlobalLockedBy::<u32, PAIR>::new(1);
    let mut guard = PAIR.lock();
    guard.push(5, GFP_ATOMIC).unwrap();
    *there.as_mut(&mut guard) += 1;
    assert_eq!((guard[0], *there.as_ref(&guard)), (5, 2));
    *guard = KVec::new();
    drop(guard);
    assert!(PAIR.try_lock().is_some());
    assert_eq!(*there.get_mut(), 2);
}

global_lock! {
    // SAFETY: it is a mistake that it is not initialised.
    unsafe(uninit) static FORGOTTEN: SpinLock<u32> = 0;
}

#[test]
fn a_global_lock_that_was_not_initialised_in_this_life_is_a_warning() {
    let once = || {
        let bench = bench();
        let count = bench.run("user", || {
            *FORGOTTEN.lock() += 1;
            *FORGOTTEN.lock()
        });
        (count, bench.finish().rules())
    };
    assert_eq!(once(), (Ok(1), vec!["kernel-warning"]));
    assert_eq!(once(), (Ok(1), vec!["kernel-warning"]));
}

#[pin_data]
struct Mailbox {
    #[pin]
    mail: Mutex<Option<u32>>,
    #[pin]
    arrived: CondVar,
}

fn try_mailbox() -> Result<Arc<Mailbox>> {
    let new = pin_init!(Mailbox { mail <- new_mutex!(None), arrived <- new_condvar!("mail") });
    Arc::pin_init(new, GFP_KERNEL)
}

fn mailbox() -> Arc<Mailbox> {
    try_mailbox().unwrap()
}

#[test]
fn a_condition_is_waited_for_with_the_lock_given_back() {
    let bench = bench();
    let mailbox = mailbox();
    let reader = mailbox.clone();
    let job = bench.spawn("reader", move || {
        let mut mail = reader.mail.lock();
        while mail.is_none() {
            reader.arrived.wait(&mut mail);
        }
        *mail
    });
    bench
        .run("writer", || {
            fsleep(millis(5));
            *mailbox.mail.lock() = Some(3);
            mailbox.arrived.notify_one();
        })
        .unwrap();
    assert_eq!(bench.join(&job), Ok(Some(3)));
    drop(mailbox);
    assert!(bench.finish().is_clean());
}

#[test]
fn waiters_are_woken_in_their_order_and_one_by_one() {
    let bench = bench();
    let mailbox = mailbox();
    let order = Rc::new(Cell::new(0));
    let jobs = [1, 2].map(|number| {
        let (mailbox, order) = (mailbox.clone(), order.clone());
        bench.spawn("reader", move || {
            mailbox.arrived.wait(&mut mailbox.mail.lock());
            order.set(order.get() * 10 + number);
        })
    });
    bench.run("writer", || fsleep(millis(1))).unwrap();
    bench.run("writer", || mailbox.arrived.notify_one()).unwrap();
    bench.advance(1_000_000);
    assert_eq!(order.get(), 1);
    bench.run("writer", || mailbox.arrived.notify_all()).unwrap();
    jobs.iter().for_each(|job| bench.join(job).unwrap());
    assert_eq!(order.get(), 12);
}

#[test]
fn a_notification_without_a_waiter_is_lost() {
    let report = alone(|| {
        let mailbox = mailbox();
        mailbox.arrived.notify_all();
        mailbox.arrived.wait(&mut mailbox.mail.lock());
    });
    assert_eq!(report.rules(), ["watchdog-hung"]);
}

#[test]
fn a_wait_with_a_timeout_ends_at_the_tick() {
    let bench = bench();
    let (timed_out, waited) = bench
        .run("reader", || {
            let mailbox = mailbox();
            let began = kernel::time::Instant::<kernel::time::Monotonic>::now();
            let mut mail = mailbox.mail.lock();
            let result = mailbox.arrived.wait_interruptible_timeout(&mut mail, kernel::time::msecs_to_jiffies(30));
            (matches!(result, CondVarTimeoutResult::Timeout), began.elapsed().as_millis())
        })
        .unwrap();
    assert!(timed_out);
    assert_eq!(waited, 30);
}

#[test]
fn a_wait_with_a_timeout_says_how_much_is_left() {
    let bench = bench();
    let mailbox = mailbox();
    let reader = mailbox.clone();
    let job = bench.spawn("reader", move || {
        let result = reader.arrived.wait_interruptible_timeout(&mut reader.mail.lock(), 100);
        match result {
            CondVarTimeoutResult::Woken { jiffies } => jiffies,
            CondVarTimeoutResult::Timeout | CondVarTimeoutResult::Signal { .. } => 0,
        }
    });
    bench
        .run("writer", || {
            fsleep(millis(40));
            mailbox.arrived.notify_sync();
        })
        .unwrap();
    assert_eq!(bench.join(&job), Ok(60));
}

#[test]
fn a_signal_ends_interruptible_waits() {
    let bench = bench();
    let mailbox = mailbox();
    let reader = mailbox.clone();
    let job = bench.spawn("reader", move || reader.arrived.wait_interruptible(&mut reader.mail.lock()));
    bench.advance(1_000);
    bench.signal(&job);
    assert_eq!(bench.join(&job), Ok(true));
}

#[test]
fn waiting_under_a_second_lock_is_a_finding() {
    let report = alone(|| {
        let mailbox = mailbox();
        stack_pin_init!(let spin = new_spinlock!(()));
        let mut mail = mailbox.mail.lock();
        let _held = spin.lock();
        let _ = mailbox.arrived.wait_interruptible_timeout(&mut mail, 1);
    });
    assert!(report.rules().contains(&"sleep-in-atomic"));
}

#[test]
fn no_notification_is_lost_under_any_schedule() {
    for seed in 0..300 {
        let bench = Bench::builder().chooser(Seeded::new(seed)).build().unwrap();
        let Ok(mailbox) = bench.run("set-up", try_mailbox).unwrap() else { continue };
        let reader = mailbox.clone();
        let job = bench.spawn("reader", move || {
            let mut taken = 0;
            while taken < 3 {
                let mut mail = reader.mail.lock();
                while mail.is_none() {
                    reader.arrived.wait(&mut mail);
                }
                taken += 1;
                assert_eq!(mail.take(), Some(taken));
                reader.arrived.notify_all();
            }
        });
        bench
            .run("writer", || {
                for number in 1..=3 {
                    let mut mail = mailbox.mail.lock();
                    while mail.is_some() {
                        mailbox.arrived.wait(&mut mail);
                    }
                    *mail = Some(number);
                    mailbox.arrived.notify_all();
                }
            })
            .unwrap();
        bench.join(&job).unwrap();
        drop(mailbox);
        assert!(bench.finish().is_clean(), "seed {seed}");
    }
}

#[test]
fn a_completion_is_waited_for_and_stays_done() {
    let bench = bench();
    let done = Arc::pin_init(Completion::new(), GFP_KERNEL).unwrap();
    let waiter = done.clone();
    let job = bench.spawn("waiter", move || {
        waiter.wait_for_completion();
        waiter.wait_for_completion();
    });
    bench.advance(1_000);
    assert!(!job.is_done());
    bench.run("worker", || done.complete_all()).unwrap();
    assert_eq!(bench.join(&job), Ok(()));
}

#[test]
fn a_completion_ends_all_waits_for_it() {
    let bench = bench();
    let done = Arc::pin_init(Completion::new(), GFP_KERNEL).unwrap();
    let jobs = [1, 2, 3].map(|_| {
        let done = done.clone();
        bench.spawn("waiter", move || done.wait_for_completion())
    });
    bench.advance(1_000);
    bench.run("worker", || done.complete_all()).unwrap();
    jobs.iter().for_each(|job| bench.join(job).unwrap());
}

#[test]
fn srcu_waits_for_readers_that_were_there_and_for_no_others() {
    let bench = bench();
    let srcu: Arc<Srcu> = Arc::pin_init(new_srcu!("data"), GFP_KERNEL).unwrap();
    let early = srcu.clone();
    let first = bench.spawn("early", move || {
        let _reads = early.read_lock();
        fsleep(millis(10));
    });
    let waiter = srcu.clone();
    let writer = bench.spawn("writer", move || {
        fsleep(millis(1));
        waiter.synchronize();
    });
    let late = srcu.clone();
    let last = bench.spawn("late", move || {
        fsleep(millis(5));
        let _reads = late.read_lock();
        fsleep(millis(50));
    });
    bench.join(&first).unwrap();
    assert!(!writer.is_done());
    bench.join(&writer).unwrap();
    assert!(!last.is_done());
    assert!((10_000_000..11_000_000).contains(&bench.now()));
    bench.join(&last).unwrap();
}

#[test]
fn current_is_the_task_that_asks() {
    use kernel::sync::aref::ARef;
    use kernel::task::{Kuid, Task};
    let bench = bench();
    let task = || -> ARef<Task> { ARef::from(&**kernel::current!()) };
    let first = bench.run("first", task).unwrap();
    let second = bench.run("second", task).unwrap();
    assert!(*first != *second);
    assert_ne!(first.pid(), second.pid());
    let same = bench.run("third", || {
        let me = task();
        *me == **kernel::current!() && me.pid() == kernel::current!().tgid() && !kernel::current!().signal_pending()
    });
    assert_eq!(same, Ok(true));
    assert_eq!(kernel::current!().pid(), 0);
    assert!(first.uid() == Kuid::current_euid());
}
