//! Allocation: three heaps behind one trait, boxes and vectors over them, and the flags that say what an allocation may do.
//!
//! Every allocation can fail, and the machine makes each of them fail in some life. Zero-sized types never allocate.

use crate::bindings;
use crate::error::{code::EINVAL, Result};
use core::alloc::Layout;
use core::ptr::NonNull;

pub mod allocator;
pub mod kbox;
pub mod kvec;
pub mod layout;

pub use self::kbox::{Box, KBox, KVBox, VBox};
pub use self::kvec::{IntoIter, KVVec, KVec, VVec, Vec};

/// An allocation failed. It becomes `ENOMEM`.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct AllocError;

/// What an allocation may do and wants: a set of the constants in [`flags`].
#[derive(Clone, Copy, PartialEq)]
pub struct Flags(u32);

impl Flags {
    /// Says whether all of `flags` are in the set.
    pub fn contains(self, flags: Flags) -> bool {
        self.0 & flags.0 == flags.0
    }

    /// Says whether an allocation with these flags may wait, which atomic context forbids.
    pub(crate) fn may_sleep(self) -> bool {
        self.0 & flags::DIRECT_RECLAIM != 0
    }
}

impl core::ops::BitOr for Flags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl core::ops::BitAnd for Flags {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl core::ops::Not for Flags {
    type Output = Self;

    fn not(self) -> Self {
        Self(!self.0)
    }
}

/// The allocation flags that drivers use.
pub mod flags {
    use super::Flags;

    const HIGHMEM: u32 = 1 << 1;
    const HIGH: u32 = 1 << 5;
    const IO: u32 = 1 << 6;
    const FS: u32 = 1 << 7;
    const ZERO: u32 = 1 << 8;
    pub(super) const DIRECT_RECLAIM: u32 = 1 << 10;
    const KSWAPD_RECLAIM: u32 = 1 << 11;
    const NOWARN: u32 = 1 << 13;
    const ACCOUNT: u32 = 1 << 22;

    /// The usual flags of process context: the allocation may sleep, and may do I/O and call file systems to get memory.
    pub const GFP_KERNEL: Flags = Flags(DIRECT_RECLAIM | KSWAPD_RECLAIM | IO | FS);

    /// As [`GFP_KERNEL`], on the account of the current process's control group.
    pub const GFP_KERNEL_ACCOUNT: Flags = Flags(GFP_KERNEL.0 | ACCOUNT);

    /// For interrupt handlers and under spinlocks: the allocation does not sleep, and may use reserves.
    pub const GFP_ATOMIC: Flags = Flags(HIGH | KSWAPD_RECLAIM);

    /// The allocation does not sleep and may not use reserves; failing is expected and not warned about.
    pub const GFP_NOWAIT: Flags = Flags(KSWAPD_RECLAIM | NOWARN);

    /// The memory comes zeroed. To be or-ed to one of the others.
    pub const __GFP_ZERO: Flags = Flags(ZERO);

    /// The memory may lie where the kernel has no address for it. To be or-ed to one of the others.
    ///
    /// Differs from Linux: no memory of the machine does; the flag changes nothing, as on 64-bit machines.
    pub const __GFP_HIGHMEM: Flags = Flags(HIGHMEM);

    /// Failing is not warned about. To be or-ed to one of the others.
    pub const __GFP_NOWARN: Flags = Flags(NOWARN);
}

/// A NUMA node to allocate on.
///
/// Differs from Linux: the machine has one node, so the number changes nothing.
#[derive(Clone, Copy, PartialEq)]
pub struct NumaNode(i32);

impl NumaNode {
    /// Any node.
    pub const NO_NODE: NumaNode = NumaNode(bindings::NUMA_NO_NODE);

    /// Names a node. `EINVAL` for a negative number, and for one that no node can have.
    pub fn new(node: i32) -> Result<Self> {
        if (0..bindings::MAX_NUMNODES as i32).contains(&node) {
            Ok(Self(node))
        } else {
            Err(EINVAL)
        }
    }
}

/// A heap.
///
/// Blocks of zero bytes are dangling pointers that cost nothing and need no freeing.
///
/// # Safety
///
/// - A block must stay valid until it is freed or resized.
/// - [`realloc`](Self::realloc) must keep the first bytes of the block, as many as the smaller of both sizes.
/// - [`free`](Self::free) must accept every block of the heap's, those of zero bytes included.
pub unsafe trait Allocator {
    /// The alignment in bytes that every block of at least one byte has.
    const MIN_ALIGN: usize;

    /// Allocates a block for `layout`.
    ///
    /// With `__GFP_ZERO` its bytes are zero. The returned length is that of the layout or more.
    #[track_caller]
    fn alloc(layout: Layout, flags: Flags, nid: NumaNode) -> Result<NonNull<[u8]>, AllocError> {
        // SAFETY: there is no block to resize.
        unsafe { Self::realloc(None, layout, Layout::new::<()>(), flags, nid) }
    }

    /// Resizes a block, or allocates one when `ptr` is `None` or `old_layout` has no bytes.
    ///
    /// After an error the old block stands unchanged. With `__GFP_ZERO` the bytes that are new are zero, given that the
    /// block was allocated with the flag, too. A `layout` of zero bytes frees the block.
    ///
    /// # Safety
    ///
    /// `ptr` must be a block of this heap with `old_layout`, which must not be used after success.
    #[track_caller]
    unsafe fn realloc(
        ptr: Option<NonNull<u8>>,
        layout: Layout,
        old_layout: Layout,
        flags: Flags,
        nid: NumaNode,
    ) -> Result<NonNull<[u8]>, AllocError>;

    /// Frees a block.
    ///
    /// # Safety
    ///
    /// `ptr` must be a block of this heap with `layout`, which must not be used after the call.
    unsafe fn free(ptr: NonNull<u8>, layout: Layout) {
        // SAFETY: the caller's contract. A resize to nothing cannot fail.
        let _ = unsafe { Self::realloc(Some(ptr), Layout::new::<()>(), layout, Flags(0), NumaNode::NO_NODE) };
    }
}

/// The block that stands for zero bytes with an alignment.
pub(crate) fn dangling_from_layout(layout: Layout) -> NonNull<u8> {
    NonNull::without_provenance(layout.align().try_into().unwrap_or(core::num::NonZero::<usize>::MIN))
}
