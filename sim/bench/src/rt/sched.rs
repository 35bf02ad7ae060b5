//! Waiting, waking, sleeping and spawning.

use std::panic::Location;

use bringup_core::{Finding, Nanos, Place};

use super::context::{Context, context};
use crate::machine::{Machine, try_with, with};
use crate::rules;
use crate::task::{self, TaskId};

pub use crate::task::Wake;

/// The running task.
#[must_use]
pub fn current_task() -> Option<TaskId> {
    try_with(|m| m.tasks.current).flatten()
}

/// The number of the running task, as a process id; 0 outside.
#[must_use]
pub fn current_pid() -> i32 {
    current_task().map_or(0, |id| id.0 as i32)
}

/// Whether a signal is pending for the running task.
#[must_use]
pub fn signal_pending() -> bool {
    try_with(|m| m.tasks.running().is_some_and(|task| task.signal)).unwrap_or(false)
}

/// Says that the caller may sleep here, which is a finding in atomic context.
#[track_caller]
pub fn might_sleep() {
    might_sleep_at("a function that may sleep", Location::caller());
}

/// As [`might_sleep`], for a place that is known.
pub fn might_sleep_at(what: &'static str, place: Place) {
    try_with(|m| m.check_sleep(what, place));
}

impl Machine {
    /// Files that the caller may sleep here, if it must not.
    #[inline]
    pub(crate) fn check_sleep(&mut self, what: &'static str, place: Place) {
        if !matches!(self.context(), Context::Outside | Context::Process) {
            self.sleeps_in_atomic(what, place);
        }
    }

    #[cold]
    fn sleeps_in_atomic(&mut self, what: &'static str, place: Place) {
        let how = match (self.context(), self.tasks.running()) {
            (Context::HardIrq, _) => "in an interrupt handler".to_owned(),
            (_, Some(task)) if task.irqs_off > 0 => "with interrupts off".to_owned(),
            _ => "with a spinlock held or pre-emption off".to_owned(),
        };
        let mut finding = Finding::new(&rules::SLEEP_IN_ATOMIC, format!("{what} {how}")).at_place(Some(place));
        finding.notes = self.held_notes();
        self.report(finding);
    }
}

/// Waits until `key` is woken, `deadline` (a moment) passes, or, if `interruptible`, a signal comes. `what` is for the
/// watchdog's report. The caller checks its condition again: wake-ups may be for others.
///
/// In atomic context this is a finding, and the wait ends the task: it could never be woken.
#[track_caller]
pub fn wait(key: usize, deadline: Option<Nanos>, interruptible: bool, what: &'static str) -> Wake {
    let place = Location::caller();
    might_sleep_at(what, place);
    if context() == Context::HardIrq {
        // An interrupt handler has no task of its own that could be put to sleep.
        task::die();
    }
    task::wait(key, deadline, interruptible, what, place)
}

/// As [`wait`], for something that is said by notifications: `about` names it, and `checked` is the moment since which the
/// caller has not looked any more whether it was said.
#[track_caller]
pub fn wait_notified(
    key: usize,
    about: usize,
    checked: Option<Nanos>,
    deadline: Option<Nanos>,
    interruptible: bool,
    what: &'static str,
) -> Wake {
    let place = Location::caller();
    might_sleep_at(what, place);
    if context() == Context::HardIrq {
        task::die();
    }
    task::wait_about(key, checked.map(|checked| (about, checked)), deadline, interruptible, what, place)
}

/// Says that something was notified of, and nobody waited for it.
#[track_caller]
pub fn notified_nobody(about: usize) {
    let place = Location::caller();
    try_with(|m| m.notified_nobody(about, place));
}

/// Wakes one waiter of `key`, the one that waits longest. Whether there was one.
pub fn wake_one(key: usize) -> bool {
    try_with(|m| m.wake(key, 1)) == Some(1)
}

/// Wakes all waiters of `key`; how many there were.
pub fn wake_all(key: usize) -> usize {
    try_with(|m| m.wake(key, usize::MAX)).unwrap_or(0)
}

/// Files that a lock was taken again by its holder, and ends the task: it would wait for itself for ever.
#[track_caller]
pub fn lock_recursion(name: &str) -> ! {
    let place = Location::caller();
    with(|m| {
        let who = m.bus.fabric.context.clone();
        m.find(
            &rules::LOCK_RECURSION,
            format!("{who} takes lock \"{name}\", which it or what it interrupted holds"),
            Some(place),
        );
    });
    task::die();
}

/// Gives way to other tasks.
pub fn yield_now() {
    if current_task().is_some() && with(|m| m.preemptible()) {
        task::yield_now();
    }
    super::point();
}

/// Starts a task.
pub fn spawn(name: &str, body: Box<dyn FnOnce()>) -> TaskId {
    task::spawn(name, false, body)
}

/// Sleeps for `span` nanoseconds.
#[track_caller]
pub fn sleep(span: Nanos) {
    let place = Location::caller();
    might_sleep_at("a sleep", place);
    if context() != Context::Process {
        // Told off above; let the time pass all the same.
        try_with(|m| m.bus.fabric.advance(span));
        return super::point();
    }
    let key = sleep_key();
    let until = with(|m| m.now().saturating_add(span));
    while with(|m| !m.crashed && m.now() < until) {
        task::wait(key, Some(until), false, "a sleep", place);
    }
}

fn sleep_key() -> usize {
    // Nobody wakes it.
    0
}

/// Lets `span` nanoseconds pass without sleeping. A point.
#[track_caller]
pub fn udelay(span: Nanos) {
    let place = Location::caller();
    try_with(|m| {
        m.last_place = Some(place);
        m.bus.fabric.advance(span);
    });
    super::point();
}
