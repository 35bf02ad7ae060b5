//! A split queue whose driver runs while the device works, and while the monitor looks (virtio 1.4 §2.7.6, §2.7.8).
//!
//! The device rests while the monitor looks, so the used index stays. A driver has at most as many chains under way as there are
//! descriptors: whatever it prepares meanwhile, the entries from the used index on are those that it published, and so are the
//! descriptors of the chains that the device holds. All else it may have written anew. So chains in flight are judged as ever; those
//! that came and went between two looks are only counted, and so are those that cannot be told from them.

use std::sync::atomic::{Ordering, fence};

use bringup_core::{Coverage, Sight};
use bringup_spec::virtio::ring::split;

use super::{FREE, Split};
use crate::virtio::ring::Phase;
use crate::virtio::rules::ring as rules;

impl Split {
    /// Looks at both rings. `rested`: the device has done nothing since the last look.
    pub(super) fn survey(&mut self, sight: &mut Sight<'_>, phase: Phase, rested: bool) {
        if self.ledger.lost {
            return;
        }
        let Some((next, used)) = self.indices(sight) else {
            self.ledger.lost = true;
            return;
        };
        if self.unwritten == Some(used) {
            return;
        }
        self.unwritten = None;
        let old = self.next;
        if !self.judge_indices(sight, next, used) {
            return;
        }
        let new = next.wrapping_sub(old);
        if new > 0 {
            self.ledger.judge_phase(sight, phase, false);
        }
        if self.ledger.blurred {
            (self.next, self.returned) = (next, used);
            if new > 0 {
                self.ledger.missed();
            }
            self.ledger.blurred = next != used;
        } else {
            self.follow_both(sight, next, used);
        }
        self.ledger.note_phase(sight, phase);
        if self.ledger.lost {
            return;
        }
        if next.wrapping_sub(self.consumed) > next.wrapping_sub(used) {
            self.consumed = used;
        }
        if self.ledger.is_full() {
            sight.cover(Coverage::RingFull);
        }
        self.note_published(sight, old, new, rested);
        if !rested {
            self.ledger.pending.blur();
            self.ledger.credit.worked();
        }
    }

    /// The available and the used index; on the way the flags.
    fn indices(&mut self, sight: &mut Sight<'_>) -> Option<(u16, u16)> {
        let flags = self.avail.read_u16(sight, split::AVAIL_FLAGS)?;
        self.judge_flags(sight, flags);
        self.used_flags = self.used.read_u16(sight, split::USED_FLAGS)?;
        let used = self.used.read_u16(sight, split::USED_IDX)?;
        let next = self.avail.read_u16(sight, split::AVAIL_IDX)?;
        // What the index shows was stored before it.
        fence(Ordering::Acquire);
        Some((next, used))
    }

    /// Whether the available index can be what it is.
    fn judge_indices(&mut self, sight: &mut Sight<'_>, next: u16, used: u16) -> bool {
        let (size, old) = (self.ledger.setup.size, self.next);
        let (held, given) = (next.wrapping_sub(used), used.wrapping_sub(self.returned));
        sight.exercised(&rules::VQ_SPLIT_D_08);
        let went_back = u32::from(held) + u32::from(given) < u32::from(old.wrapping_sub(self.returned));
        if went_back || (held > size && next.wrapping_sub(old) > size) {
            let what = format!(
                "the available index went from {old} to {next}, the used index is {used}; the queue has {size} entries"
            );
            self.ledger.lose(sight, &rules::VQ_SPLIT_D_08, &what);
            return false;
        }
        sight.exercised(&rules::IMP_SPLIT_09);
        if held > size {
            let what = format!("the device holds {held} chains; there are {size} descriptors");
            self.ledger.lose(sight, &rules::IMP_SPLIT_09, &what);
            return false;
        }
        true
    }

    /// Follows both rings, when all chains in flight are known.
    fn follow_both(&mut self, sight: &mut Sight<'_>, next: u16, used: u16) {
        let size = self.ledger.setup.size;
        let (given, known) = (used.wrapping_sub(self.returned), self.next.wrapping_sub(self.returned));
        if given > 1 {
            sight.cover(Coverage::SeveralUsed);
        }
        let told = if self.in_order { self.take_in_order(sight, given) } else { self.take_any(sight, given) };
        self.returned = used;
        if !told {
            (self.next, self.ledger.blurred) = (next, next != used);
            return self.blur();
        }
        if given > known {
            // The entries before may be the driver's again.
            self.ledger.missed();
            self.expected = None;
            self.next = used;
            // Those that begin like one that came back may have, or may not: they are passed over.
            let held = next.wrapping_sub(used);
            let fresh = (0..held).filter(|ahead| !self.is_unmatched(sight, used.wrapping_add(*ahead))).count();
            let told = self.ledger.chains.live().len() + fresh;
            self.untold = u16::try_from(usize::from(held).saturating_sub(told)).unwrap_or(0);
        }
        let mut unfenced = None;
        while self.next != next && !self.ledger.lost {
            if self.is_unmatched(sight, self.next) {
                self.pass(sight, given > known);
            } else {
                self.expose(sight, false, &mut unfenced);
            }
            self.next = self.next.wrapping_add(1);
            if self.next & (size - 1) == 0 {
                sight.cover(Coverage::RingWrapped);
            }
        }
        if given <= known && !self.ledger.lost {
            match usize::from(self.untold).checked_sub(self.unmatched.len()) {
                Some(left) => self.untold = left as u16,
                // The device gave back what was never available.
                None => self.blur(),
            }
        }
    }

    /// The entry that a chain was published with.
    fn head_at(&self, sight: &Sight<'_>, position: u16) -> Option<u16> {
        let place = position & (self.ledger.setup.size - 1);
        self.avail.read_u16(sight, split::AVAIL_RING + split::AVAIL_ENTRY * u64::from(place))
    }

    /// Whether the chain that was published there may have come back.
    fn is_unmatched(&self, sight: &Sight<'_>, position: u16) -> bool {
        !self.unmatched.is_empty() && self.head_at(sight, position).is_some_and(|head| self.unmatched.contains(&head))
    }

    /// The chain at the next place came back already. Of several that begin alike the first did, or `all` may have.
    fn pass(&mut self, sight: &Sight<'_>, all: bool) {
        self.ledger.missed();
        self.expected = None;
        let Some(head) = self.head_at(sight, self.next) else { return };
        if let Some(entry) = self.entries.get_mut(usize::from(self.next & (self.ledger.setup.size - 1))) {
            *entry = head;
        }
        if !all && let Some(at) = self.unmatched.iter().position(|unmatched| *unmatched == head) {
            self.unmatched.swap_remove(at);
        }
    }

    /// Takes what the device gave back of the chains that are known; the heads of others are left over. `false` if that cannot be told.
    fn take_any(&mut self, sight: &mut Sight<'_>, given: u16) -> bool {
        self.unmatched.clear();
        if given > self.ledger.setup.size {
            return false;
        }
        for ahead in 0..given {
            let Some((head, len)) = self.used_at(sight, self.returned.wrapping_add(ahead)) else { return false };
            if self.ledger.chains.get(head).is_some() {
                self.land(sight, head, Some(len));
            } else {
                self.unmatched.push(head);
            }
        }
        true
    }

    /// The same with IN_ORDER, where chains come back as they were made available.
    fn take_in_order(&mut self, sight: &mut Sight<'_>, given: u16) -> bool {
        self.unmatched.clear();
        let (mut at, mut left) = (self.returned, given);
        while left > 0 && !self.order.is_empty() {
            let entry = if given > self.ledger.setup.size { None } else { self.used_at(sight, at) };
            let found = entry.and_then(|(head, len)| {
                Some((self.order.iter().take(usize::from(left)).position(|held| *held == head)?, Some(len)))
            });
            // A batch that ends with a chain that was not seen has all that were.
            let (before, len) = match found {
                Some(found) => found,
                None if usize::from(left) > self.order.len() => (self.order.len() - 1, None),
                None => return false,
            };
            for _ in 0..before {
                if let Some(head) = self.order.pop_front() {
                    self.land(sight, head, None);
                }
            }
            if let Some(head) = self.order.pop_front() {
                self.land(sight, head, len);
            }
            let done = before as u16 + 1;
            at = at.wrapping_add(done);
            left -= done;
        }
        true
    }

    /// An entry of the used ring.
    fn used_at(&self, sight: &Sight<'_>, position: u16) -> Option<(u16, u32)> {
        let place = position & (self.ledger.setup.size - 1);
        let at = split::USED_RING + split::USED_ENTRY * u64::from(place);
        let [d0, d1, d2, d3, l0, l1, l2, l3] = self.used.read(sight, at)?;
        let head = u16::try_from(u32::from_le_bytes([d0, d1, d2, d3])).ok()?;
        (head < self.ledger.setup.size).then_some((head, u32::from_le_bytes([l0, l1, l2, l3])))
    }

    /// Which chains are in flight is not known from here on, until there are none.
    fn blur(&mut self) {
        self.ledger.blur();
        self.ledger.blurred = self.next != self.returned;
        self.untold = 0;
        self.owner.fill(FREE);
        self.order.clear();
        self.expected = None;
    }

    /// Chains were made available: so many, from the index `old` on.
    fn note_published(&mut self, sight: &mut Sight<'_>, old: u16, new: u16, rested: bool) {
        if new == 0 {
            return;
        }
        // What the device wanted meanwhile is known if it did nothing.
        let wanted = if rested { self.wanted(sight, old) } else { None };
        self.note_wish(sight, wanted);
        self.ledger.credit.published(new.into(), wanted);
        if self.ledger.pending.published(wanted) {
            self.owed_from = old;
            self.ledger.owed_since = sight.now();
        }
    }
}
