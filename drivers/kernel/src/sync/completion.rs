//! [`Completion`]: waiting for something that happens once.

use crate::machine;
use core::cell::Cell;
use core::marker::PhantomPinned;
use pin_init::{pin_data, pin_init, PinInit};

/// Something that is not done at first, and then is for good. It must be pinned.
///
/// # Examples
///
/// ```
/// use kernel::sync::Completion;
///
/// pin_init::stack_pin_init!(let reset_done = Completion::new());
/// reset_done.complete_all();
/// // What is done is not waited for.
/// reset_done.wait_for_completion();
/// ```
#[pin_data]
pub struct Completion {
    done: Cell<bool>,
    // Waiters know it by its address.
    #[pin]
    _pin: PhantomPinned,
}

// SAFETY: it belongs to no task.
unsafe impl Send for Completion {}

// SAFETY: all tasks of a machine run on one thread.
unsafe impl Sync for Completion {}

impl Completion {
    /// Returns an initialiser for one that is not done.
    pub fn new() -> impl PinInit<Self> {
        pin_init!(Self { done: Cell::new(false), _pin: PhantomPinned })
    }

    fn key(&self) -> usize {
        core::ptr::from_ref(self).addr()
    }

    /// Says that it is done, and wakes all that wait. Fit for any context.
    pub fn complete_all(&self) {
        self.done.set(true);
        machine::wake_all(self.key());
        // It may be gone after this: whoever waited can free it.
        super::point();
    }

    /// Waits until it is done, however long that takes and whatever signals come.
    #[track_caller]
    pub fn wait_for_completion(&self) {
        if self.done.get() {
            machine::sched::might_sleep_at(WHAT, core::panic::Location::caller());
            super::point();
        }
        while !self.done.get() && !super::is_dying() {
            machine::wait(self.key(), None, false, WHAT);
        }
    }
}

/// What waiters are told to wait for.
const WHAT: &str = "a completion";
