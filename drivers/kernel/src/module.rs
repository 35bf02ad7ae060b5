//! Loadable modules: what a module implements, what `module!` says about it, and how the machine loads it.

use crate::error::{Error, Result};
use core::mem::MaybeUninit;
use core::pin::Pin;
use pin_init::PinInit;
use std::boxed::Box;

#[doc(hidden)]
pub use crate::machine::module::{Loadable, Loaded, ParamDef, ParamTarget};

#[doc(hidden)]
pub use crate::module_param::param_def;

/// A module that is a value: loading makes it, unloading drops it.
pub trait Module: Sized + Sync + Send {
    /// Runs when the module is loaded.
    ///
    /// An error fails the load with its number; nothing of the module is left then.
    fn init(module: &'static ThisModule) -> Result<Self>;
}

/// A module that is initialised at its final address and stays pinned there.
pub trait InPlaceModule: Sync + Send {
    /// Returns the initialiser that loading the module runs.
    fn init(module: &'static ThisModule) -> impl PinInit<Self, Error>;
}

impl<T: Module> InPlaceModule for T {
    fn init(module: &'static ThisModule) -> impl PinInit<Self, Error> {
        // SAFETY: the closure writes a whole `Self` before it says `Ok`, and nothing otherwise.
        unsafe {
            pin_init::pin_init_from_closure(move |slot: *mut Self| {
                slot.write(<Self as Module>::init(module)?);
                Ok(())
            })
        }
    }
}

/// What `module!` says about the type it is given.
pub trait ModuleMetadata {
    /// The module's name.
    const NAME: &'static crate::str::CStr;

    /// The module itself, for registrations that must keep it loaded.
    const THIS_MODULE: ThisModule;
}

/// Returns the module that a type stands for.
pub const fn this_module<M: ModuleMetadata>() -> &'static ThisModule {
    &M::THIS_MODULE
}

/// The `THIS_MODULE` of C: who owns a registration.
///
/// Differs from Linux: the pointer inside is opaque and may be null also for a loaded module; nothing reads behind it.
pub struct ThisModule(*mut crate::bindings::module);

// SAFETY: the pointer is only a name; nothing is read or written behind it.
unsafe impl Sync for ThisModule {}

impl ThisModule {
    /// Wraps the pointer that names a module.
    ///
    /// # Safety
    ///
    /// The pointer must be that of the module the caller belongs to.
    pub const unsafe fn from_ptr(ptr: *mut crate::bindings::module) -> ThisModule {
        ThisModule(ptr)
    }

    /// Returns the pointer that names this module.
    pub const fn as_ptr(&self) -> *mut crate::bindings::module {
        self.0
    }
}

/// Loads the module `T`: the `init` of the [`Loadable`] that `module!` makes.
///
/// A module's own image is memory that the module loader has, not a `kmalloc` block, so it comes from the host and its
/// allocation is no choice of the machine's. The error is the negative number of what the module's `init` failed with.
#[doc(hidden)]
pub fn init_module<T: InPlaceModule + ModuleMetadata + 'static>() -> core::result::Result<Loaded, i32> {
    /// A module's image at the address where it was initialised.
    struct Image<T>(#[expect(dead_code, reason = "held to be dropped at unload")] Pin<Box<T>>);

    let mut image = Box::<MaybeUninit<T>>::new(MaybeUninit::uninit());
    // SAFETY: the slot is valid memory for a `T`; on an error it is freed without being dropped, and on success the
    // value is pinned from here on.
    unsafe { pin_init::raw_try_init(image.as_mut_ptr(), T::init(this_module::<T>())) }.map_err(Error::to_errno)?;
    // SAFETY: the initialiser said that it wrote a whole `T`.
    let image = unsafe { Box::from_raw(Box::into_raw(image).cast::<T>()) };
    Ok(Loaded(Box::new(Image(Box::into_pin(image)))))
}
