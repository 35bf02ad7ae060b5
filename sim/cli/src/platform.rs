//! What became of the platform devices of a machine, as its trace tells.

use bringup_bench::Bench;
use bringup_bench::rt::platform::{self, Firmware, PlatformDevice, Property};
use bringup_core::trace::{Event, Record};

use crate::report::DeviceReport;

/// The platform devices of a machine.
pub(crate) struct Platform(Vec<PlatformDevice>);

impl Platform {
    /// Those of the machine that runs.
    pub(crate) fn new(_bench: &Bench) -> Self {
        Self(platform::devices().into_iter().map(|id| PlatformDevice::clone(&platform::description(id))).collect())
    }

    /// How they are now.
    pub(crate) fn devices(&self, bench: &Bench) -> Vec<DeviceReport> {
        bench.with_bus(|bus| {
            let records = bus.fabric.trace.records();
            self.0
                .iter()
                .map(|device| DeviceReport {
                    name: device.name.clone(),
                    id: id(device),
                    address: format!("{}{}", device.above, device.node.name),
                    driver: driver(&device.name, records),
                    probe_error: None,
                })
                .collect()
        })
    }

    /// Drivers that refused one of them: driver, device, negative errno.
    pub(crate) fn errors(&self, records: &[Record]) -> Vec<(String, String, i32)> {
        let refused = records.iter().filter_map(|record| match &record.event {
            Event::Probe { driver, device, result } if *result != 0 => Some((driver.clone(), device.clone(), *result)),
            _ => None,
        });
        refused.filter(|(_, device, _)| self.0.iter().any(|ours| ours.name == *device)).collect()
    }
}

/// The driver that has the device now.
fn driver(name: &str, records: &[Record]) -> Option<String> {
    records.iter().fold(None, |bound, record| match &record.event {
        Event::Probe { driver, device, result: 0 } if device == name => Some(driver.clone()),
        Event::Unbind { device, .. } if device == name => None,
        _ => bound,
    })
}

/// By what drivers know it.
fn id(device: &PlatformDevice) -> String {
    match &device.firmware {
        Firmware::Acpi(hid) => format!("acpi:{hid}"),
        Firmware::DeviceTree => {
            let compatible = device.node.properties.iter().find_map(|(name, value)| match value {
                Property::Texts(texts) if name == "compatible" => texts.first(),
                _ => None,
            });
            format!("of:{}", compatible.map_or("", String::as_str))
        }
        Firmware::None => "none".into(),
    }
}
