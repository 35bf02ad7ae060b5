//! Atomics, counters of references and set-once places.

#![allow(unsafe_code, reason = "plain variables are accessed atomically through pointers")]

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
