//! [`Mutex`]: a lock whose waiters sleep.

use super::{Backend, Guard, Lock};
use crate::bindings;
use crate::ffi::c_char;
use crate::machine;
use core::cell::Cell;
use core::panic::Location;

/// Returns an initialiser for a [`Mutex`] with this content, and a name if one is given.
#[macro_export]
macro_rules! new_mutex {
    ($content:expr $(, $name:literal)? $(,)?) => {
        $crate::with_lock_class!($crate::sync::Mutex::new, $content; $($name)?)
    };
}
pub use new_mutex;

/// Data behind a lock whose waiters sleep. It must be pinned.
///
/// Taking it may sleep, so it is not for atomic context (a finding, `sleep-in-atomic`).
///
/// # Examples
///
/// ```
/// use kernel::prelude::*;
/// use kernel::sync::{new_mutex, Mutex};
///
/// struct Credits {
///     free: u32,
///     lent: u32,
/// }
///
/// #[pin_data]
/// struct Pool {
///     limit: u32,
///     #[pin]
///     credits: Mutex<Credits>,
/// }
///
/// impl Pool {
///     fn new(limit: u32) -> impl PinInit<Self> {
///         pin_init!(Self {
///             credits <- new_mutex!(Credits { free: limit, lent: 0 }, "credits"),
///             limit,
///         })
///     }
///
///     fn lend(&self) {
///         let mut credits = self.credits.lock();
///         credits.free -= 1;
///         credits.lent += 1;
///     }
/// }
///
/// let pool = KBox::pin_init(Pool::new(2), GFP_KERNEL)?;
/// pool.lend();
/// assert_eq!(pool.credits.lock().free + 1, pool.limit);
/// # Ok::<(), Error>(())
/// ```
pub type Mutex<T> = Lock<T, MutexBackend>;

/// What taking a [`Mutex`] returns.
pub type MutexGuard<'a, T> = Guard<'a, T, MutexBackend>;

/// The kind of lock behind [`Mutex`].
pub struct MutexBackend;

impl bindings::mutex {
    fn key(&self) -> usize {
        core::ptr::from_ref(self).addr()
    }

    /// How the lock checker knows it.
    fn lock(&self) -> machine::lock::Lock {
        machine::lock::Lock {
            class: (self.class.addr(), self.name.addr()),
            address: self.key(),
            kind: machine::lock::Kind::Sleeps,
        }
    }

    fn hold(&self) {
        self.held.set(true);
        self.holder.set(machine::current_pid());
    }
}

/// What waiters are told to wait for.
const WHAT: &str = "a mutex";

// SAFETY: `held` is true from `lock` or `try_lock` to `unlock`, and whoever finds it true gets nothing. The one exception is
// a task that is dying: its destructors must come to their ends, and no other task will run.
unsafe impl Backend for MutexBackend {
    type State = bindings::mutex;
    type GuardState = ();

    unsafe fn init(ptr: *mut Self::State, name: *const c_char, class: *mut bindings::lock_class_key) {
        let free = bindings::mutex { held: Cell::new(false), holder: Cell::new(0), waiters: Cell::new(0), name, class };
        // SAFETY: the caller's contract.
        unsafe { ptr.write(free) };
    }

    #[track_caller]
    unsafe fn lock(ptr: *mut Self::State) {
        // SAFETY: the caller's contract.
        let mutex = unsafe { &*ptr };
        let (lock, place) = (mutex.lock(), Location::caller());
        if !mutex.held.get() {
            machine::sched::might_sleep_at(WHAT, place);
            machine::lock::lock_take(&lock, true, place, || super::name(mutex.name).into());
            return mutex.hold();
        }
        machine::lock::lock_taking(&lock, true, place, || super::name(mutex.name).into());
        while mutex.held.get() && !crate::sync::is_dying() {
            if mutex.holder.get() == machine::current_pid() {
                super::deadlock(mutex.name);
            }
            mutex.waiters.set(mutex.waiters.get() + 1);
            machine::wait(mutex.key(), None, false, WHAT);
            mutex.waiters.set(mutex.waiters.get() - 1);
        }
        mutex.hold();
        machine::lock::lock_taken(&lock, place);
    }

    #[track_caller]
    unsafe fn try_lock(ptr: *mut Self::State) -> Option<()> {
        // SAFETY: the caller's contract.
        let mutex = unsafe { &*ptr };
        if mutex.held.get() {
            return None;
        }
        mutex.hold();
        machine::lock::lock_take(&mutex.lock(), false, Location::caller(), || super::name(mutex.name).into());
        Some(())
    }

    unsafe fn unlock(ptr: *mut Self::State, (): &()) {
        // SAFETY: the caller's contract.
        let mutex = unsafe { &*ptr };
        mutex.held.set(false);
        machine::lock::lock_released(mutex.key());
        if mutex.waiters.get() != 0 {
            machine::wake_one(mutex.key());
        }
        // The mutex may be gone after this: its next holder can free it.
        crate::sync::point();
    }

    #[track_caller]
    unsafe fn assert_is_held(ptr: *mut Self::State) {
        // SAFETY: the caller's contract.
        let mutex = unsafe { &*ptr };
        if !mutex.held.get() {
            super::not_held(mutex.name);
        }
    }
}
