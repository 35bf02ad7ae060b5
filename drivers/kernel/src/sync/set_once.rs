//! [`SetOnce`]: a place for a value that is not there at first and never changes.

use super::atomic::{Acquire, Atomic, Relaxed, Release};
use core::cell::UnsafeCell;
use core::mem::MaybeUninit;

/// Nothing is in the place.
const EMPTY: u32 = 0;
/// Someone is writing the value.
const BUSY: u32 = 1;
/// The value is there, for good.
const FULL: u32 = 2;

/// A place for a value that can be set once and only read from then on.
///
/// # Examples
///
/// ```
/// let irq = kernel::sync::SetOnce::new();
/// assert_eq!(irq.copy(), None);
/// assert!(irq.populate(9));
/// assert!(!irq.populate(10));
/// assert_eq!(irq.as_ref(), Some(&9));
/// ```
pub struct SetOnce<T> {
    /// `EMPTY`, `BUSY` or `FULL`, and never back.
    state: Atomic<u32>,
    value: UnsafeCell<MaybeUninit<T>>,
}

// SAFETY: the value goes along, and it may.
unsafe impl<T: Send> Send for SetOnce<T> {}

// SAFETY: one task sets the value and another may drop it; all share it.
unsafe impl<T: Send + Sync> Sync for SetOnce<T> {}

impl<T> SetOnce<T> {
    /// Makes an empty place.
    pub const fn new() -> Self {
        Self { state: Atomic::new(EMPTY), value: UnsafeCell::new(MaybeUninit::uninit()) }
    }

    /// Sets the value if nobody has. Says whether it did; otherwise the value is dropped.
    pub fn populate(&self, value: T) -> bool {
        let claimed = self.state.compare_swap(EMPTY, BUSY, Relaxed).is_ok();
        if claimed {
            // SAFETY: only one caller claims the place, and nobody reads it before it is full.
            unsafe { self.value.get().cast::<T>().write(value) };
            self.state.store(FULL, Release);
        }
        claimed
    }

    /// Returns the value, if it was set.
    pub fn as_ref(&self) -> Option<&T> {
        // SAFETY: a full place holds a valid value that nobody writes to.
        (self.state.peek(Acquire) == FULL).then(|| unsafe { (*self.value.get()).assume_init_ref() })
    }

    /// Returns a copy of the value, if it was set.
    pub fn copy(&self) -> Option<T>
    where
        T: Copy,
    {
        self.as_ref().copied()
    }
}

impl<T> Default for SetOnce<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Drop for SetOnce<T> {
    fn drop(&mut self) {
        if *self.state.get_mut() == FULL {
            // SAFETY: a full place holds a valid value, and nobody uses it any more.
            unsafe { self.value.get_mut().assume_init_drop() };
        }
    }
}
