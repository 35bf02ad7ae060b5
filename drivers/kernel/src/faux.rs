//! Faux devices: devices without hardware, for drivers that need a device but have none.
//!
//! Differs from Linux: they can do no DMA here; in Linux they can once their DMA mask is set, which no Rust code can do.

use crate::alloc::flags::GFP_KERNEL;
use crate::alloc::KBox;
use crate::bindings::{self, bus_type, device_driver};
use crate::device::{self, AsBusDevice};
use crate::error::{code::ENODEV, Result};
use crate::machine::{self, Kind};
use crate::str::CStr;
use crate::types::Opaque;
use core::cell::RefCell;
use core::marker::PhantomData;
use core::mem::offset_of;
use core::ptr::NonNull;
use std::ffi::CString;
use std::vec::Vec;

/// A faux device.
#[repr(transparent)]
pub struct Device<Ctx: device::DeviceContext = device::Normal>(Opaque<bindings::faux_device>, PhantomData<Ctx>);

impl<Ctx: device::DeviceContext> AsRef<device::Device<Ctx>> for Device<Ctx> {
    fn as_ref(&self) -> &device::Device<Ctx> {
        // SAFETY: a reference to a faux device is one to the device in it, in the same context.
        unsafe { device::Device::from_raw(&raw mut (*self.0.get()).dev) }
    }
}

// SAFETY: it is where the offset says, and the context is a marker.
unsafe impl<Ctx: device::DeviceContext> AsBusDevice<Ctx> for Device<Ctx> {
    const OFFSET: usize = offset_of!(bindings::faux_device, dev);
}

/// A faux device that its owner made; dropping this removes it.
///
/// # Examples
///
/// ```
/// use kernel::{faux, prelude::*};
///
/// fn announce() -> Result<faux::Registration> {
///     let clock = faux::Registration::new(c"virtual-clock", None)?;
///     dev_info!(clock.as_ref(), "made of nothing\n");
///     Ok(clock)
/// }
/// ```
pub struct Registration(NonNull<bindings::faux_device>);

// SAFETY: any task may remove the device.
unsafe impl Send for Registration {}

// SAFETY: a shared registration only gives out the device.
unsafe impl Sync for Registration {}

/// The one driver of the bus.
struct FauxDriver(device_driver);

std::thread_local! {
    /// A thread has one machine, and a machine one bus.
    static DRIVER: FauxDriver = {
        let driver = device_driver::default();
        driver.name.set("faux_driver");
        FauxDriver(driver)
    };

    /// The names that are taken, and in which life of the machine.
    static NAMES: RefCell<(u64, Vec<CString>)> = const { RefCell::new((0, Vec::new())) };
}

/// Takes a name for a device. `false` when another has it.
fn take_name(name: &CStr) -> bool {
    NAMES.with_borrow_mut(|(life, names)| {
        let now = machine::life_number();
        if *life != now {
            *life = now;
            names.clear();
        }
        let free = !names.iter().any(|taken| taken.as_c_str() == name);
        if free {
            names.push(name.into());
        }
        free
    })
}

fn free_name(name: &CStr) {
    NAMES.with_borrow_mut(|(_, names)| names.retain(|taken| taken.as_c_str() != name));
}

impl Registration {
    /// Makes a device. Its `name` must not be that of another faux device.
    ///
    /// `ENODEV` whatever the reason of a failure: no memory, or a name that is taken.
    #[track_caller]
    pub fn new(name: &CStr, parent: Option<&device::Device>) -> Result<Self> {
        let slot = KBox::<bindings::faux_device>::new_uninit(GFP_KERNEL).map_err(|_| ENODEV)?;
        if !take_name(name) {
            let shown = name.to_string_lossy();
            machine::printk(
                3,
                format_args!("faux_device_create_with_groups: device_add for faux device '{shown}' failed with -17\n"),
            );
            return Err(ENODEV);
        }
        let parent = parent.map_or(core::ptr::null_mut(), device::Device::as_raw);
        // SAFETY: the parent is a device, and `release` frees what `new` allocated.
        let dev = unsafe { bindings::device::new(name.into(), bus_type::faux, parent, None, Self::release) };
        let ledger = machine::resource::take(Kind::Device, None, "faux");
        let faux = KBox::into_raw(slot.write(bindings::faux_device { dev, ledger }));
        DRIVER.with(|driver| {
            // SAFETY: the device was just made, and the driver stays as long as the thread, which is the machine's.
            unsafe { bindings::bind_driver(&raw mut (*faux).dev, &driver.0, || 0) };
        });
        NonNull::new(faux).map(Self).ok_or(ENODEV)
    }

    /// Frees a device after its last reference.
    ///
    /// # Safety
    ///
    /// It must be in a `struct faux_device` that [`new`](Self::new) allocated.
    unsafe fn release(dev: *mut bindings::device) {
        // SAFETY: the caller's contract.
        let faux = unsafe { dev.byte_sub(offset_of!(bindings::faux_device, dev)).cast::<bindings::faux_device>() };
        // SAFETY: as above; nobody refers to it any more.
        drop(unsafe { KBox::from_raw(faux) });
    }
}

impl AsRef<Device<device::Bound>> for Registration {
    fn as_ref(&self) -> &Device<device::Bound> {
        // SAFETY: the device has its driver until the registration is dropped.
        unsafe { &*self.0.as_ptr().cast() }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let faux = self.0.as_ptr();
        // SAFETY: `new` made it and bound it; its own reference is given up here.
        unsafe {
            bindings::release_driver(&raw mut (*faux).dev, || {});
            free_name(&(*faux).dev.name);
            machine::resource::give_back((*faux).ledger);
            bindings::put_device(&raw mut (*faux).dev);
        }
    }
}
