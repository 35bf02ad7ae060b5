//! Casts between unsigned integers that provably lose nothing.
//!
//! `as` truncates without a word. These do not: the functions named `A_as_B` widen, the functions named `A_into_B`
//! narrow a constant and fail the build if it does not fit, and the traits cover the widenings that [`From`] leaves
//! out because they are not portable beyond the machines Linux runs on. What holds only for one pointer size is in
//! [`arch`].
//!
//! ```
//! use kernel::num::casts::{u32_as_usize, u64_into_u16, FromSafeCast, IntoSafeCast};
//!
//! const TABLE_LEN: usize = u32_as_usize(0x400);
//! const VECTOR: u16 = u64_into_u16::<0xfee>();
//!
//! let bytes: u64 = TABLE_LEN.into_safe_cast();
//! assert_eq!(bytes, u64::from_safe_cast(TABLE_LEN));
//! assert_eq!(VECTOR, 0xfee);
//! ```
//!
//! ```compile_fail
//! // 0x1_0000 needs 17 bits.
//! const VECTOR: u16 = kernel::num::casts::u64_into_u16::<0x1_0000>();
//! ```

use crate::build_assert::{const_assert, static_assert};

macro_rules! widening {
    ($($name:ident: $from:ident => $to:ident;)*) => {$(
        #[doc = concat!("Widens a [`", stringify!($from), "`] to a [`", stringify!($to), "`], in constants too.")]
        #[inline]
        pub const fn $name(value: $from) -> $to {
            static_assert!($to::BITS >= $from::BITS);
            value as $to
        }
    )*};
}

// Linux runs on CPUs with 32 and 64-bit pointers only: a `usize` holds any `u32`, and a `u64` any `usize`.
widening! {
    u8_as_u16: u8 => u16;
    u8_as_u32: u8 => u32;
    u8_as_u64: u8 => u64;
    u8_as_usize: u8 => usize;
    u16_as_u32: u16 => u32;
    u16_as_u64: u16 => u64;
    u16_as_usize: u16 => usize;
    u32_as_u64: u32 => u64;
    u32_as_usize: u32 => usize;
    usize_as_u64: usize => u64;
}

macro_rules! narrowing {
    ($($name:ident: $from:ident => $to:ident;)*) => {$(
        #[doc = concat!("The constant `N` as a [`", stringify!($to), "`]; fails the build if it does not fit.")]
        #[inline]
        pub const fn $name<const N: $from>() -> $to {
            const_assert!(N <= $to::MAX as $from);
            N as $to
        }
    )*};
}

narrowing! {
    u16_into_u8: u16 => u8;
    u32_into_u8: u32 => u8;
    u32_into_u16: u32 => u16;
    u64_into_u8: u64 => u8;
    u64_into_u16: u64 => u16;
    u64_into_u32: u64 => u32;
    usize_into_u8: usize => u8;
    usize_into_u16: usize => u16;
    usize_into_u32: usize => u32;
}

/// Conversion from a `T` that loses nothing on any machine Linux runs on, where [`From`] does not promise as much.
pub trait FromSafeCast<T> {
    /// The same number as `value`.
    fn from_safe_cast(value: T) -> Self;
}

/// The other side of [`FromSafeCast`], which provides it.
pub trait IntoSafeCast<T> {
    /// The same number as `self`.
    fn into_safe_cast(self) -> T;
}

impl<T: FromSafeCast<S>, S> IntoSafeCast<T> for S {
    #[inline]
    fn into_safe_cast(self) -> T {
        FromSafeCast::from_safe_cast(self)
    }
}

macro_rules! safe_casts {
    ($($from:ident => $to:ident by $cast:ident;)*) => {$(
        impl FromSafeCast<$from> for $to {
            #[inline]
            fn from_safe_cast(value: $from) -> Self {
                $cast(value)
            }
        }
    )*};
}

safe_casts! {
    u32 => usize by u32_as_usize;
    usize => u64 by usize_as_u64;
}

/// Casts that lose nothing on machines of this pointer size only. A driver that uses them is not portable.
pub mod arch {
    /// [`FromSafeCast`](super::FromSafeCast) for this pointer size.
    pub trait FromSafeCastArch<T> {
        /// The same number as `value`.
        fn from_safe_cast_arch(value: T) -> Self;
    }

    /// [`IntoSafeCast`](super::IntoSafeCast) for this pointer size.
    pub trait IntoSafeCastArch<T> {
        /// The same number as `self`.
        fn into_safe_cast_arch(self) -> T;
    }

    impl<T: FromSafeCastArch<S>, S> IntoSafeCastArch<T> for S {
        #[inline]
        fn into_safe_cast_arch(self) -> T {
            FromSafeCastArch::from_safe_cast_arch(self)
        }
    }

    /// Casts a [`u64`] to a [`usize`] of as many bits.
    #[inline]
    #[cfg(target_pointer_width = "64")]
    pub const fn u64_as_usize(value: u64) -> usize {
        crate::build_assert::static_assert!(usize::BITS == u64::BITS);
        value as usize
    }

    #[cfg(target_pointer_width = "64")]
    impl FromSafeCastArch<u64> for usize {
        #[inline]
        fn from_safe_cast_arch(number: u64) -> Self {
            u64_as_usize(number)
        }
    }
}
