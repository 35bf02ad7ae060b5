//! The pointers that can be queued: `Arc<T>`, `ARef<T>` and `Pin<KBox<T>>`.

use super::{HasDelayedWork, HasWork, RawDelayedWorkItem, RawWorkItem, Work, WorkItem, WorkItemPointer};
use crate::alloc::KBox;
use crate::bindings;
use crate::sync::aref::{ARef, AlwaysRefCounted};
use crate::sync::Arc;
use core::pin::Pin;
use core::ptr::NonNull;

/// Goes from the structure to C's item in it.
///
/// # Safety
///
/// The pointer must be valid.
unsafe fn item_of<T: HasWork<T, ID>, const ID: u64>(holder: *mut T) -> *mut bindings::work_struct {
    // SAFETY: the caller's contract.
    unsafe { Work::raw_get(T::raw_get_work(holder)) }
}

/// Goes from C's item to the structure around it.
///
/// # Safety
///
/// The pointer must come from [`item_of`].
unsafe fn holder_of<T: HasWork<T, ID>, const ID: u64>(work: *mut bindings::work_struct) -> *mut T {
    // SAFETY: the caller's contract; `Work` is a transparent wrapper.
    unsafe { T::work_container_of(work.cast()) }
}

// SAFETY: the reference that is given away keeps the structure until `run` takes it back.
unsafe impl<T, const ID: u64> RawWorkItem<ID> for Arc<T>
where
    T: HasWork<T, ID> + WorkItem<ID, Pointer = Self>,
{
    /// The `Arc` comes back when the item is queued already.
    type EnqueueOutput = Result<(), Self>;

    unsafe fn __enqueue<F: FnOnce(*mut bindings::work_struct) -> bool>(self, queue: F) -> Result<(), Self> {
        let holder = Arc::into_raw(self).cast_mut();
        // SAFETY: the reference is held.
        if queue(unsafe { item_of::<T, ID>(holder) }) {
            return Ok(());
        }
        // SAFETY: the queue did not take the reference.
        Err(unsafe { Arc::from_raw(holder) })
    }
}

// SAFETY: `Work::new` puts this function into the item, since `T::Pointer` is this type.
unsafe impl<T, const ID: u64> WorkItemPointer<ID> for Arc<T>
where
    T: HasWork<T, ID> + WorkItem<ID, Pointer = Self>,
{
    unsafe extern "C-unwind" fn run(ptr: *mut bindings::work_struct) {
        // SAFETY: the item was passed on by `__enqueue`, which gave a reference away.
        T::run(unsafe { Arc::from_raw(holder_of::<T, ID>(ptr)) });
    }
}

// SAFETY: the item that `HasDelayedWork` finds is the one in a `delayed_work`, which the same reference keeps.
unsafe impl<T, const ID: u64> RawDelayedWorkItem<ID> for Arc<T> where
    T: HasDelayedWork<T, ID> + WorkItem<ID, Pointer = Self>
{
}

// SAFETY: the box that is given away is the structure, until `run` takes it back.
unsafe impl<T, const ID: u64> RawWorkItem<ID> for Pin<KBox<T>>
where
    T: HasWork<T, ID> + WorkItem<ID, Pointer = Self>,
{
    /// An item in a box cannot be queued already: the queue would have the box.
    type EnqueueOutput = ();

    unsafe fn __enqueue<F: FnOnce(*mut bindings::work_struct) -> bool>(self, queue: F) {
        // SAFETY: nothing moves the structure from here on.
        let holder = KBox::into_raw(unsafe { Pin::into_inner_unchecked(self) });
        // SAFETY: a box is valid.
        let queued = queue(unsafe { item_of::<T, ID>(holder) });
        assert!(queued, "a boxed work item is queued by someone who does not have the box");
    }
}

// SAFETY: `Work::new` puts this function into the item, since `T::Pointer` is this type.
unsafe impl<T, const ID: u64> WorkItemPointer<ID> for Pin<KBox<T>>
where
    T: HasWork<T, ID> + WorkItem<ID, Pointer = Self>,
{
    unsafe extern "C-unwind" fn run(ptr: *mut bindings::work_struct) {
        // SAFETY: the item was passed on by `__enqueue`, which gave the box away; nothing moved the structure since.
        T::run(Pin::from(unsafe { KBox::from_raw(holder_of::<T, ID>(ptr)) }));
    }
}

// SAFETY: the item that `HasDelayedWork` finds is the one in a `delayed_work`, which is in the same box.
unsafe impl<T, const ID: u64> RawDelayedWorkItem<ID> for Pin<KBox<T>> where
    T: HasDelayedWork<T, ID> + WorkItem<ID, Pointer = Self>
{
}

// SAFETY: the reference that is given away keeps the structure until `run` takes it back.
unsafe impl<T, const ID: u64> RawWorkItem<ID> for ARef<T>
where
    T: AlwaysRefCounted + HasWork<T, ID> + WorkItem<ID, Pointer = Self>,
{
    /// The `ARef` comes back when the item is queued already.
    type EnqueueOutput = Result<(), Self>;

    unsafe fn __enqueue<F: FnOnce(*mut bindings::work_struct) -> bool>(self, queue: F) -> Result<(), Self> {
        let holder = ARef::into_raw(self);
        // SAFETY: the reference is held.
        if queue(unsafe { item_of::<T, ID>(holder.as_ptr()) }) {
            return Ok(());
        }
        // SAFETY: the queue did not take the reference.
        Err(unsafe { ARef::from_raw(holder) })
    }
}

// SAFETY: `Work::new` puts this function into the item, since `T::Pointer` is this type.
unsafe impl<T, const ID: u64> WorkItemPointer<ID> for ARef<T>
where
    T: AlwaysRefCounted + HasWork<T, ID> + WorkItem<ID, Pointer = Self>,
{
    unsafe extern "C-unwind" fn run(ptr: *mut bindings::work_struct) {
        // SAFETY: the item was passed on by `__enqueue`, which gave a reference away; it is not null.
        T::run(unsafe { ARef::from_raw(NonNull::new_unchecked(holder_of::<T, ID>(ptr))) });
    }
}

// SAFETY: the item that `HasDelayedWork` finds is the one in a `delayed_work`, which the same reference keeps.
unsafe impl<T, const ID: u64> RawDelayedWorkItem<ID> for ARef<T> where
    T: AlwaysRefCounted + HasDelayedWork<T, ID> + WorkItem<ID, Pointer = Self>
{
}
