//! [`SpinLock`] and [`SpinLockIrq`]: locks for code that may not sleep.

use super::{Backend, Guard, Lock};
use crate::bindings;
use crate::ffi::c_char;
use crate::interrupt::LocalInterruptDisabled;
use crate::machine;
use core::cell::Cell;
use core::panic::Location;

/// Returns an initialiser for a [`SpinLock`] with this content, and a name if one is given.
#[macro_export]
macro_rules! new_spinlock {
    ($content:expr $(, $name:literal)? $(,)?) => {
        $crate::with_lock_class!($crate::sync::SpinLock::new, $content; $($name)?)
    };
}
pub use new_spinlock;

/// Returns an initialiser for a [`SpinLockIrq`] with this content, and a name if one is given.
#[macro_export]
macro_rules! new_spinlock_irq {
    ($content:expr $(, $name:literal)? $(,)?) => {
        $crate::with_lock_class!($crate::sync::SpinLockIrq::new, $content; $($name)?)
    };
}
pub use new_spinlock_irq;

/// Data behind a lock whose holder may not sleep. It must be pinned.
///
/// Interrupts stay on while it is held. Data that a handler uses too needs a [`SpinLockIrq`]: otherwise the handler comes
/// while the lock is held, and waits for what it interrupted.
///
/// # Examples
///
/// ```
/// use kernel::sync::new_spinlock;
///
/// pin_init::stack_pin_init!(let head = new_spinlock!(7u16));
/// *head.lock() += 1;
/// let held = head.lock();
/// assert_eq!(*held, 8);
/// assert!(head.try_lock().is_none());
/// ```
pub type SpinLock<T> = Lock<T, SpinLockBackend>;

/// What taking a [`SpinLock`] returns.
pub type SpinLockGuard<'a, T> = Guard<'a, T, SpinLockBackend>;

/// The kind of lock behind [`SpinLock`].
pub struct SpinLockBackend;

/// Data behind a spinlock that keeps interrupts off while it is held, for what handlers use too. It must be pinned.
///
/// Where interrupts are off already, [`lock_with`](Self::lock_with) takes it without turning them off once more.
///
/// # Examples
///
/// ```
/// use kernel::interrupt::local_interrupt_disable;
/// use kernel::sync::new_spinlock_irq;
///
/// pin_init::stack_pin_init!(let events = new_spinlock_irq!(0u32, "events"));
/// *events.lock() += 1;
///
/// let irqs_off = local_interrupt_disable();
/// *events.lock_with(&irqs_off) += 1;
/// drop(irqs_off);
/// assert_eq!(*events.lock(), 2);
/// ```
pub type SpinLockIrq<T> = Lock<T, SpinLockIrqBackend>;

/// What taking a [`SpinLockIrq`] returns.
pub type SpinLockIrqGuard<'a, T> = Guard<'a, T, SpinLockIrqBackend>;

/// The kind of lock behind [`SpinLockIrq`].
pub struct SpinLockIrqBackend;

impl bindings::spinlock_t {
    /// Keeps other tasks from running and takes the lock.
    #[track_caller]
    fn acquire(&self) {
        machine::preempt_disable();
        let place = Location::caller();
        machine::lock::lock_take(&self.lock(), true, place, || super::name(self.name).into());
        if self.held.replace(true) && !crate::sync::is_dying() {
            super::deadlock(self.name);
        }
    }

    /// How the lock checker knows it.
    fn lock(&self) -> machine::lock::Lock {
        let address = core::ptr::from_ref(self).addr();
        machine::lock::Lock { class: (self.class.addr(), self.name.addr()), address, kind: machine::lock::Kind::Spins }
    }

    /// As [`acquire`](Self::acquire), unless the lock is held.
    #[track_caller]
    fn try_acquire(&self) -> bool {
        machine::preempt_disable();
        let free = !self.held.replace(true);
        if free {
            machine::lock::lock_take(&self.lock(), false, Location::caller(), || super::name(self.name).into());
        } else {
            machine::preempt_enable();
        }
        free
    }

    fn release(&self) {
        self.held.set(false);
        machine::lock::lock_released(core::ptr::from_ref(self).addr());
        // The lock may be gone after this: whoever runs next can free it.
        machine::preempt_enable();
    }

    #[track_caller]
    fn assert_is_held(&self) {
        if !self.held.get() {
            super::not_held(self.name);
        }
    }
}

/// Sets a spinlock of either kind up.
///
/// # Safety
///
/// As for [`Backend::init`].
unsafe fn init(ptr: *mut bindings::spinlock_t, name: *const c_char, class: *mut bindings::lock_class_key) {
    // SAFETY: the caller's contract.
    unsafe { ptr.write(bindings::spinlock_t { held: Cell::new(false), name, class }) };
}

// SAFETY: `held` is true from `lock` or `try_lock` to `unlock`; whoever finds it true gets nothing, or never returns. The
// one exception is a task that is dying: its destructors must come to their ends, and no other task will run.
unsafe impl Backend for SpinLockBackend {
    type State = bindings::spinlock_t;
    type GuardState = ();

    unsafe fn init(ptr: *mut Self::State, name: *const c_char, class: *mut bindings::lock_class_key) {
        // SAFETY: the caller's contract.
        unsafe { init(ptr, name, class) };
    }

    #[track_caller]
    unsafe fn lock(ptr: *mut Self::State) {
        // SAFETY: the caller's contract.
        unsafe { &*ptr }.acquire();
    }

    #[track_caller]
    unsafe fn try_lock(ptr: *mut Self::State) -> Option<()> {
        // SAFETY: the caller's contract.
        unsafe { &*ptr }.try_acquire().then_some(())
    }

    #[track_caller]
    unsafe fn unlock(ptr: *mut Self::State, (): &()) {
        // SAFETY: the caller's contract.
        unsafe { &*ptr }.release();
    }

    #[track_caller]
    unsafe fn assert_is_held(ptr: *mut Self::State) {
        // SAFETY: the caller's contract.
        unsafe { &*ptr }.assert_is_held();
    }
}

// SAFETY: as for `SpinLockBackend`, whose lock this is.
unsafe impl Backend for SpinLockIrqBackend {
    type State = bindings::spinlock_t;
    type GuardState = ();

    unsafe fn init(ptr: *mut Self::State, name: *const c_char, class: *mut bindings::lock_class_key) {
        // SAFETY: the caller's contract.
        unsafe { init(ptr, name, class) };
    }

    #[track_caller]
    unsafe fn lock(ptr: *mut Self::State) {
        crate::interrupt::disable();
        // SAFETY: the caller's contract.
        unsafe { &*ptr }.acquire();
    }

    #[track_caller]
    unsafe fn try_lock(ptr: *mut Self::State) -> Option<()> {
        crate::interrupt::disable();
        // SAFETY: the caller's contract.
        let taken = unsafe { &*ptr }.try_acquire();
        if !taken {
            crate::interrupt::enable();
        }
        taken.then_some(())
    }

    #[track_caller]
    unsafe fn unlock(ptr: *mut Self::State, (): &()) {
        // SAFETY: the caller's contract.
        unsafe { &*ptr }.release();
        crate::interrupt::enable();
    }

    #[track_caller]
    unsafe fn assert_is_held(ptr: *mut Self::State) {
        // SAFETY: the caller's contract.
        unsafe { &*ptr }.assert_is_held();
    }
}

impl<T: ?Sized> SpinLockIrq<T> {
    /// Looks at the lock as one that leaves interrupts alone, while they are off anyway.
    fn without_irqs<'a>(&'a self, _context: &'a LocalInterruptDisabled) -> &'a SpinLock<T> {
        // SAFETY: the two have the same fields in C's order, and the same state.
        unsafe { &*(core::ptr::from_ref(self) as *const SpinLock<T>) }
    }

    /// Takes the lock where interrupts are off.
    #[track_caller]
    pub fn lock_with<'a>(&'a self, context: &'a LocalInterruptDisabled) -> SpinLockGuard<'a, T> {
        self.without_irqs(context).lock()
    }

    /// Takes the lock where interrupts are off, unless it is held.
    #[must_use = "a guard that is not kept unlocks at once"]
    #[track_caller]
    pub fn try_lock_with<'a>(&'a self, context: &'a LocalInterruptDisabled) -> Option<SpinLockGuard<'a, T>> {
        self.without_irqs(context).try_lock()
    }
}
