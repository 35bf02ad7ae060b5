//! Which devices a driver wants: for the user whose driver met none of those that are plugged in.

use bringup_bench::Bench;
use bringup_bench::rt::pci::PciId;
use bringup_core::Function;
use bringup_devices::registry;

use crate::report::DeviceReport;

/// If drivers are registered and none has a device: what they want, and which devices of ours are that.
pub(crate) fn wanted(bench: &Bench, devices: &[DeviceReport]) -> Option<String> {
    let registered = bench.registered_ids();
    if registered.is_empty() || devices.iter().any(|device| device.driver.is_some()) {
        return None;
    }
    let rows: Vec<&PciId> = registered.iter().flat_map(|(_, rows)| rows).collect();
    let wanted: Vec<String> = rows.iter().map(ToString::to_string).collect();
    let ours: Vec<&str> = registry::kinds()
        .iter()
        .map(|kind| kind.name)
        .filter(|name| {
            registry::parse(name).is_ok_and(|(_, device)| rows.iter().any(|row| matches(row, &device.function())))
        })
        .collect();
    let ours = if ours.is_empty() {
        "no bundled device is one".into()
    } else {
        format!("bundled: --device {}", ours.join(", "))
    };
    Some(format!("found no device: it wants {}, and none that is plugged in is one; {ours}", wanted.join(", ")))
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
