//! What the kernel crate's locks tell the lock checker.

use bringup_core::{Finding, Place};

use super::context::{Context, context};
pub use crate::lockdep::{Kind, Lock};
use crate::lockdep::{Lockdep, Taker};
use crate::machine::{Machine, try_with};
use crate::rules;

/// A lock is about to be taken. `waits` is false for a try. `name` is asked for when the class is new.
pub fn lock_taking(lock: &Lock, waits: bool, place: Place, name: impl FnOnce() -> String) {
    try_with(|m| m.lock_taking(lock, waits, place, name));
}

/// A lock was taken, after [`lock_taking`].
pub fn lock_taken(lock: &Lock, place: Place) {
    try_with(|m| {
        if let Some((taker, locks)) = m.taker(place) {
            locks.taken(lock, &taker);
        }
    });
}

/// Both at once, for a lock that is not waited for.
pub fn lock_take(lock: &Lock, waits: bool, place: Place, name: impl FnOnce() -> String) {
    try_with(|m| {
        m.lock_taking(lock, waits, place, name);
        if let Some((taker, locks)) = m.taker(place) {
            locks.taken(lock, &taker);
        }
    });
}

/// A lock is given back.
pub fn lock_released(address: usize) {
    try_with(|m| {
        let task = m.tasks.current.map_or(0, |task| task.0);
        m.locks.released(address, task);
    });
}

/// Since when the lock at this address is held, as a moment of virtual time; `None` if it is not.
#[must_use]
pub fn lock_held_since(address: usize) -> Option<bringup_core::Nanos> {
    try_with(|m| m.locks.held_since(address)).flatten()
}

/// Something begins to run whose end others may wait for: see [`Kind::Activity`].
pub fn activity_begins(class: (usize, usize), address: usize, place: Place, name: impl FnOnce() -> String) {
    lock_take(&Lock { class, address, kind: Kind::Activity }, true, place, name);
}

/// It has come to its end.
pub fn activity_ends(address: usize) {
    lock_released(address);
}

/// The caller waits for it to end, if it runs.
pub fn activity_awaited(class: (usize, usize), address: usize, place: Place, name: impl FnOnce() -> String) {
    lock_taking(&Lock { class, address, kind: Kind::Activity }, true, place, name);
}

/// Files locks that the caller still holds where nothing may be held any more.
pub(crate) fn nothing_held(when: &str) {
    if context() != Context::Outside {
        try_with(|m| m.check_nothing_held(when));
    }
}

impl Machine {
    /// Who takes a lock here; `None` where the lock checker does not look: outside of tasks, and in a life that has crashed.
    #[inline]
    fn taker(&mut self, place: Place) -> Option<(Taker<'_>, &mut Lockdep)> {
        if self.crashed {
            return None;
        }
        let task = self.tasks.current?.0;
        let (depth, now, irqs_on) = (self.irqs.depth(), self.now(), self.interrupts_enabled());
        let Self { bus, locks, .. } = self;
        Some((Taker { task, depth, irqs_on, who: &bus.fabric.context, place, now }, locks))
    }

    fn lock_taking(&mut self, lock: &Lock, waits: bool, place: Place, name: impl FnOnce() -> String) {
        let Some((taker, locks)) = self.taker(place) else { return };
        for finding in locks.taking(lock, waits, &taker, name) {
            self.report(finding);
        }
    }

    /// Interrupts were turned on again.
    pub(crate) fn locks_see_irqs_on(&mut self, place: Place) {
        let Some((taker, locks)) = self.taker(place).filter(|(taker, _)| taker.irqs_on) else { return };
        for finding in locks.irqs_came_on(&taker) {
            self.report(finding);
        }
    }

    /// Files the locks that whoever runs still holds, and forgets them.
    pub(crate) fn check_nothing_held(&mut self, when: &str) {
        let (Some(task), depth) = (self.tasks.current, self.irqs.depth()) else { return };
        let left: Vec<(String, Place)> =
            self.locks.held_by(task.0, depth).map(|(name, held)| (name.to_owned(), held.place)).collect();
        if left.is_empty() {
            return;
        }
        self.locks.forget(task.0, depth);
        let who = self.bus.fabric.context.clone();
        for (name, place) in left {
            let what = format!("{who} still holds lock \"{name}\" {when}");
            self.report(Finding::new(&rules::LOCK_LEFT_HELD, what).at_place(Some(place)));
        }
    }

    /// The locks that whoever runs holds, for a finding's notes.
    pub(crate) fn held_notes(&self) -> Vec<String> {
        let Some(task) = self.tasks.current else { return Vec::new() };
        let held = self.locks.held_by(task.0, self.irqs.depth());
        held.map(|(name, held)| {
            format!("lock \"{name}\" is held, taken at {}:{}", held.place.file(), held.place.line())
        })
        .collect()
    }
}
