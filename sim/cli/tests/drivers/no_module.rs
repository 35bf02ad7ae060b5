//! A file without a module: something is unused in it, too.

use kernel::prelude::*;

/// Doubles.
pub fn double(number: u32) -> Result<u32> {
    let unused = number;
    number.checked_mul(2).ok_or(EINVAL)
}
