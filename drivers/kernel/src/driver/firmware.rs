//! Finding what a driver's tables say about a device that firmware describes.

use super::Adapter;
use crate::machine::platform::{Firmware, PlatformDevice, Property};
use crate::str::CStr;
use crate::{acpi, device_id::RawDeviceIdIndex, of};

/// Finds the row for a device in an adapter's tables, and returns what it says.
pub(crate) fn id_info<A: Adapter + ?Sized>(device: &PlatformDevice) -> Option<&'static A::IdInfo> {
    let compatible = device.node.properties.iter().find(|(name, _)| name == "compatible");
    let compatible = match compatible {
        Some((_, Property::Texts(texts))) => texts.as_slice(),
        _ => &[],
    };
    // An ACPI device with this id is described like one of a device tree.
    let like_a_tree = match &device.firmware {
        Firmware::DeviceTree => true,
        Firmware::Acpi(hid) => hid == "PRP0001",
        Firmware::None => false,
    };
    if let (true, Some(table)) = (like_a_tree, A::of_id_table()) {
        // What the device says first describes it best.
        return compatible.iter().find_map(|wanted| {
            // SAFETY: the table ends in a row of zeroes.
            let row = unsafe { find_row(table.as_ptr(), |row| &row.compatible, wanted) }?;
            // SAFETY: the row is of a table of this type.
            Some(unsafe { (*row.cast::<of::DeviceId>()).info_unchecked::<A::IdInfo>() })
        });
    }
    let (Firmware::Acpi(hid), Some(table)) = (&device.firmware, A::acpi_id_table()) else { return None };
    // SAFETY: the table ends in a row of zeroes.
    let row = unsafe { find_row(table.as_ptr(), |row| &row.id, hid) }?;
    // SAFETY: the row is of a table of this type.
    Some(unsafe { (*row.cast::<acpi::DeviceId>()).info_unchecked::<A::IdInfo>() })
}

/// Finds the row of a table whose string is `wanted`.
///
/// # Safety
///
/// `row` must be the first of a table that ends in one whose string is empty, and `string` return a field of it.
unsafe fn find_row<Row>(mut row: *const Row, string: fn(&Row) -> &[u8], wanted: &str) -> Option<*const Row> {
    loop {
        // SAFETY: no row after the last is looked at. A pointer in a row is an integer of the structure, which is not read.
        let known = CStr::from_bytes_until_nul(string(unsafe { &*row })).unwrap_or_default();
        if known.is_empty() {
            return None;
        }
        if known.to_bytes() == wanted.as_bytes() {
            return Some(row);
        }
        row = row.wrapping_add(1);
    }
}
