//! Kernel errors: negative error numbers as a type, and the ways in and out of C's conventions.

use crate::alloc::{layout::LayoutError, AllocError};
use crate::ffi::{c_int, c_void};
use crate::str::CStr;
use crate::{bindings, fmt};
use core::num::{NonZeroI32, TryFromIntError};

pub mod code;

/// A kernel error: a number from `-1` to `-4095` (`-MAX_ERRNO`).
///
/// The type is one `i32` and has room for `Option`'s and `Result`'s tag.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Error(NonZeroI32);

impl Error {
    /// The error of a positive error number, for the list in [`code`].
    const fn constant(number: i32) -> Self {
        match Self::checked(-number) {
            Some(error) => error,
            None => panic!("not an error number"),
        }
    }

    /// Accepts exactly the numbers that an error may have.
    const fn checked(errno: c_int) -> Option<Self> {
        match NonZeroI32::new(errno) {
            Some(errno) if errno.get() < 0 && errno.get() >= -(bindings::MAX_ERRNO as i32) => Some(Self(errno)),
            _ => None,
        }
    }

    /// Makes an error from a negative error number, such as a C function returns.
    ///
    /// A number outside of `-4095..=-1` is a bug of the caller: it prints a warning and gives `EINVAL`.
    pub fn from_errno(errno: c_int) -> Error {
        Self::checked(errno).unwrap_or_else(|| {
            crate::pr_warn!("attempted to create `Error` with out of range `errno`: {}\n", errno);
            code::EINVAL
        })
    }

    /// Returns the number, which is negative.
    pub fn to_errno(self) -> c_int {
        self.0.get()
    }

    /// Returns the error as one of the top 4095 addresses, C's `ERR_PTR()`.
    pub fn to_ptr<T>(self) -> *mut T {
        core::ptr::without_provenance_mut(self.0.get() as isize as usize)
    }

    /// Returns the name of the error, such as `EINVAL`, or `None` for a number that Linux's table does not name.
    pub fn name(&self) -> Option<&'static CStr> {
        // Linux's table has no entry for these two.
        if matches!(*self, code::EFTYPE | code::ENOGRACE) {
            return None;
        }
        let number = -self.0.get();
        let (_, name) = code::NAMES.iter().find(|(known, _)| *known == number)?;
        CStr::from_bytes_with_nul(name.as_bytes()).ok()
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name().and_then(|name| name.to_str().ok()) {
            Some(name) => f.debug_tuple(name).finish(),
            None => f.debug_tuple("Error").field(&-self.0).finish(),
        }
    }
}

/// Says which error number stands for a foreign error type.
macro_rules! becomes {
    ($($from:ty => $code:ident),* $(,)?) => {$(
        impl From<$from> for Error {
            fn from(_: $from) -> Error {
                code::$code
            }
        }
    )*};
}

becomes! {
    AllocError => ENOMEM,
    LayoutError => ENOMEM,
    TryFromIntError => EINVAL,
    core::str::Utf8Error => EINVAL,
    fmt::Error => EINVAL,
}

impl From<core::convert::Infallible> for Error {
    fn from(never: core::convert::Infallible) -> Error {
        match never {}
    }
}

/// The result of kernel functions; the default says "nothing, or an [`Error`]".
///
/// Functions that return it must be tested with `?` or a match: C's convention of a bare negative `int` is what
/// [`to_result`] and [`from_result`] translate.
pub type Result<T = (), E = Error> = core::result::Result<T, E>;

/// Turns C's return value into a result: negative is an error, anything else is success.
pub fn to_result(err: c_int) -> Result {
    match err {
        0.. => Ok(()),
        errno => Err(Error::from_errno(errno)),
    }
}

/// Turns a pointer that may be C's `ERR_PTR()` into a result.
///
/// # Examples
///
/// ```
/// use kernel::error::{code::ENODEV, from_err_ptr};
///
/// let mut value = 5u32;
/// assert_eq!(from_err_ptr(&raw mut value), Ok(&raw mut value));
/// assert_eq!(from_err_ptr(ENODEV.to_ptr::<u32>()), Err(ENODEV));
/// ```
pub fn from_err_ptr<T>(ptr: *mut T) -> Result<*mut T> {
    let address = ptr.cast::<c_void>().addr() as isize;
    if (-(bindings::MAX_ERRNO as isize)..0).contains(&address) {
        Err(Error::from_errno(address as c_int))
    } else {
        Ok(ptr)
    }
}

/// Runs a Rust body for a C caller: success is the value, an error is its negative number.
///
/// `T` is any integer that an `i16` fits in, which every error number does.
pub fn from_result<T, F>(f: F) -> T
where
    T: From<i16>,
    F: FnOnce() -> Result<T>,
{
    f().unwrap_or_else(|error| T::from(error.to_errno() as i16))
}

/// What a `#[vtable]` trait's provided methods fail the build with when something calls them.
pub const VTABLE_DEFAULT_ERROR: &str = "This function must not be called, see the #[vtable] documentation.";
