//! Who did what when: the authors of stores, and where barriers stand between them.

use crate::finding::Place;

/// How many authors are remembered. A store whose author is forgotten is not held against anybody.
const AUTHORS: usize = 4096;
/// How many barriers of a kind are remembered. Stores before the oldest one count as ordered.
const BARRIERS: usize = 4096;

/// Who made a store.
#[derive(Clone, Copy, Debug)]
pub(super) struct Author {
    stamp: u32,
    /// The task or handler.
    pub(super) context: u32,
    /// The line.
    pub(super) place: Place,
}

/// The CPU's stores and barriers, as far back as is worth knowing.
#[derive(Debug, Default)]
pub(super) struct History {
    /// By stamp, modulo its length once it is full.
    authors: Vec<Option<Author>>,
    /// The stamps of the last stores before barriers that keep stores to memory in order …
    weak: Vec<u32>,
    /// … and of those that keep stores to memory before writes to BARs, too.
    strong: Vec<u32>,
}

impl History {
    pub(super) fn clear(&mut self) {
        self.authors.clear();
        self.weak.clear();
        self.strong.clear();
    }

    #[inline]
    pub(super) fn note(&mut self, stamp: u32, context: u32, place: Place) {
        let index = stamp as usize % AUTHORS;
        if index >= self.authors.len() {
            self.authors.resize(index + 1, None);
        }
        if let Some(slot) = self.authors.get_mut(index) {
            *slot = Some(Author { stamp, context, place });
        }
    }

    pub(super) fn author(&self, stamp: u32) -> Option<Author> {
        (*self.authors.get(stamp as usize % AUTHORS)?).filter(|author| author.stamp == stamp)
    }

    /// A barrier for stores stands after the store of stamp `at`.
    pub(super) fn barrier(&mut self, at: u32, strong: bool) {
        push(&mut self.weak, at);
        if strong {
            push(&mut self.strong, at);
        }
    }

    /// What stands before the last barrier before this store; 0 if there is none.
    pub(super) fn weak_before(&self, stamp: u32) -> u32 {
        before(&self.weak, stamp)
    }

    /// As [`weak_before`](Self::weak_before), for a relaxed write to a BAR.
    pub(super) fn strong_before(&self, stamp: u32) -> u32 {
        before(&self.strong, stamp)
    }
}

fn push(list: &mut Vec<u32>, at: u32) {
    if list.last() == Some(&at) {
        return;
    }
    if list.len() == BARRIERS {
        list.drain(..BARRIERS / 2);
    }
    list.push(at);
}

fn before(list: &[u32], stamp: u32) -> u32 {
    let index = match list.last() {
        // Nearly always the last one.
        Some(last) if *last < stamp => list.len(),
        _ => list.partition_point(|at| *at < stamp),
    };
    index.checked_sub(1).and_then(|index| list.get(index)).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_barrier_before_a_store_is_found() {
        let mut history = History::default();
        for at in [3, 3, 8, 20] {
            history.barrier(at, at == 8);
        }
        assert_eq!([3, 4, 8, 9, 21].map(|stamp| history.weak_before(stamp)), [0, 3, 3, 8, 20]);
        assert_eq!([8, 9, 40].map(|stamp| history.strong_before(stamp)), [0, 8, 8]);
    }

    #[test]
    fn authors_are_forgotten_after_a_while_and_never_mixed_up() {
        let mut history = History::default();
        let place = std::panic::Location::caller();
        for stamp in 1..=AUTHORS as u32 + 1 {
            history.note(stamp, stamp, place);
        }
        assert!(history.author(1).is_none());
        assert_eq!(history.author(2).map(|author| author.context), Some(2));
    }
}
