//! A driver that binds to QEMU's PCI test device and says so.

use kernel::{device::Core, pci, prelude::*};

struct Binds;

kernel::pci_device_table!(
    TABLE,
    <Binds as pci::Driver>::IdInfo,
    [(pci::DeviceId::from_id(pci::Vendor::REDHAT, 0x5), ())]
);

impl pci::Driver for Binds {
    type IdInfo = ();
    type Data<'bound> = Self;

    const ID_TABLE: pci::IdTable<Self::IdInfo> = &TABLE;

    fn probe<'bound>(
        device: &'bound pci::Device<Core<'_>>,
        _row: Option<&'bound Self::IdInfo>,
    ) -> impl PinInit<Self, Error> + 'bound {
        dev_info!(device, "mine\n");
        Ok(Self)
    }
}

kernel::module_pci_driver! {
    type: Binds,
    name: "binds",
    authors: ["Bringup"],
    description: "Binds to the PCI test device",
    license: "GPL",
}
