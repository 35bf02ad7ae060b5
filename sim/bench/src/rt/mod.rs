//! What the kernel-shaped layer (drivers/kernel) asks of the machine: the runtime behind Linux's functions.
//!
//! All of it works on the machine of the current thread. Functions that may run driver code (handlers, other tasks) do so
//! only at points: waist operations, barriers, lock releases, interrupt enabling and waits.

pub mod context;
pub mod dma;
pub mod file;
pub mod irq;
pub mod lock;
pub mod log;
pub mod memory;
pub mod mmio;
pub mod pci;
pub mod platform;
pub mod resource;
pub mod sched;
pub mod time;
pub(crate) mod watch;

pub(crate) mod follow;
pub mod work;

mod point;

pub use context::*;
pub use follow::mem_not_followed;
pub use log::*;
pub use memory::*;
pub use mmio::*;
pub(crate) use point::idle_point;
pub use point::point;
pub use sched::{
    Wake, current_pid, current_task, lock_recursion, might_sleep, signal_pending, sleep, spawn, udelay, wait, wake_all,
    wake_one, yield_now,
};

pub use bringup_core::{DeviceId, Place};

pub use crate::ledger::{Kind, LedgerId};
pub use crate::machine::Callback;
pub use crate::module;

/// Negative error numbers that the runtime returns (Linux's, include/uapi/asm-generic/errno-base.h).
pub mod errno {
    /// No such device or address.
    pub const ENXIO: i32 = -6;
    /// Bad file descriptor.
    pub const EBADF: i32 = -9;
    /// Out of memory.
    pub const ENOMEM: i32 = -12;
    /// Bad address.
    pub const EFAULT: i32 = -14;
    /// Device or resource busy.
    pub const EBUSY: i32 = -16;
    /// File exists.
    pub const EEXIST: i32 = -17;
    /// No such device.
    pub const ENODEV: i32 = -19;
    /// Invalid argument.
    pub const EINVAL: i32 = -22;
    /// No space left on device.
    pub const ENOSPC: i32 = -28;
    /// Result out of range.
    pub const ERANGE: i32 = -34;
    /// I/O error.
    pub const EIO: i32 = -5;
    /// No such file or directory.
    pub const ENOENT: i32 = -2;
    /// Interrupted by a signal.
    pub const EINTR: i32 = -4;
}
