//! The platform bus: devices that no bus can find, but firmware tells of.
//!
//! Differs from Linux: the devices have no resources and no interrupts, so nothing that asks for them is here.

use crate::acpi;
use crate::bindings::{self, bus_type};
use crate::device::{self, AsBusDevice, Core, CoreInternal};
use crate::driver::{self, firmware, DriverLayout, RegistrationOps};
use crate::error::{code::EINVAL, from_result, to_result, Error, Result};
use crate::ffi::c_int;
use crate::machine::platform::{self as machine_platform, PlatformDevice, PlatformDriver, PlatformId};
use crate::module::ThisModule;
use crate::of;
use crate::str::CStr;
use crate::sync::aref::AlwaysRefCounted;
use crate::types::Opaque;
use core::marker::PhantomData;
use core::mem::offset_of;
use core::pin::Pin;
use core::ptr::NonNull;
use pin_init::PinInit;
use std::boxed::Box;
use std::ffi::CString;
use std::rc::Rc;

/// A driver for platform devices.
///
/// # Examples
///
/// ```
/// use kernel::{acpi, device::Core, of, platform, prelude::*};
///
/// struct Fan;
///
/// kernel::of_device_table!(OF_IDS, u8, [(of::DeviceId::new(c"acme,fan"), 4)]);
/// kernel::acpi_device_table!(ACPI_IDS, u8, [(acpi::DeviceId::new(c"ACME0001"), 6)]);
///
/// impl platform::Driver for Fan {
///     type IdInfo = u8;
///     type Data<'bound> = u8;
///
///     const OF_ID_TABLE: Option<of::IdTable<u8>> = Some(&OF_IDS);
///     const ACPI_ID_TABLE: Option<acpi::IdTable<u8>> = Some(&ACPI_IDS);
///
///     fn probe<'bound>(
///         pdev: &'bound platform::Device<Core<'_>>,
///         blades: Option<&'bound u8>,
///     ) -> impl PinInit<u8, Error> + 'bound {
///         dev_info!(pdev, "so many blades: {}\n", blades.copied().unwrap_or(0));
///         Ok(*blades.ok_or(ENODEV)?)
///     }
/// }
/// ```
pub trait Driver {
    /// What the driver's tables say about each row.
    type IdInfo: 'static;

    /// The driver's data for one device, which may borrow the device.
    type Data<'bound>: Send + 'bound;

    /// What it is compatible with in device trees.
    const OF_ID_TABLE: Option<of::IdTable<Self::IdInfo>> = None;

    /// The hardware ids that it knows in ACPI.
    const ACPI_ID_TABLE: Option<acpi::IdTable<Self::IdInfo>> = None;

    /// Takes a device on: returns what initialises the data for it.
    ///
    /// After an error the device has no driver. `id_info` is what the table says in the row that matched; a device that only
    /// has the driver's name has none.
    fn probe<'bound>(
        dev: &'bound Device<Core<'_>>,
        id_info: Option<&'bound Self::IdInfo>,
    ) -> impl PinInit<Self::Data<'bound>, Error> + 'bound;

    /// Is about to lose a device, whose data is dropped next: the place to quiet the hardware.
    fn unbind<'bound>(dev: &'bound Device<Core<'_>>, this: Pin<&Self::Data<'bound>>) {
        let _ = (dev, this);
    }
}

/// What [`driver::Registration`] is given for a platform driver.
pub struct Adapter<T: Driver>(T);

// SAFETY: the field is where the offset says, and the data is what `set_drvdata` gets in `probe`.
unsafe impl<T: Driver> DriverLayout for Adapter<T> {
    type DriverType = bindings::platform_driver;
    type DriverData<'bound> = T::Data<'bound>;

    const DEVICE_DRIVER_OFFSET: usize = offset_of!(bindings::platform_driver, driver);
}

// SAFETY: the machine knows the driver from a successful registration on.
unsafe impl<T: Driver> RegistrationOps for Adapter<T> {
    unsafe fn register(reg: &Opaque<Self::DriverType>, name: &'static CStr, _module: &'static ThisModule) -> Result {
        // SAFETY: it was initialised, and its changing parts are in cells.
        let driver = unsafe { &*reg.get() };
        let name = name.to_str().map_err(|_| EINVAL)?;
        driver.driver.name.set(name);
        driver.matches.set(Some(|device| firmware::id_info::<Self>(device).is_some()));
        driver.probe.set(Some(Self::probe_callback));
        driver.remove.set(Some(Self::remove_callback));
        let binder = Binder { name, driver: reg.get() };
        let number =
            machine_platform::register_driver_at(Rc::new(binder), driver.driver.place()).map_err(Error::from_errno)?;
        driver.registration.set(Some(number));
        Ok(())
    }

    unsafe fn unregister(reg: &Opaque<Self::DriverType>) {
        // SAFETY: as above.
        let driver = unsafe { &*reg.get() };
        if let Some(number) = driver.registration.take() {
            machine_platform::unregister_driver(number);
        }
    }
}

impl<T: Driver> driver::Adapter for Adapter<T> {
    type IdInfo = T::IdInfo;

    fn acpi_id_table() -> Option<acpi::IdTable<T::IdInfo>> {
        T::ACPI_ID_TABLE
    }

    fn of_id_table() -> Option<of::IdTable<T::IdInfo>> {
        T::OF_ID_TABLE
    }
}

impl<T: Driver> Adapter<T> {
    /// # Safety
    ///
    /// The device must be bound by nobody else meanwhile.
    unsafe fn probe_callback(dev: *mut bindings::platform_device) -> c_int {
        // SAFETY: the caller's contract: a callback of the bus is running.
        let dev = unsafe { &*dev.cast::<Device<CoreInternal<'_>>>() };
        // SAFETY: the device is being bound to this driver.
        let info = unsafe { <Self as driver::Adapter>::id_info(dev.as_ref()) };
        from_result(|| {
            dev.as_ref().set_drvdata(T::probe(dev, info))?;
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// The device must be bound to the driver.
    unsafe fn remove_callback(dev: *mut bindings::platform_device) {
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
    driver: *const bindings::platform_driver,
}

impl Binder {
    fn driver(&self) -> &bindings::platform_driver {
        // SAFETY: the structure is pinned, and the registration ends before it does.
        unsafe { &*self.driver }
    }
}

impl PlatformDriver for Binder {
    fn name(&self) -> &'static str {
        self.name
    }

    fn matches(&self, device: &PlatformDevice) -> bool {
        // The last resort is the name, which for ACPI and device trees has a suffix that no driver's name has.
        self.driver().matches.get().is_some_and(|matches| matches(device)) || device.name == self.name
    }

    fn probe(&self, device: PlatformId) -> core::result::Result<(), i32> {
        let driver = self.driver();
        let Some(probe) = driver.probe.get() else { return Err(EINVAL.to_errno()) };
        let pdev = find(device);
        // SAFETY: `find` gives a device, to which the driver has a reference while it is bound.
        let result = unsafe {
            bindings::get_device(pdev.cast());
            bindings::bind_driver(pdev.cast(), &driver.driver, || probe(pdev))
        };
        to_result(result).map_err(|error| {
            // SAFETY: the reference from above.
            unsafe { bindings::put_device(pdev.cast()) };
            error.to_errno()
        })
    }

    fn remove(&self, device: PlatformId) {
        let Some(remove) = self.driver().remove.get() else { return };
        let pdev = find(device);
        // SAFETY: the device was bound by `probe`, which took the reference.
        unsafe {
            bindings::release_driver(pdev.cast(), || remove(pdev));
            bindings::put_device(pdev.cast());
        }
    }
}

/// The machine's reference to the structure of a platform device.
struct Found(NonNull<bindings::platform_device>);

impl Drop for Found {
    fn drop(&mut self) {
        // SAFETY: the reference is owned.
        unsafe { bindings::put_device(self.0.as_ptr().cast()) };
    }
}

/// Returns the structure of a platform device, which stays as long as the machine and as long as there are references.
fn find(device: PlatformId) -> *mut bindings::platform_device {
    /// # Safety
    ///
    /// It must be a device in a `struct platform_device` that `find` made, to which there are no references any more.
    unsafe fn release(dev: *mut bindings::device) {
        // SAFETY: the caller's contract; the device is the first field.
        drop(unsafe { Box::from_raw(dev.cast::<bindings::platform_device>()) });
    }

    let known =
        machine_platform::with_device_object(device, |object| object.downcast_ref::<Found>().map(|found| found.0));
    if let Some(found) = known.flatten() {
        return found.as_ptr();
    }
    let description = machine_platform::description(device);
    let name = CString::new(description.name.as_str()).unwrap_or_default();
    let fwnode = bindings::fwnode_handle::new(&description);
    // SAFETY: it has no parent, and `release` frees the box.
    let dev = unsafe { bindings::device::new(name, bus_type::platform, core::ptr::null_mut(), None, release) };
    let pdev = NonNull::from(Box::leak(Box::new(bindings::platform_device { dev, fwnode })));
    // SAFETY: the structure was just made; the device is its first field.
    unsafe { pdev.as_ref() }.fwnode.set_device(pdev.as_ptr().cast());
    machine_platform::set_device_object(device, Box::new(Found(pdev)));
    pdev.as_ptr()
}

/// Defines a module that is one platform driver.
///
/// ```ignore
/// kernel::module_platform_driver! {
///     type: Fan,
///     name: "fan",
///     authors: ["Grace"],
///     description: "Turns",
///     license: "GPL",
/// }
/// ```
#[macro_export]
macro_rules! module_platform_driver {
    ($($info:tt)*) => {
        $crate::module_driver!(<T>, $crate::platform::Adapter<T>, { $($info)* });
    };
}

/// A platform device; see [`device`] for what the context means.
#[repr(transparent)]
pub struct Device<Ctx: device::DeviceContext = device::Normal>(Opaque<bindings::platform_device>, PhantomData<Ctx>);

// SAFETY: the device is where the offset says, and the context is a marker.
unsafe impl<Ctx: device::DeviceContext> AsBusDevice<Ctx> for Device<Ctx> {
    const OFFSET: usize = offset_of!(bindings::platform_device, dev);
}

// SAFETY: the wrapper is transparent, whatever the context.
kernel::impl_device_context_deref!(unsafe { Device });
kernel::impl_device_context_into_aref!(Device);

// SAFETY: devices count their references, and are freed after the last.
unsafe impl AlwaysRefCounted for Device {
    fn inc_ref(&self) {
        // SAFETY: it is a device, and who calls has a reference.
        unsafe { bindings::get_device(self.0.get().cast()) };
    }

    unsafe fn dec_ref(obj: NonNull<Self>) {
        // SAFETY: the caller's contract.
        unsafe { bindings::put_device(obj.as_ptr().cast()) };
    }
}

impl<Ctx: device::DeviceContext> AsRef<device::Device<Ctx>> for Device<Ctx> {
    fn as_ref(&self) -> &device::Device<Ctx> {
        // SAFETY: a reference to a platform device is one to the device in it, in the same context.
        unsafe { device::Device::from_raw(self.0.get().cast()) }
    }
}

impl<'a, Ctx: device::DeviceContext> TryFrom<&'a device::Device<Ctx>> for &'a Device<Ctx> {
    type Error = Error;

    /// Goes back from the device to the platform device. `EINVAL` when it is on another bus.
    fn try_from(dev: &'a device::Device<Ctx>) -> Result<Self> {
        if dev.fields().bus != bus_type::platform {
            return Err(EINVAL);
        }
        // SAFETY: devices of this bus are in platform devices.
        Ok(unsafe { Device::from_device(dev) })
    }
}

// SAFETY: a device belongs to no task.
unsafe impl Send for Device {}

// SAFETY: tasks take turns on one processor, and what happens to a device happens between two turns.
unsafe impl Sync for Device {}

// SAFETY: as above; the context only says what is known.
unsafe impl Sync for Device<device::Bound> {}
