//! [`LockedBy`]: data outside of a lock that the lock guards all the same.

use super::lock::{Backend, Lock};
use crate::build_assert::build_assert;
use core::cell::UnsafeCell;

/// Data that is guarded by a lock which stands elsewhere, such as the lock of the structure around it.
///
/// What the lock guards itself is the key: a reference to it proves that the lock is held.
///
/// # Examples
///
/// ```
/// use kernel::sync::{new_mutex, LockedBy, Mutex};
///
/// struct Queue {
///     depth: u32,
/// }
///
/// /// Its tag is guarded by its queue's lock.
/// struct Request {
///     tag: LockedBy<u32, Queue>,
/// }
///
/// pin_init::stack_pin_init!(let queue: kernel::sync::Mutex<Queue> = new_mutex!(Queue { depth: 1 }));
/// let request = Request { tag: LockedBy::new(&queue, 9) };
/// let mut held = queue.lock();
/// *request.tag.access_mut(&mut held) += 1;
/// assert_eq!(*request.tag.access(&held) + held.depth, 11);
/// ```
pub struct LockedBy<T: ?Sized, U: ?Sized> {
    /// What proves that the lock is held.
    key: *const U,
    value: UnsafeCell<T>,
}

// SAFETY: the data goes along, and may; the key is only compared.
unsafe impl<T: ?Sized + Send, U: ?Sized> Send for LockedBy<T, U> {}

// SAFETY: the lock hands the data from task to task, one at a time; `access`, which shares it, asks for more itself.
unsafe impl<T: ?Sized + Send, U: ?Sized> Sync for LockedBy<T, U> {}

impl<T, U> LockedBy<T, U> {
    /// Puts data under a lock. Using it after the lock is gone is impossible, since nobody has the key.
    pub fn new<B: Backend>(owner: &Lock<U, B>, data: T) -> Self {
        build_assert!(size_of::<Lock<U, B>>() != 0, "an empty lock has no address of its own");
        Self { key: owner.data.get(), value: UnsafeCell::new(data) }
    }
}

impl<T: ?Sized, U> LockedBy<T, U> {
    /// Panics unless the key is that of the lock that was given to [`new`](Self::new).
    #[track_caller]
    fn check(&self, key: *const U) {
        build_assert!(size_of::<U>() != 0, "an empty key has no address of its own");
        assert!(core::ptr::eq(key, self.key), "mismatched owners");
    }

    /// Returns the data for reading.
    ///
    /// # Panics
    ///
    /// When `owner` is not what the lock given to [`new`](Self::new) guards.
    #[track_caller]
    pub fn access<'a>(&'a self, owner: &'a U) -> &'a T
    where
        T: Sync,
    {
        self.check(owner);
        // SAFETY: the owner is shared during `'a`, so nobody else changes the data.
        unsafe { &*self.value.get() }
    }

    /// Returns the data for changing.
    ///
    /// # Panics
    ///
    /// When `owner` is not what the lock given to [`new`](Self::new) guards.
    #[track_caller]
    pub fn access_mut<'a>(&'a self, owner: &'a mut U) -> &'a mut T {
        self.check(owner);
        // SAFETY: the owner is borrowed alone during `'a`, so nobody else gets at the data.
        unsafe { &mut *self.value.get() }
    }
}
