//! The kernel's heaps: blocks between red zones, and a quarantine in which freed blocks wait, poisoned, so that writes beyond a
//! block and writes after it was freed are seen.
//!
//! Raw accesses cannot be followed, so both are found afterwards, by the damage: a red zone when its block is freed or the life
//! ends, a freed block when it leaves the quarantine.

use std::alloc::Layout;
use std::collections::{BTreeMap, VecDeque};
use std::ptr::NonNull;
use std::sync::Arc;

use bringup_core::finding::Moment;
use bringup_core::{Finding, Nanos, Place, dma::DIRTY};

use crate::rules;

/// Bytes of the red zone on each side of a block.
const ZONE: usize = 16;
/// What a red zone holds (include/linux/poison.h has the same for SLUB's).
const RED: u8 = 0xbb;
/// What freed memory holds (Linux's `POISON_FREE`).
const FREED: u8 = 0x6b;
/// How many bytes of a freed block are poisoned at most.
const MOST_POISON: usize = 64 << 10;
/// How many bytes and how many blocks the quarantine holds.
const MOST_BYTES: usize = 256 << 10;
const MOST_BLOCKS: usize = 128;

/// A block that was given out.
#[derive(Clone, Debug)]
pub(crate) struct Allocation {
    pub(crate) layout: Layout,
    pub(crate) place: Place,
    pub(crate) module: u32,
}

/// A block that was freed.
struct Freed {
    block: NonNull<u8>,
    allocation: Allocation,
    at: Nanos,
    who: Arc<str>,
}

/// The blocks of a life.
#[derive(Default)]
pub(crate) struct Heap {
    pub(crate) allocations: BTreeMap<usize, Allocation>,
    quarantine: VecDeque<Freed>,
    bytes: usize,
}

/// The memory that a block and its red zones take, and where in it the block begins.
fn padded(layout: Layout) -> Option<(Layout, usize)> {
    let front = layout.align().max(ZONE);
    let size = layout.size().checked_add(front)?.checked_add(ZONE)?;
    Some((Layout::from_size_align(size, layout.align()).ok()?, front))
}

/// Takes a block of at least one byte from the host, with zeros or [`DIRTY`] in it. `None` if the host has none.
pub(crate) fn take(layout: Layout, zeroed: bool) -> Option<NonNull<u8>> {
    let (whole, front) = padded(layout)?;
    // SAFETY: the size is not zero.
    let raw = NonNull::new(unsafe { if zeroed { std::alloc::alloc_zeroed(whole) } else { std::alloc::alloc(whole) } })?;
    // SAFETY: front zone, block and rear zone lie in the memory that was just allocated, in this order.
    unsafe {
        let block = raw.add(front);
        block.sub(ZONE).write_bytes(RED, ZONE);
        if !zeroed {
            // A pattern, so that what is read before it is written is the same in every life.
            block.write_bytes(DIRTY, layout.size());
        }
        block.add(layout.size()).write_bytes(RED, ZONE);
        Some(block)
    }
}

/// Gives a block back to the host.
///
/// # Safety
/// It must come from [`take`] with this layout, and is gone after the call.
pub(crate) unsafe fn give(block: NonNull<u8>, layout: Layout) {
    let Some((whole, front)) = padded(layout) else { return };
    // SAFETY: the caller's contract: `take` allocated this.
    unsafe { std::alloc::dealloc(block.sub(front).as_ptr(), whole) };
}

/// The first byte of the red zones that was written to: its distance from the begin of the block, negative before it.
///
/// # Safety
/// The block must come from [`take`] with this layout and not have been given back.
unsafe fn damage(block: NonNull<u8>, layout: Layout) -> Option<isize> {
    // SAFETY: both zones are part of the block's memory.
    let zone = |from: isize| unsafe { std::slice::from_raw_parts(block.offset(from).as_ptr(), ZONE) };
    let (before, after) = (-(ZONE as isize), layout.size() as isize);
    let first = |from: isize| zone(from).iter().position(|byte| *byte != RED).map(|at| from + at as isize);
    first(before).or_else(|| first(after))
}

fn overrun(block: NonNull<u8>, allocation: &Allocation) -> Option<Finding> {
    // SAFETY: the callers' blocks are in the table or were just taken out of it.
    let at = unsafe { damage(block, allocation.layout) }?;
    let size = allocation.layout.size();
    let what = if at < 0 {
        format!("{} bytes before a block of {size} bytes were written to", at.unsigned_abs())
    } else {
        format!("byte {at} of a block of {size} bytes was written to")
    };
    Some(Finding::new(&rules::HEAP_OVERRUN, what).at_place(Some(allocation.place)))
}

impl Freed {
    /// What was written to it since it was freed.
    fn damage(&self) -> Option<Finding> {
        let size = self.allocation.layout.size();
        // SAFETY: the block is the quarantine's until it is given back.
        let bytes = unsafe { std::slice::from_raw_parts(self.block.as_ptr(), size.min(MOST_POISON)) };
        let offset = bytes.iter().position(|byte| *byte != FREED)?;
        let what = format!("byte {offset} of a block of {size} bytes was written to after it was freed");
        let freed = format!("it was freed in {} at {}", self.who, Moment(self.at));
        Some(Finding::new(&rules::USE_AFTER_FREE, what).at_place(Some(self.allocation.place)).note(freed))
    }
}

impl Heap {
    /// Puts a block that is freed into quarantine. What it finds on the way.
    ///
    /// # Safety
    /// The block must come from [`take`] with this layout, and is gone after the call.
    pub(crate) unsafe fn free(&mut self, block: NonNull<u8>, layout: Layout, at: Nanos, who: Arc<str>) -> Vec<Finding> {
        let Some(allocation) = self.allocations.remove(&block.as_ptr().addr()) else {
            // SAFETY: the caller's contract. It is of before this life.
            unsafe { give(block, layout) };
            return Vec::new();
        };
        let mut found: Vec<Finding> = overrun(block, &allocation).into_iter().collect();
        let size = layout.size();
        // SAFETY: the block has this size and nobody uses it any more.
        unsafe { block.write_bytes(FREED, size.min(MOST_POISON)) };
        self.quarantine.push_back(Freed { block, allocation, at, who });
        self.bytes += size;
        while self.bytes > MOST_BYTES || self.quarantine.len() > MOST_BLOCKS {
            let Some(oldest) = self.quarantine.pop_front() else { break };
            self.bytes -= oldest.allocation.layout.size();
            found.extend(oldest.damage());
            // SAFETY: the quarantine owned it.
            unsafe { give(oldest.block, oldest.allocation.layout) };
        }
        found
    }

    /// Looks at all blocks, when the life ends.
    pub(crate) fn inspect(&self) -> Vec<Finding> {
        let mut found: Vec<Finding> = self.quarantine.iter().filter_map(Freed::damage).collect();
        let blocks = self.allocations.iter();
        let live = blocks.filter_map(|(address, allocation)| overrun(NonNull::new(*address as *mut u8)?, allocation));
        let mut live: Vec<Finding> = live.collect();
        // In the order of the places, not of the addresses.
        live.sort_by_key(|finding| finding.place.map(|place| (place.file(), place.line(), place.column())));
        found.extend(live);
        found
    }
}

impl Drop for Heap {
    fn drop(&mut self) {
        // What the driver leaked (and was told off for) must not outlive the life: a campaign runs millions of them.
        for (address, allocation) in std::mem::take(&mut self.allocations) {
            if let Some(block) = NonNull::new(address as *mut u8) {
                // SAFETY: the table holds exactly the blocks that `take` gave out and that are not freed; no task runs any
                // more.
                unsafe { give(block, allocation.layout) };
            }
        }
        for freed in self.quarantine.drain(..) {
            // SAFETY: the quarantine owned it.
            unsafe { give(freed.block, freed.allocation.layout) };
        }
    }
}
