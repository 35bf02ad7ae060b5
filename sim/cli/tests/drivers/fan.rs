//! A driver for a platform device, which tells what firmware says about it.

use kernel::{acpi, device::Core, of, platform, prelude::*};

struct Fan;

kernel::acpi_device_table!(ACPI_IDS, <Fan as platform::Driver>::IdInfo, [(acpi::DeviceId::new(c"ACME0001"), ())]);
kernel::of_device_table!(OF_IDS, <Fan as platform::Driver>::IdInfo, [(of::DeviceId::new(c"acme,fan"), ())]);

impl platform::Driver for Fan {
    type IdInfo = ();
    type Data<'bound> = Self;

    const ACPI_ID_TABLE: Option<acpi::IdTable<Self::IdInfo>> = Some(&ACPI_IDS);
    const OF_ID_TABLE: Option<of::IdTable<Self::IdInfo>> = Some(&OF_IDS);

    fn probe<'bound>(
        device: &'bound platform::Device<Core<'_>>,
        _row: Option<&'bound Self::IdInfo>,
    ) -> impl PinInit<Self, Error> + 'bound {
        let dev = device.as_ref();
        let blades = dev.fwnode().ok_or(ENOENT)?.property_read::<u32>(c"blades").required_by(dev)?;
        dev_info!(device, "{} blades\n", blades);
        Ok(Self)
    }
}

kernel::module_platform_driver! {
    type: Fan,
    name: "fan",
    authors: ["Bringup"],
    description: "Turns",
    license: "GPL",
}
