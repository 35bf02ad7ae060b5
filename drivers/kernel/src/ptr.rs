//! Alignments, sizes known through a pointer, and projections of pointers that may not be dereferenced.

pub mod projection;

pub use crate::project_pointer as project;

use crate::build_assert::const_assert;
use core::num::NonZero;

/// An alignment in bytes: a power of two.
///
/// ```
/// use kernel::ptr::Alignment;
///
/// let page = Alignment::new::<4096>();
/// assert_eq!((page.as_usize(), page.log2(), page.mask()), (4096, 12, !0xfff));
/// assert_eq!(Alignment::new_checked(48), None);
/// assert_eq!(Alignment::of::<u16>(), Alignment::new::<2>());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(transparent)]
pub struct Alignment(NonZero<usize>);

impl Alignment {
    /// `ALIGN` bytes; fails the build if that is not a power of two.
    #[inline(always)]
    pub const fn new<const ALIGN: usize>() -> Self {
        const_assert!(ALIGN.is_power_of_two(), "an alignment is a power of two");
        const { Self::new_checked(ALIGN).unwrap() }
    }

    /// `align` bytes, or `None` if that is not a power of two.
    #[inline(always)]
    pub const fn new_checked(align: usize) -> Option<Self> {
        match NonZero::new(align) {
            Some(bytes) if bytes.is_power_of_two() => Some(Self(bytes)),
            _ => None,
        }
    }

    /// The alignment of `T`, as [`align_of`] gives it.
    #[inline(always)]
    pub const fn of<T>() -> Self {
        const { Self::new_checked(align_of::<T>()).unwrap() }
    }

    /// The alignment in bytes.
    #[inline(always)]
    pub const fn as_usize(self) -> usize {
        NonZero::get(self.as_nonzero())
    }

    /// The alignment in bytes, as a number that is not zero.
    #[inline(always)]
    pub const fn as_nonzero(self) -> NonZero<usize> {
        // Told to the optimiser so that dividing by an alignment becomes a shift.
        // SAFETY: Both constructors check it.
        unsafe { core::hint::assert_unchecked(self.0.is_power_of_two()) };
        self.0
    }

    /// The power that two is raised to.
    #[inline(always)]
    pub const fn log2(self) -> u32 {
        self.0.trailing_zeros()
    }

    /// The bits of an address that an aligned address may have set.
    #[inline(always)]
    pub const fn mask(self) -> usize {
        self.as_usize().wrapping_neg()
    }
}

/// Unsigned integers that can be rounded to an [`Alignment`].
///
/// ```
/// use kernel::ptr::{Alignable, Alignment};
///
/// let sector = Alignment::new::<512>();
/// assert_eq!(1000u16.align_down(sector), 512);
/// assert_eq!(1000u16.align_up(sector), Some(1024));
/// assert_eq!(0xff00u16.align_up(sector), None);
/// ```
pub trait Alignable: Sized {
    /// The largest multiple of `alignment` that is not greater than `self`.
    fn align_down(self, alignment: Alignment) -> Self;

    /// The smallest multiple of `alignment` that is not less than `self`; `None` if the type cannot hold it.
    fn align_up(self, alignment: Alignment) -> Option<Self>;
}

macro_rules! alignable {
    ($($ty:ident)*) => {$(
        impl Alignable for $ty {
            #[inline(always)]
            fn align_down(self, alignment: Alignment) -> Self {
                match $ty::try_from(alignment.as_usize()) {
                    Ok(bytes) => self & bytes.wrapping_neg(),
                    // The only multiple of such an alignment that the type has.
                    Err(_) => 0,
                }
            }

            #[inline(always)]
            fn align_up(self, alignment: Alignment) -> Option<Self> {
                let down = self.align_down(alignment);
                if down == self {
                    return Some(self);
                }
                down.checked_add($ty::try_from(alignment.as_usize()).ok()?)
            }
        }
    )*};
}

alignable!(u8 u16 u32 u64 usize);

/// `value` rounded up to a multiple of `align`, in constants too; `None` if that overflows.
///
/// ```
/// use kernel::ptr::{const_align_up, Alignment};
///
/// const SLOT: usize = const_align_up(100, Alignment::new::<64>()).unwrap();
/// assert_eq!(SLOT, 128);
/// ```
#[inline(always)]
pub const fn const_align_up(value: usize, align: Alignment) -> Option<usize> {
    value.checked_next_multiple_of(align.as_usize())
}

/// What the build knows of a type's size, and how to learn the rest from a pointer.
///
/// Implemented for every sized type, for slices, and for [`io::Region`](crate::io::Region).
pub trait KnownSize {
    /// Bytes that every value has.
    const MIN_SIZE: usize;

    /// Alignment that every value has.
    const MIN_ALIGN: Alignment;

    /// Bytes of the value that `p` describes. `p` is never dereferenced and need not be valid.
    fn size(p: *const Self) -> usize;
}

impl<T> KnownSize for T {
    const MIN_ALIGN: Alignment = Alignment::of::<T>();
    const MIN_SIZE: usize = size_of::<T>();

    #[inline(always)]
    fn size(_p: *const Self) -> usize {
        Self::MIN_SIZE
    }
}

impl<T> KnownSize for [T] {
    const MIN_ALIGN: Alignment = <T as KnownSize>::MIN_ALIGN;
    const MIN_SIZE: usize = 0;

    #[inline(always)]
    fn size(p: *const Self) -> usize {
        size_of::<T>() * p.len()
    }
}
