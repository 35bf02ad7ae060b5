//! The kernel's three heaps: `kmalloc`, `vmalloc`, and the one that picks between them.

use super::{flags, AllocError, Allocator, Flags, NumaNode};
use crate::bindings::{ARCH_KMALLOC_MINALIGN, KMALLOC_MAX_SIZE};
use crate::machine::{self, AllocKind};
use crate::page::{BorrowedPage, PAGE_MASK, PAGE_SIZE};
use core::alloc::Layout;
use core::marker::PhantomData;
use core::ptr::NonNull;

/// Physically contiguous memory of at most 4 MiB: C's `kmalloc()`.
///
/// A block's alignment is at least the largest power of two that divides its size, so that a block of 4096 bytes is
/// a page of its own.
pub struct Kmalloc;

/// Whole pages that are contiguous only in the kernel's address space: C's `vmalloc()`.
pub struct Vmalloc;

/// [`Kmalloc`] while the size allows it, [`Vmalloc`] beyond: C's `kvmalloc()`.
///
/// Differs from Linux: only the size decides, not how fragmented memory is.
pub struct KVmalloc;

impl Kmalloc {
    /// Returns the layout with the size rounded up to a multiple of the alignment, which is what makes `kmalloc` align.
    pub fn aligned_layout(layout: Layout) -> Layout {
        layout.pad_to_align()
    }
}

impl Vmalloc {
    /// Returns the page that a pointer into a `Vmalloc` block points into.
    ///
    /// # Safety
    ///
    /// The pointer must point into a `Vmalloc` block that stays for `'a`.
    pub unsafe fn to_page<'a>(ptr: NonNull<u8>) -> BorrowedPage<'a> {
        let page = ptr.map_addr(|address| {
            // The first page of memory is never a block, so the address of a page is not zero.
            (address.get() & PAGE_MASK).try_into().unwrap_or(address)
        });
        // SAFETY: blocks consist of whole pages, so this is one, and it stays for `'a`.
        unsafe { BorrowedPage::from_raw(page.cast()) }
    }
}

/// Says whether `KVmalloc` has a block of so many bytes from `vmalloc`.
pub(super) fn is_vmalloc_size(bytes: usize) -> bool {
    bytes > KMALLOC_MAX_SIZE as usize
}

/// The part of a heap that knows what blocks it is made of.
trait Blocks {
    const KIND: AllocKind;

    /// The block that a request of at least one byte gets, or `None` when it is larger than any.
    fn block(request: Layout) -> Option<Layout>;
}

impl Blocks for Kmalloc {
    const KIND: AllocKind = AllocKind::Kmalloc;

    fn block(request: Layout) -> Option<Layout> {
        let size = Self::aligned_layout(request).size();
        let natural = 1 << size.trailing_zeros();
        let align = request.align().max(natural).max(ARCH_KMALLOC_MINALIGN);
        Layout::from_size_align(size, align).ok().filter(|_| !is_vmalloc_size(size))
    }
}

impl Blocks for Vmalloc {
    const KIND: AllocKind = AllocKind::Vmalloc;

    fn block(request: Layout) -> Option<Layout> {
        let whole_pages = request.align_to(PAGE_SIZE).ok()?;
        let size = whole_pages.size().checked_next_multiple_of(PAGE_SIZE)?;
        Layout::from_size_align(size, whole_pages.align()).ok()
    }
}

impl Blocks for KVmalloc {
    const KIND: AllocKind = AllocKind::KVmalloc;

    fn block(request: Layout) -> Option<Layout> {
        match Self::request_size(request) {
            size if !is_vmalloc_size(size) => Kmalloc::block(request),
            size if i32::try_from(size).is_ok() => Vmalloc::block(request),
            _ => None,
        }
    }
}

impl KVmalloc {
    fn request_size(request: Layout) -> usize {
        Kmalloc::aligned_layout(request).size()
    }
}

/// Resizes between no block, a block and another block.
///
/// # Safety
///
/// As for [`Allocator::realloc`].
#[track_caller]
unsafe fn resize<H: Blocks>(
    ptr: Option<NonNull<u8>>,
    layout: Layout,
    old_layout: Layout,
    flags: Flags,
) -> Result<NonNull<[u8]>, AllocError> {
    let held = ptr.filter(|_| old_layout.size() != 0).and_then(|ptr| Some((ptr, H::block(old_layout)?)));

    if layout.size() == 0 {
        if let Some((ptr, block)) = held {
            // SAFETY: the block was allocated with the layout that `block` gives again, and the caller gives it up.
            unsafe { machine::kfree(ptr, block, H::KIND) };
        }
        return Ok(NonNull::slice_from_raw_parts(super::dangling_from_layout(layout), 0));
    }

    let Some(block) = H::block(layout) else {
        if !flags.contains(flags::__GFP_NOWARN) {
            machine::allocation_too_large(layout.size());
        }
        return Err(AllocError);
    };
    let zeroed = flags.contains(flags::__GFP_ZERO);
    let ptr = match held {
        None => machine::kmalloc(block, zeroed, flags.may_sleep(), H::KIND),
        // The kernel's heaps keep a block of the same size in place, so this cannot fail.
        Some((ptr, old)) if old == block => Some(ptr),
        // SAFETY: the block was allocated with this layout, and the caller gives it up.
        Some((ptr, old)) => unsafe { machine::krealloc(ptr, old, block, zeroed, flags.may_sleep(), H::KIND) },
    };
    ptr.map(|ptr| NonNull::slice_from_raw_parts(ptr, layout.size())).ok_or(AllocError)
}

/// Makes heaps of things that are made of blocks.
macro_rules! heaps {
    ($($heap:ident: $min_align:expr;)*) => {$(
        // SAFETY: the machine's blocks are valid until they are freed, and `resize` keeps the contents.
        unsafe impl Allocator for $heap {
            const MIN_ALIGN: usize = $min_align;

            unsafe fn realloc(
                held: Option<NonNull<u8>>,
                wanted: Layout,
                had: Layout,
                flags: Flags,
                _nid: NumaNode,
            ) -> Result<NonNull<[u8]>, AllocError> {
                // SAFETY: the caller's contract.
                unsafe { resize::<Self>(held, wanted, had, flags) }
            }
        }
    )*};
}

heaps! {
    Kmalloc: ARCH_KMALLOC_MINALIGN;
    Vmalloc: PAGE_SIZE;
    KVmalloc: ARCH_KMALLOC_MINALIGN;
}

/// The pages of a `Vmalloc` block, one after the other.
pub struct VmallocPageIter<'a> {
    next: NonNull<u8>,
    /// How many pages are still to come.
    left: usize,
    size: usize,
    _block: PhantomData<BorrowedPage<'a>>,
}

impl VmallocPageIter<'_> {
    /// Walks the pages of the block at `buf`.
    ///
    /// # Safety
    ///
    /// `buf` must be a `Vmalloc` block of `size` bytes that stays while the iterator and its pages are used.
    pub unsafe fn new(buf: NonNull<u8>, size: usize) -> Self {
        Self { next: buf, left: size.div_ceil(PAGE_SIZE), size, _block: PhantomData }
    }

    /// Returns the number of bytes in the block.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Returns the number of pages in the block, those already walked included.
    pub fn page_count(&self) -> usize {
        self.size.div_ceil(PAGE_SIZE)
    }
}

impl<'a> Iterator for VmallocPageIter<'a> {
    type Item = BorrowedPage<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let page = self.next;
        // SAFETY: the block consists of whole pages, so the next one starts in it or at its end.
        self.next = unsafe { page.add(PAGE_SIZE) };
        // SAFETY: there was a page left, so the pointer points into the block, which stays for `'a`.
        Some(unsafe { Vmalloc::to_page(page) })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}
