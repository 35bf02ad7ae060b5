//! The auxiliary bus: a driver makes devices of the parts of its device, and other drivers drive those.

use crate::alloc::flags::GFP_KERNEL;
use crate::alloc::KBox;
use crate::bindings::{self, bus_type};
use crate::dev_warn;
use crate::device::{self, AsBusDevice, Bound, Core, CoreInternal};
use crate::device_id::{RawDeviceId, RawDeviceIdIndex};
use crate::driver::{DriverLayout, RegistrationOps};
use crate::error::{
    code::{EINVAL, ENOENT},
    from_result, to_result, Error, Result,
};
use crate::ffi::c_int;
use crate::init::InPlaceInit;
use crate::module::ThisModule;
use crate::str::CStr;
use crate::sync::aref::AlwaysRefCounted;
use crate::try_pin_init;
use crate::types::{CovariantForLt, ForLt, ForeignOwnable, Opaque};
use core::any::TypeId;
use core::cell::Cell;
use core::marker::PhantomData;
use core::mem::offset_of;
use core::pin::Pin;
use core::ptr::NonNull;
use pin_init::{pin_data, PinInit};
use std::ffi::CString;
use std::format;

/// A driver for auxiliary devices.
pub trait Driver {
    /// What the driver's table says about each row.
    type IdInfo: 'static;

    /// The driver's data for one device, which may borrow the device.
    type Data<'bound>: Send + 'bound;

    /// What the driver drives.
    const ID_TABLE: IdTable<Self::IdInfo>;

    /// Takes a device on: returns what initialises the data for it. After an error the device has no driver.
    fn probe<'bound>(
        dev: &'bound Device<Core<'_>>,
        id_info: &'bound Self::IdInfo,
    ) -> impl PinInit<Self::Data<'bound>, Error> + 'bound;

    /// Is about to lose a device, whose data is dropped next.
    fn unbind<'bound>(dev: &'bound Device<Core<'_>>, this: Pin<&Self::Data<'bound>>) {
        let _ = (dev, this);
    }
}

/// What [`driver::Registration`](crate::driver::Registration) is given for an auxiliary driver.
pub struct Adapter<T: Driver>(T);

// SAFETY: the field is where the offset says, and the data is what `set_drvdata` gets in `probe`.
unsafe impl<T: Driver> DriverLayout for Adapter<T> {
    type DriverType = bindings::auxiliary_driver;
    type DriverData<'bound> = T::Data<'bound>;

    const DEVICE_DRIVER_OFFSET: usize = offset_of!(bindings::auxiliary_driver, driver);
}

// SAFETY: the bus knows the driver from a successful registration on.
unsafe impl<T: Driver> RegistrationOps for Adapter<T> {
    unsafe fn register(reg: &Opaque<Self::DriverType>, name: &'static CStr, _module: &'static ThisModule) -> Result {
        let name = name.to_str().map_err(|_| EINVAL)?;
        // SAFETY: it was initialised, and stays where it is; its changing parts are in cells.
        let result = unsafe {
            let driver = &*reg.get();
            driver.id_table.set(T::ID_TABLE.as_ptr());
            driver.probe.set(Some(Self::probe_callback));
            driver.remove.set(Some(Self::remove_callback));
            // The module's name is the driver's as well, in Linux too.
            bindings::auxiliary_driver_register(driver, name, name)
        };
        to_result(result)
    }

    unsafe fn unregister(reg: &Opaque<Self::DriverType>) {
        // SAFETY: the caller's contract.
        unsafe { bindings::auxiliary_driver_unregister(reg.get()) };
    }
}

impl<T: Driver> Adapter<T> {
    /// # Safety
    ///
    /// The device must be bound by nobody else meanwhile, and the row one of the driver's table.
    unsafe fn probe_callback(dev: *mut bindings::auxiliary_device, row: *const bindings::auxiliary_device_id) -> c_int {
        // SAFETY: the caller's contract: a callback of the bus is running, and the table was made with this type.
        let (dev, info) = unsafe {
            let row = &*row.cast::<DeviceId>();
            (&*dev.cast::<Device<CoreInternal<'_>>>(), row.info_unchecked::<T::IdInfo>())
        };
        from_result(|| dev.as_ref().set_drvdata(T::probe(dev, info)).map(|()| 0))
    }

    /// # Safety
    ///
    /// The device must be bound to the driver.
    unsafe fn remove_callback(dev: *mut bindings::auxiliary_device) {
        // SAFETY: the caller's contract: a callback of the bus is running.
        let dev = unsafe { &*dev.cast::<Device<CoreInternal<'_>>>() };
        // SAFETY: `probe` set it, or the device would not be bound; it is dropped only after this.
        T::unbind(dev, unsafe { dev.as_ref().drvdata_borrow::<T::Data<'_>>() });
    }
}

/// Defines a module that is one auxiliary driver.
#[macro_export]
macro_rules! module_auxiliary_driver {
    ($($info:tt)*) => {
        $crate::module_driver!(<T>, $crate::auxiliary::Adapter<T>, { $($info)* });
    };
}

/// What a row of a driver's table matches.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub struct DeviceId(bindings::auxiliary_device_id);

impl DeviceId {
    /// Matches the devices that a module makes under a name. Names that are too long do not compile in a table.
    pub const fn new(modname: &'static CStr, name: &'static CStr) -> Self {
        let mut text = [0; bindings::AUXILIARY_NAME_SIZE];
        let (modname, name) = (modname.to_bytes(), name.to_bytes());
        let dot = modname.len();
        // One byte is for the zero at the end.
        assert!(dot + 1 + name.len() < text.len(), "the names are too long");
        let (before, after) = text.split_at_mut(dot);
        before.copy_from_slice(modname);
        if let [first, rest @ ..] = after {
            *first = b'.';
            rest.split_at_mut(name.len()).0.copy_from_slice(name);
        }
        Self(bindings::auxiliary_device_id { name: text, driver_data: 0 })
    }
}

// SAFETY: it is a transparent wrapper.
unsafe impl RawDeviceId for DeviceId {
    type RawType = bindings::auxiliary_device_id;
}

// SAFETY: the field is as wide as a pointer.
unsafe impl RawDeviceIdIndex for DeviceId {
    const DRIVER_DATA_OFFSET: usize = offset_of!(bindings::auxiliary_device_id, driver_data);
}

/// An auxiliary driver's table of devices.
pub type IdTable<T> = &'static dyn kernel::device_id::IdTable<DeviceId, T>;

/// Defines an auxiliary driver's table of devices: its name, the type of what it says, and the rows.
#[macro_export]
macro_rules! auxiliary_device_table {
    ($($table:tt)*) => {
        $crate::module_device_table!("auxiliary", $crate::auxiliary::DeviceId, $($table)*);
    };
}

/// An auxiliary device; see [`device`] for what the context means.
#[repr(transparent)]
pub struct Device<Ctx: device::DeviceContext = device::Normal>(Opaque<bindings::auxiliary_device>, PhantomData<Ctx>);

impl<Ctx: device::DeviceContext> Device<Ctx> {
    fn fields(&self) -> &bindings::auxiliary_device {
        // SAFETY: a device is valid while there is a reference to it, and nothing borrows its structure mutably.
        unsafe { &*self.0.get() }
    }

    /// The number that tells it from others of its name.
    pub fn id(&self) -> u32 {
        self.fields().id
    }
}

impl Device {
    /// The device that it is a part of.
    pub fn parent(&self) -> &device::Device {
        let parent = self.fields().dev.parent;
        // SAFETY: `Registration` gave it one, to which it has a reference.
        unsafe { device::Device::from_raw(parent) }
    }
}

impl Device<Bound> {
    /// The device that it is a part of, which has a driver, too.
    pub fn parent(&self) -> &device::Device<Bound> {
        let parent = (**self).parent();
        // SAFETY: the parent's driver removes the device before it leaves the parent.
        unsafe { parent.as_bound() }
    }

    /// Calls `f` with what the driver of the parent has to say about the device.
    ///
    /// `EINVAL` if that is of another type, `ENOENT` if there is nothing.
    pub fn registration_data_with<F: ForLt + 'static, R>(
        &self,
        f: impl for<'a> FnOnce(Pin<&'a F::Of<'a>>) -> R,
    ) -> Result<R> {
        // SAFETY: `f` works for any lifetime, so it cannot rely on one.
        let data = unsafe { self.registered::<F>() }?;
        Ok(f(data))
    }

    /// Returns what the driver of the parent has to say about the device.
    ///
    /// Errors are as for [`registration_data_with`](Self::registration_data_with).
    pub fn registration_data<F: CovariantForLt + 'static>(&self) -> Result<Pin<&F::Of<'_>>> {
        // SAFETY: lifetimes of these types may be shortened.
        unsafe { self.registered::<F>() }
    }

    /// # Safety
    ///
    /// The data has a longer lifetime inside than it says; nothing may be put into it that lives shorter.
    unsafe fn registered<F: ForLt + 'static>(&self) -> Result<Pin<&F::Of<'_>>> {
        let data = self.fields().registration_data_rust.get();
        if data.is_null() {
            dev_warn!(self.as_ref(), "No registration data set; parent is not a Rust driver.\n");
            return Err(ENOENT);
        }
        // SAFETY: whatever the type of the data, what says it comes first.
        if unsafe { data.cast::<TypeId>().read() } != TypeId::of::<F>() {
            return Err(EINVAL);
        }
        // SAFETY: it is of this type, and `Registration` takes it back only after the device lost its driver. The data is
        // pinned along with what it is in.
        unsafe {
            let tagged = <Pin<KBox<Tagged<F::Of<'_>>>>>::borrow(data);
            Ok(tagged.map_unchecked(|tagged| &tagged.data))
        }
    }
}

// SAFETY: it is where the offset says, and the context is a marker.
unsafe impl<Ctx: device::DeviceContext> AsBusDevice<Ctx> for Device<Ctx> {
    const OFFSET: usize = offset_of!(bindings::auxiliary_device, dev);
}

// SAFETY: the wrapper is transparent, whatever the context.
kernel::impl_device_context_deref!(unsafe { Device });
kernel::impl_device_context_into_aref!(Device);

// SAFETY: auxiliary devices count the references of the device in them, and are freed after the last.
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
        // SAFETY: a reference to an auxiliary device is one to the device in it, in the same context.
        unsafe { device::Device::from_raw(&raw mut (*self.0.get()).dev) }
    }
}

// SAFETY: a device belongs to no task.
unsafe impl Send for Device {}

// SAFETY: tasks take turns on one processor, and what happens to a device happens between two turns.
unsafe impl Sync for Device {}

// SAFETY: as above; the context only says what is known.
unsafe impl Sync for Device<Bound> {}

/// Data with a name for its type in front.
#[repr(C)]
#[pin_data]
struct Tagged<T> {
    of: TypeId,
    #[pin]
    data: T,
}

/// An auxiliary device that its parent's driver made; dropping this removes it.
///
/// `F` is the type of what there is to say about it, for every lifetime.
pub struct Registration<'a, F: ForLt + 'static> {
    adev: NonNull<bindings::auxiliary_device>,
    _data: PhantomData<F::Of<'a>>,
}

// SAFETY: any task may remove the device, and the data goes along.
unsafe impl<F: ForLt> Send for Registration<'_, F> where for<'a> F::Of<'a>: Send {}

// SAFETY: there is nothing to do with a shared registration.
unsafe impl<F: ForLt> Sync for Registration<'_, F> where for<'a> F::Of<'a>: Send {}

impl<'a, F: ForLt> Registration<'a, F>
where
    for<'b> F::Of<'b>: Send + Sync,
{
    /// Makes a device `MODNAME.NAME.ID` and offers it to the drivers of the bus.
    ///
    /// `ENOMEM`, `EEXIST` for a name that is taken, or the error of the initialiser. That a driver fails to take the
    /// device is no error.
    ///
    /// # Safety
    ///
    /// It must be dropped before `'a` ends; it must not be leaked.
    #[track_caller]
    pub unsafe fn new_with_lt<E>(
        parent: &'a device::Device<Bound>,
        name: &CStr,
        id: u32,
        modname: &CStr,
        data: impl PinInit<F::Of<'a>, E>,
    ) -> Result<Self>
    where
        Error: From<E>,
    {
        let data: Pin<KBox<Tagged<F::Of<'a>>>> =
            KBox::pin_init(try_pin_init!(Tagged { of: TypeId::of::<F>(), data <- data }? E), GFP_KERNEL)?;
        let slot = KBox::<bindings::auxiliary_device>::new_uninit(GFP_KERNEL)?;

        let full = format!("{}.{}.{id}", modname.to_string_lossy(), name.to_string_lossy());
        let full = CString::new(full).map_err(|_| EINVAL)?;
        // SAFETY: the parent is a device, and `release` frees what is allocated here.
        let dev = unsafe { bindings::device::new(full, bus_type::auxiliary, parent.as_raw(), None, release) };
        let adev = bindings::auxiliary_device {
            dev,
            id,
            registration_data_rust: Cell::new(data.into_foreign()),
            ledger: Cell::default(),
        };
        // From here on its drop cleans up, also after an error.
        let device = Owned::<F>(NonNull::from(KBox::leak(slot.write(adev))), PhantomData);
        // SAFETY: it stays until it is removed.
        to_result(unsafe { bindings::auxiliary_device_add(device.0.as_ptr()) })?;
        let adev = device.0;
        core::mem::forget(device);
        Ok(Self { adev, _data: PhantomData })
    }

    /// As [`new_with_lt`](Self::new_with_lt), for data that borrows nothing.
    #[track_caller]
    pub fn new<E>(
        parent: &'a device::Device<Bound>,
        name: &CStr,
        id: u32,
        modname: &CStr,
        data: impl PinInit<F::Of<'a>, E>,
    ) -> Result<Self>
    where
        Error: From<E>,
        F::Of<'a>: 'static,
    {
        // SAFETY: leaked data that borrows nothing harms nobody.
        let registration = unsafe { Self::new_with_lt(parent, name, id, modname, data) }?;
        Ok(registration)
    }
}

impl<F: ForLt> Drop for Registration<'_, F> {
    fn drop(&mut self) {
        // SAFETY: `new_with_lt` put it on the bus.
        unsafe { bindings::auxiliary_device_delete(self.adev.as_ptr()) };
        drop(Owned::<F>(self.adev, PhantomData));
    }
}

/// The maker's reference to a device that is not on the bus, and the data; dropping it gives up both.
struct Owned<F: ForLt + 'static>(NonNull<bindings::auxiliary_device>, PhantomData<F>);

impl<F: ForLt> Drop for Owned<F> {
    fn drop(&mut self) {
        let adev = self.0.as_ptr();
        // SAFETY: the data is of this type but for lifetimes, and with the device off the bus nobody uses it. The
        // reference is the one that the device was made with.
        unsafe {
            let data = (*adev).registration_data_rust.replace(core::ptr::null_mut());
            drop(<Pin<KBox<Tagged<F::Of<'static>>>>>::try_from_foreign(data));
            bindings::put_device(adev.cast());
        }
    }
}

/// Frees a device after its last reference.
///
/// # Safety
///
/// It must be in a `struct auxiliary_device` that a [`Registration`] allocated.
unsafe fn release(dev: *mut bindings::device) {
    // SAFETY: the caller's contract; the device is the first field.
    drop(unsafe { KBox::from_raw(dev.cast::<bindings::auxiliary_device>()) });
}
