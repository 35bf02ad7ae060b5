//! Chains as the device gave them back (virtio 1.4 §2.7.8), and what the driver must have left alone until then (§3.3.1).

use bringup_core::{Coverage, Sight};
use bringup_spec::virtio::ring::split;

use super::{FREE, Split};
use crate::virtio::ring::Phase;
use crate::virtio::rules::ring as rules;

impl Split {
    pub(super) fn sync(&mut self, sight: &mut Sight<'_>, phase: Phase) {
        let Some([f0, f1, i0, i1]) = self.used.read(sight, split::USED_FLAGS) else {
            self.ledger.lost = true;
            return;
        };
        self.used_flags = u16::from_le_bytes([f0, f1]);
        let new = self.new_used(u16::from_le_bytes([i0, i1]));
        if new == 0 {
            return;
        }
        if usize::from(new) > self.ledger.chains.live().len() {
            // What the device gave back was made available at a moment that was not shown.
            self.poll(sight, phase, false);
        }
        self.give_back(sight);
    }

    /// How many entries of the used ring are new.
    fn new_used(&mut self, idx: u16) -> u16 {
        if self.unwritten == Some(idx) {
            return 0;
        }
        self.unwritten = None;
        idx.wrapping_sub(self.returned)
    }

    /// Follows the used ring as far as the device filled it. A device that fills it wrongly is not the driver's fault: the ring cannot
    /// be followed any more then.
    pub(super) fn give_back(&mut self, sight: &mut Sight<'_>) {
        let Some(idx) = self.used.read_u16(sight, split::USED_IDX) else {
            self.ledger.lost = true;
            return;
        };
        let mut new = self.new_used(idx);
        if usize::from(new) > self.ledger.chains.live().len() {
            self.ledger.lost = true;
            return;
        }
        if new > 1 {
            sight.cover(Coverage::SeveralUsed);
        }
        while new > 0 && !self.ledger.lost {
            let place = self.returned & (self.ledger.setup.size - 1);
            let at = split::USED_RING + split::USED_ENTRY * u64::from(place);
            let Some([d0, d1, d2, d3, l0, l1, l2, l3]) = self.used.read(sight, at) else {
                self.ledger.lost = true;
                return;
            };
            let id = u16::try_from(u32::from_le_bytes([d0, d1, d2, d3])).unwrap_or(FREE);
            let len = u32::from_le_bytes([l0, l1, l2, l3]);
            let batch = if self.in_order {
                self.order.iter().take(usize::from(new)).position(|head| *head == id)
            } else {
                Some(0)
            };
            let Some(before) = batch.filter(|_| self.ledger.chains.get(id).is_some()) else {
                self.ledger.lost = true;
                return;
            };
            // One entry may stand for a batch that ends with the chain it names (virtio 1.4 §2.7.9).
            for _ in 0..before {
                if let Some(head) = self.order.pop_front() {
                    self.land(sight, head, None);
                }
            }
            self.order.pop_front();
            self.land(sight, id, Some(len));
            let done = before as u16 + 1;
            self.returned = self.returned.wrapping_add(done);
            new = new.saturating_sub(done);
        }
    }

    pub(super) fn land(&mut self, sight: &mut Sight<'_>, head: u16, written: Option<u32>) {
        if !sight.is_concurrent() {
            // Otherwise the driver may have taken it back, and used its memory again.
            self.compare(sight, head);
        }
        let Some(chain) = self.ledger.chains.get(head) else { return };
        // All that was made available before it was read by the device before.
        let read = chain.extent.wrapping_add(1);
        if self.next.wrapping_sub(read) < self.next.wrapping_sub(self.consumed) {
            self.consumed = read;
        }
        for (part, _) in &chain.parts {
            if let Some(owner) = self.owner.get_mut(usize::from(*part))
                && *owner == head
            {
                *owner = FREE;
            }
        }
        self.ledger.land(head, written);
        if self.ledger.chains.live().is_empty() {
            sight.cover(Coverage::RingEmpty);
        }
    }

    // --- Images --------------------------------------------------------------------------------------------------

    /// Compares a chain in flight with what it was when it was made available.
    pub(super) fn compare(&mut self, sight: &mut Sight<'_>, head: u16) {
        self.ledger.compare_table(sight, head);
        sight.exercised(&rules::CLEANUP_D_01);
        if self.ledger.stores_shown {
            // A store to a descriptor or an entry is judged at once.
            return;
        }
        let Some(chain) = self.ledger.chains.get(head) else { return };
        let place = chain.extent & (self.ledger.setup.size - 1);
        let parts = chain.parts.len();
        for at in 0..parts {
            let part = self.ledger.chains.get(head).and_then(|chain| chain.parts.get(at).copied());
            if let Some((index, _)) = part {
                self.compare_part(sight, head, index);
            }
        }
        self.compare_entry(sight, place);
    }

    pub(super) fn compare_part(&mut self, sight: &mut Sight<'_>, head: u16, index: u16) {
        sight.exercised(&rules::CLEANUP_D_01);
        let Some(now) = self.table.descriptor(sight, index) else { return };
        let chain = self.ledger.chains.get_mut(head);
        let Some((_, image)) = chain.and_then(|chain| chain.parts.iter_mut().find(|(part, _)| *part == index)) else {
            return;
        };
        if *image != now {
            *image = now;
            let what = format!("descriptor {index} of chain {head} changed while the device holds it");
            self.ledger.report(sight, &rules::CLEANUP_D_01, &what);
        }
    }

    /// Compares an entry of the available ring, if the device may not have read it yet.
    pub(super) fn compare_entry(&mut self, sight: &mut Sight<'_>, place: u16) {
        let size = self.ledger.setup.size;
        // How long ago it was filled last: 1 is the last one.
        let age = (self.next.wrapping_sub(1).wrapping_sub(place) & (size - 1)) + 1;
        if age > self.next.wrapping_sub(self.consumed) {
            return;
        }
        let Some(now) = self.avail.read_u16(sight, split::AVAIL_RING + split::AVAIL_ENTRY * u64::from(place)) else {
            return;
        };
        if let Some(entry) = self.entries.get_mut(usize::from(place))
            && *entry != now
        {
            *entry = now;
            let what =
                format!("entry {place} of the available ring changed before the device gave a chain back behind it");
            self.ledger.report(sight, &rules::CLEANUP_D_01, &what);
        }
    }
}
