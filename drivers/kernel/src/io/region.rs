//! [`Region`], what device registers are before anything is known of them.

use crate::{
    error::{code::EINVAL, Result},
    ptr::{Alignment, KnownSize},
};
use core::ptr;
use zerocopy::{FromBytes, IntoBytes};

/// Bytes of no particular type: at least `SIZE` of them, in whole and aligned words of 4.
///
/// `SIZE` is what the build knows, and bounds the accessors that cannot fail. How many bytes there really are is the
/// metadata of a pointer to the region, and bounds the `try_` ones.
#[derive(FromBytes)]
#[repr(C, align(4))]
pub struct Region<const SIZE: usize = 0> {
    bytes: [u8],
}

impl<const SIZE: usize> Region<SIZE> {
    /// A pointer to the region of `size` bytes at `base`.
    ///
    /// Nothing is checked: unless `base` and `size` are multiples of 4 and `size` is at least `SIZE`, the pointer is
    /// not a valid one.
    #[inline]
    pub fn ptr_from_raw_parts_mut(base: *mut u8, size: usize) -> *mut Self {
        ptr::slice_from_raw_parts_mut(base, size) as *mut Self
    }

    /// A pointer to the region of `size` bytes at `base`.
    ///
    /// # Errors
    ///
    /// `EINVAL` if `size` is less than `SIZE`, or if `base` or `size` is not a multiple of 4.
    #[inline]
    pub fn ptr_try_from_raw_parts_mut(base: *mut u8, size: usize) -> Result<*mut Self> {
        let whole_words = (base.addr() | size) & 3 == 0;
        if whole_words && size >= SIZE {
            Ok(Self::ptr_from_raw_parts_mut(base, size))
        } else {
            Err(EINVAL)
        }
    }
}

impl<const SIZE: usize> KnownSize for Region<SIZE> {
    const MIN_ALIGN: Alignment = Alignment::new::<4>();
    const MIN_SIZE: usize = SIZE;

    #[inline(always)]
    fn size(p: *const Self) -> usize {
        let bytes = p as *const [u8];
        bytes.len()
    }
}

// SAFETY: The bytes are all there is: a region is whole words, so its alignment leaves no padding at the end. The
// derive cannot know of that invariant.
unsafe impl<const SIZE: usize> IntoBytes for Region<SIZE> {}
