//! Scatter-gather tables: memory that is in pieces, lent to a device.
//!
//! [`SGTable::new`] lends pages to a device; the table that comes of it says in which pieces the device sees them. The
//! device and the processor see each other's bytes only when the pages are lent and when they come back, which is when
//! the table is dropped or the device loses its driver.

use crate::alloc::allocator::VmallocPageIter;
use crate::alloc::{Flags, KVec};
use crate::bindings;
use crate::device::{Bound, Device};
use crate::devres::Devres;
use crate::dma::{self, DataDirection, DmaAddress};
use crate::error::{code::EINVAL, Error, Result};
use crate::io::ResourceSize;
use crate::machine::{dma as machine_dma, DeviceId, Place};
use crate::page::{AsPageIter, PAGE_SIZE};
use crate::try_pin_init;
use crate::types::Opaque;
use core::ops::Deref;
use core::panic::Location;
use core::slice;
use pin_init::{pin_data, PinInit};
use std::vec::Vec;

/// One piece, as the device sees it.
#[repr(transparent)]
pub struct SGEntry(Opaque<bindings::scatterlist>);

// SAFETY: a piece is two numbers.
unsafe impl Send for SGEntry {}

// SAFETY: nothing changes them while there are references.
unsafe impl Sync for SGEntry {}

impl SGEntry {
    fn numbers(&self) -> bindings::scatterlist {
        // SAFETY: the entries of a table are initialised.
        unsafe { *self.0.get() }
    }

    /// Where the device sees it.
    pub fn dma_address(&self) -> DmaAddress {
        self.numbers().dma_address
    }

    /// Its length in bytes.
    pub fn dma_len(&self) -> ResourceSize {
        self.numbers().dma_length
    }
}

/// A table of pieces: [`SGTable<Owned<P>>`] has pages and lends them, [`SGTable`] is what is borrowed of it.
#[repr(transparent)]
#[pin_data]
pub struct SGTable<T: sealed::Table = Borrowed> {
    #[pin]
    inner: T,
}

/// A table that belongs to someone else.
#[repr(transparent)]
pub struct Borrowed(Opaque<bindings::sg_table>);

// SAFETY: a table is numbers that nothing changes while there are references.
unsafe impl Send for Borrowed {}

// SAFETY: as above.
unsafe impl Sync for Borrowed {}

impl SGTable {
    /// Borrows a table.
    ///
    /// # Safety
    ///
    /// The table and its pieces must stay, unchanged, for `'a`.
    pub unsafe fn from_raw<'a>(ptr: *mut bindings::sg_table) -> &'a Self {
        // SAFETY: the caller's contract; the wrappers are transparent.
        unsafe { &*ptr.cast::<Self>() }
    }

    /// Walks the pieces.
    pub fn iter(&self) -> SGTableIter<'_> {
        // SAFETY: a borrowed table is valid.
        let table = unsafe { &*self.inner.0.get() };
        let entries = if table.nents == 0 {
            &[]
        } else {
            // SAFETY: the table has so many pieces side by side, which stay as long as it is borrowed.
            unsafe { slice::from_raw_parts(table.sgl.cast::<SGEntry>(), table.nents as usize) }
        };
        SGTableIter(entries.iter())
    }
}

/// The pieces of a table, in their order.
pub struct SGTableIter<'a>(slice::Iter<'a, SGEntry>);

impl<'a> Iterator for SGTableIter<'a> {
    type Item = &'a SGEntry;

    fn next(&mut self) -> Option<&'a SGEntry> {
        self.0.next()
    }
}

/// A table that has its pages and lends them to a device.
#[pin_data]
pub struct Owned<P> {
    // The order matters: the pages come back from the device first, and go last.
    #[pin]
    lent: Devres<Lent>,
    table: RawTable,
    _pages: P,
}

// SAFETY: it takes the pages along.
unsafe impl<P: Send> Send for Owned<P> {}

// SAFETY: those who share it share the numbers in the table, and may share the pages.
unsafe impl<P: Sync> Sync for Owned<P> {}

impl<P> SGTable<Owned<P>>
where
    for<'a> P: AsPageIter<Iter<'a> = VmallocPageIter<'a>> + 'static,
{
    /// Returns an initialiser that lends pages to a device: those of a [`VVec`](crate::alloc::VVec), up to its capacity,
    /// or of a [`VBox`](crate::alloc::VBox).
    ///
    /// `EINVAL` without any page, `ENOMEM`. It panics for [`DataDirection::None`].
    ///
    /// Differs from Linux: how many pieces there are is a choice of the machine's, from one to four or more if they may
    /// not be as long; and the device sees a copy of the pages, made here and copied back when they come back.
    #[track_caller]
    pub fn new(dev: &Device<Bound>, pages: P, dir: DataDirection, flags: Flags) -> impl PinInit<Self, Error> + '_ {
        let place = Location::caller();
        try_pin_init!(Self { inner <- Owned::new(dev, pages, dir, flags, place) })
    }
}

impl<P> Owned<P>
where
    for<'a> P: AsPageIter<Iter<'a> = VmallocPageIter<'a>> + 'static,
{
    fn new(
        dev: &Device<Bound>,
        mut pages: P,
        dir: DataDirection,
        flags: Flags,
        place: Place,
    ) -> impl PinInit<Self, Error> + '_ {
        pin_init::pin_init_scope(move || {
            let walk = pages.page_iter();
            let size = walk.size();
            let mut list: KVec<*mut bindings::page> = KVec::with_capacity(walk.page_count(), flags)?;
            for page in walk {
                list.push(page.as_ptr(), flags)?;
            }
            let mut table = RawTable::new(list.len(), flags)?;
            Ok(try_pin_init!(Self {
                lent: {
                    let (lent, pieces) = Lent::new(dev, &list, size, dir, place)?;
                    table.fill(&pieces);
                    Devres::new(dev, lent)?
                },
                table,
                _pages: pages,
            }))
        })
    }
}

impl<P> Deref for SGTable<Owned<P>> {
    type Target = SGTable;

    fn deref(&self) -> &SGTable {
        // SAFETY: nothing changes the table any more, and it stays as long as `self`.
        unsafe { SGTable::from_raw(self.inner.table.table.get()) }
    }
}

/// A table and the memory of its pieces.
struct RawTable {
    table: Opaque<bindings::sg_table>,
    /// What `sgl` points to.
    entries: KVec<bindings::scatterlist>,
}

// SAFETY: the pointer in the table is to memory that comes along.
unsafe impl Send for RawTable {}

// SAFETY: nothing changes a table while it is shared.
unsafe impl Sync for RawTable {}

impl RawTable {
    /// Allocates a table with room for a piece a page. `EINVAL` for no page, `ENOMEM`.
    fn new(pages: usize, flags: Flags) -> Result<Self> {
        if pages == 0 {
            return Err(EINVAL);
        }
        let mut entries = KVec::from_elem(bindings::scatterlist::default(), pages, flags)?;
        let orig_nents = u32::try_from(pages)?;
        let table = bindings::sg_table { sgl: entries.as_mut_ptr(), nents: 0, orig_nents };
        Ok(Self { table: Opaque::new(table), entries })
    }

    /// Says which pieces the device sees; there are no more than pages.
    fn fill(&mut self, pieces: &[(u64, u64)]) {
        for (entry, (address, len)) in self.entries.iter_mut().zip(pieces) {
            *entry = bindings::scatterlist { dma_address: *address, dma_length: *len };
        }
        let nents = pieces.len().min(self.entries.len());
        // SAFETY: the table is initialised and borrowed alone.
        unsafe {
            (*self.table.get()).sgl = self.entries.as_mut_ptr();
            (*self.table.get()).nents = nents as u32;
        }
    }
}

/// Pages that a device has; they come back when this is dropped.
struct Lent {
    /// The device and the number of the mapping; `None` for a device without DMA, to which nothing was lent.
    mapping: Option<(DeviceId, u32)>,
}

impl Lent {
    /// Lends the first `size` bytes of the pages for whoever stands at `place`; returns also the pieces that the device sees.
    fn new(
        dev: &Device<Bound>,
        pages: &[*mut bindings::page],
        size: usize,
        dir: DataDirection,
        place: Place,
    ) -> Result<(Self, Vec<(u64, u64)>)> {
        let direction = match dir {
            DataDirection::Bidirectional => machine_dma::Direction::Bidirectional,
            DataDirection::ToDevice => machine_dma::Direction::ToDevice,
            DataDirection::FromDevice => machine_dma::Direction::FromDevice,
            DataDirection::None => panic!("a mapping needs a direction"),
        };
        let Some(id) = dma::dma_device(dev) else {
            return Ok((Self { mapping: None }, Vec::new()));
        };
        let left = |index: usize| (size - index * PAGE_SIZE).min(PAGE_SIZE);
        let pages = pages.iter().enumerate().map(|(index, page)| (page.cast::<u8>(), left(index))).collect();
        // SAFETY: the pages stay until this is dropped, and their owner gives nobody access to them.
        let (number, pieces) =
            unsafe { machine_dma::map_streaming_at(id, pages, direction, place) }.map_err(Error::from_errno)?;
        Ok((Self { mapping: Some((id, number)) }, pieces))
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some((id, number)) = self.mapping.take() {
            // SAFETY: the pages are still there.
            unsafe { machine_dma::unmap_streaming(id, number) };
        }
    }
}

mod sealed {
    /// Keeps others from making tables of something else.
    pub trait Table {}

    impl Table for super::Borrowed {}
    impl<P> Table for super::Owned<P> {}
}
