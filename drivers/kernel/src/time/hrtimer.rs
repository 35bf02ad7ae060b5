//! High-resolution timers: functions that run at a moment, in interrupt context.
//!
//! A timer is a field of the structure that its function works on. Starting it takes a pointer to the structure and returns a
//! handle; dropping the handle stops the timer and waits until its function does not run. The function says whether the
//! timer starts again, and for which moment, by [`HrTimerCallbackContext::forward_now`].
//!
//! Differs from Linux: the functions of all modes run in hard interrupt context, also the soft ones.
//!
//! # Examples
//!
//! ```no_run
//! use kernel::impl_has_hr_timer;
//! use kernel::prelude::*;
//! use kernel::sync::atomic::{Atomic, Relaxed};
//! use kernel::sync::{Arc, ArcBorrow};
//! use kernel::time::hrtimer::{
//!     HrTimer, HrTimerCallback, HrTimerCallbackContext, HrTimerPointer, HrTimerRestart, RelativeMode,
//! };
//! use kernel::time::{Delta, Monotonic};
//!
//! #[pin_data]
//! struct Watchdog {
//!     #[pin]
//!     timer: HrTimer<Self>,
//!     barks: Atomic<u32>,
//! }
//!
//! impl_has_hr_timer! {
//!     impl HasHrTimer<Self> for Watchdog {
//!         mode: RelativeMode<Monotonic>, field: self.timer
//!     }
//! }
//!
//! impl HrTimerCallback for Watchdog {
//!     type Pointer<'a> = Arc<Self>;
//!
//!     fn run(this: ArcBorrow<'_, Self>, mut context: HrTimerCallbackContext<'_, Self>) -> HrTimerRestart {
//!         this.barks.add(1u32, Relaxed);
//!         context.forward_now(Delta::from_millis(1));
//!         HrTimerRestart::Restart
//!     }
//! }
//!
//! let watchdog = Arc::pin_init(
//!     pin_init!(Watchdog { timer <- HrTimer::new(), barks: Atomic::new(0) }),
//!     GFP_KERNEL,
//! )?;
//! let handle = watchdog.clone().start(Delta::from_millis(1));
//! kernel::time::delay::fsleep(Delta::from_millis(10));
//! drop(handle);
//! # Ok::<(), Error>(())
//! ```

use super::{ClockSource, Delta, Instant};
use crate::bindings;
use crate::machine;
use crate::types::Opaque;
use core::cell::Cell;
use core::marker::PhantomData;
use core::panic::Location;
use core::pin::Pin;
use core::ptr::NonNull;
use pin_init::{pin_data, pin_init, PinInit};

mod mode;
mod pointer;

pub use mode::*;
pub use pointer::{ArcHrTimerHandle, BoxHrTimerHandle, PinHrTimerHandle, PinMutHrTimerHandle};

/// A moment by the clock of the timer in `T`.
pub type HrTimerInstant<T> = Instant<<<T as HasHrTimer<T>>::TimerMode as HrTimerMode>::Clock>;

/// The timer of a `T`, as a field in it. It must be pinned.
#[pin_data]
#[repr(C)]
pub struct HrTimer<T> {
    #[pin]
    state: Opaque<bindings::hrtimer>,
    _holder: PhantomData<T>,
}

// SAFETY: a timer may be started by one task and stopped by another. What its function gets at is the affair of the
// pointers that can start it, which ask for `Send` and `Sync`.
unsafe impl<T> Send for HrTimer<T> {}

// SAFETY: as above; the cells are not raced for, since all of a machine runs on one thread.
unsafe impl<T> Sync for HrTimer<T> {}

impl<T> HrTimer<T> {
    /// Returns an initialiser for a timer that is not started.
    #[track_caller]
    pub fn new() -> impl PinInit<Self>
    where
        T: HrTimerCallback + HasHrTimer<T>,
    {
        let place = Location::caller();
        pin_init!(Self {
            state <- Opaque::ffi_init(move |slot: *mut bindings::hrtimer| {
                let stopped = bindings::hrtimer {
                    expires: Cell::new(0),
                    clock: <T::TimerMode as HrTimerMode>::Clock::ID,
                    function: T::Pointer::run,
                    queued: Cell::new(false),
                    running: Cell::new(false),
                    place: Cell::new(place),
                };
                // SAFETY: the slot is valid for writes.
                unsafe { slot.write(stopped) };
            }),
            _holder: PhantomData,
        })
    }

    /// Goes from the timer to C's structure in it, without a reference in between.
    ///
    /// # Safety
    ///
    /// The pointer must lead to a timer, initialised or not.
    unsafe fn raw_get(this: *const Self) -> *mut bindings::hrtimer {
        // SAFETY: the caller's contract.
        Opaque::cast_into(unsafe { &raw const (*this).state })
    }

    /// Stops the timer and waits until its function does not run. Returns whether it was started.
    ///
    /// # Safety
    ///
    /// The pointer must lead to an initialised timer.
    #[track_caller]
    pub(crate) unsafe fn raw_cancel(this: *const Self) -> bool {
        // SAFETY: the caller's contract.
        unsafe { cancel(Self::raw_get(this)) }
    }

    /// Moves the expiry of a timer that is not started.
    ///
    /// # Safety
    ///
    /// The pointer must lead to an initialised timer that nobody else starts meanwhile.
    #[track_caller]
    unsafe fn raw_forward(this: *const Self, now: HrTimerInstant<T>, interval: Delta) -> u64
    where
        T: HasHrTimer<T>,
    {
        // SAFETY: the caller's contract.
        let timer = unsafe { &*Self::raw_get(this) };
        timer.forward(now.as_nanos(), interval.as_nanos())
    }

    /// Moves the expiry of a stopped timer on by whole intervals until it is after `now`. Returns by how many; 0 if it is
    /// after `now` already.
    ///
    /// The function of a running timer has [`HrTimerCallbackContext::forward`].
    #[track_caller]
    pub fn forward(self: Pin<&mut Self>, now: HrTimerInstant<T>, interval: Delta) -> u64
    where
        T: HasHrTimer<T>,
    {
        // SAFETY: the timer is borrowed alone.
        unsafe { Self::raw_forward(&raw const *self, now, interval) }
    }

    /// As [`forward`](Self::forward), with the present moment as `now`.
    #[track_caller]
    pub fn forward_now(self: Pin<&mut Self>, interval: Delta) -> u64
    where
        T: HasHrTimer<T>,
    {
        let now = Instant::now();
        self.forward(now, interval)
    }

    /// Returns the moment that the timer is, or was last, started for. It may change at any time.
    pub fn expires(&self) -> HrTimerInstant<T>
    where
        T: HasHrTimer<T>,
    {
        // SAFETY: a timer that exists is initialised.
        let timer = unsafe { &*Self::raw_get(self) };
        HrTimerInstant::<T>::at(timer.expires.get())
    }
}

impl bindings::hrtimer {
    fn forward(&self, now: i64, interval: i64) -> u64 {
        let expires = self.expires.get();
        let late = now.saturating_sub(expires);
        if late < 0 {
            return 0;
        }
        if self.queued.get() {
            machine::warn(format_args!("a timer is forwarded while it is started"));
            return 0;
        }
        // A nanosecond is the finest that the machine has.
        let interval = interval.max(1);
        let intervals = late / interval + 1;
        self.expires.set(expires.saturating_add(interval.saturating_mul(intervals)));
        intervals.unsigned_abs()
    }
}

/// Starts a timer, or starts it anew. `expires` is a moment or a span, as the mode says.
///
/// # Safety
///
/// The pointer must lead to an initialised timer, allow access to all of the structure around it, and stay so until the
/// timer is stopped.
#[track_caller]
unsafe fn start(timer: *const bindings::hrtimer, expires: i64, mode: bindings::hrtimer_mode) {
    // SAFETY: the caller's contract.
    let state = unsafe { &*timer };
    let base = if mode & bindings::HRTIMER_MODE_REL == 0 { 0 } else { super::read(state.clock) };
    state.expires.set(base.saturating_add(expires).max(0));
    state.place.set(Location::caller());
    // SAFETY: the caller's contract.
    unsafe { enqueue(timer) };
}

/// Queues a timer for the moment that is in it.
///
/// # Safety
///
/// As for [`start`].
unsafe fn enqueue(timer: *const bindings::hrtimer) {
    // SAFETY: the caller's contract.
    let state = unsafe { &*timer };
    state.queued.set(true);
    let moment = state.expires.get().saturating_sub(super::ahead(state.clock)).max(0).unsigned_abs();
    // SAFETY: the caller keeps the timer where it is until it is stopped.
    let callback = unsafe { machine::Callback::new(expire, timer.cast()) };
    machine::time::hrtimer_start_at(timer.addr(), moment, callback, state.place.get());
}

/// Runs a timer's function: the machine calls it at the moment that the timer was started for.
///
/// # Safety
///
/// The pointer must be one that [`enqueue`] was called with.
unsafe fn expire(timer: *const ()) -> u32 {
    let timer = timer.cast::<bindings::hrtimer>();
    // SAFETY: the caller's contract.
    let state = unsafe { &*timer };
    state.queued.set(false);
    state.running.set(true);
    // SAFETY: the timer stays until it is stopped, and it is not before `running` is false.
    let answer = unsafe { (state.function)(timer.cast_mut()) };
    state.running.set(false);
    // The function may have started the timer by other means.
    if answer == bindings::hrtimer_restart::HRTIMER_RESTART && !state.queued.get() {
        // SAFETY: as above.
        unsafe { enqueue(timer) };
    }
    0
}

/// Stops a timer and waits until its function does not run. Returns whether it was started.
///
/// # Safety
///
/// The pointer must lead to an initialised timer.
#[track_caller]
unsafe fn cancel(timer: *const bindings::hrtimer) -> bool {
    // SAFETY: the caller's contract.
    let state = unsafe { &*timer };
    if state.running.get() && machine::context() == machine::Context::HardIrq {
        // On one processor no other handler runs while a timer's does: this is the timer's function itself.
        machine::lock_recursion("hrtimer_cancel in the timer's own function");
    }
    if !state.queued.get() && !state.running.get() {
        return false;
    }
    state.queued.set(false);
    machine::time::hrtimer_cancel(timer.addr())
}

/// Pointers that start the timer in what they point to.
///
/// A timer may be started again, which changes its moment, and several handles of it may be around: each of them can stop
/// it. It must be `Sync`, since the function runs beside its other users.
pub trait HrTimerPointer: Sync + Sized {
    /// What the expiry means.
    type TimerMode: HrTimerMode;

    /// Stands for a timer that may be started. Dropping it stops the timer, and leaking it must do no harm.
    type TimerHandle: HrTimerHandle;

    /// Starts the timer for a moment, or so much time from now. If it is started, the new moment replaces the old one.
    #[track_caller]
    fn start(self, expires: <Self::TimerMode as HrTimerMode>::Expires) -> Self::TimerHandle;
}

/// As [`HrTimerPointer`], for pointers that do not keep what they point to alive: to timers on the stack.
///
/// # Safety
///
/// What the pointer points to must outlive the handle.
pub unsafe trait UnsafeHrTimerPointer: Sync + Sized {
    /// What the expiry means.
    type TimerMode: HrTimerMode;

    /// Stands for a timer that may be started. Dropping it stops the timer.
    type TimerHandle: HrTimerHandle;

    /// Starts the timer for a moment, or so much time from now. If it is started, the new moment replaces the old one.
    ///
    /// # Safety
    ///
    /// The handle must be dropped before what the pointer points to is.
    #[track_caller]
    unsafe fn start(self, expires: <Self::TimerMode as HrTimerMode>::Expires) -> Self::TimerHandle;
}

/// Pointers to timers on the stack, which are stopped when a function returns.
///
/// # Safety
///
/// [`start_scoped`](Self::start_scoped) must not return before the timer is stopped and its function does not run.
pub unsafe trait ScopedHrTimerPointer {
    /// What the expiry means.
    type TimerMode: HrTimerMode;

    /// Starts the timer, calls `f`, and stops the timer.
    #[track_caller]
    fn start_scoped<T, F>(self, expires: <Self::TimerMode as HrTimerMode>::Expires, f: F) -> T
    where
        F: FnOnce() -> T;
}

// SAFETY: the handle is dropped before the method returns, also when `f` panics, and dropping it stops the timer.
unsafe impl<P: UnsafeHrTimerPointer> ScopedHrTimerPointer for P {
    type TimerMode = P::TimerMode;

    #[track_caller]
    fn start_scoped<T, F>(self, expires: <P::TimerMode as HrTimerMode>::Expires, f: F) -> T
    where
        F: FnOnce() -> T,
    {
        // SAFETY: the handle does not leave this function.
        let _handle = unsafe { UnsafeHrTimerPointer::start(self, expires) };
        f()
    }
}

/// The way from C's timer to the function: implemented for the pointers that can start timers.
pub trait RawHrTimerCallback {
    /// What the function gets.
    type CallbackTarget<'a>;

    /// Calls the function.
    ///
    /// Differs from Linux: the ABI lets a panic through, which ends the life rather than the process.
    ///
    /// # Safety
    ///
    /// Only for the machine, with the timer that was started by a pointer of this type, when it expires.
    unsafe extern "C-unwind" fn run(this: *mut bindings::hrtimer) -> bindings::hrtimer_restart;
}

/// Structures with a timer: what happens when it expires.
pub trait HrTimerCallback {
    /// The kind of pointer that starts the timer.
    type Pointer<'a>: RawHrTimerCallback;

    /// Runs when the timer expires, in interrupt context. Returns whether the timer starts again.
    fn run(
        this: <Self::Pointer<'_> as RawHrTimerCallback>::CallbackTarget<'_>,
        ctx: HrTimerCallbackContext<'_, Self>,
    ) -> HrTimerRestart
    where
        Self: Sized,
        Self: HasHrTimer<Self>;
}

/// Stands for a timer that may be started.
///
/// # Safety
///
/// Dropping it must stop the timer, and wait until its function does not run.
pub unsafe trait HrTimerHandle {
    /// Stops the timer and waits until its function does not run. Returns whether it was started.
    ///
    /// Others may start it meanwhile, and then it is started afterwards.
    #[track_caller]
    fn cancel(&mut self) -> bool;
}

/// Structures with a timer: where it is. [`impl_has_hr_timer!`](crate::impl_has_hr_timer) implements it.
///
/// # Safety
///
/// All methods must be about one field, a `HrTimer<T>`.
pub unsafe trait HasHrTimer<T> {
    /// What the expiry means.
    type TimerMode: HrTimerMode;

    /// Goes from the structure to its timer, without a reference in between.
    ///
    /// # Safety
    ///
    /// The pointer must be valid.
    unsafe fn raw_get_timer(this: *const Self) -> *const HrTimer<T>;

    /// Goes from the timer to its structure, without a reference in between.
    ///
    /// # Safety
    ///
    /// The pointer must lead to the timer in a `Self`, and allow access to all of it.
    unsafe fn timer_container_of(ptr: *mut HrTimer<T>) -> *mut Self
    where
        Self: Sized;

    /// Goes from the structure to C's timer in it, without a reference in between.
    ///
    /// # Safety
    ///
    /// The pointer must be valid.
    unsafe fn c_timer_ptr(this: *const Self) -> *const bindings::hrtimer {
        // SAFETY: the caller's contract.
        unsafe { HrTimer::raw_get(Self::raw_get_timer(this)) }
    }

    /// Starts the timer, or starts it anew.
    ///
    /// # Safety
    ///
    /// The pointer must be valid, allow access to all of the structure, and stay so until the timer is stopped.
    #[track_caller]
    unsafe fn start(this: *const Self, expires: <Self::TimerMode as HrTimerMode>::Expires) {
        // SAFETY: the caller's contract.
        unsafe { start(Self::c_timer_ptr(this), expires.as_nanos(), Self::TimerMode::C_MODE) };
    }
}

/// Whether a timer starts again.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum HrTimerRestart {
    /// It does not.
    NoRestart = bindings::hrtimer_restart::HRTIMER_NORESTART.0,
    /// It does, for the moment that its function forwarded it to; without that for the old one, which has passed.
    Restart = bindings::hrtimer_restart::HRTIMER_RESTART.0,
}

impl HrTimerRestart {
    /// Turns it into C's type.
    fn raw(self) -> bindings::hrtimer_restart {
        bindings::hrtimer_restart(self as u32)
    }
}

/// What a timer's function can do with its timer.
// It exists only while the function runs.
pub struct HrTimerCallbackContext<'a, T: HasHrTimer<T>>(NonNull<HrTimer<T>>, PhantomData<&'a ()>);

impl<T: HasHrTimer<T>> HrTimerCallbackContext<'_, T> {
    /// Makes the context of the function that is about to run.
    ///
    /// # Safety
    ///
    /// Only for implementations of [`RawHrTimerCallback::run`], with its timer and for as long as it runs.
    pub(crate) unsafe fn from_raw(timer: *mut HrTimer<T>) -> Self {
        // SAFETY: a timer's address is not null.
        Self(unsafe { NonNull::new_unchecked(timer) }, PhantomData)
    }

    /// Moves the expiry on by whole intervals until it is after `now`. Returns by how many; 0 if it is after `now` already.
    #[track_caller]
    pub fn forward(&mut self, now: HrTimerInstant<T>, interval: Delta) -> u64 {
        // SAFETY: the timer is there while its function runs.
        unsafe { HrTimer::raw_forward(self.0.as_ptr(), now, interval) }
    }

    /// As [`forward`](Self::forward), with the present moment as `now`.
    #[track_caller]
    pub fn forward_now(&mut self, duration: Delta) -> u64 {
        let now = Instant::now();
        self.forward(now, duration)
    }
}

/// Says which field of a structure is its timer, and what its expiry means.
///
/// `impl HasHrTimer<Self> for Type { mode: RelativeMode<Monotonic>, field: self.timer }`; generic parameters stand in braces
/// after `impl`. See the [module](crate::time::hrtimer) for an example.
#[macro_export]
macro_rules! impl_has_hr_timer {
    (
        impl $({ $($parameters:tt)* })? HasHrTimer<$Timer:ty> for $Holder:ty {
            mode: $Mode:ty, field: self.$field:ident $(,)?
        }
        $($more:tt)*
    ) => {
        // SAFETY: all methods are about the named field.
        unsafe impl $(<$($parameters)*>)? $crate::time::hrtimer::HasHrTimer<$Timer> for $Holder {
            type TimerMode = $Mode;

            unsafe fn raw_get_timer(holder: *const Self) -> *const $crate::time::hrtimer::HrTimer<$Timer> {
                // SAFETY: the caller gives a valid pointer.
                unsafe { &raw const (*holder).$field }
            }

            unsafe fn timer_container_of(timer: *mut $crate::time::hrtimer::HrTimer<$Timer>) -> *mut Self {
                // SAFETY: the caller gives a pointer to this field.
                unsafe { $crate::container_of!(timer, $Holder, $field) }
            }
        }
    };
}
