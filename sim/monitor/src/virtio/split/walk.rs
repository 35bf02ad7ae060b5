//! Chains as the driver made them available: the walk over descriptors and tables (virtio 1.4 §2.7.5).

use bringup_core::Sight;
use bringup_spec::virtio::feature;
use bringup_spec::virtio::ring::{desc, split};

use super::{FREE, Split};
use crate::virtio::ring::{Area, Chain, Element, Raw};
use crate::virtio::rules::ring as rules;

/// The flags that have a meaning.
const KNOWN: u16 = desc::NEXT | desc::WRITE | desc::INDIRECT;

impl Split {
    /// Follows the next entry of the available ring.
    pub(super) fn expose(&mut self, sight: &mut Sight<'_>, stored: bool, unfenced: &mut Option<String>) {
        let size = self.ledger.setup.size;
        let place = self.next & (size - 1);
        let Some(head) = self.avail.read_u16(sight, split::AVAIL_RING + split::AVAIL_ENTRY * u64::from(place)) else {
            self.ledger.lost = true;
            return;
        };
        if let Some(entry) = self.entries.get_mut(usize::from(place)) {
            *entry = head;
        }
        sight.exercised(&rules::IMP_SPLIT_03);
        if head >= size {
            let what = format!("entry {place} of the available ring names descriptor {head} of {size}");
            return self.ledger.lose(sight, &rules::IMP_SPLIT_03, &what);
        }
        if self.owner.get(usize::from(head)).is_some_and(|owner| *owner != FREE) {
            let what =
                format!("entry {place} of the available ring names descriptor {head}, which the device holds already");
            return self.ledger.lose(sight, &rules::IMP_SPLIT_09, &what);
        }
        if let (true, Some(expected)) = (self.in_order, self.expected) {
            sight.exercised(&rules::IMP_SPLIT_05);
            if head != expected {
                let what = format!("a chain begins with descriptor {head}; the next of the table is {expected}");
                self.ledger.report(sight, &rules::IMP_SPLIT_05, &what);
            }
        }
        let epoch = self.ledger.fences.epoch();
        if stored && self.entry_stored.get(usize::from(place)) == Some(&epoch) {
            *unfenced = Some(format!("entry {place} of the available ring"));
        }
        let mut chain = self.ledger.blank(head);
        (chain.id, chain.extent) = (head, self.next);
        let sound = self.walk(sight, &mut chain);
        if stored
            && unfenced.is_none()
            && let Some((late, _)) =
                chain.parts.iter().find(|(part, _)| self.stored.get(usize::from(*part)) == Some(&epoch))
        {
            *unfenced = Some(format!("descriptor {late}"));
        }
        if sound {
            self.ledger.judge(sight, &chain, &rules::VQ_SPLIT_D_04, Some(&rules::VQ_SPLIT_D_06));
        }
        self.ledger.launch(head, chain, sound);
        if self.in_order {
            self.order.push_back(head);
        }
    }

    /// Walks a chain of descriptors and takes them for it; `false` if it cannot be walked to its end. No descriptor is taken twice, so
    /// it ends.
    fn walk(&mut self, sight: &mut Sight<'_>, chain: &mut Chain) -> bool {
        let (size, head) = (self.ledger.setup.size, chain.id);
        let mut index = head;
        loop {
            let Some(owner) = self.owner.get_mut(usize::from(index)) else { return false };
            if *owner == head {
                sight.exercised(&rules::VQ_SPLIT_D_06);
                let what = format!("chain {head} comes back to descriptor {index}");
                self.ledger.report(sight, &rules::VQ_SPLIT_D_06, &what);
                return false;
            }
            if *owner != FREE {
                let what = format!("chain {head} goes over descriptor {index}, which chain {owner} has");
                self.ledger.report(sight, &rules::IMP_SPLIT_09, &what);
                return false;
            }
            *owner = head;
            let Some(raw) = self.table.descriptor(sight, index) else {
                self.ledger.lost = true;
                return false;
            };
            chain.parts.push((index, raw));
            let following = (index + 1) & (size - 1);
            self.expected = Some(following);
            let flags = raw.first();
            self.judge_known(sight, head, flags);
            if flags & desc::INDIRECT != 0 {
                return self.walk_table(sight, chain, raw);
            }
            chain.elements.push(element(raw));
            if flags & desc::NEXT == 0 {
                return true;
            }
            let next = raw.second();
            if next >= size {
                let what = format!("chain {head}: descriptor {index} goes on with descriptor {next} of {size}");
                self.ledger.report(sight, &rules::IMP_SPLIT_03, &what);
                return false;
            }
            if self.in_order {
                sight.exercised(&rules::VQ_SPLIT_D_07);
                if next != following {
                    let what = format!("chain {head}: descriptor {index} goes on with {next}, not {following}");
                    self.ledger.report(sight, &rules::VQ_SPLIT_D_07, &what);
                }
            }
            index = next;
        }
    }

    fn judge_known(&self, sight: &mut Sight<'_>, head: u16, flags: u16) {
        sight.exercised(&rules::IMP_SPLIT_04);
        if flags & !KNOWN != 0 {
            self.ledger.report(
                sight,
                &rules::IMP_SPLIT_04,
                &format!("chain {head}: a descriptor has flags {flags:#06x}"),
            );
        }
    }

    /// Walks the indirect table that ends a chain.
    fn walk_table(&self, sight: &mut Sight<'_>, chain: &mut Chain, raw: Raw) -> bool {
        let (size, head) = (u32::from(self.ledger.setup.size), chain.id);
        sight.exercised(&rules::VQ_SPLIT_IND_D_01);
        if !self.ledger.setup.has(feature::INDIRECT_DESC) {
            let what = format!("chain {head} has a table, and INDIRECT_DESC was not negotiated");
            self.ledger.report(sight, &rules::VQ_SPLIT_IND_D_01, &what);
            return false;
        }
        sight.exercised(&rules::VQ_SPLIT_IND_D_04);
        if raw.first() & desc::NEXT != 0 {
            let what = format!("chain {head}: INDIRECT and NEXT in one descriptor");
            self.ledger.report(sight, &rules::VQ_SPLIT_IND_D_04, &what);
        }
        let (address, len) = (raw.address(), raw.len());
        sight.exercised(&rules::IMP_SPLIT_06);
        if len == 0 || !u64::from(len).is_multiple_of(desc::SIZE) {
            self.ledger.report(sight, &rules::IMP_SPLIT_06, &format!("chain {head}: a table of {len} bytes"));
            return false;
        }
        let whole = Element { address, len, writable: false };
        if !self.ledger.reaches(sight, head, "the table", &whole) || !chain.take_table(sight, address, len, 16 * size) {
            return false;
        }
        sight.exercised(&rules::VQ_SPLIT_IND_D_02);
        sight.exercised(&rules::VQ_SPLIT_IND_D_03);
        self.walk_entries(sight, chain, address, len / 16)
    }

    fn walk_entries(&self, sight: &mut Sight<'_>, chain: &mut Chain, address: u64, count: u32) -> bool {
        let (size, head) = (usize::from(self.ledger.setup.size), chain.id);
        let mut index = 0;
        for _ in 0..count {
            let far = Area::new(address, u64::from(count) * desc::SIZE);
            let entry =
                chain.entry(index).or_else(|| far.read(sight, u64::from(index) * desc::SIZE).map(Raw::from_bytes));
            let Some(entry) = entry else { return false };
            let flags = entry.first();
            self.judge_known(sight, head, flags);
            if flags & desc::INDIRECT != 0 {
                let what = format!("chain {head}: entry {index} of its table is a table");
                self.ledger.report(sight, &rules::VQ_SPLIT_IND_D_02, &what);
                return false;
            }
            chain.elements.push(element(entry));
            if chain.elements.len() > size {
                let what = format!("chain {head} has more than {size} elements, which is the queue's size");
                self.ledger.report(sight, &rules::VQ_SPLIT_IND_D_03, &what);
                return false;
            }
            if flags & desc::NEXT == 0 {
                return true;
            }
            let next = u32::from(entry.second());
            if next >= count {
                let what = format!("chain {head}: entry {index} of its table goes on with entry {next} of {count}");
                self.ledger.report(sight, &rules::IMP_SPLIT_06, &what);
                return false;
            }
            if self.in_order {
                sight.exercised(&rules::VQ_SPLIT_IND_D_05);
                if next != index + 1 {
                    let what = format!("chain {head}: entry {index} of its table goes on with entry {next}");
                    self.ledger.report(sight, &rules::VQ_SPLIT_IND_D_05, &what);
                }
            }
            index = next;
        }
        self.ledger.report(sight, &rules::VQ_SPLIT_D_06, &format!("chain {head} goes round in its table"));
        false
    }
}

fn element(raw: Raw) -> Element {
    Element { address: raw.address(), len: raw.len(), writable: raw.first() & desc::WRITE != 0 }
}
