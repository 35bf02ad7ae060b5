//! [`ARef`]: owned references to things that count their references themselves, as devices do.

use crate::ffi::c_void;
use crate::types::ForeignOwnable;
use core::marker::PhantomData;
use core::mem::ManuallyDrop;
use core::ops::Deref;
use core::ptr::NonNull;

/// Types whose every value counts its references.
///
/// # Safety
///
/// A value must stay as long as it was incremented more often than decremented, and every value must be so counted.
pub unsafe trait AlwaysRefCounted {
    /// Counts one reference more.
    fn inc_ref(&self);

    /// Counts one reference less, and frees the value with the last.
    ///
    /// # Safety
    ///
    /// The caller must own a reference, and not use the value any more unless it owns another.
    unsafe fn dec_ref(obj: NonNull<Self>);
}

/// An owned reference to a counted value: cloning increments, dropping decrements.
pub struct ARef<T: AlwaysRefCounted> {
    ptr: NonNull<T>,
    _value: PhantomData<T>,
}

impl<T: AlwaysRefCounted> Unpin for ARef<T> {}

// SAFETY: whoever has the last reference drops the value, so it must be `Send`; others share it, so it must be `Sync`.
unsafe impl<T: AlwaysRefCounted + Send + Sync> Send for ARef<T> {}

// SAFETY: as above, since a shared reference can be cloned.
unsafe impl<T: AlwaysRefCounted + Send + Sync> Sync for ARef<T> {}

impl<T: AlwaysRefCounted> ARef<T> {
    /// Takes over one reference.
    ///
    /// # Safety
    ///
    /// The caller must own it, and not decrement it itself.
    pub unsafe fn from_raw(ptr: NonNull<T>) -> Self {
        Self { ptr, _value: PhantomData }
    }

    /// Gives the reference away without decrementing it.
    pub fn into_raw(me: Self) -> NonNull<T> {
        ManuallyDrop::new(me).ptr
    }
}

impl<T: AlwaysRefCounted> Deref for ARef<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the value stays while the reference is held.
        unsafe { self.ptr.as_ref() }
    }
}

impl<T: AlwaysRefCounted> From<&T> for ARef<T> {
    fn from(value: &T) -> Self {
        value.inc_ref();
        // SAFETY: the reference that was just counted is the new one's.
        unsafe { Self::from_raw(value.into()) }
    }
}

impl<T: AlwaysRefCounted> Clone for ARef<T> {
    fn clone(&self) -> Self {
        Self::from(&**self)
    }
}

impl<T: AlwaysRefCounted> Drop for ARef<T> {
    fn drop(&mut self) {
        // SAFETY: the reference is owned and not used again.
        unsafe { T::dec_ref(self.ptr) };
    }
}

impl<T: AlwaysRefCounted + Eq> Eq for ARef<T> {}

impl<T: AlwaysRefCounted + PartialEq<U>, U: AlwaysRefCounted> PartialEq<ARef<U>> for ARef<T> {
    /// Compares the values, not their addresses.
    fn eq(&self, other: &ARef<U>) -> bool {
        **self == **other
    }
}

impl<T: AlwaysRefCounted + PartialEq<U>, U> PartialEq<&U> for ARef<T> {
    /// Compares the values, not their addresses.
    fn eq(&self, other: &&U) -> bool {
        **self == **other
    }
}

// SAFETY: the pointer is that of the value.
unsafe impl<T: AlwaysRefCounted> ForeignOwnable for ARef<T> {
    #[rustfmt::skip]
    type Borrowed<'a> = &'a T where Self: 'a;
    #[rustfmt::skip]
    type BorrowedMut<'a> = &'a T where Self: 'a;

    const FOREIGN_ALIGN: usize = align_of::<T>();

    fn into_foreign(self) -> *mut c_void {
        Self::into_raw(self).as_ptr().cast()
    }

    unsafe fn from_foreign(ptr: *mut c_void) -> Self {
        // SAFETY: the pointer comes from `into_foreign`, so it is not null and carries a reference.
        unsafe { Self::from_raw(NonNull::new_unchecked(ptr.cast())) }
    }

    unsafe fn borrow<'a>(ptr: *mut c_void) -> &'a T {
        // SAFETY: foreign code holds the reference for `'a`.
        unsafe { &*ptr.cast::<T>() }
    }

    unsafe fn borrow_mut<'a>(ptr: *mut c_void) -> &'a T {
        // SAFETY: as above; who borrows alone may share.
        unsafe { &*ptr.cast::<T>() }
    }
}
