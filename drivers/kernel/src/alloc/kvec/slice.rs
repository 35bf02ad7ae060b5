//! A vector as the slice of its elements: dereferencing, indexing, comparing, formatting.

use super::super::Allocator;
use super::Vec;
use crate::fmt;
use core::borrow::{Borrow, BorrowMut};
use core::ops::{Deref, DerefMut, Index, IndexMut};
use core::slice::{from_raw_parts, from_raw_parts_mut, SliceIndex};

impl<T, A: Allocator> Deref for Vec<T, A> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: the first `len` elements are valid and shared only as the vector is.
        unsafe { from_raw_parts(self.ptr.as_ptr(), self.len) }
    }
}

impl<T, A: Allocator> DerefMut for Vec<T, A> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: the first `len` elements are valid and lent out only as the vector is.
        unsafe { from_raw_parts_mut(self.ptr.as_ptr(), self.len) }
    }
}

impl<T, A: Allocator> Borrow<[T]> for Vec<T, A> {
    fn borrow(&self) -> &[T] {
        self
    }
}

impl<T, A: Allocator> BorrowMut<[T]> for Vec<T, A> {
    fn borrow_mut(&mut self) -> &mut [T] {
        self
    }
}

impl<T, I: SliceIndex<[T]>, A: Allocator> Index<I> for Vec<T, A> {
    type Output = I::Output;

    fn index(&self, index: I) -> &I::Output {
        &self.as_slice()[index]
    }
}

impl<T, I: SliceIndex<[T]>, A: Allocator> IndexMut<I> for Vec<T, A> {
    fn index_mut(&mut self, index: I) -> &mut I::Output {
        &mut self.as_mut_slice()[index]
    }
}

impl<T: fmt::Debug, A: Allocator> fmt::Debug for Vec<T, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_slice().fmt(f)
    }
}

impl<T: Eq, A: Allocator> Eq for Vec<T, A> {}

/// Compares element by element.
macro_rules! compare {
    ($(<$($param:ident $(: $bound:ident)?),*> $(const $n:ident)? $left:ty, $right:ty;)*) => {$(
        impl<T: PartialEq<U>, U, $($param $(: $bound)?,)* $(const $n: usize)?> PartialEq<$right> for $left {
            fn eq(&self, other: &$right) -> bool {
                let (left, right): (&[T], &[U]) = (&self[..], &other[..]);
                left == right
            }
        }
    )*};
}

compare! {
    <A: Allocator, B: Allocator> Vec<T, A>, Vec<U, B>;
    <A: Allocator> Vec<T, A>, [U];
    <A: Allocator> Vec<T, A>, &[U];
    <A: Allocator> Vec<T, A>, &mut [U];
    <A: Allocator> const N Vec<T, A>, [U; N];
    <A: Allocator> const N Vec<T, A>, &[U; N];
    <A: Allocator> [T], Vec<U, A>;
    <A: Allocator> &[T], Vec<U, A>;
    <A: Allocator> &mut [T], Vec<U, A>;
}
