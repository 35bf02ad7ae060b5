//! The device's side of a split queue (virtio 1.4 §2.7).

use super::*;
use std::fmt::Debug;

#[derive(Debug)]
pub(crate) struct Split<M> {
    pub(crate) common: Common<M>,
    /// Chains taken, ever.
    taken: u64,
    /// Chains given back, ever.
    used: u64,
    /// As many were given back when the driver was last considered for an interrupt.
    told: u64,
    /// With IN_ORDER: where the next chain must begin.
    next: u16,
    /// Heads of the chains that the device has.
    heads: Vec<u16>,
}

impl<M: Memory> Split<M> {
    pub(crate) fn new(ram: M, shape: Shape, areas: [u64; 3]) -> Self {
        Self {
            common: Common::new(ram, shape, areas),
            taken: 0,
            used: 0,
            told: 0,
            next: 0,
            heads: Vec::new(),
        }
    }

    fn table(&self, table: Descriptor) -> Option<Vec<Element>> {
        let common = &self.common;
        assert!(common.indirect && table.len.is_multiple_of(16) && table.len != 0);
        let mut elements = Vec::new();
        let mut index = 0;
        loop {
            assert!(
                u32::from(index) < table.len / 16,
                "an entry outside its table"
            );
            let entry = common.descriptor(table.address + u64::from(index) * 16)?;
            let (flags, next) = (entry.first, entry.second);
            assert_eq!(flags & INDIRECT, 0, "a table in a table");
            elements.push(Element {
                address: entry.address,
                len: entry.len,
                writable: flags & WRITE != 0,
            });
            assert!(elements.len() as u64 <= common.size);
            if flags & NEXT == 0 {
                return Some(elements);
            }
            assert!(!common.in_order || next == index + 1);
            index = next;
        }
    }

    fn chain(&mut self, head: u16) -> Option<Taken> {
        let common = &self.common;
        assert!(u64::from(head) < common.size);
        assert!(
            !self.heads.contains(&head),
            "a chain that the device has already"
        );
        assert!(!common.in_order || head == self.next);
        let mut elements = Vec::new();
        let mut images = Vec::new();
        let mut index = head;
        loop {
            let at = common.areas[0] + u64::from(index) * 16;
            let one = common.descriptor(at)?;
            images.push((at, one));
            assert!(images.len() as u64 <= common.size, "a loop");
            let (flags, next) = (one.first, one.second);
            if flags & INDIRECT != 0 {
                assert_eq!(flags & NEXT, 0);
                elements.extend(self.table(one)?);
                break;
            }
            elements.push(Element {
                address: one.address,
                len: one.len,
                writable: flags & WRITE != 0,
            });
            if flags & NEXT == 0 {
                break;
            }
            assert!(!common.in_order || u64::from(next) == (u64::from(index) + 1) % common.size);
            assert!(u64::from(next) < common.size);
            index = next;
        }
        common.check(&elements);
        self.next = ((u64::from(index) + 1) % common.size) as u16;
        Some(Taken {
            id: head,
            elements,
            slots: 0,
            start: 0,
            images,
        })
    }

    fn is_available(&self) -> bool {
        self.common
            .read16(self.common.areas[1] + 2)
            .is_some_and(|idx| idx != self.taken as u16)
    }

    fn entry(&mut self, taken: &Taken, written: u32) {
        let at = self.common.areas[2] + 4 + 8 * (self.used % self.common.size);
        let [i0, i1, i2, i3] = u32::from(taken.id).to_le_bytes();
        let [w0, w1, w2, w3] = written.to_le_bytes();
        self.common
            .write_bytes(at, &[i0, i1, i2, i3, w0, w1, w2, w3]);
    }

    fn give(&mut self, batch: &[Taken]) {
        for taken in batch {
            taken
                .images
                .iter()
                .for_each(|image| self.common.check_frozen(image));
            self.heads.retain(|head| *head != taken.id);
        }
        self.used += batch.len() as u64;
        self.common.ram.write_barrier();
        self.common
            .write16(self.common.areas[2] + 2, self.used as u16);
    }
}

impl<M: Memory + Debug> Device for Split<M> {
    fn pop(&mut self) -> Option<Taken> {
        let common = &self.common;
        let idx = common.read16(common.areas[1] + 2)?;
        let waiting = u64::from(idx.wrapping_sub(self.taken as u16));
        if waiting == 0 {
            return None;
        }
        assert!(
            waiting + self.heads.len() as u64 <= common.size,
            "the index went too far, or back"
        );
        common.ram.read_barrier();
        let head = common.read16(common.areas[1] + 4 + 2 * (self.taken % common.size))?;
        let chain = self.chain(head)?;
        self.taken += 1;
        self.heads.push(head);
        Some(chain)
    }

    fn push(&mut self, taken: Taken, written: u32) {
        self.entry(&taken, written);
        self.give(&[taken]);
    }

    fn push_batch(&mut self, batch: &[Taken], written: u32) -> bool {
        let Some(last) = batch.last().filter(|_| self.common.in_order) else {
            return false;
        };
        self.entry(last, written);
        self.give(batch);
        true
    }

    fn wants_interrupt(&mut self) -> bool {
        let common = &self.common;
        common.ram.full_barrier();
        let run = self.told..self.used;
        self.told = self.used;
        let Some(flags) = common.read16(common.areas[1]) else {
            return false;
        };
        if common.event_idx {
            assert_eq!(flags, 0, "with EVENT_IDX the flag stays clear");
            let Some(event) = common.read16(common.areas[1] + 4 + 2 * common.size) else {
                return false;
            };
            return run.into_iter().any(|entry| entry as u16 == event);
        }
        assert!(flags <= 1);
        !run.is_empty() && flags == 0
    }

    fn quiet(&mut self) {
        // With EVENT_IDX the flag says nothing, whatever it holds (§2.7.10.1).
        self.common.write16(self.common.areas[2], 1);
    }

    fn listen(&mut self, delay: u16) -> bool {
        let common = &self.common;
        let event = common.areas[2] + 4 + 8 * common.size;
        if common.event_idx {
            common.write16(event, (self.taken as u16).wrapping_add(delay));
        } else {
            // It says nothing.
            common.write16(event, 0x5a5a);
            common.write16(common.areas[2], 0);
        }
        common.ram.full_barrier();
        self.is_available()
    }

    fn reset(&mut self) {
        (self.taken, self.used, self.told, self.next) = (0, 0, 0, 0);
        self.heads.clear();
    }
}

/// Whether a driver must kick that made the chains from `old` to before `new`, counted over all time, available.
pub(crate) fn kick_is_due<M: Memory>(common: &Common<M>, old: u64, new: u64) -> bool {
    if common.event_idx {
        let event = common
            .read16(common.areas[2] + 4 + 8 * common.size)
            .unwrap();
        return (old..new).any(|entry| entry as u16 == event);
    }
    old != new && common.read16(common.areas[2]).unwrap() & 1 == 0
}
