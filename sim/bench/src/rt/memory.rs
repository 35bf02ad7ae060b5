//! The kernel's heaps, and plain memory accesses that a memory model may look at.

use std::alloc::Layout;
use std::panic::Location;
use std::ptr::NonNull;

use bringup_core::Place;
use bringup_core::choice::Point;
use bringup_core::trace::Event;

use super::sched;
use crate::heap::{self, Allocation};
use crate::machine::try_with;

/// Which of the kernel's heaps a block belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AllocKind {
    /// Physically contiguous memory.
    Kmalloc,
    /// Virtually contiguous pages.
    Vmalloc,
    /// The first when it is small enough, the second otherwise.
    KVmalloc,
}

/// The largest block that `kmalloc` gives: 4 MiB, as with Linux's defaults on x86-64.
const KMALLOC_MAX: usize = 4 << 20;

/// Allocates a block of at least one byte. `None` when the machine decides that it fails. A block that does not come from
/// [`zeroed`](kmalloc) holds a pattern, not zeros.
#[track_caller]
pub fn kmalloc(layout: Layout, zeroed: bool, may_sleep: bool, kind: AllocKind) -> Option<NonNull<u8>> {
    assert!(layout.size() != 0, "allocations of no bytes do not reach the machine");
    let place = Location::caller();
    if may_sleep {
        sched::might_sleep_at("a GFP_KERNEL allocation", place);
    }
    if kind == AllocKind::Kmalloc && layout.size() > KMALLOC_MAX {
        return None;
    }
    let admitted = try_with(|m| {
        m.stats.allocations += 1;
        // Outside a life (the bench's own set-up and tear-down) nothing fails.
        if m.tasks.current.is_none() || m.crashed {
            return true;
        }
        let fails = m.bus.fabric.choices.choose(Point::Allocation, 2) == 1;
        if fails {
            m.stats.failed_allocations += 1;
            m.event(|| Event::AllocationFailed { size: layout.size(), place: Some(place) });
        }
        !fails
    });
    if admitted == Some(false) {
        return None;
    }
    allocate(layout, zeroed, place)
}

fn allocate(layout: Layout, zeroed: bool, place: Place) -> Option<NonNull<u8>> {
    let block = heap::take(layout, zeroed)?;
    try_with(|m| {
        let module = m.module;
        m.heap.allocations.insert(block.as_ptr().addr(), Allocation { layout, place, module });
    });
    Some(block)
}

/// Frees a block.
///
/// # Safety
/// The block must come from [`kmalloc`] or [`krealloc`] with this layout and kind, and is gone after the call.
pub unsafe fn kfree(ptr: NonNull<u8>, layout: Layout, _kind: AllocKind) {
    let freed = try_with(|m| {
        let (at, who) = (m.now(), m.bus.fabric.context.clone());
        // SAFETY: the caller's contract.
        for finding in unsafe { m.heap.free(ptr, layout, at, who) } {
            m.report(finding);
        }
    });
    if freed.is_none() {
        // SAFETY: the caller's contract.
        unsafe { heap::give(ptr, layout) };
    }
}

/// Moves a block's contents into a block of another size; only growing may fail. After `None` the old block stands.
///
/// # Safety
/// As for [`kfree`] with `old`, when the result is not `None`.
#[track_caller]
pub unsafe fn krealloc(
    ptr: NonNull<u8>,
    old: Layout,
    new: Layout,
    zeroed: bool,
    may_sleep: bool,
    kind: AllocKind,
) -> Option<NonNull<u8>> {
    let moved = if new.size() <= old.size() {
        // Shrinking does not fail in Linux: the block stays where it is. It is moved here all the same, so that a stale
        // pointer into it is seen.
        allocate(new, zeroed, Location::caller())?
    } else {
        kmalloc(new, zeroed, may_sleep, kind)?
    };
    // SAFETY: both blocks have at least as many bytes as are copied, and the new one is a block of its own.
    unsafe { moved.copy_from_nonoverlapping(ptr, old.size().min(new.size())) };
    // SAFETY: the caller's contract.
    unsafe { kfree(ptr, old, kind) };
    Some(moved)
}
