//! [`Kiocb`]: one read or write of a file.

use crate::bindings;
use crate::types::ForeignOwnable;
use core::marker::PhantomData;
use core::ptr::NonNull;

/// One read or write of a file whose private data is a `T`: which file, and where in it.
pub struct Kiocb<'a, T> {
    raw: NonNull<bindings::kiocb>,
    _file: PhantomData<&'a T>,
}

impl<'a, T: ForeignOwnable> Kiocb<'a, T> {
    /// Wraps C's structure.
    ///
    /// # Safety
    ///
    /// During `'a` the pointer must be valid, not null, and used through the result only; the file's private data must come
    /// from a `T`'s `into_foreign`.
    pub unsafe fn from_raw(kiocb: *mut bindings::kiocb) -> Self {
        // SAFETY: the caller says that it is not null.
        Self { raw: unsafe { NonNull::new_unchecked(kiocb) }, _file: PhantomData }
    }

    /// Returns C's structure.
    pub fn as_raw(&self) -> *mut bindings::kiocb {
        self.raw.as_ptr()
    }

    /// Borrows the file's private data.
    pub fn file(&self) -> <T as ForeignOwnable>::Borrowed<'a> {
        // SAFETY: the structure and its file are valid.
        let private = unsafe { (*(*self.as_raw()).ki_filp).private_data.get() };
        // SAFETY: it comes from a `T`, and nobody takes it back before the file is released, after this call.
        unsafe { T::borrow(private) }
    }

    /// Returns the position in the file, in bytes.
    pub fn ki_pos(&self) -> i64 {
        // SAFETY: the structure is valid.
        unsafe { self.raw.as_ref() }.ki_pos
    }

    /// Lends the position in the file, to be moved.
    pub fn ki_pos_mut(&mut self) -> &mut i64 {
        // SAFETY: the structure is valid, and borrowed as this value is.
        unsafe { &mut self.raw.as_mut().ki_pos }
    }
}
