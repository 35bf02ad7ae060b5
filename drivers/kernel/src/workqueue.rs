//! Workqueues: functions that run soon, or later, in a task that may sleep.
//!
//! A work item is a field ([`Work`] or [`DelayedWork`]) of the structure that its function works on. What is queued is a
//! pointer to the structure: an `Arc`, an [`ARef`] or a pinned box. While the item is queued the queue owns the pointer, and
//! the function gets it back. A structure may have several items, told apart by the number `ID`.
//!
//! Differs from Linux: each item runs in a task of its own, and there are only the system's queues.
//!
//! # Examples
//!
//! ```no_run
//! use kernel::prelude::*;
//! use kernel::sync::{Arc, Completion};
//! use kernel::workqueue::{self, impl_has_work, new_work, Work, WorkItem};
//!
//! #[pin_data]
//! struct Reset {
//!     #[pin]
//!     work: Work<Self>,
//!     #[pin]
//!     done: Completion,
//! }
//!
//! impl_has_work! {
//!     impl HasWork<Self> for Reset { self.work }
//! }
//!
//! impl WorkItem for Reset {
//!     type Pointer = Arc<Self>;
//!
//!     fn run(this: Arc<Self>) {
//!         this.done.complete_all();
//!     }
//! }
//!
//! let reset = Arc::pin_init(
//!     pin_init!(Reset { work <- new_work!("reset"), done <- Completion::new() }),
//!     GFP_KERNEL,
//! )?;
//! // An item that is queued already is not queued again, and the pointer comes back.
//! let _ = workqueue::system().enqueue(reset.clone());
//! reset.done.wait_for_completion();
//! # Ok::<(), Error>(())
//! ```

use crate::alloc::{AllocError, Flags, KBox};
use crate::bindings;
use crate::init::InPlaceInit;
use crate::machine;
use crate::str::CStr;
use crate::sync::LockClassKey;
use crate::time::{self, Jiffies};
use crate::types::Opaque;
use core::cell::Cell;
use core::marker::PhantomData;
use core::panic::Location;
use core::pin::Pin;
use pin_init::{pin_data, pin_init, PinInit};

mod pointer;
mod system;

pub use system::*;

#[cfg(doc)]
use crate::sync::{aref::ARef, Arc};

/// Returns an initialiser for a [`Work`], with a name if one is given.
#[macro_export]
macro_rules! new_work {
    ($($name:literal)?) => { $crate::with_lock_class!($crate::workqueue::Work::new; $($name)?) };
}
pub use new_work;

/// Returns an initialiser for a [`DelayedWork`], with a name if one is given.
#[macro_export]
macro_rules! new_delayed_work {
    (@named $name:expr) => {
        $crate::workqueue::DelayedWork::new(
            $crate::c_str!($name), $crate::static_lock_class!(),
            $crate::c_str!(::core::concat!($name, "_timer")), $crate::static_lock_class!(),
        )
    };
    () => { $crate::new_delayed_work!(@named ::core::concat!(::core::file!(), ":", ::core::line!())) };
    ($name:literal) => { $crate::new_delayed_work!(@named $name) };
}
pub use new_delayed_work;

/// A queue of work items. The system has some: [`system`] is the usual one.
#[repr(transparent)]
pub struct Queue(Opaque<bindings::workqueue_struct>);

// SAFETY: a queue belongs to no task and does not change.
unsafe impl Send for Queue {}

// SAFETY: as above.
unsafe impl Sync for Queue {}

impl Queue {
    /// Looks at C's structure as a queue.
    ///
    /// # Safety
    ///
    /// The pointer must lead to a queue that stays during `'a`.
    pub unsafe fn from_raw<'a>(ptr: *const bindings::workqueue_struct) -> &'a Queue {
        // SAFETY: the type is a transparent wrapper; the rest is the caller's contract.
        unsafe { &*ptr.cast() }
    }

    /// Queues an item for whoever stands at `place`, to run after so many ticks. Says whether it was not queued before.
    ///
    /// # Safety
    ///
    /// The item must be initialised, and stay until its function is called.
    unsafe fn queue(&self, work: *mut bindings::work_struct, delay: Jiffies, place: machine::Place) -> bool {
        // SAFETY: a queue that exists is initialised.
        let queue = unsafe { &*self.0.get() };
        // SAFETY: the caller keeps the item until its function is called.
        let callback = unsafe { machine::Callback::new(call, work.cast_const().cast()) };
        let delay = time::jiffies_to_nanos(delay);
        let queued = machine::work::queue_work_at(queue.name, work.addr(), callback, delay, place);
        if queued {
            // It does not run before the next point, so this is in time.
            // SAFETY: as above.
            unsafe { (*work).atomic.set(queue.atomic) };
        }
        queued
    }

    /// Queues an item. What it returns says whether the item was queued already: see
    /// [`EnqueueOutput`](RawWorkItem::EnqueueOutput).
    #[track_caller]
    pub fn enqueue<W, const ID: u64>(&self, w: W) -> W::EnqueueOutput
    where
        W: RawWorkItem<ID> + Send + 'static,
    {
        let place = Location::caller();
        // SAFETY: `__enqueue` gives an item that stays until its function is called.
        let queue = |work| unsafe { self.queue(work, 0, place) };
        // SAFETY: the closure returns `false` only for an item that is queued, and the item's type has no lifetime to be
        // outlived and may go to any task.
        unsafe { w.__enqueue(queue) }
    }

    /// Queues an item to run after `delay` ticks. What it returns says whether the item was queued already.
    #[track_caller]
    pub fn enqueue_delayed<W, const ID: u64>(&self, w: W, delay: Jiffies) -> W::EnqueueOutput
    where
        W: RawDelayedWorkItem<ID> + Send + 'static,
    {
        let place = Location::caller();
        // SAFETY: `__enqueue` gives an item that stays until its function is called.
        let queue = |work| unsafe { self.queue(work, delay, place) };
        // SAFETY: as for `enqueue`.
        unsafe { w.__enqueue(queue) }
    }

    /// Runs a closure as a work item. Fails if there is no memory for it.
    #[track_caller]
    pub fn try_spawn<T: 'static + Send + FnOnce()>(&self, flags: Flags, func: T) -> Result<(), AllocError> {
        let item = pin_init!(Spawned { work <- new_work!("Queue::try_spawn"), func: Some(func) });
        // Setting it up cannot fail, so an error is about memory.
        self.enqueue(KBox::pin_init(item, flags).map_err(|_| AllocError)?);
        Ok(())
    }
}

/// Runs an item's function: the machine calls it in a task of its own.
///
/// # Safety
///
/// The pointer must lead to an item that is queued; it may be gone afterwards.
unsafe fn call(work: *const ()) -> u32 {
    let work = work.cast::<bindings::work_struct>().cast_mut();
    // SAFETY: the caller's contract.
    let (function, atomic) = unsafe { ((*work).function, (*work).atomic.get()) };
    if atomic {
        machine::preempt_disable();
    }
    // SAFETY: the caller's contract.
    unsafe { function(work) };
    if atomic {
        machine::preempt_enable();
    }
    0
}

/// The closure of [`Queue::try_spawn`] and its work item.
#[pin_data]
struct Spawned<T> {
    #[pin]
    work: Work<Spawned<T>>,
    func: Option<T>,
}

impl_has_work! {
    impl{T} HasWork<Self> for Spawned<T> { self.work }
}

impl<T: FnOnce()> WorkItem for Spawned<T> {
    type Pointer = Pin<KBox<Self>>;

    fn run(mut this: Pin<KBox<Self>>) {
        if let Some(func) = this.as_mut().project().func.take() {
            func();
        }
    }
}

/// Things that can be queued, whatever they do to be.
///
/// # Safety
///
/// The pointer that [`__enqueue`](Self::__enqueue) passes on must stay valid as its documentation says.
pub unsafe trait RawWorkItem<const ID: u64> {
    /// What queueing returns: for shared pointers a result, with the pointer as the error when the item is queued already.
    type EnqueueOutput;

    /// Passes the item on to `queue_work_on`, which queues it and says whether it was not queued before.
    ///
    /// The pointer is valid during the call, and after `true` until the function in the item is called.
    ///
    /// # Safety
    ///
    /// The closure may return `false` only for an item that is queued. The item's function must not be called after a
    /// lifetime in its type ended, nor by another task if the type is not `Send`.
    unsafe fn __enqueue<F>(self, queue_work_on: F) -> Self::EnqueueOutput
    where
        F: FnOnce(*mut bindings::work_struct) -> bool;
}

/// Things that can be queued for later.
///
/// # Safety
///
/// The pointer that `__enqueue` passes on must be that of the `work` in a `delayed_work`, and what it promises must hold for
/// all of that.
pub unsafe trait RawDelayedWorkItem<const ID: u64>: RawWorkItem<ID> {}

/// Pointers that can be queued: the way from C's item to the function.
///
/// # Safety
///
/// `__enqueue` must pass on an item whose function is [`run`](Self::run).
pub unsafe trait WorkItemPointer<const ID: u64>: RawWorkItem<ID> {
    /// Takes the pointer back and calls the function with it.
    ///
    /// Differs from Linux: the ABI lets a panic through, which ends the life rather than the process.
    ///
    /// # Safety
    ///
    /// The item must be one that `__enqueue` passed on and that was queued; it is queued no longer.
    unsafe extern "C-unwind" fn run(ptr: *mut bindings::work_struct);
}

/// Structures with a work item: what it does.
pub trait WorkItem<const ID: u64 = 0> {
    /// The kind of pointer that is queued.
    type Pointer: WorkItemPointer<ID>;

    /// Runs once for each time that the item was queued.
    fn run(this: Self::Pointer);
}

/// A work item of a `T`, as a field in it. It must be pinned.
#[pin_data]
#[repr(transparent)]
pub struct Work<T: ?Sized, const ID: u64 = 0> {
    #[pin]
    item: Opaque<bindings::work_struct>,
    _holder: PhantomData<T>,
}

// SAFETY: an item may be queued by any task; what its function gets at is the affair of the pointer that is queued.
unsafe impl<T: ?Sized, const ID: u64> Send for Work<T, ID> {}

// SAFETY: as above; the cell in it is not raced for, since all of a machine runs on one thread.
unsafe impl<T: ?Sized, const ID: u64> Sync for Work<T, ID> {}

/// Sets an item up.
///
/// # Safety
///
/// The slot must be valid for writes.
unsafe fn init_work<T: WorkItem<ID> + ?Sized, const ID: u64>(slot: *mut bindings::work_struct) {
    let idle = bindings::work_struct { function: T::Pointer::run, atomic: Cell::new(false) };
    // SAFETY: the caller's contract.
    unsafe { slot.write(idle) };
}

impl<T: ?Sized, const ID: u64> Work<T, ID> {
    /// Returns an initialiser; [`new_work!`] gives the name and the class.
    pub fn new(_name: &'static CStr, _key: Pin<&'static LockClassKey>) -> impl PinInit<Self>
    where
        T: WorkItem<ID>,
    {
        pin_init!(Self {
            // SAFETY: the slot is valid for writes.
            item <- Opaque::ffi_init(|slot| unsafe { init_work::<T, ID>(slot) }),
            _holder: PhantomData,
        })
    }

    /// Goes from the item to C's structure in it, without a reference in between.
    ///
    /// # Safety
    ///
    /// The pointer must lead to an item, initialised or not.
    pub unsafe fn raw_get(ptr: *const Self) -> *mut bindings::work_struct {
        // SAFETY: the caller's contract.
        Opaque::cast_into(unsafe { &raw const (*ptr).item })
    }
}

/// Structures with a work item: where it is. [`impl_has_work!`] implements it.
///
/// # Safety
///
/// The methods must be each other's inverse, and the pointers they return valid.
pub unsafe trait HasWork<T, const ID: u64 = 0> {
    /// Goes from the structure to the item.
    ///
    /// # Safety
    ///
    /// The pointer must be valid.
    unsafe fn raw_get_work(ptr: *mut Self) -> *mut Work<T, ID>;

    /// Goes from the item to the structure.
    ///
    /// # Safety
    ///
    /// The pointer must lead to the item in a `Self`.
    unsafe fn work_container_of(ptr: *mut Work<T, ID>) -> *mut Self;
}

/// Says which fields of a structure are its work items: `impl HasWork<Self, ID> for Type { self.field }`, any number of
/// times. Generic parameters stand in braces after `impl`; without an `ID` it is 0.
///
/// # Examples
///
/// ```
/// use kernel::workqueue::{impl_has_work, Work};
///
/// struct Port<'a, const LANES: usize> {
///     up: Work<Port<'a, LANES>, 1>,
///     down: Work<Port<'a, LANES>, 2>,
///     name: &'a str,
/// }
///
/// impl_has_work! {
///     impl{'a, const LANES: usize} HasWork<Self, 1> for Port<'a, LANES> { self.up }
///     impl{'a, const LANES: usize} HasWork<Self, 2> for Port<'a, LANES> { self.down }
/// }
/// ```
#[macro_export]
macro_rules! impl_has_work {
    ($(
        impl $({ $($parameters:tt)* })? HasWork<$Work:ty $(, $id:tt)?> for $Holder:ty { self.$field:ident }
    )*) => {$(
        // SAFETY: both methods are about the named field.
        unsafe impl $(<$($parameters)*>)? $crate::workqueue::HasWork<$Work $(, $id)?> for $Holder {
            unsafe fn raw_get_work(holder: *mut Self) -> *mut $crate::workqueue::Work<$Work $(, $id)?> {
                // SAFETY: the caller gives a valid pointer.
                unsafe { &raw mut (*holder).$field }
            }

            unsafe fn work_container_of(work: *mut $crate::workqueue::Work<$Work $(, $id)?>) -> *mut Self {
                // SAFETY: the caller gives a pointer to this field.
                unsafe { $crate::container_of!(work, Self, $field) }
            }
        }
    )*};
}
pub use impl_has_work;

/// A work item of a `T` that can be queued for later, as a field in it. It must be pinned.
#[pin_data]
#[repr(transparent)]
pub struct DelayedWork<T: ?Sized, const ID: u64 = 0> {
    #[pin]
    delayed: Opaque<bindings::delayed_work>,
    _holder: PhantomData<T>,
}

// SAFETY: as for `Work`.
unsafe impl<T: ?Sized, const ID: u64> Send for DelayedWork<T, ID> {}

// SAFETY: as for `Work`.
unsafe impl<T: ?Sized, const ID: u64> Sync for DelayedWork<T, ID> {}

impl<T: ?Sized, const ID: u64> DelayedWork<T, ID> {
    /// Returns an initialiser; [`new_delayed_work!`] gives the names and classes of the item and of its timer.
    pub fn new(
        _work_name: &'static CStr,
        _work_key: Pin<&'static LockClassKey>,
        _timer_name: &'static CStr,
        _timer_key: Pin<&'static LockClassKey>,
    ) -> impl PinInit<Self>
    where
        T: WorkItem<ID>,
    {
        pin_init!(Self {
            delayed <- Opaque::ffi_init(|slot: *mut bindings::delayed_work| {
                // SAFETY: the slot is valid for writes, and the item is all that is in it.
                unsafe { init_work::<T, ID>(&raw mut (*slot).work) };
            }),
            _holder: PhantomData,
        })
    }

    /// Goes to the item in it, without a reference in between.
    ///
    /// # Safety
    ///
    /// The pointer must lead to one, initialised or not.
    pub unsafe fn raw_as_work(ptr: *const Self) -> *mut Work<T, ID> {
        // SAFETY: the caller's contract.
        let delayed = Opaque::cast_into(unsafe { &raw const (*ptr).delayed });
        // SAFETY: as above. `Work` is a transparent wrapper.
        unsafe { &raw mut (*delayed).work }.cast()
    }
}

/// Structures with a work item that can be queued for later. [`impl_has_delayed_work!`] implements it.
///
/// # Safety
///
/// The item that `HasWork` finds must be the one in a [`DelayedWork`].
pub unsafe trait HasDelayedWork<T, const ID: u64 = 0>: HasWork<T, ID> {}

/// Says which fields of a structure are its work items that can be queued for later; it implements [`HasWork`] too. Written as
/// for [`impl_has_work!`], with `HasDelayedWork`.
///
/// # Examples
///
/// ```
/// use kernel::workqueue::{impl_has_delayed_work, DelayedWork};
///
/// struct Poller<T> {
///     again: DelayedWork<Poller<T>>,
///     source: T,
/// }
///
/// impl_has_delayed_work! {
///     impl{T} HasDelayedWork<Self> for Poller<T> { self.again }
/// }
/// ```
#[macro_export]
macro_rules! impl_has_delayed_work {
    ($(
        impl $({ $($parameters:tt)* })? HasDelayedWork<$Work:ty $(, $id:tt)?> for $Holder:ty { self.$field:ident }
    )*) => {$(
        // SAFETY: the item that is found below is the one in the named field, a `DelayedWork`.
        unsafe impl $(<$($parameters)*>)? $crate::workqueue::HasDelayedWork<$Work $(, $id)?> for $Holder {}

        // SAFETY: both methods are about the named field.
        unsafe impl $(<$($parameters)*>)? $crate::workqueue::HasWork<$Work $(, $id)?> for $Holder {
            unsafe fn raw_get_work(holder: *mut Self) -> *mut $crate::workqueue::Work<$Work $(, $id)?> {
                // SAFETY: the caller gives a valid pointer.
                unsafe { $crate::workqueue::DelayedWork::raw_as_work(&raw const (*holder).$field) }
            }

            unsafe fn work_container_of(work: *mut $crate::workqueue::Work<$Work $(, $id)?>) -> *mut Self {
                // SAFETY: the caller gives a pointer to the item in this field, and `DelayedWork` is a transparent wrapper.
                unsafe {
                    let item = $crate::workqueue::Work::raw_get(work);
                    let delayed = $crate::container_of!(item, $crate::bindings::delayed_work, work)
                        .cast::<$crate::workqueue::DelayedWork<$Work $(, $id)?>>();
                    $crate::container_of!(delayed, Self, $field)
                }
            }
        }
    )*};
}
pub use impl_has_delayed_work;
