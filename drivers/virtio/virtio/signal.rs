// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 OR MIT

//! What an interrupt handler leaves for whoever waits.

use kernel::{
    new_condvar, new_spinlock_irq,
    prelude::*,
    sync::{
        atomic::{Acquire, Atomic, Relaxed},
        CondVar, CondVarTimeoutResult, SpinLockIrq,
    },
    time::Jiffies,
};

struct State {
    /// The device is being unbound.
    closed: bool,
}

/// Something that happens again and again. Whoever waits asks for [`count`](Self::count) first, looks whether what it
/// waits for is there, and [waits](Self::wait) if not: what happens in between is not missed.
#[pin_data]
pub(crate) struct Signal {
    /// How often it was raised. Changed with the lock held.
    count: Atomic<u64>,
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
            count: Atomic::new(0),
            state <- new_spinlock_irq!(State { closed: false }),
            raised <- new_condvar!(),
        })
    }

    /// Wakes all that wait. Fit for any context.
    pub(crate) fn raise(&self) {
        {
            let _state = self.state.lock();
            self.count.fetch_add(1u64, Relaxed);
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
        // What is looked at next is looked at after it.
        self.count.load(Acquire)
    }

    /// Sleeps until it is raised more often than `seen`.
    pub(crate) fn wait(&self, seen: u64, jiffies: Jiffies) -> Wake {
        let mut state = self.state.lock();
        let mut left = jiffies;
        loop {
            if state.closed {
                return Wake::Closed;
            }
            if self.count.load(Relaxed) != seen {
                return Wake::Raised(left);
            }
            match self.raised.wait_interruptible_timeout(&mut state, left) {
                CondVarTimeoutResult::Woken { jiffies } => left = jiffies,
                CondVarTimeoutResult::Signal { .. } => return Wake::Interrupted,
                CondVarTimeoutResult::Timeout
                    if self.count.load(Relaxed) == seen && !state.closed =>
                {
                    return Wake::Timeout
                }
                // It came at the last moment.
                CondVarTimeoutResult::Timeout => left = 0,
            }
        }
    }
}
