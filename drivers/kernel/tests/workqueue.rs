//! Work items: what is queued runs once for each time, in process context, with its pointer.

#![allow(unsafe_code, reason = "counting references by hand is part of the interface")]

use bringup_bench::Bench;
use bringup_core::choice::Seeded;
use core::ptr::NonNull;
use kernel::prelude::*;
use kernel::sync::aref::{ARef, AlwaysRefCounted};
use kernel::sync::atomic::{Atomic, Relaxed};
use kernel::sync::{new_mutex, Arc, Completion, Mutex};
use kernel::time::{delay::fsleep, msecs_to_jiffies, Delta};
use kernel::workqueue::{
    self, impl_has_delayed_work, impl_has_work, new_delayed_work, new_work, DelayedWork, Work, WorkItem,
};

fn bench() -> Bench {
    Bench::builder().build().unwrap()
}

/// Two items that log their runs.
#[pin_data]
struct Two {
    #[pin]
    first: Work<Self, 1>,
    #[pin]
    second: Work<Self, 2>,
    #[pin]
    log: Mutex<KVec<u32>>,
    #[pin]
    done: Completion,
}

impl_has_work! {
    impl HasWork<Self, 1> for Two { self.first }
    impl HasWork<Self, 2> for Two { self.second }
}

impl WorkItem<1> for Two {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        // A mutex and memory may be slept for.
        this.log.lock().push(1, GFP_KERNEL).unwrap();
    }
}

impl WorkItem<2> for Two {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        this.log.lock().push(2, GFP_KERNEL).unwrap();
        this.done.complete_all();
    }
}

fn two() -> Arc<Two> {
    let new = pin_init!(Two {
        first <- new_work!(),
        second <- new_work!("second"),
        log <- new_mutex!(KVec::new()),
        done <- Completion::new(),
    });
    Arc::pin_init(new, GFP_KERNEL).unwrap()
}

#[test]
fn an_item_that_is_queued_comes_back_and_one_that_ran_is_queued_again() {
    let bench = bench();
    bench
        .run("driver", || {
            let two = two();
            assert!(workqueue::system().enqueue::<_, 1>(two.clone()).is_ok());
            assert!(workqueue::system_long().enqueue::<_, 1>(two.clone()).is_err());
            fsleep(Delta::from_millis(1));
            assert!(workqueue::system_unbound().enqueue::<_, 1>(two.clone()).is_ok());
            assert!(workqueue::system_highpri().enqueue::<_, 2>(two.clone()).is_ok());
            two.done.wait_for_completion();
            fsleep(Delta::from_millis(1));
            assert_eq!(two.log.lock()[..], [1, 1, 2]);
            assert!(Arc::into_unique_or_drop(two).is_some());
        })
        .unwrap();
    assert!(bench.finish().is_clean());
}

#[pin_data]
struct Later {
    #[pin]
    work: DelayedWork<Self>,
    ran: Arc<Atomic<u32>>,
}

impl_has_delayed_work! {
    impl HasDelayedWork<Self> for Later { self.work }
}

impl WorkItem for Later {
    type Pointer = Pin<KBox<Self>>;

    fn run(this: Pin<KBox<Self>>) {
        this.ran.add(1u32, Relaxed);
    }
}

#[test]
fn a_delayed_item_runs_after_its_ticks_and_its_box_is_dropped() {
    let bench = bench();
    bench
        .run("driver", || {
            let ran = Arc::new(Atomic::new(0u32), GFP_KERNEL).unwrap();
            let later = |ran: &Arc<Atomic<u32>>| {
                let new = pin_init!(Later { work <- new_delayed_work!("later"), ran: ran.clone() });
                KBox::pin_init(new, GFP_KERNEL).unwrap()
            };
            workqueue::system().enqueue_delayed(later(&ran), msecs_to_jiffies(20));
            workqueue::system().enqueue(later(&ran));
            fsleep(Delta::from_millis(19));
            assert_eq!(ran.load(Relaxed), 1);
            fsleep(Delta::from_millis(2));
            assert_eq!(ran.load(Relaxed), 2);
            assert!(Arc::into_unique_or_drop(ran).is_some());
        })
        .unwrap();
    assert!(bench.finish().is_clean());
}

/// Counts its references itself.
#[pin_data]
struct Counted {
    references: Atomic<u32>,
    #[pin]
    work: DelayedWork<Self>,
}

// SAFETY: the test's value outlives all references.
unsafe impl AlwaysRefCounted for Counted {
    fn inc_ref(&self) {
        self.references.add(1u32, Relaxed);
    }

    unsafe fn dec_ref(obj: NonNull<Self>) {
        // SAFETY: the caller owns a reference.
        unsafe { obj.as_ref() }.references.fetch_sub(1u32, Relaxed);
    }
}

impl_has_delayed_work! {
    impl HasDelayedWork<Self> for Counted { self.work }
}

impl WorkItem for Counted {
    type Pointer = ARef<Self>;

    fn run(this: ARef<Self>) {
        assert_eq!(this.references.load(Relaxed), 2);
    }
}

#[test]
fn the_queue_holds_one_reference_until_the_item_ran() {
    let bench = bench();
    bench
        .run("driver", || {
            let new = pin_init!(Counted { references: Atomic::new(1), work <- new_delayed_work!() });
            let counted = KBox::pin_init(new, GFP_KERNEL).unwrap();
            assert!(workqueue::system().enqueue_delayed(ARef::from(&*counted), 3).is_ok());
            assert!(workqueue::system().enqueue(ARef::from(&*counted)).is_err());
            assert_eq!(counted.references.load(Relaxed), 2);
            fsleep(Delta::from_millis(5));
            assert_eq!(counted.references.load(Relaxed), 1);
        })
        .unwrap();
    assert!(bench.finish().is_clean());
}

#[test]
fn spawned_closures_run_once_each() {
    let bench = bench();
    bench
        .run("driver", || {
            let sum = Arc::new(Atomic::new(0u32), GFP_KERNEL).unwrap();
            for number in 1..=4u32 {
                let sum = sum.clone();
                let add = move || sum.add(number, Relaxed);
                workqueue::system().try_spawn(GFP_KERNEL, add).unwrap();
            }
            fsleep(Delta::from_millis(1));
            assert_eq!(sum.load(Relaxed), 10);
            assert!(Arc::into_unique_or_drop(sum).is_some());
        })
        .unwrap();
    assert!(bench.finish().is_clean());
}

#[test]
fn sleeping_is_a_finding_in_a_bottom_half_only() {
    let bench = bench();
    bench
        .run("driver", || {
            workqueue::system().try_spawn(GFP_KERNEL, || fsleep(Delta::from_millis(1))).unwrap();
            fsleep(Delta::from_millis(5));
        })
        .unwrap();
    assert_eq!(bench.findings(), [""; 0]);
    bench
        .run("driver", || {
            workqueue::system_bh().try_spawn(GFP_KERNEL, || kernel::task::might_sleep()).unwrap();
            fsleep(Delta::from_millis(5));
        })
        .unwrap();
    assert_eq!(bench.finish().rules(), ["sleep-in-atomic"]);
}

#[test]
fn a_panic_in_an_item_ends_the_life_and_not_the_process() {
    let bench = bench();
    let result = bench.run("driver", || {
        workqueue::system().try_spawn(GFP_KERNEL, || panic!("on purpose")).unwrap();
        fsleep(Delta::from_millis(5));
    });
    assert!(result.is_err());
    assert_eq!(bench.finish().rules(), ["driver-panic"]);
}

#[test]
fn items_run_once_for_each_time_under_all_schedules() {
    for seed in 0..200 {
        let bench = Bench::builder().chooser(Seeded::new(seed)).build().unwrap();
        let jobs = [0, 1].map(|_| {
            bench.spawn("driver", || {
                // Memory may run out here.
                let new = pin_init!(Two {
                    first <- new_work!(),
                    second <- new_work!(),
                    log <- new_mutex!(KVec::with_capacity(2, GFP_KERNEL).unwrap_or_default()),
                    done <- Completion::new(),
                });
                let Ok(two) = Arc::pin_init(new, GFP_KERNEL) else { return true };
                if two.log.lock().capacity() == 0 {
                    return true;
                }
                let _ = workqueue::system().enqueue::<_, 1>(two.clone());
                let _ = workqueue::system().enqueue::<_, 2>(two.clone());
                two.done.wait_for_completion();
                fsleep(Delta::from_millis(1));
                let runs = two.log.lock().iter().sum::<u32>();
                runs == 3
            })
        });
        for job in &jobs {
            assert_eq!(bench.join(job), Ok(true), "seed {seed}");
        }
        assert!(bench.finish().is_clean(), "seed {seed}");
    }
}
