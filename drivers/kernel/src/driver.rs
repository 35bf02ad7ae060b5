//! Registering drivers with their bus, and modules that consist of one driver.
//!
//! A bus defines a trait for its drivers ([`pci::Driver`](crate::pci::Driver)) and an adapter, which is what a
//! [`Registration`] is generic over. Drivers that need no module of their own shape use the macro of their bus, such as
//! [`module_pci_driver!`](crate::module_pci_driver).

use crate::acpi;
use crate::bindings;
use crate::device::{CoreInternal, Device};
use crate::error::{Error, Result};
use crate::module::ThisModule;
use crate::of;
use crate::str::CStr;
use crate::try_pin_init;
use crate::types::Opaque;
use core::panic::Location;
use core::pin::Pin;
use pin_init::{pin_data, pinned_drop, PinInit};

pub(crate) mod firmware;

/// What the structure of a bus's drivers looks like.
///
/// # Safety
///
/// - [`DriverType`](Self::DriverType) must have a `struct device_driver` where
///   [`DEVICE_DRIVER_OFFSET`](Self::DEVICE_DRIVER_OFFSET) says.
/// - [`DriverData`](Self::DriverData) must be the type of the data that the bus sets for devices of the driver.
pub unsafe trait DriverLayout {
    /// The bus's structure.
    type DriverType: Default;

    /// The driver's data for a device, while it is bound.
    type DriverData<'bound>;

    /// Where the `struct device_driver` is, in bytes.
    const DEVICE_DRIVER_OFFSET: usize;
}

/// How a bus registers drivers.
///
/// # Safety
///
/// After [`register`](Self::register) succeeded, [`unregister`](Self::unregister) must be allowed.
pub unsafe trait RegistrationOps: DriverLayout {
    /// Registers a driver; devices may be probed before it returns.
    ///
    /// # Safety
    ///
    /// On success `reg` must stay where it is until it is unregistered.
    unsafe fn register(reg: &Opaque<Self::DriverType>, name: &'static CStr, module: &'static ThisModule) -> Result;

    /// Takes the driver back; it leaves all its devices before this returns.
    ///
    /// # Safety
    ///
    /// It must be registered.
    unsafe fn unregister(reg: &Opaque<Self::DriverType>);
}

/// A registered driver; dropping it unregisters the driver, which leaves all its devices then.
#[pin_data(PinnedDrop)]
pub struct Registration<T: RegistrationOps> {
    #[pin]
    driver: Opaque<T::DriverType>,
}

// SAFETY: there is nothing to do with a shared registration.
unsafe impl<T: RegistrationOps> Sync for Registration<T> {}

// SAFETY: any task may unregister a driver.
unsafe impl<T: RegistrationOps> Send for Registration<T> {}

impl<T: RegistrationOps> Registration<T> {
    /// Returns an initialiser that registers a driver, with the bus's errors.
    #[track_caller]
    pub fn new(name: &'static CStr, module: &'static ThisModule) -> impl PinInit<Self, Error>
    where
        T: 'static,
    {
        let place = Location::caller();
        try_pin_init!(Self {
            driver <- Opaque::try_ffi_init(move |slot: *mut T::DriverType| {
                // SAFETY: the slot may be written.
                unsafe { slot.write(T::DriverType::default()) };
                // SAFETY: the bus says that there is such a field, and the structure was just written.
                let common = unsafe { &*slot.byte_add(T::DEVICE_DRIVER_OFFSET).cast::<bindings::device_driver>() };
                common.post_unbind_rust.set(Some(Self::drop_data));
                common.place.set(Some(place));
                // SAFETY: the structure is pinned, and unregistered when it is dropped.
                unsafe { T::register(&*Opaque::cast_from(slot), name, module) }
            }),
        })
    }

    /// Drops the driver's data for a device; its managed resources are still there.
    ///
    /// # Safety
    ///
    /// It must be a device that the driver is leaving.
    unsafe fn drop_data(dev: *mut bindings::device) {
        // SAFETY: the caller's contract; nothing else of the driver's life goes on.
        let dev = unsafe { Device::<CoreInternal<'_>>::from_raw(dev) };
        // SAFETY: the bus says that this is the type of the data.
        drop(unsafe { dev.drvdata_obtain::<T::DriverData<'_>>() });
    }
}

#[pinned_drop]
impl<T: RegistrationOps> PinnedDrop for Registration<T> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: `new` registered it, or there would be nothing to drop.
        unsafe { T::unregister(&self.driver) };
    }
}

/// What the adapters of all buses have whose devices firmware describes: a table for each kind of firmware.
pub trait Adapter {
    /// What the tables say about each row.
    type IdInfo: 'static;

    /// The hardware ids that the driver knows in ACPI.
    fn acpi_id_table() -> Option<acpi::IdTable<Self::IdInfo>>;

    /// What the driver is compatible with in device trees.
    fn of_id_table() -> Option<of::IdTable<Self::IdInfo>>;

    /// Returns what the tables say about a device; `None` if no row is for it, or no firmware describes it.
    ///
    /// Differs from Linux: it looks into these tables, whichever driver the device has.
    ///
    /// # Safety
    ///
    /// The device's driver must be this one, or the device must have none: Linux looks into the tables of the driver that
    /// it has, and takes what they say for an `IdInfo`.
    unsafe fn id_info(dev: &Device) -> Option<&'static Self::IdInfo> {
        firmware::id_info::<Self>(dev.fwnode()?.description())
    }
}

/// Defines a module that is one driver; the buses' own macros use it.
///
/// It takes the adapter with the driver's type as a parameter, and what `module!` takes with the driver as its type.
#[macro_export]
macro_rules! module_driver {
    (<$T:ident>, $Adapter:ty, { type: $Driver:ty, $($info:tt)* }) => {
        /// The adapter of the driver's bus.
        type Ops<$T> = $Adapter;

        /// The module: nothing but the driver's registration.
        #[$crate::prelude::pin_data]
        struct DriverModule {
            #[pin]
            _driver: $crate::driver::Registration<Ops<$Driver>>,
        }

        impl $crate::InPlaceModule for DriverModule {
            fn init(
                module: &'static $crate::ThisModule,
            ) -> impl $crate::prelude::PinInit<Self, $crate::error::Error> {
                let name = <Self as $crate::ModuleMetadata>::NAME;
                $crate::try_pin_init!(Self {
                    _driver <- $crate::driver::Registration::new(name, module),
                })
            }
        }

        $crate::prelude::module! { type: DriverModule, $($info)* }
    };
}
