//! The driver's side of a queue, as short as it can be: it never has more in flight than fits.

use bringup_core::dma::Direction;
use bringup_spec::virtio::feature;
use bringup_spec::virtio::ring::{desc, packed, split};

use crate::rig::{Memory, Rig};

/// Where the bits of the next place of the ring begin in a kick with data.
const NEXT: u32 = 16;
/// What a queue's `queue_notify_off` is multiplied by.
const MULTIPLIER: u64 = 4;

pub(crate) struct Queue {
    pub(crate) index: u16,
    pub(crate) size: u16,
    notify_off: u16,
    cookie: u16,
    /// Descriptor area, driver area, device area.
    pub(crate) parts: [Memory; 3],
    packed: bool,
    /// Split: the available index; packed: the next slot.
    next: u16,
    wrap: bool,
    /// The next free descriptor, or buffer id.
    free: u16,
    /// Split: the used index; packed: the slot that is used next.
    used: u16,
    used_wrap: bool,
    /// How many slots each chain in flight has, in order.
    in_flight: std::collections::VecDeque<u16>,
}

impl Queue {
    pub(crate) fn allocate(rig: &mut Rig, index: u16, size: u16, notify_off: u16, cookie: u16) -> Self {
        let packed = rig.is_packed();
        let entries = u64::from(size);
        let lengths = if packed { [entries * 16, 4, 4] } else { [entries * 16, 6 + entries * 2, 6 + entries * 8] };
        let parts = lengths.map(|len| {
            let part = rig.map(len, Direction::Bidirectional);
            rig.fill(part, 0, &vec![0; len as usize]);
            part
        });
        Self {
            index,
            size,
            notify_off,
            cookie,
            parts,
            packed,
            next: 0,
            wrap: true,
            free: 0,
            used: 0,
            used_wrap: true,
            in_flight: Default::default(),
        }
    }

    /// Makes a chain available. Gives whether the device wants a kick.
    pub(crate) fn add(&mut self, rig: &mut Rig, elements: &[(Memory, bool)]) -> bool {
        self.in_flight.push_back(elements.len() as u16);
        if self.packed { self.add_packed(rig, elements) } else { self.add_split(rig, elements) }
    }

    fn add_split(&mut self, rig: &mut Rig, elements: &[(Memory, bool)]) -> bool {
        let [table, avail, used] = self.parts;
        let head = self.free;
        for (number, (memory, writable)) in elements.iter().enumerate() {
            let last = number + 1 == elements.len();
            let next = (self.free + 1) % self.size;
            let flags = if *writable { desc::WRITE } else { 0 } | if last { 0 } else { desc::NEXT };
            let at = u64::from(self.free) * desc::SIZE;
            rig.fill(table, at, &memory.iova.to_le_bytes());
            rig.fill(table, at + 8, &(memory.len as u32).to_le_bytes());
            rig.put16(table, at + split::DESC_FLAGS, flags);
            rig.put16(table, at + split::DESC_NEXT, if last { 0 } else { next });
            self.free = next;
        }
        rig.put16(avail, split::AVAIL_RING + u64::from(self.next % self.size) * 2, head);
        let old = self.next;
        self.next = self.next.wrapping_add(1);
        rig.put16(avail, split::AVAIL_IDX, self.next);
        if rig.has(feature::EVENT_IDX) {
            let event = rig.get16(used, split::USED_RING + u64::from(self.size) * split::USED_ENTRY);
            self.next.wrapping_sub(event).wrapping_sub(1) < self.next.wrapping_sub(old)
        } else {
            rig.get16(used, split::USED_FLAGS) & split::USED_NO_NOTIFY == 0
        }
    }

    fn add_packed(&mut self, rig: &mut Rig, elements: &[(Memory, bool)]) -> bool {
        let [ring, _, device] = self.parts;
        let (id, old) = (self.free, self.next);
        self.free = (self.free + 1) % self.size;
        let mut head = None;
        for (number, (memory, writable)) in elements.iter().enumerate() {
            let last = number + 1 == elements.len();
            let flags = if *writable { desc::WRITE } else { 0 }
                | if last { 0 } else { desc::NEXT }
                | if self.wrap { packed::AVAIL } else { packed::USED };
            let at = u64::from(self.next) * desc::SIZE;
            rig.fill(ring, at, &memory.iova.to_le_bytes());
            rig.fill(ring, at + packed::DESC_LEN, &(memory.len as u32).to_le_bytes());
            rig.put16(ring, at + packed::DESC_ID, id);
            if head.is_none() {
                head = Some((at, flags));
            } else {
                rig.put16(ring, at + packed::DESC_FLAGS, flags);
            }
            self.next += 1;
            if self.next == self.size {
                (self.next, self.wrap) = (0, !self.wrap);
            }
        }
        if let Some((at, flags)) = head {
            rig.put16(ring, at + packed::DESC_FLAGS, flags);
        }
        let (event, flags) = (rig.get16(device, packed::EVENT_OFF_WRAP), rig.get16(device, packed::EVENT_FLAGS));
        match flags & 3 {
            packed::EVENT_DISABLE => false,
            packed::EVENT_DESC => {
                let same = (event & packed::EVENT_WRAP != 0) == self.wrap;
                let at = (event & !packed::EVENT_WRAP).wrapping_sub(if same { 0 } else { self.size });
                let added = self.next.wrapping_sub(old).wrapping_add(if self.next < old { self.size } else { 0 });
                self.next.wrapping_sub(at).wrapping_sub(1) < added
            }
            _ => true,
        }
    }

    /// Where, how wide, and with what value this queue is kicked.
    pub(crate) fn kick(&self, rig: &Rig) -> (u64, u8, u64) {
        let at = u64::from(self.notify_off) * MULTIPLIER;
        let place = if self.packed { self.next | if self.wrap { 1 << 15 } else { 0 } } else { self.next };
        if rig.has(feature::NOTIFICATION_DATA) {
            (at, 4, u64::from(self.cookie) | u64::from(place) << NEXT)
        } else {
            (at, 2, self.cookie.into())
        }
    }

    /// Takes back what the device used.
    pub(crate) fn reap(&mut self, rig: &mut Rig) {
        let [first, driver, used] = self.parts;
        if self.packed {
            while let Some(slots) = self.in_flight.front().copied() {
                let flags = rig.get16(first, u64::from(self.used) * desc::SIZE + packed::DESC_FLAGS);
                let both = if self.used_wrap { packed::AVAIL | packed::USED } else { 0 };
                if flags & (packed::AVAIL | packed::USED) != both {
                    return;
                }
                self.in_flight.pop_front();
                self.used += slots;
                if self.used >= self.size {
                    (self.used, self.used_wrap) = (self.used - self.size, !self.used_wrap);
                }
            }
            return;
        }
        let idx = rig.get16(used, split::USED_IDX);
        while self.used != idx {
            self.used = self.used.wrapping_add(1);
            self.in_flight.pop_front();
        }
        if rig.has(feature::EVENT_IDX) {
            rig.put16(driver, split::AVAIL_RING + u64::from(self.size) * split::AVAIL_ENTRY, self.used);
        }
    }
}
