//! Lists as the device gave them back (virtio 1.4 §2.8.6, §2.8.8), and what the driver must have left alone until then (§2.8.16).

use bringup_core::{Coverage, Place as Line, Sight};
use bringup_spec::virtio::ring::desc;

use super::{NONE, OWNER, Packed};
use crate::virtio::ring::{Phase, Raw};
use crate::virtio::rules::ring as rules;

impl Packed {
    /// Follows used descriptors. A device that writes them wrongly is not the driver's fault: the ring cannot be followed any more then.
    pub(super) fn give_back(&mut self, sight: &mut Sight<'_>, phase: Phase) {
        if self.free == self.ledger.setup.size {
            return;
        }
        let mut given = 0;
        while self.free != self.ledger.setup.size && !self.ledger.lost {
            let Some(raw) = self.ring.descriptor(sight, self.used.slot) else {
                self.ledger.lost = true;
                return;
            };
            let flags = raw.second();
            if flags & OWNER != self.used.used() {
                return;
            }
            let id = raw.first();
            if self.key_of(id).is_none() {
                // What the device gave back was made available at a moment that was not shown.
                self.poll(sight, phase, false, true);
            }
            let written = if flags & desc::WRITE != 0 { raw.len() } else { 0 };
            let Some(slots) = self.land_batch(sight, id, written) else {
                self.ledger.lost = true;
                return;
            };
            self.release(sight, raw, slots);
            given += 1;
            if given == 2 {
                sight.cover(Coverage::SeveralUsed);
            }
        }
    }

    /// The list of this id is the driver's again, and with IN_ORDER all before it: one used descriptor may stand for a batch that ends
    /// with the list it names (virtio 1.4 §2.8.8). How many slots they took; `None` if the device holds no such list.
    pub(super) fn land_batch(&mut self, sight: &mut Sight<'_>, id: u16, written: u32) -> Option<u32> {
        let key = self.key_of(id)?;
        let before = if self.in_order { self.order.iter().position(|held| *held == key)? } else { 0 };
        let mut slots = 0_u32;
        for _ in 0..before {
            if let Some(head) = self.order.pop_front() {
                slots += self.land(sight, head, None);
            }
        }
        self.order.pop_front();
        Some(slots + self.land(sight, key, Some(written)))
    }

    pub(super) fn key_of(&self, id: u16) -> Option<u16> {
        self.by_id.get(usize::from(id)).copied().filter(|key| *key != NONE)
    }

    /// Slots from the used place on are the driver's again; the device wrote the first.
    pub(super) fn release(&mut self, sight: &mut Sight<'_>, written: Raw, slots: u32) {
        let size = self.ledger.setup.size;
        let held = size - self.free;
        let Some(slots) = u16::try_from(slots).ok().filter(|slots| *slots <= held) else {
            self.ledger.lost = true;
            return;
        };
        if let Some(image) = self.images.get_mut(usize::from(self.used.slot)) {
            *image = written;
        }
        sight.exercised(&rules::VQ_PACKED_D_03);
        if !self.ledger.stores_shown && !sight.is_concurrent() {
            // Otherwise a store to a slot is judged when it happens, or the slot may be the driver's by now.
            for ahead in 1..slots {
                let slot = self.used.forward(ahead, size).slot;
                self.compare_slot(sight, slot, None);
            }
        }
        self.used = self.used.forward(slots, size);
        self.free += slots;
        if self.free == size {
            sight.cover(Coverage::RingEmpty);
        }
    }

    pub(super) fn land(&mut self, sight: &mut Sight<'_>, key: u16, written: Option<u32>) -> u32 {
        if !sight.is_concurrent() {
            // Otherwise the driver may have taken it back, and used its memory again.
            self.ledger.compare_table(sight, key);
        }
        let Some(chain) = self.ledger.chains.get(key) else { return 0 };
        let (id, slots) = (chain.id, chain.extent);
        if let Some(held) = self.by_id.get_mut(usize::from(id)) {
            *held = NONE;
        }
        self.ledger.land(key, written);
        self.keys.push(key);
        u32::from(slots)
    }

    // --- Images --------------------------------------------------------------------------------------------------

    /// Compares a slot of the device's with what it was when it was made available.
    pub(super) fn compare_slot(&mut self, sight: &mut Sight<'_>, slot: u16, line: Option<Line>) {
        if !self.is_held(slot) {
            return;
        }
        sight.exercised(&rules::VQ_PACKED_D_02);
        sight.exercised(&rules::VQ_PACKED_D_03);
        let Some(now) = self.ring.descriptor(sight, slot) else { return };
        let Some(image) = self.images.get_mut(usize::from(slot)) else { return };
        let before = std::mem::replace(image, now);
        if before == now {
            return;
        }
        if (before.second() ^ now.second()) & OWNER == OWNER {
            let what = format!("slot {slot} was made available again before it was used");
            return self.ledger.report_at(sight, &rules::VQ_PACKED_D_02, &what, line);
        }
        let what = format!("slot {slot} changed while the device holds it");
        self.ledger.report_at(sight, &rules::VQ_PACKED_D_03, &what, line);
    }
}
