// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 OR MIT

//! Packed virtqueues (virtio 1.4 §2.8).

use super::{state::*, *};

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

    /// What a slot that becomes available here has of [`AVAIL`] and [`USED`].
    fn available(self) -> u16 {
        if self.wrap {
            AVAIL
        } else {
            USED
        }
    }
}

#[derive(Debug)]
pub(super) struct Packed<M, T> {
    pub(super) state: State<M, T>,
    event_idx: bool,
    in_order: bool,
    /// Buffer ids that are free; with IN_ORDER they are given in turn instead.
    ids: KVVec<u16>,
    next_id: u16,
    /// Where the next chain becomes available.
    avail: Place,
    /// Where the next chain goes after those that the device was shown.
    shown: Place,
    /// Where the device puts the next used chain.
    used: Place,
    /// Heads that wait to be published: slot and flags.
    heads: KVVec<(u16, u16)>,
    /// Slots of the chains that wait.
    waiting: u16,
    /// What the device was last asked for, as event flags.
    asked: u16,
}

impl<M: Memory, T> Packed<M, T> {
    pub(super) fn new(state: State<M, T>) -> Result<Self> {
        let size = usize::from(state.shape.size);
        let mut this = Self {
            event_idx: state.shape.has(feature::EVENT_IDX),
            in_order: state.shape.has(feature::IN_ORDER),
            ids: KVVec::with_capacity(size, GFP_KERNEL)?,
            next_id: 0,
            avail: Place::START,
            shown: Place::START,
            used: Place::START,
            heads: KVVec::with_capacity(size, GFP_KERNEL)?,
            waiting: 0,
            asked: EVENT_ENABLE,
            state,
        };
        this.restart()?;
        Ok(this)
    }

    pub(super) fn restart(&mut self) -> Result {
        self.ids.clear();
        for id in (0..self.state.shape.size).rev() {
            self.ids.push_within_capacity(id).map_err(|_| ENOMEM)?;
        }
        self.next_id = 0;
        (self.avail, self.shown, self.used) = (Place::START, Place::START, Place::START);
        self.heads.clear();
        self.waiting = 0;
        self.asked = EVENT_ENABLE;
        Ok(())
    }

    /// The id that is given after this one, with IN_ORDER.
    fn after(&self, id: u16) -> u16 {
        // Ids are below the size, and that is below 65535.
        if id + 1 == self.state.shape.size {
            0
        } else {
            id + 1
        }
    }

    #[inline]
    fn slot_at(slot: u16) -> usize {
        usize::from(slot) * DESCRIPTOR
    }

    pub(super) fn add(&mut self, out: &[Segment], input: &[Segment], token: T) -> Result {
        let plan = self.state.plan(out.len() + input.len())?;
        let writable = State::<M, T>::writable(out, input)?;
        // There are as many ids as slots, and a chain takes at least one slot.
        let id = match self.in_order {
            true => self.next_id,
            false => self.ids.last().copied().ok_or(ENOSPC)?,
        };
        let head = self.avail;
        let flags = if plan.table {
            // Of flags the entries have only WRITE (§2.8.7, §2.8.19).
            let whole = self
                .state
                .write_table(id, out, input, |_, flag, _| (0, flag))?;
            self.write_slot(head, true, &whole, id, INDIRECT)?
        } else {
            let mut at = head;
            let mut first = None;
            for (segment, flag, last) in segments(out, input) {
                let next = if last { 0 } else { NEXT };
                let flags = self.write_slot(at, first.is_none(), segment, id, flag | next)?;
                first = first.or(Some(flags));
                at = at.forward(1, self.state.shape.size);
            }
            first.unwrap_or(0)
        };
        self.heads
            .push_within_capacity((head.slot, flags))
            .map_err(|_| ENOSPC)?;
        match self.in_order {
            true => self.next_id = self.after(id),
            false => {
                self.ids.pop();
            }
        }
        self.state.insert(id, token, plan.slots, writable);
        self.avail = head.forward(plan.slots, self.state.shape.size);
        self.waiting += plan.slots;
        Ok(())
    }

    /// Writes a slot, but not the flags of a head, which wait until it is published. Gives them.
    #[inline]
    fn write_slot(
        &self,
        at: Place,
        head: bool,
        segment: &Segment,
        id: u16,
        flags: u16,
    ) -> Result<u16> {
        let flags = flags | at.available();
        let bytes = descriptor(segment, id, flags);
        let end = if head { FLAGS } else { DESCRIPTOR };
        let bytes = bytes.get(..end).unwrap_or(&bytes);
        let ring = &self.state.areas.descriptors;
        ring.write_bytes(Self::slot_at(at.slot), bytes)?;
        Ok(flags)
    }

    pub(super) fn publish(&mut self) -> Result<bool> {
        if self.heads.is_empty() {
            return Ok(false);
        }
        let areas = &self.state.areas;
        // The device takes chains from the first on, which comes last: it sees all or none.
        while let Some((slot, flags)) = self.heads.pop() {
            // Whatever belongs to the chain, and the chains that follow it, before the flags that show
            // it (§2.8.21.1.1).
            areas.descriptors.write_barrier();
            let at = Self::slot_at(slot) + FLAGS;
            areas.descriptors.write16(at, flags)?;
        }
        let added = core::mem::take(&mut self.waiting);
        self.shown = self.avail;
        self.state.shown = self.state.added;
        // The flags before the look at what the device wants (§2.8.21.3.1).
        areas.descriptors.full_barrier();
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
            // What is reserved is taken for what is safe: a kick too many.
            _ => true,
        })
    }

    /// The flags of the slot at the next used place, if it was used.
    #[inline]
    fn used_flags(&self) -> Result<Option<u16>> {
        if self.state.at_device() == 0 {
            // The ring holds what was used before, or nothing yet.
            return Ok(None);
        }
        let at = Self::slot_at(self.used.slot) + FLAGS;
        let flags = self.state.areas.descriptors.read16(at)?;
        let (avail, used) = (flags & AVAIL != 0, flags & USED != 0);
        let is_used = avail == self.used.wrap && used == self.used.wrap;
        Ok(is_used.then_some(flags))
    }

    pub(super) fn pop(&mut self) -> Result<Option<Completion<T>>> {
        if self.state.batch.is_some() {
            return self.pop_of_batch().map(Some);
        }
        let Some(flags) = self.used_flags()? else {
            return Ok(None);
        };
        let start = Self::slot_at(self.used.slot);
        let ring = &self.state.areas.descriptors;
        // The flags before the rest of the slot.
        ring.read_barrier();
        let id = ring.read16(start + ID)?;
        // The length means something only where the device wrote, which the flag says (§2.8.4). QEMU leaves the flag clear
        // whatever it wrote, so a length that can be is believed all the same.
        let len = ring.read32(start + LEN)?;
        let written = if flags & WRITE != 0 || len <= self.state.room_of(id) {
            len
        } else {
            0
        };
        if !self.in_order {
            let (id, completion) = self.complete(id, written)?;
            // It came from there, so there is room.
            self.ids.push_within_capacity(id).map_err(|_| EIO)?;
            return Ok(Some(completion));
        }
        // One slot may stand for a batch: it names the last chain of it (§2.8.8).
        if self.state.batch_len(id, |id, _| self.after(id)).is_none() {
            return Err(self.state.fail());
        }
        self.state.batch = Some((id, written));
        self.pop_of_batch().map(Some)
    }

    fn pop_of_batch(&mut self) -> Result<Completion<T>> {
        let (id, written) = self.state.next_of_batch().ok_or(EIO)?;
        let (id, completion) = self.complete(id, written)?;
        self.state.oldest = self.after(id);
        Ok(completion)
    }

    #[inline]
    fn complete(&mut self, id: u16, written: u32) -> Result<(u16, Completion<T>)> {
        let taken = self.state.take(id.into(), written)?;
        self.used = self.used.forward(taken.slots, self.state.shape.size);
        Ok((taken.id, taken.completion))
    }

    pub(super) fn disable_interrupts(&mut self) -> Result {
        self.ask(EVENT_DISABLE)
    }

    fn ask(&mut self, flags: u16) -> Result {
        if self.asked != flags {
            self.asked = flags;
            self.state.areas.driver.write16(EVENT_FLAGS, flags)?;
        }
        Ok(())
    }

    pub(super) fn enable_interrupts(&mut self, late: bool) -> Result<bool> {
        if self.event_idx {
            let size = self.state.shape.size;
            let mut wait = 0;
            if late {
                // Less than what the device has, so that it comes there.
                let slots = u32::from(size - self.state.free - self.waiting);
                wait = (slots * 3 / 4) as u16;
            }
            let driver = &self.state.areas.driver;
            driver.write16(EVENT_OFF_WRAP, self.used.forward(wait, size).off_wrap())?;
            // Where before whether.
            driver.write_barrier();
            self.ask(EVENT_DESC)?;
        } else {
            self.ask(EVENT_ENABLE)?;
        }
        // What the device is asked for before the look at what it has done.
        self.state.areas.driver.full_barrier();
        Ok(self.state.batch.is_some() || self.used_flags()?.is_some())
    }

    pub(super) fn notification_data(&self) -> u16 {
        self.shown.off_wrap()
    }
}
