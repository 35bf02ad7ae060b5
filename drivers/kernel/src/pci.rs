//! PCI: drivers for PCI functions, and what a driver can do with one.
//!
//! A driver implements [`Driver`], lists what it drives with [`pci_device_table!`](crate::pci_device_table), and is made
//! a module with [`module_pci_driver!`](crate::module_pci_driver).

use crate::bindings::{self, bus_type};
use crate::container_of;
use crate::device::{self, AsBusDevice, Core, CoreInternal};
use crate::device_id::{RawDeviceId, RawDeviceIdIndex};
use crate::driver::{DriverLayout, RegistrationOps};
use crate::error::{code::EINVAL, from_result, to_result, Error, Result};
use crate::ffi::c_int;
use crate::machine::pci::{self as machine_pci, PciId};
use crate::machine::DeviceId as MachineDevice;
use crate::module::ThisModule;
use crate::str::CStr;
use crate::sync::aref::AlwaysRefCounted;
use crate::types::Opaque;
use core::marker::PhantomData;
use core::mem::offset_of;
use core::num::NonZero;
use core::pin::Pin;
use core::ptr::NonNull;
use pin_init::PinInit;
use std::boxed::Box;
use std::ffi::CString;
use std::rc::Rc;
use std::vec::Vec;

mod id;
mod io;
mod irq;

pub use self::id::{Class, ClassMask, Vendor};
pub use self::io::{Bar, ConfigSpace, ConfigSpaceSize, DevresBar, Extended, Normal};
pub use self::irq::{IrqType, IrqTypes, IrqVector, IrqVectorRegistration};

/// A driver for PCI functions.
///
/// # Examples
///
/// ```
/// use kernel::{device::Core, pci, prelude::*};
///
/// struct Blinker;
///
/// kernel::pci_device_table!(IDS, u32, [(pci::DeviceId::from_id(pci::Vendor::REDHAT, 0x5), 3)]);
///
/// impl pci::Driver for Blinker {
///     type IdInfo = u32;
///     type Data<'bound> = u32;
///
///     const ID_TABLE: pci::IdTable<u32> = &IDS;
///
///     fn probe<'bound>(
///         pdev: &'bound pci::Device<Core<'_>>,
///         lamps: Option<&'bound u32>,
///     ) -> impl PinInit<u32, Error> + 'bound {
///         dev_info!(pdev, "so many lamps: {}\n", lamps.copied().unwrap_or(0));
///         Ok(*lamps.ok_or(ENODEV)?)
///     }
/// }
/// ```
pub trait Driver {
    /// What the driver's table says about each row.
    type IdInfo: 'static;

    /// The driver's data for one device, which may borrow the device.
    type Data<'bound>: Send + 'bound;

    /// What the driver drives.
    const ID_TABLE: IdTable<Self::IdInfo>;

    /// Takes a device on: returns what initialises the data for it.
    ///
    /// After an error the device has no driver. `id_info` is what the table says in the row that matched; devices that
    /// are given to the driver by hand may have none.
    fn probe<'bound>(
        dev: &'bound Device<Core<'_>>,
        id_info: Option<&'bound Self::IdInfo>,
    ) -> impl PinInit<Self::Data<'bound>, Error> + 'bound;

    /// Is about to lose a device, whose data is dropped next: the place to quiet the hardware.
    fn unbind<'bound>(dev: &'bound Device<Core<'_>>, this: Pin<&Self::Data<'bound>>) {
        let _ = (dev, this);
    }
}

/// What [`driver::Registration`](crate::driver::Registration) is given for a PCI driver.
pub struct Adapter<T: Driver>(T);

// SAFETY: the field is where the offset says, and the data is what `set_drvdata` gets in `probe`.
unsafe impl<T: Driver> DriverLayout for Adapter<T> {
    type DriverType = bindings::pci_driver;
    type DriverData<'bound> = T::Data<'bound>;

    const DEVICE_DRIVER_OFFSET: usize = offset_of!(bindings::pci_driver, driver);
}

// SAFETY: the machine knows the driver from a successful registration on.
unsafe impl<T: Driver> RegistrationOps for Adapter<T> {
    unsafe fn register(reg: &Opaque<Self::DriverType>, name: &'static CStr, _module: &'static ThisModule) -> Result {
        // SAFETY: it was initialised, and its changing parts are in cells.
        let driver = unsafe { &*reg.get() };
        let name = name.to_str().map_err(|_| EINVAL)?;
        driver.driver.name.set(name);
        driver.id_table.set(T::ID_TABLE.as_ptr());
        driver.probe.set(Some(Self::probe_callback));
        driver.remove.set(Some(Self::remove_callback));
        let binder = Binder { name, driver: reg.get() };
        let number =
            machine_pci::register_driver_at(Rc::new(binder), driver.driver.place()).map_err(Error::from_errno)?;
        driver.registration.set(Some(number));
        Ok(())
    }

    unsafe fn unregister(reg: &Opaque<Self::DriverType>) {
        // SAFETY: as above.
        let driver = unsafe { &*reg.get() };
        if let Some(number) = driver.registration.take() {
            machine_pci::unregister_driver(number);
        }
    }
}

impl<T: Driver> Adapter<T> {
    /// # Safety
    ///
    /// The device must be bound by nobody else meanwhile, and the row one of the driver's table.
    unsafe fn probe_callback(dev: *mut bindings::pci_dev, row: *const bindings::pci_device_id) -> c_int {
        // SAFETY: the caller's contract: a callback of the bus is running.
        let dev = unsafe { &*dev.cast::<Device<CoreInternal<'_>>>() };
        // SAFETY: the caller's contract: the table was made with this type.
        let info = unsafe { (*row.cast::<DeviceId>()).info_unchecked_opt::<T::IdInfo>() };
        from_result(|| dev.as_ref().set_drvdata(T::probe(dev, info)).map(|()| 0))
    }

    /// # Safety
    ///
    /// The device must be bound to the driver.
    unsafe fn remove_callback(dev: *mut bindings::pci_dev) {
        // SAFETY: the caller's contract: a callback of the bus is running.
        let dev = unsafe { &*dev.cast::<Device<CoreInternal<'_>>>() };
        // SAFETY: `probe` set it, or the device would not be bound; it is dropped only after this.
        let data = unsafe { dev.as_ref().drvdata_borrow::<T::Data<'_>>() };
        T::unbind(dev, data);
    }
}

/// What the machine knows a registered driver as.
struct Binder {
    name: &'static str,
    /// Valid while the driver is registered, which is as long as the machine has this.
    driver: *const bindings::pci_driver,
}

impl Binder {
    fn driver(&self) -> &bindings::pci_driver {
        // SAFETY: the structure is pinned, and the registration ends before it does.
        unsafe { &*self.driver }
    }

    /// The rows of the driver's table.
    fn rows(&self) -> impl Iterator<Item = *const bindings::pci_device_id> {
        let first = self.driver().id_table.get();
        (0..).map(move |index| first.wrapping_add(index)).take_while(|row| {
            // SAFETY: no row after the one of zeroes is looked at. Field by field, as a row may hold a pointer.
            unsafe { (**row).vendor != 0 || (**row).subvendor != 0 || (**row).class_mask != 0 }
        })
    }
}

impl machine_pci::PciDriver for Binder {
    fn name(&self) -> &'static str {
        self.name
    }

    fn ids(&self) -> Vec<PciId> {
        let id = |row: *const bindings::pci_device_id| {
            // SAFETY: `rows` gives rows of the table.
            let (row, class) = unsafe { (&*row, (*row).class) };
            PciId {
                vendor: row.vendor,
                device: row.device,
                subvendor: row.subvendor,
                subdevice: row.subdevice,
                class,
                class_mask: row.class_mask,
            }
        };
        self.rows().map(id).collect()
    }

    fn probe(&self, device: MachineDevice, row: usize) -> core::result::Result<(), i32> {
        let driver = self.driver();
        let (Some(probe), Some(row)) = (driver.probe.get(), self.rows().nth(row)) else {
            return Err(EINVAL.to_errno());
        };
        let pdev = find(device);
        // SAFETY: `find` gives a device, to which the driver has a reference while it is bound.
        let result = unsafe {
            bindings::get_device(pdev.cast());
            bindings::bind_driver(pdev.cast(), &driver.driver, || probe(pdev, row))
        };
        to_result(result).map_err(|error| {
            // SAFETY: the reference from above.
            unsafe { bindings::put_device(pdev.cast()) };
            error.to_errno()
        })
    }

    fn remove(&self, device: MachineDevice) {
        let Some(remove) = self.driver().remove.get() else { return };
        let pdev = find(device);
        // SAFETY: the device was bound by `probe`, which took the reference.
        unsafe {
            bindings::release_driver(pdev.cast(), || remove(pdev));
            bindings::put_device(pdev.cast());
        }
    }
}

/// The machine's reference to the object of a PCI function.
struct Found(NonNull<bindings::pci_dev>);

impl Drop for Found {
    fn drop(&mut self) {
        // SAFETY: the reference is owned.
        unsafe { bindings::put_device(self.0.as_ptr().cast()) };
    }
}

/// Returns the object of a PCI function, which stays as long as the machine and as long as there are references.
fn find(device: MachineDevice) -> *mut bindings::pci_dev {
    /// # Safety
    ///
    /// It must be a device in a `struct pci_dev` that `find` made, to which there are no references any more.
    unsafe fn release(dev: *mut bindings::device) {
        // SAFETY: the caller's contract; the device is the first field.
        drop(unsafe { Box::from_raw(dev.cast::<bindings::pci_dev>()) });
    }

    let known = machine_pci::with_device_object(device, |object| object.downcast_ref::<Found>().map(|found| found.0));
    if let Some(found) = known.flatten() {
        return found.as_ptr();
    }
    let name = CString::new(machine_pci::address(device)).unwrap_or_default();
    let identity = machine_pci::identity(device);
    let pdev = Box::new(bindings::pci_dev {
        // SAFETY: it has no parent, and `release` frees the box.
        dev: unsafe { bindings::device::new(name, bus_type::pci, core::ptr::null_mut(), Some(device), release) },
        id: device,
        vendor: identity.vendor,
        device: identity.device,
        subsystem_vendor: identity.subsystem_vendor,
        subsystem_device: identity.subsystem,
        class: identity.class,
        revision: identity.revision,
        cfg_size: machine_pci::config_size(device),
    });
    let pdev = NonNull::from(Box::leak(pdev));
    machine_pci::set_device_object(device, Box::new(Found(pdev)));
    pdev.as_ptr()
}

/// Defines a module that is one PCI driver.
///
/// ```ignore
/// kernel::module_pci_driver! {
///     type: Blinker,
///     name: "blinker",
///     authors: ["Grace"],
///     description: "Blinks",
///     license: "GPL",
/// }
/// ```
#[macro_export]
macro_rules! module_pci_driver {
    ($($info:tt)*) => {
        $crate::module_driver!(<T>, $crate::pci::Adapter<T>, { $($info)* });
    };
}

/// What a row of a driver's table matches.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub struct DeviceId(bindings::pci_device_id);

impl DeviceId {
    /// A row that matches every device.
    const ANY: bindings::pci_device_id = bindings::pci_device_id {
        vendor: PciId::ANY,
        device: PciId::ANY,
        subvendor: PciId::ANY,
        subdevice: PciId::ANY,
        class: 0,
        class_mask: 0,
        driver_data: 0,
        override_only: 0,
    };

    /// Matches one kind of device of a vendor.
    pub const fn from_id(vendor: Vendor, device: u32) -> Self {
        Self(bindings::pci_device_id { vendor: vendor.as_raw() as u32, device, ..Self::ANY })
    }

    /// Matches all devices of a class, in the bits that the mask has.
    pub const fn from_class(class: u32, class_mask: u32) -> Self {
        Self(bindings::pci_device_id { class, class_mask, ..Self::ANY })
    }

    /// Matches all devices of a class that are of one vendor.
    pub const fn from_class_and_vendor(class: Class, class_mask: ClassMask, vendor: Vendor) -> Self {
        let Self(row) = Self::from_class(class.as_raw(), class_mask.as_raw());
        Self(bindings::pci_device_id { vendor: vendor.as_raw() as u32, ..row })
    }
}

// SAFETY: it is a transparent wrapper.
unsafe impl RawDeviceId for DeviceId {
    type RawType = bindings::pci_device_id;
}

// SAFETY: the field is as wide as a pointer.
unsafe impl RawDeviceIdIndex for DeviceId {
    const DRIVER_DATA_OFFSET: usize = offset_of!(bindings::pci_device_id, driver_data);
}

/// A PCI driver's table of devices.
pub type IdTable<T> = &'static dyn kernel::device_id::IdTable<DeviceId, T>;

/// Defines a PCI driver's table of devices: its name, the type of what it says, and the rows.
///
/// Rows are `(pci::DeviceId, value)`, or only ids after `@none`.
#[macro_export]
macro_rules! pci_device_table {
    ($($table:tt)*) => {
        $crate::module_device_table!("pci", $crate::pci::DeviceId, $($table)*);
    };
}

/// A PCI function; see [`device`] for what the context means.
#[repr(transparent)]
pub struct Device<Ctx: device::DeviceContext = device::Normal>(Opaque<bindings::pci_dev>, PhantomData<Ctx>);

impl<Ctx: device::DeviceContext> Device<Ctx> {
    fn fields(&self) -> &bindings::pci_dev {
        // SAFETY: a device is valid while there is a reference to it, and nothing borrows its structure mutably.
        unsafe { &*self.0.get() }
    }
}

impl Device {
    /// Who made it.
    pub fn vendor_id(&self) -> Vendor {
        Vendor::from_raw(self.fields().vendor)
    }

    /// Which of the vendor's devices it is.
    pub fn device_id(&self) -> u16 {
        self.fields().device
    }

    /// Its revision.
    pub fn revision_id(&self) -> u8 {
        self.fields().revision
    }

    /// Its bus (8 bits), device (5 bits) and function (3 bits) number.
    pub fn dev_id(&self) -> u16 {
        machine_pci::requester_id(self.fields().id)
    }

    /// Who made the board it is on.
    pub fn subsystem_vendor_id(&self) -> u16 {
        self.fields().subsystem_vendor
    }

    /// Which of that vendor's boards it is on.
    pub fn subsystem_device_id(&self) -> u16 {
        self.fields().subsystem_device
    }

    /// Where a BAR starts, as the processor sees it; 0 if the device does not have it. `EINVAL` for an index that no
    /// device can have.
    pub fn resource_start(&self, bar: u32) -> Result<bindings::resource_size_t> {
        self.resource(bar).map(|(start, _len)| start)
    }

    /// How many bytes a BAR has; 0 if the device does not have it. `EINVAL` for an index that no device can have.
    pub fn resource_len(&self, bar: u32) -> Result<bindings::resource_size_t> {
        self.resource(bar).map(|(_start, len)| len)
    }

    fn resource(&self, bar: u32) -> Result<(u64, u64)> {
        if bar >= bindings::PCI_NUM_RESOURCES {
            return Err(EINVAL);
        }
        Ok(machine_pci::bar(self.fields().id, bar).map_or((0, 0), |(start, len, _memory)| (start, len)))
    }

    /// What kind of device it is.
    pub fn pci_class(&self) -> Class {
        Class::from_raw(self.fields().class)
    }
}

impl Device<Core<'_>> {
    /// How many virtual functions the device can have. `None` if it has no SR-IOV capability, or says zero.
    ///
    /// Differs from Linux: the device is asked on each call, not once when it is found.
    #[track_caller]
    pub fn sriov_get_totalvfs(&self) -> Option<NonZero<u16>> {
        /// The id of the capability, and where it says the number (PCIe 6.0 §9.3.3).
        const SRIOV: u32 = 0x10;
        const TOTAL_VFS: u16 = 0x0e;

        let (id, size) = (self.fields().id, self.fields().cfg_size);
        let mut at = 0x100;
        // No more capabilities fit, so a list that goes in circles ends as well.
        for _ in 0..size.saturating_sub(0x100) / 8 {
            let header = machine_pci::config_read(id, at, 4);
            if header & 0xffff == SRIOV {
                return NonZero::new(machine_pci::config_read(id, at + TOTAL_VFS, 2) as u16);
            }
            at = (header >> 20) as u16 & !3;
            if header == u32::MAX || at < 0x100 {
                break;
            }
        }
        None
    }

    /// Lets the device answer to accesses to its memory BARs.
    ///
    /// Differs from Linux: there is no power to be missing; it fails with `EIO` where the machine chooses that.
    #[track_caller]
    pub fn enable_device_mem(&self) -> Result {
        machine_pci::try_enable_device_mem(self.fields().id).map_err(Error::from_errno)
    }

    /// Lets the device do DMA and send messages.
    #[track_caller]
    pub fn set_master(&self) {
        machine_pci::set_master(self.fields().id);
    }
}

// SAFETY: it is where the offset says, and the context is a marker.
unsafe impl<Ctx: device::DeviceContext> AsBusDevice<Ctx> for Device<Ctx> {
    const OFFSET: usize = offset_of!(bindings::pci_dev, dev);
}

// SAFETY: the wrapper is transparent, whatever the context.
kernel::impl_device_context_deref!(unsafe { Device });
kernel::impl_device_context_into_aref!(Device);

impl<'a> crate::dma::Device<'a> for Device<Core<'a>> {}

// SAFETY: PCI functions count the references of the device in them, and are freed after the last.
unsafe impl AlwaysRefCounted for Device {
    fn inc_ref(&self) {
        device::Device::inc_ref(self.as_ref());
    }

    unsafe fn dec_ref(obj: NonNull<Self>) {
        // SAFETY: the caller's contract; the device is the first field.
        unsafe { device::Device::dec_ref(obj.cast()) };
    }
}

impl<Ctx: device::DeviceContext> AsRef<device::Device<Ctx>> for Device<Ctx> {
    fn as_ref(&self) -> &device::Device<Ctx> {
        // SAFETY: a reference to a PCI function is one to the device in it, in the same context.
        unsafe { device::Device::from_raw(&raw mut (*self.0.get()).dev) }
    }
}

impl<Ctx: device::DeviceContext> TryFrom<&device::Device<Ctx>> for &Device<Ctx> {
    type Error = Error;

    /// `EINVAL` for a device that is no PCI function.
    fn try_from(dev: &device::Device<Ctx>) -> Result<Self> {
        if dev.fields().bus != bus_type::pci {
            return Err(EINVAL);
        }
        // SAFETY: all devices of this bus are in a `struct pci_dev`.
        Ok(unsafe { &*container_of!(dev.as_raw(), bindings::pci_dev, dev).cast() })
    }
}

// SAFETY: a device belongs to no task.
unsafe impl Send for Device {}

// SAFETY: tasks take turns on one processor, and what happens to a device happens between two turns.
unsafe impl Sync for Device {}

// SAFETY: as above; the context only says what is known.
unsafe impl Sync for Device<device::Bound> {}
