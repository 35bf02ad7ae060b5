//! Virtual time: nanoseconds that pass only when the machine says so, and the timers set on them.

use std::collections::VecDeque;

/// A moment or a span of virtual time, in nanoseconds.
pub type Nanos = u64;

/// A set of timers. Timers due at the same moment fire in the order in which they were set.
#[derive(Debug)]
pub struct Timers<T> {
    /// The timers that are set, in the order in which they fire. Most are set for later than all others, and the first one is
    /// asked for all the time.
    set: VecDeque<(TimerId, T)>,
    next: u64,
}

/// Names a timer that was set; it stays valid (and useless) after the timer fired.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TimerId {
    at: Nanos,
    number: u64,
}

impl<T> Default for Timers<T> {
    fn default() -> Self {
        Self { set: VecDeque::new(), next: 0 }
    }
}

impl<T> Timers<T> {
    /// Sets a timer for moment `at`.
    pub fn set(&mut self, at: Nanos, payload: T) -> TimerId {
        let id = TimerId { at, number: self.next };
        self.next += 1;
        let place = self.set.partition_point(|(other, _)| *other < id);
        self.set.insert(place, (id, payload));
        id
    }

    /// Takes a timer back; `None` if it fired or was cancelled before.
    pub fn cancel(&mut self, id: TimerId) -> Option<T> {
        let place = self.set.binary_search_by_key(&id, |(other, _)| *other).ok()?;
        self.set.remove(place).map(|(_, payload)| payload)
    }

    /// The moment of the earliest timer.
    #[inline]
    #[must_use]
    pub fn next_at(&self) -> Option<Nanos> {
        self.set.front().map(|(id, _)| id.at)
    }

    /// Takes the earliest timer that is due at `now`.
    #[inline]
    pub fn pop_due(&mut self, now: Nanos) -> Option<(TimerId, T)> {
        self.next_at().filter(|at| *at <= now)?;
        self.set.pop_front()
    }

    /// Takes back the timers for which `keep` says no.
    pub fn retain(&mut self, mut keep: impl FnMut(&T) -> bool) {
        self.set.retain(|(_, payload)| keep(payload));
    }

    /// The timers that are set, in the order in which they fire.
    pub fn iter(&self) -> impl Iterator<Item = (TimerId, Nanos, &T)> {
        self.set.iter().map(|(id, payload)| (*id, id.at, payload))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_fire_by_moment_then_by_age() {
        let mut timers = Timers::default();
        timers.set(20, 'c');
        timers.set(10, 'a');
        timers.set(10, 'b');
        let fired: String = std::iter::from_fn(|| timers.pop_due(20).map(|(_, c)| c)).collect();
        assert_eq!(fired, "abc");
    }

    #[test]
    fn cancelled_timer_does_not_fire() {
        let mut timers = Timers::default();
        let id = timers.set(5, ());
        assert_eq!(timers.cancel(id), Some(()));
        assert_eq!(timers.cancel(id), None);
        assert_eq!(timers.next_at(), None);
        assert!(timers.pop_due(100).is_none());
    }
}
