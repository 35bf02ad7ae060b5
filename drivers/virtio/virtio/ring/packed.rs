// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 OR MIT

//! Packed virtqueues (virtio 1.4 §2.8).

use super::*;

/// Flags of a slot.
const AVAIL: u16 = 1 << 7;
const USED: u16 = 1 << 15;

/// Offsets in a slot.
const LEN: usize = 8;
const ID: usize = 12;
const FLAGS: usize = 14;

/// Event suppression: offsets, flags, and the wrap counter's bit.
const EVENT_OFF_WRAP: usize = 0;
const EVENT_FLAGS: usize = 2;
const EVENT_ENABLE: u16 = 0;
const EVENT_DISABLE: u16 = 1;
const EVENT_DESC: u16 = 2;
const EVENT_WRAP: u16 = 1 << 15;

/// A slot and the wrap counter that goes with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    slot: u16,
    wrap: bool,
}

impl Place {
    const START: Self = Self {
        slot: 0,
        wrap: true,
    };

    /// Further on by up to the whole ring.
    fn forward(self, slots: u16, size: u16) -> Self {
        let at = u32::from(self.slot) + u32::from(slots);
        match at.checked_sub(u32::from(size)) {
            Some(slot) => Self {
                slot: slot as u16,
                wrap: !self.wrap,
            },
            None => Self {
                slot: at as u16,
                wrap: self.wrap,
            },
        }
    }

    fn off_wrap(self) -> u16 {
        self.slot | if self.wrap { EVENT_WRAP } else { 0 }
    }

    /// The flags of a slot that becomes available here.
    fn available(self) -> u16 {
        if self.wrap {
            AVAIL
        } else {
            USED
        }
    }
}

pub(super) struct Packed<M, T> {
    pub(super) state: State<M, T>,
    event_idx: bool,
    in_order: bool,
    /// Buffer ids that are free; with IN_ORDER they are given in turn instead.
    ids: KVec<u16>,
    next_id: u16,
    /// Where the next chain becomes available.
    avail: Place,
    /// Where the device puts the next used chain.
    used: Place,
    /// Heads that wait to be published: slot and flags.
    heads: KVec<(u16, u16)>,
    /// Slots that became available since the device was last considered for a kick.
    added: u16,
}

impl<M: Memory, T: Copy> Packed<M, T> {
    pub(super) fn new(state: State<M, T>) -> Result<Self> {
        let size = usize::from(state.shape.size);
        let mut this = Self {
            event_idx: state.shape.has(feature::EVENT_IDX),
            in_order: state.shape.has(feature::IN_ORDER),
            ids: KVec::with_capacity(size, GFP_KERNEL)?,
            next_id: 0,
            avail: Place::START,
            used: Place::START,
            heads: KVec::with_capacity(size, GFP_KERNEL)?,
            added: 0,
            state,
        };
        this.restart();
        Ok(this)
    }

    pub(super) fn restart(&mut self) {
        self.ids.clear();
        for id in (0..self.state.shape.size).rev() {
            // There is room for as many as there are slots.
            let _ = self.ids.push_within_capacity(id);
        }
        self.next_id = 0;
        (self.avail, self.used) = (Place::START, Place::START);
        self.heads.clear();
        self.added = 0;
    }

    /// An id that no chain in flight has: there are as many as slots, and a chain takes at least one.
    fn new_id(&mut self) -> Result<u16> {
        if !self.in_order {
            return self.ids.pop().ok_or(ENOSPC);
        }
        let id = self.next_id;
        self.next_id = self.after(id);
        Ok(id)
    }

    fn after(&self, id: u16) -> u16 {
        if id + 1 == self.state.shape.size {
            0
        } else {
            id + 1
        }
    }

    fn slot_at(slot: u16) -> usize {
        usize::from(slot) * DESCRIPTOR
    }

    pub(super) fn add(&mut self, out: &[Segment], input: &[Segment], token: T) -> Result {
        let (table, slots) = self.state.plan(out.len() + input.len())?;
        let id = self.new_id()?;
        let head = self.avail;
        if table {
            let whole = self.write_table(id, out, input)?;
            self.write_slot(head, true, &whole, id, INDIRECT)?;
        } else {
            let mut at = head;
            let mut is_head = true;
            for (segment, flag, last) in segments(out, input) {
                let next = if last { 0 } else { NEXT };
                self.write_slot(at, is_head, segment, id, flag | next)?;
                at = at.forward(1, self.state.shape.size);
                is_head = false;
            }
        }
        self.state.insert(id, token, slots, input);
        self.avail = head.forward(slots, self.state.shape.size);
        self.added = self.added.saturating_add(slots);
        Ok(())
    }

    /// Writes a slot; the flags of a head wait until it is published.
    fn write_slot(
        &mut self,
        at: Place,
        head: bool,
        segment: &Segment,
        id: u16,
        flags: u16,
    ) -> Result {
        let flags = flags | at.available();
        let bytes = descriptor(segment, id, flags);
        let end = if head { FLAGS } else { DESCRIPTOR };
        self.state
            .areas
            .descriptors
            .write_bytes(Self::slot_at(at.slot), &bytes[..end])?;
        if head {
            self.heads
                .push_within_capacity((at.slot, flags))
                .map_err(|_| ENOSPC)?;
        }
        Ok(())
    }

    /// A chain in a table of its own: entries follow each other, and of flags they have only WRITE (§2.8.7, §2.8.19).
    fn write_table(&self, id: u16, out: &[Segment], input: &[Segment]) -> Result<Segment> {
        let tables = self.state.areas.tables.as_ref().ok_or(EINVAL)?;
        let start = self.state.table_at(id);
        let mut index = 0u16;
        for (segment, flag, _) in segments(out, input) {
            let at = start + usize::from(index) * DESCRIPTOR;
            tables.write_bytes(at, &descriptor(segment, 0, flag))?;
            index += 1;
        }
        Ok(Segment {
            address: tables.address() + start as DmaAddress,
            len: u32::from(index) * DESCRIPTOR as u32,
        })
    }

    pub(super) fn publish(&mut self) -> Result<bool> {
        if self.heads.is_empty() {
            return Ok(false);
        }
        let areas = &self.state.areas;
        // Whatever belongs to the chains before the flags that show them (§2.8.21.1.1). The device takes them from the first
        // on, which comes last.
        dma_mb(Write);
        while let Some((slot, flags)) = self.heads.pop() {
            areas
                .descriptors
                .write16(Self::slot_at(slot) + FLAGS, flags)?;
        }
        let added = core::mem::take(&mut self.added);
        // The flags before the look at what the device wants (§2.8.21.3.1).
        mb(Full);
        let wanted = areas.device.read32(EVENT_OFF_WRAP)?;
        let (off_wrap, flags) = (wanted as u16, (wanted >> 16) as u16);
        Ok(match flags & 3 {
            EVENT_DISABLE => false,
            EVENT_DESC if self.event_idx => {
                let new = self.avail.slot;
                let mut event = off_wrap & !EVENT_WRAP;
                if (off_wrap & EVENT_WRAP != 0) != self.avail.wrap {
                    // It lies in the lap before.
                    event = event.wrapping_sub(self.state.shape.size);
                }
                passed(event, new, new.wrapping_sub(added))
            }
            _ => true,
        })
    }

    /// The flags of the slot at the next used place, if it was used.
    fn used_flags(&self) -> Result<Option<u16>> {
        let at = Self::slot_at(self.used.slot) + FLAGS;
        let flags = self.state.areas.descriptors.read16(at)?;
        let (avail, used) = (flags & AVAIL != 0, flags & USED != 0);
        // A ring without chains in flight holds what was used before, or nothing yet.
        let is_used = self.state.count != 0 && avail == self.used.wrap && used == self.used.wrap;
        Ok(is_used.then_some(flags))
    }

    pub(super) fn pop(&mut self) -> Result<Option<Completion<T>>> {
        if self.state.batch.is_none() {
            let Some(flags) = self.used_flags()? else {
                return Ok(None);
            };
            // The flags before the rest of the slot.
            dma_mb(Read);
            let start = Self::slot_at(self.used.slot);
            let id = self.state.areas.descriptors.read16(start + ID)?;
            // The length means something only where the device wrote (§2.8.3).
            let written = if flags & WRITE != 0 {
                self.state.areas.descriptors.read32(start + LEN)?
            } else {
                0
            };
            if !self.in_order {
                return self.complete(id, written).map(Some);
            }
            // One slot may stand for a batch: it names the last chain of it (§2.8.8).
            if self.state.batch_len(id, |id, _| self.after(id)).is_none() {
                return Err(self.state.fail());
            }
            self.state.batch = Some((id, written));
        }
        let (id, written) = self.state.next_of_batch().ok_or(EIO)?;
        self.state.oldest = self.after(id);
        self.complete(id, written).map(Some)
    }

    fn complete(&mut self, id: u16, written: u32) -> Result<Completion<T>> {
        let (id, chain) = self.state.take(id.into(), written)?;
        if !self.in_order {
            // It came from there.
            let _ = self.ids.push_within_capacity(id);
        }
        self.used = self.used.forward(chain.slots, self.state.shape.size);
        let token = chain.token;
        Ok(Completion { token, written })
    }

    pub(super) fn disable_interrupts(&mut self) -> Result {
        self.state.areas.driver.write16(EVENT_FLAGS, EVENT_DISABLE)
    }

    pub(super) fn enable_interrupts(&mut self) -> Result<bool> {
        let driver = &self.state.areas.driver;
        if self.event_idx {
            driver.write16(EVENT_OFF_WRAP, self.used.off_wrap())?;
            // Where before whether.
            dma_mb(Write);
            driver.write16(EVENT_FLAGS, EVENT_DESC)?;
        } else {
            driver.write16(EVENT_FLAGS, EVENT_ENABLE)?;
        }
        mb(Full);
        Ok(self.state.batch.is_some() || self.used_flags()?.is_some())
    }

    pub(super) fn notification_data(&self) -> u16 {
        self.avail.off_wrap()
    }
}
