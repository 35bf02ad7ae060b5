// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 OR MIT

//! Keeps what belongs to a bound device from being used beyond that.

use core::ops::Deref;
use kernel::{
    new_condvar, new_spinlock,
    prelude::*,
    sync::{Arc, CondVar, SpinLock},
};

struct State<T> {
    /// In a box, because a reference to what must not move counts as such itself.
    inner: Option<KBox<Arc<T>>>,
    /// How many are inside.
    users: usize,
}

/// A gate to a `T`, which may own memory of the device and so must be gone when the device is unbound. Files may be open
/// longer: they get in while the gate is open.
#[pin_data]
pub(crate) struct Gate<T> {
    #[pin]
    state: SpinLock<State<T>>,
    #[pin]
    left: CondVar,
}

/// Access to what is behind a [`Gate`], which stays until this is dropped. Fields are dropped in this order.
pub(crate) struct Inside<'a, T> {
    inner: Arc<T>,
    _leave: Leave<'a, T>,
}

struct Leave<'a, T>(&'a Gate<T>);

impl<T> Gate<T> {
    /// A gate with nothing behind it: it is closed.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            state <- new_spinlock!(State { inner: None, users: 0 }),
            left <- new_condvar!(),
        })
    }

    /// Lets users in.
    pub(crate) fn open(&self, inner: Arc<T>) -> Result {
        let inner = KBox::new(inner, GFP_KERNEL)?;
        self.state.lock().inner = Some(inner);
        Ok(())
    }

    /// Goes in. `ENODEV` when it is closed.
    pub(crate) fn enter(&self) -> Result<Inside<'_, T>> {
        let mut state = self.state.lock();
        let inner = Arc::clone(state.inner.as_ref().ok_or(ENODEV)?);
        state.users += 1;
        Ok(Inside {
            inner,
            _leave: Leave(self),
        })
    }

    /// Lets nobody in any more; returns what was behind it, for those who are inside to be sent away.
    pub(crate) fn close(&self) -> Option<KBox<Arc<T>>> {
        self.state.lock().inner.take()
    }

    /// Waits until nobody is inside. The gate must be closed.
    pub(crate) fn wait_empty(&self) {
        let mut state = self.state.lock();
        while state.users != 0 {
            self.left.wait(&mut state);
        }
    }
}

impl<T> Deref for Inside<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.inner
    }
}

impl<T> Drop for Leave<'_, T> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.users -= 1;
        if state.users == 0 {
            self.0.left.notify_all();
        }
    }
}
