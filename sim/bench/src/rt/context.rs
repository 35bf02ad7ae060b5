//! Contexts: pre-emption, interrupts on and off, and what kind of context the caller is in.

use std::panic::Location;

pub use bringup_core::{Barrier, Reach};

use super::point::AtPoint;
use crate::machine::{Machine, try_with};

/// What a barrier, and opening a section that was closed to interrupts or other tasks, costs in virtual nanoseconds: a loop
/// of nothing else must get somewhere.
const STEP: u64 = 5;

/// What kind of context the caller runs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Context {
    /// No task of a bench runs: the test itself.
    Outside,
    /// A process, work item or threaded handler that may sleep.
    Process,
    /// A task that may not sleep: a spinlock is held, or pre-emption or interrupts are off.
    Atomic,
    /// A hard interrupt handler or a timer's callback.
    HardIrq,
}

/// The caller's context.
#[must_use]
pub fn context() -> Context {
    try_with(Machine::context).unwrap_or(Context::Outside)
}

impl Machine {
    /// The context of whoever runs.
    #[inline]
    pub(crate) fn context(&mut self) -> Context {
        if self.irqs.depth() > 0 {
            return Context::HardIrq;
        }
        match self.tasks.running() {
            None => Context::Outside,
            Some(task) if task.preempt > 0 || task.irqs_off > 0 => Context::Atomic,
            Some(_) => Context::Process,
        }
    }
}

/// Forbids other tasks to run until [`preempt_enable`]; nests.
pub fn preempt_disable() {
    try_with(|m| {
        if let Some(task) = m.tasks.running() {
            task.preempt += 1;
        }
    });
}

/// Takes back one [`preempt_disable`]. A point; nothing outside a task.
pub fn preempt_enable() {
    let at = try_with(|m| {
        let Some(task) = m.tasks.running() else { return AtPoint::GoOn };
        task.preempt = task.preempt.saturating_sub(1);
        m.bus.fabric.advance(STEP);
        m.at_point()
    });
    at.unwrap_or(AtPoint::GoOn).pass();
}

/// Turns interrupts off on the (only) processor; nests.
pub fn local_irq_disable() {
    try_with(|m| {
        if let Some(task) = m.tasks.running() {
            task.irqs_off += 1;
        }
    });
}

/// Takes back one [`local_irq_disable`]. A point; nothing outside a task.
#[track_caller]
pub fn local_irq_enable() {
    let place = Location::caller();
    let at = try_with(|m| {
        let Some(task) = m.tasks.running() else { return AtPoint::GoOn };
        task.irqs_off = task.irqs_off.saturating_sub(1);
        m.locks_see_irqs_on(place);
        m.bus.fabric.advance(STEP);
        m.at_point()
    });
    at.unwrap_or(AtPoint::GoOn).pass();
}

/// Whether the caller runs with interrupts off: in a handler, or between [`local_irq_disable`] and [`local_irq_enable`].
#[must_use]
pub fn irqs_disabled() -> bool {
    try_with(|m| !m.interrupts_enabled()).unwrap_or(false)
}

/// A moment of a loop that waits for memory to change: time passes, and what is due happens. A point.
#[inline]
pub fn spin() {
    let at = try_with(|m| {
        m.bus.fabric.advance(1);
        m.at_point()
    });
    at.unwrap_or(AtPoint::GoOn).pass();
}

/// Counts the lives of this thread, from 1; 0 outside. What happens "once" in Linux happens once a life.
#[must_use]
pub fn life_number() -> u64 {
    try_with(|m| m.life).unwrap_or(0)
}

/// Whether the life has crashed: a driver's destructors run, but nothing they do counts any more.
#[must_use]
pub fn is_crashed() -> bool {
    try_with(|m| m.crashed).unwrap_or(false)
}

/// A moment of the processor's time, and a point: what a loop that waits for others goes through.
pub fn relax() {
    try_with(|m| m.bus.fabric.advance(STEP));
    super::point();
}

/// As [`relax`], and nothing outside a task or in a life that has crashed.
pub fn moment() {
    super::point::point_after(STEP);
}

/// A memory barrier. A point: devices may work, and interrupts arrive.
#[track_caller]
pub fn barrier(kind: Barrier, reach: Reach) {
    let place = Location::caller();
    let at = try_with(|m| {
        m.bus.fabric.advance(STEP);
        m.bus.fabric.cpu_barrier(kind, reach);
        if kind != Barrier::Write {
            m.fetches.renew();
        }
        super::watch::show_barrier(m, kind, place);
        m.at_point()
    });
    at.unwrap_or(AtPoint::GoOn).pass();
}
