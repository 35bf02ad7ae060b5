//! ACPI: the hardware ids that a driver knows.

use crate::bindings;
use crate::device_id::{RawDeviceId, RawDeviceIdIndex};
use crate::str::CStr;
use core::mem::offset_of;

/// A driver's table of hardware ids.
pub type IdTable<T> = &'static dyn kernel::device_id::IdTable<DeviceId, T>;

/// A hardware id that a driver knows.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub struct DeviceId(bindings::acpi_device_id);

// SAFETY: it is a transparent wrapper.
unsafe impl RawDeviceId for DeviceId {
    type RawType = bindings::acpi_device_id;
}

// SAFETY: the field is as wide as a pointer.
unsafe impl RawDeviceIdIndex for DeviceId {
    const DRIVER_DATA_OFFSET: usize = offset_of!(bindings::acpi_device_id, driver_data);
}

impl DeviceId {
    /// Makes a row for devices with this id, of at most 15 bytes; a longer one fails the build.
    #[inline(always)]
    pub const fn new(id: &'static CStr) -> Self {
        Self(bindings::acpi_device_id { id: bindings::padded(id), driver_data: 0 })
    }
}

/// Defines a driver's table of hardware ids: its name, the type of what it says, and the rows.
///
/// Rows are `(acpi::DeviceId, value)`, or only ids after `@none`.
#[macro_export]
macro_rules! acpi_device_table {
    ($($table:tt)*) => {
        $crate::module_device_table!("acpi", $crate::acpi::DeviceId, $($table)*);
    };
}
