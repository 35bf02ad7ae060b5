//! The types that an `Atomic` can hold from the start.

use super::{AtomicAdd, AtomicType};
use crate::ffi::c_void;

/// An integer as wide as a pointer, as its representation.
#[cfg(target_pointer_width = "64")]
type Word = i64;
/// An integer as wide as a pointer, as its representation.
#[cfg(target_pointer_width = "32")]
type Word = i32;

/// Says what represents each type, and which of them are added to.
macro_rules! represented {
    ($($ty:ty as $repr:ty $(, adds $delta:expr)?;)*) => {$(
        const _: () = assert!(size_of::<$ty>() == size_of::<$repr>() && align_of::<$ty>() == align_of::<$repr>());

        // SAFETY: both are equally wide, and each value of the type is one of the representation's.
        unsafe impl AtomicType for $ty {
            type Repr = $repr;
        }

        $(
            // SAFETY: all values of the representation are values of the type.
            unsafe impl AtomicAdd<$ty> for $ty {
                fn rhs_into_delta(rhs: $ty) -> $repr {
                    let delta: fn($ty) -> $repr = $delta;
                    delta(rhs)
                }
            }
        )?
    )*};
}

represented! {
    bool as i8;
    i8 as i8;
    i16 as i16;
    i32 as i32, adds core::convert::identity;
    u32 as i32, adds u32::cast_signed;
    i64 as i64, adds core::convert::identity;
    u64 as i64, adds u64::cast_signed;
    isize as Word, adds |rhs| rhs as Word;
    usize as Word, adds |rhs| rhs as Word;
}

// SAFETY: all thin pointers are equally wide, and may go to other tasks; using what they point to is another matter.
unsafe impl<T> AtomicType for *const T {
    type Repr = *const c_void;
}

// SAFETY: as above.
unsafe impl<T> AtomicType for *mut T {
    type Repr = *const c_void;
}
