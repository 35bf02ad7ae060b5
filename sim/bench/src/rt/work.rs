//! Work items: functions that run later, in a task of their own.

use std::panic::Location;

use bringup_core::{Nanos, Place};

use crate::ledger::{Kind, LedgerId};
use crate::machine::{Callback, TimerEvent, with};
use crate::task;

struct Item {
    /// The address of the work item's state.
    key: usize,
    callback: Callback,
    queue: &'static str,
    ledger: LedgerId,
}

/// The work that is queued; what runs is a task and is no longer here.
#[derive(Default)]
pub(crate) struct WorkState {
    queued: Vec<Item>,
}

/// Queues a work item, `delay` nanoseconds from now; `false` if it is queued already (`queue_delayed_work`). `queue` names
/// the workqueue. The callback runs once, in process context; the item may be queued again as soon as it runs.
#[track_caller]
pub fn queue_work(queue: &'static str, key: usize, callback: Callback, delay: Nanos) -> bool {
    queue_work_at(queue, key, callback, delay, Location::caller())
}

/// As [`queue_work`], for a place that is known.
pub fn queue_work_at(queue: &'static str, key: usize, callback: Callback, delay: Nanos, place: Place) -> bool {
    let queued = with(|m| {
        if m.work.queued.iter().any(|item| item.key == key) {
            return false;
        }
        let ledger = m.take(Kind::Work, None, Some(place), (0, 0), queue);
        m.work.queued.push(Item { key, callback, queue, ledger });
        if delay > 0 {
            let at = m.now().saturating_add(delay);
            m.bus.fabric.choices.history.cpu(11);
            m.timers.set(at, TimerEvent::Work { key });
        }
        true
    });
    if queued && delay == 0 {
        start(key);
    }
    queued
}

/// Whether a work item is queued and has not begun to run.
#[must_use]
pub fn work_pending(key: usize) -> bool {
    with(|m| m.work.queued.iter().any(|item| item.key == key))
}

/// Makes the task that will run a queued item whose moment has come.
pub(crate) fn start(key: usize) {
    let Some(name) =
        with(|m| m.work.queued.iter().find(|item| item.key == key).map(|item| format!("kworker/{}", item.queue)))
    else {
        return;
    };
    task::spawn(
        name,
        false,
        Box::new(move || {
            let Some(item) = with(|m| {
                let index = m.work.queued.iter().position(|item| item.key == key)?;
                Some(m.work.queued.remove(index))
            }) else {
                return;
            };
            item.callback.call();
            with(|m| m.ledger.give_back(item.ledger));
        }),
    );
}
