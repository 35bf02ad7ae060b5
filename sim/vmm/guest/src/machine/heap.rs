//! Memory that is given out once and never taken back: the program is short.
#![expect(unsafe_code, reason = "a global allocator is unsafe by its trait")]

use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicUsize, Ordering};

/// In bytes. Below 256 MiB with the rest of the program, as edu's DMA needs it.
const SIZE: usize = 4 << 20;

#[repr(align(4096))]
struct Heap {
    bytes: UnsafeCell<[u8; SIZE]>,
    used: AtomicUsize,
}

// SAFETY: each byte is given out at most once, by an atomic counter.
unsafe impl Sync for Heap {}

#[global_allocator]
static HEAP: Heap = Heap { bytes: UnsafeCell::new([0; SIZE]), used: AtomicUsize::new(0) };

// SAFETY: the ranges that `alloc` returns are aligned as asked, inside of the array, and never given out twice.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let base = self.bytes.get().cast::<u8>();
        let place = self.used.fetch_update(Ordering::AcqRel, Ordering::Acquire, |used| {
            used.checked_next_multiple_of(layout.align())?.checked_add(layout.size()).filter(|end| *end <= SIZE)
        });
        // The array is aligned to 4096; nothing here asks for more.
        match place {
            Ok(used) if layout.align() <= 4096 => base.wrapping_add(used.next_multiple_of(layout.align())),
            _ => core::ptr::null_mut(),
        }
    }

    unsafe fn dealloc(&self, _memory: *mut u8, _layout: Layout) {}
}
