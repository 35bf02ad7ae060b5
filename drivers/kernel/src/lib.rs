//! Linux 7.3's Rust `kernel` crate for userspace: the same paths, names, signatures and meanings, over Bringup's machine.
//!
//! A driver written against this crate is the driver that goes into the kernel tree. What Linux 7.3 offers and this
//! crate does not is absent, so that using it fails to compile; where an item behaves differently, its documentation has
//! a line that starts with "Differs from Linux:".
//!
//! # What needs a nightly compiler
//!
//! In the kernel, `KBox<T>`, `Arc<T>` and `ArcBorrow<'_, T>` turn into their `dyn Trait` and slice forms by coercion.
//! Stable Rust offers that only to the standard library's pointers, so here it stands behind the cargo feature
//! `unsizing`, which needs a nightly compiler or `RUSTC_BOOTSTRAP=1`. Methods that take `self: Arc<Self>` need
//! `#![feature(arbitrary_self_types)]` in the driver's crate, as kbuild gives it.

#![no_std]
#![cfg_attr(feature = "unsizing", feature(derive_coerce_pointee))]
#![allow(
    unsafe_code,
    reason = "this crate is the safe face of a kernel: its collections, pins and reference counts are built on raw memory"
)]

extern crate std;

// Generated code says `::kernel`, also inside this crate.
extern crate self as kernel;

// Foundations.
pub mod alloc;
#[doc(hidden)]
pub mod bindings;
pub mod bug;
pub mod device_id;
pub mod error;
pub mod ffi;
pub mod fmt;
pub mod init;
pub mod interrupt;
pub mod irq;
#[doc(hidden)]
pub mod machine;
pub mod module;
pub mod module_param;
pub mod page;
pub mod prelude;
pub mod print;
pub mod processor;
pub mod revocable;
pub mod safety;
#[doc(hidden)]
pub mod std_vendor;
pub mod str;
pub mod sync;
pub mod task;
pub mod time;
pub mod transmute;
pub mod types;
pub mod workqueue;

// Numbers, registers and I/O.
pub mod bitfield;
pub mod bits;
pub mod build_assert;
pub mod io;
pub mod num;
pub mod ptr;
pub mod sizes;

// Devices and buses.
pub mod acpi;
pub mod auxiliary;
pub mod device;
pub mod devres;
pub mod dma;
pub mod driver;
pub mod faux;
pub mod of;
pub mod pci;
pub mod platform;
pub mod scatterlist;

// Files and user space.
pub mod debugfs;
pub mod fs;
pub mod ioctl;
pub mod iov;
pub mod miscdevice;
pub mod seq_file;
pub mod uaccess;

pub use macros;
pub use module::{InPlaceModule, Module, ModuleMetadata, ThisModule};

/// What stands before the messages that this crate itself prints.
const __LOG_PREFIX: &[u8] = b"rust_kernel\0";

/// The module that `#[vtable]` implementations inside this crate belong to.
#[allow(dead_code, reason = "only generated code names it")]
struct LocalModule;

impl ModuleMetadata for LocalModule {
    const NAME: &'static str::CStr = c"rust_kernel";
    // SAFETY: this crate is no loadable module, and a null pointer is what built-in code has.
    const THIS_MODULE: ThisModule = unsafe { ThisModule::from_ptr(core::ptr::null_mut()) };
}

/// Goes from a pointer to a field to a pointer to the structure that holds it.
///
/// The pointer to the field may be mutable or not; the result is of the same kind.
///
/// # Safety
///
/// The pointer given and the pointer returned must lie within one allocation.
///
/// # Examples
///
/// ```
/// use kernel::container_of;
///
/// struct Channel {
///     number: u32,
///     credits: u64,
/// }
///
/// let channel = Channel { number: 3, credits: 40 };
/// let credits: *const u64 = &channel.credits;
/// // SAFETY: `credits` points into `channel`.
/// let found = unsafe { &*container_of!(credits, Channel, credits) };
/// assert_eq!(found.number, 3);
/// assert_eq!(found.credits, 40);
/// ```
#[macro_export]
macro_rules! container_of {
    ($field:expr, $Holder:ty, $($path:tt)*) => {{
        let field = $field;
        let holder = field
            .byte_sub(::core::mem::offset_of!($Holder, $($path)*))
            .cast::<$Holder>();
        $crate::assert_same_type(field, (&raw const (*holder).$($path)*).cast_mut());
        holder
    }};
}

/// Compiles only for two values of one type: the type check of [`container_of!`].
#[doc(hidden)]
pub fn assert_same_type<T>(_: T, _: T) {}

/// Returns the file of a source location as a C string.
pub fn file_from_location<'a>(loc: &'a core::panic::Location<'a>) -> &'a core::ffi::CStr {
    loc.file_as_c_str()
}
