// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 OR MIT
//! A first driver: binds to QEMU's `pci-testdev` and looks at it.

use kernel::{device::Core, io::Io, pci, prelude::*};

kernel::module_pci_driver! {
    type: First,
    name: "first",
    authors: ["You"],
    description: "A first driver",
    license: "GPL v2",
}

struct First;

kernel::pci_device_table!(
    TABLE,
    <First as pci::Driver>::IdInfo,
    [(pci::DeviceId::from_id(pci::Vendor::REDHAT, 0x5), ())]
);

impl pci::Driver for First {
    type IdInfo = ();
    type Data<'bound> = pci::Bar<'bound, 0x20>;
    const ID_TABLE: pci::IdTable<Self::IdInfo> = &TABLE;

    fn probe<'bound>(
        pdev: &'bound pci::Device<Core<'_>>,
        _info: Option<&'bound Self::IdInfo>,
    ) -> impl PinInit<Self::Data<'bound>, Error> + 'bound {
        pdev.enable_device_mem()?;
        let bar = pdev.iomap_region_sized::<0x20>(0, c"first")?;
        bar.write8(0, 0x0);
        dev_info!(pdev, "test 0 writes at offset {:#x}\n", bar.read32(0x4));
        Ok(bar)
    }
}
