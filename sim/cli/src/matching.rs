//! Which devices a driver wants: for the user whose driver met none of those that are plugged in.

use bringup_bench::Bench;
use bringup_bench::rt::pci::PciId;
use bringup_core::Function;
use bringup_devices::registry;

use crate::driver_build::DriverFile;
use crate::driver_build::source::PlatformName;
use crate::report::DeviceReport;

/// If none of the driver's drivers has a device: what they want, and which devices of ours are that. PCI drivers say it when
/// they are registered, platform drivers in their tables only, which are looked for in the file.
pub(crate) fn wanted(bench: &Bench, devices: &[DeviceReport], file: Option<&DriverFile>) -> Option<String> {
    if devices.iter().any(|device| device.driver.is_some()) {
        return None;
    }
    let registered = bench.registered_ids();
    let named = file.map(DriverFile::platform_names).unwrap_or_default();
    let (wanted, offer) = match (registered.is_empty(), named.is_empty()) {
        (true, true) => return None,
        (false, _) => pci(&registered.iter().flat_map(|(_, rows)| rows).collect::<Vec<_>>()),
        (true, false) => platform(&named),
    };
    Some(format!("found no device: it wants {wanted}, and none that is plugged in is one; {offer}"))
}

/// What is wanted, and what can be plugged in for it.
fn pci(rows: &[&PciId]) -> (String, String) {
    let wanted: Vec<String> = rows.iter().map(ToString::to_string).collect();
    let ours: Vec<&str> = registry::kinds()
        .iter()
        .map(|kind| kind.name)
        .filter(|name| {
            registry::parse(name).is_ok_and(|(_, device)| rows.iter().any(|row| matches(row, &device.function())))
        })
        .collect();
    let offer = match ours.is_empty() {
        true => "no bundled device is one".into(),
        false => format!("bundled: --device {}", ours.join(", ")),
    };
    (wanted.join(", "), offer)
}

/// As [`pci`].
fn platform(names: &[PlatformName]) -> (String, String) {
    let described = |name: &PlatformName| match name {
        PlatformName::Acpi(hid) => (format!("ACPI's {hid}"), format!("acpi,hid={hid}")),
        PlatformName::Compatible(text) => (format!("\"{text}\""), format!("of,name=node,compatible={text}")),
    };
    let (wanted, specs): (Vec<String>, Vec<String>) = names.iter().map(described).unzip();
    (wanted.join(", "), format!("plug one in: --device {}", specs.first().map_or("", String::as_str)))
}

/// As the bus matches, but for subsystem ids: a bundled device that is only of another make is still worth naming.
fn matches(row: &PciId, function: &Function) -> bool {
    let is = |wanted: u32, id: u16| wanted == PciId::ANY || wanted == u32::from(id);
    let (vendor, device) = function.id();
    is(row.vendor, vendor) && is(row.device, device) && (row.class ^ function.class_code()) & row.class_mask == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROW: PciId = PciId {
        vendor: PciId::ANY,
        device: PciId::ANY,
        subvendor: PciId::ANY,
        subdevice: PciId::ANY,
        class: 0,
        class_mask: 0,
    };

    #[test]
    fn row_matches_by_ids_and_by_class_under_its_mask() {
        let function = Function::new(0x1234, 0x11e8).class(0x01_08_02);
        let class = |class, class_mask| matches(&PciId { class, class_mask, ..ROW }, &function);
        assert!(class(0x01_08_00, 0xff_ff_00) && !class(0x01_08_00, 0xff_ff_ff));
        assert!(matches(&PciId { vendor: 0x1234, ..ROW }, &function));
        assert!(!matches(&PciId { vendor: 0x1234, device: 1, ..ROW }, &function));
    }
}
