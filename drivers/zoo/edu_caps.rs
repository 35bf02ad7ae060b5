// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 OR MIT

//! Counts the capabilities of a PCI function, by a walk through the list in configuration space, and reads those of vendors.

use kernel::{device::Core, io::Io, pci, prelude::*};

/// Offsets in configuration space.
const STATUS: usize = 0x06;
const POINTER: usize = 0x34;

/// A bit of the status: there is a list.
const HAS_CAPABILITIES: u16 = 1 << 4;

/// Capabilities lie behind the header, on multiples of four: there cannot be more.
const FIRST: usize = 0x40;
const MOST: usize = (256 - FIRST) / 4;

/// A vendor's capability has its length in its third byte.
const VENDOR_SPECIFIC: u8 = 0x09;

/// What is kept of a vendor's capability.
const KEPT: usize = 16;

kernel::module_pci_driver! {
    type: Driver,
    name: "edu_caps",
    authors: ["The Bringup developers"],
    description: "Counts capabilities",
    license: "GPL v2",
}

/// What was found.
struct Found {
    capabilities: usize,
    vendor: KVec<u8>,
}

fn walk(pdev: &pci::Device<Core<'_>>) -> Result<Found> {
    let config = pdev.config_space();
    let mut found = Found {
        capabilities: 0,
        vendor: KVec::new(),
    };
    if config.read16(STATUS) & HAS_CAPABILITIES == 0 {
        return Ok(found);
    }
    let mut at = usize::from(config.read8(POINTER) & 0xfc);
    // A list may lead back to itself.
    while at >= FIRST && found.capabilities < MOST {
        found.capabilities += 1;
        if config.try_read8(at)? == VENDOR_SPECIFIC {
            let len = usize::from(config.try_read8(at + 2)?);
            let mut bytes = [0; KEPT];
            for (offset, byte) in bytes.iter_mut().enumerate().take(len.min(KEPT)) {
                *byte = config.try_read8(at + offset)?;
            }
            found
                .vendor
                .extend_from_slice(&bytes[..len.min(KEPT)], GFP_KERNEL)?;
        }
        at = usize::from(config.try_read8(at + 1)? & 0xfc);
    }
    Ok(found)
}

struct Driver;

kernel::pci_device_table!(
    TABLE,
    <Driver as pci::Driver>::IdInfo,
    [
        (pci::DeviceId::from_class(0x00ff00, 0xffffff), ()),
        (
            pci::DeviceId::from_id(pci::Vendor::REDHAT_QUMRANET, 0x1044),
            ()
        ),
    ]
);

impl pci::Driver for Driver {
    type IdInfo = ();
    type Data<'bound> = Found;

    const ID_TABLE: pci::IdTable<Self::IdInfo> = &TABLE;

    fn probe<'bound>(
        pdev: &'bound pci::Device<Core<'_>>,
        _info: Option<&'bound Self::IdInfo>,
    ) -> impl PinInit<Self::Data<'bound>, Error> + 'bound {
        let found = walk(pdev)?;
        let (capabilities, bytes) = (found.capabilities, found.vendor.len());
        dev_info!(
            pdev,
            "{capabilities} capabilities, {bytes} bytes of vendors'\n"
        );
        Ok(found)
    }
}
