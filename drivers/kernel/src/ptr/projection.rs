//! Getting from a pointer to a value to a pointer to a part of it, without touching the value.
//!
//! Addresses of device memory are no Rust places: `&raw mut (*p).field` would be undefined behaviour on them.
//! [`project!`] computes the same address with pointer arithmetic that is defined for any pointer.
//!
//! [`project!`]: crate::ptr::project

use crate::{
    build_assert::build_error,
    error::{code::ERANGE, Error},
};
use core::{
    cell::UnsafeCell,
    mem::MaybeUninit,
    ops::{Deref, Range, RangeFrom, RangeFull, RangeTo},
    ptr,
};

/// An index of a `[try: …]` projection was out of bounds. Becomes `ERANGE` as an [`Error`].
pub struct OutOfBound;

impl From<OutOfBound> for Error {
    #[inline(always)]
    fn from(OutOfBound: OutOfBound) -> Self {
        ERANGE
    }
}

/// What can stand in the brackets of a projection of a `T`: a position or a range of a slice or array.
///
/// # Safety
///
/// The pointers returned have the provenance of `slice` and stay within the `T` it describes.
#[doc(hidden)]
#[diagnostic::on_unimplemented(message = "a `{T}` cannot be projected with the index `{Self}`")]
pub unsafe trait ProjectIndex<T: ?Sized>: Sized {
    /// What the index selects.
    type Output: ?Sized;

    /// The part of `slice`, or `None` when out of bounds.
    fn get(self, slice: *mut T) -> Option<*mut Self::Output>;

    /// The part of `slice`.
    ///
    /// # Panics
    ///
    /// When out of bounds.
    #[track_caller]
    fn index(self, slice: *mut T) -> *mut Self::Output;

    /// The part of `slice`; a build error unless the optimiser proves it to be in bounds.
    #[inline(always)]
    #[track_caller]
    fn build_index(self, slice: *mut T) -> *mut Self::Output {
        let Some(part) = self.get(slice) else { build_error!("a [build: …] index is out of bounds") };
        part
    }
}

// SAFETY: Moves within the slice, by a number that is less than its length.
unsafe impl<T> ProjectIndex<[T]> for usize {
    type Output = T;

    #[inline(always)]
    fn get(self, slice: *mut [T]) -> Option<*mut Self::Output> {
        (self < slice.len()).then(|| slice.cast::<T>().wrapping_add(self))
    }

    #[inline(always)]
    #[track_caller]
    fn index(self, slice: *mut [T]) -> *mut T {
        let Some(part) = self.get(slice) else {
            panic!("index {self} is out of bounds for a length of {}", slice.len())
        };
        part
    }
}

// SAFETY: Start and end are checked to be in order and within the slice.
unsafe impl<T> ProjectIndex<[T]> for Range<usize> {
    type Output = [T];

    #[inline(always)]
    fn get(self, slice: *mut [T]) -> Option<*mut [T]> {
        let Range { start, end } = self;
        (start <= end && end <= slice.len())
            .then(|| ptr::slice_from_raw_parts_mut(slice.cast::<T>().wrapping_add(start), end - start))
    }

    #[inline(always)]
    #[track_caller]
    fn index(self, slice: *mut [T]) -> *mut [T] {
        let Range { start, end } = self;
        let Some(part) = self.get(slice) else {
            panic!("range {start}..{end} is out of bounds for a length of {}", slice.len())
        };
        part
    }
}

/// Half-open and full ranges, in terms of the [`Range`] they stand for.
macro_rules! ranges_of_a_slice {
    ($($range:ty: |$self:ident, $length:ident| $bounds:expr;)*) => {$(
        // SAFETY: `Range` keeps the promise.
        unsafe impl<T> ProjectIndex<[T]> for $range {
            type Output = [T];

            #[inline(always)]
            fn get($self, slice: *mut [T]) -> Option<*mut [T]> {
                let $length = slice.len();
                ProjectIndex::get($bounds, slice)
            }

            #[inline(always)]
            #[track_caller]
            fn index($self, slice: *mut [T]) -> *mut [T] {
                let $length = slice.len();
                ProjectIndex::index($bounds, slice)
            }
        }
    )*};
}

ranges_of_a_slice! {
    RangeTo<usize>: |self, _length| 0..self.end;
    RangeFrom<usize>: |self, length| self.start..length;
    RangeFull: |self, length| 0..length;
}

// SAFETY: An array is the slice of its elements, and the slice's index keeps the promise.
unsafe impl<T, I: ProjectIndex<[T]>, const N: usize> ProjectIndex<[T; N]> for I {
    type Output = I::Output;

    #[inline(always)]
    fn get(self, array: *mut [T; N]) -> Option<*mut Self::Output> {
        ProjectIndex::<[T]>::get(self, array)
    }

    #[inline(always)]
    #[track_caller]
    fn index(self, array: *mut [T; N]) -> *mut Self::Output {
        ProjectIndex::<[T]>::index(self, array)
    }
}

/// Types with fields that a projection can name.
///
/// Every type implements it for `DEREF = false` and a type that dereferences to another one for `true` as well.
/// Callers leave the parameter to inference, which is then ambiguous for the latter: their fields may be those of
/// something else entirely.
///
/// # Safety
///
/// `field` is called with a pointer to an allocation of the size of `Self`.
#[doc(hidden)]
pub unsafe trait ProjectField<const DEREF: bool> {
    /// The part of `base` that is where `field`'s result is in its argument.
    ///
    /// # Safety
    ///
    /// `field` returns a pointer within the value it is given a pointer to.
    unsafe fn proj<F>(base: *mut Self, field: impl FnOnce(*mut Self) -> *mut F) -> *mut F;
}

// SAFETY: `field` is called with the scratch place or with a local variable.
unsafe impl<T> ProjectField<false> for T {
    #[inline(always)]
    unsafe fn proj<F>(base: *mut T, field: impl FnOnce(*mut T) -> *mut F) -> *mut F {
        let offset = if let Some(place) = SCRATCH.place::<T>() {
            // SAFETY: `field`'s result points into the same place, as the caller promises.
            unsafe { field(place).byte_offset_from(place) }
        } else {
            let mut local = MaybeUninit::<T>::uninit();
            let place = local.as_mut_ptr();
            // SAFETY: As above.
            unsafe { field(place).byte_offset_from(place) }
        };
        base.cast::<F>().wrapping_byte_offset(offset)
    }
}

// SAFETY: `field` is never called.
unsafe impl<T: Deref> ProjectField<true> for T {
    #[inline(always)]
    unsafe fn proj<F>(_base: *mut T, _field: impl FnOnce(*mut T) -> *mut F) -> *mut F {
        build_error!("a type that implements Deref has no fields to project to")
    }
}

/// Bytes of the [`SCRATCH`] place.
const SCRATCH_SIZE: usize = 1 << 24;

/// Room in which the offsets of fields are measured.
///
/// Measuring needs an allocation that is large enough, though never read or written. A local variable of the type would
/// do, but without optimisation it takes real stack, and a ring of descriptors is larger than the stack of a simulated
/// task. These are untouched zero pages, which cost neither memory nor space in the program.
#[repr(align(4096))]
struct Scratch(UnsafeCell<[u8; SCRATCH_SIZE]>);

// SAFETY: The bytes are never accessed.
unsafe impl Sync for Scratch {}

static SCRATCH: Scratch = Scratch(UnsafeCell::new([0; SCRATCH_SIZE]));

impl Scratch {
    /// An aligned place for a `T`, if it is large enough for one.
    #[inline(always)]
    fn place<T>(&'static self) -> Option<*mut T> {
        (size_of::<T>() <= SCRATCH_SIZE && align_of::<T>() <= align_of::<Self>()).then(|| self.0.get().cast())
    }
}

/// A pointer to a part of what a pointer points to, for pointers that need not be valid.
///
/// `project!(ptr, path)` takes and gives a `*const`, `project!(mut ptr, path)` a `*mut`. The path is a sequence of
/// fields (`.name`, `.0`) and indices into arrays and slices, positions or ranges, each saying what becomes of an
/// index that is out of bounds:
///
/// - `[try: i]` returns [`OutOfBound`] from the enclosing function, through `?`;
/// - `[panic: i]` panics;
/// - `[build: i]` fails the build unless the optimiser proves it in bounds
///   (see [`build_assert!`](crate::build_assert::build_assert)).
///
/// Fields of `packed` types that may be unaligned, and of types that implement [`Deref`], do not compile.
///
/// ```
/// use kernel::{ptr::project, prelude::*};
///
/// struct Descriptor { address: u64, length: u32, flags: (u8, u8) }
///
/// fn flags_of(ring: *mut [Descriptor; 8], n: usize) -> Result<*mut u8> {
///     Ok(project!(mut ring, [try: n].flags.1))
/// }
///
/// let ring = core::ptr::without_provenance_mut(0x4000);
/// assert_eq!(flags_of(ring, 8), Err(ERANGE));
/// let length: *const u32 = project!(ring.cast_const(), [build: 2].length);
/// assert_eq!(length.addr(), 0x4000 + 2 * 16 + core::mem::offset_of!(Descriptor, length));
/// ```
#[macro_export]
macro_rules! project_pointer {
    // The steps, one at a time; each shadows the pointer with one to the part.
    (@step $at:ident) => {};
    (@step $at:ident .$field:tt $($path:tt)*) => {
        // SAFETY: The place of a field lies within the place of the value, and the trait's ambiguity
        // rules out fields reached through `Deref`.
        let $at = unsafe {
            $crate::ptr::projection::ProjectField::proj(
                $at,
                #[inline(always)]
                |whole| {
                    // Never run: a reference to a field that may be unaligned is refused by the compiler.
                    if false {
                        _ = &(*whole).$field;
                    }
                    &raw mut (*whole).$field
                },
            )
        };
        $crate::project_pointer!(@step $at $($path)*);
    };
    (@step $at:ident [try: $i:expr] $($path:tt)*) => {
        let $at = $crate::ptr::projection::ProjectIndex::get($i, $at)
            .ok_or($crate::ptr::projection::OutOfBound)?;
        $crate::project_pointer!(@step $at $($path)*);
    };
    (@step $at:ident [panic: $i:expr] $($path:tt)*) => {
        let $at = $crate::ptr::projection::ProjectIndex::index($i, $at);
        $crate::project_pointer!(@step $at $($path)*);
    };
    (@step $at:ident [build: $i:expr] $($path:tt)*) => {
        let $at = $crate::ptr::projection::ProjectIndex::build_index($i, $at);
        $crate::project_pointer!(@step $at $($path)*);
    };

    (mut $whole:expr, $($path:tt)*) => {{
        let at: *mut _ = $whole;
        $crate::project_pointer!(@step at $($path)*);
        at
    }};
    ($whole:expr, $($path:tt)*) => {
        $crate::project_pointer!(mut <*const _>::cast_mut($whole), $($path)*).cast_const()
    };
}
