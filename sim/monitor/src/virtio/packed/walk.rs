//! Lists as the driver made them available: the walk over slots and tables (virtio 1.4 §2.8.6, §2.8.7).

use bringup_core::Sight;
use bringup_spec::virtio::feature;
use bringup_spec::virtio::ring::{MAX_SIZE, desc};

use super::{NONE, OWNER, Packed, Place};
use crate::virtio::ring::{Chain, Element, Raw};
use crate::virtio::rules::ring as rules;

impl Packed {
    /// Follows one list from its head. Gives how many slots it has.
    pub(super) fn expose(&mut self, sight: &mut Sight<'_>, head: Raw, stored: bool, unfenced: &mut Option<u16>) -> u16 {
        let Some(key) = self.keys.pop() else {
            self.ledger.lost = true;
            return 0;
        };
        let mut chain = self.ledger.blank(key);
        let mut sound = true;
        let Some((slots, last)) = self.walk(sight, head, stored, unfenced, &mut chain, &mut sound) else {
            // It cannot be told where the next list begins.
            self.ledger.lost = true;
            self.touched.clear();
            return 0;
        };
        (chain.id, chain.extent) = (last.first(), slots);
        if !self.take_id(sight, chain.id, key) {
            return 0;
        }
        if head.second() & desc::INDIRECT != 0 && sound {
            sound = self.take_table(sight, &mut chain, head);
        }
        self.next = self.next.forward(slots, self.ledger.setup.size);
        self.free -= slots;
        if sound {
            self.ledger.judge(sight, &chain, &rules::VQ_PACKED_D_08, None);
            self.judge_limit(sight, &chain);
        }
        self.ledger.launch(key, chain, sound);
        if self.in_order {
            self.order.push_back(key);
        }
        slots
    }

    /// Walks a list of slots; gives how many there are, and the last.
    fn walk(
        &mut self,
        sight: &mut Sight<'_>,
        head: Raw,
        stored: bool,
        unfenced: &mut Option<u16>,
        chain: &mut Chain,
        sound: &mut bool,
    ) -> Option<(u16, Raw)> {
        let size = self.ledger.setup.size;
        let epoch = self.ledger.fences.epoch();
        sight.exercised(&rules::VQ_PACKED_D_07);
        let (mut at, mut raw, mut slots) = (self.next, head, 1);
        loop {
            let index = usize::from(at.slot);
            let list = if slots == 1 { &self.body_stored } else { &self.stored };
            if stored && unfenced.is_none() && list.get(index) == Some(&epoch) {
                *unfenced = Some(at.slot);
            }
            if let Some(image) = self.images.get_mut(index) {
                *image = raw;
            }
            let flags = raw.second();
            if flags & desc::INDIRECT == 0 {
                let writable = flags & desc::WRITE != 0;
                chain.elements.push(Element { address: raw.address(), len: raw.len(), writable });
            } else if *sound {
                *sound = self.judge_indirect(sight, at.slot, flags, slots);
            }
            if flags & desc::NEXT == 0 {
                return Some((slots, raw));
            }
            if slots == size {
                let what = format!("the list at slot {} goes on over all {size} slots", self.next.slot);
                self.ledger.report(sight, &rules::VQ_PACKED_D_07, &what);
                return None;
            }
            sight.exercised(&rules::VQ_PACKED_D_10);
            if slots == self.free {
                let what = format!(
                    "the list at slot {} needs more than the {} slots that are free",
                    self.next.slot, self.free
                );
                self.ledger.report(sight, &rules::VQ_PACKED_D_10, &what);
                return None;
            }
            at = at.forward(1, size);
            slots += 1;
            raw = self.ring.descriptor(sight, at.slot)?;
            if !self.judge_tail(sight, at, raw) {
                return None;
            }
        }
    }

    /// Checks the flags of a slot behind a head; `false` if it is not written yet.
    fn judge_tail(&self, sight: &mut Sight<'_>, at: Place, raw: Raw) -> bool {
        sight.exercised(&rules::VQ_PACKED_D_11);
        sight.exercised(&rules::IMP_PACK_06);
        let (flags, head) = (raw.second(), self.next.slot);
        if flags & OWNER == at.available() {
            return true;
        }
        if self.images.get(usize::from(at.slot)).is_some_and(|image| image.second() == flags) {
            let what = format!("the list at slot {head} was made available before its slot {}", at.slot);
            self.ledger.report(sight, &rules::VQ_PACKED_D_11, &what);
            return false;
        }
        let what = format!(
            "slot {} of the list at slot {head} has flags {flags:#06x}; AVAIL and USED are not those of its place",
            at.slot
        );
        self.ledger.report(sight, &rules::IMP_PACK_06, &what);
        true
    }

    /// Checks that a slot may have a table; `false` if it cannot be followed.
    fn judge_indirect(&self, sight: &mut Sight<'_>, slot: u16, flags: u16, slots: u16) -> bool {
        sight.exercised(&rules::VQ_PACKED_IND_D_01);
        if !self.ledger.setup.has(feature::INDIRECT_DESC) {
            let what = format!("slot {slot} has a table, and INDIRECT_DESC was not negotiated");
            self.ledger.report(sight, &rules::VQ_PACKED_IND_D_01, &what);
            return false;
        }
        sight.exercised(&rules::VQ_PACKED_IND_D_04);
        if flags & desc::NEXT != 0 || slots > 1 {
            let what = format!("slot {slot} has a table, and is part of a list");
            self.ledger.report(sight, &rules::VQ_PACKED_IND_D_04, &what);
            return false;
        }
        true
    }

    /// Takes a buffer id for a list; `false` if another one in flight has it.
    pub(super) fn take_id(&mut self, sight: &mut Sight<'_>, id: u16, key: u16) -> bool {
        sight.exercised(&rules::IMP_PACK_07);
        let index = usize::from(id);
        if self.by_id.len() <= index {
            self.by_id.resize(index + 1, NONE);
        }
        match self.by_id.get_mut(index) {
            Some(held) if *held == NONE => {
                *held = key;
                true
            }
            _ => {
                let what = format!("the list at slot {} has buffer id {id}, as one in flight has", self.next.slot);
                self.ledger.lose(sight, &rules::IMP_PACK_07, &what);
                false
            }
        }
    }

    /// Takes the elements of an indirect table: they follow each other by place.
    fn take_table(&self, sight: &mut Sight<'_>, chain: &mut Chain, slot: Raw) -> bool {
        let (address, len, id) = (slot.address(), slot.len(), chain.id);
        sight.exercised(&rules::IMP_PACK_10);
        if len == 0 || !u64::from(len).is_multiple_of(desc::SIZE) {
            self.ledger.report(sight, &rules::IMP_PACK_10, &format!("chain {id}: a table of {len} bytes"));
            return false;
        }
        let whole = Element { address, len, writable: false };
        // No queue has more elements than this, and no device of ours takes so many: what lies behind is not followed.
        let most = u32::from(MAX_SIZE) * 16;
        if !self.ledger.reaches(sight, id, "the table", &whole)
            || len > most
            || !chain.take_table(sight, address, len, most)
        {
            return false;
        }
        sight.exercised(&rules::VQ_PACKED_IND_D_02);
        let mut odd = None;
        for index in 0..len / 16 {
            let Some(entry) = chain.entry(index) else { return false };
            // Here, too, the flags come last.
            let flags = entry.second();
            if flags & !desc::WRITE != 0 {
                odd = odd.or(Some((index, flags)));
            }
            let writable = flags & desc::WRITE != 0;
            chain.elements.push(Element { address: entry.address(), len: entry.len(), writable });
        }
        if let Some((index, flags)) = odd {
            let what = format!("chain {id}: entry {index} of its table has flags {flags:#06x}");
            self.ledger.report(sight, &rules::VQ_PACKED_IND_D_02, &what);
        }
        true
    }

    fn judge_limit(&self, sight: &mut Sight<'_>, chain: &Chain) {
        let Some(limit) = self.ledger.limit else { return };
        let rule = if chain.table.is_some() { &rules::VQ_PACKED_IND_D_03 } else { &rules::VQ_PACKED_D_06 };
        sight.exercised(rule);
        let count = chain.elements.len();
        if count > limit as usize {
            let what = format!("chain {} has {count} elements; the device takes {limit}", chain.id);
            self.ledger.report(sight, rule, &what);
        }
    }
}
