//! The errors of vector methods that do not allocate. All become `EINVAL`: memory is not what is missing.

use crate::error::{code::EINVAL, Error};
use crate::fmt;

/// There is no room for the element, which is given back.
pub struct PushError<T>(pub T);

/// There is no element at the index.
pub struct RemoveError;

/// An element could not be inserted and is given back.
pub enum InsertError<T> {
    /// The index is behind the end.
    IndexOutOfBounds(T),
    /// There is no room for the element.
    OutOfCapacity(T),
}

const FULL: &str = "Not enough capacity";
const OUT_OF_BOUNDS: &str = "Index out of bounds";

/// Gives an error type its text and its error number.
macro_rules! invalid {
    ($([$($generic:ident)?] $error:ty: $this:ident => $text:expr;)*) => {$(
        impl $(<$generic>)? fmt::Debug for $error {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let $this = self;
                f.write_str($text)
            }
        }

        impl $(<$generic>)? From<$error> for Error {
            fn from(_: $error) -> Self {
                EINVAL
            }
        }
    )*};
}

invalid! {
    [T] PushError<T>: _error => FULL;
    [] RemoveError: _error => OUT_OF_BOUNDS;
    [T] InsertError<T>: error => match error {
        InsertError::IndexOutOfBounds(_) => OUT_OF_BOUNDS,
        InsertError::OutOfCapacity(_) => FULL,
    };
}
