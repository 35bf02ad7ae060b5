//! Memory that devices access: pages of the program's own, or of the machine's RAM above 4 GiB, accessed as volatile.
#![expect(unsafe_code, reason = "devices change this memory, so that it is accessed through pointers")]

use alloc::alloc::{Layout, alloc_zeroed};
use core::sync::atomic::{Ordering, fence};

/// Some pages, zeroed. Physical and virtual addresses are the same.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dma {
    address: u64,
    len: usize,
}

impl Dma {
    /// At least `len` bytes, aligned to a page. They are never given back.
    pub(crate) fn new(len: usize) -> Option<Self> {
        let len = len.checked_next_multiple_of(4096)?;
        let layout = Layout::from_size_align(len, 4096).ok()?;
        if len == 0 {
            return None;
        }
        // SAFETY: the layout has a size.
        let memory = unsafe { alloc_zeroed(layout) };
        (!memory.is_null()).then_some(Self { address: memory as u64, len })
    }

    /// `len` bytes of RAM above 4 GiB that nothing else of this program uses.
    ///
    /// # Safety
    /// The range is RAM, mapped, and given out once.
    pub(crate) unsafe fn high(address: u64, len: usize) -> Self {
        Self { address, len }
    }

    /// Where a device finds it.
    pub(crate) fn address(&self) -> u64 {
        self.address
    }

    /// In bytes.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    fn at(&self, offset: usize, width: usize) -> *mut u8 {
        assert!(offset.checked_add(width).is_some_and(|end| end <= self.len), "outside of DMA memory");
        (self.address as usize + offset) as *mut u8
    }

    /// Reads one byte.
    pub(crate) fn read8(&self, offset: usize) -> u8 {
        // SAFETY: `at` checked the range, which is this object's.
        unsafe { self.at(offset, 1).read_volatile() }
    }

    /// Writes one byte.
    pub(crate) fn write8(&self, offset: usize, value: u8) {
        // SAFETY: as for `read8`.
        unsafe { self.at(offset, 1).write_volatile(value) }
    }

    /// Reads 16 bits at a multiple of 2, then orders what follows after it.
    pub(crate) fn read16(&self, offset: usize) -> u16 {
        assert!(offset.is_multiple_of(2), "not aligned");
        // SAFETY: as for `read8`, and aligned.
        let value = unsafe { self.at(offset, 2).cast::<u16>().read_volatile() };
        fence(Ordering::Acquire);
        value
    }

    /// Orders what went before, then writes 16 bits at a multiple of 2.
    pub(crate) fn write16(&self, offset: usize, value: u16) {
        assert!(offset.is_multiple_of(2), "not aligned");
        fence(Ordering::Release);
        // SAFETY: as for `read8`, and aligned.
        unsafe { self.at(offset, 2).cast::<u16>().write_volatile(value) }
    }

    /// Reads 32 bits at a multiple of 4.
    pub(crate) fn read32(&self, offset: usize) -> u32 {
        assert!(offset.is_multiple_of(4), "not aligned");
        // SAFETY: as for `read8`, and aligned.
        unsafe { self.at(offset, 4).cast::<u32>().read_volatile() }
    }

    /// Writes 32 bits at a multiple of 4.
    pub(crate) fn write32(&self, offset: usize, value: u32) {
        assert!(offset.is_multiple_of(4), "not aligned");
        // SAFETY: as for `read8`, and aligned.
        unsafe { self.at(offset, 4).cast::<u32>().write_volatile(value) }
    }

    /// Writes 64 bits at a multiple of 8.
    pub(crate) fn write64(&self, offset: usize, value: u64) {
        assert!(offset.is_multiple_of(8), "not aligned");
        // SAFETY: as for `read8`, and aligned.
        unsafe { self.at(offset, 8).cast::<u64>().write_volatile(value) }
    }

    /// Fills a range with one byte.
    pub(crate) fn fill(&self, offset: usize, len: usize, value: u8) {
        // SAFETY: `at` checked the range, which is this object's; no reference into it exists.
        unsafe { self.at(offset, len).write_bytes(value, len) }
    }

    /// Checksum of a range.
    pub(crate) fn crc32(&self, offset: usize, len: usize) -> u32 {
        (offset..offset + len).fold(0, |crc, at| bringup_guest::arithmetic::crc32(crc, &[self.read8(at)]))
    }
}

/// Orders all that went before all that follows, also stores before loads.
pub(crate) fn barrier() {
    fence(Ordering::SeqCst);
}
