//! The zoo: bugs that drivers really had, each planted in a small driver that is correct without it.
//!
//! [`BUGS`] is the table. It is made by the build script from `bugs/*.toml`: an entry names a driver, the edits that put the bug
//! in, and what is meant to catch it. The driver with the bug and the one without (its twin) are modules of this crate, used by
//! the same workload in the same machine; [`Bug::live`] and [`Bug::live_twin`] run a life of either.

#[path = "../shell.rs"]
mod shell;
mod table;
#[path = "../../virtio/virtio/mod.rs"]
mod virtio;
pub mod workload;

pub use table::Bug;

/// What `pr_info!` puts before each line; every driver here is a part of this crate.
const __LOG_PREFIX: &[u8] = b"zoo\0";

/// What owns the files of all drivers here.
struct LocalModule;

impl kernel::module::ModuleMetadata for LocalModule {
    const NAME: &'static kernel::str::CStr = c"zoo";

    // SAFETY: nothing looks behind the pointer of a module that is built in.
    const THIS_MODULE: kernel::module::ThisModule =
        unsafe { kernel::module::ThisModule::from_ptr(core::ptr::null_mut()) };
}

include!(concat!(env!("OUT_DIR"), "/zoo.rs"));
