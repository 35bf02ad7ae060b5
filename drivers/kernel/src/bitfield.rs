//! Integers divided into named fields of bits.
//!
//! [`bitfield!`](crate::bitfield!) defines a type around an unsigned integer. Each field is read and written as a
//! [`Bounded`](crate::num::Bounded) of exactly its width, so that a value can neither be cut off nor spill into its
//! neighbours, or as a type of the driver's that converts from and to that.
//!
//! ```
//! use kernel::{bitfield, num::Bounded, prelude::*};
//!
//! #[derive(Debug, PartialEq)]
//! enum Parity { None, Odd, Even }
//!
//! impl TryFrom<Bounded<u16, 2>> for Parity {
//!     type Error = Error;
//!
//!     fn try_from(code: Bounded<u16, 2>) -> Result<Self> {
//!         match code.get() {
//!             0 => Ok(Self::None),
//!             1 => Ok(Self::Odd),
//!             2 => Ok(Self::Even),
//!             _ => Err(EINVAL),
//!         }
//!     }
//! }
//!
//! impl From<Parity> for Bounded<u16, 2> {
//!     fn from(parity: Parity) -> Self {
//!         Bounded::from_expr(parity as u16)
//!     }
//! }
//!
//! bitfield! {
//!     /// How a serial line is set up.
//!     struct LineControl(u16) {
//!         /// Divides the clock.
//!         15:8 divisor;
//!         4:3 parity ?=> Parity;
//!         2:0 word_length;
//!     }
//! }
//!
//! let line = LineControl::from_raw(0x0018)
//!     .with_divisor(0x0cu8)
//!     .with_const_word_length::<5>();
//! assert_eq!(line.into_raw(), 0x0c1d);
//! assert_eq!(line.parity(), Err(EINVAL));
//! assert_eq!(line.with_parity(Parity::Odd).parity(), Ok(Parity::Odd));
//! assert_eq!(line.try_with_word_length(8), Err(EOVERFLOW));
//! ```
//!
//! # What is written
//!
//! `[attributes] [visibility] struct Name(storage) { fields }`, the storage being `u8`, `u16`, `u32` or `u64`, and each
//! field one of
//!
//! - `high:low name;` bits `low` to `high`, both included;
//! - `high:low name => Type;` the same for a `Type: From<Bounded<storage, WIDTH>>`;
//! - `high:low name ?=> Type;` the same for a `Type: TryFrom<Bounded<storage, WIDTH>>`,
//!
//! where `Bounded<storage, WIDTH>: From<Type>` for both of the latter. Fields may overlap and may leave bits out;
//! setters leave alone what is not theirs. Doc comments, but no other attributes, can stand before a field.
//!
//! # What is defined
//!
//! The type, transparent over its storage, with `from_raw`, `into_raw`, [`From`] in both directions, [`Clone`],
//! [`Copy`], [`Eq`], [`Debug`] (the raw value in hexadecimal, then every field) and
//! [`Zeroable`](pin_init::Zeroable); for a field called `field`
//!
//! - `field()` and `with_field(value)`, which returns the changed whole;
//! - unless it is converted, `with_const_field::<VALUE>()`, which is `const` and fails the build when the value does
//!   not fit, and `try_with_field(value)`, which fails with `EOVERFLOW`;
//! - `FIELD_RANGE`, `FIELD_MASK` and `FIELD_SHIFT`.
//!
//! Hence a field cannot be called `into`, `from_raw` or `into_raw`, nor start with `with_`, `const_`, `try_with_` or
//! `__`.

/// Defines an integer divided into named fields of bits; see the [module](mod@crate::bitfield).
#[macro_export]
macro_rules! bitfield {
    (
        $(#[$meta:meta])* $vis:vis struct $name:ident($storage:ty) {
            $(
                $(#[doc = $doc:expr])*
                $high:literal:$low:literal $field:ident $(?=> $fallible:ty)? $(=> $infallible:ty)?;
            )*
        }
    ) => {
        #[allow(non_camel_case_types, reason = "registers keep the names of their manuals")]
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq)]
        #[repr(transparent)]
        $vis struct $name {
            raw: $storage,
        }

        $(
            $crate::build_assert::static_assert!(
                $low <= $high && $high < <$storage>::BITS,
                "a field's bits are written high:low and lie within the storage"
            );
        )*

        #[allow(dead_code, reason = "no driver uses every accessor of every field")]
        impl $name {
            /// The value whose bits are `raw`.
            #[inline(always)]
            $vis const fn from_raw(raw: $storage) -> Self {
                Self { raw }
            }

            /// The bits of the value.
            #[inline(always)]
            $vis const fn into_raw(self) -> $storage {
                self.raw
            }

            $(
                $crate::bitfield!(@place $vis $storage, $high $low $field);
                $crate::bitfield!(
                    @access [$(#[doc = $doc])*] $vis $storage, { $high + 1 - $low } $field
                    $(?=> $fallible)? $(=> $infallible)?
                );
            )*
        }

        impl ::core::convert::From<$storage> for $name {
            #[inline(always)]
            fn from(raw: $storage) -> Self {
                Self { raw }
            }
        }

        impl ::core::convert::From<$name> for $storage {
            #[inline(always)]
            fn from(value: $name) -> Self {
                value.raw
            }
        }

        // SAFETY: The type is its storage, an unsigned integer, and 0 is a value of that.
        unsafe impl $crate::prelude::Zeroable for $name {}

        impl ::core::fmt::Debug for $name {
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                let mut fields = f.debug_struct(::core::stringify!($name));
                fields.field("<raw>", &::core::format_args!("{:#x}", self.raw));
                $(fields.field(::core::stringify!($field), &self.$field());)*
                fields.finish()
            }
        }
    };

    // Where a field is, and access to it as what it is stored as.
    (@place $vis:vis $storage:ty, $high:literal $low:literal $field:ident) => {
        $crate::macros::paste! {
            #[doc = ::core::concat!("Numbers of the bits of `", ::core::stringify!($field), "`.")]
            $vis const [<$field:upper _RANGE>]: ::core::ops::RangeInclusive<u8> = $low..=$high;

            #[doc = ::core::concat!("The bits of `", ::core::stringify!($field), "`, set.")]
            $vis const [<$field:upper _MASK>]: $storage =
                (<$storage>::MAX << $low) & (<$storage>::MAX >> (<$storage>::BITS - 1 - $high));

            #[doc = ::core::concat!("Number of the lowest bit of `", ::core::stringify!($field), "`.")]
            $vis const [<$field:upper _SHIFT>]: u32 = $low;

            #[inline(always)]
            fn [<__ $field>](self) -> $crate::num::Bounded<$storage, { $high + 1 - $low }> {
                $crate::num::Bounded::__from_bits_of(self.raw, $low)
            }

            #[inline(always)]
            const fn [<__with_ $field>](
                self,
                value: $crate::num::Bounded<$storage, { $high + 1 - $low }>,
            ) -> Self {
                let others = self.raw & !Self::[<$field:upper _MASK>];
                Self { raw: others | (value.get() << $low) }
            }
        }
    };

    // The field as the driver sees it: as it is stored ...
    (@access [$($doc:tt)*] $vis:vis $storage:ty, $width:tt $field:ident) => {
        $crate::macros::paste! {
            $($doc)*
            ///
            /// The field's value.
            #[inline(always)]
            $vis fn $field(self) -> $crate::num::Bounded<$storage, $width> {
                self.[<__ $field>]()
            }

            $($doc)*
            ///
            /// With the field set to `value`, of a type whose every value fits.
            #[inline(always)]
            $vis fn [<with_ $field>]<T>(self, value: T) -> Self
            where
                T: ::core::convert::Into<$crate::num::Bounded<$storage, $width>>,
            {
                self.[<__with_ $field>](value.into())
            }

            $($doc)*
            ///
            /// With the field set to the constant `VALUE`; fails the build if it does not fit.
            #[inline(always)]
            $vis const fn [<with_const_ $field>]<const VALUE: $storage>(self) -> Self {
                self.[<__with_ $field>]($crate::num::Bounded::<$storage, $width>::new::<VALUE>())
            }

            $($doc)*
            ///
            /// With the field set to `value`, or `EOVERFLOW` if it does not fit.
            #[inline(always)]
            $vis fn [<try_with_ $field>]<T>(self, value: T) -> $crate::error::Result<Self>
            where
                T: $crate::num::TryIntoBounded<$storage, $width>,
            {
                match value.try_into_bounded() {
                    ::core::option::Option::Some(value) => {
                        ::core::result::Result::Ok(self.[<__with_ $field>](value))
                    }
                    ::core::option::Option::None => {
                        ::core::result::Result::Err($crate::error::code::EOVERFLOW)
                    }
                }
            }
        }
    };
    // ... as a type that has a value for whatever the bits are ...
    (@access [$($doc:tt)*] $vis:vis $storage:ty, $width:tt $field:ident => $type:ty) => {
        $crate::macros::paste! {
            $($doc)*
            ///
            /// The field's value.
            #[inline(always)]
            $vis fn $field(self) -> $type {
                ::core::convert::From::from(self.[<__ $field>]())
            }
        }
        $crate::bitfield!(@set_converted [$($doc)*] $vis $field $type);
    };
    // ... or as one that may have none.
    (@access [$($doc:tt)*] $vis:vis $storage:ty, $width:tt $field:ident ?=> $type:ty) => {
        $crate::macros::paste! {
            $($doc)*
            ///
            /// The field's value, or what its conversion makes of bits that stand for none.
            #[inline(always)]
            $vis fn $field(self) -> ::core::result::Result<
                $type,
                <$type as ::core::convert::TryFrom<$crate::num::Bounded<$storage, $width>>>::Error,
            > {
                ::core::convert::TryFrom::try_from(self.[<__ $field>]())
            }
        }
        $crate::bitfield!(@set_converted [$($doc)*] $vis $field $type);
    };
    (@set_converted [$($doc:tt)*] $vis:vis $field:ident $type:ty) => {
        $crate::macros::paste! {
            $($doc)*
            ///
            /// With the field set to `value`.
            #[inline(always)]
            $vis fn [<with_ $field>](self, value: $type) -> Self {
                self.[<__with_ $field>](::core::convert::From::from(value))
            }
        }
    };
}
