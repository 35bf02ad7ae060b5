//! Virtual time: nanoseconds that pass only when the machine says so, and the timers set on them.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// A moment or a span of virtual time, in nanoseconds.
pub type Nanos = u64;

/// A set of timers. Timers due at the same moment fire in the order in which they were set.
#[derive(Debug)]
pub struct Timers<T> {
    heap: BinaryHeap<Reverse<(Nanos, u64)>>,
    /// The timers that are set; few at a time, so a scan beats a map.
    live: Vec<(u64, Nanos, T)>,
    next: u64,
}

/// Names a timer that was set; it stays valid (and useless) after the timer fired.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TimerId(u64);

impl<T> Default for Timers<T> {
    fn default() -> Self {
        Self { heap: BinaryHeap::new(), live: Vec::new(), next: 0 }
    }
}

impl<T> Timers<T> {
    /// Sets a timer for moment `at`.
    pub fn set(&mut self, at: Nanos, payload: T) -> TimerId {
        let id = self.next;
        self.next += 1;
        self.heap.push(Reverse((at, id)));
        self.live.push((id, at, payload));
        TimerId(id)
    }

    /// Takes a timer back; `None` if it fired or was cancelled before.
    pub fn cancel(&mut self, id: TimerId) -> Option<T> {
        let index = self.live.iter().position(|(live, ..)| *live == id.0)?;
        Some(self.live.swap_remove(index).2)
    }

    /// The moment of the earliest timer.
    #[inline]
    pub fn next_at(&mut self) -> Option<Nanos> {
        if self.heap.is_empty() {
            return None;
        }
        self.drop_cancelled();
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// Takes the earliest timer that is due at `now`.
    pub fn pop_due(&mut self, now: Nanos) -> Option<(TimerId, T)> {
        self.drop_cancelled();
        let Reverse((at, id)) = *self.heap.peek()?;
        if at > now {
            return None;
        }
        self.heap.pop();
        let index = self.live.iter().position(|(live, ..)| *live == id)?;
        Some((TimerId(id), self.live.swap_remove(index).2))
    }

    /// Takes back the timers for which `keep` says no.
    pub fn retain(&mut self, mut keep: impl FnMut(&T) -> bool) {
        self.live.retain(|(_, _, payload)| keep(payload));
    }

    /// The timers that are set, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (TimerId, Nanos, &T)> {
        self.live.iter().map(|(id, at, payload)| (TimerId(*id), *at, payload))
    }

    fn drop_cancelled(&mut self) {
        while let Some(Reverse((_, id))) = self.heap.peek() {
            if self.live.iter().any(|(live, ..)| live == id) {
                return;
            }
            self.heap.pop();
        }
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
