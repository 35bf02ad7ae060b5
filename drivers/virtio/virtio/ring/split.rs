// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 OR MIT

//! Split virtqueues (virtio 1.4 §2.7).

use super::{state::*, *};

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

/// Half of the indices: as far from an index as another one can be.
const FAR: u16 = 0x8000;

#[derive(Debug)]
pub(super) struct Split<M, T> {
    /// `added` and `shown`, cut to 16 bits, are the available index that will be, and that is.
    pub(super) state: State<M, T>,
    event_idx: bool,
    in_order: bool,
    /// By descriptor: the next free one, or the next of the chain. Private: what memory holds is
    /// never read back.
    next: KVVec<u16>,
    /// The first free descriptor; with IN_ORDER the next of the table.
    first_free: u16,
    /// How far the used ring was taken.
    used: u16,
    /// How far the device was seen to have filled it.
    seen: u16,
    /// The device was asked not to interrupt.
    quiet: bool,
}

impl<M: Memory, T> Split<M, T> {
    pub(super) fn new(state: State<M, T>) -> Result<Self> {
        let mut this = Self {
            event_idx: state.shape.has(feature::EVENT_IDX),
            in_order: state.shape.has(feature::IN_ORDER),
            next: KVVec::from_elem(0, usize::from(state.shape.size), GFP_KERNEL)?,
            first_free: 0,
            used: 0,
            seen: 0,
            quiet: false,
            state,
        };
        this.restart()?;
        Ok(this)
    }

    pub(super) fn restart(&mut self) -> Result {
        let mask = self.mask();
        for (index, next) in self.next.iter_mut().enumerate() {
            *next = (index as u16).wrapping_add(1) & mask;
        }
        (self.first_free, self.used, self.seen) = (0, 0, 0);
        self.quiet = false;
        Ok(())
    }

    fn mask(&self) -> u16 {
        self.state.shape.size - 1
    }

    /// An index, which counts freely, as a place in the rings.
    #[inline]
    fn place(&self, index: u16) -> usize {
        usize::from(index & self.mask())
    }

    #[inline]
    fn next_of(&self, descriptor: u16) -> u16 {
        self.next.get(usize::from(descriptor)).copied().unwrap_or(0)
    }

    pub(super) fn add(&mut self, out: &[Segment], input: &[Segment], token: T) -> Result {
        let plan = self.state.plan(out.len() + input.len())?;
        let writable = State::<M, T>::writable(out, input)?;
        let head = self.first_free;
        let mut after = head;
        if plan.table {
            // Entries are linked although they follow each other (§2.7.5.3).
            let fields = |index: u16, flag, last| match last {
                true => (flag, 0),
                false => (flag | NEXT, index.wrapping_add(1)),
            };
            let whole = self.state.write_table(head, out, input, fields)?;
            self.write_descriptor(head, &descriptor(&whole, INDIRECT, 0))?;
            after = self.next_of(head);
        } else {
            for (segment, flag, last) in segments(out, input) {
                let next = self.next_of(after);
                let bytes = match last {
                    true => descriptor(segment, flag, 0),
                    false => descriptor(segment, flag | NEXT, next),
                };
                self.write_descriptor(after, &bytes)?;
                after = next;
            }
        }
        let entry = AVAIL_RING + 2 * self.place(self.state.added as u16);
        self.state.areas.driver.write16(entry, head)?;
        self.first_free = after;
        self.state.insert(head, token, plan.slots, writable);
        Ok(())
    }

    #[inline]
    fn write_descriptor(&self, index: u16, bytes: &[u8; DESCRIPTOR]) -> Result {
        let at = usize::from(index) * DESCRIPTOR;
        self.state.areas.descriptors.write_bytes(at, bytes)
    }

    pub(super) fn publish(&mut self) -> Result<bool> {
        let areas = &self.state.areas;
        let (new, old) = (self.state.added as u16, self.state.shown as u16);
        if self.state.added == self.state.shown {
            return Ok(false);
        }
        // Descriptors and ring entries before the index that shows them (§2.7.13.3.1).
        areas.driver.write_barrier();
        areas.driver.write16(AVAIL_IDX, new)?;
        self.state.shown = self.state.added;
        // The index before the look at what the device wants, or both sides may miss each other
        // (§2.7.13.4.1).
        areas.driver.full_barrier();
        if self.event_idx {
            let event = USED_RING + 8 * usize::from(self.state.shape.size);
            Ok(passed(areas.device.read16(event)?, new, old))
        } else {
            Ok(areas.device.read16(USED_FLAGS)? & USED_NO_NOTIFY == 0)
        }
    }

    /// Looks how far the device has filled the used ring, and gives how many entries are to be
    /// taken. It cannot have used more than it was shown.
    #[inline]
    fn look(&mut self) -> Result<u16> {
        let idx = self.state.areas.device.read16(USED_IDX)?;
        let unread = idx.wrapping_sub(self.used);
        if unread > self.state.at_device() {
            return Err(self.state.fail());
        }
        // The index before the entries.
        self.state.areas.device.read_barrier();
        self.seen = idx;
        Ok(unread)
    }

    pub(super) fn pop(&mut self) -> Result<Option<Completion<T>>> {
        if self.state.batch.is_some() {
            return self.pop_of_batch().map(Some);
        }
        if self.used == self.seen && self.look()? == 0 {
            return Ok(None);
        }
        let at = USED_RING + 8 * self.place(self.used);
        let device = &self.state.areas.device;
        let (id, written) = (device.read32(at)?, device.read32(at + 4)?);
        if self.in_order {
            return self.begin_batch(id, written).map(Some);
        }
        let taken = self.state.take(id, written)?;
        self.used = self.used.wrapping_add(1);
        // The chain's descriptors go before the free ones.
        let mut last = taken.id;
        for _ in 1..taken.slots {
            last = self.next_of(last);
        }
        if let Some(next) = self.next.get_mut(usize::from(last)) {
            *next = self.first_free;
        }
        self.first_free = taken.id;
        Ok(Some(taken.completion))
    }

    /// One entry may stand for a batch: it names the last chain of it, and the index moves on by as
    /// many (§2.7.9).
    fn begin_batch(&mut self, id: u32, written: u32) -> Result<Completion<T>> {
        let mask = self.mask();
        let unread = self.seen.wrapping_sub(self.used);
        let after = |at: u16, slots| at.wrapping_add(slots) & mask;
        let last = u16::try_from(id).ok();
        let len = last.and_then(|id| self.state.batch_len(id, after));
        match (last, len) {
            (Some(last), Some(len)) if len <= unread => {
                self.state.batch = Some((last, written));
                self.pop_of_batch()
            }
            _ => Err(self.state.fail()),
        }
    }

    fn pop_of_batch(&mut self) -> Result<Completion<T>> {
        let (id, written) = self.state.next_of_batch().ok_or(EIO)?;
        let taken = self.state.take(id.into(), written)?;
        self.used = self.used.wrapping_add(1);
        self.state.oldest = taken.id.wrapping_add(taken.slots) & self.mask();
        Ok(taken.completion)
    }

    pub(super) fn disable_interrupts(&mut self) -> Result {
        if self.quiet {
            return Ok(());
        }
        self.quiet = true;
        if self.event_idx {
            // The flag must stay clear (§2.7.7.1): the device is told of an entry that it does not
            // come to soon.
            self.write_event(self.used.wrapping_add(FAR))
        } else {
            let driver = &self.state.areas.driver;
            driver.write16(AVAIL_FLAGS, AVAIL_NO_INTERRUPT)
        }
    }

    fn write_event(&self, index: u16) -> Result {
        let at = AVAIL_RING + 2 * usize::from(self.state.shape.size);
        self.state.areas.driver.write16(at, index)
    }

    pub(super) fn enable_interrupts(&mut self, late: bool) -> Result<bool> {
        let mut wait = 0;
        if self.event_idx {
            if late {
                // Less than what the device has, so that it comes there.
                wait = (u32::from(self.state.at_device()) * 3 / 4) as u16;
            }
            self.write_event(self.used.wrapping_add(wait))?;
        } else if self.quiet {
            self.state.areas.driver.write16(AVAIL_FLAGS, 0)?;
        }
        self.quiet = false;
        // What the device is asked for before the look at what it has done.
        self.state.areas.driver.full_barrier();
        Ok(self.look()? > wait || self.state.batch.is_some())
    }

    pub(super) fn notification_data(&self) -> u16 {
        self.state.shown as u16
    }
}
