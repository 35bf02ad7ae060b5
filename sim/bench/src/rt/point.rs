//! Points: the places where devices work, interrupts arrive, timers fire and tasks are pre-empted.

use bringup_core::choice::Point;
use bringup_core::finding::Moment;
use bringup_core::trace::{Digest, Event};
use bringup_core::{Coverage, DeviceId, Finding, Nanos};

use crate::irq::{Freed, Source};
use crate::machine::{Callback, Machine, TimerEvent, try_with, with};
use crate::task::{self, Wake};
use crate::{rt, rules};

/// What an interrupt's way into its handler costs, in virtual nanoseconds.
const IRQ_ENTRY: u64 = 300;

/// How often in a row a due thing may be put off by choice. A bound, so that no stream starves a driver that waits for it.
const MOST_DEFERRALS: u8 = 24;

/// For how long the processor may stand still until a device is due, in virtual nanoseconds, as a virtual one does whose host is
/// busy; …
const MOST_STALL: Nanos = 100_000_000;

/// … how often that may be long in a life; …
const MOST_LONG_STALLS: u8 = 4;

/// … and until a timer is, or when it was long too often: longer, and drivers are right to give up.
const MOST_SHORT_STALL: Nanos = 2_000_000;

/// How often in a row an asserted line may go unclaimed. Linux waits for 99,900 of 100,000; the outcome is the same.
const MOST_UNHANDLED: u32 = 100;

/// How often a device may work without any time passing.
const MOST_WORK: u32 = 100_000;

enum Due {
    Irq(u32),
    Timer { key: usize, callback: Callback },
    Work { key: usize },
}

/// Lets happen what is due here, as the chooser says. Nothing outside a task.
#[inline]
pub fn point() {
    try_with(Machine::at_point).unwrap_or(AtPoint::GoOn).pass();
}

/// Lets a moment of the processor's time pass, and then is a point; nothing outside a task, and in a life that has crashed.
#[inline]
pub(crate) fn point_after(span: Nanos) {
    let at = try_with(|m| {
        if m.crashed || m.tasks.current.is_none() {
            return AtPoint::GoOn;
        }
        m.bus.fabric.advance(span);
        m.at_point()
    });
    at.unwrap_or(AtPoint::GoOn).pass();
}

/// What is to happen at a point, once the machine is free to be used.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AtPoint {
    GoOn,
    /// Something is due.
    Deliver,
    /// Another task goes on.
    Yield,
}

impl AtPoint {
    /// Lets it happen.
    #[inline]
    pub(crate) fn pass(self) {
        match self {
            Self::GoOn => {}
            Self::Deliver => deliver(false),
            Self::Yield => task::yield_now(),
        }
    }
}

/// Lets everything that is due happen: nothing else runs.
pub(crate) fn idle_point() {
    deliver(true);
}

/// What comes next at a point.
enum Step {
    LockedUp,
    Do(Due),
    Yield,
    GoOn,
}

#[cold]
pub(crate) fn deliver(idle: bool) {
    let mut put_off = (false, false);
    loop {
        let step = with(|m| {
            if m.is_locked_up() {
                return Step::LockedUp;
            }
            match m.next_due(idle, &mut put_off) {
                Some(due) => Step::Do(due),
                None if !idle && m.preempts_here() => Step::Yield,
                None => Step::GoOn,
            }
        });
        match step {
            Step::LockedUp => locked_up(),
            Step::Do(Due::Irq(irq)) => rt::irq::handle(irq),
            Step::Do(Due::Timer { key, callback }) => rt::time::fire(key, callback),
            Step::Do(Due::Work { key }) => rt::work::start(key),
            Step::Yield => return task::yield_now(),
            Step::GoOn => return,
        }
    }
}

/// Reports a task that never sleeps and ends it.
fn locked_up() -> ! {
    with(|m| {
        let now = m.now();
        let Some(task) = m.tasks.running() else { return };
        let (span, operations) = (now.saturating_sub(task.busy_since), task.busy_operations);
        let place = m.last_place;
        let how_long = format!("no sleep for {} virtual milliseconds and {operations} operations", span / 1_000_000);
        let run = m.stats.switches;
        // What it waits for is what it reads again and again.
        if let Some(word) = m.heard.most_read(run).filter(|word| word.times > operations / 8) {
            let what = format!("{} read {} times in a row, and {how_long}", word.origin, word.times);
            let finding = Finding::new(&rules::SPIN_WITHOUT_BOUND, what).at_place(Some(word.place));
            m.report_explained(finding.note(format!("it last read as {:#x}", word.value)));
        } else {
            m.report_explained(Finding::new(&rules::WATCHDOG_LOCKUP, how_long).at_place(place));
        }
    });
    task::die();
}

impl Machine {
    /// What is to be done at a point. Takes the choice whether to go on, if that is all there is to choose.
    #[inline]
    pub(crate) fn at_point(&mut self) -> AtPoint {
        if self.crashed || self.tasks.current.is_none() {
            return AtPoint::GoOn;
        }
        // The processor has come one step further.
        self.bus.fabric.choices.history.cpu(1);
        self.bus.land_some();
        if self.is_locked_up() || self.something_is_due() || self.stalls_here() {
            AtPoint::Deliver
        } else if self.preempts_here() {
            AtPoint::Yield
        } else {
            AtPoint::GoOn
        }
    }

    /// Whether a device, a timer or an interrupt is due.
    #[inline]
    pub(crate) fn something_is_due(&mut self) -> bool {
        if self.crashed {
            return false;
        }
        let now = self.now();
        self.bus.has_messages()
            || self.next_event().is_some_and(|at| at <= now)
            || (self.interrupts_enabled() && self.deliverable().is_some())
    }

    /// Whether the processor stands still here until something is due, as the chooser says; then it has.
    #[inline]
    fn stalls_here(&mut self) -> bool {
        !self.bus.fabric.choices.is_quiet() && self.chooses_to_stall()
    }

    fn chooses_to_stall(&mut self) -> bool {
        let (now, device, timer) = (self.now(), self.bus.next_event(), self.timers.next_at());
        let to_device = device.is_some_and(|at| timer.is_none_or(|timer| at < timer));
        let most = if to_device && self.long_stalls < MOST_LONG_STALLS { MOST_STALL } else { MOST_SHORT_STALL };
        let next = device.into_iter().chain(timer).min();
        let Some(span) = next.map(|at| at.saturating_sub(now)).filter(|span| *span <= most) else { return false };
        self.note_ahead();
        let who = self.bus.next_to_wake().map_or(u32::MAX, |id| id.0.into());
        let actors = [who, self.tasks.current.map_or(0, |task| task.0)];
        let stalls = self.bus.fabric.choices.choose_among(Point::Stall, 2, &actors) == 1;
        if stalls {
            self.long_stalls += u8::from(span > MOST_SHORT_STALL);
            self.bus.fabric.advance(span);
        }
        stalls
    }

    /// Tells the history of this life, if there is one, what is going to happen by itself.
    #[inline]
    pub(crate) fn note_ahead(&mut self) {
        if self.bus.fabric.choices.history.is_on() {
            self.digest_ahead();
        }
    }

    #[cold]
    fn digest_ahead(&mut self) {
        let now = self.now();
        let mut ahead: Vec<(Nanos, u64)> = self.bus.wakes().map(|(id, at)| (at, u64::from(id.0))).collect();
        ahead.extend(self.timers.iter().map(|(_, at, event)| {
            let kind = match event {
                TimerEvent::Task(_) => 1,
                TimerEvent::Hr { .. } => 2,
                TimerEvent::Work { .. } => 3,
            };
            (at, kind << 32)
        }));
        // Equal moments in the order in which they were set, as they will be met.
        ahead.sort_by_key(|(at, _)| *at);
        let mut digest = Digest::default();
        for (at, what) in ahead {
            digest.fold(what << 1 | u64::from(at <= now));
        }
        self.bus.fabric.choices.history.ahead(digest.value());
    }

    /// Whether the running task (or, between tasks, the processor) takes interrupts.
    pub(crate) fn interrupts_enabled(&mut self) -> bool {
        self.irqs.depth() == 0 && self.tasks.running().is_none_or(|task| task.irqs_off == 0)
    }

    /// The lowest irq that may be delivered now.
    #[inline]
    pub(crate) fn deliverable(&self) -> Option<u32> {
        if self.irqs.pending == 0 && !self.bus.has_pins() {
            return None;
        }
        self.find_deliverable()
    }

    fn find_deliverable(&self) -> Option<u32> {
        self.irqs.descs.iter().find_map(|(irq, desc)| {
            if desc.disabled != 0 || desc.handlers.is_empty() || desc.running != 0 {
                return None;
            }
            let pending = match desc.source {
                Source::Message { .. } => desc.pending != 0,
                Source::Line => self.line_is_asserted(*irq),
            };
            pending.then_some(*irq)
        })
    }

    pub(crate) fn line_is_asserted(&self, irq: u32) -> bool {
        self.bus.devices().any(|id| self.line_of(id) == Some(irq) && self.bus.intx(id))
    }

    pub(crate) fn line_of(&self, id: DeviceId) -> Option<u32> {
        self.devices[usize::from(id.0)].line
    }

    /// A device raises an interrupt whose handler was taken back.
    #[cold]
    fn after_free(&mut self, device: DeviceId, irq: u32, freed: &Freed) {
        if self.bus.fabric.is_faulted(device) {
            return;
        }
        let name = self.device_name(device);
        let (handler, place) = (freed.name, freed.place);
        let what = format!("{name} raised irq {irq} after handler \"{handler}\" was taken back");
        let freed = format!("it was taken back at {}", Moment(freed.at));
        let finding = Finding::new(&rules::IRQ_AFTER_FREE, what).at_place(Some(place)).on_device(name).note(freed);
        self.report(finding);
    }

    /// Whether an interrupt waits to be delivered.
    pub(crate) fn is_raised(&mut self, irq: u32) -> bool {
        self.take_messages();
        match self.irqs.descs.get(&irq) {
            Some(desc) if desc.source == Source::Line => self.line_is_asserted(irq),
            Some(desc) => desc.pending > 0,
            None => false,
        }
    }

    /// Moves messages that left their devices to the irqs they name.
    pub(crate) fn take_messages(&mut self) {
        let accesses = self.bar_accesses;
        while let Some(message) = self.bus.take_message() {
            // The data that was programmed into the device is the irq number.
            let Some(desc) = self.irqs.descs.get_mut(&message.data) else {
                let name = self.device_name(message.device);
                let what = format!("{name} sent a message (data {:#x}) to which no irq belongs", message.data);
                if !self.bus.fabric.is_faulted(message.device) {
                    let state = self.device(message.device);
                    let let_go = state.was_bound && state.binding.is_none();
                    let rule = if let_go { &rules::DEVICE_STILL_RUNNING } else { &rules::IRQ_UNHANDLED };
                    self.report(Finding::new(rule, what).on_device(name));
                }
                continue;
            };
            if let Some(freed) = desc.freed
                && desc.handlers.is_empty()
            {
                self.after_free(message.device, message.data, &freed);
                continue;
            }
            if let Some(slot) = desc.stamps.get_mut(usize::from(desc.pending)) {
                *slot = message.stamp;
                if desc.pending == 0 {
                    desc.raised_at = accesses;
                }
                desc.pending += 1;
                self.irqs.pending += 1;
            }
            if desc.pending > 1 {
                // Whether messages merge depends on when the processor took the others.
                self.bus.fabric.choices.history.cpu(2);
                self.bus.fabric.cover(Coverage::InterruptMerged);
            }
        }
    }

    fn put_off(count: &mut u8, answer: u32) -> bool {
        let put_off = answer != 0 && *count < MOST_DEFERRALS;
        *count = if put_off { *count + 1 } else { 0 };
        put_off
    }

    fn next_due(&mut self, idle: bool, put_off: &mut (bool, bool)) -> Option<Due> {
        let mut worked = 0;
        loop {
            if self.crashed {
                return None;
            }
            if !put_off.0
                && let Some(id) = self.bus.due_device()
            {
                self.note_ahead();
                let running = self.tasks.current.map_or(0, |task| task.0);
                let actors = [u32::from(id.0), running];
                let answer = if idle { 0 } else { self.bus.fabric.choices.choose_among(Point::Device, 2, &actors) };
                if Self::put_off(&mut self.device_deferrals, answer) {
                    put_off.0 = true;
                } else {
                    if self.irqs.depth() > 0 {
                        self.bus.fabric.cover(Coverage::DeviceInHandler);
                    }
                    self.bus.work(id);
                    worked += 1;
                    if worked == MOST_WORK {
                        self.runaway(id);
                        return None;
                    }
                    continue;
                }
            }
            if self.bus.arrive() {
                continue;
            }
            self.take_messages();
            if !self.interrupts_enabled() {
                return None;
            }
            let now = self.now();
            match self.timers.pop_due(now) {
                Some((_, TimerEvent::Task(id))) => {
                    self.bus.fabric.choices.history.cpu(9);
                    self.make_runnable(id, Wake::TimedOut);
                    continue;
                }
                Some((_, TimerEvent::Work { key })) => return Some(Due::Work { key }),
                Some((_, TimerEvent::Hr { key, callback })) => return Some(Due::Timer { key, callback }),
                None => {}
            }
            if put_off.1 {
                return None;
            }
            let irq = self.deliverable()?;
            self.note_ahead();
            let actors = [irq, self.tasks.current.map_or(0, |task| task.0)];
            let answer = if idle { 0 } else { self.bus.fabric.choices.choose_among(Point::Interrupt, 2, &actors) };
            if Self::put_off(&mut self.irq_deferrals, answer) {
                put_off.1 = true;
                continue;
            }
            return Some(Due::Irq(irq));
        }
    }

    fn runaway(&mut self, id: DeviceId) {
        let name = self.device_name(id);
        let what = format!("{name} worked {MOST_WORK} times without any time passing");
        self.report(Finding::new(&bringup_core::rules::WATCHDOG_DEVICE, what).on_device(name));
        self.crashed = true;
    }

    /// Books the outcome of one delivery; says when nobody cares.
    pub(crate) fn book_irq(&mut self, irq: u32, claimed: bool) {
        let faulted = self.bus.devices().any(|id| {
            self.bus.fabric.is_faulted(id) && (self.line_of(id) == Some(irq) || self.message_device(irq) == Some(id))
        });
        let Some(desc) = self.irqs.descs.get_mut(&irq) else { return };
        desc.delivered += 1;
        if claimed {
            desc.claimed += 1;
            (desc.unhandled, desc.early) = (0, false);
            return;
        }
        desc.excused += u64::from(desc.seen_to);
        desc.unhandled += 1;
        self.bus.fabric.seen.add(Coverage::InterruptSpurious);
        if desc.unhandled != MOST_UNHANDLED {
            return;
        }
        desc.disabled += 1;
        let names: Vec<&str> = desc.handlers.iter().map(|h| h.name).collect();
        let place = desc.handlers.first().map(|h| h.place);
        let what = format!(
            "irq {irq}: nobody cared: {MOST_UNHANDLED} interrupts in a row were not handled by {}",
            names.join(", ")
        );
        let early = desc.early;
        self.log_line(0, format!("irq {irq}: nobody cared"));
        if !faulted {
            self.find(if early { &rules::IRQ_BEFORE_READY } else { &rules::IRQ_UNHANDLED }, what, place);
        }
    }

    pub(crate) fn message_device(&self, irq: u32) -> Option<DeviceId> {
        match self.irqs.descs.get(&irq)?.source {
            Source::Message { device, .. } => Some(device),
            Source::Line => None,
        }
    }

    /// Enters interrupt context.
    pub(crate) fn enter_irq(&mut self) {
        self.irqs.enter();
        self.bus.fabric.choices.history.cpu(3);
        self.bus.fabric.advance(IRQ_ENTRY);
        self.stats.interrupts += 1;
        // Every run of a handler is a context of its own; the upper half of the numbers is theirs.
        self.handlers = self.handlers.wrapping_add(1);
        let outer = self.bus.fabric.order.set_context(self.handlers | 1 << 31);
        self.interrupted.push(outer);
    }

    /// Leaves interrupt context.
    pub(crate) fn leave_irq(&mut self) {
        self.irqs.leave();
        if let Some(outer) = self.interrupted.pop() {
            self.bus.fabric.order.set_context(outer);
        }
    }

    pub(crate) fn irq_event(&mut self, event: impl FnOnce() -> Event) {
        self.event(event);
    }
}
