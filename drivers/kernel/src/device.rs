//! Devices of any bus: what drivers know about them in which situation, and messages about them.
//!
//! Every bus has a device type of its own, such as [`pci::Device`](crate::pci::Device), which has a [`Device`] inside.
//! All of them carry a *context*, a type that says what is known about the device where the reference is used:
//!
//! - [`Normal`]: it exists. References can be counted and kept ([`ARef`]).
//! - [`Bound`]: it has a driver for as long as the reference lives. What belongs to the driver, such as registers and
//!   DMA memory, can be had now.
//! - [`Core`]: a callback of the bus is running, so nothing else of the driver's life goes on meanwhile. `probe` and
//!   `unbind` get this one.
//!
//! A device in a stronger context dereferences to the weaker ones.

use crate::alloc::flags::GFP_KERNEL;
use crate::alloc::KBox;
use crate::bindings;
use crate::error::{Error, Result};
use crate::fmt::Arguments;
use crate::init::InPlaceInit;
use crate::machine;
use crate::str::CStr;
use crate::sync::aref::{ARef, AlwaysRefCounted};
use crate::types::{ForeignOwnable, Opaque};
use core::marker::PhantomData;
use core::pin::Pin;
use core::ptr::NonNull;
use pin_init::PinInit;

pub mod property;

/// A device of any bus.
#[repr(transparent)]
pub struct Device<Ctx: DeviceContext = Normal>(Opaque<bindings::device>, PhantomData<Ctx>);

impl Device {
    /// Takes a reference to a device that is known by its pointer.
    ///
    /// # Safety
    ///
    /// The pointer must be that of a device which stays during the call.
    pub unsafe fn get_device(ptr: *mut bindings::device) -> ARef<Self> {
        // SAFETY: the caller's contract.
        unsafe { Self::from_raw(ptr) }.into()
    }

    /// Takes the caller's word that the device has a driver.
    ///
    /// # Safety
    ///
    /// It must have one for as long as the reference is used.
    pub unsafe fn as_bound(&self) -> &Device<Bound> {
        // SAFETY: contexts add nothing to the structure, and the caller's contract is what this one says.
        unsafe { Device::from_raw(self.as_raw()) }
    }
}

impl Device<CoreInternal<'_>> {
    /// Makes the driver's data for the device and stores it there. `ENOMEM`, or the error of the initialiser.
    #[track_caller]
    pub fn set_drvdata<T>(&self, data: impl PinInit<T, Error>) -> Result {
        let data: Pin<KBox<T>> = KBox::pin_init(data, GFP_KERNEL)?;
        self.fields().set_drvdata(data.into_foreign());
        Ok(())
    }

    /// Takes the driver's data back.
    ///
    /// # Safety
    ///
    /// If there is any, it must be of the type `T`.
    pub(crate) unsafe fn drvdata_obtain<T>(&self) -> Option<Pin<KBox<T>>> {
        let data = self.fields().drvdata();
        self.fields().set_drvdata(core::ptr::null_mut());
        // SAFETY: it comes from `set_drvdata` with this type, or is null.
        unsafe { <Pin<KBox<T>>>::try_from_foreign(data) }
    }
}

impl<Ctx: InternalBoundContext> Device<Ctx> {
    /// Borrows the driver's data.
    ///
    /// # Safety
    ///
    /// It must have been set, with the type `T`, and nobody may take it back while it is borrowed.
    pub unsafe fn drvdata_borrow<T>(&self) -> Pin<&T> {
        // SAFETY: the caller's contract.
        unsafe { <Pin<KBox<T>>>::borrow(self.fields().drvdata()) }
    }
}

/// Makes a method that prints a message about the device at a level.
macro_rules! messages {
    ($($(#[$doc:meta])* $method:ident: $level:literal;)*) => {$(
        $(#[$doc])*
        pub fn $method(&self, args: Arguments<'_>) {
            self.printk($level, args);
        }
    )*};
}

impl<Ctx: DeviceContext> Device<Ctx> {
    /// Takes a pointer for a device.
    ///
    /// # Safety
    ///
    /// It must be one for `'a`, and what the context says must hold.
    pub unsafe fn from_raw<'a>(ptr: *mut bindings::device) -> &'a Self {
        // SAFETY: the caller's contract; the wrapper is transparent.
        unsafe { &*ptr.cast::<Self>() }
    }

    pub(crate) fn as_raw(&self) -> *mut bindings::device {
        self.0.get()
    }

    /// The structure behind the pointer, all of whose changing parts are in cells.
    pub(crate) fn fields(&self) -> &bindings::device {
        // SAFETY: a device is valid while there is a reference to it, and nothing borrows its structure mutably.
        unsafe { &*self.as_raw() }
    }

    /// Its name: the address on buses that have addresses.
    pub fn name(&self) -> &CStr {
        &self.fields().name
    }

    messages! {
        /// What [`dev_emerg!`](crate::dev_emerg) calls: the system is unusable.
        pr_emerg: 0;
        /// What [`dev_alert!`](crate::dev_alert) calls: action must be taken at once.
        pr_alert: 1;
        /// What [`dev_crit!`](crate::dev_crit) calls: a critical condition.
        pr_crit: 2;
        /// What [`dev_err!`](crate::dev_err) calls: an error.
        pr_err: 3;
        /// What [`dev_warn!`](crate::dev_warn) calls: a warning.
        pr_warn: 4;
        /// What [`dev_notice!`](crate::dev_notice) calls: normal, but worth a look.
        pr_notice: 5;
        /// What [`dev_info!`](crate::dev_info) calls: informational.
        pr_info: 6;
    }

    /// What [`dev_dbg!`](crate::dev_dbg) calls: for debugging. Prints only if this crate is built with debug assertions.
    pub fn pr_dbg(&self, args: Arguments<'_>) {
        if cfg!(debug_assertions) {
            self.printk(7, args);
        }
    }

    fn printk(&self, level: u8, args: Arguments<'_>) {
        let (driver, name) = (self.fields().driver_string(), self.fields().name.to_string_lossy());
        machine::printk(level, format_args!("{driver} {name}: {args}"));
    }
}

// SAFETY: the wrapper is transparent, whatever the context.
kernel::impl_device_context_deref!(unsafe { Device });
kernel::impl_device_context_into_aref!(Device);

// SAFETY: devices count their references, and their bus frees them after the last.
unsafe impl AlwaysRefCounted for Device {
    fn inc_ref(&self) {
        // SAFETY: it is a device, and who calls has a reference.
        unsafe { bindings::get_device(self.as_raw()) };
    }

    unsafe fn dec_ref(obj: NonNull<Self>) {
        // SAFETY: the caller's contract.
        unsafe { bindings::put_device(obj.as_ptr().cast()) };
    }
}

// SAFETY: a device belongs to no task.
unsafe impl Send for Device {}

// SAFETY: tasks take turns on one processor, and what happens to a device happens between two turns.
unsafe impl Sync for Device {}

// SAFETY: as above; the context only says what is known.
unsafe impl Sync for Device<Bound> {}

impl<Ctx: DeviceContext> AsRef<Device<Ctx>> for Device<Ctx> {
    fn as_ref(&self) -> &Self {
        self
    }
}

/// What is known about a device: one of [`Normal`], [`Bound`], [`Core`], [`CoreInternal`] and [`BoundInternal`].
pub trait DeviceContext: sealed::Context {}

/// Contexts of the buses themselves, in which the driver's data is within reach.
pub trait InternalBoundContext: DeviceContext {}

/// The device exists.
pub struct Normal;

/// The device has a driver while the reference lives.
pub struct Bound;

/// As [`Bound`], for the buses' own use.
pub struct BoundInternal;

/// A callback of the bus runs. The lifetime is that of the call: such a reference can be kept nowhere.
pub struct Core<'a>(Invariant<'a>);

/// As [`Core`], for the buses' own use.
pub struct CoreInternal<'a>(Invariant<'a>);

/// A lifetime that can be made neither longer nor shorter.
type Invariant<'a> = PhantomData<fn(&'a ()) -> &'a ()>;

mod sealed {
    /// Keeps others from adding contexts.
    pub trait Context {}
}

macro_rules! contexts {
    ($($Context:ty),*) => {$(
        impl sealed::Context for $Context {}
        impl DeviceContext for $Context {}
    )*};
}

contexts!(Normal, Bound, BoundInternal, Core<'_>, CoreInternal<'_>);

impl InternalBoundContext for BoundInternal {}
impl InternalBoundContext for CoreInternal<'_> {}

/// Devices of a bus, which have a [`Device`] at a known place inside.
///
/// # Safety
///
/// It must be [`OFFSET`](Self::OFFSET) bytes from the start, and the context must change nothing about the layout.
pub unsafe trait AsBusDevice<Ctx: DeviceContext>: AsRef<Device<Ctx>> {
    /// Where the [`Device`] is, in bytes.
    const OFFSET: usize;

    /// Goes back from the [`Device`] to the device of the bus.
    ///
    /// # Safety
    ///
    /// It must be inside one.
    unsafe fn from_device(dev: &Device<Ctx>) -> &Self
    where
        Self: Sized,
    {
        // SAFETY: the caller's contract, and the implementor's.
        unsafe { &*dev.as_raw().byte_sub(Self::OFFSET).cast::<Self>() }
    }
}

/// Lets a device type dereference from each context to the next weaker one.
///
/// Written `impl_device_context_deref!(unsafe { Device })`, where `Device` is generic over the context.
///
/// # Safety
///
/// The type must be a transparent wrapper of one that does not depend on the context.
#[macro_export]
macro_rules! impl_device_context_deref {
    (unsafe { $Device:ident }) => {
        $crate::__device_contexts_deref! { $Device:
            [] $crate::device::Bound => $crate::device::Normal;
            [] $crate::device::BoundInternal => $crate::device::Bound;
            ['a] $crate::device::Core<'a> => $crate::device::Bound;
            ['a] $crate::device::CoreInternal<'a> => $crate::device::Core<'a>;
        }
    };
}

/// The part of [`impl_device_context_deref!`] that is done for each pair of contexts.
#[doc(hidden)]
#[macro_export]
macro_rules! __device_contexts_deref {
    ($Device:ident: $([$($lt:lifetime)?] $from:ty => $to:ty;)*) => {$(
        impl$(<$lt>)? ::core::ops::Deref for $Device<$from> {
            type Target = $Device<$to>;

            fn deref(&self) -> &$Device<$to> {
                // SAFETY: whoever uses the macro says that both are transparent wrappers of one type.
                unsafe { &*::core::ptr::from_ref(self).cast() }
            }
        }
    )*};
}

/// Lets references to a device in any context be turned into counted ones.
#[macro_export]
macro_rules! impl_device_context_into_aref {
    ($Device:tt) => {
        $crate::__device_contexts_into_aref! { $Device:
            [] $crate::device::Bound,
            [] $crate::device::BoundInternal,
            ['a] $crate::device::Core<'a>,
            ['a] $crate::device::CoreInternal<'a>,
        }
    };
}

/// The part of [`impl_device_context_into_aref!`] that is done for each context.
#[doc(hidden)]
#[macro_export]
macro_rules! __device_contexts_into_aref {
    ($Device:tt: $([$($lt:lifetime)?] $context:ty,)*) => {$(
        impl$(<$lt>)? ::core::convert::From<&$Device<$context>> for $crate::sync::aref::ARef<$Device> {
            fn from(device: &$Device<$context>) -> Self {
                // Dereferences as far as the counted context.
                let device: &$Device = device;
                device.into()
            }
        }
    )*};
}

/// Prints a message about a device with a method of [`Device`].
#[doc(hidden)]
#[macro_export]
macro_rules! dev_printk {
    ($method:ident, $dev:expr, $($message:tt)*) => {
        $crate::device::Device::$method($dev.as_ref(), $crate::prelude::fmt!($($message)*))
    };
}

/// Prints a message about a device at the emergency level: the system is unusable.
#[macro_export]
macro_rules! dev_emerg {
    ($($args:tt)*) => { $crate::dev_printk!(pr_emerg, $($args)*) };
}

/// Prints a message about a device at the alert level: action must be taken at once.
#[macro_export]
macro_rules! dev_alert {
    ($($args:tt)*) => { $crate::dev_printk!(pr_alert, $($args)*) };
}

/// Prints a message about a device at the critical level.
#[macro_export]
macro_rules! dev_crit {
    ($($args:tt)*) => { $crate::dev_printk!(pr_crit, $($args)*) };
}

/// Prints a message about a device at the error level.
#[macro_export]
macro_rules! dev_err {
    ($($args:tt)*) => { $crate::dev_printk!(pr_err, $($args)*) };
}

/// Prints a message about a device at the warning level.
#[macro_export]
macro_rules! dev_warn {
    ($($args:tt)*) => { $crate::dev_printk!(pr_warn, $($args)*) };
}

/// Prints a message about a device at the notice level: normal, but worth a look.
#[macro_export]
macro_rules! dev_notice {
    ($($args:tt)*) => { $crate::dev_printk!(pr_notice, $($args)*) };
}

/// Prints a message about a device at the informational level: "DRIVER DEVICE: message".
///
/// The first argument is a device of any bus, the rest is as for `fmt!`. The message should end in a newline.
///
/// ```
/// use kernel::{device::Bound, pci, prelude::*};
///
/// fn greet(pdev: &pci::Device<Bound>) {
///     dev_info!(pdev, "revision {:#x}\n", pdev.revision_id());
/// }
/// ```
#[macro_export]
macro_rules! dev_info {
    ($($args:tt)*) => { $crate::dev_printk!(pr_info, $($args)*) };
}

/// Prints a message about a device at the debug level, if the `kernel` crate is built with debug assertions.
#[macro_export]
macro_rules! dev_dbg {
    ($($args:tt)*) => { $crate::dev_printk!(pr_dbg, $($args)*) };
}
