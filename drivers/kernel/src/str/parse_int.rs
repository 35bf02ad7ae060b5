//! Integers out of text, with the prefixes that C's `kstrto*()` know and two more.

use crate::error::{code::EINVAL, Result};
use crate::str::BStr;

mod private {
    use super::{BStr, Result};

    /// The two steps that differ between the integer types.
    pub trait FromStrRadix: Sized {
        /// Reads digits of a base, with an optional sign in front.
        fn from_str_radix(digits: &BStr, radix: u32) -> Result<Self>;

        /// Returns minus `magnitude`, when the type has it.
        fn from_u64_negated(magnitude: u64) -> Result<Self>;
    }
}

/// Splits the base off a number.
///
/// A plain leading zero stays: it is a digit, and the whole number when nothing follows.
fn split_radix(number: &BStr) -> (u32, &BStr) {
    let (radix, prefix) = match **number {
        [b'0', b'x' | b'X', ..] => (16, 2),
        [b'0', b'o' | b'O', ..] => (8, 2),
        [b'0', b'b' | b'B', ..] => (2, 2),
        [b'0', ..] => (8, 0),
        _ => (10, 0),
    };
    (radix, &number[prefix..])
}

/// Integers that can be read from text.
///
/// `0x` is hexadecimal, `0o` or just `0` octal, `0b` binary, and anything else decimal; the letters have either case. A
/// minus may stand in front of it all, a plus in front of the digits.
///
/// # Examples
///
/// ```
/// use kernel::{b_str, error::code::EINVAL, str::parse_int::ParseInt};
///
/// assert_eq!(u16::from_str(b_str!("0x1f")), Ok(31));
/// assert_eq!(i8::from_str(b_str!("-0200")), Ok(-128));
/// assert_eq!(i8::from_str(b_str!("128")), Err(EINVAL));
/// ```
pub trait ParseInt: private::FromStrRadix + TryFrom<u64> {
    /// Reads a number. `EINVAL` when the text is none, or one that the type does not have.
    fn from_str(src: &BStr) -> Result<Self> {
        let Some(magnitude) = src.strip_prefix(BStr::from_bytes(b"-")) else {
            let (radix, digits) = split_radix(src);
            return <Self as private::FromStrRadix>::from_str_radix(digits, radix);
        };
        // The least value of a signed type has no positive counterpart, so the magnitude is read into a wider type.
        let (radix, digits) = split_radix(magnitude);
        let magnitude = <u64 as private::FromStrRadix>::from_str_radix(digits, radix)?;
        Self::from_u64_negated(magnitude)
    }
}

/// Implements the steps with the type's own parser.
macro_rules! parse_with_core {
    ($($int:ty),*) => {$(
        impl private::FromStrRadix for $int {
            fn from_str_radix(digits: &BStr, radix: u32) -> Result<Self> {
                let digits = core::str::from_utf8(digits)?;
                <$int>::from_str_radix(digits, radix).map_err(|_| EINVAL)
            }

            fn from_u64_negated(magnitude: u64) -> Result<Self> {
                <$int>::try_from(-i128::from(magnitude)).map_err(|_| EINVAL)
            }
        }

        impl ParseInt for $int {}
    )*};
}

parse_with_core!(i8, u8, i16, u16, i32, u32, i64, u64, isize, usize);
