//! [`Lock`] and [`Guard`]: data that only the holder of a lock can reach, for any kind of lock.
//!
//! Differs from Linux: the machine has one processor, so nobody ever spins. A spinlock that is found held is held by the
//! task itself or by what its interrupt handler interrupted, and is reported as the deadlock that it is.

use super::LockClassKey;
use crate::bindings;
use crate::ffi::c_char;
use crate::machine;
use crate::str::{CStr, CStrExt as _};
use crate::types::{NotThreadSafe, Opaque, ScopeGuard};
use core::cell::UnsafeCell;
use core::marker::PhantomPinned;
use core::ops::{Deref, DerefMut};
use core::pin::Pin;
use pin_init::{pin_data, pin_init, PinInit, Wrapper};

pub(super) mod global;
pub mod mutex;
pub mod spinlock;

pub use global::{GlobalGuard, GlobalLock, GlobalLockBackend, GlobalLockedBy};

/// The kinds of locks, under the names that [`global_lock!`](super::global_lock) takes.
#[doc(hidden)]
pub mod kinds {
    pub use super::mutex::MutexBackend as Mutex;
    pub use super::spinlock::{SpinLockBackend as SpinLock, SpinLockIrqBackend as SpinLockIrq};
}

/// A kind of lock.
///
/// # Safety
///
/// Between [`lock`](Self::lock) or a successful [`try_lock`](Self::try_lock) and [`unlock`](Self::unlock) no other caller
/// may get the lock. Without [`relock`](Self::relock), `lock` must work for it too.
pub unsafe trait Backend {
    /// What the lock keeps.
    type State;

    /// What the holder keeps to unlock again.
    type GuardState;

    /// Sets the lock up.
    ///
    /// # Safety
    ///
    /// `ptr` must be valid for writes, `name` a C string and `key` a lock class, both for as long as the lock is used.
    unsafe fn init(ptr: *mut Self::State, name: *const c_char, key: *mut bindings::lock_class_key);

    /// Takes the lock and returns when it is the caller's.
    ///
    /// # Safety
    ///
    /// The lock must be set up.
    #[must_use]
    #[track_caller]
    unsafe fn lock(ptr: *mut Self::State) -> Self::GuardState;

    /// Takes the lock unless it is held.
    ///
    /// # Safety
    ///
    /// The lock must be set up.
    #[track_caller]
    unsafe fn try_lock(ptr: *mut Self::State) -> Option<Self::GuardState>;

    /// Gives the lock back.
    ///
    /// # Safety
    ///
    /// The caller must hold it, and have what `lock` or `try_lock` returned.
    #[track_caller]
    unsafe fn unlock(ptr: *mut Self::State, guard_state: &Self::GuardState);

    /// Takes the lock again after [`unlock`](Self::unlock), for the same guard.
    ///
    /// # Safety
    ///
    /// The guard's lock must have been given back.
    #[track_caller]
    unsafe fn relock(ptr: *mut Self::State, guard_state: &mut Self::GuardState) {
        // SAFETY: a lock that has a guard is set up.
        *guard_state = unsafe { Self::lock(ptr) };
    }

    /// Warns unless the lock is held.
    ///
    /// # Safety
    ///
    /// The lock must be set up.
    #[track_caller]
    unsafe fn assert_is_held(ptr: *mut Self::State);
}

/// Data and the lock that guards it. The lock comes first in memory, so a pointer to one is a pointer to the other.
///
/// It is used under the names [`Mutex`](super::Mutex), [`SpinLock`](super::SpinLock) and
/// [`SpinLockIrq`](super::SpinLockIrq).
#[repr(C)]
#[pin_data]
pub struct Lock<T: ?Sized, B: Backend> {
    #[pin]
    state: Opaque<B::State>,
    // Waiters know a lock by its address.
    #[pin]
    _pin: PhantomPinned,
    #[pin]
    pub(crate) data: UnsafeCell<T>,
}

// SAFETY: the data goes along, and may; the lock itself belongs to no task.
unsafe impl<T: ?Sized + Send, B: Backend> Send for Lock<T, B> {}

// SAFETY: sharing a lock hands its data from task to task, one at a time. The lock's own cells are not raced for: all
// tasks of a machine run on one thread, and a lock is used by one machine only.
unsafe impl<T: ?Sized + Send, B: Backend> Sync for Lock<T, B> {}

impl<T, B: Backend> Lock<T, B> {
    /// Returns an initialiser; `new_mutex!`, `new_spinlock!` and `new_spinlock_irq!` give the name and the class.
    pub fn new(t: impl PinInit<T>, name: &'static CStr, key: Pin<&'static LockClassKey>) -> impl PinInit<Self> {
        pin_init!(Self {
            // SAFETY: the slot is valid for writes; the name and the class are static.
            state <- Opaque::ffi_init(|slot| unsafe { B::init(slot, name.as_char_ptr(), key.as_ptr()) }),
            _pin: PhantomPinned,
            data <- UnsafeCell::pin_init(t),
        })
    }
}

impl<B: Backend> Lock<(), B> {
    /// Looks at a bare lock as one that guards nothing.
    ///
    /// # Safety
    ///
    /// The lock must be set up, and stay in its place during `'a`.
    pub unsafe fn from_raw<'a>(ptr: *mut B::State) -> &'a Self {
        // SAFETY: the lock comes first in memory and nothing follows; the rest is the caller's contract.
        unsafe { &*ptr.cast() }
    }
}

impl<T: ?Sized, B: Backend> Lock<T, B> {
    /// The address that the machine knows it by.
    pub(crate) fn address(&self) -> usize {
        self.state.get().addr()
    }

    /// Takes the lock; the data is the caller's until the guard is dropped.
    ///
    /// Taking a lock that the caller holds, or that is held by what the caller's interrupt handler interrupted, is a
    /// finding (`lock-recursion`) and ends the task.
    #[track_caller]
    pub fn lock(&self) -> Guard<'_, T, B> {
        // SAFETY: a lock that exists is set up.
        let state = unsafe { B::lock(self.state.get()) };
        // SAFETY: it was just taken.
        unsafe { Guard::new(self, state) }
    }

    /// Takes the lock unless it is held.
    #[must_use = "a guard that is not kept unlocks at once"]
    #[track_caller]
    pub fn try_lock(&self) -> Option<Guard<'_, T, B>> {
        // SAFETY: a lock that exists is set up.
        let state = unsafe { B::try_lock(self.state.get()) }?;
        // SAFETY: it was just taken.
        Some(unsafe { Guard::new(self, state) })
    }
}

/// The proof that a lock is held, and the way to its data. Dropping it unlocks.
#[must_use = "a guard that is not kept unlocks at once"]
pub struct Guard<'a, T: ?Sized, B: Backend> {
    pub(crate) lock: &'a Lock<T, B>,
    pub(crate) state: B::GuardState,
    // The task that takes a lock gives it back.
    _task: NotThreadSafe,
}

// SAFETY: a shared guard gives shared data.
unsafe impl<T: Sync + ?Sized, B: Backend> Sync for Guard<'_, T, B> {}

impl<'a, T: ?Sized, B: Backend> Guard<'a, T, B> {
    /// Makes the guard of a lock that was taken by other means. Warns if the lock is not held.
    ///
    /// # Safety
    ///
    /// The caller must hold the lock, and give the duty to unlock it to the guard.
    #[track_caller]
    pub unsafe fn new(lock: &'a Lock<T, B>, state: B::GuardState) -> Self {
        // SAFETY: a lock that exists is set up.
        unsafe { B::assert_is_held(lock.state.get()) };
        Self { lock, state, _task: NotThreadSafe }
    }

    /// Returns the lock.
    ///
    /// # Examples
    ///
    /// ```
    /// use kernel::sync::{lock::Backend, lock::Guard, lock::Lock};
    ///
    /// fn guards<T, B: Backend>(guard: &Guard<'_, T, B>, lock: &Lock<T, B>) -> bool {
    ///     core::ptr::eq(guard.lock_ref(), lock)
    /// }
    ///
    /// pin_init::stack_pin_init!(let free = kernel::new_mutex!(4u32));
    /// assert!(guards(&free.lock(), &free));
    /// ```
    pub fn lock_ref(&self) -> &'a Lock<T, B> {
        self.lock
    }

    /// Returns the data pinned, for data that must not move.
    pub fn as_mut(&mut self) -> Pin<&mut T> {
        // SAFETY: the guard holds the lock and is borrowed alone; the data is a pinned field of a pinned lock.
        unsafe { Pin::new_unchecked(&mut *self.lock.data.get()) }
    }

    /// Gives the lock back while `cb` runs.
    #[track_caller]
    pub(crate) fn do_unlocked<U>(&mut self, cb: impl FnOnce() -> U) -> U {
        let state = self.lock.state.get();
        // SAFETY: the guard holds the lock, and nobody reaches the data through it until it does again.
        unsafe { B::unlock(state, &self.state) };
        let _relock = ScopeGuard::new(|| {
            // SAFETY: it was given back above.
            unsafe { B::relock(state, &mut self.state) };
        });
        cb()
    }
}

impl<T: ?Sized, B: Backend> Deref for Guard<'_, T, B> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the guard holds the lock and is borrowed.
        unsafe { &*self.lock.data.get() }
    }
}

impl<T: ?Sized + Unpin, B: Backend> DerefMut for Guard<'_, T, B> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the guard holds the lock and is borrowed alone; the data may be moved.
        unsafe { &mut *self.lock.data.get() }
    }
}

impl<T: ?Sized, B: Backend> Drop for Guard<'_, T, B> {
    #[track_caller]
    fn drop(&mut self) {
        // SAFETY: the guard holds the lock.
        unsafe { B::unlock(self.lock.state.get(), &self.state) };
    }
}

/// The name that a lock was given.
fn name(name: *const c_char) -> &'static str {
    // SAFETY: `Backend::init` got a name that stays.
    let name: &'static CStr = unsafe { CStr::from_char_ptr(name) };
    name.to_str().unwrap_or("?")
}

/// Reports that a lock is taken which can never become free, and does not return.
#[cold]
#[track_caller]
fn deadlock(lock: *const c_char) -> ! {
    let name = name(lock);
    if super::in_task() {
        machine::lock_recursion(name);
    }
    panic!("lock \"{name}\" is taken while it is held, and no other task is there to give it back");
}

/// Warns that a lock is not held.
#[cold]
#[track_caller]
fn not_held(lock: *const c_char) {
    machine::warn(format_args!("lock \"{}\" is not held", name(lock)));
}
