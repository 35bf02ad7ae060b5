//! [`Srcu`]: read-copy-update whose readers may sleep.

use super::LockClassKey;
use crate::error::Error;
use crate::machine;
use crate::str::CStr;
use crate::types::NotThreadSafe;
use core::cell::{Cell, RefCell};
use core::marker::PhantomPinned;
use core::panic::Location;
use core::pin::Pin;
use pin_init::{pin_data, pinned_drop, PinInit};
use std::vec::Vec;

/// Returns an initialiser for an [`Srcu`], with a name if one is given.
#[doc(hidden)]
#[macro_export]
macro_rules! new_srcu {
    ($($name:literal)?) => { $crate::with_lock_class!($crate::sync::Srcu::new; $($name)?) };
}
pub use new_srcu;

/// A domain of readers that may sleep, and that writers wait for. It must be pinned.
///
/// Dropping it while a reader's guard was leaked is a warning, and waits for ever.
///
/// # Examples
///
/// ```
/// use kernel::prelude::*;
/// use kernel::sync::{srcu::new_srcu, Srcu};
///
/// let users = KBox::pin_init(new_srcu!("users"), GFP_KERNEL)?;
/// let reader = users.read_lock();
/// reader.unlock();
/// users.synchronize();
/// # Ok::<(), Error>(())
/// ```
#[pin_data(PinnedDrop)]
pub struct Srcu {
    /// The numbers of the readers that read now.
    readers: RefCell<Vec<u64>>,
    /// The next reader's number.
    next: Cell<u64>,
    // Waiters know it by its address.
    #[pin]
    _pin: PhantomPinned,
}

// SAFETY: it belongs to no task.
unsafe impl Send for Srcu {}

// SAFETY: all tasks of a machine run on one thread, and the list is never borrowed while another task can run.
unsafe impl Sync for Srcu {}

/// What waiters are told to wait for.
const WHAT: &str = "synchronize_srcu";

impl Srcu {
    /// Returns an initialiser; `new_srcu!` gives the name and the class. `ENOMEM` without memory.
    ///
    /// Differs from Linux: it never fails.
    pub fn new(_name: &'static CStr, _key: Pin<&'static LockClassKey>) -> impl PinInit<Self, Error> {
        crate::try_pin_init!(Self { readers: RefCell::new(Vec::new()), next: Cell::new(0), _pin: PhantomPinned })
    }

    fn key(&self) -> usize {
        core::ptr::from_ref(self).addr()
    }

    /// Begins to read, until the guard is dropped. Readers nest, and may sleep.
    pub fn read_lock(&self) -> Guard<'_> {
        let number = self.next.get();
        self.next.set(number + 1);
        self.readers.borrow_mut().push(number);
        Guard { srcu: self, number, _task: NotThreadSafe }
    }

    /// Waits until all that read now have ended. It sleeps, and a reader that does it waits for itself.
    #[track_caller]
    pub fn synchronize(&self) {
        let later = self.next.get();
        let someone_reads = || self.readers.borrow().iter().any(|number| *number < later);
        if !someone_reads() {
            machine::sched::might_sleep_at(WHAT, Location::caller());
        }
        while someone_reads() && !super::is_dying() {
            machine::wait(self.key(), None, false, WHAT);
        }
    }

    /// As [`synchronize`](Self::synchronize), in a hurry.
    #[track_caller]
    pub fn synchronize_expedited(&self) {
        self.synchronize();
    }
}

#[pinned_drop]
impl PinnedDrop for Srcu {
    fn drop(self: Pin<&mut Self>) {
        let leaked = !self.readers.borrow().is_empty();
        if leaked && !super::is_dying() {
            crate::warn_on!(leaked);
            self.synchronize();
        }
    }
}

/// Somebody reads, until this is dropped.
#[must_use = "a guard that is not kept ends the reading at once"]
pub struct Guard<'a> {
    srcu: &'a Srcu,
    number: u64,
    // The task that begins to read ends it.
    _task: NotThreadSafe,
}

impl Guard<'_> {
    /// Ends the reading, as dropping the guard does.
    pub fn unlock(self) {}
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        self.srcu.readers.borrow_mut().retain(|number| *number != self.number);
        machine::wake_all(self.srcu.key());
        super::point();
    }
}
