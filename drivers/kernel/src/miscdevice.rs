//! Misc devices: the simplest way to offer user space a file below `/dev`.

use crate::bindings;
use crate::build_assert::build_error;
use crate::device::Device;
use crate::error::{code::ENODEV, Error, Result, VTABLE_DEFAULT_ERROR};
use crate::ffi::{c_int, c_uint, c_void, CStr};
use crate::fs::{syscall::Opened, File, Kiocb};
use crate::iov::{IovIterDest, IovIterSource};
use crate::machine;
use crate::types::{ForeignOwnable, Opaque, ScopeGuard};
use bringup_bench::file::{CharDevice, OpenFile};
use core::cell::Cell;
use core::marker::PhantomData;
use core::panic::Location;
use core::pin::Pin;
use macros::vtable;
use pin_init::{pin_data, pinned_drop, PinInit};
use std::boxed::Box;
use std::rc::Rc;

/// What a misc device is registered with.
#[derive(Copy, Clone)]
pub struct MiscDeviceOptions {
    /// Its name below `/dev`.
    pub name: &'static CStr,
}

impl MiscDeviceOptions {
    /// Makes C's structure, ready to be registered.
    pub const fn into_raw<T: MiscDevice>(self) -> bindings::miscdevice {
        bindings::miscdevice {
            name: self.name,
            fops: &Operations::<T>::TABLE,
            this_device: core::ptr::null_mut(),
            node: None,
        }
    }
}

/// A registered misc device. Dropping it takes the device away; files that are open stay open.
#[pin_data(PinnedDrop)]
#[repr(transparent)]
pub struct MiscDeviceRegistration<T> {
    #[pin]
    misc: Opaque<bindings::miscdevice>,
    _driver: PhantomData<T>,
}

// SAFETY: a machine has one thread, and a device may be taken away by another task than the one that registered it.
unsafe impl<T> Send for MiscDeviceRegistration<T> {}

// SAFETY: as above; shared access only reads.
unsafe impl<T> Sync for MiscDeviceRegistration<T> {}

impl<T: MiscDevice> MiscDeviceRegistration<T> {
    /// Returns an initialiser that registers the device: from then on it can be opened.
    ///
    /// `EEXIST` when the name is taken.
    #[track_caller]
    pub fn register(opts: MiscDeviceOptions) -> impl PinInit<Self, Error> {
        let place = Location::caller();
        crate::try_pin_init!(Self {
            misc <- Opaque::try_ffi_init(move |slot: *mut bindings::miscdevice| {
                // SAFETY: the slot is valid for writes.
                unsafe { slot.write(opts.into_raw::<T>()) };
                // SAFETY: it was just written, and stays where it is until it is dropped, which deregisters it.
                unsafe { register(slot, place) }
            }),
            _driver: PhantomData,
        })
    }

    /// Returns C's structure.
    pub fn as_raw(&self) -> *mut bindings::miscdevice {
        self.misc.get()
    }

    /// Returns the device that stands for it in the driver model, for messages.
    pub fn device(&self) -> &Device {
        // SAFETY: the structure is valid, and only read while it is shared.
        let device = unsafe { (*self.as_raw()).this_device };
        // SAFETY: the device was made when this was registered and lives as long.
        unsafe { Device::from_raw(device) }
    }
}

/// Registers a misc device with the machine, for whoever stands at `place`: C's `misc_register()`.
///
/// # Safety
///
/// The structure must be valid and stay where it is until it is deregistered.
unsafe fn register(misc: *mut bindings::miscdevice, place: machine::Place) -> Result {
    // SAFETY: the structure is valid, and nobody else knows it yet.
    let this = unsafe { &mut *misc };
    let name = this.name.to_str()?;
    let gate = Rc::<Gate>::default();
    let node = Rc::new(Node { fops: this.fops, misc, gate: gate.clone() });
    this.this_device = new_device(this.name);
    match machine::file::misc_register_at(name, node, place) {
        Ok(id) => {
            this.node = Some((id, gate));
            Ok(())
        }
        Err(errno) => {
            // SAFETY: the device was just made.
            unsafe { bindings::put_device(this.this_device) };
            Err(Error::from_errno(errno))
        }
    }
}

/// Makes what stands for a misc device in the driver model, with one reference.
fn new_device(name: &CStr) -> *mut bindings::device {
    /// Frees it.
    ///
    /// # Safety
    ///
    /// It must come from a box, and nobody may refer to it any more.
    unsafe fn release(device: *mut bindings::device) {
        // SAFETY: the caller's contract.
        drop(unsafe { Box::from_raw(device) });
    }

    let parent = core::ptr::null_mut();
    // SAFETY: there is no parent, and `release` frees the box.
    let device = unsafe { bindings::device::new(name.into(), bindings::bus_type::misc, parent, None, release) };
    Box::into_raw(Box::new(device))
}

/// Takes a misc device away and waits until nobody is in its `open`: C's `misc_deregister()`.
///
/// # Safety
///
/// It must be registered.
unsafe fn deregister(misc: *mut bindings::miscdevice) {
    // SAFETY: the structure is valid; those who open it only read.
    let (node, device) = unsafe { (&(*misc).node, (*misc).this_device) };
    if let Some((id, gate)) = node {
        machine::file::misc_deregister(*id);
        gate.close();
    }
    // SAFETY: the device was made when this was registered.
    unsafe { bindings::put_device(device) };
    // SAFETY: nobody opens it any more, and the memory around the structure does not drop it.
    unsafe { misc.drop_in_place() };
}

#[pinned_drop]
impl<T> PinnedDrop for MiscDeviceRegistration<T> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: the device is registered, and this is the end of it.
        unsafe { deregister(self.misc.get()) };
    }
}

/// Keeps a device from going away while it is being opened: what Linux's `misc_mtx` does.
#[derive(Default)]
pub struct Gate {
    closed: Cell<bool>,
    opening: Cell<u32>,
}

impl Gate {
    fn key(&self) -> usize {
        core::ptr::from_ref(self).addr()
    }

    /// Enters while the device is there; whoever enters leaves when the guard goes.
    fn enter(&self) -> Result<ScopeGuard<(), impl FnOnce(()) + '_>> {
        if self.closed.get() {
            return Err(ENODEV);
        }
        self.opening.set(self.opening.get() + 1);
        Ok(ScopeGuard::new_with_data((), |()| {
            self.opening.set(self.opening.get() - 1);
            machine::wake_all(self.key());
        }))
    }

    fn close(&self) {
        self.closed.set(true);
        // In a life that has crashed nobody leaves any more.
        while self.opening.get() > 0 && !machine::is_crashed() {
            machine::wait(self.key(), None, false, "misc_deregister");
        }
    }
}

/// A misc device as the machine sees it.
struct Node {
    fops: &'static bindings::file_operations,
    misc: *mut bindings::miscdevice,
    gate: Rc<Gate>,
}

impl CharDevice for Node {
    fn open(&self) -> Result<Box<dyn OpenFile>, i32> {
        let _inside = self.gate.enter().map_err(Error::to_errno)?;
        // SAFETY: a driver's `open` finds its device in the file, which is there while the gate is entered.
        unsafe { Opened::open(self.fops, self.misc.cast()) }
    }
}

/// What a driver does with the open files of its misc device. `Self` is usually what one open file has.
///
/// Without `read_iter` a read fails with `EINVAL`, without `write_iter` a write does, and without `ioctl` an `ioctl` fails
/// with `ENOTTY`.
///
/// Differs from Linux: the methods `mmap`, `compat_ioctl` and `show_fdinfo` are missing, since no user of the machine maps
/// files, runs 32-bit code or looks into `/proc`; implementing one does not compile.
#[vtable]
pub trait MiscDevice: Sized {
    /// The pointer to what an open file has.
    type Ptr: ForeignOwnable + Send + Sync;

    /// Opens: makes what the file has.
    fn open(file: &File, misc: &MiscDeviceRegistration<Self>) -> Result<Self::Ptr>;

    /// The file's last user has closed it.
    fn release(device: Self::Ptr, file: &File) {
        let _ = file;
        drop(device);
    }

    /// Reads: copies to the buffer, moves the position on, and returns how many bytes that were; 0 is the end.
    fn read_iter(kiocb: Kiocb<'_, Self::Ptr>, iov: &mut IovIterDest<'_>) -> Result<usize> {
        let _ = (kiocb, iov);
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Writes: takes from the buffer, moves the position on, and returns how many bytes it took.
    fn write_iter(kiocb: Kiocb<'_, Self::Ptr>, iov: &mut IovIterSource<'_>) -> Result<usize> {
        let _ = (kiocb, iov);
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Does anything else. The numbers of operations are built with [`crate::ioctl`]; what the argument is, the operation
    /// says: often it is an address for [`UserPtr::from_addr`](crate::uaccess::UserPtr::from_addr).
    fn ioctl(device: <Self::Ptr as ForeignOwnable>::Borrowed<'_>, file: &File, cmd: u32, arg: usize) -> Result<isize> {
        let _ = (device, file, cmd, arg);
        build_error!(VTABLE_DEFAULT_ERROR)
    }
}

/// A driver's methods as the functions that C calls.
///
/// The private data of a file is its device while it is opened, and then what `T::open` returned.
struct Operations<T>(PhantomData<T>);

impl<T: MiscDevice> Operations<T> {
    const TABLE: bindings::file_operations = bindings::file_operations {
        open: Self::open,
        release: Self::release,
        read_iter: if T::HAS_READ_ITER { Some(Self::read_iter) } else { None },
        write_iter: if T::HAS_WRITE_ITER { Some(Self::write_iter) } else { None },
        unlocked_ioctl: if T::HAS_IOCTL { Some(Self::ioctl) } else { None },
    };

    unsafe fn open(raw: *mut bindings::file) -> c_int {
        // SAFETY: the file is valid and being opened, so nobody else looks at it.
        let (file, private) = unsafe { (File::from_raw_file(raw), &(*raw).private_data) };
        // SAFETY: the private data is the structure of a `MiscDeviceRegistration<T>` that cannot go away meanwhile.
        let misc = unsafe { &*private.get().cast::<MiscDeviceRegistration<T>>() };
        match T::open(file, misc) {
            Ok(device) => {
                private.set(device.into_foreign());
                0
            }
            Err(error) => error.to_errno(),
        }
    }

    unsafe fn release(raw: *mut bindings::file) {
        // SAFETY: the file is valid; its private data is what `open` put there, and nobody borrows it any more.
        let device = unsafe { T::Ptr::from_foreign((*raw).private_data.get()) };
        // SAFETY: the file is valid until this function returns.
        T::release(device, unsafe { File::from_raw_file(raw) });
    }

    unsafe fn read_iter(kiocb: *mut bindings::kiocb, iter: *mut bindings::iov_iter) -> isize {
        // SAFETY: both are valid, of a file with these operations, and for a read.
        let (kiocb, iov) = unsafe { (Kiocb::from_raw(kiocb), IovIterDest::from_raw(iter)) };
        crate::fs::syscall::returned(T::read_iter(kiocb, iov))
    }

    unsafe fn write_iter(kiocb: *mut bindings::kiocb, iter: *mut bindings::iov_iter) -> isize {
        // SAFETY: both are valid, of a file with these operations, and for a write.
        let (kiocb, iov) = unsafe { (Kiocb::from_raw(kiocb), IovIterSource::from_raw(iter)) };
        crate::fs::syscall::returned(T::write_iter(kiocb, iov))
    }

    unsafe fn ioctl(raw: *mut bindings::file, cmd: c_uint, arg: usize) -> isize {
        // SAFETY: the file is valid; its private data is what `open` put there, and stays until the file is released.
        let (file, device) = unsafe { (File::from_raw_file(raw), T::Ptr::borrow(Self::private_of(raw))) };
        T::ioctl(device, file, cmd, arg).unwrap_or_else(|error| error.to_errno() as isize)
    }

    unsafe fn private_of(raw: *mut bindings::file) -> *mut c_void {
        // SAFETY: the caller says that the file is valid.
        unsafe { (*raw).private_data.get() }
    }
}
