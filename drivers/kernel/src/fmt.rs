//! Formatting with the kernel's rules, used in place of `core::fmt`.
//!
//! The [`fmt!`](crate::prelude::fmt!) macro wraps each argument in an adapter, so that types of other crates can have a
//! form of their own and pointers do not show addresses.

use core::ptr::NonNull;

pub use core::fmt::{Arguments, Debug, Error, Formatter, Result, Write};

/// What `fmt!` wraps its arguments in.
#[doc(hidden)]
pub struct Adapter<T>(pub T);

/// Passes core's traits through the adapter.
macro_rules! pass_through {
    ($($form:ident)*) => {$(
        impl<T: core::fmt::$form> core::fmt::$form for Adapter<T> {
            fn fmt(&self, f: &mut Formatter<'_>) -> Result {
                self.0.fmt(f)
            }
        }
    )*};
}

pass_through!(Debug LowerHex UpperHex Octal Binary LowerExp UpperExp);

/// The `{}` form, as `core::fmt::Display` but open to types of other crates.
///
/// Types of the kernel and of drivers implement this one, not core's.
pub trait Display {
    /// Writes the value, see `core::fmt::Display::fmt`.
    fn fmt(&self, f: &mut Formatter<'_>) -> Result;
}

impl<T: Display + ?Sized> core::fmt::Display for Adapter<&T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        Display::fmt(self.0, f)
    }
}

impl<T: Display + ?Sized> Display for &T {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        Display::fmt(*self, f)
    }
}

/// Lets types show themselves the way core shows them.
macro_rules! display_as_core {
    ($($ty:ty),* $(,)?) => {$(
        impl Display for $ty {
            fn fmt(&self, f: &mut Formatter<'_>) -> Result {
                core::fmt::Display::fmt(self, f)
            }
        }
    )*};
}

display_as_core!(i8, i16, i32, i64, i128, isize, u8, u16, u32, u64, u128, usize);
display_as_core!(bool, char, str, Arguments<'_>, core::panic::PanicInfo<'_>);

/// The `{:p}` form, as `core::fmt::Pointer` but without addresses: see [`HashedPtr`].
pub trait Pointer {
    /// Writes the pointer, see `core::fmt::Pointer::fmt`.
    fn fmt(&self, f: &mut Formatter<'_>) -> Result;
}

impl<T: Pointer> core::fmt::Pointer for Adapter<&T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        self.0.fmt(f)
    }
}

/// A pointer in the form of C's `%p`, which hides the address.
///
/// Null and error pointers are no addresses and show their number, in hexadecimal with `0x`.
///
/// Differs from Linux: any other pointer prints as `(____ptrval____)`, which Linux prints until its hash key is ready.
/// A number would have to come from the address, and addresses differ between two runs of the same life.
pub struct HashedPtr<T: ?Sized>(pub *const T);

impl<T: ?Sized> Pointer for HashedPtr<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        /// `0x` and two digits for each byte.
        const DEFAULT_WIDTH: usize = 2 + 2 * size_of::<usize>();
        /// The widest that Linux's buffer lets a pointer be.
        const MAX_WIDTH: usize = 31;

        let address = self.0.cast::<()>().addr();
        let zero_padded = f.sign_aware_zero_pad();
        let width = match f.width() {
            Some(width) if zero_padded && width > 0 => width.min(MAX_WIDTH),
            _ => DEFAULT_WIDTH,
        };

        let mut buffer = [0u8; MAX_WIDTH + 1];
        let mut text = crate::str::Formatter::new(&mut buffer);
        let is_no_address = address == 0 || address > usize::MAX - crate::bindings::MAX_ERRNO as usize;
        if is_no_address {
            write!(text, "{address:#0width$x}")?;
        } else {
            text.write_str("(____ptrval____)")?;
        }

        let len = text.bytes_written();
        let text = core::str::from_utf8(&buffer[..len]).map_err(|_| Error)?;
        if zero_padded {
            // The width is in the number already.
            f.write_str(text)
        } else {
            f.pad(text)
        }
    }
}

/// Hides the address of each kind of pointer.
macro_rules! hashed {
    ($($pointer:ty, $this:ident => $raw:expr;)*) => {$(
        impl<T: ?Sized> Pointer for $pointer {
            fn fmt(&self, f: &mut Formatter<'_>) -> Result {
                let $this = self;
                HashedPtr($raw).fmt(f)
            }
        }
    )*};
}

hashed! {
    *const T, pointer => *pointer;
    *mut T, pointer => pointer.cast_const();
    NonNull<T>, pointer => pointer.as_ptr().cast_const();
    &T, reference => core::ptr::from_ref(*reference);
    &mut T, reference => core::ptr::from_ref(&**reference);
}
