//! The driver model's structures: devices, drivers, and the order of things when a driver leaves a device.

use super::phys_addr_t;
use crate::ffi::{c_int, c_void};
use crate::machine::{self, DeviceId, Place};
use crate::sync::Refcount;
use core::cell::{Cell, RefCell};
use core::panic::Location;
use core::ptr;
use std::ffi::CString;
use std::vec::Vec;

/// The buses that devices sit on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum bus_type {
    /// PCI.
    pci,
    /// Devices without hardware.
    faux,
    /// Parts of another device.
    auxiliary,
    /// No bus but a class: what misc devices are in the driver model.
    misc,
    /// Devices that cannot be found, but are told of by ACPI or a device tree.
    platform,
}

impl bus_type {
    /// The name that messages of unbound devices begin with.
    fn name(self) -> &'static str {
        match self {
            Self::pci => "pci",
            Self::faux => "faux",
            Self::auxiliary => "auxiliary",
            Self::misc => "misc",
            Self::platform => "platform",
        }
    }
}

/// The part of a driver that is the same on all buses.
#[derive(Default)]
pub struct device_driver {
    /// Its name.
    pub name: Cell<&'static str>,
    /// Called after `remove` and before the device's managed resources are released: drops the driver's data.
    pub post_unbind_rust: Cell<Option<unsafe fn(*mut device)>>,
    /// Where its registration was asked for.
    pub(crate) place: Cell<Option<Place>>,
}

impl device_driver {
    /// Where its registration was asked for: what findings about it point to.
    #[track_caller]
    pub(crate) fn place(&self) -> Place {
        self.place.get().unwrap_or(Location::caller())
    }
}

/// Something that is released when its device loses its driver.
#[derive(Clone, Copy)]
pub struct devres_node {
    /// Names the node and is what both functions get.
    pub data: *const c_void,
    /// Releases the resource.
    pub release: unsafe fn(*const c_void),
    /// Gives up the list's hold on the node, after `release`.
    pub free: unsafe fn(*const c_void),
}

/// A device.
///
/// Only pointers to it are passed around; all of it that changes is in cells.
pub struct device {
    refs: Refcount,
    /// Its name, which is its address on a bus that has addresses.
    pub name: CString,
    /// The bus it sits on.
    pub bus: bus_type,
    /// The device it is part of, counted as a reference; null without one.
    pub parent: *mut device,
    /// The device of the machine behind it, which is what can do DMA.
    pub machine: Option<DeviceId>,
    driver: Cell<*const device_driver>,
    drvdata: Cell<*mut c_void>,
    devres: RefCell<Vec<devres_node>>,
    release: unsafe fn(*mut device),
}

impl device {
    /// Makes a device with one reference, which is the caller's; `release` frees it after the last.
    ///
    /// # Safety
    ///
    /// `parent` must be null or a device, and `release` must free what the structure is embedded in.
    pub unsafe fn new(
        name: CString,
        bus: bus_type,
        parent: *mut device,
        machine: Option<DeviceId>,
        release: unsafe fn(*mut device),
    ) -> Self {
        if !parent.is_null() {
            // SAFETY: the caller says that it is a device.
            unsafe { get_device(parent) };
        }
        Self {
            refs: Refcount::new(1),
            name,
            bus,
            parent,
            machine,
            driver: Cell::new(ptr::null()),
            drvdata: Cell::new(ptr::null_mut()),
            devres: RefCell::default(),
            release,
        }
    }

    /// What its messages begin with: the name of its driver, or of its bus while it has none (`dev_driver_string`).
    pub fn driver_string(&self) -> &'static str {
        // SAFETY: a driver stays where it is until it has left its devices.
        unsafe { self.driver.get().as_ref() }.map_or(self.bus.name(), |driver| driver.name.get())
    }

    /// The driver that it is bound to, or being bound to; null without one.
    pub fn driver(&self) -> *const device_driver {
        self.driver.get()
    }

    /// The driver's data for the device (`dev_get_drvdata`).
    pub fn drvdata(&self) -> *mut c_void {
        self.drvdata.get()
    }

    /// Sets the driver's data for the device (`dev_set_drvdata`).
    pub fn set_drvdata(&self, data: *mut c_void) {
        self.drvdata.set(data);
    }

    /// Appends a managed resource.
    pub fn devres_add(&self, node: devres_node) {
        self.devres.borrow_mut().push(node);
    }

    /// Takes a managed resource off the list without releasing it. `false` when it is not there, or being released.
    pub fn devres_remove(&self, data: *const c_void) -> bool {
        let mut nodes = self.devres.borrow_mut();
        let found = nodes.iter().rposition(|node| node.data == data);
        found.map(|index| nodes.remove(index)).is_some()
    }

    /// Releases all managed resources, the last one first.
    fn devres_release_all(&self) {
        let mut doomed = self.devres.take();
        while let Some(node) = doomed.pop() {
            // SAFETY: whoever added the node says that its functions may be called once each, in this order.
            unsafe {
                (node.release)(node.data);
                (node.free)(node.data);
            }
        }
    }
}

impl Drop for device {
    fn drop(&mut self) {
        if !self.parent.is_null() {
            // SAFETY: the reference was taken in `new`.
            unsafe { put_device(self.parent) };
        }
    }
}

/// Counts one reference more.
///
/// # Safety
///
/// It must be a device to which the caller has a reference.
pub unsafe fn get_device(dev: *mut device) {
    // SAFETY: the caller's contract.
    unsafe { &*dev }.refs.inc();
}

/// Counts one reference less, and frees the device with the last.
///
/// # Safety
///
/// It must be a device, and the reference the caller's.
pub unsafe fn put_device(dev: *mut device) {
    // SAFETY: the caller's contract. There are no references to the structure any more when the last one is gone.
    unsafe {
        if (*dev).refs.dec_and_test() {
            let release = (*dev).release;
            release(dev);
        }
    }
}

/// Binds a device to a driver (`really_probe`): `probe` is the bus's. After an error nothing of the driver is left.
///
/// # Safety
///
/// Both must be valid, the driver until it is unbound from the device.
pub unsafe fn bind_driver(dev: *mut device, driver: *const device_driver, probe: impl FnOnce() -> c_int) -> c_int {
    // SAFETY: the caller's contract.
    let this = unsafe { &*dev };
    this.driver.set(driver);
    let result = probe();
    if result != 0 {
        // SAFETY: the caller's contract.
        unsafe { unbind_cleanup(dev) };
    }
    result
}

/// Takes a device from its driver (`device_release_driver`): `remove` is the bus's.
///
/// # Safety
///
/// It must be a device that is bound by [`bind_driver`].
pub unsafe fn release_driver(dev: *mut device, remove: impl FnOnce()) {
    remove();
    // SAFETY: the caller's contract.
    unsafe { unbind_cleanup(dev) };
}

/// What is done last of all (`device_unbind_cleanup`): the driver's data goes first, then the managed resources.
///
/// # Safety
///
/// As for [`release_driver`].
unsafe fn unbind_cleanup(dev: *mut device) {
    // SAFETY: the caller's contract; the driver is valid until it is unset below.
    let (this, driver) = unsafe { (&*dev, &*(*dev).driver.get()) };
    if let Some(post_unbind) = driver.post_unbind_rust.get() {
        // SAFETY: the device is valid, and its data is of the driver that set the callback.
        unsafe { post_unbind(dev) };
    }
    this.devres_release_all();
    this.driver.set(ptr::null());
    this.drvdata.set(ptr::null_mut());
}

/// What one row of a PCI driver's table matches, see [`crate::pci::DeviceId`].
#[derive(Clone, Copy)]
#[repr(C)]
pub struct pci_device_id {
    /// Vendor.
    pub vendor: u32,
    /// Device.
    pub device: u32,
    /// Subsystem vendor.
    pub subvendor: u32,
    /// Subsystem.
    pub subdevice: u32,
    /// Class, subclass and programming interface.
    pub class: u32,
    /// Which bits of the class count.
    pub class_mask: u32,
    /// Room for a pointer of the driver's.
    pub driver_data: usize,
    /// Not zero for rows that only count for devices that are given to the driver by hand.
    pub override_only: u32,
}

/// A PCI function.
#[repr(C)]
pub struct pci_dev {
    /// The device that it is.
    pub dev: device,
    /// Its name to the machine.
    pub id: DeviceId,
    /// The identity that it had when it was found.
    pub vendor: u16,
    /// Its device id.
    pub device: u16,
    /// The vendor of the board.
    pub subsystem_vendor: u16,
    /// The board.
    pub subsystem_device: u16,
    /// Class, subclass and programming interface.
    pub class: u32,
    /// Its revision.
    pub revision: u8,
    /// The size of its configuration space in bytes.
    pub cfg_size: usize,
}

/// How many resources a PCI function has room for: BARs, ROM, virtual functions' BARs and bridge windows.
pub const PCI_NUM_RESOURCES: u32 = 17;

/// Takes a device on, for the row that matched; 0 or a negative error number.
pub type pci_probe = unsafe fn(*mut pci_dev, *const pci_device_id) -> c_int;

/// A PCI driver. It must not move while it is registered.
pub struct pci_driver {
    /// The part that is the same on all buses.
    pub driver: device_driver,
    /// What it drives, up to a row of zeroes.
    pub id_table: Cell<*const pci_device_id>,
    /// Takes a device on; 0 or a negative error number.
    pub probe: Cell<Option<pci_probe>>,
    /// Is about to lose a device.
    pub remove: Cell<Option<unsafe fn(*mut pci_dev)>>,
    /// Its registration with the machine.
    pub registration: Cell<Option<u32>>,
}

impl Default for pci_driver {
    fn default() -> Self {
        Self {
            driver: device_driver::default(),
            id_table: Cell::new(ptr::null()),
            probe: Cell::default(),
            remove: Cell::default(),
            registration: Cell::default(),
        }
    }
}

/// A device without hardware.
#[repr(C)]
pub struct faux_device {
    /// The device that it is.
    pub dev: device,
    /// What the module owes the machine for it.
    pub ledger: machine::LedgerId,
}

/// Which way data goes in a DMA mapping, see [`crate::dma::DataDirection`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct dma_data_direction(pub u32);

impl dma_data_direction {
    /// Both ways.
    pub const DMA_BIDIRECTIONAL: Self = Self(0);
    /// To the device.
    pub const DMA_TO_DEVICE: Self = Self(1);
    /// From the device.
    pub const DMA_FROM_DEVICE: Self = Self(2);
    /// Neither: for debugging.
    pub const DMA_NONE: Self = Self(3);
}

/// One piece of a scatter-gather table, see [`crate::scatterlist::SGEntry`].
#[derive(Clone, Copy, Default)]
pub struct scatterlist {
    /// Where the device finds it.
    pub dma_address: super::dma_addr_t,
    /// Its length in bytes.
    pub dma_length: phys_addr_t,
}

/// A scatter-gather table. Its pieces lie side by side.
#[repr(C)]
pub struct sg_table {
    /// The first piece.
    pub sgl: *mut scatterlist,
    /// How many pieces the device sees.
    pub nents: u32,
    /// How many pieces there is room for.
    pub orig_nents: u32,
}
