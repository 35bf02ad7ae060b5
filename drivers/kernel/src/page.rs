//! Pages: their size, memory that is one, and borrowed pages of larger memory.

use crate::alloc::{flags::__GFP_ZERO, AllocError, Flags};
use crate::bindings;
use crate::error::{code::EINVAL, Result};
use crate::machine::{self, AllocKind};
use core::alloc::Layout;
use core::marker::PhantomData;
use core::mem::ManuallyDrop;
use core::ops::Deref;
use core::ptr::NonNull;

/// The base-2 logarithm of the page size.
pub const PAGE_SHIFT: usize = bindings::PAGE_SHIFT as usize;

/// The size of a page in bytes.
pub const PAGE_SIZE: usize = bindings::PAGE_SIZE;

/// Masks the offset within a page out of an address.
pub const PAGE_MASK: usize = !(PAGE_SIZE - 1);

/// Rounds an address up to a multiple of [`PAGE_SIZE`], or returns `None` when there is none above it.
#[inline(always)]
pub const fn page_align(addr: usize) -> Option<usize> {
    addr.checked_next_multiple_of(PAGE_SIZE)
}

/// Memory of one page.
///
/// Differs from Linux: the pointer to the `struct page` is the page's address, so a page is always mapped.
pub struct Page {
    page: NonNull<bindings::page>,
}

// SAFETY: a page belongs to no task.
unsafe impl Send for Page {}

// SAFETY: all access to a page's bytes is through unsafe methods whose callers exclude races.
unsafe impl Sync for Page {}

impl Page {
    const LAYOUT: Layout = Layout::new::<bindings::page>();

    /// Allocates a page.
    #[track_caller]
    pub fn alloc_page(flags: Flags) -> Result<Self, AllocError> {
        let zeroed = flags.contains(__GFP_ZERO);
        let block = machine::kmalloc(Self::LAYOUT, zeroed, flags.may_sleep(), AllocKind::Kmalloc);
        block.map(|block| Self { page: block.cast() }).ok_or(AllocError)
    }

    /// Returns the pointer that stands for the page.
    pub fn as_ptr(&self) -> *mut bindings::page {
        self.page.as_ptr()
    }

    /// Returns the NUMA node that the page is on, which is 0: the machine has one.
    pub fn nid(&self) -> i32 {
        0
    }

    /// Returns a pointer to the bytes from `offset`. `EINVAL` unless `len` bytes from there are in the page.
    fn bytes(&self, offset: usize, len: usize) -> Result<*mut u8> {
        match offset.checked_add(len) {
            // SAFETY: the offset lies within the page or at its end.
            Some(end) if end <= PAGE_SIZE => Ok(unsafe { self.page.cast::<u8>().add(offset) }.as_ptr()),
            _ => Err(EINVAL),
        }
    }

    /// Copies `len` bytes from `offset` on out of the page. `EINVAL` when not all of them are in it.
    ///
    /// # Safety
    ///
    /// `len` bytes at `dst` must be writable, and nobody may write those of the page during the call.
    pub unsafe fn read_raw(&self, dst: *mut u8, offset: usize, len: usize) -> Result {
        let src = self.bytes(offset, len)?;
        // SAFETY: the bytes are in the page, and the caller's contract covers the rest.
        unsafe { dst.copy_from_nonoverlapping(src, len) };
        Ok(())
    }

    /// Copies `len` bytes into the page, from `offset` on. `EINVAL` when not all of them are in it.
    ///
    /// # Safety
    ///
    /// `len` bytes at `src` must be readable, and nobody may use those of the page during the call.
    pub unsafe fn write_raw(&self, src: *const u8, offset: usize, len: usize) -> Result {
        let dst = self.bytes(offset, len)?;
        // SAFETY: the bytes are in the page, and the caller's contract covers the rest.
        unsafe { dst.copy_from_nonoverlapping(src, len) };
        Ok(())
    }

    /// Zeroes `len` bytes of the page, from `offset` on. `EINVAL` when not all of them are in it.
    ///
    /// # Safety
    ///
    /// Nobody may use those bytes during the call.
    pub unsafe fn fill_zero_raw(&self, offset: usize, len: usize) -> Result {
        let dst = self.bytes(offset, len)?;
        // SAFETY: the bytes are in the page, and nobody else uses them.
        unsafe { dst.write_bytes(0, len) };
        Ok(())
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // SAFETY: `alloc_page` allocated the page, and a borrowed page is never dropped.
        unsafe { machine::kfree(self.page.cast(), Self::LAYOUT, AllocKind::Kmalloc) };
    }
}

/// A page of memory that something else owns.
pub struct BorrowedPage<'a>(ManuallyDrop<Page>, PhantomData<&'a Page>);

impl<'a> BorrowedPage<'a> {
    /// Borrows a page.
    ///
    /// # Safety
    ///
    /// The pointer must stand for a page that stays for `'a`.
    pub unsafe fn from_raw(ptr: NonNull<bindings::page>) -> Self {
        Self(ManuallyDrop::new(Page { page: ptr }), PhantomData)
    }
}

impl<'a> Deref for BorrowedPage<'a> {
    type Target = Page;

    fn deref(&self) -> &Page {
        &self.0
    }
}

/// Memory that consists of pages and can lend them.
pub trait AsPageIter {
    /// What lends the pages one after the other.
    type Iter<'a>: Iterator<Item = BorrowedPage<'a>>
    where
        Self: 'a;

    /// Lends all pages of the memory.
    fn page_iter(&mut self) -> Self::Iter<'_>;
}
