//! Integers with more in their type: how many bits they use, and which casts lose nothing.

pub mod casts;

pub mod bounded;
pub use bounded::*;

use core::ops;

/// Names the unsigned primitive integers, as [`Integer::Signedness`].
pub enum Unsigned {}

/// Names the signed primitive integers, as [`Integer::Signedness`].
pub enum Signed {}

/// A primitive integer. Sealed: exactly the twelve primitives implement it.
pub trait Integer:
    primitive::Sealed
    + Ord
    + Copy
    + ops::Not
    + ops::Shl<u32, Output = Self>
    + ops::Shr<u32, Output = Self>
    + ops::BitAnd<Output = Self>
    + ops::BitOr<Output = Self>
    + ops::BitXor<Output = Self>
    + ops::Add<Output = Self>
    + ops::Sub<Output = Self>
    + ops::Mul<Output = Self>
    + ops::Div<Output = Self>
    + ops::Rem<Output = Self>
    + ops::ShlAssign<u32>
    + ops::ShrAssign<u32>
    + ops::BitAndAssign
    + ops::BitOrAssign
    + ops::BitXorAssign
    + ops::AddAssign
    + ops::SubAssign
    + ops::MulAssign
    + ops::DivAssign
    + ops::RemAssign
{
    /// Either [`Signed`] or [`Unsigned`].
    type Signedness;

    /// Width of the type in bits.
    const BITS: u32;
}

mod primitive {
    /// Keeps [`Integer`](super::Integer) to the primitives.
    pub trait Sealed {}
}

macro_rules! integers {
    ($signedness:ident: $($ty:ident)*) => {$(
        impl primitive::Sealed for $ty {}

        impl Integer for $ty {
            type Signedness = $signedness;
            const BITS: u32 = $ty::BITS;
        }
    )*};
}

integers!(Unsigned: u8 u16 u32 u64 u128 usize);
integers!(Signed: i8 i16 i32 i64 i128 isize);
