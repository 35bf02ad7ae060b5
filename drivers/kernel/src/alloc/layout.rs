//! The memory layout of arrays whose size is known to be small enough.

use core::alloc::Layout;
use core::marker::PhantomData;

/// An array is larger than memory can be. It becomes `ENOMEM`.
pub struct LayoutError;

/// The layout of an array of `T`: at most `isize::MAX` bytes.
pub struct ArrayLayout<T> {
    len: usize,
    _element: PhantomData<fn() -> T>,
}

impl<T> Copy for ArrayLayout<T> {}

impl<T> Clone for ArrayLayout<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> ArrayLayout<T> {
    /// The layout of an array without elements.
    pub const fn empty() -> Self {
        Self { len: 0, _element: PhantomData }
    }

    /// The layout of an array of `len` elements, if that is at most `isize::MAX` bytes.
    pub const fn new(len: usize) -> Result<Self, LayoutError> {
        match size_of::<T>().checked_mul(len) {
            // SAFETY: the size was just checked.
            Some(bytes) if bytes <= isize::MAX as usize => Ok(unsafe { Self::new_unchecked(len) }),
            _ => Err(LayoutError),
        }
    }

    /// The layout of an array of `len` elements.
    ///
    /// # Safety
    ///
    /// The elements must have at most `isize::MAX` bytes together.
    pub const unsafe fn new_unchecked(len: usize) -> Self {
        Self { len, _element: PhantomData }
    }

    /// Returns the number of elements.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Says whether there are no elements.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns the number of bytes.
    pub const fn size(&self) -> usize {
        self.len * size_of::<T>()
    }
}

impl<T> From<ArrayLayout<T>> for Layout {
    fn from(array: ArrayLayout<T>) -> Self {
        // SAFETY: the alignment is a type's, and the size, a multiple of it, is at most `isize::MAX`.
        unsafe { Layout::from_size_align_unchecked(array.size(), align_of::<T>()) }
    }
}
