//! The follower of a split queue (virtio 1.4 §2.7).
//!
//! It keeps two places, both free-running indices modulo 65536: how far the driver made chains available, and how far the device
//! gave them back. Between the two lie the chains in flight; their descriptors belong to the device and are kept as images.

mod back;
mod racing;
mod walk;

use std::collections::VecDeque;

use bringup_core::{Barrier, Coverage, Sight};
use bringup_spec::virtio::feature;
use bringup_spec::virtio::ring::{MAX_SIZE, desc, split};
use vm_memory::Permissions;

use super::ring::{Area, Kick, Ledger, News, Pending, Phase, RING_STATES, Setup};
use super::rules::ring as rules;

/// No chain has the descriptor.
const FREE: u16 = u16::MAX;

/// What is known of a split queue.
#[derive(Debug)]
pub(super) struct Split {
    ledger: Ledger,
    table: Area,
    avail: Area,
    used: Area,
    event_idx: bool,
    in_order: bool,
    /// Up to where chains were made available.
    next: u16,
    /// Up to where they came back.
    returned: u16,
    /// Up to where the device is known to have read the available ring.
    consumed: u16,
    /// By descriptor: the head of the chain that has it.
    owner: Vec<u16>,
    /// The available ring's entries as they were made available.
    entries: Vec<u16>,
    /// By descriptor and by entry: the write barriers that came before its last store; 0 if none was seen.
    stored: Vec<u64>,
    entry_stored: Vec<u64>,
    /// Heads in the order in which they were made available, with IN_ORDER.
    order: VecDeque<u16>,
    /// With IN_ORDER: the descriptor that the next chain begins with, if that is known.
    expected: Option<u16>,
    /// From which index on a kick is owed.
    owed_from: u16,
    /// What the device said that it wants when that was looked at last: the used ring's flags, or `avail_event`.
    wish: u16,
    /// The used ring's flags.
    used_flags: u16,
    /// The available ring's flags when they were judged last.
    avail_flags: Option<u16>,
    /// What the used index held at first, until the device wrote it.
    unwritten: Option<u16>,
    /// Without EVENT_IDX: the driver loaded `avail_event` since it made chains available.
    asked_event: bool,
    /// Heads that came back and were not seen to be made available; kept for its memory.
    unmatched: Vec<u16>,
    /// How many chains the device holds that are not followed, because they could not be told from such as came back.
    untold: u16,
}

impl Split {
    pub(super) fn enabled(setup: Setup, sight: &mut Sight<'_>) -> Self {
        let size = setup.size;
        let entries = u64::from(size);
        let table = Area::new(setup.descriptors, entries * desc::SIZE);
        let avail = Area::new(setup.driver, split::AVAIL_EXTRA + entries * split::AVAIL_ENTRY);
        let used = Area::new(setup.device, split::USED_EXTRA + entries * split::USED_ENTRY);
        let mut this = Self {
            ledger: Ledger::new(setup),
            table,
            avail,
            used,
            event_idx: setup.has(feature::EVENT_IDX),
            in_order: setup.has(feature::IN_ORDER),
            next: 0,
            returned: 0,
            consumed: 0,
            owner: vec![FREE; usize::from(size)],
            entries: vec![0; usize::from(size)],
            stored: vec![0; usize::from(size)],
            entry_stored: vec![0; usize::from(size)],
            order: VecDeque::new(),
            expected: Some(0),
            owed_from: 0,
            wish: 0,
            used_flags: 0,
            avail_flags: None,
            unwritten: None,
            asked_event: false,
            unmatched: Vec::new(),
            untold: 0,
        };
        sight.reachable(RING_STATES);
        this.check_setup(sight);
        if sight.is_concurrent() {
            // What the index says means nothing until the device has written it.
            this.ledger.blurred = this.unwritten.is_some();
            this.survey(sight, Phase::default(), true);
        } else {
            this.poll(sight, Phase::default(), false);
        }
        this
    }

    pub(super) fn ledger(&mut self) -> &mut Ledger {
        &mut self.ledger
    }

    fn check_setup(&mut self, sight: &mut Sight<'_>) {
        let (table, avail, used, size) = (self.table, self.avail, self.used, self.ledger.setup.size);
        sight.exercised(&rules::IMP_SPLIT_01);
        if !size.is_power_of_two() || size > MAX_SIZE {
            return self.ledger.lose(sight, &rules::IMP_SPLIT_01, &format!("a size of {size}"));
        }
        let rule = &rules::VQ_SPLIT_D_01;
        self.ledger.aligned(sight, rule, "the descriptor table", &table, split::DESC_ALIGN);
        self.ledger.aligned(sight, rule, "the available ring", &avail, split::AVAIL_ALIGN);
        self.ledger.aligned(sight, rule, "the used ring", &used, split::USED_ALIGN);
        let rule = &rules::IMP_SPLIT_02;
        self.ledger.reachable(sight, rule, "the descriptor table", &table, Permissions::Read);
        self.ledger.reachable(sight, rule, "the available ring", &avail, Permissions::Read);
        self.ledger.reachable(sight, rule, "the used ring", &used, Permissions::Write);
        if table.overlaps(&avail) || table.overlaps(&used) || avail.overlaps(&used) {
            self.ledger.lose(sight, rule, "two of its parts overlap");
        }
        if self.ledger.lost {
            return;
        }
        let Some([f0, f1, i0, i1]) = used.read(sight, split::USED_FLAGS) else { return };
        sight.exercised(&rules::VQ_SPLIT_EVT_D_06);
        let flags = u16::from_le_bytes([f0, f1]);
        if flags != 0 {
            let what = format!("the used ring's flags are {flags:#x} when it is set up");
            self.ledger.report(sight, &rules::VQ_SPLIT_EVT_D_06, &what);
        }
        self.used_flags = flags;
        self.unwritten = Some(u16::from_le_bytes([i0, i1])).filter(|idx| *idx != 0);
        sight.exercised(&rules::IMP_SPLIT_07);
        let Some(idx) = avail.read_u16(sight, split::AVAIL_IDX) else { return };
        if idx > size {
            let what = format!("the available index is {idx} when the queue is enabled; it has {size} entries");
            self.ledger.lose(sight, &rules::IMP_SPLIT_07, &what);
        }
    }

    // --- What happens --------------------------------------------------------------------------------------------

    pub(super) fn kicked(&mut self, sight: &mut Sight<'_>, phase: Phase, kick: Kick) -> News {
        if sight.is_concurrent() {
            self.survey(sight, phase, true);
        } else {
            self.poll(sight, phase, false);
        }
        let next = self.next;
        if !self.ledger.lost {
            let needless = if sight.is_concurrent() {
                self.ledger.judge_late_kick(sight, kick, next);
                self.ledger.is_kick_needless()
            } else {
                self.ledger.judge_kick(sight, kick, next, &rules::IMP_NOTIF_01);
                std::mem::take(&mut self.ledger.pending) == Pending::Needless
            };
            if needless {
                let (rule, why) = if self.event_idx {
                    (&rules::VQ_SPLIT_EVT_D_12, format!("avail_event is {}", self.wish))
                } else {
                    (&rules::VQ_SPLIT_EVT_D_08, format!("the used ring's flags are {:#x}", self.wish))
                };
                self.ledger.report(sight, rule, &format!("a kick for an available index of {next}, though {why}"));
            }
        }
        self.ledger.take_news()
    }

    pub(super) fn working(&mut self, sight: &mut Sight<'_>, phase: Phase) -> News {
        if sight.is_concurrent() {
            self.survey(sight, phase, true);
            self.compare_some(sight);
        } else {
            self.poll(sight, phase, false);
        }
        self.ledger.take_news()
    }

    pub(super) fn worked(&mut self, sight: &mut Sight<'_>, phase: Phase) -> News {
        if sight.is_concurrent() {
            self.survey(sight, phase, false);
        } else if !self.ledger.lost && (self.next != self.returned || self.ledger.pending != Pending::Nothing) {
            self.sync(sight, phase);
            self.reconsider(sight);
        }
        self.ledger.take_news()
    }

    pub(super) fn idle(&mut self, sight: &mut Sight<'_>, phase: Phase) -> News {
        if sight.is_concurrent() {
            self.survey(sight, phase, true);
        } else {
            self.poll(sight, phase, false);
        }
        if self.ledger.lost {
            return self.ledger.take_news();
        }
        if self.ledger.is_kick_missing(phase) {
            self.report_missing_kick(sight);
        }
        self.compare_some(sight);
        self.ledger.take_news()
    }

    /// Compares some of the chains in flight with their images.
    fn compare_some(&mut self, sight: &mut Sight<'_>) {
        if self.ledger.lost {
            return;
        }
        for key in self.ledger.in_turn() {
            self.compare(sight, key);
        }
    }

    pub(super) fn barrier(&mut self, barrier: Barrier) {
        self.ledger.fences.barrier(barrier);
    }

    pub(super) fn unmapped(&mut self, sight: &mut Sight<'_>, iova: u64, len: u64) {
        if !self.ledger.lost {
            let areas = [("descriptor table", self.table), ("available ring", self.avail), ("used ring", self.used)];
            self.ledger.unmapped(sight, iova, len, &areas);
        }
    }

    pub(super) fn accessed(&mut self, sight: &mut Sight<'_>, phase: Phase, iova: u64, len: u64, store: bool) -> News {
        // Who stores while others run is not seen in the order in which it happens.
        if self.ledger.lost || sight.is_concurrent() {
            return News::default();
        }
        if !store {
            if let Some((start, end)) = self.used.hit(iova, len) {
                self.loaded(sight, start, end);
                if self.ledger.is_kick_overdue(sight, phase) {
                    self.report_missing_kick(sight);
                }
            }
            return News::default();
        }
        sight.exercised(&rules::IMP_VQ_02);
        if let Some((start, end)) = self.table.hit(iova, len) {
            self.ledger.stores_shown = true;
            for index in start / desc::SIZE..end.div_ceil(desc::SIZE) {
                self.stored_descriptor(sight, index as u16);
            }
        }
        if let Some((start, end)) = self.avail.hit(iova, len) {
            self.ledger.stores_shown = true;
            self.stored_available(sight, phase, start, end);
        }
        if self.used.hit(iova, len).is_some() {
            let what = format!("the driver stored to the used ring, at {iova:#x}");
            self.ledger.report(sight, &rules::IMP_VQ_02, &what);
        }
        self.ledger.take_news()
    }

    // --- The driver's stores and loads ---------------------------------------------------------------------------

    fn stored_descriptor(&mut self, sight: &mut Sight<'_>, index: u16) {
        let epoch = self.ledger.fences.epoch();
        if let Some(stored) = self.stored.get_mut(usize::from(index)) {
            *stored = epoch;
        }
        let head = self.owner.get(usize::from(index)).copied().unwrap_or(FREE);
        if head != FREE {
            self.compare_part(sight, head, index);
        }
    }

    /// Bytes of the available ring were stored, from `start` up to `end`.
    fn stored_available(&mut self, sight: &mut Sight<'_>, phase: Phase, start: u64, end: u64) {
        let epoch = self.ledger.fences.epoch();
        let ring = split::AVAIL_RING;
        let entries = u64::from(self.ledger.setup.size);
        let first = start.saturating_sub(ring) / split::AVAIL_ENTRY;
        let last = end.saturating_sub(ring).div_ceil(split::AVAIL_ENTRY).min(entries);
        for entry in first..last {
            if let Some(stored) = self.entry_stored.get_mut(entry as usize) {
                *stored = epoch;
            }
            self.compare_entry(sight, entry as u16);
        }
        if start < split::AVAIL_IDX + 2 {
            // Flags or index.
            self.poll(sight, phase, end > split::AVAIL_IDX);
        }
    }

    /// Bytes of the used ring were loaded, from `start` up to `end`.
    fn loaded(&mut self, sight: &mut Sight<'_>, start: u64, end: u64) {
        let event = split::USED_RING + u64::from(self.ledger.setup.size) * split::USED_ENTRY;
        let looks_at = |field: u64| start == field && end == field + 2;
        let wish = if self.event_idx { event } else { split::USED_FLAGS };
        if looks_at(wish)
            && let Some(fenced) = self.ledger.fences.looked()
        {
            sight.exercised(&rules::VQ_SPLIT_D_15);
            if !fenced {
                let field = if self.event_idx { "avail_event" } else { "the used ring's flags" };
                let what = format!("{field} loaded without a full barrier since the available index was stored");
                self.ledger.report(sight, &rules::VQ_SPLIT_D_15, &what);
            }
        }
        self.asked_event |= !self.event_idx && looks_at(event);
    }

    // --- What the driver makes available -------------------------------------------------------------------------

    /// Follows the available ring as far as the driver filled it. `stored`: its index was stored just now.
    fn poll(&mut self, sight: &mut Sight<'_>, phase: Phase, stored: bool) {
        if self.ledger.lost {
            return;
        }
        let Some([f0, f1, i0, i1]) = self.avail.read(sight, split::AVAIL_FLAGS) else {
            self.ledger.lost = true;
            return;
        };
        self.judge_flags(sight, u16::from_le_bytes([f0, f1]));
        let idx = u16::from_le_bytes([i0, i1]);
        if idx != self.next {
            self.ledger.judge_phase(sight, phase, stored);
            self.follow(sight, idx, stored);
        }
        self.ledger.note_phase(sight, phase);
    }

    fn judge_flags(&mut self, sight: &mut Sight<'_>, flags: u16) {
        let (rule, most) = if self.event_idx {
            (&rules::VQ_SPLIT_EVT_D_03, 0)
        } else {
            (&rules::VQ_SPLIT_EVT_D_01, split::AVAIL_NO_INTERRUPT)
        };
        sight.exercised(rule);
        if self.avail_flags != Some(flags) && flags > most {
            self.ledger.report(sight, rule, &format!("the available ring's flags are {flags:#x}"));
        }
        self.avail_flags = Some(flags);
    }

    fn follow(&mut self, sight: &mut Sight<'_>, idx: u16, stored: bool) {
        let (size, old) = (self.ledger.setup.size, self.next);
        let new = idx.wrapping_sub(old);
        sight.exercised(&rules::VQ_SPLIT_D_08);
        if new > size {
            let what = format!("the available index went from {old} to {idx}; the queue has {size} entries");
            return self.ledger.lose(sight, &rules::VQ_SPLIT_D_08, &what);
        }
        if u32::from(new) + self.ledger.chains.live().len() as u32 > u32::from(size) {
            // The device may have given some back on another occasion.
            self.give_back(sight);
        }
        let held = self.ledger.chains.live().len();
        sight.exercised(&rules::IMP_SPLIT_09);
        if u32::from(new) + held as u32 > u32::from(size) {
            let what =
                format!("{new} chains were made available while the device holds {held}; there are {size} descriptors");
            return self.ledger.lose(sight, &rules::IMP_SPLIT_09, &what);
        }
        let mut unfenced = None;
        while self.next != idx && !self.ledger.lost {
            self.expose(sight, stored, &mut unfenced);
            self.next = self.next.wrapping_add(1);
            if self.next & (size - 1) == 0 {
                sight.cover(Coverage::RingWrapped);
            }
        }
        if self.ledger.lost {
            return;
        }
        if self.ledger.is_full() {
            sight.cover(Coverage::RingFull);
        }
        if stored {
            sight.exercised(&rules::VQ_SPLIT_D_14);
            if let Some(what) = unfenced {
                let what = format!("{what} was stored without a write barrier before the available index ({idx})");
                self.ledger.report(sight, &rules::VQ_SPLIT_D_14, &what);
            }
            self.ledger.fences.published();
        }
        self.asked_event = false;
        let wanted = self.wanted(sight, old);
        self.note_wish(sight, wanted);
        if self.ledger.pending.published(wanted) {
            self.owed_from = old;
            self.ledger.owed_since = sight.now();
            self.ledger.owed_place = sight.place();
        }
    }

    // --- Kicks ---------------------------------------------------------------------------------------------------

    /// Whether the device wants a kick for the entries from `old` on.
    fn wanted(&mut self, sight: &mut Sight<'_>, old: u16) -> Option<bool> {
        if !self.event_idx {
            self.wish = self.used.read_u16(sight, split::USED_FLAGS)?;
            return Some(self.wish & split::USED_NO_NOTIFY == 0);
        }
        let event = split::USED_RING + u64::from(self.ledger.setup.size) * split::USED_ENTRY;
        self.wish = self.used.read_u16(sight, event)?;
        // The entry that is named lies among those just filled.
        let filled = self.next.wrapping_sub(old);
        let behind = self.next.wrapping_sub(self.wish).wrapping_sub(1);
        // The first of them, or the last before them.
        if behind.wrapping_add(1) == filled || behind == filled {
            sight.cover(Coverage::EventEdge);
        }
        Some(behind < filled)
    }

    /// Notes which rules a publication puts to the test.
    fn note_wish(&self, sight: &mut Sight<'_>, wanted: Option<bool>) {
        match (wanted, self.event_idx) {
            (Some(true), false) => {
                sight.exercised(&rules::VQ_SPLIT_EVT_D_07);
                sight.exercised(&rules::VQ_SPLIT_EVT_D_09);
            }
            (Some(true), true) => {
                sight.exercised(&rules::VQ_SPLIT_EVT_D_11);
                if self.used_flags & split::USED_NO_NOTIFY != 0 {
                    sight.exercised(&rules::VQ_SPLIT_EVT_D_10);
                }
            }
            (Some(false), false) => sight.exercised(&rules::VQ_SPLIT_EVT_D_08),
            (Some(false), true) => sight.exercised(&rules::VQ_SPLIT_EVT_D_12),
            (None, _) => {}
        }
    }

    /// The device may want something else now.
    fn reconsider(&mut self, sight: &mut Sight<'_>) {
        if matches!(self.ledger.pending, Pending::Nothing | Pending::Unsure) {
            return;
        }
        let before = self.wish;
        let wanted = self.wanted(sight, self.owed_from);
        if self.wish != before {
            self.ledger.pending.changed(wanted);
        }
    }

    fn report_missing_kick(&mut self, sight: &mut Sight<'_>) {
        let (next, wish) = (self.next, self.wish);
        let (rule, why) = match (self.event_idx, self.asked_event) {
            (false, true) => {
                (&rules::VQ_SPLIT_EVT_D_07, "the used ring's flags are 0, and avail_event means nothing".into())
            }
            (false, false) => (&rules::VQ_SPLIT_EVT_D_09, "the used ring's flags are 0".into()),
            (true, _) if self.used_flags & split::USED_NO_NOTIFY != 0 => {
                (&rules::VQ_SPLIT_EVT_D_10, format!("avail_event is {wish}, and the used ring's flags mean nothing"))
            }
            (true, _) => (&rules::VQ_SPLIT_EVT_D_11, format!("avail_event is {wish}")),
        };
        let what = format!("no kick after the available index went from {} to {next}; {why}", self.owed_from);
        self.ledger.report_at(sight, rule, &what, self.ledger.owed_place);
    }
}
