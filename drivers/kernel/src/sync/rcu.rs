//! Read-copy-update: readers that never wait, and writers that wait for them.
//!
//! Differs from Linux: the machine has one CPU, so a read lock is what it is without `CONFIG_PREEMPT_RCU`: no other task
//! runs until it is released.

use crate::machine;
use crate::types::NotThreadSafe;

/// The RCU read lock, held until the guard is dropped. Its holder may not sleep.
///
/// Locks nest.
pub struct Guard(NotThreadSafe);

impl Guard {
    /// Takes the read lock.
    pub fn new() -> Self {
        machine::preempt_disable();
        Self(NotThreadSafe)
    }

    /// Releases the read lock, as dropping it does.
    pub fn unlock(self) {}
}

impl Drop for Guard {
    fn drop(&mut self) {
        machine::preempt_enable();
    }
}

impl Default for Guard {
    fn default() -> Self {
        Self::new()
    }
}

/// Takes the read lock.
pub fn read_lock() -> Guard {
    Guard::new()
}

/// Waits until all readers that hold the read lock now have released it. It may sleep, so not in atomic context.
#[track_caller]
pub fn synchronize_rcu() {
    // A reader keeps other tasks from running: whoever gets here and may sleep is no reader, and there is no other.
    machine::might_sleep();
}

/// Waits until all callbacks queued by `call_rcu()` have run. It may sleep, so not in atomic context.
///
/// It does not wait for readers.
#[track_caller]
pub fn rcu_barrier() {
    // The crate queues no callbacks.
    machine::might_sleep();
}
