//! [`CondVar`]: waiting, with a lock given back meanwhile, until somebody says that something changed.

use super::lock::{Backend, Guard};
use super::LockClassKey;
use crate::machine;
use crate::str::CStr;
use crate::task::MAX_SCHEDULE_TIMEOUT;
use crate::time::{self, Jiffies};
use core::cell::RefCell;
use core::marker::PhantomPinned;
use core::pin::Pin;
use pin_init::{pin_data, pin_init, PinInit};
use std::vec::Vec;

/// Returns an initialiser for a [`CondVar`], with a name if one is given.
#[macro_export]
macro_rules! new_condvar {
    ($($name:literal)?) => { $crate::with_lock_class!($crate::sync::CondVar::new; $($name)?) };
}
pub use new_condvar;

/// A condition variable. It must be pinned.
///
/// A waiter holds a lock, looks at what the lock guards, and waits if it is not as it should be; the lock is free meanwhile.
/// Whoever changes the data notifies. A waiter has to look again when it returns: others may have been faster, and any wait
/// may end without reason.
///
/// # Examples
///
/// ```
/// use kernel::prelude::*;
/// use kernel::sync::{new_condvar, new_mutex, CondVar, Mutex};
///
/// #[pin_data]
/// struct Slot {
///     #[pin]
///     value: Mutex<Option<u32>>,
///     #[pin]
///     filled: CondVar,
/// }
///
/// fn fill(slot: &Slot, value: u32) {
///     *slot.value.lock() = Some(value);
///     slot.filled.notify_one();
/// }
///
/// fn take(slot: &Slot) -> u32 {
///     let mut value = slot.value.lock();
///     loop {
///         match value.take() {
///             Some(value) => return value,
///             None => slot.filled.wait(&mut value),
///         }
///     }
/// }
///
/// let slot = KBox::pin_init(
///     pin_init!(Slot { value <- new_mutex!(None), filled <- new_condvar!() }),
///     GFP_KERNEL,
/// )?;
/// fill(&slot, 3);
/// assert_eq!(take(&slot), 3);
/// # Ok::<(), Error>(())
/// ```
#[pin_data]
pub struct CondVar {
    /// The waiters that nobody has notified yet, the first one first: each is the address of its entry on its own stack, which
    /// is only a number here. A waiter that is no longer in the list has been notified.
    waiters: RefCell<Vec<usize>>,
    #[pin]
    _pin: PhantomPinned,
}

// SAFETY: it belongs to no task.
unsafe impl Send for CondVar {}

// SAFETY: all tasks of a machine run on one thread, and the list is never borrowed while another task can run.
unsafe impl Sync for CondVar {}

impl CondVar {
    /// Returns an initialiser; [`new_condvar!`] gives the name and the class.
    pub fn new(_name: &'static CStr, _key: Pin<&'static LockClassKey>) -> impl PinInit<Self> {
        pin_init!(Self { waiters: RefCell::new(Vec::new()), _pin: PhantomPinned })
    }

    /// Waits for at most `timeout` jiffies and returns how many are left; [`MAX_SCHEDULE_TIMEOUT`] is for ever.
    #[track_caller]
    fn sleep<T: ?Sized, B: Backend>(&self, guard: &mut Guard<'_, T, B>, interruptible: bool, timeout: isize) -> isize {
        let entry = 0u8;
        let me = (&raw const entry).addr();
        let began = time::jiffies();
        let deadline = (timeout != MAX_SCHEDULE_TIMEOUT)
            .then(|| machine::time::now().saturating_add(time::jiffies_to_nanos(timeout.unsigned_abs())));
        let about = core::ptr::from_ref(self).addr();
        let checked = machine::lock::lock_held_since(guard.lock.address());
        // Before the lock is free: a notification that comes while it is given back must not be lost.
        self.waiters.borrow_mut().push(me);
        guard.do_unlocked(|| {
            let waits = self.waiters.borrow().contains(&me) && !super::is_dying();
            if waits {
                machine::sched::wait_notified(me, about, checked, deadline, interruptible, "a condition variable");
            }
        });
        self.waiters.borrow_mut().retain(|waiter| *waiter != me);
        if deadline.is_none() {
            return MAX_SCHEDULE_TIMEOUT;
        }
        let passed = time::jiffies().saturating_sub(began);
        timeout.saturating_sub_unsigned(passed).max(0)
    }

    /// Gives the lock back, waits for a notification, and takes the lock again.
    #[track_caller]
    pub fn wait<T: ?Sized, B: Backend>(&self, guard: &mut Guard<'_, T, B>) {
        self.sleep(guard, false, MAX_SCHEDULE_TIMEOUT);
    }

    /// As [`wait`](Self::wait), and a signal ends it too. Returns whether one is pending.
    #[must_use = "a pending signal asks the caller to give up"]
    #[track_caller]
    pub fn wait_interruptible<T: ?Sized, B: Backend>(&self, guard: &mut Guard<'_, T, B>) -> bool {
        self.sleep(guard, true, MAX_SCHEDULE_TIMEOUT);
        machine::signal_pending()
    }

    /// As [`wait_interruptible`](Self::wait_interruptible), and the task may be frozen meanwhile. No other lock may be held.
    ///
    /// Differs from Linux: the machine is never suspended, so nothing is ever frozen.
    #[must_use = "a pending signal asks the caller to give up"]
    #[track_caller]
    pub fn wait_interruptible_freezable<T: ?Sized, B: Backend>(&self, guard: &mut Guard<'_, T, B>) -> bool {
        self.wait_interruptible(guard)
    }

    /// As [`wait_interruptible`](Self::wait_interruptible), for at most this many jiffies.
    #[must_use = "a pending signal asks the caller to give up, and the time may be over"]
    #[track_caller]
    pub fn wait_interruptible_timeout<T: ?Sized, B: Backend>(
        &self,
        guard: &mut Guard<'_, T, B>,
        jiffies: Jiffies,
    ) -> CondVarTimeoutResult {
        let timeout = isize::try_from(jiffies).unwrap_or(MAX_SCHEDULE_TIMEOUT);
        let jiffies = self.sleep(guard, true, timeout).unsigned_abs();
        if machine::signal_pending() {
            CondVarTimeoutResult::Signal { jiffies }
        } else if jiffies == 0 {
            CondVarTimeoutResult::Timeout
        } else {
            CondVarTimeoutResult::Woken { jiffies }
        }
    }

    /// Wakes at most `most` waiters, those that wait longest first. Without a waiter it has no effect, also not later.
    #[track_caller]
    fn notify(&self, most: usize) {
        let woken: Vec<usize> = {
            let mut waiters = self.waiters.borrow_mut();
            let most = most.min(waiters.len());
            waiters.drain(..most).collect()
        };
        if woken.is_empty() {
            machine::sched::notified_nobody(core::ptr::from_ref(self).addr());
        }
        for waiter in woken {
            machine::wake_one(waiter);
        }
    }

    /// As [`notify_one`](Self::notify_one), with the hint that the caller is about to sleep: the woken task does not run before
    /// it does.
    #[track_caller]
    pub fn notify_sync(&self) {
        self.notify(1);
    }

    /// Wakes the task that waits longest. Without a waiter it has no effect, also not later.
    #[track_caller]
    pub fn notify_one(&self) {
        self.notify(1);
        super::point();
    }

    /// Wakes all that wait. Without a waiter it has no effect, also not later.
    #[track_caller]
    pub fn notify_all(&self) {
        self.notify(usize::MAX);
        super::point();
    }
}

/// How [`CondVar::wait_interruptible_timeout`] ended.
pub enum CondVarTimeoutResult {
    /// The time is over.
    Timeout,
    /// Somebody notified, or the wait ended without reason.
    Woken {
        /// How much of the time is left.
        jiffies: Jiffies,
    },
    /// A signal is pending.
    Signal {
        /// How much of the time is left.
        jiffies: Jiffies,
    },
}
