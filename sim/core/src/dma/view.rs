//! A device's view of the machine's memory, which remembers translations as an IOMMU does.

use std::cell::{Cell, RefCell};
use std::iter::FusedIterator;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use vm_memory::guest_memory::{GuestMemorySliceIterator, Result as MemoryResult};
use vm_memory::{
    AtomicAccess, Bytes, GuestAddress, GuestMemory, GuestMemoryBackend, GuestMemoryMmap, IommuMemory, Permissions,
    VolatileSlice,
};

use super::{IoSpace, MappingKind, Ram};

/// A device's view of the machine's memory. It is a vm-memory `GuestMemory`, so code written against that (rust-vmm's
/// `virtio-queue` and others) runs on it, and every access is translated and checked as the device's own DMA is.
///
/// It keeps a copy of the mappings of its [`IoSpace`], good as long as they do not change: a device that looks up the same
/// rings and buffers all the time takes no lock for it. What the copy does not allow, is to be noted, or comes while the bus
/// is closed goes to the space itself, which says why not.
#[derive(Clone, Debug)]
pub struct DeviceMemory {
    behind: IommuMemory<GuestMemoryMmap, IoSpace>,
    known: RefCell<Known>,
    logging: Cell<Logging>,
    log: RefCell<Vec<Logged>>,
    /// Something is followed.
    following: Cell<bool>,
    followed: RefCell<Vec<Followed>>,
}

/// An access of a device's to memory where its accesses are followed ([`Sight::follow_device`](crate::Sight::follow_device)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceAccess {
    /// It stored; else it loaded.
    pub store: bool,
    /// The device's address.
    pub iova: u64,
    /// Bytes.
    pub len: u64,
    /// The 16 bytes around its first byte (counted from the beginning of what is followed) as they were just before.
    pub before: [u8; 16],
}

/// Memory where the device's accesses are kept.
#[derive(Clone, Debug)]
struct Followed {
    iova: u64,
    len: u64,
    accesses: Vec<DeviceAccess>,
    /// There were more than are kept.
    overrun: bool,
}

/// How many accesses are kept in each piece of memory that is followed, and how many such pieces there may be.
const MOST_KEPT: usize = 1 << 16;
const MOST_FOLLOWED: usize = 1 << 10;

/// What is kept of accesses to coherent memory, for the memory model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Logging {
    /// Nothing.
    Off,
    /// Where they were.
    Accesses,
    /// And what was there before a store.
    Old,
}

/// An access to coherent memory.
#[derive(Clone, Debug)]
pub(crate) struct Logged {
    pub(crate) physical: u64,
    pub(crate) len: usize,
    /// For a store, what was there before, if that is kept; `None` for a load.
    pub(crate) old: Option<Vec<u8>>,
}

#[derive(Clone, Debug)]
struct Known {
    /// Of the space, when it was copied.
    generation: u64,
    /// By address.
    ranges: Vec<Range>,
}

#[derive(Clone, Copy, Debug)]
struct Range {
    iova: u64,
    len: u64,
    physical: u64,
    permissions: Permissions,
    coherent: bool,
}

/// A view of `ram` through an I/O address space of its own: empty at first, or all of it where devices see the memory as it is.
#[must_use]
pub fn device_memory(ram: &Ram) -> DeviceMemory {
    let space = IoSpace::new();
    if ram.open {
        space.map_all(ram.memory());
    }
    DeviceMemory {
        behind: IommuMemory::new(ram.memory().clone(), space, true, ()),
        known: RefCell::new(Known { generation: 0, ranges: Vec::new() }),
        logging: Cell::new(Logging::Off),
        log: RefCell::default(),
        following: Cell::new(false),
        followed: RefCell::default(),
    }
}

impl DeviceMemory {
    /// The I/O address space.
    #[must_use]
    pub fn iommu(&self) -> &Arc<IoSpace> {
        self.behind.iommu()
    }

    /// Fills `into` from an I/O virtual address: vm-memory's `Bytes::read_slice`, with a short way for what is known.
    ///
    /// # Errors
    /// As there.
    #[inline]
    pub fn read_slice(&self, into: &mut [u8], addr: GuestAddress) -> MemoryResult<()> {
        match self.slice(addr.0, into.len(), Permissions::Read) {
            Some(slice) => {
                slice.copy_to(into);
                Ok(())
            }
            None => Bytes::read_slice(self, into, addr),
        }
    }

    /// Writes `from` to an I/O virtual address: vm-memory's `Bytes::write_slice`, with a short way for what is known.
    ///
    /// # Errors
    /// As there.
    #[inline]
    pub fn write_slice(&self, from: &[u8], addr: GuestAddress) -> MemoryResult<()> {
        match self.slice(addr.0, from.len(), Permissions::Write) {
            Some(slice) => {
                slice.copy_from(from);
                Ok(())
            }
            None => Bytes::write_slice(self, from, addr),
        }
    }

    /// Loads an aligned integer: vm-memory's `Bytes::load`, with a short way for what is known.
    ///
    /// # Errors
    /// As there.
    #[inline]
    pub fn load<T: AtomicAccess>(&self, addr: GuestAddress, order: Ordering) -> MemoryResult<T> {
        match self.slice(addr.0, size_of::<T>(), Permissions::Read).map(|slice| slice.load(0, order)) {
            Some(Ok(value)) => Ok(value),
            _ => Bytes::load(self, addr, order),
        }
    }

    /// Stores an aligned integer: vm-memory's `Bytes::store`, with a short way for what is known.
    ///
    /// # Errors
    /// As there.
    #[inline]
    pub fn store<T: AtomicAccess>(&self, value: T, addr: GuestAddress, order: Ordering) -> MemoryResult<()> {
        match self.slice(addr.0, size_of::<T>(), Permissions::Write).map(|slice| slice.store(value, 0, order)) {
            Some(Ok(())) => Ok(()),
            _ => Bytes::store(self, value, addr, order),
        }
    }

    /// Where in the machine's memory bytes lie that are all in one mapping, and what the device may do there; whether or not it
    /// may master the bus.
    #[inline]
    pub(crate) fn locate(&self, iova: u64, len: u64) -> Option<(GuestAddress, Permissions)> {
        self.find(iova, len).map(|(at, permissions, _)| (at, permissions))
    }

    /// As [`locate`](Self::locate); and whether the mapping is coherent.
    #[inline]
    fn find(&self, iova: u64, len: u64) -> Option<(GuestAddress, Permissions, bool)> {
        let mut known = self.known.borrow_mut();
        if known.generation != self.iommu().generation.load(Ordering::Acquire) {
            known.copy(self.iommu());
        }
        let after = known.ranges.partition_point(|range| range.iova <= iova);
        let range = known.ranges.get(after.checked_sub(1)?)?;
        let skipped = iova - range.iova;
        let inside = skipped < range.len && len <= range.len - skipped;
        inside.then(|| (GuestAddress(range.physical + skipped), range.permissions, range.coherent))
    }

    /// Where the bytes lie, if the device may reach them so when it may master the bus.
    #[inline]
    pub(crate) fn resolve(&self, iova: u64, len: u64, access: Permissions) -> Option<GuestAddress> {
        let (at, permissions) = self.locate(iova, len)?;
        permissions.allow(access).then_some(at)
    }

    /// Whether the device may reach them so, and need not tell anybody.
    fn resolve_open(&self, iova: u64, len: u64, access: Permissions) -> bool {
        self.iommu().is_passing() && self.resolve(iova, len, access).is_some()
    }

    /// The bytes, if nothing stands against it and nobody is to be told.
    #[inline]
    fn slice(&self, iova: u64, len: usize, access: Permissions) -> Option<VolatileSlice<'_>> {
        if !self.iommu().is_passing() {
            return None;
        }
        let (at, permissions, coherent) = self.find(iova, len as u64)?;
        if !permissions.allow(access) {
            return None;
        }
        if coherent && self.logging.get() != Logging::Off {
            self.log(at, len, access);
        }
        self.keep(iova, len, access);
        self.behind.get_backend().get_slice(at, len).ok()
    }

    /// Says what is to be kept of accesses to coherent memory.
    pub(crate) fn set_logging(&self, logging: Logging) {
        self.logging.set(logging);
    }

    /// Whether accesses were kept since they were taken last.
    #[inline]
    pub(crate) fn has_log(&self) -> bool {
        self.logging.get() != Logging::Off && !self.log.borrow().is_empty()
    }

    /// Takes what was kept of accesses …
    pub(crate) fn take_log(&self) -> Vec<Logged> {
        std::mem::take(&mut *self.log.borrow_mut())
    }

    /// … and gives the empty list back, to be filled again.
    pub(crate) fn give_log(&self, log: Vec<Logged>) {
        *self.log.borrow_mut() = log;
    }

    /// Keeps the device's accesses to these bytes from now on. `false` if too much is followed already.
    pub(crate) fn follow(&self, iova: u64, len: u64) -> bool {
        let mut followed = self.followed.borrow_mut();
        followed.retain(|f| f.iova != iova);
        let room = followed.len() < MOST_FOLLOWED;
        if room {
            followed.push(Followed { iova, len, accesses: Vec::new(), overrun: false });
        }
        self.following.set(!followed.is_empty());
        room
    }

    /// Follows no longer what begins in a range.
    pub(crate) fn forget_followed(&self, iova: u64, len: u64) {
        let mut followed = self.followed.borrow_mut();
        followed.retain(|f| f.iova < iova || f.iova - iova >= len);
        self.following.set(!followed.is_empty());
    }

    /// Moves the accesses that were kept of what begins at an address to the end of `into`; `false` if it is not followed, or not all
    /// were kept.
    pub(crate) fn take_followed(&self, iova: u64, into: &mut Vec<DeviceAccess>) -> bool {
        let mut followed = self.followed.borrow_mut();
        let Some(found) = followed.iter_mut().find(|f| f.iova == iova) else { return false };
        into.append(&mut found.accesses);
        !std::mem::take(&mut found.overrun)
    }

    /// The device is about to access memory.
    #[inline]
    pub(crate) fn keep(&self, iova: u64, len: usize, access: Permissions) {
        if self.following.get() {
            self.keep_followed(iova, len as u64, access != Permissions::Read);
        }
    }

    fn keep_followed(&self, iova: u64, len: u64, store: bool) {
        for found in self.followed.borrow_mut().iter_mut() {
            let start = iova.max(found.iova);
            let end = iova.saturating_add(len).min(found.iova.saturating_add(found.len));
            if start >= end {
                continue;
            }
            let mut before = [0; 16];
            let line = found.iova + (start - found.iova) / 16 * 16;
            let at = self.find(line, 16).map(|(at, ..)| at);
            let there = at.is_some_and(|at| self.behind.get_backend().read_slice(&mut before, at).is_ok());
            if !there || found.accesses.len() >= MOST_KEPT {
                found.overrun = true;
                continue;
            }
            found.accesses.push(DeviceAccess { store, iova: start, len: end - start, before });
        }
    }

    fn log(&self, at: GuestAddress, len: usize, access: Permissions) {
        let old = (access != Permissions::Read).then(|| {
            let mut old = Vec::new();
            if self.logging.get() == Logging::Old {
                old.resize(len, 0);
                let _ = self.behind.get_backend().read_slice(&mut old, at);
            }
            old
        });
        self.log.borrow_mut().push(Logged { physical: at.0, len, old });
    }

    /// As [`log`](Self::log), for an access that goes the long way.
    #[cold]
    fn log_noted(&self, iova: u64, len: usize, access: Permissions) {
        if let Some((at, permissions, true)) = self.find(iova, len as u64)
            && permissions.allow(access)
            && self.iommu().open.load(Ordering::Relaxed)
        {
            self.log(at, len, access);
        }
    }
}

impl Known {
    #[cold]
    fn copy(&mut self, space: &IoSpace) {
        let inner = space.read();
        // It changes only while the space is locked.
        self.generation = space.generation.load(Ordering::Acquire);
        self.ranges.clear();
        self.ranges.extend(inner.live.values().map(|mapping| Range {
            iova: mapping.iova,
            len: mapping.len,
            physical: mapping.physical.0,
            permissions: mapping.direction.permissions(),
            coherent: mapping.kind == MappingKind::Coherent,
        }));
    }
}

impl GuestMemory for DeviceMemory {
    type PhysicalMemory = GuestMemoryMmap;
    type Bitmap = ();

    fn check_range(&self, addr: GuestAddress, count: usize, access: Permissions) -> bool {
        self.resolve_open(addr.0, count as u64, access) || self.behind.check_range(addr, count, access)
    }

    #[inline]
    fn get_slices<'a>(
        &'a self,
        addr: GuestAddress,
        count: usize,
        access: Permissions,
    ) -> MemoryResult<impl GuestMemorySliceIterator<'a, ()>> {
        match self.slice(addr.0, count, access) {
            Some(slice) => Ok(Slices::Known((count != 0).then_some(slice))),
            None => {
                if self.logging.get() != Logging::Off {
                    self.log_noted(addr.0, count, access);
                }
                if self.iommu().open.load(Ordering::Relaxed) {
                    self.keep(addr.0, count, access);
                }
                self.behind.get_slices(addr, count, access).map(|walk| Slices::Walked(Box::new(walk)))
            }
        }
    }
}

/// What an access is made of.
enum Slices<'a, W> {
    /// A mapping leads to one piece of memory.
    Known(Option<VolatileSlice<'a>>),
    /// What the space says. It is large, and rare.
    Walked(Box<W>),
}

impl<'a, W: Iterator<Item = MemoryResult<VolatileSlice<'a>>>> Iterator for Slices<'a, W> {
    type Item = MemoryResult<VolatileSlice<'a>>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Known(slice) => slice.take().map(Ok),
            Self::Walked(walk) => walk.next(),
        }
    }
}

impl<'a, W: FusedIterator<Item = MemoryResult<VolatileSlice<'a>>>> FusedIterator for Slices<'a, W> {}

impl<'a, W: GuestMemorySliceIterator<'a, ()>> GuestMemorySliceIterator<'a, ()> for Slices<'a, W> {}

#[cfg(test)]
mod tests {
    use super::super::{Direction, MappingKind, NewMapping};
    use super::*;

    fn mapped(memory: &DeviceMemory, ram: &mut Ram, direction: Direction) -> u64 {
        let physical = ram.alloc(100, 0).unwrap();
        let kind = MappingKind::Coherent;
        let new = NewMapping { physical, len: 100, mask: u64::MAX, direction, kind, place: None, at: 0 };
        memory.iommu().map(&new).unwrap()
    }

    fn write(memory: &DeviceMemory, iova: u64) -> bool {
        memory.write_slice(&[1; 8], GuestAddress(iova)).is_ok()
    }

    #[test]
    fn what_is_unmapped_is_out_of_reach_although_it_was_known() {
        let mut ram = Ram::new(1 << 20).unwrap();
        let memory = device_memory(&ram);
        memory.iommu().set_open(true);
        let first = mapped(&memory, &mut ram, Direction::Bidirectional);
        let second = mapped(&memory, &mut ram, Direction::Bidirectional);
        assert!(write(&memory, first) && write(&memory, second));
        memory.iommu().unmap(first, 1).unwrap();
        assert!(!write(&memory, first) && write(&memory, second));
        assert_eq!(memory.iommu().take_refused(), [(first, 8, Permissions::Write)]);
    }

    #[test]
    fn what_is_known_is_refused_against_its_direction_over_its_end_and_with_the_bus_closed() {
        let mut ram = Ram::new(1 << 20).unwrap();
        let memory = device_memory(&ram);
        memory.iommu().set_open(true);
        let iova = mapped(&memory, &mut ram, Direction::ToDevice);
        let read = |at: u64| memory.read_obj::<u64>(GuestAddress(at)).is_ok();
        assert!(read(iova) && read(iova + 92));
        assert!(!read(iova + 93) && !read(iova - 1) && !read(iova + 100) && !read(u64::MAX));
        assert!(!write(&memory, iova));
        memory.iommu().set_open(false);
        assert!(!read(iova));
    }

    #[test]
    fn what_is_known_is_noted_all_the_same() {
        let mut ram = Ram::new(1 << 20).unwrap();
        let memory = device_memory(&ram);
        memory.iommu().set_open(true);
        let iova = mapped(&memory, &mut ram, Direction::Bidirectional);
        assert!(write(&memory, iova));
        memory.iommu().set_noting(true);
        assert!(write(&memory, iova));
        assert_eq!(memory.iommu().take_noted().len(), 1);
    }

    #[test]
    fn what_a_device_does_where_it_is_followed_is_kept_with_what_stood_there() {
        let mut ram = Ram::new(1 << 20).unwrap();
        let memory = device_memory(&ram);
        memory.iommu().set_open(true);
        let iova = mapped(&memory, &mut ram, Direction::Bidirectional);
        assert!(memory.follow(iova + 16, 32));
        assert!(write(&memory, iova) && write(&memory, iova + 12) && write(&memory, iova + 40));
        memory.iommu().set_noting(true);
        let loaded: u16 = memory.read_obj(GuestAddress(iova + 18)).unwrap();
        let mut kept = Vec::new();

        assert!(memory.take_followed(iova + 16, &mut kept));

        let (mut after, nothing) = ([0; 16], [0; 16]);
        after[..4].fill(1);
        let access = |store, at, len, before| DeviceAccess { store, iova: iova + at, len, before };
        let stores = [access(true, 16, 4, nothing), access(true, 40, 8, nothing)];
        assert_eq!((kept.as_slice(), loaded), (&[stores[0], stores[1], access(false, 18, 2, after)][..], 0x101));
        assert!(memory.take_followed(iova + 16, &mut Vec::new()));
        memory.forget_followed(iova, 100);
        assert!(!memory.take_followed(iova + 16, &mut kept));
    }

    #[test]
    fn more_than_is_kept_is_said_and_takes_no_memory() {
        let mut ram = Ram::new(1 << 20).unwrap();
        let memory = device_memory(&ram);
        memory.iommu().set_open(true);
        let iova = mapped(&memory, &mut ram, Direction::Bidirectional);
        assert!(memory.follow(iova, 32));
        assert!((0..=MOST_KEPT).all(|_| write(&memory, iova)));
        let mut kept = Vec::new();
        assert_eq!((memory.take_followed(iova, &mut kept), kept.len()), (false, MOST_KEPT));
        assert!((1..MOST_FOLLOWED as u64).all(|at| memory.follow(iova + at, 1)));
        assert!(!memory.follow(iova + 5000, 1));
    }
}
