//! Types for which all bytes zero is a value.

use core::{
    cell::UnsafeCell,
    marker::{PhantomData, PhantomPinned},
    mem::{self, MaybeUninit},
    num::{NonZero, Wrapping},
    ptr::NonNull,
};

use crate::{__internal::zero_slot, init_from_closure, Init};

/// A type that may be made by writing zeroes.
///
/// Derive it by [`#[derive(Zeroable)]`](macro@crate::Zeroable).
///
/// # Safety
///
/// All bytes zero must be a valid value of the type.
pub unsafe trait Zeroable {
    /// An initialiser that writes zero to each byte of the slot.
    #[inline(always)]
    fn init_zeroed() -> impl Init<Self>
    where
        Self: Sized,
    {
        init_zeroed::<Self>()
    }

    /// The value whose bytes are all zero.
    #[inline(always)]
    fn zeroed() -> Self
    where
        Self: Sized,
    {
        zeroed::<Self>()
    }
}

/// An initialiser that writes zero to each byte of the slot.
#[inline]
pub fn init_zeroed<T: Zeroable>() -> impl Init<T> {
    let fill = |slot| {
        // SAFETY: an initialiser's slot is valid for writes and aligned.
        unsafe { zero_slot::<T>(slot) };
        Ok(())
    };
    // SAFETY: zeroes make a `T`, wherever it stands.
    unsafe { init_from_closure(fill) }
}

/// The value whose bytes are all zero; [`Zeroable::zeroed`] for constants.
///
/// # Examples
///
/// ```
/// static TABLE: [u32; 8] = pin_init::zeroed();
/// assert_eq!(TABLE[7], 0);
/// ```
#[inline]
pub const fn zeroed<T: Zeroable>() -> T {
    // SAFETY: zeroes make a `T`.
    unsafe { mem::zeroed() }
}

/// A type of which `Option<Self>` is `None` when all its bytes are zero.
///
/// # Safety
///
/// `Option<Self>` must be valid, and `None`, when all its bytes are zero.
pub unsafe trait ZeroableOption {}

// SAFETY: `ZeroableOption` promises this.
unsafe impl<T: ZeroableOption> Zeroable for Option<T> {}

/// Implements one of the traits for a list of types, each with its generic parameters.
macro_rules! implement {
    ($which:ident: $([$($parameters:tt)*] $ty:ty;)*) => {$(
        // SAFETY: said above each invocation.
        unsafe impl<$($parameters)*> $which for $ty {}
    )*};
}

// SAFETY: zero is a number, `false` and U+0000. A type without any value must never stand here.
implement! { Zeroable:
    [] u8; [] u16; [] u32; [] u64; [] u128; [] usize;
    [] i8; [] i16; [] i32; [] i64; [] i128; [] isize;
    [] f32; [] f64; [] bool; [] char;
}

// SAFETY: these have no bytes, and a value.
implement! { Zeroable: [] (); [] PhantomPinned; [T: ?Sized] PhantomData<T>; }

// SAFETY: these have the layout of their content, or promise nothing about their bytes.
implement! { Zeroable:
    [T: Zeroable] Wrapping<T>;
    [T: Zeroable + ?Sized] UnsafeCell<T>;
    [T: Zeroable, const N: usize] [T; N];
    [T] MaybeUninit<T>;
}

// SAFETY: a raw pointer may be null and its length zero. A vtable may not be null, so pointers to
// other unsized types are missing.
implement! { Zeroable:
    [T] *const T; [T] *mut T;
    [T] *const [T]; [T] *mut [T];
    [] *const str; [] *mut str;
}

// SAFETY: the standard library documents that `Option` of these uses the null pointer, or zero,
// for `None`.
implement! { ZeroableOption:
    [T: ?Sized] &T; [T: ?Sized] &mut T; [T: ?Sized] NonNull<T>;
    [] NonZero<u8>; [] NonZero<u16>; [] NonZero<u32>; [] NonZero<u64>; [] NonZero<u128>;
    [] NonZero<i8>; [] NonZero<i16>; [] NonZero<i32>; [] NonZero<i64>; [] NonZero<i128>;
    [] NonZero<usize>; [] NonZero<isize>;
}

/// Implements `Zeroable` for tuples of all lengths up to that of the list.
macro_rules! implement_tuples {
    () => {};
    ($head:ident $($tail:ident)*) => {
        // SAFETY: each element may be zero, and so may the padding between them.
        unsafe impl<$head: Zeroable, $($tail: Zeroable),*> Zeroable for ($head, $($tail,)*) {}
        implement_tuples!($($tail)*);
    };
}

implement_tuples!(A B C D E F G H I J);

/// Implements `ZeroableOption` for function pointers with as many arguments as the list is long,
/// or fewer.
macro_rules! implement_functions {
    ($($argument:ident)*) => {
        implement! { ZeroableOption:
            [R, $($argument),*] fn($($argument),*) -> R;
            [R, $($argument),*] unsafe fn($($argument),*) -> R;
            [R, $($argument),*] extern "C" fn($($argument),*) -> R;
            [R, $($argument),*] unsafe extern "C" fn($($argument),*) -> R;
        }
        implement_functions!(@shorten $($argument)*);
    };
    (@shorten) => {};
    (@shorten $head:ident $($tail:ident)*) => { implement_functions!($($tail)*); };
}

// SAFETY: `Option` of a function pointer uses null for `None`, as the standard library documents.
implement_functions!(A B C D E F G H I J K L M N O P Q S T U);
