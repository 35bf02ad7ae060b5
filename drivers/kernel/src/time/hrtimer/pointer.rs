//! The pointers that start timers: `Arc<T>`, `Pin<Box<T, A>>`, `Pin<&T>` and `Pin<&mut T>`, and their handles.

use super::{
    HasHrTimer, HrTimer, HrTimerCallback, HrTimerCallbackContext, HrTimerHandle, HrTimerMode, HrTimerPointer,
    RawHrTimerCallback, UnsafeHrTimerPointer,
};
use crate::alloc::{Allocator, Box};
use crate::bindings;
use crate::sync::{Arc, ArcBorrow};
use core::marker::PhantomData;
use core::pin::Pin;
use core::ptr::NonNull;

/// What the timer in a `T` is started with.
type Expires<T> = <<T as HasHrTimer<T>>::TimerMode as HrTimerMode>::Expires;

/// Stops the timer of a structure.
///
/// # Safety
///
/// The pointer must be valid.
#[track_caller]
unsafe fn cancel<T: HasHrTimer<T>>(holder: *const T) -> bool {
    // SAFETY: the caller's contract; a timer that exists is initialised.
    unsafe { HrTimer::raw_cancel(T::raw_get_timer(holder)) }
}

/// Goes from C's timer to the structure and the context for its function.
///
/// # Safety
///
/// As for [`RawHrTimerCallback::run`].
unsafe fn fired<'a, T: HasHrTimer<T>>(timer: *mut bindings::hrtimer) -> (*mut T, HrTimerCallbackContext<'a, T>) {
    // In C's order, C's timer comes first in ours.
    let timer = timer.cast::<HrTimer<T>>();
    // SAFETY: the timer is the one in a `T`, and was started with a pointer that allows access to all of it.
    unsafe { (T::timer_container_of(timer), HrTimerCallbackContext::from_raw(timer)) }
}

/// The handle of a timer that an `Arc` started. It keeps the structure alive.
pub struct ArcHrTimerHandle<T: HasHrTimer<T>> {
    pub(crate) inner: Arc<T>,
}

// SAFETY: `drop` calls `cancel`, which stops and waits.
unsafe impl<T: HasHrTimer<T>> HrTimerHandle for ArcHrTimerHandle<T> {
    #[track_caller]
    fn cancel(&mut self) -> bool {
        // SAFETY: the `Arc` keeps the structure.
        unsafe { cancel(Arc::as_ptr(&self.inner)) }
    }
}

impl<T: HasHrTimer<T>> Drop for ArcHrTimerHandle<T> {
    fn drop(&mut self) {
        // Whether it was started makes no difference.
        let _ = self.cancel();
    }
}

impl<T> HrTimerPointer for Arc<T>
where
    T: HasHrTimer<T> + for<'a> HrTimerCallback<Pointer<'a> = Self> + Send + Sync + 'static,
{
    type TimerMode = T::TimerMode;
    type TimerHandle = ArcHrTimerHandle<T>;

    #[track_caller]
    fn start(self, expires: Expires<T>) -> ArcHrTimerHandle<T> {
        let handle = ArcHrTimerHandle { inner: self };
        // SAFETY: the handle keeps the structure until the timer is stopped, or for ever if it is leaked.
        unsafe { T::start(Arc::as_ptr(&handle.inner), expires) };
        handle
    }
}

impl<T> RawHrTimerCallback for Arc<T>
where
    T: HasHrTimer<T> + for<'a> HrTimerCallback<Pointer<'a> = Self> + 'static,
{
    type CallbackTarget<'a> = ArcBorrow<'a, T>;

    unsafe extern "C-unwind" fn run(timer: *mut bindings::hrtimer) -> bindings::hrtimer_restart {
        // SAFETY: the caller's contract.
        let (holder, context) = unsafe { fired::<T>(timer) };
        // SAFETY: the handle has an `Arc` of the structure as long as the timer can fire.
        let borrow = unsafe { ArcBorrow::from_raw(holder) };
        T::run(borrow, context).raw()
    }
}

/// The handle of a timer that a box started. It owns the structure.
pub struct BoxHrTimerHandle<T: HasHrTimer<T>, A: Allocator> {
    /// From `Box::into_raw`.
    pub(crate) inner: NonNull<T>,
    _box: PhantomData<A>,
}

// SAFETY: `drop` calls `cancel`, which stops and waits.
unsafe impl<T: HasHrTimer<T>, A: Allocator> HrTimerHandle for BoxHrTimerHandle<T, A> {
    #[track_caller]
    fn cancel(&mut self) -> bool {
        // SAFETY: the structure goes with the handle.
        unsafe { cancel(self.inner.as_ptr()) }
    }
}

impl<T: HasHrTimer<T>, A: Allocator> Drop for BoxHrTimerHandle<T, A> {
    fn drop(&mut self) {
        self.cancel();
        // SAFETY: the pointer is that of a box, and the timer's function does not use it any more.
        drop(unsafe { Box::<T, A>::from_raw(self.inner.as_ptr()) });
    }
}

impl<T, A: Allocator> HrTimerPointer for Pin<Box<T, A>>
where
    T: HasHrTimer<T> + for<'a> HrTimerCallback<Pointer<'a> = Self> + Send + Sync + 'static,
{
    type TimerMode = T::TimerMode;
    type TimerHandle = BoxHrTimerHandle<T, A>;

    #[track_caller]
    fn start(self, expires: Expires<T>) -> Self::TimerHandle {
        // SAFETY: nothing moves the structure from here on.
        let raw = Box::into_raw(unsafe { Pin::into_inner_unchecked(self) });
        // SAFETY: a box is not null.
        let inner = unsafe { NonNull::new_unchecked(raw) };
        // SAFETY: the handle keeps the structure until the timer is stopped, or for ever if it is leaked.
        unsafe { T::start(raw, expires) };
        BoxHrTimerHandle { inner, _box: PhantomData }
    }
}

impl<T, A: Allocator> RawHrTimerCallback for Pin<Box<T, A>>
where
    T: HasHrTimer<T> + for<'a> HrTimerCallback<Pointer<'a> = Self> + 'static,
{
    type CallbackTarget<'a> = Pin<&'a mut T>;

    unsafe extern "C-unwind" fn run(timer: *mut bindings::hrtimer) -> bindings::hrtimer_restart {
        // SAFETY: the caller's contract.
        let (holder, context) = unsafe { fired::<T>(timer) };
        // SAFETY: the handle owns the structure and does not use it, and nothing moves it.
        let target = unsafe { Pin::new_unchecked(&mut *holder) };
        T::run(target, context).raw()
    }
}

/// The handle of a timer that a pinned reference started.
pub struct PinHrTimerHandle<'a, T: HasHrTimer<T>> {
    pub(crate) inner: Pin<&'a T>,
}

// SAFETY: `drop` calls `cancel`, which stops and waits.
unsafe impl<T: HasHrTimer<T>> HrTimerHandle for PinHrTimerHandle<'_, T> {
    #[track_caller]
    fn cancel(&mut self) -> bool {
        // SAFETY: the structure is borrowed as long as the handle is there.
        unsafe { cancel(self.inner.get_ref()) }
    }
}

impl<T: HasHrTimer<T>> Drop for PinHrTimerHandle<'_, T> {
    fn drop(&mut self) {
        // Whether it was started makes no difference.
        let _ = self.cancel();
    }
}

// SAFETY: the handle borrows the structure.
unsafe impl<'a, T> UnsafeHrTimerPointer for Pin<&'a T>
where
    T: HasHrTimer<T> + HrTimerCallback<Pointer<'a> = Self> + Send + Sync,
{
    type TimerMode = T::TimerMode;
    type TimerHandle = PinHrTimerHandle<'a, T>;

    #[track_caller]
    unsafe fn start(self, expires: Expires<T>) -> Self::TimerHandle {
        let handle = PinHrTimerHandle { inner: self };
        // SAFETY: the caller drops the handle, which stops the timer, before the structure.
        unsafe { T::start(self.get_ref(), expires) };
        handle
    }
}

impl<'a, T> RawHrTimerCallback for Pin<&'a T>
where
    T: HasHrTimer<T> + HrTimerCallback<Pointer<'a> = Self>,
{
    type CallbackTarget<'b> = Self;

    unsafe extern "C-unwind" fn run(timer: *mut bindings::hrtimer) -> bindings::hrtimer_restart {
        // SAFETY: the caller's contract.
        let (holder, context) = unsafe { fired::<T>(timer) };
        // SAFETY: the structure is borrowed, shared and pinned, as long as the timer can fire.
        let target = unsafe { Pin::new_unchecked(&*holder) };
        T::run(target, context).raw()
    }
}

/// The handle of a timer that a pinned mutable reference started.
pub struct PinMutHrTimerHandle<'a, T: HasHrTimer<T>> {
    /// Not a reference: the timer's function has that.
    pub(crate) inner: NonNull<T>,
    _borrow: PhantomData<&'a mut T>,
}

// SAFETY: `drop` calls `cancel`, which stops and waits.
unsafe impl<T: HasHrTimer<T>> HrTimerHandle for PinMutHrTimerHandle<'_, T> {
    #[track_caller]
    fn cancel(&mut self) -> bool {
        // SAFETY: the structure is borrowed as long as the handle is there.
        unsafe { cancel(self.inner.as_ptr()) }
    }
}

impl<T: HasHrTimer<T>> Drop for PinMutHrTimerHandle<'_, T> {
    fn drop(&mut self) {
        // Whether it was started makes no difference.
        let _ = self.cancel();
    }
}

// SAFETY: the handle borrows the structure.
unsafe impl<'a, T> UnsafeHrTimerPointer for Pin<&'a mut T>
where
    T: HasHrTimer<T> + HrTimerCallback<Pointer<'a> = Self> + Send + Sync,
{
    type TimerMode = T::TimerMode;
    type TimerHandle = PinMutHrTimerHandle<'a, T>;

    #[track_caller]
    unsafe fn start(self, expires: Expires<T>) -> Self::TimerHandle {
        // SAFETY: nothing moves the structure from here on.
        let inner = NonNull::from(unsafe { self.get_unchecked_mut() });
        // SAFETY: the caller drops the handle, which stops the timer, before the structure.
        unsafe { T::start(inner.as_ptr(), expires) };
        PinMutHrTimerHandle { inner, _borrow: PhantomData }
    }
}

impl<'a, T> RawHrTimerCallback for Pin<&'a mut T>
where
    T: HasHrTimer<T> + HrTimerCallback<Pointer<'a> = Self>,
{
    type CallbackTarget<'b> = Self;

    unsafe extern "C-unwind" fn run(timer: *mut bindings::hrtimer) -> bindings::hrtimer_restart {
        // SAFETY: the caller's contract.
        let (holder, context) = unsafe { fired::<T>(timer) };
        // SAFETY: the structure is borrowed alone and pinned as long as the timer can fire, and the handle does not use it.
        let target = unsafe { Pin::new_unchecked(&mut *holder) };
        T::run(target, context).raw()
    }
}
