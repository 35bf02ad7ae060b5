//! A driver that accesses a BAR without a check, at an offset that the device said: right by luck only.

use kernel::{device::Core, io::Io, pci, prelude::*};

struct Beyond;

kernel::pci_device_table!(
    TABLE,
    <Beyond as pci::Driver>::IdInfo,
    [(pci::DeviceId::from_id(pci::Vendor::REDHAT, 0x5), ())]
);

impl pci::Driver for Beyond {
    type IdInfo = ();
    type Data<'bound> = Self;

    const ID_TABLE: pci::IdTable<Self::IdInfo> = &TABLE;

    fn probe<'bound>(
        device: &'bound pci::Device<Core<'_>>,
        _row: Option<&'bound Self::IdInfo>,
    ) -> impl PinInit<Self, Error> + 'bound {
        device.enable_device_mem()?;
        let bar = device.iomap_region_sized::<0x1000>(0, c"beyond")?;
        bar.write8(0, 0x0);
        let offset = bar.read32(0x4) as usize;
        let data = bar.read8(0x8);
        bar.write8(data, offset);
        Ok(Self)
    }
}

kernel::module_pci_driver! {
    type: Beyond,
    name: "beyond",
    authors: ["Bringup"],
    description: "Writes where the device says",
    license: "GPL",
}
