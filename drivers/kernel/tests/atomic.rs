//! Atomics, counters of references and set-once places.

#![allow(unsafe_code, reason = "plain variables are accessed atomically through pointers")]

use bringup_bench::{Bench, Errno, Limits};
use bringup_core::choice::{Chooser, Point};
use kernel::sync::atomic::{
    atomic_load, atomic_store, cmpxchg, xchg, Acquire, Atomic, AtomicFlag, Full, Relaxed, Release,
};
use kernel::sync::{Refcount, SetOnce};
use std::rc::Rc;

/// Runs the operations that all types have, on the bit patterns of one.
macro_rules! exchanges {
    ($($name:ident: $ty:ty = $first:expr, $second:expr;)*) => {$(
        #[test]
        fn $name() {
            let (first, second): ($ty, $ty) = ($first, $second);
            let mut atomic = Atomic::new(first);
            assert_eq!(atomic.load(Acquire), first);
            atomic.store(second, Release);
            assert_eq!(atomic.xchg(first, Full), second);
            assert_eq!(atomic.cmpxchg(second, second, Full), Err(first));
            assert_eq!(atomic.cmpxchg(first, second, Acquire), Ok(first));
            assert_eq!(*atomic.get_mut(), second);
        }
    )*};
}

exchanges! {
    i8_is_exchanged_whole: i8 = -128, 127;
    i16_is_exchanged_whole: i16 = -2, 0x1234;
    i32_is_exchanged_whole: i32 = i32::MIN, 1;
    u32_is_exchanged_whole: u32 = u32::MAX, 0x8000_0000;
    i64_is_exchanged_whole: i64 = i64::MIN, 1;
    u64_is_exchanged_whole: u64 = u64::MAX, 1 << 63;
    isize_is_exchanged_whole: isize = isize::MIN, 1;
    usize_is_exchanged_whole: usize = usize::MAX, 0;
    bool_is_exchanged_whole: bool = true, false;
}

#[test]
fn arithmetic_wraps_around_and_returns_what_was_there() {
    let unsigned = Atomic::new(u32::MAX);
    assert_eq!(unsigned.fetch_add(2, Full), u32::MAX);
    assert_eq!(unsigned.fetch_sub(3, Relaxed), 1);
    unsigned.add(5u32, Relaxed);
    assert_eq!(unsigned.load(Relaxed), 3);

    let signed = Atomic::new(i64::MIN);
    assert_eq!(signed.fetch_sub(1, Release), i64::MIN);
    assert_eq!(signed.load(Relaxed), i64::MAX);

    let word = Atomic::new(1usize);
    assert_eq!(word.fetch_sub(2, Acquire), 1);
    assert_eq!(word.load(Relaxed), usize::MAX);
}

#[test]
fn pointers_keep_what_they_point_to() {
    let (mut one, two) = (1u8, 2u8);
    let mutable = Atomic::new(&raw mut one);
    let shared = Atomic::new(&raw const two);
    // SAFETY: the variable is alive, and its pointer went through the atomic.
    unsafe { *mutable.load(Acquire) += 10 };
    // SAFETY: as above.
    assert_eq!(unsafe { *shared.xchg(core::ptr::null(), Full) }, 2);
    assert!(shared.load(Relaxed).is_null());
    assert_eq!(one, 11);
}

#[test]
fn plain_variables_are_accessed_through_pointers() {
    let mut plain = 4u64;
    let ptr = &raw mut plain;
    // SAFETY: the variable is alive and nobody else uses it.
    unsafe {
        atomic_store(ptr, 5, Release);
        assert_eq!(atomic_load(ptr, Acquire), 5);
        assert_eq!(xchg(ptr, 6, Full), 5);
        assert_eq!(cmpxchg(ptr, 5, 7, Relaxed), Err(6));
        assert_eq!(cmpxchg(ptr, 6, 7, Relaxed), Ok(6));
        assert_eq!(Atomic::from_ptr(ptr).load(Relaxed), 7);
    }
}

#[test]
fn flag_behaves_as_a_bool() {
    let mut flag = AtomicFlag::new(false);
    assert!(!flag.xchg(true, Full));
    assert_eq!(flag.cmpxchg(false, true, Full), Err(true));
    assert_eq!(flag.cmpxchg(true, false, Relaxed), Ok(true));
    *flag.get_mut() = true;
    assert!(flag.load(Acquire));
    flag.store(false, Release);
    assert!(!flag.load(Relaxed));
}

/// Runs a loop in a machine, beside a task that does something a microsecond later.
fn beside(wait: fn(), later: fn()) -> Result<(), Errno> {
    let bench = Bench::builder().limits(Limits { busy_ns: 10_000_000, ..Limits::default() }).chooser(PreemptAlways);
    let bench = bench.build().unwrap();
    let later = bench.spawn("later", move || {
        kernel::machine::sleep(1_000);
        later();
    });
    let waited = bench.run("waiting", wait);
    if waited.is_ok() {
        bench.join(&later).unwrap();
        assert!(bench.finish().is_clean());
    } else {
        assert_eq!(bench.finish().rules(), ["watchdog-lockup"]);
    }
    waited
}

/// Lets another task run wherever one can.
struct PreemptAlways;

impl Chooser for PreemptAlways {
    fn choose(&mut self, point: Point, _options: u32) -> u32 {
        u32::from(point == Point::Preempt)
    }
}

std::thread_local! {
    /// What the loops of a test wait for.
    static READY: &'static Atomic<u32> = Box::leak(Box::new(Atomic::new(0)));
    static FLAG: &'static AtomicFlag = Box::leak(Box::new(AtomicFlag::new(false)));
}

/// The two variables that the loops of a test wait for.
fn shared() -> (&'static Atomic<u32>, &'static AtomicFlag) {
    (READY.with(|ready| *ready), FLAG.with(|flag| *flag))
}

#[test]
fn loop_around_an_atomic_ends_when_another_task_writes_it() {
    let outcomes = [
        beside(|| while shared().0.load(Acquire) != 1 {}, || shared().0.store(1, Release)),
        beside(|| while shared().0.cmpxchg(2, 3, Full).is_err() {}, || shared().0.store(2, Release)),
        beside(|| while shared().0.xchg(5, Full) != 4 {}, || shared().0.store(4, Release)),
        beside(|| while !shared().1.load(Relaxed) {}, || shared().1.store(true, Release)),
        beside(|| while shared().1.cmpxchg(false, true, Full).is_err() {}, || shared().1.store(false, Release)),
    ];
    assert_eq!(outcomes, [Ok(()); 5]);
}

#[test]
fn loop_around_an_atomic_that_nobody_writes_is_a_lockup() {
    assert!(beside(|| while shared().0.load(Relaxed) != 9 {}, || ()).is_err());
}

#[test]
fn time_stands_still_for_the_counts_of_the_crate_itself() {
    let bench = Bench::builder().build().unwrap();

    bench
        .run("counting", || {
            let count = Refcount::new(1);
            count.inc();
            assert!(!count.dec_and_test() && count.dec_and_test());
            let place = SetOnce::new();
            assert!(place.populate(1) && place.copy() == Some(1));
        })
        .unwrap();

    assert_eq!(bench.now(), 0);
}

#[test]
fn debug_form_is_that_of_the_value() {
    assert_eq!(format!("{:?}", Atomic::new(-3i32)), "-3");
}

#[test]
fn refcount_says_who_was_the_last() {
    let count = Refcount::new(1);
    count.inc();
    assert!(!count.dec_and_test());
    assert!(count.dec_and_test());
    assert_eq!(count.as_atomic().load(Relaxed), 0);
}

#[test]
fn refcount_sticks_instead_of_wrapping() {
    const SATURATED: i32 = i32::MIN / 2;
    let after = |start: i32, operation: fn(&Refcount)| {
        let count = Refcount::new(0);
        count.set(start);
        operation(&count);
        count.as_atomic().load(Relaxed)
    };
    assert_eq!(after(i32::MAX, Refcount::inc), SATURATED);
    assert_eq!(after(0, Refcount::inc), SATURATED);
    assert_eq!(after(1, Refcount::dec), SATURATED);
    assert_eq!(after(0, |count| assert!(!count.dec_and_test())), SATURATED);
    assert_eq!(after(SATURATED, |count| assert!(!count.dec_and_test())), SATURATED);
    assert_eq!(after(2, Refcount::dec), 1);
}

#[test]
fn set_once_keeps_the_first_value_and_drops_the_others() {
    let (first, second) = (Rc::new(1), Rc::new(2));
    let place = SetOnce::default();
    assert!(place.as_ref().is_none());
    assert!(place.populate(first.clone()));
    assert!(!place.populate(second.clone()));
    assert_eq!(place.as_ref().map(|value| **value), Some(1));
    assert_eq!((Rc::strong_count(&first), Rc::strong_count(&second)), (2, 1));
    drop(place);
    assert_eq!(Rc::strong_count(&first), 1);
}
