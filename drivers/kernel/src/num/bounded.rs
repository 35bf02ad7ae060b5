//! [`Bounded`], an integer that is known to need no more than so many bits.

use super::{Integer, Unsigned};
use crate::build_assert::{build_assert, const_assert};
use core::{cmp, fmt, ops};
use pin_init::Zeroable;

/// Whether `$value`, of type `$ty`, survives a round trip through its `$bits` lowest bits, sign included.
///
/// A macro because the operators of a generic integer cannot be called in constants.
macro_rules! survives_in {
    ($value:expr, $ty:ty, $bits:expr) => {{
        let unused: u32 = <$ty>::BITS - $bits;
        $value == ($value << unused) >> unused
    }};
}

#[inline(always)]
fn fits<T: Integer>(value: T, bits: u32) -> bool {
    survives_in!(value, T, bits)
}

/// A `T` whose value needs at most its `N` lowest bits (two's complement, for a signed `T`).
///
/// It is what a bit field holds: no value of it can spill into the neighbouring fields, and whatever is read from the
/// field needs no check to be stored in a type of `N` or more bits.
///
/// # Making one
///
/// - [`new`](Self::new) from a constant, [`from_expr`](Self::from_expr) from an expression the optimiser can bound: a
///   value out of range fails the build.
/// - [`try_new`](Self::try_new) and [`TryIntoBounded`] check at run time.
/// - [`From`], out of any primitive of the same signedness that is no wider than `N` bits, and out of `bool`.
///
/// ```
/// use kernel::num::{Bounded, TryIntoBounded};
///
/// let depth = Bounded::<u32, 4>::new::<15>();
/// assert_eq!(Bounded::<u32, 4>::try_new(16), None);
/// assert_eq!(Bounded::<u32, 12>::from(0xffu8), 0xff);
/// assert_eq!(16u64.try_into_bounded(), None::<Bounded<u32, 4>>);
/// # let _ = depth;
/// ```
///
/// ```compile_fail
/// // Five bits.
/// let depth = kernel::num::Bounded::<u32, 4>::new::<16>();
/// ```
///
/// # Using one
///
/// It compares and computes with its `T` and with other `Bounded`s of it, whatever their widths; the result of an
/// operator is a plain `T`. [`From`] turns it into any primitive of the same signedness that has room for `N` bits,
/// and a single unsigned bit into `bool`.
///
/// ```
/// # use kernel::num::Bounded;
/// let low = Bounded::<u16, 4>::new::<9>();
/// let high = Bounded::<u16, 9>::new::<0x100>();
///
/// assert!(low < high);
/// assert_eq!(high | low, 0x109);
/// assert_eq!(u8::from(low), 9);
/// assert_eq!(high.shr::<8, 1>().into_bool(), true);
/// ```
///
/// ```compile_fail
/// # use kernel::num::Bounded;
/// // Nine bits do not fit into eight, whatever the value.
/// let byte = u8::from(Bounded::<u16, 9>::new::<1>());
/// ```
///
/// # Invariants
///
/// `0 < N <= T::BITS`, and the value is the sign or zero extension of its `N` lowest bits.
#[derive(Clone, Copy, Debug, Default, Hash)]
#[repr(transparent)]
pub struct Bounded<T: Integer, const N: u32>(T);

macro_rules! constant_constructors {
    ($($ty:ident)*) => {$(
        impl<const N: u32> Bounded<$ty, N> {
            /// The constant `VALUE`; fails the build if it needs more than `N` bits.
            #[inline(always)]
            pub const fn new<const VALUE: $ty>() -> Self {
                const_assert!(survives_in!(VALUE, $ty, N));
                // SAFETY: Just asserted.
                unsafe { Self::new_unchecked(VALUE) }
            }
        }
    )*};
}

constant_constructors!(u8 u16 u32 u64 usize i8 i16 i32 i64 isize);

impl<T: Integer, const N: u32> Bounded<T, N> {
    /// The one place where a `Bounded` is made, and where its width is checked.
    ///
    /// # Safety
    ///
    /// `value` needs at most `N` bits.
    const unsafe fn new_unchecked(value: T) -> Self {
        const_assert!(N > 0, "a bounded integer has at least one bit");
        const_assert!(N <= T::BITS, "the type has fewer bits than the bound");
        Self(value)
    }

    /// The `N` bits of `raw` that start at bit `low`; what a bit field reads.
    ///
    /// `low + N` must not exceed `T::BITS`.
    #[doc(hidden)]
    #[inline(always)]
    pub fn __from_bits_of(raw: T, low: u32) -> Self {
        let unused = T::BITS - N;
        // SAFETY: The last shift leaves `N` bits, extended by the type's own rule.
        unsafe { Self::new_unchecked((raw << (unused - low)) >> unused) }
    }

    /// `value`, or `None` if it needs more than `N` bits.
    #[inline]
    pub fn try_new(value: T) -> Option<Self> {
        if !fits(value, N) {
            return None;
        }
        // SAFETY: Just checked.
        Some(unsafe { Self::new_unchecked(value) })
    }

    /// `expr`, if the optimiser can prove that it needs at most `N` bits; otherwise a build error, as
    /// [`build_assert!`] describes.
    ///
    /// Prefer [`new`](Self::new) for constants and [`try_new`](Self::try_new) for anything but the plainest masks.
    #[inline(always)]
    #[track_caller]
    pub fn from_expr(expr: T) -> Self {
        build_assert!(fits(expr, N), "the expression does not fit the bounded integer's bits");
        // SAFETY: Just asserted.
        unsafe { Self::new_unchecked(expr) }
    }

    /// The value, as a plain `T`.
    #[inline(always)]
    pub const fn get(self) -> T {
        self.0
    }

    /// The same value, allowed `M` bits; fails the build if `M` is less than `N`.
    #[inline(always)]
    pub const fn extend<const M: u32>(self) -> Bounded<T, M> {
        const_assert!(M >= N, "extending cannot take bits away");
        // SAFETY: `N` bits fit into `M`.
        unsafe { Bounded::new_unchecked(self.0) }
    }

    /// The same value, allowed only `M` bits; `None` if it needs more.
    #[inline]
    pub fn try_shrink<const M: u32>(self) -> Option<Bounded<T, M>> {
        Bounded::try_new(self.0)
    }

    /// The same value in another integer type of the same signedness; fails the build if that has fewer than `N` bits.
    #[inline]
    pub fn cast<U>(self) -> Bounded<U, N>
    where
        U: Integer<Signedness = T::Signedness> + TryFrom<T>,
    {
        let Ok(value) = U::try_from(self.0) else {
            unreachable!("a type of at least N bits holds any value of N bits")
        };
        // SAFETY: The value did not change, and `self` needs at most `N` bits.
        unsafe { Bounded::new_unchecked(value) }
    }

    /// The value without its `SHIFT` lowest bits, in `RES` bits; fails the build if the bits left over do not fit.
    #[inline(always)]
    pub fn shr<const SHIFT: u32, const RES: u32>(self) -> Bounded<T, RES> {
        const_assert!(SHIFT < T::BITS, "the shift leaves nothing");
        const_assert!(SHIFT + RES >= N, "the result has too few bits");
        // SAFETY: At most `N - SHIFT` bits are left, and `RES` is no less.
        unsafe { Bounded::new_unchecked(self.0 >> SHIFT) }
    }

    /// Like [`shr`](Self::shr), but `None` if one of the bits shifted out is set.
    #[inline]
    pub fn shr_exact<const SHIFT: u32, const RES: u32>(self) -> Option<Bounded<T, RES>> {
        let kept = self.shr::<SHIFT, RES>();
        (kept.0 << SHIFT == self.0).then_some(kept)
    }

    /// The value times two to the power of `SHIFT`, in `RES` bits; fails the build if it may not fit.
    #[inline(always)]
    pub fn shl<const SHIFT: u32, const RES: u32>(self) -> Bounded<T, RES> {
        const_assert!(N + SHIFT <= RES, "the result has too few bits");
        // SAFETY: A value of `N` bits needs `N + SHIFT` once shifted, and `RES` is no less.
        unsafe { Bounded::new_unchecked(self.0 << SHIFT) }
    }
}

impl<T: Integer<Signedness = Unsigned> + Zeroable> Bounded<T, 1> {
    /// Whether the bit is set.
    #[inline(always)]
    pub fn into_bool(self) -> bool {
        self.0 != Zeroable::zeroed()
    }
}

impl<T: Integer, const N: u32> ops::Deref for Bounded<T, N> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        // Tells the optimiser the bound, so that a `build_assert!` further down can be proved from it.
        // SAFETY: The type's invariant.
        unsafe { core::hint::assert_unchecked(fits(self.0, N)) };
        &self.0
    }
}

/// Conversion of any number into a [`Bounded`], checked at run time.
pub trait TryIntoBounded<T: Integer, const N: u32> {
    /// The same number, or `None` if it is not a `T` of at most `N` bits.
    fn try_into_bounded(self) -> Option<Bounded<T, N>>;
}

impl<S: TryInto<T>, T: Integer, const N: u32> TryIntoBounded<T, N> for S {
    #[inline]
    fn try_into_bounded(self) -> Option<Bounded<T, N>> {
        Bounded::try_new(self.try_into().ok()?)
    }
}

// Comparison: with any `Bounded` of a comparable type, and with the type itself.

impl<T: Integer + PartialEq<U>, U: Integer, const N: u32, const M: u32> PartialEq<Bounded<U, M>> for Bounded<T, N> {
    #[inline]
    fn eq(&self, other: &Bounded<U, M>) -> bool {
        self.0 == other.0
    }
}

impl<T: Integer, const N: u32> PartialEq<T> for Bounded<T, N> {
    #[inline]
    fn eq(&self, other: &T) -> bool {
        self.0 == *other
    }
}

impl<T: Integer, const N: u32> Eq for Bounded<T, N> {}

impl<T: Integer + PartialOrd<U>, U: Integer, const N: u32, const M: u32> PartialOrd<Bounded<U, M>> for Bounded<T, N> {
    #[inline]
    fn partial_cmp(&self, other: &Bounded<U, M>) -> Option<cmp::Ordering> {
        self.0.partial_cmp(&other.0)
    }
}

impl<T: Integer, const N: u32> PartialOrd<T> for Bounded<T, N> {
    #[inline]
    fn partial_cmp(&self, other: &T) -> Option<cmp::Ordering> {
        Some(self.0.cmp(other))
    }
}

impl<T: Integer, const N: u32> Ord for Bounded<T, N> {
    #[inline]
    fn cmp(&self, other: &Self) -> cmp::Ordering {
        self.0.cmp(&other.0)
    }
}

/// Operators that compute in `T` and answer with a `T`, for both kinds of right-hand side.
macro_rules! operators {
    ($($op:ident $method:ident;)*) => {$(
        impl<T: Integer, const N: u32> ops::$op<T> for Bounded<T, N> {
            type Output = T;

            #[inline]
            fn $method(self, rhs: T) -> T {
                ops::$op::$method(self.0, rhs)
            }
        }

        impl<T: Integer, const N: u32, const M: u32> ops::$op<Bounded<T, M>> for Bounded<T, N> {
            type Output = T;

            #[inline]
            fn $method(self, rhs: Bounded<T, M>) -> T {
                ops::$op::$method(self.0, rhs.0)
            }
        }
    )*};
}

operators! {
    Add add;
    Sub sub;
    Mul mul;
    Div div;
    Rem rem;
    BitAnd bitand;
    BitOr bitor;
    BitXor bitxor;
}

impl<T: Integer + ops::Not<Output = T>, const N: u32> ops::Not for Bounded<T, N> {
    type Output = T;

    #[inline]
    fn not(self) -> T {
        !self.0
    }
}

impl<T: Integer + ops::Neg<Output = T>, const N: u32> ops::Neg for Bounded<T, N> {
    type Output = T;

    #[inline]
    fn neg(self) -> T {
        -self.0
    }
}

/// Formats that print the value as a plain `T` would be printed.
macro_rules! formats {
    ($($format:ident)*) => {$(
        impl<T: Integer + fmt::$format, const N: u32> fmt::$format for Bounded<T, N> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::$format::fmt(&self.0, f)
            }
        }
    )*};
}

formats!(Display Binary Octal LowerHex UpperHex LowerExp UpperExp);

/// A [`Bounded`] with room for any value of `BITS` bits.
trait HasRoomFor<const BITS: u32> {}

/// A [`Bounded`] whose values all fit into `BITS` bits.
trait FitsInto<const BITS: u32> {}

/// States, for each width of a list, which primitive widths it has room for and which it fits into.
macro_rules! widths {
    ($($bound:literal)* => room for $room:tt, fits into $into:tt) => {$(
        widths!(@each $bound HasRoomFor $room);
        widths!(@each $bound FitsInto $into);
    )*};
    (@each $bound:literal $relation:ident [$($bits:literal)*]) => {
        $(impl<T: Integer> $relation<$bits> for Bounded<T, $bound> {})*
    };
}

widths!(1 2 3 4 5 6 7 => room for [], fits into [8 16 32 64]);
widths!(8 => room for [8], fits into [8 16 32 64]);
widths!(9 10 11 12 13 14 15 => room for [8], fits into [16 32 64]);
widths!(16 => room for [8 16], fits into [16 32 64]);
widths!(17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 => room for [8 16], fits into [32 64]);
widths!(32 => room for [8 16 32], fits into [32 64]);
widths!(
    33 34 35 36 37 38 39 40 41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 57 58 59 60 61 62 63
    => room for [8 16 32], fits into [64]
);
widths!(64 => room for [8 16 32 64], fits into [64]);

macro_rules! primitive_conversions {
    ($($ty:ident)*) => {$(
        #[doc = concat!("Any [`", stringify!($ty), "`] fits a `Bounded` of its signedness with as many bits or more.")]
        impl<T, const N: u32> From<$ty> for Bounded<T, N>
        where
            T: Integer<Signedness = <$ty as Integer>::Signedness> + From<$ty>,
            Self: HasRoomFor<{ $ty::BITS }>,
        {
            #[inline]
            fn from(value: $ty) -> Self {
                // SAFETY: `value` needs at most the bits of its type, and there are as many.
                unsafe { Self::new_unchecked(T::from(value)) }
            }
        }

        #[doc = concat!("Any `Bounded` of no more bits than a [`", stringify!($ty), "`] and its signedness fits one.")]
        impl<T, const N: u32> From<Bounded<T, N>> for $ty
        where
            T: Integer<Signedness = <$ty as Integer>::Signedness>,
            $ty: TryFrom<T>,
            Bounded<T, N>: FitsInto<{ $ty::BITS }>,
        {
            #[inline]
            fn from(value: Bounded<T, N>) -> Self {
                let Ok(value) = Self::try_from(*value) else {
                    unreachable!("the bound keeps the value within the type")
                };
                value
            }
        }
    )*};
}

primitive_conversions!(u8 u16 u32 u64 usize i8 i16 i32 i64 isize);

/// `false` and `true` are 0 and 1, which any unsigned `Bounded` holds.
impl<T: Integer<Signedness = Unsigned> + From<bool>, const N: u32> From<bool> for Bounded<T, N> {
    #[inline]
    fn from(value: bool) -> Self {
        // SAFETY: 0 and 1 need one bit, and there is at least one.
        unsafe { Self::new_unchecked(T::from(value)) }
    }
}

/// A single unsigned bit is set or not.
impl<T: Integer<Signedness = Unsigned> + Zeroable> From<Bounded<T, 1>> for bool {
    #[inline]
    fn from(value: Bounded<T, 1>) -> Self {
        value.into_bool()
    }
}
