// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 OR MIT

//! What an interrupt handler leaves for whoever waits.

use kernel::{
    new_condvar, new_spinlock_irq,
    prelude::*,
    sync::{CondVar, CondVarTimeoutResult, SpinLockIrq},
    time::Jiffies,
};

struct State {
    /// How often it was raised.
    count: u64,
    /// The device is being unbound.
    closed: bool,
}

/// Something that happens again and again. Whoever waits asks for [`count`](Self::count) first, looks whether what it
/// waits for is there, and [waits](Self::wait) if not: what happens in between is not missed.
#[pin_data]
pub(crate) struct Signal {
    #[pin]
    state: SpinLockIrq<State>,
    #[pin]
    raised: CondVar,
}

/// How a wait ended.
pub(crate) enum Wake {
    /// It was raised, with so much of the time left.
    Raised(Jiffies),
    /// The time is over.
    Timeout,
    /// The task has a signal to handle.
    Interrupted,
    /// The device is being unbound.
    Closed,
}

impl Signal {
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            state <- new_spinlock_irq!(State { count: 0, closed: false }),
            raised <- new_condvar!(),
        })
    }

    /// Wakes all that wait. Fit for any context.
    pub(crate) fn raise(&self) {
        {
            let mut state = self.state.lock();
            state.count = state.count.wrapping_add(1);
        }
        self.raised.notify_all();
    }

    /// Ends all waits, now and later.
    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        self.raised.notify_all();
    }

    /// How often it was raised until now.
    pub(crate) fn count(&self) -> u64 {
        self.state.lock().count
    }

    /// Sleeps until it is raised more often than `seen`.
    pub(crate) fn wait(&self, seen: u64, jiffies: Jiffies) -> Wake {
        let mut state = self.state.lock();
        let mut left = jiffies;
        loop {
            if state.closed {
                return Wake::Closed;
            }
            if state.count != seen {
                return Wake::Raised(left);
            }
            match self.raised.wait_interruptible_timeout(&mut state, left) {
                CondVarTimeoutResult::Woken { jiffies } => left = jiffies,
                CondVarTimeoutResult::Signal { .. } => return Wake::Interrupted,
                CondVarTimeoutResult::Timeout if state.count == seen && !state.closed => {
                    return Wake::Timeout
                }
                // It came at the last moment.
                CondVarTimeoutResult::Timeout => left = 0,
            }
        }
    }
}
