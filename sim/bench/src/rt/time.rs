//! The clock and high-resolution timers.

use std::panic::{AssertUnwindSafe, Location, catch_unwind};

use bringup_core::trace::Event;
use bringup_core::{Nanos, Place};

use crate::ledger::{Kind, LedgerId};
use crate::machine::{Callback, TimerEvent, try_with, with};
use crate::task;

/// Virtual time since the machine was turned on, in nanoseconds; 0 outside.
#[must_use]
pub fn now() -> Nanos {
    try_with(|m| m.now()).unwrap_or(0)
}

/// Timer ticks a second (`HZ`).
pub const HZ: u64 = 1000;

/// A timer that is started or whose callback runs.
#[derive(Debug)]
pub(crate) struct HrTimer {
    key: usize,
    ledger: LedgerId,
    running: bool,
    /// How the lock checker knows its callback.
    class: (usize, usize),
}

const CALLBACK: &str = "a timer's callback";

/// Starts the timer `key` (the address of its state) at moment `at`; if it is started, the new moment replaces the old one
/// (`hrtimer_start`). The callback runs in hard
/// interrupt context; to run again it calls this function itself. What it returns is not looked at.
#[track_caller]
pub fn hrtimer_start(key: usize, at: Nanos, callback: Callback) {
    hrtimer_start_at(key, at, callback, Location::caller());
}

/// As [`hrtimer_start`], for a place that is known.
pub fn hrtimer_start_at(key: usize, at: Nanos, callback: Callback, place: Place) {
    with(|m| {
        m.stop_timer(key);
        if !m.hrtimers.iter().any(|timer| timer.key == key) {
            let ledger = m.take(Kind::Timer, None, Some(place), (0, 0), "");
            m.hrtimers.push(HrTimer { key, ledger, running: false, class: (callback.address(), 2) });
        }
        m.bus.fabric.choices.history.cpu(10);
        m.timers.set(at, TimerEvent::Hr { key, callback });
    });
}

/// Whether the timer is started or its callback runs.
#[must_use]
pub fn hrtimer_active(key: usize) -> bool {
    with(|m| m.hrtimers.iter().any(|timer| timer.key == key))
}

/// Stops a timer and waits until its callback does not run; whether it was started (`hrtimer_cancel`).
#[track_caller]
pub fn hrtimer_cancel(key: usize) -> bool {
    let place = Location::caller();
    let class = with(|m| m.hrtimers.iter().find(|timer| timer.key == key).map(|timer| timer.class));
    if let Some(class) = class {
        super::lock::activity_awaited(class, key, place, || CALLBACK.into());
    }
    let was_set = with(|m| m.stop_timer(key));
    // In interrupt context the only callback that can run is the caller itself.
    while with(|m| {
        !m.crashed && m.irqs.depth() == 0 && m.hrtimers.iter().any(|timer| timer.key == key && timer.running)
    }) {
        task::wait(key, None, false, "hrtimer_cancel", place);
    }
    with(|m| m.forget_timer(key));
    was_set
}

/// Runs a timer's callback on the running stack.
pub(crate) fn fire(key: usize, callback: Callback) {
    let outer = with(|m| {
        m.enter_irq();
        if let Some(timer) = m.hrtimers.iter_mut().find(|timer| timer.key == key) {
            timer.running = true;
        }
        m.event(|| Event::Timer { name: "hrtimer" });
        std::mem::replace(&mut m.bus.fabric.context, "a timer".into())
    });
    let before = with(crate::machine::Machine::preemption);
    let place = with(|m| m.ledger_place(key)).unwrap_or(Location::caller());
    super::lock::activity_begins((callback.address(), 2), key, place, || CALLBACK.into());
    let Ok(_) = catch_unwind(AssertUnwindSafe(|| callback.call())) else {
        task::bug();
        task::die();
    };
    super::lock::activity_ends(key);
    with(|m| {
        m.leave_handler(before);
        m.leave_irq();
        m.bus.fabric.context = outer;
        if let Some(timer) = m.hrtimers.iter_mut().find(|timer| timer.key == key) {
            timer.running = false;
        }
        let set = m.timers.iter().any(|(_, _, event)| matches!(event, TimerEvent::Hr { key: set, .. } if *set == key));
        if !set {
            m.forget_timer(key);
        }
        m.wake(key, usize::MAX);
    });
}

impl crate::machine::Machine {
    /// Where a timer was started.
    fn ledger_place(&self, key: usize) -> Option<Place> {
        let timer = self.hrtimers.iter().find(|timer| timer.key == key)?;
        self.ledger.place(timer.ledger)
    }

    fn stop_timer(&mut self, key: usize) -> bool {
        let set = self
            .timers
            .iter()
            .find_map(|(id, _, event)| matches!(event, TimerEvent::Hr { key: set, .. } if *set == key).then_some(id));
        set.is_some_and(|id| self.timers.cancel(id).is_some())
    }

    fn forget_timer(&mut self, key: usize) {
        if let Some(index) = self.hrtimers.iter().position(|timer| timer.key == key && !timer.running) {
            let timer = self.hrtimers.remove(index);
            self.ledger.give_back(timer.ledger);
        }
    }
}
