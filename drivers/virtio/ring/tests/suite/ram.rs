//! Memory for tests that a driver's ring, a device written here and rust-vmm's device see alike.

use kernel::error::{code::EINVAL, Result};
use virtio_ring::ring::{Areas, Memory, Queue, Shape};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap, MemoryRegionAddress};

use std::sync::atomic::Ordering;

/// Where memory begins for a device: high, so that no index or offset is mistaken for an address.
pub(crate) const BASE: u64 = 0x7000_0000_0000;

/// What fresh memory holds.
const DIRT: u8 = 0xa5;

/// A part of memory.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    pub(crate) memory: GuestMemoryMmap,
    base: u64,
    size: usize,
}

impl Window {
    /// Memory of its own, dirty.
    pub(crate) fn new(size: usize) -> Self {
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(BASE), size)]).unwrap();
        memory
            .write_slice(&vec![DIRT; size], GuestAddress(BASE))
            .unwrap();
        assert_eq!(MemoryRegionAddress(0).0, 0);
        Self {
            memory,
            base: BASE,
            size,
        }
    }

    /// A part of it.
    pub(crate) fn part(&self, at: usize, size: usize) -> Self {
        assert!(at + size <= self.size);
        Self {
            memory: self.memory.clone(),
            base: self.base + at as u64,
            size,
        }
    }

    fn place(&self, at: usize, len: usize) -> Result<GuestAddress> {
        let end = at.checked_add(len).ok_or(EINVAL)?;
        if end > self.size {
            return Err(EINVAL);
        }
        Ok(GuestAddress(self.base + at as u64))
    }

    pub(crate) fn fill(&self, byte: u8) {
        self.memory
            .write_slice(&vec![byte; self.size], GuestAddress(self.base))
            .unwrap();
    }

    pub(crate) fn bytes(&self, address: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.memory
            .read_slice(&mut bytes, GuestAddress(address))
            .unwrap();
        bytes
    }

    pub(crate) fn put(&self, address: u64, bytes: &[u8]) {
        self.memory
            .write_slice(bytes, GuestAddress(address))
            .unwrap();
    }
}

impl Memory for Window {
    fn address(&self) -> u64 {
        self.base
    }

    fn size(&self) -> usize {
        self.size
    }

    fn read16(&self, at: usize) -> Result<u16> {
        let value: u16 = self
            .memory
            .load(self.place(at, 2)?, Ordering::Relaxed)
            .map_err(|_| EINVAL)?;
        Ok(u16::from_le(value))
    }

    fn read32(&self, at: usize) -> Result<u32> {
        let value: u32 = self
            .memory
            .load(self.place(at, 4)?, Ordering::Relaxed)
            .map_err(|_| EINVAL)?;
        Ok(u32::from_le(value))
    }

    fn write16(&self, at: usize, value: u16) -> Result {
        self.memory
            .store(value.to_le(), self.place(at, 2)?, Ordering::Relaxed)
            .map_err(|_| EINVAL)
    }

    fn write_bytes(&self, at: usize, bytes: &[u8]) -> Result {
        self.memory
            .write_slice(bytes, self.place(at, bytes.len())?)
            .map_err(|_| EINVAL)
    }
}

/// Where the areas of a queue of this shape begin in a memory, and where what is left does.
pub(crate) fn plan(shape: Shape) -> ([usize; 4], usize) {
    let mut next = 0;
    let starts = shape.areas().map(|len| {
        let start = next;
        // Each on lines of its own, with a gap that nobody may touch.
        next = (start + len + 64).next_multiple_of(64);
        start
    });
    (starts, next)
}

/// A queue of this shape at the beginning of a memory.
pub(crate) fn queue<T>(ram: &Window, shape: Shape) -> Queue<T, Window> {
    let (starts, _) = plan(shape);
    let [descriptors, driver, device, tables] = shape.areas();
    let zeroed = |at, len| {
        let area = ram.part(at, len);
        area.fill(0);
        area
    };
    let areas = Areas {
        descriptors: zeroed(starts[0], descriptors),
        driver: zeroed(starts[1], driver),
        device: zeroed(starts[2], device),
        tables: (tables != 0).then(|| ram.part(starts[3], tables)),
    };
    Queue::with_memory(shape, areas).unwrap()
}
