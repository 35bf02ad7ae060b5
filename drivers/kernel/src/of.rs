//! Device trees: what a driver is compatible with.

use crate::bindings;
use crate::device_id::{RawDeviceId, RawDeviceIdIndex};
use crate::str::CStr;
use core::mem::offset_of;

/// A driver's table of what it is compatible with.
pub type IdTable<T> = &'static dyn kernel::device_id::IdTable<DeviceId, T>;

/// One thing that a driver is compatible with.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub struct DeviceId(bindings::of_device_id);

// SAFETY: it is a transparent wrapper.
unsafe impl RawDeviceId for DeviceId {
    type RawType = bindings::of_device_id;
}

// SAFETY: the field is as wide as a pointer.
unsafe impl RawDeviceIdIndex for DeviceId {
    const DRIVER_DATA_OFFSET: usize = offset_of!(bindings::of_device_id, data);
}

impl DeviceId {
    /// Makes a row for nodes whose `compatible` has this string, of at most 127 bytes; a longer one fails the build.
    pub const fn new(compatible: &'static CStr) -> Self {
        Self(bindings::of_device_id { compatible: bindings::padded(compatible), data: 0 })
    }
}

/// Defines a driver's table of what it is compatible with: its name, the type of what it says, and the rows.
///
/// Rows are `(of::DeviceId, value)`, or only ids after `@none`.
#[macro_export]
macro_rules! of_device_table {
    ($($table:tt)*) => {
        $crate::module_device_table!("of", $crate::of::DeviceId, $($table)*);
    };
}
