// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 OR MIT

//! Split virtqueues (virtio 1.4 §2.7).

use super::*;

/// Offsets in the available ring.
const AVAIL_FLAGS: usize = 0;
const AVAIL_IDX: usize = 2;
const AVAIL_RING: usize = 4;
const AVAIL_NO_INTERRUPT: u16 = 1;

/// Offsets in the used ring.
const USED_FLAGS: usize = 0;
const USED_IDX: usize = 2;
const USED_RING: usize = 4;
const USED_NO_NOTIFY: u16 = 1;

pub(super) struct Split<M, T> {
    pub(super) state: State<M, T>,
    event_idx: bool,
    in_order: bool,
    /// By descriptor: the next free one, or the next of the chain. Private: what memory holds is never read back.
    next: KVec<u16>,
    /// The first free descriptor; with IN_ORDER the next of the table.
    first_free: u16,
    /// What the available index will be when all is published.
    avail: u16,
    /// What it was when the device was last considered for a kick.
    told: u16,
    /// How far the used ring was read.
    used: u16,
}

impl<M: Memory, T: Copy> Split<M, T> {
    pub(super) fn new(state: State<M, T>) -> Result<Self> {
        let next = KVec::from_elem(0, usize::from(state.shape.size), GFP_KERNEL)?;
        let mut this = Self {
            event_idx: state.shape.has(feature::EVENT_IDX),
            in_order: state.shape.has(feature::IN_ORDER),
            next,
            first_free: 0,
            avail: 0,
            told: 0,
            used: 0,
            state,
        };
        this.restart();
        Ok(this)
    }

    pub(super) fn restart(&mut self) {
        for (index, next) in self.next.iter_mut().enumerate() {
            *next = (index as u16).wrapping_add(1) & (self.state.shape.size - 1);
        }
        (self.first_free, self.avail, self.told, self.used) = (0, 0, 0, 0);
    }

    /// An index, which counts freely, as a place in the rings.
    fn place(&self, index: u16) -> usize {
        usize::from(index & (self.state.shape.size - 1))
    }

    fn next_of(&self, descriptor: u16) -> u16 {
        self.next.get(usize::from(descriptor)).copied().unwrap_or(0)
    }

    pub(super) fn add(&mut self, out: &[Segment], input: &[Segment], token: T) -> Result {
        let (table, slots) = self.state.plan(out.len() + input.len())?;
        let head = self.first_free;
        if table {
            self.write_table(head, out, input)?;
            self.first_free = self.next_of(head);
        } else {
            let mut at = head;
            for (segment, flag, last) in segments(out, input) {
                let next = self.next_of(at);
                let bytes = if last {
                    descriptor(segment, flag, 0)
                } else {
                    descriptor(segment, flag | NEXT, next)
                };
                self.write_descriptor(at, &bytes)?;
                at = next;
            }
            self.first_free = at;
        }
        self.state.insert(head, token, slots, input);
        let entry = AVAIL_RING + 2 * self.place(self.avail);
        self.state.areas.driver.write16(entry, head)?;
        self.avail = self.avail.wrapping_add(1);
        Ok(())
    }

    fn write_descriptor(&self, index: u16, bytes: &[u8]) -> Result {
        let at = usize::from(index) * DESCRIPTOR;
        self.state.areas.descriptors.write_bytes(at, bytes)
    }

    /// A chain in a table of its own: its entries follow each other, linked (§2.7.5.3).
    fn write_table(&self, head: u16, out: &[Segment], input: &[Segment]) -> Result {
        let tables = self.state.areas.tables.as_ref().ok_or(EINVAL)?;
        let start = self.state.table_at(head);
        let mut index = 0u16;
        for (segment, flag, last) in segments(out, input) {
            let bytes = if last {
                descriptor(segment, flag, 0)
            } else {
                descriptor(segment, flag | NEXT, index + 1)
            };
            tables.write_bytes(start + usize::from(index) * DESCRIPTOR, &bytes)?;
            index += 1;
        }
        let whole = Segment {
            address: tables.address() + start as DmaAddress,
            len: u32::from(index) * DESCRIPTOR as u32,
        };
        self.write_descriptor(head, &descriptor(&whole, INDIRECT, 0))
    }

    pub(super) fn publish(&mut self) -> Result<bool> {
        let areas = &self.state.areas;
        let (new, old) = (self.avail, self.told);
        if new == old {
            return Ok(false);
        }
        // Descriptors and ring entries before the index that shows them (§2.7.13.3.1).
        dma_mb(Write);
        areas.driver.write16(AVAIL_IDX, new)?;
        // The index before the look at what the device wants, or both sides may miss each other (§2.7.13.4.1).
        mb(Full);
        self.told = new;
        if self.event_idx {
            let event = areas
                .device
                .read16(USED_RING + 8 * usize::from(self.state.shape.size))?;
            Ok(passed(event, new, old))
        } else {
            Ok(areas.device.read16(USED_FLAGS)? & USED_NO_NOTIFY == 0)
        }
    }

    /// How many entries of the used ring were not read yet. The device cannot have used more than it was given.
    fn unread(&mut self) -> Result<u16> {
        let used = self.state.areas.device.read16(USED_IDX)?;
        let unread = used.wrapping_sub(self.used);
        if unread > self.state.count {
            return Err(self.state.fail());
        }
        Ok(unread)
    }

    pub(super) fn pop(&mut self) -> Result<Option<Completion<T>>> {
        if self.in_order {
            return self.pop_in_order();
        }
        if self.unread()? == 0 {
            return Ok(None);
        }
        // The index before the entry.
        dma_mb(Read);
        let (id, written) = self.used_entry()?;
        self.used = self.used.wrapping_add(1);
        let (head, chain) = self.state.take(id, written)?;
        // The chain's descriptors go before the free ones.
        let mut last = head;
        for _ in 1..chain.slots {
            last = self.next_of(last);
        }
        if let Some(next) = self.next.get_mut(usize::from(last)) {
            *next = self.first_free;
        }
        self.first_free = head;
        let token = chain.token;
        Ok(Some(Completion { token, written }))
    }

    fn used_entry(&self) -> Result<(u32, u32)> {
        let at = USED_RING + 8 * self.place(self.used);
        let device = &self.state.areas.device;
        Ok((device.read32(at)?, device.read32(at + 4)?))
    }

    /// One entry may stand for a batch: it names the last chain of it, and the index moves on by as many (§2.7.9).
    fn pop_in_order(&mut self) -> Result<Option<Completion<T>>> {
        let mask = self.state.shape.size - 1;
        if self.state.batch.is_none() {
            let unread = self.unread()?;
            if unread == 0 {
                return Ok(None);
            }
            dma_mb(Read);
            let (id, written) = self.used_entry()?;
            let last = u16::try_from(id).ok().filter(|id| *id <= mask);
            let len = last.and_then(|id| {
                self.state
                    .batch_len(id, |at, slots| at.wrapping_add(slots) & mask)
            });
            match (last, len) {
                (Some(last), Some(len)) if len <= unread => {
                    self.state.batch = Some((last, written));
                }
                _ => return Err(self.state.fail()),
            }
        }
        let (id, written) = self.state.next_of_batch().ok_or(EIO)?;
        self.used = self.used.wrapping_add(1);
        let (head, chain) = self.state.take(id.into(), written)?;
        self.state.oldest = head.wrapping_add(chain.slots) & mask;
        let token = chain.token;
        Ok(Some(Completion { token, written }))
    }

    pub(super) fn disable_interrupts(&mut self) -> Result {
        if self.event_idx {
            // The flag must stay clear (§2.7.7.1). An event that has passed comes round again only after 65536 entries.
            return Ok(());
        }
        let driver = &self.state.areas.driver;
        driver.write16(AVAIL_FLAGS, AVAIL_NO_INTERRUPT)
    }

    pub(super) fn enable_interrupts(&mut self) -> Result<bool> {
        let driver = &self.state.areas.driver;
        if self.event_idx {
            let at = AVAIL_RING + 2 * usize::from(self.state.shape.size);
            driver.write16(at, self.used)?;
        } else {
            driver.write16(AVAIL_FLAGS, 0)?;
        }
        // What the device is asked for before the look at what it has done.
        mb(Full);
        Ok(self.state.batch.is_some() || self.unread()? != 0)
    }

    pub(super) fn notification_data(&self) -> u16 {
        self.avail
    }
}
