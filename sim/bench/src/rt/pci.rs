//! PCI for drivers: registration and binding, configuration space, regions and mapped BARs.

use std::any::Any;
use std::panic::Location;
use std::rc::Rc;

use bringup_core::pci::{BarKind, command, offset};
use bringup_core::trace::Event;
use bringup_core::{Coverage, DeviceId, Place, Seen};

use super::errno::{EBUSY, EINVAL, EIO, ENODEV, ENOMEM};
use crate::heard::Origin;
use crate::ledger::{Kind, LedgerId};
use crate::machine::{Binding, Machine, with};
use crate::rules;

/// One row of a driver's id table (`struct pci_device_id`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PciId {
    /// Vendor, or [`PciId::ANY`].
    pub vendor: u32,
    /// Device, or [`PciId::ANY`].
    pub device: u32,
    /// Subsystem vendor, or [`PciId::ANY`].
    pub subvendor: u32,
    /// Subsystem, or [`PciId::ANY`].
    pub subdevice: u32,
    /// Class, subclass and programming interface, under the mask.
    pub class: u32,
    /// Which bits of the class count.
    pub class_mask: u32,
}

impl PciId {
    /// Matches anything (`PCI_ANY_ID`).
    pub const ANY: u32 = u32::MAX;
}

impl std::fmt::Display for PciId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.vendor, self.device) {
            (Self::ANY, Self::ANY) => write!(f, "class {:06x}/{:06x}", self.class, self.class_mask),
            (vendor, Self::ANY) => write!(f, "vendor {vendor:04x} class {:06x}/{:06x}", self.class, self.class_mask),
            (vendor, device) => write!(f, "{vendor:04x}:{device:04x}"),
        }
    }
}

/// A PCI driver, as the bus layer of the kernel crate hands it to the machine.
pub trait PciDriver {
    /// Its name.
    fn name(&self) -> &'static str;

    /// Its id table.
    fn ids(&self) -> Vec<PciId>;

    /// Binds to a device that matched row `row`; negative errno. After an error everything must be as before.
    ///
    /// # Errors
    /// The driver's.
    fn probe(&self, device: DeviceId, row: usize) -> Result<(), i32>;

    /// Lets go of a device: everything that unbinding does in Linux, in its order.
    fn remove(&self, device: DeviceId);
}

/// A BAR that is, or was, mapped.
#[derive(Clone, Debug)]
pub(crate) struct IoMap {
    pub(crate) device: DeviceId,
    pub(crate) bar: u8,
    pub(crate) len: u64,
    pub(crate) live: bool,
    pub(crate) place: Place,
    ledger: LedgerId,
}

/// Addresses of mapped BARs begin here. They are numbers, not memory: each mapping has [`MAP_SHIFT`] bits of them.
pub(crate) const MAP_BASE: usize = 0x4000_0000_0000_0000;
pub(crate) const MAP_SHIFT: u32 = 40;

/// Registers a driver and binds it to every device that matches and has no driver yet, in the order of the bus.
///
/// # Errors
/// `EBUSY` when a driver of this name is registered.
#[track_caller]
pub fn register_driver(driver: Rc<dyn PciDriver>) -> Result<u32, i32> {
    register_driver_at(driver, Location::caller())
}

/// As [`register_driver`], for a place that is known.
///
/// # Errors
/// As there.
pub fn register_driver_at(driver: Rc<dyn PciDriver>, place: Place) -> Result<u32, i32> {
    let name = driver.name();
    let id = with(|m| {
        if m.drivers.values().any(|known| known.name() == name) {
            return Err(EBUSY);
        }
        let id = m.id();
        m.drivers.insert(id, driver);
        let ledger = m.take(Kind::Driver, None, Some(place), (0, 0), name);
        m.driver_ledger.push((id, ledger));
        Ok(id)
    })?;
    let devices: Vec<DeviceId> = with(|m| m.bus.devices().collect());
    for device in devices {
        bind(id, device);
    }
    Ok(id)
}

/// Takes a driver back; first it lets go of its devices, the one bound last first (`driver_detach`).
pub fn unregister_driver(id: u32) {
    loop {
        let last = with(|m| {
            let bound = m.devices.iter().enumerate().filter_map(|(index, device)| {
                let binding = device.binding.as_ref()?;
                (binding.driver == id).then_some((binding.since, DeviceId(index as u16)))
            });
            bound.max().map(|(_, device)| device)
        });
        match last {
            Some(device) => unbind(device),
            None => break,
        };
    }
    let driver = with(|m| {
        if let Some(index) = m.driver_ledger.iter().position(|(driver, _)| *driver == id) {
            let (_, ledger) = m.driver_ledger.swap_remove(index);
            m.ledger.give_back(ledger);
        }
        m.drivers.remove(&id)
    });
    drop(driver);
}

fn matching_row(m: &mut Machine, ids: &[PciId], device: DeviceId) -> Option<usize> {
    let config = m.bus.port(device).config();
    let field = |value: u32, wanted: u32| wanted == PciId::ANY || wanted == value;
    let class = config.read(offset::REVISION, 4) >> 8;
    ids.iter().position(|id| {
        field(config.read(offset::VENDOR, 2), id.vendor)
            && field(config.read(offset::DEVICE, 2), id.device)
            && field(config.read(offset::SUBSYSTEM_VENDOR, 2), id.subvendor)
            && field(config.read(offset::SUBSYSTEM, 2), id.subdevice)
            && (class ^ id.class) & id.class_mask == 0
    })
}

/// Offers a device to a driver. `None` if it does not match or has a driver already.
pub fn bind(driver_id: u32, device: DeviceId) -> Option<Result<(), i32>> {
    let driver = with(|m| m.drivers.get(&driver_id).cloned())?;
    let ids = driver.ids();
    let row = with(|m| {
        if m.device(device).binding.is_some() || m.bus.is_removed(device) {
            return None;
        }
        let row = matching_row(m, &ids, device)?;
        m.bindings += 1;
        let since = m.bindings;
        m.device(device).was_bound = true;
        // Bound from here on: the driver's name stands in its messages while it probes.
        m.device(device).binding = Some(Binding { driver: driver_id, since, probing: true });
        m.in_binding = Some(Coverage::InterruptInProbe);
        Some(row)
    })?;
    let result = driver.probe(device, row);
    with(|m| {
        m.in_binding = None;
        let address = m.bus.address(device);
        let (name, code) = (driver.name(), result.err().unwrap_or(0));
        m.bus.show(device, None, if code == 0 { Seen::Bound } else { Seen::Unbound });
        m.event(|| Event::Probe { driver: name.into(), device: address.clone(), result: code });
        if let Some(binding) = &mut m.device(device).binding {
            binding.probing = false;
        }
        if let Err(code) = result {
            m.device(device).binding = None;
            m.probe_errors.push((name.to_owned(), device, code));
            m.bus.fabric.cover(Coverage::ProbeFailed);
            // ENODEV and ENXIO are how a driver says that the device is not for it after all.
            if code != ENODEV && code != super::errno::ENXIO {
                m.log_line(3, format!("{name} {address}: probe with driver {name} failed with error {code}"));
            }
            m.check_released(device, "after a failed probe");
            m.reset_binding(device);
        }
    });
    Some(result)
}

/// Lets a device's driver go of it; `false` if it has none.
pub fn unbind(device: DeviceId) -> bool {
    let Some(driver) = with(|m| {
        let id = m.device(device).binding.as_ref()?.driver;
        m.in_binding = Some(Coverage::InterruptInUnbind);
        m.drivers.get(&id).cloned()
    }) else {
        return false;
    };
    driver.remove(device);
    with(|m| {
        m.in_binding = None;
        let address = m.bus.address(device);
        m.bus.show(device, None, Seen::Unbound);
        m.event(|| Event::Unbind { driver: driver.name().into(), device: address });
        m.device(device).binding = None;
        m.check_released(device, "after unbind");
        m.reset_binding(device);
    });
    true
}

impl Machine {
    /// Checks that nothing of a device's driver is left.
    fn check_released(&mut self, device: DeviceId, when: &str) {
        // What the driver told the device last is still under way, and no fault of the driver's.
        self.bus.land_all();
        for entry in self.ledger.left(|entry| entry.device == Some(device) && entry.kind.belongs_to_binding()) {
            let name = self.device_name(device);
            let what = format!("{} of {name} is left {when}", entry.describe());
            self.report(bringup_core::Finding::new(entry.kind.rule(), what).at_place(entry.place).on_device(name));
        }
        let line = self.device(device).line;
        self.device(device).told_off = self.bus.intx(device);
        let told = line.is_some_and(|irq| self.irqs.descs.get(&irq).is_some_and(|desc| desc.disabled != 0));
        if self.bus.intx(device) && !told && !self.bus.fabric.is_faulted(device) {
            let name = self.device_name(device);
            let what = format!("{name} still asserts its interrupt {when}, and nobody listens");
            self.report(bringup_core::Finding::new(&rules::IRQ_UNHANDLED, what).on_device(name));
        }
    }

    /// What the driver core resets between two drivers.
    fn reset_binding(&mut self, device: DeviceId) {
        let state = self.device(device);
        state.dma.mask = super::dma::DEFAULT_MASK;
        state.dma.coherent_mask = super::dma::DEFAULT_MASK;
        state.line = None;
    }
}

/// Keeps the bus layer's object for a device (its `struct pci_dev`) as long as the machine lives.
pub fn set_device_object(device: DeviceId, object: Box<dyn Any>) {
    let old = with(|m| m.device(device).object.replace(object));
    drop(old);
}

/// Whether the bus layer has an object for this device; `f` sees it.
pub fn with_device_object<R>(device: DeviceId, f: impl FnOnce(&dyn Any) -> R) -> Option<R> {
    with(|m| m.device(device).object.as_deref().map(f))
}

/// A device's address as Linux writes it (`0000:00:03.0`).
#[must_use]
pub fn address(device: DeviceId) -> String {
    with(|m| m.bus.address(device))
}

/// What a device says that it is, as it was read when the bus was enumerated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Vendor id.
    pub vendor: u16,
    /// Device id.
    pub device: u16,
    /// Subsystem vendor id.
    pub subsystem_vendor: u16,
    /// Subsystem id.
    pub subsystem: u16,
    /// Class, subclass and programming interface.
    pub class: u32,
    /// Revision.
    pub revision: u8,
}

/// What a device is. No access: Linux keeps these from when it enumerated the bus.
#[must_use]
pub fn identity(device: DeviceId) -> Identity {
    with(|m| {
        let config = m.bus.port(device).config();
        let class = config.read(offset::REVISION, 4);
        Identity {
            vendor: config.read16(offset::VENDOR),
            device: config.read16(offset::DEVICE),
            subsystem_vendor: config.read16(offset::SUBSYSTEM_VENDOR),
            subsystem: config.read16(offset::SUBSYSTEM),
            class: class >> 8,
            revision: class as u8,
        }
    })
}

/// Bus, device and function number (`pci_dev_id`).
#[must_use]
pub fn requester_id(device: DeviceId) -> u16 {
    with(|m| m.bus.requester_id(device))
}

/// The name of the driver that a device is, or is being, bound to.
#[must_use]
pub fn driver_name(device: DeviceId) -> Option<&'static str> {
    with(|m| {
        let id = m.device(device).binding.as_ref()?.driver;
        m.drivers.get(&id).map(|driver| driver.name())
    })
}

/// Reads 1, 2 or 4 bytes of configuration space. A point.
#[track_caller]
pub fn config_read(device: DeviceId, offset: u16, width: u8) -> u32 {
    let place = Location::caller();
    let value = with(|m| {
        m.last_place = Some(place);
        let value = m.bus.config_read(device, offset, width);
        m.hear(Origin::Config { device, offset }, value.into(), place);
        value
    });
    super::point();
    value
}

/// Writes 1, 2 or 4 bytes of configuration space. A point.
#[track_caller]
pub fn config_write(device: DeviceId, offset: u16, width: u8, value: u32) {
    let place = Location::caller();
    with(|m| {
        m.last_place = Some(place);
        m.bus.config_write(device, offset, width, value);
        m.follow_watches();
    });
    super::point();
}

/// The size of a device's configuration space: 256 or 4096 bytes.
#[must_use]
pub fn config_size(device: DeviceId) -> usize {
    with(|m| m.bus.port(device).config().size())
}

/// Start and length of a BAR, and whether it is memory; `None` if the device does not have it.
#[must_use]
pub fn bar(device: DeviceId, index: u32) -> Option<(u64, u64, bool)> {
    let index = u8::try_from(index).ok()?;
    with(|m| m.bus.bar(device, index)).map(|(start, bar)| (start, bar.size, bar.kind != BarKind::Io))
}

/// Lets the device answer to memory space (`pci_enable_device_mem`).
pub fn enable_device_mem(device: DeviceId) {
    set_command(device, command::MEMORY);
}

/// As [`enable_device_mem`], for whoever copes with its failure.
///
/// # Errors
/// `EIO` when the machine decides that there is no power.
#[track_caller]
pub fn try_enable_device_mem(device: DeviceId) -> Result<(), i32> {
    let place = Location::caller();
    if with(|m| m.refuses("pci_enable_device_mem", place)) {
        return Err(EIO);
    }
    enable_device_mem(device);
    Ok(())
}

/// Lets the device start DMA and send messages (`pci_set_master`).
pub fn set_master(device: DeviceId) {
    set_command(device, command::BUS_MASTER);
}

fn set_command(device: DeviceId, bit: u16) {
    with(|m| {
        let old = m.bus.config_read(device, offset::COMMAND, 2);
        if old & u32::from(bit) == 0 {
            m.bus.config_write(device, offset::COMMAND, 2, old | u32::from(bit));
        }
    });
    super::point();
}

/// A region that was requested.
#[derive(Debug)]
pub struct Region {
    device: DeviceId,
    bar: u8,
    ledger: LedgerId,
}

/// Requests a BAR for the driver alone (`pci_request_region`).
///
/// # Errors
/// `EINVAL` for a BAR that the device does not have, `EBUSY` when it is taken.
#[track_caller]
pub fn request_region(device: DeviceId, index: u32, name: &'static str) -> Result<Region, i32> {
    let place = Location::caller();
    if bar(device, index).is_none() {
        return Err(EINVAL);
    }
    with(|m| {
        m.check_sleep("pci_request_region", place);
        if m.refuses("pci_request_region", place) {
            return Err(EBUSY);
        }
        let taken = &mut m.device(device).regions[index as usize];
        if std::mem::replace(taken, true) {
            return Err(EBUSY);
        }
        let ledger = m.take(Kind::Region, Some(device), Some(place), (u64::from(index), 0), name);
        Ok(Region { device, bar: index as u8, ledger })
    })
}

/// Gives a region back (`pci_release_region`).
#[allow(clippy::needless_pass_by_value, reason = "a region is given back once: the value is used up")]
pub fn release_region(region: Region) {
    with(|m| {
        m.device(region.device).regions[usize::from(region.bar)] = false;
        m.ledger.give_back(region.ledger);
    });
}

/// Maps a whole BAR; returns its address for [`super::mmio_read`] and the length (`pci_iomap`).
///
/// # Errors
/// `EINVAL` for a BAR that the device does not have, `ENOMEM` when there is no room.
#[track_caller]
pub fn iomap(device: DeviceId, index: u32) -> Result<(usize, u64), i32> {
    let place = Location::caller();
    let (_, len, _) = bar(device, index).ok_or(EINVAL)?;
    with(|m| {
        let number = m.iomaps.len();
        if number >> 20 != 0 || len > 1 << MAP_SHIFT {
            return Err(ENOMEM);
        }
        m.check_sleep("pci_iomap", place);
        if m.refuses("pci_iomap", place) {
            return Err(ENOMEM);
        }
        let ledger = m.take(Kind::IoMap, Some(device), Some(place), (u64::from(index), 0), "");
        m.iomaps.push(IoMap { device, bar: index as u8, len, live: true, place, ledger });
        Ok((MAP_BASE + (number << MAP_SHIFT), len))
    })
}

/// Unmaps a BAR (`pci_iounmap`). Accesses from now on are findings.
pub fn iounmap(address: usize) {
    with(|m| {
        let Some(map) = m.iomaps.get_mut(address.wrapping_sub(MAP_BASE) >> MAP_SHIFT) else { return };
        map.live = false;
        let ledger = map.ledger;
        m.ledger.give_back(ledger);
    });
}
