//! Synchronisation: reference counts, atomics, barriers, RCU, locks, and ways to wait.

use crate::bindings;
use crate::machine;
use crate::types::Opaque;
use pin_init::{pin_data, pin_init, PinInit};

// Counting references, and publishing.
mod arc;
pub mod aref;
pub mod rcu;
mod refcount;
mod set_once;
pub mod srcu;

// Ordering accesses.
pub mod atomic;
pub mod barrier;

// Locking and waiting.
pub mod completion;
mod condvar;
pub mod lock;
mod locked_by;

pub use arc::{Arc, ArcBorrow, UniqueArc};
pub use refcount::Refcount;
pub use set_once::SetOnce;

pub use lock::mutex::{new_mutex, Mutex, MutexGuard};
pub use lock::spinlock::{new_spinlock, SpinLock, SpinLockGuard};
pub use lock::spinlock::{new_spinlock_irq, SpinLockIrq, SpinLockIrqGuard};

pub use lock::global::{global_lock, GlobalGuard, GlobalLock, GlobalLockBackend, GlobalLockedBy};
pub use locked_by::LockedBy;

pub use condvar::{new_condvar, CondVar, CondVarTimeoutResult};
pub use {completion::Completion, srcu::Srcu};

/// A class of locks for the lock order checker: locks of one class are taken in the same order everywhere.
///
/// Its address is its identity.
#[repr(transparent)]
#[pin_data]
pub struct LockClassKey {
    #[pin]
    class: Opaque<bindings::lock_class_key>,
}

// SAFETY: only the address of a key means anything.
unsafe impl Send for LockClassKey {}

// SAFETY: as above.
unsafe impl Sync for LockClassKey {}

impl LockClassKey {
    /// Makes a key for a static; [`static_lock_class!`] does this for its callers.
    ///
    /// # Safety
    ///
    /// The key must be put into a static before it is used, and never be dropped.
    pub const unsafe fn new_static() -> Self {
        Self { class: Opaque::uninit() }
    }

    /// Returns an initialiser for a key that lives in allocated memory.
    pub fn new_dynamic() -> impl PinInit<Self> {
        pin_init!(Self {
            // SAFETY: the slot is valid for writes.
            class <- Opaque::ffi_init(|slot: *mut bindings::lock_class_key| unsafe { slot.write(Default::default()) }),
        })
    }

    /// Returns the pointer that stands for the class.
    pub fn as_ptr(&self) -> *mut bindings::lock_class_key {
        self.class.get()
    }
}

/// Makes a lock class for the place it stands at: a `Pin<&'static LockClassKey>`.
#[macro_export]
macro_rules! static_lock_class {
    () => {{
        // SAFETY: the key is put into a static here, and statics are not dropped.
        static CLASS: $crate::sync::LockClassKey = unsafe { $crate::sync::LockClassKey::new_static() };
        $crate::prelude::Pin::static_ref(&CLASS)
    }};
}
pub use static_lock_class;

/// Calls a constructor whose last arguments are a name and a lock class.
#[doc(hidden)]
#[macro_export]
macro_rules! with_lock_class {
    ($constructor:path $(, $argument:expr)*; $($name:literal)?) => {
        $constructor($($argument,)* $crate::optional_name!($($name)?), $crate::static_lock_class!())
    };
}

/// Returns a name as a C string, or the place it stands at when there is none.
#[doc(hidden)]
#[macro_export]
macro_rules! optional_name {
    ($name:literal) => {
        $crate::c_str!($name)
    };
    () => {
        $crate::c_str!(::core::concat!(::core::file!(), ":", ::core::line!()))
    };
}

/// Whether a task of a machine runs. Where none does (in plain tests) nothing can be waited for or interrupted.
pub(crate) fn in_task() -> bool {
    machine::current_task().is_some()
}

/// Whether only destructors run any more: they must neither wait nor be stopped by a lock that is held.
pub(crate) fn is_dying() -> bool {
    std::thread::panicking() || machine::is_crashed()
}

/// Lets a moment pass and what is due happen: interrupts, and other tasks. A loop around it gets somewhere.
pub(crate) fn point() {
    if !std::thread::panicking() {
        machine::moment();
    }
}
