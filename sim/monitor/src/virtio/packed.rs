//! The follower of a packed queue (virtio 1.4 §2.8).
//!
//! It keeps two places in the ring, each with its wrap counter: where the driver makes the next list available, and where the device
//! puts the next used descriptor. From the second to the first the slots belong to the device and are kept as images. A list that
//! came back out of order frees as many slots as it has at the second place, which need not be its own.

mod back;
mod racing;
mod walk;

use std::collections::VecDeque;

use bringup_core::dma::DeviceAccess;
use bringup_core::{Barrier, Coverage, Place as Line, Sight};
use bringup_spec::virtio::feature;
use bringup_spec::virtio::ring::{MAX_SIZE, desc, packed};
use vm_memory::Permissions;

use super::ring::{Area, Kick, Ledger, News, Pending, Phase, RING_STATES, Raw, Setup};
use super::rules::ring as rules;

/// No list in flight has the id.
const NONE: u16 = u16::MAX;
/// The flags that say whose a slot is.
const OWNER: u16 = packed::AVAIL | packed::USED;

/// A slot of the ring and the wrap counter that goes with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    slot: u16,
    wrap: bool,
}

impl Place {
    const START: Self = Self { slot: 0, wrap: true };

    /// Further on by up to the whole ring.
    fn forward(self, slots: u16, size: u16) -> Self {
        let at = u32::from(self.slot) + u32::from(slots);
        match at.checked_sub(u32::from(size)) {
            Some(slot) => Self { slot: slot as u16, wrap: !self.wrap },
            None => Self { slot: at as u16, wrap: self.wrap },
        }
    }

    fn off_wrap(self) -> u16 {
        self.slot | if self.wrap { packed::EVENT_WRAP } else { 0 }
    }

    /// AVAIL and USED of a slot that is made available here.
    fn available(self) -> u16 {
        if self.wrap { packed::AVAIL } else { packed::USED }
    }

    /// AVAIL and USED of a slot that is used here.
    fn used(self) -> u16 {
        if self.wrap { OWNER } else { 0 }
    }
}

/// What is known of a packed queue.
#[derive(Debug)]
pub(super) struct Packed {
    ledger: Ledger,
    ring: Area,
    driver_event: Area,
    device_event: Area,
    event_idx: bool,
    in_order: bool,
    /// Where the next list becomes available.
    next: Place,
    /// Where the next used descriptor goes.
    used: Place,
    /// How many slots are the driver's.
    free: u16,
    /// By slot: what it held last, as far as is known.
    images: Vec<Raw>,
    /// By slot: the write barriers that came before its last store; 0 if none was seen.
    stored: Vec<u64>,
    /// The same, for stores that do not touch its flags.
    body_stored: Vec<u64>,
    /// By buffer id: the key of the list in flight. Grows with the ids.
    by_id: Vec<u16>,
    /// Keys that no list in flight has.
    keys: Vec<u16>,
    /// Keys in the order in which lists were made available, with IN_ORDER.
    order: VecDeque<u16>,
    /// How many slots became available since a kick was first owed for some.
    owed_slots: u32,
    /// What the device said that it wants when that was looked at last: its event structure.
    wish: (u16, u16),
    /// The driver's event structure when it was judged last.
    driver_wish: Option<(u16, u16)>,
    /// Slots of the device's that the driver stored to, and where.
    touched: Vec<(u16, Option<Line>)>,
    /// Where processors run while the device works: whether its accesses are kept, those accesses, used descriptors that are not followed yet (slot, and what stood
    /// there), and slots as it loaded them.
    racing: bool,
    accesses: Vec<DeviceAccess>,
    given: Vec<(u16, Raw)>,
    loaded: VecDeque<(u16, Raw)>,
    /// Which slot of the device's was compared last.
    turn: u16,
}

impl Packed {
    pub(super) fn enabled(setup: Setup, sight: &mut Sight<'_>) -> Self {
        let size = usize::from(setup.size);
        let mut this = Self {
            ledger: Ledger::new(setup),
            ring: Area::new(setup.descriptors, desc::SIZE * u64::from(setup.size)),
            driver_event: Area::new(setup.driver, packed::EVENT_SIZE),
            device_event: Area::new(setup.device, packed::EVENT_SIZE),
            event_idx: setup.has(feature::EVENT_IDX),
            in_order: setup.has(feature::IN_ORDER),
            next: Place::START,
            used: Place::START,
            free: setup.size,
            images: vec![Raw::default(); size],
            stored: vec![0; size],
            body_stored: vec![0; size],
            by_id: Vec::new(),
            keys: (0..setup.size).rev().collect(),
            order: VecDeque::new(),
            owed_slots: 0,
            wish: (0, 0),
            driver_wish: None,
            touched: Vec::new(),
            racing: false,
            accesses: Vec::new(),
            given: Vec::new(),
            loaded: VecDeque::new(),
            turn: 0,
        };
        sight.reachable(RING_STATES);
        this.check_setup(sight);
        if sight.is_concurrent() {
            this.race(sight);
        }
        if !this.ledger.lost {
            this.poll(sight, Phase::default(), false, true);
            this.check_zero(sight);
        }
        this
    }

    pub(super) fn ledger(&mut self) -> &mut Ledger {
        &mut self.ledger
    }

    fn check_setup(&mut self, sight: &mut Sight<'_>) {
        let (ring, driver, device, size) = (self.ring, self.driver_event, self.device_event, self.ledger.setup.size);
        sight.exercised(&rules::IMP_PACK_01);
        if size == 0 || size > MAX_SIZE {
            return self.ledger.lose(sight, &rules::IMP_PACK_01, &format!("a size of {size}"));
        }
        let rule = &rules::VQ_PACKED_D_01;
        self.ledger.aligned(sight, rule, "the ring", &ring, packed::RING_ALIGN);
        self.ledger.aligned(sight, rule, "the driver's event structure", &driver, packed::EVENT_ALIGN);
        self.ledger.aligned(sight, rule, "the device's event structure", &device, packed::EVENT_ALIGN);
        let rule = self.ledger.reach_rule();
        self.ledger.reachable(sight, rule, "the ring", &ring, Permissions::ReadWrite);
        self.ledger.reachable(sight, rule, "the driver's event structure", &driver, Permissions::Read);
        self.ledger.reachable(sight, rule, "the device's event structure", &device, Permissions::Write);
    }

    /// What is not available yet must be zero. The images of these slots are taken on the way.
    fn check_zero(&mut self, sight: &mut Sight<'_>) {
        sight.exercised(&rules::IMP_PACK_02);
        let mut dirty = None;
        // Without a ring that can be followed there is no next place.
        let free = if self.ledger.lost { 0 } else { self.free };
        for ahead in 0..free {
            let slot = self.next.forward(ahead, self.ledger.setup.size).slot;
            let Some(raw) = self.ring.descriptor(sight, slot) else { return };
            if !raw.is_zero() {
                dirty = dirty.or(Some(slot));
            }
            if let Some(image) = self.images.get_mut(usize::from(slot)) {
                *image = raw;
            }
        }
        if let Some(slot) = dirty {
            self.ledger.report(
                sight,
                &rules::IMP_PACK_02,
                &format!("slot {slot} is not zero when the queue is enabled"),
            );
        }
    }

    // --- What happens --------------------------------------------------------------------------------------------

    pub(super) fn kicked(&mut self, sight: &mut Sight<'_>, phase: Phase, kick: Kick) -> News {
        self.look(sight, phase);
        self.judge_next(sight);
        if !self.ledger.lost {
            let racing = sight.is_concurrent();
            let next = self.next.off_wrap();
            let slot = (kick.value >> 16) as u16 & !packed::EVENT_WRAP;
            sight.exercised(&rules::IMP_NOTIF_02);
            let wrong = if slot >= self.ledger.setup.size { &rules::IMP_NOTIF_02 } else { &rules::VQ_PACKED_D_04 };
            if !racing || slot >= self.ledger.setup.size {
                // It may be late by any number of rounds.
                self.ledger.judge_kick(sight, kick, next, wrong);
            }
            let needless = if racing {
                self.ledger.is_kick_needless()
            } else {
                std::mem::take(&mut self.ledger.pending) == Pending::Needless
            };
            if needless {
                let what = format!("a kick up to {}, though the device wants {}", named(next), self.wish_in_words());
                self.ledger.report(sight, &rules::IMP_PACK_17, &what);
            }
        }
        self.ledger.take_news()
    }

    pub(super) fn working(&mut self, sight: &mut Sight<'_>, phase: Phase) -> News {
        self.look(sight, phase);
        if sight.is_concurrent() {
            self.compare_some(sight);
        }
        self.ledger.take_news()
    }

    pub(super) fn worked(&mut self, sight: &mut Sight<'_>, phase: Phase) -> News {
        if sight.is_concurrent() {
            self.survey(sight, phase, false);
        } else if !self.ledger.lost && (self.free != self.ledger.setup.size || self.ledger.pending != Pending::Nothing)
        {
            self.give_back(sight, phase);
            self.reconsider(sight);
        }
        self.ledger.take_news()
    }

    pub(super) fn idle(&mut self, sight: &mut Sight<'_>, phase: Phase) -> News {
        self.look(sight, phase);
        // What stands in the next slot with flags that do not show it was meant to be shown, and is no missing kick.
        if self.ledger.pending == Pending::Owed {
            self.judge_next(sight);
        }
        if self.ledger.lost {
            return self.ledger.take_news();
        }
        if self.ledger.is_kick_missing(phase) {
            self.report_missing_kick(sight);
        }
        if sight.is_concurrent() {
            self.compare_some(sight);
            return self.ledger.take_news();
        }
        for key in self.ledger.in_turn() {
            self.ledger.compare_table(sight, key);
        }
        if !self.ledger.stores_shown {
            let held = self.ledger.setup.size - self.free;
            for ahead in 0..held.min(4) {
                let slot = self.used.forward(ahead, self.ledger.setup.size).slot;
                self.compare_slot(sight, slot, None);
            }
        }
        self.ledger.take_news()
    }

    pub(super) fn barrier(&mut self, barrier: Barrier) {
        self.ledger.fences.barrier(barrier);
    }

    pub(super) fn unmapped(&mut self, sight: &mut Sight<'_>, iova: u64, len: u64) {
        if !self.ledger.lost {
            let areas = [
                ("ring", self.ring),
                ("driver's event structure", self.driver_event),
                ("device's event structure", self.device_event),
            ];
            self.ledger.unmapped(sight, iova, len, &areas);
        }
    }

    fn report_missing_kick(&self, sight: &mut Sight<'_>) {
        let next = self.next.off_wrap();
        let what = format!(
            "no kick for what became available up to {}; the device wants {}",
            named(next),
            self.wish_in_words()
        );
        self.ledger.report_at(sight, &rules::IMP_PACK_16, &what, self.ledger.owed_place);
    }

    pub(super) fn accessed(&mut self, sight: &mut Sight<'_>, phase: Phase, iova: u64, len: u64, store: bool) -> News {
        // Who stores while others run is not seen in the order in which it happens.
        if self.ledger.lost || sight.is_concurrent() {
            return News::default();
        }
        if !store {
            if self.device_event.hit(iova, len).is_some_and(|(_, end)| end > packed::EVENT_FLAGS) {
                self.looked(sight);
            }
            if self.ring.hit(iova, len).is_some() && self.ledger.is_kick_overdue(sight, phase) {
                self.report_missing_kick(sight);
            }
            return News::default();
        }
        sight.exercised(&rules::IMP_VQ_02);
        if let Some((start, end)) = self.ring.hit(iova, len) {
            self.ledger.stores_shown = true;
            for slot in start / desc::SIZE..end.div_ceil(desc::SIZE) {
                let from = start.saturating_sub(slot * desc::SIZE);
                let to = (end - slot * desc::SIZE).min(desc::SIZE);
                self.stored_slot(sight, phase, slot as u16, from, to);
            }
        }
        if self.driver_event.hit(iova, len).is_some() {
            self.judge_driver_event(sight);
        }
        if self.device_event.hit(iova, len).is_some() {
            let what = format!("the driver stored to the device's event structure, at {iova:#x}");
            self.ledger.report(sight, &rules::IMP_VQ_02, &what);
        }
        self.ledger.take_news()
    }

    // --- The driver's stores and loads ---------------------------------------------------------------------------

    /// Bytes `from` up to `to` of a slot were stored.
    fn stored_slot(&mut self, sight: &mut Sight<'_>, phase: Phase, slot: u16, from: u64, to: u64) {
        let epoch = self.ledger.fences.epoch();
        let flags = to > packed::DESC_FLAGS;
        if let Some(stored) = self.stored.get_mut(usize::from(slot)) {
            *stored = epoch;
        }
        if let Some(stored) = self.body_stored.get_mut(usize::from(slot))
            && !flags
            && from < packed::DESC_FLAGS
        {
            *stored = epoch;
        }
        if self.is_held(slot) {
            // What it comes to is seen when the driver is done.
            let line = sight.place();
            if self.touched.len() < usize::from(self.ledger.setup.size)
                && !self.touched.iter().any(|(touched, _)| *touched == slot)
            {
                self.touched.push((slot, line));
            }
        } else if flags && slot == self.next.slot {
            self.poll(sight, phase, true, true);
        }
    }

    /// Whether a slot is the device's.
    fn is_held(&self, slot: u16) -> bool {
        let (size, from) = (self.ledger.setup.size, self.used.slot);
        let ahead = if slot >= from { slot - from } else { size - from + slot };
        ahead < size - self.free
    }

    /// The driver loads what the device wants.
    fn looked(&mut self, sight: &mut Sight<'_>) {
        let Some(fenced) = self.ledger.fences.looked() else { return };
        sight.exercised(&rules::VQ_PACKED_D_14);
        if !fenced {
            let what = "the device's event structure loaded without a full barrier since a head's flags were stored";
            self.ledger.report(sight, &rules::VQ_PACKED_D_14, what);
        }
    }

    fn judge_driver_event(&mut self, sight: &mut Sight<'_>) {
        let Some([o0, o1, f0, f1]) = self.driver_event.read(sight, packed::EVENT_OFF_WRAP) else { return };
        let now = (u16::from_le_bytes([o0, o1]), u16::from_le_bytes([f0, f1]));
        sight.exercised(&rules::IMP_PACK_14);
        if now.1 == packed::EVENT_DESC {
            sight.exercised(&rules::IMP_PACK_15);
        }
        if self.driver_wish.replace(now) == Some(now) {
            return;
        }
        let (off_wrap, flags) = now;
        if flags > packed::EVENT_DESC || (flags == packed::EVENT_DESC && !self.event_idx) {
            let what = format!("the driver's event structure has flags {flags:#x}");
            return self.ledger.report(sight, &rules::IMP_PACK_14, &what);
        }
        let (slot, size) = (off_wrap & !packed::EVENT_WRAP, self.ledger.setup.size);
        if flags == packed::EVENT_DESC && slot >= size {
            let what = format!("the driver's event structure names slot {slot} of {size}");
            self.ledger.report(sight, &rules::IMP_PACK_15, &what);
        }
    }

    // --- What the driver makes available -------------------------------------------------------------------------

    /// Looks at all that the driver may have done.
    fn look(&mut self, sight: &mut Sight<'_>, phase: Phase) {
        if sight.is_concurrent() {
            return self.survey(sight, phase, true);
        }
        self.poll(sight, phase, false, true);
        if !self.ledger.lost {
            self.judge_driver_event(sight);
            while let Some((slot, line)) = self.touched.pop() {
                self.compare_slot(sight, slot, line);
            }
        }
    }

    /// Follows the ring as far as the driver made slots available. `stored`: the flags of the next head were stored just now. `rested`:
    /// the device has done nothing since the last look.
    fn poll(&mut self, sight: &mut Sight<'_>, phase: Phase, stored: bool, rested: bool) {
        let size = self.ledger.setup.size;
        let (mut slots, mut lists) = (0_u32, 0);
        let mut unfenced = None;
        let mut judged = false;
        let racing = sight.is_concurrent();
        while !self.ledger.lost {
            if racing && !self.is_available(sight) {
                break;
            }
            let Some(head) = self.ring.descriptor(sight, self.next.slot) else {
                self.ledger.lost = true;
                return;
            };
            if head.second() & OWNER != self.next.available() {
                break;
            }
            if self.free == 0 {
                let what = format!("slot {} was made available again before it was used", self.next.slot);
                self.ledger.lose(sight, &rules::VQ_PACKED_D_02, &what);
                return;
            }
            if !judged {
                self.ledger.judge_phase(sight, phase, stored);
                judged = true;
            }
            slots += u32::from(self.expose(sight, head, stored, &mut unfenced));
            lists += 1;
        }
        self.ledger.note_phase(sight, phase);
        if self.ledger.lost || slots == 0 {
            return;
        }
        sight.exercised(&rules::VQ_PACKED_D_02);
        if stored {
            sight.exercised(&rules::VQ_PACKED_D_13);
            if let Some(slot) = unfenced {
                let what =
                    format!("slot {slot} was stored without a write barrier before the flags of its list's head");
                self.ledger.report(sight, &rules::VQ_PACKED_D_13, &what);
            }
            self.ledger.fences.published();
        }
        if self.free == 0 {
            sight.cover(Coverage::RingFull);
        }
        if u32::from(self.next.slot) < slots {
            sight.cover(Coverage::RingWrapped);
        }
        // What the device wanted meanwhile is known if it did nothing.
        let wanted = if rested { self.wanted(sight, slots) } else { None };
        if racing {
            self.ledger.credit.published(lists, wanted);
        }
        match wanted {
            Some(true) => sight.exercised(&rules::IMP_PACK_16),
            Some(false) => sight.exercised(&rules::IMP_PACK_17),
            None => {}
        }
        if self.ledger.pending.published(wanted) {
            self.owed_slots = 0;
            self.ledger.owed_since = sight.now();
            self.ledger.owed_place = sight.place();
        }
        self.owed_slots = self.owed_slots.saturating_add(slots).min(u32::from(size));
    }

    /// The driver kicks: what stands in the next slot may have been meant to be available.
    fn judge_next(&mut self, sight: &mut Sight<'_>) {
        if self.ledger.lost || self.free == 0 {
            return;
        }
        sight.exercised(&rules::IMP_PACK_03);
        sight.exercised(&rules::IMP_PACK_04);
        let slot = self.next.slot;
        let Some(raw) = self.ring.descriptor(sight, slot) else { return };
        let flags = raw.second();
        if self.images.get(usize::from(slot)).is_some_and(|image| image.second() == flags) {
            return;
        }
        // Where others run it may have become available this moment, and what the device stored there is known but for WRITE.
        let known = |image: &Raw| flags & OWNER == self.next.available() || image.second() & OWNER == flags & OWNER;
        if sight.is_concurrent() && self.images.get(usize::from(slot)).is_some_and(known) {
            return;
        }
        let other = OWNER ^ self.next.available();
        let (rule, why) = if flags & OWNER == other {
            (&rules::IMP_PACK_03, "those of the other wrap counter")
        } else {
            (&rules::IMP_PACK_04, "AVAIL and USED alike")
        };
        let what = format!("slot {slot} was written with flags {flags:#06x}, {why}, and is not seen to be available");
        self.ledger.lose(sight, rule, &what);
    }

    // --- Kicks ---------------------------------------------------------------------------------------------------

    /// Whether the device wants a kick for the last `slots` slots.
    fn wanted(&mut self, sight: &mut Sight<'_>, slots: u32) -> Option<bool> {
        let [o0, o1, f0, f1] = self.device_event.read(sight, packed::EVENT_OFF_WRAP)?;
        self.wish = (u16::from_le_bytes([o0, o1]), u16::from_le_bytes([f0, f1]));
        let (off_wrap, flags) = self.wish;
        match flags & 3 {
            packed::EVENT_ENABLE => Some(true),
            packed::EVENT_DISABLE => Some(false),
            packed::EVENT_DESC if self.event_idx => {
                let (wanted, edge) = self.is_behind(off_wrap, slots);
                if edge {
                    sight.cover(Coverage::EventEdge);
                }
                Some(wanted)
            }
            _ => None,
        }
    }

    /// Whether a slot that the device named is among the last `slots` that became available; and whether that was close.
    fn is_behind(&self, off_wrap: u16, slots: u32) -> (bool, bool) {
        let (event, wrap) = (u32::from(off_wrap & !packed::EVENT_WRAP), off_wrap & packed::EVENT_WRAP != 0);
        let (next, size) = (u32::from(self.next.slot), u32::from(self.ledger.setup.size));
        // How far it lies back: in this lap, or in the one before.
        let back = if wrap == self.next.wrap { next.checked_sub(event) } else { (next + size).checked_sub(event) };
        let wanted = back.is_some_and(|back| (1..=slots).contains(&back));
        // The first of them, or the last before them.
        let edge = back.is_some_and(|back| back == slots || back == slots + 1);
        (wanted, edge)
    }

    /// The device may want something else now.
    fn reconsider(&mut self, sight: &mut Sight<'_>) {
        if matches!(self.ledger.pending, Pending::Nothing | Pending::Unsure) {
            return;
        }
        let before = self.wish;
        let wanted = self.wanted(sight, self.owed_slots);
        if self.wish != before {
            self.ledger.pending.changed(wanted);
        }
    }

    fn wish_in_words(&self) -> String {
        let (off_wrap, flags) = self.wish;
        match flags & 3 {
            packed::EVENT_ENABLE => "kicks".into(),
            packed::EVENT_DISABLE => "none".into(),
            _ => format!("one at {}", named(off_wrap)),
        }
    }
}

/// A place as an event structure and a kick write it.
fn named(off_wrap: u16) -> String {
    format!("slot {} (wrap counter {})", off_wrap & !packed::EVENT_WRAP, off_wrap >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_go_round_and_flip_their_counter() {
        let start = Place { slot: 3, wrap: true };
        assert_eq!(start.forward(0, 4), start);
        assert_eq!(start.forward(1, 4), Place { slot: 0, wrap: false });
        assert_eq!(start.forward(4, 4), Place { slot: 3, wrap: false });
        assert_eq!(Place::START.forward(1, 1), Place { slot: 0, wrap: false });
        assert_eq!(Place { slot: 32767, wrap: false }.forward(32768, 32768), Place { slot: 32767, wrap: true });
    }
}
