//! Iterators that take a vector's elements out.

use super::super::{layout::ArrayLayout, Allocator, Flags, NumaNode};
use super::Vec;
use core::marker::PhantomData;
use core::mem::{needs_drop, take, ManuallyDrop};
use core::ptr::NonNull;
use core::slice;

/// A vector being taken apart from the front. The memory goes with the iterator.
// The elements from `done` to `done + left` are valid; `buf` is a block of `A`'s with `layout`.
pub struct IntoIter<T, A: Allocator> {
    buf: NonNull<T>,
    layout: ArrayLayout<T>,
    done: usize,
    left: usize,
    _heap: PhantomData<A>,
}

impl<T, A: Allocator> IntoIter<T, A> {
    /// Where the elements that are left start.
    fn front(&self) -> NonNull<T> {
        // SAFETY: the elements taken out were within the memory.
        unsafe { self.buf.add(self.done) }
    }

    /// Makes a vector of the elements that are left, in the same memory.
    ///
    /// When some were taken out, the memory shrinks to what is left; it stays as it is should that fail.
    #[track_caller]
    pub fn collect(self, flags: Flags) -> Vec<T, A> {
        let iter = ManuallyDrop::new(self);
        let (mut buf, mut capacity) = (iter.buf, iter.layout.len());

        if iter.done > 0 {
            // SAFETY: the elements that are left are moved to the start of their memory; the places may overlap.
            unsafe { buf.copy_from(iter.front(), iter.left) };
            if size_of::<T>() > 0 {
                // SAFETY: what is left is no more than what the memory was for.
                let layout = unsafe { ArrayLayout::<T>::new_unchecked(iter.left) };
                // SAFETY: the memory is a block with the iterator's layout.
                let shrunk = unsafe {
                    A::realloc(Some(buf.cast()), layout.into(), iter.layout.into(), flags, NumaNode::NO_NODE)
                };
                if let Ok(shrunk) = shrunk {
                    (buf, capacity) = (shrunk.cast(), iter.left);
                }
            }
        }
        // SAFETY: the memory is a block for `capacity` elements, and those that are left stand at its start.
        unsafe { Vec::from_raw_parts(buf.as_ptr(), iter.left, capacity) }
    }
}

impl<T, A: Allocator> Iterator for IntoIter<T, A> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.left = self.left.checked_sub(1)?;
        let element = self.front();
        self.done += 1;
        // SAFETY: the element was valid, and it counts as taken out now.
        Some(unsafe { element.read() })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<T, A: Allocator> Drop for IntoIter<T, A> {
    fn drop(&mut self) {
        // SAFETY: what is left is valid and not used again; the memory is a block with this layout.
        unsafe {
            NonNull::slice_from_raw_parts(self.front(), self.left).drop_in_place();
            A::free(self.buf.cast(), self.layout.into());
        }
    }
}

impl<T, A: Allocator> IntoIterator for Vec<T, A> {
    type Item = T;
    type IntoIter = IntoIter<T, A>;

    fn into_iter(self) -> IntoIter<T, A> {
        let vec = ManuallyDrop::new(self);
        IntoIter { buf: vec.ptr, layout: vec.layout, done: 0, left: vec.len, _heap: PhantomData }
    }
}

impl<'a, T, A: Allocator> IntoIterator for &'a Vec<T, A> {
    type Item = &'a T;
    type IntoIter = slice::Iter<'a, T>;

    fn into_iter(self) -> slice::Iter<'a, T> {
        self.iter()
    }
}

impl<'a, T, A: Allocator> IntoIterator for &'a mut Vec<T, A> {
    type Item = &'a mut T;
    type IntoIter = slice::IterMut<'a, T>;

    fn into_iter(self) -> slice::IterMut<'a, T> {
        self.iter_mut()
    }
}

/// All elements of a vector being taken out, whose memory stays with it.
pub struct DrainAll<'vec, T> {
    /// Elements that the vector no longer counts, so that they are the iterator's own.
    elements: slice::IterMut<'vec, T>,
}

impl<T> DrainAll<'_, T> {
    /// Takes elements over.
    ///
    /// # Safety
    ///
    /// The elements must be valid and nobody else's for the iterator's lifetime.
    pub(super) unsafe fn new(elements: *mut [T]) -> Self {
        // SAFETY: the caller's contract.
        Self { elements: unsafe { &mut *elements }.iter_mut() }
    }
}

impl<T> Iterator for DrainAll<'_, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        let element = core::ptr::from_mut(self.elements.next()?);
        // SAFETY: the element is the iterator's own, and it gives it out once.
        Some(unsafe { element.read() })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.elements.size_hint()
    }
}

impl<T> Drop for DrainAll<'_, T> {
    fn drop(&mut self) {
        if needs_drop::<T>() {
            let left = core::ptr::from_mut(take(&mut self.elements).into_slice());
            // SAFETY: what is left is the iterator's own.
            unsafe { left.drop_in_place() };
        }
    }
}
