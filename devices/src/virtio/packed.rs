//! Packed virtqueues (virtio 1.4 §2.8).
//!
//! The device keeps two places in the ring, each with a wrap counter: where the next chain becomes available, and where the next
//! used descriptor goes. A slot is available when its AVAIL flag equals the counter and its USED flag does not.

use std::sync::atomic::{Ordering, fence};

use bringup_core::dma::DeviceMemory;
use bringup_spec::virtio::feature;
use bringup_spec::virtio::ring::{desc, packed};
use vm_memory::GuestAddress;

use super::queue::{Broken, Chain, Element, Setup, longest_chain};

/// A slot of the ring and the wrap counter that goes with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    slot: u16,
    wrap: bool,
}

impl Place {
    const START: Self = Self { slot: 0, wrap: true };

    fn forward(self, slots: u16, size: u16) -> Self {
        let at = u32::from(self.slot) + u32::from(slots);
        let (slot, wraps) = if at >= u32::from(size) { (at - u32::from(size), true) } else { (at, false) };
        Self { slot: slot as u16, wrap: self.wrap ^ wraps }
    }

    fn back(self, slots: u16, size: u16) -> Self {
        match self.slot.checked_sub(slots) {
            Some(slot) => Self { slot, wrap: self.wrap },
            None => Self { slot: (u32::from(self.slot) + u32::from(size) - u32::from(slots)) as u16, wrap: !self.wrap },
        }
    }

    fn off_wrap(self) -> u16 {
        self.slot | u16::from(self.wrap) << 15
    }
}

/// A descriptor as it stands in memory.
#[derive(Clone, Copy, Debug)]
struct Descriptor {
    address: u64,
    len: u32,
    id: u16,
    flags: u16,
}

impl Descriptor {
    fn read(memory: &DeviceMemory, at: u64) -> Result<Self, Broken> {
        let mut bytes = [0; 16];
        memory.read_slice(&mut bytes, GuestAddress(at)).map_err(|_| Broken)?;
        let [a0, a1, a2, a3, a4, a5, a6, a7, l0, l1, l2, l3, i0, i1, f0, f1] = bytes;
        Ok(Self {
            address: u64::from_le_bytes([a0, a1, a2, a3, a4, a5, a6, a7]),
            len: u32::from_le_bytes([l0, l1, l2, l3]),
            id: u16::from_le_bytes([i0, i1]),
            flags: u16::from_le_bytes([f0, f1]),
        })
    }

    fn element(&self) -> Element {
        Element { address: self.address, len: self.len, writable: self.flags & desc::WRITE != 0 }
    }
}

#[derive(Debug)]
pub(super) struct Packed {
    size: u16,
    ring: u64,
    driver_event: u64,
    device_event: u64,
    event_idx: bool,
    indirect: bool,
    available: Place,
    used: Place,
    /// Where used descriptors went when the driver was last considered for an interrupt.
    told: Place,
    /// How many slots were used since, as far as it matters.
    since: u32,
    /// What the device's event structure holds.
    quiet: bool,
    /// Where the flags of the first descriptor go that was pushed and not published, and what they are.
    unpublished: Option<(u64, u16)>,
}

impl Packed {
    pub(super) fn new(setup: &Setup, features: u128) -> Self {
        Self {
            size: setup.size,
            ring: setup.descriptors,
            driver_event: setup.driver,
            device_event: setup.device,
            event_idx: features >> feature::EVENT_IDX & 1 != 0,
            indirect: features >> feature::INDIRECT_DESC & 1 != 0,
            available: Place::START,
            used: Place::START,
            told: Place::START,
            since: 0,
            quiet: false,
            unpublished: None,
        }
    }

    fn slot(&self, slot: u16) -> Result<u64, Broken> {
        self.ring.checked_add(u64::from(slot) * desc::SIZE).ok_or(Broken)
    }

    /// Whether the slot at the next place is available.
    fn is_available(&self, memory: &DeviceMemory) -> Result<bool, Broken> {
        let at = self.slot(self.available.slot)?.checked_add(packed::DESC_FLAGS).ok_or(Broken)?;
        let flags = u16::from_le(memory.load(GuestAddress(at), Ordering::Acquire).map_err(|_| Broken)?);
        let (avail, used) = (flags & packed::AVAIL != 0, flags & packed::USED != 0);
        Ok(avail == self.available.wrap && used != self.available.wrap)
    }

    pub(super) fn pop(&mut self, memory: &DeviceMemory, mut elements: Vec<Element>) -> Result<Option<Chain>, Broken> {
        if !self.is_available(memory)? {
            return Ok(None);
        }
        let first = Descriptor::read(memory, self.slot(self.available.slot)?)?;
        let mut slots = 1;
        let mut id = first.id;
        if first.flags & desc::INDIRECT != 0 {
            // A list is either of slots or one table, and a table needs the feature (§2.8.19).
            if first.flags & desc::NEXT != 0 || !self.indirect {
                return Err(Broken);
            }
            self.read_table(memory, &first, &mut elements)?;
        } else {
            let mut last = first;
            elements.push(last.element());
            while last.flags & desc::NEXT != 0 {
                if slots == self.size {
                    return Err(Broken);
                }
                let at = self.available.forward(slots, self.size);
                last = Descriptor::read(memory, self.slot(at.slot)?)?;
                if last.flags & desc::INDIRECT != 0 {
                    return Err(Broken);
                }
                elements.push(last.element());
                slots += 1;
            }
            id = last.id;
        }
        self.available = self.available.forward(slots, self.size);
        Chain::new(id, slots, elements).map(Some).ok_or(Broken)
    }

    /// Reads an indirect table: its elements follow each other, without NEXT (§2.8.7).
    fn read_table(&self, memory: &DeviceMemory, table: &Descriptor, elements: &mut Vec<Element>) -> Result<(), Broken> {
        let count = u64::from(table.len) / desc::SIZE;
        let most = longest_chain(self.size) as u64;
        if u64::from(table.len) % desc::SIZE != 0 || count == 0 || count > most {
            return Err(Broken);
        }
        for index in 0..count {
            let at = table.address.checked_add(index * desc::SIZE).ok_or(Broken)?;
            elements.push(Descriptor::read(memory, at)?.element());
        }
        Ok(())
    }

    pub(super) fn unpop(&mut self, chain: &Chain) {
        self.available = self.available.back(chain.slots, self.size);
    }

    /// Writes the next used descriptor. The first of those that are published together keeps its flags back: the driver looks no
    /// further than to it.
    pub(super) fn push(&mut self, memory: &DeviceMemory, chain: &Chain, written: u32) -> Result<(), Broken> {
        let at = self.slot(self.used.slot)?;
        let mut flags = if self.used.wrap { packed::AVAIL | packed::USED } else { 0 };
        if written != 0 {
            flags |= desc::WRITE;
        }
        let mut middle = [0; 6];
        middle[..4].copy_from_slice(&written.to_le_bytes());
        middle[4..].copy_from_slice(&chain.id.to_le_bytes());
        let put = |offset: u64| at.checked_add(offset).ok_or(Broken);
        memory.write_slice(&middle, GuestAddress(put(packed::DESC_LEN)?)).map_err(|_| Broken)?;
        let flags_at = put(packed::DESC_FLAGS)?;
        if self.unpublished.is_none() {
            self.unpublished = Some((flags_at, flags));
        } else {
            memory.store(flags.to_le(), GuestAddress(flags_at), Ordering::Release).map_err(|_| Broken)?;
        }
        self.used = self.used.forward(chain.slots, self.size);
        self.since = self.since.saturating_add(u32::from(chain.slots));
        Ok(())
    }

    /// Shows the driver all that was pushed, at once.
    pub(super) fn publish(&mut self, memory: &DeviceMemory) -> Result<(), Broken> {
        match self.unpublished.take() {
            Some((at, flags)) => memory.store(flags.to_le(), GuestAddress(at), Ordering::Release).map_err(|_| Broken),
            None => Ok(()),
        }
    }

    pub(super) fn quiet(&mut self, memory: &DeviceMemory) -> Result<(), Broken> {
        if !self.quiet {
            self.quiet = true;
            self.put_event_flags(memory, packed::EVENT_DISABLE)?;
        }
        Ok(())
    }

    pub(super) fn listen(&mut self, memory: &DeviceMemory) -> Result<bool, Broken> {
        self.quiet = false;
        if self.event_idx {
            let at = self.device_event.checked_add(packed::EVENT_OFF_WRAP).ok_or(Broken)?;
            let place = self.available.off_wrap();
            memory.store(place.to_le(), GuestAddress(at), Ordering::Release).map_err(|_| Broken)?;
            self.put_event_flags(memory, packed::EVENT_DESC)?;
        } else {
            self.put_event_flags(memory, packed::EVENT_ENABLE)?;
        }
        fence(Ordering::SeqCst);
        self.is_available(memory)
    }

    fn put_event_flags(&self, memory: &DeviceMemory, flags: u16) -> Result<(), Broken> {
        let at = self.device_event.checked_add(packed::EVENT_FLAGS).ok_or(Broken)?;
        memory.store(flags.to_le(), GuestAddress(at), Ordering::Release).map_err(|_| Broken)
    }

    pub(super) fn wants_interrupt(&mut self, memory: &DeviceMemory) -> Result<bool, Broken> {
        fence(Ordering::SeqCst);
        let mut event = [0; 4];
        memory.read_slice(&mut event, GuestAddress(self.driver_event)).map_err(|_| Broken)?;
        let [o0, o1, f0, f1] = event;
        let (off_wrap, flags) = (u16::from_le_bytes([o0, o1]), u16::from_le_bytes([f0, f1]));
        let told = std::mem::replace(&mut self.told, self.used);
        let since = std::mem::take(&mut self.since);
        match flags & 3 {
            packed::EVENT_DISABLE => Ok(false),
            packed::EVENT_DESC if self.event_idx => {
                let event = Place { slot: off_wrap & !packed::EVENT_WRAP, wrap: off_wrap & packed::EVENT_WRAP != 0 };
                // The slots that were used since form a run that begins at `told`: is the one that was named in it?
                Ok(since >= u32::from(self.size) || self.distance(told, event) < since)
            }
            // Reserved values are taken for what is safe: an interrupt too many.
            _ => Ok(true),
        }
    }

    /// How many slots lie from one place forward to another, over at most one wrap of the ring; out of reach if the wrap
    /// counters say that it lies behind.
    fn distance(&self, from: Place, to: Place) -> u32 {
        let (from_slot, to_slot) = (u32::from(from.slot), u32::from(to.slot));
        if from.wrap == to.wrap {
            to_slot.checked_sub(from_slot).unwrap_or(u32::MAX)
        } else {
            // It is in the next lap, or was in the one before, which looks the same: it counts if the run reaches so far.
            u32::from(self.size) - from_slot + to_slot
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_go_forward_and_back_over_the_end() {
        let start = Place { slot: 3, wrap: true };
        assert_eq!(start.forward(1, 4), Place { slot: 0, wrap: false });
        assert_eq!(start.forward(4, 4), Place { slot: 3, wrap: false });
        for size in 1..=9 {
            for slots in 1..=size {
                for slot in 0..size {
                    let place = Place { slot, wrap: false };
                    assert_eq!(place.forward(slots, size).back(slots, size), place);
                }
            }
        }
    }
}
