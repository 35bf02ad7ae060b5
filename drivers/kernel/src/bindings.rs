//! The few C types and numbers that signatures of this crate name.
//!
//! Differs from Linux: there is no C underneath, so only what a signature needs is here, and the structures hold what the
//! simulated machine needs rather than the kernel's fields.

#![allow(non_camel_case_types, reason = "C's own names")]

use core::cell::UnsafeCell;

mod auxiliary;
mod driver_model;
mod files;
mod platform_bus;
mod scheduling;
pub use auxiliary::*;
pub use driver_model::*;
pub use files::*;
pub use platform_bus::*;
pub use scheduling::*;

/// An address as a device sees it.
pub type dma_addr_t = u64;
/// A physical address.
pub type phys_addr_t = u64;
/// The size of a memory or I/O resource in bytes.
pub type resource_size_t = phys_addr_t;
/// A position in a file in bytes.
pub type loff_t = i64;
/// Allocation flags, see [`crate::alloc::flags`].
pub type gfp_t = u32;

/// The largest error number that a pointer can carry.
pub const MAX_ERRNO: u32 = 4095;
/// Matches any id in a PCI id table.
pub const PCI_ANY_ID: u32 = !0;
/// The base-2 logarithm of the page size.
pub const PAGE_SHIFT: u32 = 12;
/// The page size in bytes.
pub const PAGE_SIZE: usize = 1 << PAGE_SHIFT;
/// The largest block that `kmalloc` hands out, in bytes: the buddy allocator's largest order.
pub const KMALLOC_MAX_SIZE: u32 = 1 << (10 + PAGE_SHIFT);
/// The alignment in bytes that every `kmalloc` block has at least.
pub const ARCH_KMALLOC_MINALIGN: usize = 8;
/// The number of NUMA nodes that node numbers may name.
pub const MAX_NUMNODES: u32 = 1024;
/// The node number that means "any".
pub const NUMA_NO_NODE: i32 = -1;

/// One page of memory.
///
/// Differs from Linux: the kernel's `struct page` describes a page, this one is its bytes; the pointer to it is the
/// address of the memory.
#[repr(C, align(4096))]
pub struct page {
    bytes: UnsafeCell<[u8; PAGE_SIZE]>,
}

/// A loadable module. Only pointers to it exist.
#[repr(C)]
pub struct module {
    _private: [u8; 0],
}

/// A class of locks: its identity is its address, so it must not be zero-sized.
#[repr(C)]
#[derive(Default)]
pub struct lock_class_key {
    _identity: UnsafeCell<u8>,
}
