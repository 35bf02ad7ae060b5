//! Things that can be taken away from their users while those hold them, as a removed device's registers are.

use crate::sync::atomic::{AtomicFlag, Relaxed};
use crate::sync::rcu;
use crate::try_pin_init;
use crate::types::Opaque;
use core::marker::PhantomData;
use core::ops::Deref;
use core::pin::Pin;
use pin_init::{pin_data, pinned_drop, PinInit, Wrapper};

/// A value that can be revoked: from then on nobody gets at it, and it is dropped when its present users are done.
///
/// # Examples
///
/// ```
/// use kernel::{prelude::*, revocable::Revocable};
///
/// let port = KBox::pin_init(Revocable::new(0x3f8u16), GFP_KERNEL)?;
/// assert_eq!(port.try_access().map(|port| *port), Some(0x3f8));
/// assert!(port.revoke());
/// assert!(port.try_access().is_none());
/// # Ok::<(), Error>(())
/// ```
#[pin_data(PinnedDrop)]
pub struct Revocable<T> {
    /// Says that `value` is valid and may be given out.
    available: AtomicFlag,
    #[pin]
    value: Opaque<T>,
}

// SAFETY: the value goes along, and it may.
unsafe impl<T: Send> Send for Revocable<T> {}

// SAFETY: users share the value, and whichever task revokes it drops it.
unsafe impl<T: Sync + Send> Sync for Revocable<T> {}

impl<T> Revocable<T> {
    /// Returns an initialiser for a value that is available.
    pub fn new<E>(data: impl PinInit<T, E>) -> impl PinInit<Self, E> {
        try_pin_init!(Self {
            available: AtomicFlag::new(true),
            value <- Opaque::pin_init(data),
        }? E)
    }

    /// Returns the value, or `None` when it was revoked. Until the guard is dropped, the caller may not sleep.
    pub fn try_access(&self) -> Option<RevocableGuard<'_, T>> {
        let rcu_guard = rcu::read_lock();
        let value = core::ptr::from_ref(self.try_access_with_guard(&rcu_guard)?);
        Some(RevocableGuard { value, _rcu_guard: rcu_guard, _revocable: PhantomData })
    }

    /// Returns the value for as long as an RCU read lock is held, or `None` when it was revoked.
    pub fn try_access_with_guard<'a>(&'a self, _guard: &'a rcu::Guard) -> Option<&'a T> {
        // SAFETY: while it is available the value is valid, and whoever revokes it waits for RCU readers.
        self.available.peek(Relaxed).then(|| unsafe { &*self.value.get() })
    }

    /// Calls `f` with the value, or returns `None` when it was revoked. `f` may not sleep.
    pub fn try_access_with<R, F: FnOnce(&T) -> R>(&self, f: F) -> Option<R> {
        let guard = rcu::read_lock();
        self.try_access_with_guard(&guard).map(f)
    }

    /// Returns the value without asking.
    ///
    /// # Safety
    ///
    /// The value must not be revoked while the reference is used, nor before.
    pub unsafe fn access(&self) -> &T {
        // SAFETY: a value that was not revoked is valid.
        unsafe { &*self.value.get() }
    }

    /// Revokes the value, waits for its present users and drops it. Says whether it was available until now.
    ///
    /// It may sleep.
    #[track_caller]
    pub fn revoke(&self) -> bool {
        let revoked = self.available.swap(false, Relaxed);
        if revoked {
            rcu::synchronize_rcu();
            // SAFETY: only one caller gets here, and all users are done.
            unsafe { self.value.get().drop_in_place() };
        }
        revoked
    }

    /// Revokes the value and drops it at once. Says whether it was available until now.
    ///
    /// # Safety
    ///
    /// Nobody may be using the value.
    pub unsafe fn revoke_nosync(&self) -> bool {
        let revoked = self.available.swap(false, Relaxed);
        if revoked {
            // SAFETY: only one caller gets here, and it says that there are no users.
            unsafe { self.value.get().drop_in_place() };
        }
        revoked
    }
}

#[pinned_drop]
impl<T> PinnedDrop for Revocable<T> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: there are no users any more, and nothing moves.
        unsafe { self.revoke_nosync() };
    }
}

/// Access to a revocable value, which stays until the guard is dropped. Its holder may not sleep.
pub struct RevocableGuard<'a, T> {
    // A pointer, because a reference in an argument has to stay valid until the function returns, and the value need not
    // once the guard was dropped in it.
    value: *const T,
    _rcu_guard: rcu::Guard,
    _revocable: PhantomData<&'a ()>,
}

impl<T> Deref for RevocableGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the value was available under the read lock that is still held.
        unsafe { &*self.value }
    }
}
