//! Devices written straight from virtio 1.4, slowly and with counters that never come round. They believe nothing of the
//! driver: what it may not do fails the test.

use virtio_ring::{
    feature,
    ring::{Memory, Shape},
};

pub(crate) mod packed;
pub(crate) mod split;

/// A piece of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Element {
    pub(crate) address: u64,
    pub(crate) len: u32,
    pub(crate) writable: bool,
}

/// A chain that a device has taken.
#[derive(Clone, Debug)]
pub(crate) struct Taken {
    /// What the device gives back.
    pub(crate) id: u16,
    pub(crate) elements: Vec<Element>,
    /// Slots that it takes in a packed ring.
    pub(crate) slots: u64,
    /// Where it begins in a packed ring, counted over all laps.
    pub(crate) start: u64,
    /// Its descriptors in the ring as they were: offset in memory, bytes.
    pub(crate) images: Vec<(u64, Descriptor)>,
}

impl Taken {
    /// How many bytes may be written.
    pub(crate) fn writable(&self) -> u32 {
        self.elements
            .iter()
            .filter(|element| element.writable)
            .map(|element| element.len)
            .sum()
    }
}

/// What a ring's device side can do.
pub(crate) trait Device: std::fmt::Debug {
    /// Takes the next chain.
    fn pop(&mut self) -> Option<Taken>;
    /// Gives a chain back.
    fn push(&mut self, taken: Taken, written: u32);
    /// With IN_ORDER: gives chains back by one entry. `false` if this device cannot.
    fn push_batch(&mut self, batch: &[Taken], written: u32) -> bool;
    /// Whether the driver wants to be interrupted for what was given back since it was last asked.
    fn wants_interrupt(&mut self) -> bool;
    /// Wants no kicks for now.
    fn quiet(&mut self);
    /// Wants a kick when so many more chains (split) or slots (packed) than it has seen are there. Whether there is something
    /// already.
    fn listen(&mut self, delay: u16) -> bool;
    /// Begins anew.
    fn reset(&mut self);
}

/// What both layouts' devices know.
#[derive(Debug)]
pub(crate) struct Common<M> {
    pub(crate) ram: M,
    pub(crate) size: u64,
    pub(crate) event_idx: bool,
    pub(crate) in_order: bool,
    pub(crate) indirect: bool,
    /// Descriptor, driver and device area.
    pub(crate) areas: [u64; 3],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Descriptor {
    pub(crate) address: u64,
    pub(crate) len: u32,
    /// The two last fields, in their order.
    pub(crate) first: u16,
    pub(crate) second: u16,
}

impl<M: Memory> Common<M> {
    pub(crate) fn new(ram: M, shape: Shape, areas: [u64; 3]) -> Self {
        let has = |bit| shape.features & feature::bit(bit) != 0;
        Self {
            ram,
            size: shape.size.into(),
            event_idx: has(feature::EVENT_IDX),
            in_order: has(feature::IN_ORDER),
            indirect: has(feature::INDIRECT_DESC),
            areas,
        }
    }

    fn at(&self, address: u64) -> usize {
        (address - self.ram.address()) as usize
    }

    pub(crate) fn read16(&self, address: u64) -> Option<u16> {
        self.ram.read16(self.at(address)).ok()
    }

    pub(crate) fn read32(&self, address: u64) -> Option<u32> {
        self.ram.read32(self.at(address)).ok()
    }

    pub(crate) fn write16(&self, address: u64, value: u16) {
        // What fails was stopped from outside.
        let _ = self.ram.write16(self.at(address), value);
    }

    pub(crate) fn write_bytes(&self, address: u64, bytes: &[u8]) {
        let _ = self.ram.write_bytes(self.at(address), bytes);
    }

    pub(crate) fn descriptor(&self, address: u64) -> Option<Descriptor> {
        let low = self.read32(address)?;
        let high = self.read32(address + 4)?;
        Some(Descriptor {
            address: u64::from(low) | u64::from(high) << 32,
            len: self.read32(address + 8)?,
            first: self.read16(address + 12)?,
            second: self.read16(address + 14)?,
        })
    }

    /// What holds for every chain (§2.7.4.2, §2.7.5.2, §2.7.5.3.1, §2.8.17).
    pub(crate) fn check(&self, elements: &[Element]) {
        assert!(!elements.is_empty());
        assert!(
            elements.len() as u64 <= self.size,
            "a chain is no longer than the queue"
        );
        assert!(
            elements.is_sorted_by_key(|element| element.writable),
            "first what is read"
        );
        let bytes: u64 = elements.iter().map(|element| u64::from(element.len)).sum();
        assert!(bytes <= 1 << 32);
    }

    /// What was shown stays as it was (§3.3.1, §2.8.16).
    pub(crate) fn check_frozen(&self, image: &(u64, Descriptor)) {
        if let Some(now) = self.descriptor(image.0) {
            assert_eq!(now, image.1, "a descriptor changed while the device had it");
        }
    }
}

pub(crate) const NEXT: u16 = 1;
pub(crate) const WRITE: u16 = 2;
pub(crate) const INDIRECT: u16 = 4;
