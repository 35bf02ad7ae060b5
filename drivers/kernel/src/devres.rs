//! Managed resources: what belongs to a device for as long as it has a driver, and is released then in any case.
//!
//! A driver's data is dropped first, then the managed resources are released, the last one first.

use crate::alloc::flags::GFP_KERNEL;
use crate::alloc::{Flags, KBox};
use crate::bindings;
use crate::device::{Bound, Device};
use crate::error::{code::EINVAL, Error, Result};
use crate::ffi::c_void;
use crate::init::InPlaceInit;
use crate::machine;
use crate::revocable::{Revocable, RevocableGuard};
use crate::sync::aref::ARef;
use crate::sync::atomic::{AtomicFlag, Relaxed};
use crate::sync::{rcu, Arc};
use crate::try_pin_init;
use crate::types::{CovariantForLt, ForLt, ForeignOwnable};
use core::ops::Deref;
use core::pin::Pin;
use pin_init::{pin_data, PinInit};

/// What a [`Devres`] and the device's list share.
#[pin_data]
struct Inner<T> {
    #[pin]
    data: Revocable<T>,
    /// Says that `data` was dropped.
    gone: AtomicFlag,
}

impl<T> Inner<T> {
    /// Says that the data was dropped, by whoever revoked it.
    fn announce(&self) {
        self.gone.store(true, Relaxed);
        machine::wake_all(self.key());
    }

    /// Waits for whoever revokes the data to have dropped it.
    #[track_caller]
    fn wait(&self) {
        while !self.gone.peek(Relaxed) && !machine::is_crashed() {
            machine::wait(self.key(), None, false, "the release of a managed resource");
        }
    }

    fn key(&self) -> usize {
        core::ptr::from_ref(&self.gone).addr()
    }
}

/// Something that is taken away from its owner when the device loses its driver.
///
/// With a reference to the bound device there is access without checks ([`access`](Self::access)); without one, access
/// can fail ([`try_access`](Self::try_access)).
///
/// # Examples
///
/// ```
/// use kernel::{device::{Bound, Device}, devres::Devres, prelude::*};
///
/// fn keep(dev: &Device<Bound>) -> Result<Devres<u32>> {
///     let credits = Devres::new(dev, 8)?;
///     assert_eq!(*credits.access(dev)?, 8);
///     Ok(credits)
/// }
/// ```
pub struct Devres<T: Send + 'static> {
    inner: Arc<Inner<T>>,
    dev: ARef<Device>,
}

// SAFETY: it carries the data along, and whoever drops it last drops the data.
unsafe impl<T: Send> Send for Devres<T> {}

// SAFETY: those who share it share the data.
unsafe impl<T: Send + Sync> Sync for Devres<T> {}

impl<T: Send + 'static> Devres<T> {
    /// Makes the data and puts it on the device's list. `ENOMEM`, or the error of the initialiser.
    #[track_caller]
    pub fn new<E>(dev: &Device<Bound>, data: impl PinInit<T, E>) -> Result<Self>
    where
        Error: From<E>,
    {
        let inner: Arc<Inner<T>> = Arc::pin_init(
            try_pin_init!(Inner { data <- Revocable::new(data), gone: AtomicFlag::new(false) }? E),
            GFP_KERNEL,
        )?;
        // The list has a reference of its own.
        let data = Arc::into_raw(inner.clone()).cast();
        dev.fields().devres_add(bindings::devres_node { data, release: Self::release, free: Self::free });
        Ok(Self { dev: dev.into(), inner })
    }

    /// Takes the data away because the device loses its driver.
    ///
    /// # Safety
    ///
    /// The pointer must be the list's.
    unsafe fn release(data: *const c_void) {
        // SAFETY: the list's reference is still there.
        let inner = unsafe { &*data.cast::<Inner<T>>() };
        if inner.data.revoke() {
            inner.announce();
        } else {
            // The owner is dropping it; the device must not go on before that is done.
            inner.wait();
        }
    }

    /// Gives up the list's reference.
    ///
    /// # Safety
    ///
    /// The pointer must be the list's, which does not use it any more.
    unsafe fn free(data: *const c_void) {
        // SAFETY: `new` made the pointer of a reference.
        drop(unsafe { Arc::from_raw(data.cast::<Inner<T>>()) });
    }

    /// The device it belongs to.
    pub fn device(&self) -> &Device {
        &self.dev
    }

    /// Returns the data, which is there because the device has its driver. `EINVAL` if it is another device.
    pub fn access<'a>(&'a self, dev: &'a Device<Bound>) -> Result<&'a T> {
        if self.dev.as_raw() == dev.as_raw() {
            // SAFETY: it is revoked when the device loses its driver, or when `self` is dropped.
            Ok(unsafe { self.inner.data.access() })
        } else {
            Err(EINVAL)
        }
    }

    /// Returns the data unless it was taken away; see [`Revocable::try_access`].
    pub fn try_access(&self) -> Option<RevocableGuard<'_, T>> {
        self.inner.data.try_access()
    }

    /// Calls `f` with the data unless it was taken away; see [`Revocable::try_access_with`].
    pub fn try_access_with<R, F: FnOnce(&T) -> R>(&self, f: F) -> Option<R> {
        self.inner.data.try_access_with(f)
    }

    /// Returns the data for as long as an RCU read lock is held, unless it was taken away.
    pub fn try_access_with_guard<'a>(&'a self, guard: &'a rcu::Guard) -> Option<&'a T> {
        self.inner.data.try_access_with_guard(guard)
    }
}

impl<T: Send + 'static> Drop for Devres<T> {
    fn drop(&mut self) {
        // SAFETY: nobody else has access through `self` any more.
        if !unsafe { self.inner.data.revoke_nosync() } {
            // It was, or is being, taken away.
            return self.inner.wait();
        }
        self.inner.announce();
        let data = Arc::as_ptr(&self.inner).cast();
        if self.dev.fields().devres_remove(data) {
            // SAFETY: the list's reference, which it did not give up.
            unsafe { Self::free(data) };
        }
    }
}

/// Access to what a [`DevresLt`] holds; see [`RevocableGuard`].
pub struct DevresGuard<'a, F: CovariantForLt>(RevocableGuard<'a, F::Of<'static>>);

impl<'a, F: CovariantForLt> Deref for DevresGuard<'a, F> {
    type Target = F::Of<'a>;

    fn deref(&self) -> &F::Of<'a> {
        F::cast_ref(&self.0)
    }
}

/// A [`Devres`] for types that borrow the device, such as [`pci::Bar`](crate::pci::Bar).
pub struct DevresLt<F: ForLt>(Devres<F::Of<'static>>)
where
    for<'a> F::Of<'a>: Send;

impl<F: ForLt> DevresLt<F>
where
    for<'a> F::Of<'a>: Send,
{
    /// Makes the data and puts it on the device's list. `ENOMEM`, or the error of the initialiser.
    ///
    /// # Safety
    ///
    /// What the data borrows must stay as long as the device has its driver, and not only for `'a`.
    #[track_caller]
    pub unsafe fn new<'a, E>(dev: &'a Device<Bound>, data: impl PinInit<F::Of<'a>, E>) -> Result<Self>
    where
        Error: From<E>,
    {
        // SAFETY: both types differ in a lifetime only, which the caller answers for.
        let data = unsafe { pin_init::cast_pin_init::<F::Of<'a>, F::Of<'static>, E>(data) };
        Devres::new(dev, data).map(Self)
    }

    /// The device it belongs to.
    pub fn device(&self) -> &Device {
        self.0.device()
    }

    /// Calls `f` with the data, which is there because the device has its driver. `EINVAL` if it is another device.
    pub fn access_with<R, G>(&self, dev: &Device<Bound>, f: G) -> Result<R>
    where
        G: for<'a> FnOnce(&F::Of<'a>) -> R,
    {
        let data = self.0.access(dev)?;
        Ok(f(data))
    }

    /// Calls `f` with the data unless it was taken away. `f` may not sleep.
    pub fn try_access_with<R, G>(&self, f: G) -> Option<R>
    where
        G: for<'a> FnOnce(&F::Of<'a>) -> R,
    {
        self.0.try_access_with(|data| f(data))
    }
}

impl<F: CovariantForLt> DevresLt<F>
where
    for<'a> F::Of<'a>: Send,
{
    /// Returns the data, which is there because the device has its driver. `EINVAL` if it is another device.
    pub fn access<'a>(&'a self, dev: &'a Device<Bound>) -> Result<&'a F::Of<'a>> {
        let data = self.0.access(dev)?;
        Ok(F::cast_ref(data))
    }

    /// Returns the data unless it was taken away. Until the guard is dropped, the caller may not sleep.
    pub fn try_access(&self) -> Option<DevresGuard<'_, F>> {
        self.0.try_access().map(DevresGuard)
    }
}

/// A value that a device's list owns, and how to drop it: the node of `devm_add_action`.
struct Action {
    value: *mut c_void,
    drop: unsafe fn(*mut c_void),
}

/// Makes a value that stays until the device loses its driver. `ENOMEM`, or the error of the initialiser.
#[track_caller]
pub fn register<T, E>(dev: &Device<Bound>, data: impl PinInit<T, E>, flags: Flags) -> Result
where
    T: Send + 'static,
    Error: From<E>,
{
    /// # Safety
    ///
    /// The value must be a `P` that was given away.
    unsafe fn drop_value<P: ForeignOwnable>(value: *mut c_void) {
        // SAFETY: the caller's contract.
        drop(unsafe { P::from_foreign(value) });
    }

    /// # Safety
    ///
    /// The pointer must be that of an [`Action`] which was not run yet.
    unsafe fn run(action: *const c_void) {
        // SAFETY: the caller's contract.
        unsafe {
            let action = &*action.cast::<Action>();
            (action.drop)(action.value);
        }
    }

    /// # Safety
    ///
    /// The pointer must be that of an [`Action`] of `register`'s, which nobody uses any more.
    unsafe fn free(action: *const c_void) {
        // SAFETY: `register` made it of a box.
        drop(unsafe { KBox::from_raw(action.cast::<Action>().cast_mut()) });
    }

    // Pinned, so that the value never moves until it is dropped.
    let value: Pin<KBox<T>> = KBox::pin_init(data, flags)?;
    // Linux allocates the node after the value, and gives the value up if it cannot.
    let node = KBox::<Action>::new_uninit(GFP_KERNEL)?;
    let action = Action { value: value.into_foreign(), drop: drop_value::<Pin<KBox<T>>> };
    let data = KBox::into_raw(node.write(action)).cast_const().cast();
    dev.fields().devres_add(bindings::devres_node { data, release: run, free });
    Ok(())
}
