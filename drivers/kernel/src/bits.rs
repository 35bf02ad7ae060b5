//! Single bits and contiguous masks of the unsigned integers.
//!
//! Each comes in two forms: one for numbers known when the driver is built (a mistake fails the build, as
//! [`build_assert!`](crate::build_assert::build_assert) describes), and a `checked_` one for numbers met at run time.
//!
//! ```
//! use kernel::bits::{bit_u32, checked_bit_u32, genmask_checked_u16, genmask_u16};
//!
//! assert_eq!(bit_u32(31), 0x8000_0000);
//! assert_eq!(checked_bit_u32(32), None);
//! assert_eq!(genmask_u16(4..=11), 0x0ff0);
//! assert_eq!(genmask_checked_u16(4..=16), None);
//! ```

use crate::build_assert::build_assert;
use core::ops::RangeInclusive;

/// Defines the four functions of one integer type.
macro_rules! bit_functions {
    ($($ty:ident: $bit:ident, $checked_bit:ident, $genmask:ident, $genmask_checked:ident;)*) => {$(
        #[doc = concat!("The `", stringify!($ty), "` with only bit `n` set; fails the build if it has no such bit.")]
        #[inline(always)]
        #[track_caller]
        pub const fn $bit(n: u32) -> $ty {
            build_assert!(n < $ty::BITS);
            1 << n
        }

        #[doc = concat!("The `", stringify!($ty), "` with only bit `n` set; `None` if it has no such bit.")]
        #[inline]
        pub fn $checked_bit(n: u32) -> Option<$ty> {
            (n < $ty::BITS).then(|| 1 << n)
        }

        #[doc = concat!("The `", stringify!($ty), "` with the bits of `range` set.")]
        ///
        /// Fails the build if the range is empty or names a bit that the type does not have.
        #[inline(always)]
        #[track_caller]
        pub const fn $genmask(range: RangeInclusive<u32>) -> $ty {
            let (low, high) = (*range.start(), *range.end());
            build_assert!(low <= high && high < $ty::BITS);
            ($ty::MAX << low) & ($ty::MAX >> ($ty::BITS - 1 - high))
        }

        #[doc = concat!("The `", stringify!($ty), "` with the bits of `range` set.")]
        ///
        /// `None` if the range is empty or names a bit that the type does not have.
        #[inline]
        pub fn $genmask_checked(range: RangeInclusive<u32>) -> Option<$ty> {
            let (low, high) = range.into_inner();
            (low <= high && high < $ty::BITS)
                .then(|| ($ty::MAX << low) & ($ty::MAX >> ($ty::BITS - 1 - high)))
        }
    )*};
}

bit_functions! {
    u8: bit_u8, checked_bit_u8, genmask_u8, genmask_checked_u8;
    u16: bit_u16, checked_bit_u16, genmask_u16, genmask_checked_u16;
    u32: bit_u32, checked_bit_u32, genmask_u32, genmask_checked_u32;
    u64: bit_u64, checked_bit_u64, genmask_u64, genmask_checked_u64;
}

#[cfg(test)]
mod tests {
    use super::{
        bit_u16, bit_u64, checked_bit_u64, checked_bit_u8, genmask_checked_u64, genmask_checked_u8, genmask_u16,
        genmask_u32, genmask_u64, genmask_u8,
    };

    #[test]
    fn every_mask_equals_the_sum_of_its_bits() {
        for high in 0..64 {
            for low in 0..=high {
                let sum = (low..=high).fold(0, |mask, n| mask | bit_u64(n));

                assert_eq!(genmask_u64(low..=high), sum);
                assert_eq!(genmask_checked_u64(low..=high), Some(sum));
            }
        }
    }

    #[test]
    fn masks_at_the_edges_of_each_width_are_whole() {
        assert_eq!(genmask_u8(0..=7), u8::MAX);
        assert_eq!(genmask_u16(15..=15), 0x8000);
        assert_eq!(genmask_u32(0..=0), 1);
        assert_eq!(genmask_u64(0..=63), u64::MAX);
    }

    #[test]
    #[expect(clippy::reversed_empty_ranges, reason = "the case under test")]
    fn ranges_that_are_empty_or_too_wide_have_no_checked_mask() {
        assert_eq!(genmask_checked_u8(5..=4), None);
        assert_eq!(genmask_checked_u8(0..=8), None);
        assert_eq!(genmask_checked_u64(70..=71), None);
        assert_eq!(checked_bit_u8(8), None);
        assert_eq!(checked_bit_u64(63), Some(1 << 63));
    }

    #[test]
    #[should_panic(expected = "bringup-build-error")]
    fn bit_beyond_the_type_panics_when_it_is_not_constant() {
        bit_u16(std::hint::black_box(16));
    }
}
