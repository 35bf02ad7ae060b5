//! A packed queue whose driver runs while the device works, and while the monitor looks (virtio 1.4 §2.8.6, §2.8.8).
//!
//! A used descriptor may be written over before it is read here, and nothing in the ring says how often it went round. So what the
//! device took and gave back is known from its own accesses, which are kept. It rests while the monitor looks: the slots from its
//! place to the driver's are its own, and are judged as ever. Lists that came and went between two looks are only counted.

use std::sync::atomic::{Ordering, fence};

use bringup_core::dma::DeviceAccess;
use bringup_core::{Coverage, Sight};
use bringup_spec::virtio::ring::{desc, packed};

use super::{OWNER, Packed, Place};
use crate::virtio::ring::{Phase, Raw};

impl Packed {
    /// Has the device's accesses kept.
    pub(super) fn race(&mut self, sight: &mut Sight<'_>) {
        self.racing = !self.ledger.lost && sight.follow_device(self.ring.base(), self.ring.len());
        self.ledger.lost |= !self.racing;
    }

    /// Looks at the ring. `rested`: the device has done nothing since the last look.
    pub(super) fn survey(&mut self, sight: &mut Sight<'_>, phase: Phase, rested: bool) {
        if self.ledger.lost {
            if std::mem::take(&mut self.racing) {
                sight.forget_device(self.ring.base(), self.ring.len());
            }
            return;
        }
        self.judge_driver_event(sight);
        self.ledger.lost = !self.take_accesses(sight);
        self.take_given(sight);
        self.ledger.lost |= self.given.len() > usize::from(self.ledger.setup.size);
        self.loaded.clear();
        self.poll(sight, phase, false, rested);
        if !rested {
            self.ledger.pending.blur();
            self.ledger.credit.worked();
        }
    }

    /// Whether the list at the driver's place was made available.
    pub(super) fn is_available(&self, sight: &Sight<'_>) -> bool {
        let at = u64::from(self.next.slot) * desc::SIZE + packed::DESC_FLAGS;
        let flags = self.ring.read_u16(sight, at);
        // What the flags show was stored before them.
        fence(Ordering::Acquire);
        flags.is_some_and(|flags| flags & OWNER == self.next.available())
    }

    /// Sorts what the device did into slots that it loaded and used descriptors; `false` if that cannot be done.
    fn take_accesses(&mut self, sight: &mut Sight<'_>) -> bool {
        let mut accesses = std::mem::take(&mut self.accesses);
        let all = sight.take_device(self.ring.base(), &mut accesses);
        let known = all && accesses.iter().all(|access| self.take_access(access));
        accesses.clear();
        self.accesses = accesses;
        known
    }

    fn take_access(&mut self, access: &DeviceAccess) -> bool {
        let at = access.iova - self.ring.base();
        let (slot, from, raw) = ((at / desc::SIZE) as u16, at % desc::SIZE, Raw::from_bytes(access.before));
        let end = from + access.len;
        if !access.store {
            // Slots are loaded one by one; or flags are looked at.
            if from == 0 && end == desc::SIZE {
                self.loaded.push_back((slot, raw));
            }
            return end <= desc::SIZE;
        }
        if from >= packed::DESC_FLAGS && end == desc::SIZE {
            // Length and id are in it by now.
            self.given.push((slot, raw));
            return true;
        }
        end <= packed::DESC_FLAGS
    }

    /// Follows the used descriptors as far as they lead.
    fn take_given(&mut self, sight: &mut Sight<'_>) {
        let mut count = 0;
        while !self.ledger.lost
            && let Some(at) = self.given.iter().position(|(slot, _)| *slot == self.used.slot)
        {
            let (_, raw) = self.given.remove(at);
            count += 1;
            if count == 2 {
                sight.cover(Coverage::SeveralUsed);
            }
            while self.key_of(raw.first()).is_none() {
                if !self.take_unseen(sight) {
                    self.ledger.lost = true;
                    return;
                }
            }
            let Some(slots) = self.land_batch(sight, raw.first(), raw.len()) else {
                self.ledger.lost = true;
                return;
            };
            let written = raw.with_second(self.used.used());
            self.release(sight, written, slots);
        }
    }

    /// The next list that the device took before it was seen, as the device loaded it; `false` if it did not.
    fn take_unseen(&mut self, sight: &mut Sight<'_>) -> bool {
        let size = self.ledger.setup.size;
        let Some(key) = self.keys.pop() else { return false };
        let (mut at, mut slots) = (self.next, 0);
        let last = loop {
            let Some(raw) = self.take_loaded(at) else { return false };
            slots += 1;
            if slots > self.free {
                return false;
            }
            if let Some(image) = self.images.get_mut(usize::from(at.slot)) {
                *image = raw;
            }
            if raw.second() & desc::NEXT == 0 {
                break raw;
            }
            at = at.forward(1, size);
        };
        let mut chain = self.ledger.blank(key);
        (chain.id, chain.extent) = (last.first(), slots);
        if !self.take_id(sight, chain.id, key) {
            return false;
        }
        self.next = self.next.forward(slots, size);
        self.free -= slots;
        self.ledger.chains.launch(key, chain);
        if self.in_order {
            self.order.push_back(key);
        }
        self.ledger.missed();
        self.ledger.credit.published(1, None);
        true
    }

    /// A slot as the device loaded it when it was made available in this place. What it loaded before is of no use any more.
    fn take_loaded(&mut self, place: Place) -> Option<Raw> {
        while let Some((slot, raw)) = self.loaded.pop_front() {
            if slot == place.slot && raw.second() & OWNER == place.available() {
                return Some(raw);
            }
        }
        None
    }

    /// Compares some of what the device holds with its images.
    pub(super) fn compare_some(&mut self, sight: &mut Sight<'_>) {
        if self.ledger.lost {
            return;
        }
        for key in self.ledger.in_turn() {
            self.ledger.compare_table(sight, key);
        }
        let held = self.ledger.setup.size - self.free;
        for _ in 0..held.min(4) {
            self.turn = if self.turn + 1 < held { self.turn + 1 } else { 0 };
            let slot = self.used.forward(self.turn, self.ledger.setup.size).slot;
            self.compare_slot(sight, slot, None);
        }
    }
}
