//! The device's side of a packed queue (virtio 1.4 §2.8).

use super::*;
use std::fmt::Debug;

const AVAIL: u16 = 1 << 7;
const USED: u16 = 1 << 15;

#[derive(Debug)]
pub(crate) struct Packed<M> {
    pub(crate) common: Common<M>,
    /// Slots taken, over all laps.
    taken: u64,
    /// Slots given back, over all laps.
    used: u64,
    /// As many were given back when the driver was last considered for an interrupt.
    told: u64,
    /// Ids of the chains that the device has.
    ids: Vec<u16>,
}

/// Place and wrap counter of a slot that is counted over all laps.
fn off_wrap(slot: u64, size: u64) -> u16 {
    (slot % size) as u16 | u16::from((slot / size).is_multiple_of(2)) << 15
}

impl<M: Memory> Packed<M> {
    pub(crate) fn new(ram: M, shape: Shape, areas: [u64; 3]) -> Self {
        Self {
            common: Common::new(ram, shape, areas),
            taken: 0,
            used: 0,
            told: 0,
            ids: Vec::new(),
        }
    }

    fn at(&self, slot: u64) -> u64 {
        self.common.areas[0] + slot % self.common.size * 16
    }

    /// Whether these flags of a slot say that it is available.
    fn says_available(&self, slot: u64, flags: u16) -> bool {
        let wrap = (slot / self.common.size).is_multiple_of(2);
        (flags & AVAIL != 0) == wrap && (flags & USED != 0) != wrap
    }

    fn is_available(&self, slot: u64) -> bool {
        let flags = self.common.read16(self.at(slot) + 14);
        flags.is_some_and(|flags| self.says_available(slot, flags))
    }

    fn table(&self, table: Descriptor) -> Option<Vec<Element>> {
        assert!(self.common.indirect && table.len.is_multiple_of(16) && table.len != 0);
        let entries = (0..table.len / 16).map(|index| {
            let entry = self
                .common
                .descriptor(table.address + u64::from(index) * 16)?;
            assert_eq!(
                entry.second & !WRITE,
                0,
                "a flag that means nothing in a table"
            );
            Some(Element {
                address: entry.address,
                len: entry.len,
                writable: entry.second & WRITE != 0,
            })
        });
        entries.collect()
    }

    fn give(&mut self, batch: &[Taken], written: u32) {
        let Some(last) = batch.last() else { return };
        for taken in batch {
            // Those before `used` were written over by the device itself.
            let kept = taken
                .images
                .iter()
                .zip(taken.start..)
                .filter(|(_, slot)| *slot >= self.used);
            kept.for_each(|(image, _)| self.common.check_frozen(image));
            self.ids.retain(|id| *id != taken.id);
        }
        let at = self.at(self.used);
        let [w0, w1, w2, w3] = written.to_le_bytes();
        let [i0, i1] = last.id.to_le_bytes();
        self.common.write_bytes(at + 8, &[w0, w1, w2, w3, i0, i1]);
        self.common.ram.write_barrier();
        let wrap = (self.used / self.common.size).is_multiple_of(2);
        let both = if wrap { AVAIL | USED } else { 0 };
        self.common
            .write16(at + 14, both | if written == 0 { 0 } else { WRITE });
        self.used += batch.iter().map(|taken| taken.slots).sum::<u64>();
    }
}

impl<M: Memory + Debug> Device for Packed<M> {
    fn pop(&mut self) -> Option<Taken> {
        if !self.is_available(self.taken) {
            return None;
        }
        self.common.ram.read_barrier();
        let mut elements = Vec::new();
        let mut images = Vec::new();
        let mut slot = self.taken;
        let id = loop {
            let at = self.at(slot);
            let one = self.common.descriptor(at)?;
            images.push((at, one));
            assert!(
                self.says_available(slot, one.second),
                "a list that is not whole"
            );
            assert!(images.len() as u64 <= self.common.size);
            slot += 1;
            let flags = one.second;
            if flags & INDIRECT != 0 {
                assert!(
                    flags & NEXT == 0 && images.len() == 1,
                    "a list of slots with a table"
                );
                elements = self.table(one)?;
                break one.first;
            }
            elements.push(Element {
                address: one.address,
                len: one.len,
                writable: flags & WRITE != 0,
            });
            if flags & NEXT == 0 {
                break one.first;
            }
        };
        self.common.check(&elements);
        assert!(!self.ids.contains(&id), "an id that the device has already");
        self.ids.push(id);
        let start = std::mem::replace(&mut self.taken, slot);
        assert!(self.taken - self.used <= self.common.size);
        Some(Taken {
            id,
            elements,
            slots: slot - start,
            start,
            images,
        })
    }

    fn push(&mut self, taken: Taken, written: u32) {
        self.give(&[taken], written);
    }

    fn push_batch(&mut self, batch: &[Taken], written: u32) -> bool {
        if self.common.in_order {
            self.give(batch, written);
        }
        self.common.in_order
    }

    fn wants_interrupt(&mut self) -> bool {
        let common = &self.common;
        common.ram.full_barrier();
        let mut run = self.told..self.used;
        self.told = self.used;
        let Some(both) = common.read32(common.areas[1]) else {
            return false;
        };
        let (event, flags) = (both as u16, (both >> 16) as u16);
        match flags {
            0 => !run.is_empty(),
            1 => false,
            2 if common.event_idx => run.any(|slot| off_wrap(slot, common.size) == event),
            _ => panic!("event flags {flags:#x}"),
        }
    }

    fn quiet(&mut self) {
        self.common.write16(self.common.areas[2] + 2, 1);
    }

    fn listen(&mut self, delay: u16) -> bool {
        let common = &self.common;
        let flags = if common.event_idx {
            let event = self.taken + u64::from(delay) % common.size;
            common.write16(common.areas[2], off_wrap(event, common.size));
            common.ram.write_barrier();
            2
        } else {
            0
        };
        common.write16(common.areas[2] + 2, flags);
        common.ram.full_barrier();
        self.is_available(self.taken)
    }

    fn reset(&mut self) {
        (self.taken, self.used, self.told) = (0, 0, 0);
        self.ids.clear();
    }
}

/// Whether a driver must kick that made the slots from `old` to before `new`, counted over all laps, available.
pub(crate) fn kick_is_due<M: Memory>(common: &Common<M>, old: u64, new: u64) -> bool {
    let both = common.read32(common.areas[2]).unwrap();
    let (event, flags) = (both as u16, (both >> 16) as u16);
    match flags {
        0 => old != new,
        1 => false,
        _ => (old..new).any(|slot| off_wrap(slot, common.size) == event),
    }
}
