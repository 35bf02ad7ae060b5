//! A driver for QEMU's educational device with things in it that can be removed: each comment says what notices.

use kernel::{device::Core, io::Io, pci, prelude::*};

struct Removable;

kernel::pci_device_table!(
    TABLE,
    <Removable as pci::Driver>::IdInfo,
    [(pci::DeviceId::from_class(0x00ff00, 0xffffff), ())]
);

/// Stops at the first zero.
fn first(values: &[u32]) -> Option<u32> {
    // The compiler.
    values.iter().copied().max()?;
    values.first().copied()
}

/// Nothing: it is not called.
fn never(value: u32) -> Result {
    if value == 0 {
        return Err(EINVAL);
    }
    Ok(())
}

impl pci::Driver for Removable {
    type IdInfo = ();
    type Data<'bound> = pci::Bar<'bound, 0x100>;
    const ID_TABLE: pci::IdTable<Self::IdInfo> = &TABLE;

    fn probe<'bound>(
        pdev: &'bound pci::Device<Core<'_>>,
        _info: Option<&'bound Self::IdInfo>,
    ) -> impl PinInit<Self::Data<'bound>, Error> + 'bound {
        pdev.enable_device_mem()?;
        let bar = pdev.iomap_region_sized::<0x100>(0, c"removable")?;
        // The check below.
        bar.write32(1, 0x4);
        // Nobody: the device is as it should be.
        if bar.read32(0x4) != !1 {
            return Err(EIO);
        }
        // Nobody: it is written once more.
        bar.write32(3, 0x4);
        bar.write32(3, 0x4);
        let register = bar.read32(0x0) as usize;
        // The access behind it, which fails.
        if register >= 0x100 {
            return Ok(bar);
        }
        bar.try_read32(register)?;
        if first(&[1]).is_none() {
            never(0)?;
        }
        Ok(bar)
    }
}

kernel::module_pci_driver! {
    type: Removable,
    name: "removable",
    authors: ["Bringup"],
    description: "Has things in it that can be removed",
    license: "GPL",
}
