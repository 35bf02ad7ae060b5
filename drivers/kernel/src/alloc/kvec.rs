//! [`Vec`]: values side by side in one allocation that grows.

use super::allocator::{is_vmalloc_size, KVmalloc, Kmalloc, Vmalloc, VmallocPageIter};
use super::flags::__GFP_ZERO;
use super::layout::ArrayLayout;
use super::{AllocError, Allocator, Box, Flags, NumaNode};
use crate::page::{AsPageIter, PAGE_SIZE};
use core::marker::PhantomData;
use core::mem::{ManuallyDrop, MaybeUninit};
use core::ptr::NonNull;
use pin_init::Zeroable;

mod errors;
mod iter;
mod slice;

pub use self::errors::{InsertError, PushError, RemoveError};
pub use self::iter::{DrainAll, IntoIter};

/// Makes a [`KVec`] with `GFP_KERNEL`: empty, of listed elements, or of one element many times.
///
/// The result of the empty form is the vector, of the others a `Result` with an [`AllocError`].
///
/// # Examples
///
/// ```
/// use kernel::{kvec, prelude::*};
///
/// let listed = kvec![4, 5, 6]?;
/// let repeated = kvec![0u8; 16]?;
/// assert_eq!(listed, [4, 5, 6]);
/// assert_eq!(repeated.len(), 16);
/// # Ok::<(), Error>(())
/// ```
#[macro_export]
macro_rules! kvec {
    () => { $crate::alloc::KVec::new() };
    ($element:expr; $count:expr) => {
        $crate::alloc::KVec::from_elem($element, $count, $crate::alloc::flags::GFP_KERNEL)
    };
    ($($element:expr),+ $(,)?) => {
        // The memory comes first: without it, no element is made. A match, so that an element may use `?`.
        match $crate::alloc::KBox::new_uninit($crate::alloc::flags::GFP_KERNEL) {
            ::core::result::Result::Ok(memory) => {
                let array = $crate::alloc::KBox::write(memory, [$($element),+]);
                ::core::result::Result::Ok($crate::alloc::KVec::from(array))
            }
            ::core::result::Result::Err(error) => ::core::result::Result::Err(error),
        }
    };
}

/// Values side by side in one allocation that grows.
///
/// Unlike the standard library's vector it says which heap it uses; what may allocate takes [`Flags`] and can fail, after
/// which the vector is as it was.
// `ptr` is a block of `A`'s with `layout`, or dangling when that has no bytes; its first `len` elements are valid. For
// types without bytes the layout is empty and the capacity has no limit.
pub struct Vec<T, A: Allocator> {
    ptr: NonNull<T>,
    len: usize,
    layout: ArrayLayout<T>,
    _heap: PhantomData<A>,
}

/// A vector in [`Kmalloc`] memory.
pub type KVec<T> = Vec<T, Kmalloc>;

/// A vector in [`Vmalloc`] memory.
pub type VVec<T> = Vec<T, Vmalloc>;

/// A vector in [`KVmalloc`] memory.
pub type KVVec<T> = Vec<T, KVmalloc>;

// SAFETY: a vector owns its elements, so it may go where they may go.
unsafe impl<T: Send, A: Allocator> Send for Vec<T, A> {}

// SAFETY: a shared vector gives shared access to its elements only.
unsafe impl<T: Sync, A: Allocator> Sync for Vec<T, A> {}

impl<T, A: Allocator> Vec<T, A> {
    const NO_BYTES: bool = size_of::<T>() == 0;

    /// Makes an empty vector; it does not allocate.
    pub const fn new() -> Self {
        Self { ptr: NonNull::dangling(), len: 0, layout: ArrayLayout::empty(), _heap: PhantomData }
    }

    /// Makes an empty vector with room for `capacity` elements.
    #[track_caller]
    pub fn with_capacity(capacity: usize, flags: Flags) -> Result<Self, AllocError> {
        let mut vec = Self::new();
        vec.reserve(capacity, flags)?;
        Ok(vec)
    }

    /// Makes a vector of `n` elements of zero bytes.
    #[track_caller]
    pub fn zeroed(n: usize, flags: Flags) -> Result<Self, AllocError>
    where
        T: Zeroable,
    {
        let mut vec = Self::with_capacity(n, flags | __GFP_ZERO)?;
        // SAFETY: there is room for `n`, and zero bytes are a value of the type.
        unsafe { vec.inc_len(n) };
        Ok(vec)
    }

    /// Makes a vector of what [`into_raw_parts`](Self::into_raw_parts) returned.
    ///
    /// # Safety
    ///
    /// For types with bytes, `ptr` must be a block of `A`'s with room for `capacity` elements, or dangling when that is
    /// zero; for others it must be aligned and not null. Nothing else may own it, the first `length` elements must be
    /// valid, and `length` may not exceed `capacity`.
    pub unsafe fn from_raw_parts(ptr: *mut T, length: usize, capacity: usize) -> Self {
        let held = if Self::NO_BYTES { 0 } else { capacity };
        Self {
            // SAFETY: neither a block nor a dangling pointer is null.
            ptr: unsafe { NonNull::new_unchecked(ptr) },
            len: length,
            // SAFETY: a block has at most `isize::MAX` bytes.
            layout: unsafe { ArrayLayout::new_unchecked(held) },
            _heap: PhantomData,
        }
    }

    /// Gives the elements and their memory away: pointer, length and capacity.
    pub fn into_raw_parts(self) -> (*mut T, usize, usize) {
        let vec = ManuallyDrop::new(self);
        (vec.ptr.as_ptr(), vec.len, vec.capacity())
    }

    /// Returns how many elements there is room for without allocating.
    pub const fn capacity(&self) -> usize {
        match Self::NO_BYTES {
            true => usize::MAX,
            false => self.layout.len(),
        }
    }

    /// Returns the number of elements.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Says whether there are no elements.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Counts elements that were written into the [spare capacity](Self::spare_capacity_mut).
    ///
    /// # Safety
    ///
    /// There must be room for `additional` more elements, and they must be valid.
    pub const unsafe fn inc_len(&mut self, additional: usize) {
        debug_assert!(self.capacity() - self.len >= additional);
        self.len += additional;
    }

    /// Cuts the vector to `len` elements, which must not be more than it has, and returns those cut off for the caller to
    /// drop or move out.
    fn cut(&mut self, len: usize) -> *mut [T] {
        let count = self.len - len;
        // SAFETY: the caller cuts within the elements.
        let first = unsafe { self.ptr.add(len) };
        self.len = len;
        core::ptr::slice_from_raw_parts_mut(first.as_ptr(), count)
    }

    /// Returns the elements.
    pub fn as_slice(&self) -> &[T] {
        self
    }

    /// Returns the elements for changing.
    pub fn as_mut_slice(&mut self) -> &mut [T] {
        self
    }

    /// Returns a pointer to the first element; dangling when there is no memory.
    pub const fn as_ptr(&self) -> *const T {
        self.ptr.as_ptr()
    }

    /// Returns a pointer to the first element for changing; dangling when there is no memory.
    pub fn as_mut_ptr(&mut self) -> *mut T {
        self.ptr.as_ptr()
    }

    /// Returns the memory behind the elements that has room for more.
    pub fn spare_capacity_mut(&mut self) -> &mut [MaybeUninit<T>] {
        let spare = self.capacity() - self.len;
        // SAFETY: the capacity behind the elements is memory of the vector's own.
        unsafe { core::slice::from_raw_parts_mut(self.ptr.add(self.len).as_ptr().cast(), spare) }
    }

    /// Makes room for `additional` more elements, doubling the capacity at least when there is too little.
    ///
    /// Fails without memory, and when the elements would have more than `isize::MAX` bytes.
    #[track_caller]
    pub fn reserve(&mut self, additional: usize, flags: Flags) -> Result<(), AllocError> {
        if additional <= self.capacity() - self.len {
            return Ok(());
        }
        // Without bytes the capacity is all there can be.
        if Self::NO_BYTES {
            return Err(AllocError);
        }
        let needed = self.len.checked_add(additional).ok_or(AllocError)?;
        // Doubling cannot overflow: the capacity is at most `isize::MAX`.
        self.relayout(needed.max(self.capacity() * 2), flags)
    }

    /// Gives the memory room for exactly `capacity` elements, which must be enough for those there are.
    #[track_caller]
    fn relayout(&mut self, capacity: usize, flags: Flags) -> Result<(), AllocError> {
        let layout = ArrayLayout::new(capacity).map_err(|_| AllocError)?;
        // SAFETY: the pointer is a block with the vector's layout, or that layout has no bytes.
        let block =
            unsafe { A::realloc(Some(self.ptr.cast()), layout.into(), self.layout.into(), flags, NumaNode::NO_NODE) }?;
        self.ptr = block.cast();
        self.layout = layout;
        Ok(())
    }

    /// Appends an element. Without memory the element is dropped.
    #[track_caller]
    pub fn push(&mut self, v: T, flags: Flags) -> Result<(), AllocError> {
        self.reserve(1, flags)?;
        // SAFETY: there is room for one.
        unsafe { self.append(v) };
        Ok(())
    }

    /// Appends an element if there is room, and gives it back otherwise.
    pub fn push_within_capacity(&mut self, v: T) -> Result<(), PushError<T>> {
        if self.len == self.capacity() {
            return Err(PushError(v));
        }
        // SAFETY: there is room for one.
        unsafe { self.append(v) };
        Ok(())
    }

    /// Appends an element.
    ///
    /// # Safety
    ///
    /// There must be room for it.
    unsafe fn append(&mut self, element: T) {
        // SAFETY: the place behind the last element is within the capacity.
        unsafe { self.ptr.add(self.len).write(element) };
        self.len += 1;
    }

    /// Inserts an element in front of the one at `index`, if there is room, and gives it back otherwise.
    pub fn insert_within_capacity(&mut self, index: usize, element: T) -> Result<(), InsertError<T>> {
        if index > self.len {
            return Err(InsertError::IndexOutOfBounds(element));
        }
        if let Err(PushError(element)) = self.push_within_capacity(element) {
            return Err(InsertError::OutOfCapacity(element));
        }
        self[index..].rotate_right(1);
        Ok(())
    }

    /// Takes the last element off.
    pub fn pop(&mut self) -> Option<T> {
        let last = self.len.checked_sub(1)?;
        let element = self.cut(last).cast::<T>();
        // SAFETY: the element was cut off, so nobody else uses it.
        Some(unsafe { element.read() })
    }

    /// Takes the element at `i` out and moves those behind it up.
    pub fn remove(&mut self, i: usize) -> Result<T, RemoveError> {
        self.get_mut(i..).filter(|tail| !tail.is_empty()).ok_or(RemoveError)?.rotate_left(1);
        self.pop().ok_or(RemoveError)
    }

    /// Drops the elements from index `len` on.
    pub fn truncate(&mut self, len: usize) {
        if len < self.len {
            let cut = self.cut(len);
            // SAFETY: the elements were cut off, so nobody else uses them.
            unsafe { cut.drop_in_place() };
        }
    }

    /// Drops all elements and keeps the memory.
    pub fn clear(&mut self) {
        self.truncate(0);
    }

    /// Takes all elements out, in order, and keeps the memory. Those not asked for are dropped with the iterator.
    pub fn drain_all(&mut self) -> DrainAll<'_, T> {
        let all = self.cut(0);
        // SAFETY: the elements were cut off, so they are the iterator's; it borrows the vector while it has them.
        unsafe { DrainAll::new(all) }
    }

    /// Keeps the elements for which `f` says so, in order, and drops the others.
    pub fn retain(&mut self, mut f: impl FnMut(&mut T) -> bool) {
        let mut kept = 0;
        for index in 0..self.len {
            if f(&mut self[index]) {
                self.swap(kept, index);
                kept += 1;
            }
        }
        self.truncate(kept);
    }
}

impl<T> Vec<T, KVmalloc> {
    /// Gives memory back that is not needed for the elements or for `min_capacity` of them.
    ///
    /// Memory from `vmalloc` shrinks only when that frees a page at least. Without memory for the smaller block the
    /// vector stays as it was.
    #[track_caller]
    pub fn shrink_to(&mut self, min_capacity: usize, flags: Flags) -> Result<(), AllocError> {
        let capacity = min_capacity.max(self.len);
        if Self::NO_BYTES || capacity >= self.layout.len() {
            return Ok(());
        }
        let pages = |count: usize| (count * size_of::<T>()).div_ceil(PAGE_SIZE);
        if is_vmalloc_size(self.layout.size()) && pages(capacity) >= pages(self.layout.len()) {
            return Ok(());
        }
        self.relayout(capacity, flags)
    }
}

impl<T: Clone, A: Allocator> Vec<T, A> {
    /// Makes a vector of `n` times the same value.
    #[track_caller]
    pub fn from_elem(value: T, n: usize, flags: Flags) -> Result<Self, AllocError> {
        let mut vec = Self::with_capacity(n, flags)?;
        vec.extend_with(n, value, flags)?;
        Ok(vec)
    }

    /// Appends `n` times the same value: clones of it, and then itself.
    #[track_caller]
    pub fn extend_with(&mut self, n: usize, value: T, flags: Flags) -> Result<(), AllocError> {
        let Some(clones) = n.checked_sub(1) else {
            return Ok(());
        };
        self.reserve(n, flags)?;
        for _ in 0..clones {
            // SAFETY: there is room for `n`.
            unsafe { self.append(value.clone()) };
        }
        // SAFETY: as above.
        unsafe { self.append(value) };
        Ok(())
    }

    /// Appends clones of the elements of a slice.
    #[track_caller]
    pub fn extend_from_slice(&mut self, other: &[T], flags: Flags) -> Result<(), AllocError> {
        self.reserve(other.len(), flags)?;
        for element in other {
            // SAFETY: there is room for all of them.
            unsafe { self.append(element.clone()) };
        }
        Ok(())
    }

    /// Gives the vector `new_len` elements: drops those behind, or appends clones of `value`.
    #[track_caller]
    pub fn resize(&mut self, new_len: usize, value: T, flags: Flags) -> Result<(), AllocError> {
        if new_len > self.len {
            return self.extend_with(new_len - self.len, value, flags);
        }
        self.truncate(new_len);
        Ok(())
    }
}

impl<T, A: Allocator> Drop for Vec<T, A> {
    fn drop(&mut self) {
        let elements = self.cut(0);
        // SAFETY: the elements were cut off, so nobody else uses them; the memory is a block with the vector's layout.
        unsafe {
            elements.drop_in_place();
            A::free(self.ptr.cast(), self.layout.into());
        }
    }
}

impl<T, A: Allocator> Default for Vec<T, A> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T, A: Allocator, const N: usize> From<Box<[T; N], A>> for Vec<T, A> {
    /// Takes the elements where they are; it does not allocate.
    fn from(array: Box<[T; N], A>) -> Self {
        let first = Box::into_raw(array).cast::<T>();
        // SAFETY: the memory of an array is that of `N` elements, all of them valid.
        unsafe { Self::from_raw_parts(first, N, N) }
    }
}

impl<T> AsPageIter for VVec<T> {
    #[rustfmt::skip]
    type Iter<'a> = VmallocPageIter<'a> where T: 'a;

    /// Walks the pages of the whole capacity.
    fn page_iter(&mut self) -> Self::Iter<'_> {
        // SAFETY: the block has the vector's layout, and it is borrowed while its pages are.
        unsafe { VmallocPageIter::new(self.ptr.cast(), self.layout.size()) }
    }
}
