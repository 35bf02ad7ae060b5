//! What a follower keeps of its queue whatever the layout, and the checks that both layouts share.

use bringup_core::{Finding, Nanos, Place, Rule, Sight};
use bringup_spec::virtio::feature;
use vm_memory::Permissions;

use super::chain::Chains;
use super::memory::describe;
use super::{Area, Chain, Credit, Element, Exposed, Fences, Kick, News, Pending, Phase, Returned, Setup};
use crate::virtio::rules::ring as rules;

/// How many of the chains in flight are compared with their images each time the machine is idle.
const COMPARED: usize = 4;
/// How many vectors of elements are kept for new chains.
const MOST_SPARE: usize = 1024;
/// For how long a driver that waits for the device without ever resting may owe a kick, in virtual nanoseconds: there is no
/// deadline in the specification, and nobody means to be this late.
const OVERDUE: Nanos = 10_000_000;

/// What a follower keeps of its queue.
#[derive(Debug)]
pub(in crate::virtio) struct Ledger {
    pub(in crate::virtio) setup: Setup,
    pub(in crate::virtio) chains: Chains,
    pub(in crate::virtio) pending: Pending,
    /// Since when a kick is owed, if one is.
    pub(in crate::virtio) owed_since: Nanos,
    /// The line that showed the device what the kick is owed for, if it was seen to.
    pub(in crate::virtio) owed_place: Option<Place>,
    pub(in crate::virtio) credit: Credit,
    pub(in crate::virtio) fences: Fences,
    /// It cannot be told which chains the device holds, until it holds none: only where processors run while devices work.
    pub(in crate::virtio) blurred: bool,
    /// The ring cannot be followed any more, until it is set up anew.
    pub(in crate::virtio) lost: bool,
    /// The CPU's stores are shown: what they change is seen at once.
    pub(in crate::virtio) stores_shown: bool,
    /// How many elements the device takes in one chain, if its type says so.
    pub(in crate::virtio) limit: Option<u32>,
    /// What the last kick rightly carried.
    last_kick: Option<u16>,
    /// Chains were made available since.
    fresh: bool,
    /// SUSPEND was set already when the queue was looked at last.
    suspended: bool,
    news: News,
    spare: Vec<Vec<Element>>,
}

impl Ledger {
    pub(in crate::virtio) fn new(setup: Setup) -> Self {
        Self {
            setup,
            chains: Chains::new(setup.size),
            pending: Pending::default(),
            owed_since: 0,
            owed_place: None,
            credit: Credit::default(),
            fences: Fences::default(),
            blurred: false,
            lost: false,
            stores_shown: false,
            limit: None,
            last_kick: None,
            fresh: false,
            suspended: false,
            news: News::default(),
            spare: Vec::new(),
        }
    }

    pub(super) fn limit(&mut self, elements: u32) {
        self.limit = Some(elements);
    }

    // --- News --------------------------------------------------------------------------------------------------

    pub(in crate::virtio) fn take_news(&mut self) -> News {
        if self.news.is_empty() {
            return News::default();
        }
        std::mem::take(&mut self.news)
    }

    pub(super) fn recycle(&mut self, mut news: News) {
        let exposed = news.exposed.drain(..).map(|chain| chain.elements);
        let elements = exposed.chain(news.returned.drain(..).map(|chain| chain.elements));
        for mut elements in elements {
            if elements.capacity() != 0 && self.spare.len() < MOST_SPARE {
                elements.clear();
                self.spare.push(elements);
            }
        }
        if self.news.is_empty() {
            news.missed = false;
            self.news = news;
        }
    }

    /// Chains were made available and came back unseen.
    pub(in crate::virtio) fn missed(&mut self) {
        self.news.missed = true;
    }

    /// It cannot be told any more which chains the device holds.
    pub(in crate::virtio) fn blur(&mut self) {
        self.blurred = true;
        self.chains.clear();
        self.missed();
    }

    // --- Findings ----------------------------------------------------------------------------------------------

    pub(in crate::virtio) fn report(&self, sight: &mut Sight<'_>, rule: &'static Rule, what: &str) {
        self.report_at(sight, rule, what, None);
    }

    /// Reports what a line of the driver's did that is known from before.
    pub(in crate::virtio) fn report_at(
        &self,
        sight: &mut Sight<'_>,
        rule: &'static Rule,
        what: &str,
        place: Option<Place>,
    ) {
        sight.exercised(rule);
        sight.report(Finding::new(rule, format!("queue {}: {what}", self.setup.index)).at_place(place));
    }

    /// Reports what makes the ring impossible to follow.
    pub(in crate::virtio) fn lose(&mut self, sight: &mut Sight<'_>, rule: &'static Rule, what: &str) {
        self.report(sight, rule, what);
        self.lost = true;
    }

    // --- Set-up ------------------------------------------------------------------------------------------------

    /// Checks the alignment of a part of the queue.
    pub(in crate::virtio) fn aligned(
        &self,
        sight: &mut Sight<'_>,
        rule: &'static Rule,
        part: &str,
        area: &Area,
        align: u64,
    ) {
        sight.exercised(rule);
        if !area.base().is_multiple_of(align) {
            self.report(sight, rule, &format!("{part} at {:#x}, which is no multiple of {align}", area.base()));
        }
    }

    /// Checks that the device can reach a part of the queue; has it watched if so.
    pub(in crate::virtio) fn reachable(
        &mut self,
        sight: &mut Sight<'_>,
        rule: &'static Rule,
        part: &str,
        area: &Area,
        access: Permissions,
    ) {
        sight.exercised(rule);
        match sight.fault(area.base(), area.len(), access) {
            None => sight.watch_memory(area.base(), area.len()),
            Some(fault) => {
                let what = format!("{part} at {:#x} +{:#x}: {}", area.base(), area.len(), describe(&fault));
                self.lose(sight, rule, &what);
            }
        }
    }

    // --- Chains ------------------------------------------------------------------------------------------------

    /// A chain to fill.
    pub(in crate::virtio) fn blank(&mut self, key: u16) -> Chain {
        let mut chain = self.chains.blank(key);
        if chain.elements.capacity() == 0 {
            chain.elements = self.spare.pop().unwrap_or_default();
        }
        chain
    }

    /// The rule by which addresses must lead to memory of the device's.
    pub(in crate::virtio) fn reach_rule(&self) -> &'static Rule {
        if self.setup.has(feature::ACCESS_PLATFORM) { &rules::RSVD_D_04 } else { &rules::RSVD_D_05 }
    }

    /// Checks that the device can reach what a chain names.
    pub(in crate::virtio) fn reaches(&self, sight: &mut Sight<'_>, id: u16, what: &str, element: &Element) -> bool {
        let rule = self.reach_rule();
        sight.exercised(rule);
        if element.len == 0 {
            return true;
        }
        let access = if element.writable { Permissions::Write } else { Permissions::Read };
        let Some(fault) = sight.fault(element.address, u64::from(element.len), access) else { return true };
        let verb = if element.writable { "write" } else { "read" };
        let text = format!(
            "chain {id}: {what} at {:#x} +{:#x}, for the device to {verb}: {}",
            element.address,
            element.len,
            describe(&fault)
        );
        self.report(sight, rule, &text);
        false
    }

    /// Checks the elements of a whole chain.
    pub(in crate::virtio) fn judge(
        &self,
        sight: &mut Sight<'_>,
        chain: &Chain,
        order: &'static Rule,
        total: Option<&'static Rule>,
    ) {
        sight.exercised(order);
        let mut writable = false;
        let mut bytes = 0_u64;
        let mut disordered = false;
        for element in &chain.elements {
            disordered |= writable && !element.writable;
            writable |= element.writable;
            bytes = bytes.saturating_add(u64::from(element.len));
            self.reaches(sight, chain.id, "an element", element);
        }
        if disordered {
            self.report(sight, order, &format!("chain {}: a readable element follows a writable one", chain.id));
        }
        if let Some(total) = total {
            sight.exercised(total);
            if bytes > 1 << 32 {
                self.report(sight, total, &format!("chain {}: {bytes:#x} bytes in all", chain.id));
            }
        }
    }

    /// The chain is the device's from now on. Without its elements if it could not be followed.
    pub(in crate::virtio) fn launch(&mut self, key: u16, mut chain: Chain, sound: bool) {
        if !sound {
            chain.elements.clear();
        }
        let mut elements = if sound { self.spare.pop().unwrap_or_default() } else { Vec::new() };
        elements.extend_from_slice(&chain.elements);
        self.news.exposed.push(Exposed { id: chain.id, elements });
        self.chains.launch(key, chain);
        self.fresh = true;
    }

    /// Whether the device holds all of the queue's descriptors (of a split queue).
    pub(in crate::virtio) fn is_full(&self) -> bool {
        let (live, size) = (self.chains.live(), usize::from(self.setup.size));
        // Chains are short: a queue is only counted when it can be full.
        live.len() == size
            || (live.len() * 4 >= size
                && live.iter().filter_map(|key| self.chains.get(*key)).map(|chain| chain.parts.len()).sum::<usize>()
                    >= size)
    }

    /// The chain is the driver's again. `written` is what the device says; `None` if it stands for all of the writable part.
    pub(in crate::virtio) fn land(&mut self, key: u16, written: Option<u32>) {
        let Some(chain) = self.chains.land(key) else { return };
        let elements = std::mem::take(&mut chain.elements);
        let written = written.unwrap_or_else(|| {
            let writable = elements.iter().filter(|element| element.writable);
            writable.fold(0_u32, |sum, element| sum.saturating_add(element.len))
        });
        self.news.returned.push(Returned { id: chain.id, elements, written });
    }

    /// Compares an indirect table with its image.
    pub(in crate::virtio) fn compare_table(&mut self, sight: &mut Sight<'_>, key: u16) {
        let Some(chain) = self.chains.get_mut(key) else { return };
        let (Some((address, _)), false) = (chain.table, chain.image.is_empty()) else { return };
        let mut at = address;
        let mut changed = None;
        // Piece by piece, so that nothing need be allocated; the whole was mapped when it was taken.
        for image in chain.image.chunks_mut(64) {
            let mut piece = [0; 64];
            let Some(now) = piece.get_mut(..image.len()) else { return };
            if !sight.peek(at, now) {
                return;
            }
            if now != image {
                changed = changed.or(Some(at));
                image.copy_from_slice(now);
            }
            at = at.saturating_add(64);
        }
        let id = chain.id;
        sight.exercised(&rules::CLEANUP_D_01);
        if let Some(at) = changed {
            let what =
                format!("chain {id}: its table at {address:#x} changed, near {at:#x}, while the device holds it");
            self.report(sight, &rules::CLEANUP_D_01, &what);
        }
    }

    /// The chains in flight whose turn it is to be compared with their images.
    pub(in crate::virtio) fn in_turn(&mut self) -> impl Iterator<Item = u16> + use<> {
        let count = self.chains.live().len().min(COMPARED);
        let mut keys = [None; COMPARED];
        for key in keys.iter_mut().take(count) {
            *key = self.chains.next_in_turn();
        }
        keys.into_iter().flatten()
    }

    /// Memory was unmapped: none of a chain in flight or of the queue itself may be in it.
    pub(in crate::virtio) fn unmapped(&mut self, sight: &mut Sight<'_>, iova: u64, len: u64, areas: &[(&str, Area)]) {
        let rule = &rules::CLEANUP_D_02;
        sight.exercised(rule);
        for (part, area) in areas {
            if area.hit(iova, len).is_some() {
                let what = format!("the {part} was unmapped ({iova:#x} +{len:#x}) while the queue is live");
                return self.lose(sight, rule, &what);
            }
        }
        let gone = |at: u64, of: u64| Area::new(iova, len).hit(at, of).is_some();
        let mut found = self.chains.live().iter().filter_map(|key| self.chains.get(*key)).filter(|chain| {
            chain.table.is_some_and(|(at, of)| gone(at, u64::from(of)))
                || chain.elements.iter().any(|element| gone(element.address, u64::from(element.len)))
        });
        if let Some(chain) = found.next() {
            let what =
                format!("memory of chain {} was unmapped ({iova:#x} +{len:#x}) while the device holds it", chain.id);
            self.report(sight, rule, &what);
        }
    }

    // --- Kicks and phases --------------------------------------------------------------------------------------

    /// Checks what a kick carries with NOTIFICATION_DATA against the queue's next place.
    pub(in crate::virtio) fn judge_kick(&mut self, sight: &mut Sight<'_>, kick: Kick, next: u16, wrong: &'static Rule) {
        let fresh = std::mem::take(&mut self.fresh);
        if !self.setup.has(feature::NOTIFICATION_DATA) || kick.width != 4 {
            return;
        }
        let got = (kick.value >> 16) as u16;
        sight.exercised(wrong);
        if !fresh {
            sight.exercised(&rules::IMP_NOTIF_03);
        }
        let last = self.last_kick.take();
        if got == next {
            self.last_kick = Some(next);
            return;
        }
        let what = format!("a kick carries {got:#06x}; the next place is {next:#06x}");
        let rule = if !fresh && last == Some(next) { &rules::IMP_NOTIF_03 } else { wrong };
        self.report(sight, rule, &what);
    }

    /// As [`judge_kick`](Self::judge_kick) where processors run while devices work. The kick may carry the place of some time ago, when
    /// others have made more available since; it cannot carry one that nobody has reached yet. (Split queues only: their places do
    /// not come again soon.)
    pub(in crate::virtio) fn judge_late_kick(&mut self, sight: &mut Sight<'_>, kick: Kick, next: u16) {
        let got = (kick.value >> 16) as u16;
        let ahead = got.wrapping_sub(next);
        if (1..=self.setup.size).contains(&ahead) {
            return self.judge_kick(sight, kick, next, &rules::IMP_NOTIF_01);
        }
        self.judge_kick(sight, Kick { value: u32::from(next) << 16, ..kick }, next, &rules::IMP_NOTIF_01);
    }

    /// A kick came where processors run while devices work. Whether it is needless.
    pub(in crate::virtio) fn is_kick_needless(&mut self) -> bool {
        let pending = std::mem::take(&mut self.pending);
        !self.credit.take() && pending == Pending::Needless
    }

    /// Chains were seen that became available: right now (`stored`), or some time since the queue was looked at last.
    pub(in crate::virtio) fn judge_phase(&self, sight: &mut Sight<'_>, phase: Phase, stored: bool) {
        if phase.suspended && (stored || self.suspended) {
            self.report(sight, &rules::SUSPEND_D_03, "a chain was made available after SUSPEND was set");
        }
    }

    /// The queue was looked at.
    pub(in crate::virtio) fn note_phase(&mut self, sight: &mut Sight<'_>, phase: Phase) {
        if self.suspended && phase.suspended {
            sight.exercised(&rules::SUSPEND_D_03);
        }
        self.suspended = phase.suspended;
    }

    /// Whether an owed kick is to be called missing though the machine does not rest: the driver looks at what the device has done,
    /// and has for so long that it cannot mean to kick.
    pub(in crate::virtio) fn is_kick_overdue(&mut self, sight: &Sight<'_>, phase: Phase) -> bool {
        self.pending == Pending::Owed
            && sight.now().saturating_sub(self.owed_since) > OVERDUE
            && self.is_kick_missing(phase)
    }

    /// Whether an owed kick is to be called missing: the device works, and nothing goes on. It is called so once.
    pub(in crate::virtio) fn is_kick_missing(&mut self, phase: Phase) -> bool {
        let works = phase.driver_ok && !phase.suspended && !phase.broken;
        let missing = works && self.pending == Pending::Owed;
        if missing {
            self.pending = Pending::Nothing;
        }
        missing
    }
}
