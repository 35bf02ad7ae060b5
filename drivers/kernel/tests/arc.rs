//! Shared values: when they are dropped, and the ways in and out of `Arc`, `ARef` and `Revocable`.

#![allow(unsafe_code, reason = "raw and foreign pointers are part of the interface")]

use core::any::Any;
use core::ptr::NonNull;
use kernel::prelude::*;
use kernel::revocable::Revocable;
use kernel::sync::aref::{ARef, AlwaysRefCounted};
use kernel::sync::atomic::{Atomic, Relaxed};
use kernel::sync::{rcu, Arc, ArcBorrow, UniqueArc};
use kernel::types::ForeignOwnable;

/// Counts drops in a variable of the test's.
struct Dropped<'a>(&'a Atomic<u32>);

impl Drop for Dropped<'_> {
    fn drop(&mut self) {
        self.0.add(1u32, Relaxed);
    }
}

#[test]
fn value_is_dropped_with_its_last_arc() {
    let drops = Atomic::new(0u32);
    let first = Arc::new(Dropped(&drops), GFP_KERNEL).unwrap();
    let second = first.clone();
    let third = Arc::from(second.as_arc_borrow());
    assert!(Arc::ptr_eq(&first, &third));
    drop((first, second));
    assert_eq!(drops.load(Relaxed), 0);
    drop(third);
    assert_eq!(drops.load(Relaxed), 1);
}

#[test]
fn only_reference_becomes_unique_and_a_shared_one_is_given_up() {
    let drops = Atomic::new(0u32);
    let first = Arc::new(Dropped(&drops), GFP_KERNEL).unwrap();
    let second = first.clone();
    assert!(Arc::into_unique_or_drop(first).is_none());
    let unique = Arc::into_unique_or_drop(second).unwrap();
    assert_eq!(drops.load(Relaxed), 0);
    drop(Arc::from(unique));
    assert_eq!(drops.load(Relaxed), 1);
}

#[test]
fn raw_pointer_leads_back_to_the_allocation_whatever_the_alignment() {
    #[repr(align(64))]
    struct Wide(u8);

    let wide = Arc::new(Wide(3), GFP_KERNEL).unwrap();
    let raw = wide.clone().into_raw();
    assert_eq!(raw, Arc::as_ptr(&wide));
    assert_eq!(raw.addr() % 64, 0);
    assert_eq!(Arc::<Wide>::DATA_OFFSET, 64);
    // SAFETY: the pointer was just given away, and the borrow ends before it is taken back.
    let back = unsafe {
        assert_eq!(ArcBorrow::from_raw(raw).0, 3);
        Arc::from_raw(raw)
    };
    assert!(Arc::ptr_eq(&back, &wide));
}

#[test]
fn arc_of_any_type_finds_its_type_again() {
    let erased = |value: Arc<u32>| {
        let raw: *const (dyn Any + Send + Sync) = value.into_raw();
        // SAFETY: the pointer was just given away.
        unsafe { Arc::<dyn Any + Send + Sync>::from_raw(raw) }
    };
    let any = erased(Arc::new(9u32, GFP_KERNEL).unwrap());
    let any = any.downcast::<u64>().err().unwrap();
    assert_eq!(*any.downcast::<u32>().ok().unwrap(), 9);
}

#[test]
fn unique_arc_is_changed_before_it_is_shared() {
    let mut unique = UniqueArc::new([1, 2], GFP_KERNEL).unwrap();
    unique[0] = 5;
    let shared = Arc::from(unique);
    assert_eq!(*shared, [5, 2]);

    let empty = UniqueArc::<u8>::new_uninit(GFP_KERNEL).unwrap();
    assert_eq!(*empty.write(4), 4);
}

#[test]
fn failed_initialiser_drops_nothing() {
    let result = Arc::<Dropped<'_>>::pin_init(Err::<Dropped<'_>, Error>(ENODEV), GFP_KERNEL);
    assert_eq!(result.err(), Some(ENODEV));
    let empty = UniqueArc::<u8>::new_uninit(GFP_KERNEL).unwrap();
    assert_eq!(empty.init_with(Err::<u8, Error>(EIO)).err(), Some(EIO));
}

#[test]
fn foreign_owner_of_an_arc_holds_one_reference() {
    static DROPS: Atomic<u32> = Atomic::new(0);
    let arc = Arc::new(Dropped(&DROPS), GFP_KERNEL).unwrap();
    let ptr = arc.clone().into_foreign();
    drop(arc);
    // SAFETY: the pointer was given away above, and the borrow ends before it is taken back.
    unsafe {
        let mine = Arc::from(Arc::<Dropped<'static>>::borrow(ptr));
        drop(Arc::<Dropped<'static>>::from_foreign(ptr));
        assert_eq!(DROPS.load(Relaxed), 0);
        drop(mine);
    }
    assert_eq!(DROPS.load(Relaxed), 1);
}

#[test]
fn arcs_print_their_value() {
    let arc = Arc::new(7u8, GFP_KERNEL).unwrap();
    let text = kernel::str::CString::try_from_fmt(fmt!("{arc} {arc:?}")).unwrap();
    assert_eq!(text.to_bytes(), b"7 7");
}

/// Something that counts its references itself.
#[derive(PartialEq, Eq)]
struct Counted {
    count: u32,
}

impl Counted {
    fn count_up(&self, by: i32) -> u32 {
        let count = (&raw const self.count).cast_mut();
        // SAFETY: the tests use the value on one thread, and only through pointers to memory that may be written.
        unsafe { count.write(count.read().wrapping_add_signed(by)) };
        // SAFETY: as above.
        unsafe { count.read() }
    }
}

// SAFETY: the tests keep the values alive themselves.
unsafe impl AlwaysRefCounted for Counted {
    fn inc_ref(&self) {
        self.count_up(1);
    }

    unsafe fn dec_ref(obj: NonNull<Self>) {
        // SAFETY: the tests keep the value alive.
        unsafe { obj.as_ref() }.count_up(-1);
    }
}

#[test]
fn aref_counts_up_and_down_with_its_clones() {
    let value = UniqueArc::new(core::cell::UnsafeCell::new(Counted { count: 1 }), GFP_KERNEL).unwrap();
    // SAFETY: the value outlives all references of this test.
    let counted = unsafe { &*value.get() };
    let count = || counted.count_up(0);
    let first = ARef::from(counted);
    let second = first.clone();
    assert_eq!(count(), 3);
    assert!(first == second && first == counted);
    let ptr = ARef::into_raw(first);
    assert_eq!(count(), 3);
    // SAFETY: the reference was just given away.
    drop(unsafe { ARef::from_raw(ptr) });
    drop(second);
    assert_eq!(count(), 1);
}

#[test]
fn revoked_value_is_dropped_at_once_and_out_of_reach() {
    let drops = Atomic::new(0u32);
    let revocable = KBox::pin_init(Revocable::new(Dropped(&drops)), GFP_KERNEL).unwrap();
    assert!(revocable.try_access().is_some());
    assert_eq!(revocable.try_access_with(|value| value.0.load(Relaxed)), Some(0));
    assert!(revocable.revoke());
    assert_eq!(drops.load(Relaxed), 1);
    assert!(revocable.try_access_with_guard(&rcu::read_lock()).is_none());
    assert!(!revocable.revoke());
    drop(revocable);
    assert_eq!(drops.load(Relaxed), 1);
}

#[test]
fn value_that_was_never_revoked_is_dropped_with_its_holder() {
    let drops = Atomic::new(0u32);
    drop(KBox::pin_init(Revocable::new(Dropped(&drops)), GFP_KERNEL).unwrap());
    assert_eq!(drops.load(Relaxed), 1);
}
