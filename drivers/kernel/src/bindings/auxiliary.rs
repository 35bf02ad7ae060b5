//! The auxiliary bus: which devices and drivers are on it, and who is bound to whom.

use super::{bind_driver, bus_type, device, device_driver, get_device, put_device, release_driver};
use crate::error::code::{EBUSY, EEXIST, ENODEV, ENXIO};
use crate::ffi::{c_int, c_void};
use crate::machine::{self, Kind, LedgerId};
use core::cell::{Cell, RefCell};
use core::ptr;
use std::boxed::Box;
use std::format;
use std::string::String;
use std::vec::Vec;

/// The room for a name in a driver's table, in bytes.
pub const AUXILIARY_NAME_SIZE: usize = 40;

/// What one row of an auxiliary driver's table matches, see [`crate::auxiliary::DeviceId`].
#[derive(Clone, Copy)]
#[repr(C)]
pub struct auxiliary_device_id {
    /// `MODULE.NAME`, ended by a zero.
    pub name: [u8; AUXILIARY_NAME_SIZE],
    /// Room for a pointer of the driver's.
    pub driver_data: usize,
}

/// A part of another device, as a device.
#[repr(C)]
pub struct auxiliary_device {
    /// The device that it is.
    pub dev: device,
    /// Tells devices of one name apart.
    pub id: u32,
    /// What the driver of the parent has to say to the driver of this.
    pub registration_data_rust: Cell<*mut c_void>,
    /// What the module owes the machine for it.
    pub ledger: Cell<Option<LedgerId>>,
}

/// Takes a device on, for the row that matched; 0 or a negative error number.
pub type auxiliary_probe = unsafe fn(*mut auxiliary_device, *const auxiliary_device_id) -> c_int;

/// A driver for auxiliary devices. It must not move while it is registered.
pub struct auxiliary_driver {
    /// The part that is the same on all buses.
    pub driver: device_driver,
    /// What it drives, up to a row without a name.
    pub id_table: Cell<*const auxiliary_device_id>,
    /// Takes a device on; 0 or a negative error number.
    pub probe: Cell<Option<auxiliary_probe>>,
    /// Is about to lose a device.
    pub remove: Cell<Option<unsafe fn(*mut auxiliary_device)>>,
    /// What the module owes the machine for it.
    pub ledger: Cell<Option<LedgerId>>,
}

impl Default for auxiliary_driver {
    fn default() -> Self {
        Self {
            driver: device_driver::default(),
            id_table: Cell::new(ptr::null()),
            probe: Cell::default(),
            remove: Cell::default(),
            ledger: Cell::default(),
        }
    }
}

impl auxiliary_driver {
    /// The row of the driver's table for a device: what its name says before the last dot.
    ///
    /// # Safety
    ///
    /// The driver must be set up.
    unsafe fn row_for(&self, dev: &device) -> Option<*const auxiliary_device_id> {
        let name = dev.name.to_bytes();
        let wanted = &name[..name.iter().rposition(|byte| *byte == b'.')?];
        let mut row = self.id_table.get();
        loop {
            // SAFETY: no row after the one without a name is looked at.
            let text = unsafe { &(*row).name };
            let end = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
            match &text[..end] {
                [] => return None,
                name if name == wanted => return Some(row),
                _ => row = row.wrapping_add(1),
            }
        }
    }
}

/// All that is on the bus.
#[derive(Default)]
struct Bus {
    /// In the order in which they came.
    devices: Vec<*mut auxiliary_device>,
    drivers: Vec<*const auxiliary_driver>,
    /// In the order in which they were made.
    bindings: Vec<(*mut auxiliary_device, *const auxiliary_driver)>,
}

std::thread_local! {
    /// A thread has one machine, and each life of it a bus of its own.
    static BUS: RefCell<(u64, Bus)> = RefCell::default();
    /// Names of drivers, which live as long as the process.
    static NAMES: RefCell<Vec<&'static str>> = const { RefCell::new(Vec::new()) };
}

fn with_bus<R>(f: impl FnOnce(&mut Bus) -> R) -> R {
    BUS.with_borrow_mut(|(life, bus)| {
        let now = machine::life_number();
        if *life != now {
            (*life, *bus) = (now, Bus::default());
        }
        f(bus)
    })
}

fn intern(name: String) -> &'static str {
    NAMES.with_borrow_mut(|names| {
        let known = names.iter().copied().find(|known| *known == name);
        known.unwrap_or_else(|| {
            let name = Box::leak(name.into_boxed_str());
            names.push(name);
            name
        })
    })
}

/// Binds a device to a driver if they match and the device has none; says why not in the log.
///
/// # Safety
///
/// Both must be on the bus.
unsafe fn attach(adev: *mut auxiliary_device, driver: *const auxiliary_driver) {
    // SAFETY: the caller's contract.
    let (dev, adrv) = unsafe { (&(*adev).dev, &*driver) };
    // SAFETY: a driver on the bus is set up.
    let (Some(row), Some(probe)) = (unsafe { adrv.row_for(dev) }, adrv.probe.get()) else { return };
    if !dev.driver().is_null() {
        return;
    }
    with_bus(|bus| bus.bindings.push((adev, driver)));
    // SAFETY: the driver stays until it was unbound, and the device is referred to while it is bound.
    let result = unsafe {
        get_device(adev.cast());
        bind_driver(adev.cast(), &adrv.driver, || {
            let result = probe(adev, row);
            if result != 0 && result != ENODEV.to_errno() && result != ENXIO.to_errno() {
                let (name, driver) = ((*adev).dev.name.to_string_lossy(), adrv.driver.name.get());
                let text = format_args!("{driver} {name}: probe with driver {driver} failed with error {result}\n");
                machine::printk(3, text);
            }
            result
        })
    };
    if result != 0 {
        with_bus(|bus| bus.bindings.retain(|(bound, _)| *bound != adev));
        // SAFETY: the reference from above.
        unsafe { put_device(adev.cast()) };
    }
}

/// Takes a device from its driver.
///
/// # Safety
///
/// They must be bound.
unsafe fn detach(adev: *mut auxiliary_device, driver: *const auxiliary_driver) {
    with_bus(|bus| bus.bindings.retain(|(bound, _)| *bound != adev));
    // SAFETY: the caller's contract; the reference is that of the binding.
    unsafe {
        if let Some(remove) = (*driver).remove.get() {
            release_driver(adev.cast(), || remove(adev));
        }
        put_device(adev.cast());
    }
}

/// Registers a driver as `MODULE.NAME`, and binds it to the devices that match and have none.
///
/// # Safety
///
/// It must be set up, and stay where it is until [`auxiliary_driver_unregister`].
pub unsafe fn auxiliary_driver_register(driver: *const auxiliary_driver, module: &str, name: &'static str) -> c_int {
    // SAFETY: the caller's contract.
    let this = unsafe { &*driver };
    let full = intern(format!("{module}.{name}"));
    // SAFETY: drivers on the bus are valid.
    let taken = with_bus(|bus| bus.drivers.iter().any(|other| unsafe { (**other).driver.name.get() == full }));
    if taken {
        machine::printk(3, format_args!("Error: Driver '{full}' is already registered, aborting...\n"));
        return EBUSY.to_errno();
    }
    this.driver.name.set(full);
    this.ledger.set(Some(machine::resource::take(Kind::Driver, None, full)));
    let devices = with_bus(|bus| {
        bus.drivers.push(driver);
        bus.devices.clone()
    });
    for adev in devices {
        // A probe may have removed it.
        if with_bus(|bus| bus.devices.contains(&adev)) {
            // SAFETY: both are on the bus.
            unsafe { attach(adev, driver) };
        }
    }
    0
}

/// Takes a driver back; first it leaves its devices, the one bound last first.
///
/// # Safety
///
/// It must be registered.
pub unsafe fn auxiliary_driver_unregister(driver: *const auxiliary_driver) {
    let last = || with_bus(|bus| bus.bindings.iter().rfind(|(_, bound)| *bound == driver).map(|(adev, _)| *adev));
    while let Some(adev) = last() {
        // SAFETY: they are bound.
        unsafe { detach(adev, driver) };
    }
    with_bus(|bus| bus.drivers.retain(|known| *known != driver));
    // SAFETY: the caller's contract.
    if let Some(ledger) = unsafe { (*driver).ledger.take() } {
        machine::resource::give_back(ledger);
    }
}

/// Puts a device on the bus, and binds it to the first driver that matches and takes it. `EEXIST` for a name that is
/// taken.
///
/// # Safety
///
/// It must be a device of this bus, and stay until [`auxiliary_device_delete`].
#[track_caller]
pub unsafe fn auxiliary_device_add(adev: *mut auxiliary_device) -> c_int {
    // SAFETY: the caller's contract.
    let this = unsafe { &*adev };
    debug_assert_eq!(this.dev.bus, bus_type::auxiliary);
    // SAFETY: devices on the bus are valid.
    let taken = with_bus(|bus| bus.devices.iter().any(|other| unsafe { (**other).dev.name == this.dev.name }));
    if taken {
        let (bus, name) = (this.dev.driver_string(), this.dev.name.to_string_lossy());
        machine::printk(3, format_args!("{bus} {name}: adding auxiliary device failed!: {}\n", EEXIST.to_errno()));
        return EEXIST.to_errno();
    }
    this.ledger.set(Some(machine::resource::take(Kind::Device, None, "auxiliary")));
    let drivers = with_bus(|bus| {
        bus.devices.push(adev);
        bus.drivers.clone()
    });
    for driver in drivers {
        if with_bus(|bus| bus.drivers.contains(&driver)) {
            // SAFETY: both are on the bus.
            unsafe { attach(adev, driver) };
        }
    }
    0
}

/// Takes a device off the bus, and from its driver before that.
///
/// # Safety
///
/// It must be on the bus.
pub unsafe fn auxiliary_device_delete(adev: *mut auxiliary_device) {
    let bound = with_bus(|bus| bus.bindings.iter().find(|(bound, _)| *bound == adev).map(|(_, driver)| *driver));
    if let Some(driver) = bound {
        // SAFETY: they are bound.
        unsafe { detach(adev, driver) };
    }
    with_bus(|bus| bus.devices.retain(|known| *known != adev));
    // SAFETY: the caller's contract.
    if let Some(ledger) = unsafe { (*adev).ledger.take() } {
        machine::resource::give_back(ledger);
    }
}
