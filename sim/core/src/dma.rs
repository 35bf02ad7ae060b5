//! DMA: the machine's memory, and for each device an I/O address space of its own with the history of its mappings.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard};

use vm_memory::iommu::{Error as IommuError, Iotlb, IotlbIterator, IovaRange};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion, Iommu, Permissions};

pub(crate) use view::Logging;
pub use view::{DeviceAccess, DeviceMemory, device_memory};

use crate::finding::Place;
use crate::time::Nanos;

mod view;

/// The page size of the machine, in bytes.
pub const PAGE_SIZE: u64 = 4096;

/// Where the machine's memory begins in its physical address space: high, so that a physical address is never mistaken for
/// an I/O virtual one (those lie below 4 GiB unless a driver's mask says otherwise).
pub const RAM_BASE: u64 = 0x10_0000_0000;

/// What fresh memory holds, so that a read of what nobody wrote stands out.
pub const DIRTY: u8 = 0xa5;

/// Which way data may flow, seen from the memory as in Linux (`enum dma_data_direction`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Both.
    Bidirectional,
    /// The device may only read.
    ToDevice,
    /// The device may only write.
    FromDevice,
}

impl Direction {
    /// What the device may do.
    #[must_use]
    pub const fn permissions(self) -> Permissions {
        match self {
            Self::Bidirectional => Permissions::ReadWrite,
            Self::ToDevice => Permissions::Read,
            Self::FromDevice => Permissions::Write,
        }
    }

    /// Linux's name for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Bidirectional => "DMA_BIDIRECTIONAL",
            Self::ToDevice => "DMA_TO_DEVICE",
            Self::FromDevice => "DMA_FROM_DEVICE",
        }
    }
}

/// How a mapping came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MappingKind {
    /// Memory that CPU and device share (`dma_alloc_coherent`).
    Coherent,
    /// Memory lent to the device (`dma_map_sg` and its relatives).
    Streaming,
    /// All of the machine's memory, at its own addresses: nothing translates between device and memory.
    Memory,
}

impl MappingKind {
    /// One word for traces and findings.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Coherent => "coherent",
            Self::Streaming => "streaming",
            Self::Memory => "the machine's memory",
        }
    }
}

/// A range that a device may reach, or could once.
#[derive(Clone, Debug)]
pub struct Mapping {
    /// The first I/O virtual address.
    pub iova: u64,
    /// Bytes.
    pub len: u64,
    /// Where it leads in the machine's memory.
    pub physical: GuestAddress,
    /// Which way data may flow.
    pub direction: Direction,
    /// Coherent or streaming.
    pub kind: MappingKind,
    /// Who mapped it.
    pub place: Option<Place>,
    /// When it was mapped.
    pub mapped_at: Nanos,
    /// When it was unmapped.
    pub unmapped_at: Option<Nanos>,
}

impl Mapping {
    fn overlaps(&self, iova: u64, len: u64) -> bool {
        iova < self.iova.saturating_add(self.len) && self.iova < iova.saturating_add(len.max(1))
    }
}

impl fmt::Display for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x} +{:#x} ({}, {})", self.iova, self.len, self.kind.word(), self.direction.word())?;
        if let Some(place) = self.place {
            write!(f, ", mapped at {}:{}", place.file(), place.line())?;
        }
        Ok(())
    }
}

/// How many unmapped ranges a space remembers.
const HISTORY: usize = 256;

#[derive(Debug)]
struct Inner {
    tlb: Iotlb,
    /// By I/O virtual address.
    live: BTreeMap<u64, Mapping>,
    dead: VecDeque<Mapping>,
    /// Addresses are given out downwards from here, and from the top again when the bottom is reached; 0 at first.
    cursor: u64,
    /// They begin far above 4 GiB.
    high: bool,
}

/// The highest address where they begin high: what most IOMMUs translate.
const HIGH: u64 = (1 << 47) - 1;

/// The I/O address space of one device. Mappings are exact to the byte and never adjacent, so running over the end of one
/// is always seen. Addresses are given out from high to low and not again before all others were.
#[derive(Debug)]
pub struct IoSpace {
    inner: RwLock<Inner>,
    /// Changes with the mappings.
    generation: AtomicU64,
    /// The function may master the bus.
    open: AtomicBool,
    /// What was refused since the bus looked last: start, length, access.
    refused: Mutex<Vec<(u64, u64, Permissions)>>,
    has_refused: AtomicBool,
    /// Accesses through [`DeviceMemory`] are noted, for the trace and the fault plan.
    noting: AtomicBool,
    noted: Mutex<Vec<Noted>>,
}

/// An access through [`DeviceMemory`].
#[derive(Clone, Debug)]
pub(crate) struct Noted {
    pub(crate) iova: u64,
    pub(crate) len: u64,
    pub(crate) access: Permissions,
}

/// The lowest address ever given out; below it lies what a null pointer with an offset reaches.
const BOTTOM: u64 = 0x1_0000;

/// What a device did wrong when it reached for memory.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Nothing was ever mapped there, as far as is remembered. The nearest live mapping, if any.
    Unmapped(Option<Mapping>),
    /// It was mapped and no longer is.
    AfterUnmap(Mapping),
    /// It begins inside a mapping and runs past its end.
    Overrun(Mapping),
    /// It goes against the mapping's direction.
    Direction(Mapping),
}

impl Default for IoSpace {
    fn default() -> Self {
        Self::new()
    }
}

impl IoSpace {
    /// An empty space.
    #[must_use]
    pub fn new() -> Self {
        Self {
            inner: RwLock::new(Inner {
                tlb: Iotlb::new(),
                live: BTreeMap::new(),
                dead: VecDeque::new(),
                cursor: 0,
                high: false,
            }),
            generation: AtomicU64::new(0),
            open: AtomicBool::new(false),
            refused: Mutex::new(Vec::new()),
            has_refused: AtomicBool::new(false),
            noting: AtomicBool::new(false),
            noted: Mutex::new(Vec::new()),
        }
    }

    /// Turns the noting of accesses through [`DeviceMemory`] on or off.
    pub(crate) fn set_noting(&self, noting: bool) {
        self.noting.store(noting, Ordering::Relaxed);
    }

    /// Takes what was noted since the last call.
    #[inline]
    pub(crate) fn take_noted(&self) -> Vec<Noted> {
        if !self.noting.load(Ordering::Relaxed) {
            return Vec::new();
        }
        std::mem::take(&mut self.noted.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Lets accesses through [`DeviceMemory`] pass, or not: bus mastering was turned on or off, or the device is gone.
    pub fn set_open(&self, open: bool) {
        self.open.store(open, Ordering::Relaxed);
    }

    /// From now on addresses come from far above 4 GiB, to a device whose mask allows it: as on a machine without room below, or
    /// with `iommu.forcedac=1`.
    pub fn start_high(&self) {
        self.write().high = true;
    }

    /// Takes what was refused to accesses through [`DeviceMemory`] since the last call.
    #[inline]
    pub(crate) fn take_refused(&self) -> Vec<(u64, u64, Permissions)> {
        if !self.has_refused.load(Ordering::Relaxed) {
            return Vec::new();
        }
        self.has_refused.store(false, Ordering::Relaxed);
        std::mem::take(&mut self.refused.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether accesses through [`DeviceMemory`] may pass without being noted.
    #[inline]
    fn is_passing(&self) -> bool {
        self.open.load(Ordering::Relaxed) && !self.noting.load(Ordering::Relaxed)
    }

    fn refuse(&self, iova: u64, len: u64, access: Permissions) {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        // A device in a loop must not eat the host's memory; the first ones tell enough.
        if refused.len() < 16 {
            refused.push((iova, len, access));
        }
        self.has_refused.store(true, Ordering::Relaxed);
    }

    fn read(&self) -> RwLockReadGuard<'_, Inner> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Inner> {
        self.inner.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes `len` bytes at `physical` visible to the device at an address that fits `mask` (and lies below 4 GiB as long
    /// as there is room). Returns the address, or `None` if there is no room under the mask.
    pub fn map(&self, mapping: &NewMapping) -> Option<u64> {
        let mut inner = self.write();
        let span = mapping.len.max(1).checked_next_multiple_of(PAGE_SIZE)?;
        let first = if inner.high { HIGH } else { u64::from(u32::MAX) };
        let iova = [first, u64::MAX]
            .into_iter()
            .map(|limit| mapping.mask.min(limit))
            .find_map(|limit| inner.find_room(span, limit))?;
        inner
            .tlb
            .set_mapping(GuestAddress(iova), mapping.physical, mapping.len as usize, mapping.direction.permissions())
            .ok()?;
        let live = Mapping {
            iova,
            len: mapping.len,
            physical: mapping.physical,
            direction: mapping.direction,
            kind: mapping.kind,
            place: mapping.place,
            mapped_at: mapping.at,
            unmapped_at: None,
        };
        inner.live.insert(iova, live);
        self.generation.fetch_add(1, Ordering::Release);
        Some(iova)
    }

    /// Makes all of `ram` visible at its own addresses.
    fn map_all(&self, memory: &GuestMemoryMmap) {
        let mut inner = self.write();
        for region in memory.iter() {
            let (at, len) = (region.start_addr(), region.len());
            // The regions of one memory do not overlap: this does not fail.
            let _ = inner.tlb.set_mapping(at, at, len as usize, Permissions::ReadWrite);
            let mapping = Mapping {
                iova: at.0,
                len,
                physical: at,
                direction: Direction::Bidirectional,
                kind: MappingKind::Memory,
                place: None,
                mapped_at: 0,
                unmapped_at: None,
            };
            inner.live.insert(at.0, mapping);
        }
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// Takes the mapping that begins at `iova` away; the device faults there from now on. `None` if there is none.
    pub fn unmap(&self, iova: u64, at: Nanos) -> Option<Mapping> {
        let mut inner = self.write();
        let mut mapping = inner.live.remove(&iova)?;
        inner.tlb.invalidate_mapping(GuestAddress(iova), mapping.len as usize);
        mapping.unmapped_at = Some(at);
        if inner.dead.len() == HISTORY {
            inner.dead.pop_front();
        }
        inner.dead.push_back(mapping.clone());
        self.generation.fetch_add(1, Ordering::Release);
        Some(mapping)
    }

    /// The mappings that exist now, oldest address first.
    #[must_use]
    pub fn live(&self) -> Vec<Mapping> {
        let mut live: Vec<Mapping> = self.read().live.values().cloned().collect();
        live.sort_by_key(|m| (m.mapped_at, std::cmp::Reverse(m.iova)));
        live
    }

    /// The live mapping that holds all of these bytes.
    #[must_use]
    pub fn mapping_at(&self, iova: u64, len: u64) -> Option<Mapping> {
        let inner = self.read();
        inner.at(iova).filter(|m| len <= m.len - (iova - m.iova)).cloned()
    }

    /// Why the device may not do this; `None` if it may.
    #[must_use]
    pub fn fault(&self, iova: u64, len: u64, access: Permissions) -> Option<Fault> {
        self.resolve(iova, len, access).err().map(|fault| *fault)
    }

    /// Where `len` bytes are in the machine's memory, if the device may access them so.
    ///
    /// # Errors
    /// Why it may not.
    pub fn resolve(&self, iova: u64, len: u64, access: Permissions) -> Result<GuestAddress, Box<Fault>> {
        let inner = self.read();
        match inner.at(iova) {
            Some(mapping) if len <= mapping.len - (iova - mapping.iova) => {
                match mapping.direction.permissions().allow(access) {
                    true => Ok(GuestAddress(mapping.physical.0 + (iova - mapping.iova))),
                    false => Err(Box::new(Fault::Direction(mapping.clone()))),
                }
            }
            Some(mapping) => Err(Box::new(Fault::Overrun(mapping.clone()))),
            None => Err(Box::new(inner.missing(iova, len))),
        }
    }
}

impl Inner {
    /// The live mapping that holds an address.
    fn at(&self, iova: u64) -> Option<&Mapping> {
        self.live.range(..=iova).next_back().map(|(_, m)| m).filter(|m| iova - m.iova < m.len)
    }

    #[cold]
    fn missing(&self, iova: u64, len: u64) -> Fault {
        match self.dead.iter().rev().find(|m| m.overlaps(iova, len)) {
            Some(dead) => Fault::AfterUnmap(dead.clone()),
            None => Fault::Unmapped(self.live.values().min_by_key(|m| m.iova.abs_diff(iova)).cloned()),
        }
    }

    fn find_room(&mut self, span: u64, limit: u64) -> Option<u64> {
        let end = limit.saturating_add(1) & !(PAGE_SIZE - 1);
        // From the cursor down, then once more from the top: an address comes back as late as possible.
        let from = if self.cursor == 0 { end } else { self.cursor.min(end) };
        let at = self.room_below(span, from).or_else(|| self.room_below(span, end))?;
        self.cursor = at;
        Some(at)
    }

    /// The highest address below `end` with `span` free bytes and a free page on either side.
    fn room_below(&self, span: u64, end: u64) -> Option<u64> {
        let mut at = end.checked_sub(span)?.checked_sub(PAGE_SIZE)?;
        while at >= BOTTOM {
            let clash =
                self.live.values().filter(|m| m.overlaps(at - PAGE_SIZE, span + 2 * PAGE_SIZE)).map(|m| m.iova).min();
            match clash {
                None => return Some(at),
                Some(iova) => at = (iova & !(PAGE_SIZE - 1)).checked_sub(span + PAGE_SIZE)?,
            }
        }
        None
    }
}

/// What [`IoSpace::map`] is asked for.
#[derive(Clone, Debug)]
pub struct NewMapping {
    /// Where it leads in the machine's memory.
    pub physical: GuestAddress,
    /// Bytes, at least 1.
    pub len: u64,
    /// The highest address that the device can use (`dma_set_mask`).
    pub mask: u64,
    /// Which way data may flow.
    pub direction: Direction,
    /// Coherent or streaming.
    pub kind: MappingKind,
    /// Who maps it.
    pub place: Option<Place>,
    /// When.
    pub at: Nanos,
}

/// Read access to the translations of an [`IoSpace`].
#[derive(Debug)]
pub struct Translations<'a>(RwLockReadGuard<'a, Inner>);

impl Deref for Translations<'_> {
    type Target = Iotlb;

    fn deref(&self) -> &Iotlb {
        &self.0.tlb
    }
}

impl Iommu for IoSpace {
    type IotlbGuard<'a> = Translations<'a>;

    fn translate(
        &self,
        iova: GuestAddress,
        length: usize,
        access: Permissions,
    ) -> Result<IotlbIterator<Translations<'_>>, IommuError> {
        let refuse = |reason: &str| IommuError::CannotResolve {
            iova_range: IovaRange { base: iova, length },
            reason: reason.to_owned(),
        };
        if !self.open.load(Ordering::Relaxed) {
            self.refuse(iova.0, length as u64, access);
            return Err(refuse("bus mastering is off"));
        }
        // `Iotlb::lookup` adds the two unchecked, and both may be the other side's numbers.
        if iova.0.checked_add(length as u64).is_none() {
            self.refuse(iova.0, length as u64, access);
            return Err(refuse("the range wraps around the address space"));
        }
        let found = Iotlb::lookup(Translations(self.read()), iova, length, access).map_err(|_| {
            self.refuse(iova.0, length as u64, access);
            refuse("not mapped for this access")
        })?;
        if self.noting.load(Ordering::Relaxed) {
            let noted = Noted { iova: iova.0, len: length as u64, access };
            self.noted.lock().unwrap_or_else(PoisonError::into_inner).push(noted);
        }
        Ok(found)
    }
}

/// The machine's memory and the allocator of its pages.
#[derive(Debug)]
pub struct Ram {
    memory: GuestMemoryMmap,
    size: u64,
    /// Pages below this offset were given out at least once.
    fresh: u64,
    free: Vec<(u64, u64)>,
    /// Devices see it as it is.
    open: bool,
}

impl Ram {
    /// The memory of a machine whose software manages it itself, and without an IOMMU: every function reaches all of it, at the
    /// addresses that the processors use. Nothing can be allocated from it here.
    #[must_use]
    pub fn open(memory: GuestMemoryMmap) -> Self {
        let size = memory.iter().map(GuestMemoryRegion::len).sum();
        Self { memory, size, fresh: size, free: Vec::new(), open: true }
    }

    /// `size` bytes of memory at [`RAM_BASE`]. Host memory is used only for pages that are touched.
    ///
    /// # Errors
    /// When the host has no address space for it.
    pub fn new(size: u64) -> Result<Self, vm_memory::mmap::FromRangesError> {
        let size = size.next_multiple_of(PAGE_SIZE);
        if size == 0 {
            return Ok(Self { memory: GuestMemoryMmap::new(), size, fresh: 0, free: Vec::new(), open: false });
        }
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(RAM_BASE), size as usize)])?;
        Ok(Self { memory, size, fresh: 0, free: Vec::new(), open: false })
    }

    /// Takes whole pages for `len` bytes, filled with `fill`; `None` when there are none left.
    pub fn alloc(&mut self, len: u64, fill: u8) -> Option<GuestAddress> {
        let span = len.max(1).checked_next_multiple_of(PAGE_SIZE)?;
        let offset = if let Some(index) = self.free.iter().position(|(_, free)| *free == span) {
            self.free.swap_remove(index).0
        } else {
            let offset = self.fresh;
            if span > self.size - offset {
                return None;
            }
            self.fresh += span;
            offset
        };
        let at = GuestAddress(RAM_BASE + offset);
        self.fill(at, span, fill);
        Some(at)
    }

    /// Gives pages back.
    pub fn free(&mut self, at: GuestAddress, len: u64) {
        self.free.push((at.0 - RAM_BASE, len.max(1).next_multiple_of(PAGE_SIZE)));
    }

    fn fill(&self, at: GuestAddress, len: u64, byte: u8) {
        // In large pieces: drivers clear megabytes at the beginning of each life.
        const PIECE: u64 = 16 * PAGE_SIZE;
        static ZEROS: [u8; PIECE as usize] = [0; PIECE as usize];
        static DIRTIED: [u8; PIECE as usize] = [DIRTY; PIECE as usize];
        let other;
        let piece: &[u8] = match byte {
            0 => &ZEROS,
            DIRTY => &DIRTIED,
            _ => {
                other = [byte; PIECE as usize];
                &other
            }
        };
        for offset in (0..len).step_by(PIECE as usize) {
            let piece = &piece[..PIECE.min(len - offset) as usize];
            // The range was taken from this memory: the write cannot fail.
            let _ = self.memory.write_slice(piece, GuestAddress(at.0 + offset));
        }
    }

    /// Stores bytes; nothing where there is no memory.
    pub(crate) fn put(&self, at: u64, bytes: &[u8]) {
        let _ = self.memory.write_slice(bytes, GuestAddress(at));
    }

    /// Loads bytes; `into` is as it was where there is no memory.
    pub(crate) fn get(&self, at: u64, into: &mut [u8]) {
        let _ = self.memory.read_slice(into, GuestAddress(at));
    }

    /// How large it is, in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Makes all pages free again, for the next life on the same memory.
    pub fn recycle(&mut self) {
        self.fresh = if self.open { self.size } else { 0 };
        self.free.clear();
    }

    /// The address at which this process sees the memory at `at`; `None` outside it.
    #[must_use]
    pub fn host_address(&self, at: GuestAddress) -> Option<*mut u8> {
        self.memory.get_host_address(at).ok()
    }

    /// The memory as vm-memory has it.
    #[must_use]
    pub fn memory(&self) -> &GuestMemoryMmap {
        &self.memory
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(len: u64, mask: u64, direction: Direction) -> NewMapping {
        NewMapping {
            physical: GuestAddress(RAM_BASE),
            len,
            mask,
            direction,
            kind: MappingKind::Coherent,
            place: None,
            at: 0,
        }
    }

    #[test]
    fn addresses_fit_the_mask_and_never_touch() {
        let space = IoSpace::new();
        let mut given: Vec<u64> =
            (0..50).map(|_| space.map(&mapping(5000, 0x0fff_ffff, Direction::Bidirectional)).unwrap()).collect();
        given.sort_unstable();
        assert!(given.windows(2).all(|w| w[1] - w[0] >= 5000 + PAGE_SIZE));
        assert!(given.iter().all(|iova| iova + 5000 <= 0x1000_0000 && iova % PAGE_SIZE == 0));
    }

    #[test]
    fn an_address_is_not_given_again_soon() {
        let space = IoSpace::new();
        let first = space.map(&mapping(16, u64::MAX, Direction::Bidirectional)).unwrap();
        space.unmap(first, 1).unwrap();
        let second = space.map(&mapping(16, u64::MAX, Direction::Bidirectional)).unwrap();
        assert_ne!(first, second);
        assert!(first <= u64::from(u32::MAX));
    }

    #[test]
    fn no_room_under_a_small_mask_is_refused_and_room_comes_back() {
        let space = IoSpace::new();
        let given: Vec<u64> = std::iter::from_fn(|| space.map(&mapping(4096, 0x1_ffff, Direction::ToDevice))).collect();
        assert!((4..=16).contains(&given.len()), "{}", given.len());
        space.unmap(given[0], 1).unwrap();
        assert_eq!(space.map(&mapping(4096, 0x1_ffff, Direction::ToDevice)), Some(given[0]));
    }

    #[test]
    fn faults_say_what_went_wrong() {
        let space = IoSpace::new();
        let iova = space.map(&mapping(100, u64::MAX, Direction::ToDevice)).unwrap();
        assert!(space.fault(iova, 100, Permissions::Read).is_none());
        assert!(matches!(space.fault(iova, 101, Permissions::Read), Some(Fault::Overrun(_))));
        assert!(matches!(space.fault(iova + 99, 1, Permissions::Write), Some(Fault::Direction(_))));
        assert!(matches!(space.fault(iova + 100, 1, Permissions::Read), Some(Fault::Unmapped(Some(_)))));
        assert!(matches!(space.fault(u64::MAX, 8, Permissions::Read), Some(Fault::Unmapped(_))));
        space.unmap(iova, 7).unwrap();
        assert!(
            matches!(space.fault(iova + 4, 1, Permissions::Read), Some(Fault::AfterUnmap(m)) if m.unmapped_at == Some(7))
        );
    }

    #[test]
    fn translation_near_the_end_of_the_address_space_is_refused() {
        let space = IoSpace::new();
        space.set_open(true);
        assert!(space.translate(GuestAddress(u64::MAX - 3), 8, Permissions::Read).is_err());
    }

    #[test]
    fn fresh_memory_is_dirty_and_pages_come_back() {
        let mut ram = Ram::new(4 * PAGE_SIZE).unwrap();
        let at = ram.alloc(PAGE_SIZE, DIRTY).unwrap();
        assert_eq!(ram.memory().read_obj::<u8>(at).unwrap(), DIRTY);
        assert!(ram.alloc(4 * PAGE_SIZE, 0).is_none());
        ram.free(at, PAGE_SIZE);
        assert_eq!(ram.alloc(1, 0), Some(at));
        assert_eq!(ram.memory().read_obj::<u8>(at).unwrap(), 0);
    }
}
