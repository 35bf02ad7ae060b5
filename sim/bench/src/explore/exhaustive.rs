//! Bounded search: every life that differs from the quiet one in few choices.
//!
//! A life is named by its deviations: the choices, by number, at which the answer is not 0. The search begins with the quiet
//! life and goes on, in the order of their number, to the lives with one deviation, with two, …: whatever is found is found
//! with as few deviations as possible, as iterative context bounding does (Musuvathi, Qadeer, PLDI 2007).

use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasherDefault;
use std::sync::{Arc, Mutex, PoisonError};

use bringup_core::{Chooser, Point};

use super::distinct::Plain;

/// The most failures, and the most odd answers and other data that are not the first ones, in one life: they are bounded
/// separately, since a life with many of them is no likelier to show something new, and there are many of each.
const MOST_FAILURES: u8 = 1;
const MOST_DATA: u8 = 1;

/// Of a byte's answers these are tried: the smallest, the largest, and those next to the sign.
const BYTES: [u8; 5] = [1, 0x7f, 0x80, 0xfe, 0xff];

/// How many deviations of each class a life has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Used {
    order: u8,
    failures: u8,
    data: u8,
}

impl Used {
    fn with(mut self, point: Point) -> Self {
        if point.is_rare() {
            self.failures = self.failures.saturating_add(1);
        } else if point.is_order() {
            self.order = self.order.saturating_add(1);
        } else {
            self.data = self.data.saturating_add(1);
        }
        self
    }

    fn fits(self, preemptions: u32) -> bool {
        u32::from(self.order) <= preemptions && self.failures <= MOST_FAILURES && self.data <= MOST_DATA
    }

    fn is_within(self, other: Self) -> bool {
        self.order <= other.order && self.failures <= other.failures && self.data <= other.data
    }
}

/// A life: its deviations.
#[derive(Clone, Debug, Default)]
pub(super) struct Path {
    /// Number of the choice, from 0, and the answer.
    deviations: Vec<(u32, u8)>,
    used: Used,
    /// What it sees is wanted: it has room for another deviation.
    wanted: bool,
    /// The states of the machine are wanted.
    states: bool,
}

impl Path {
    pub(super) fn chooser(&self) -> (Follow, Look) {
        let look = Look::default();
        let from = self.deviations.last().map_or(0, |(at, _)| at + 1);
        let follow = Follow {
            deviations: self.deviations.clone(),
            next: 0,
            made: 0,
            from: if self.wanted { from } else { u32::MAX },
            states: self.states && self.wanted,
            state: 0,
            look: look.clone(),
        };
        (follow, look)
    }
}

/// One choice that was answered 0 after the last deviation.
#[derive(Clone, Copy, Debug)]
struct Choice {
    point: Point,
    /// One less than there are.
    most: u8,
    state: u64,
}

/// The choices after a life's last deviation.
pub(super) type Log = Vec<Entry>;

/// An entry of a [`Log`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry(Choice);

/// Where a life leaves its log.
#[derive(Clone, Debug, Default)]
pub(super) struct Look(Arc<Mutex<Log>>);

impl Look {
    fn note(&self, entry: Entry) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
    }

    /// Takes what was left there.
    pub(super) fn take(&self) -> Log {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Answers 0 but for the deviations, and notes what could have been answered after them.
#[derive(Debug)]
pub(super) struct Follow {
    deviations: Vec<(u32, u8)>,
    next: usize,
    made: u32,
    from: u32,
    states: bool,
    state: u64,
    look: Look,
}

impl Chooser for Follow {
    fn choose(&mut self, point: Point, options: u32) -> u32 {
        let at = self.made;
        self.made = self.made.saturating_add(1);
        if at >= self.from {
            let choice = Choice { point, most: (options - 1).min(255) as u8, state: self.state };
            self.look.note(Entry(choice));
            return 0;
        }
        match self.deviations.get(self.next) {
            Some((when, answer)) if *when == at => {
                self.next += 1;
                (*answer).into()
            }
            _ => 0,
        }
    }

    fn wants_states(&self) -> bool {
        self.states
    }

    fn in_state(&mut self, state: u64) {
        self.state = state;
    }
}

/// A life whose children are still to be lived.
#[derive(Debug)]
struct Node {
    path: Path,
    log: Log,
    at: usize,
    answer: usize,
}

/// The search.
#[derive(Debug)]
pub(super) struct Exhaustive {
    preemptions: u32,
    reduced: bool,
    root: Option<Path>,
    waiting: VecDeque<Node>,
    /// Lives that were given out and not learnt of yet.
    out: usize,
    /// The states that the search has gone on from, with the fewest deviations that led there.
    known: HashMap<u64, Used, BuildHasherDefault<Plain>>,
}

impl Exhaustive {
    pub(super) fn new(preemptions: u32, reduced: bool) -> Self {
        let root = Path { wanted: true, states: reduced, ..Path::default() };
        Self { preemptions, reduced, root: Some(root), waiting: VecDeque::new(), out: 0, known: HashMap::default() }
    }

    /// The next life.
    pub(super) fn next(&mut self) -> Option<Path> {
        if let Some(root) = self.root.take() {
            self.out += 1;
            return Some(root);
        }
        while let Some(node) = self.waiting.front_mut() {
            if let Some(path) = node.child(self.preemptions, self.reduced) {
                self.out += 1;
                return Some(path);
            }
            self.waiting.pop_front();
        }
        None
    }

    /// Learns what a life saw.
    pub(super) fn learn(&mut self, path: Path, mut log: Log) {
        self.out -= 1;
        if self.reduced {
            let fresh = log.iter().position(|Entry(choice)| !self.visit(choice.state, path.used));
            // What follows from a state that the search went on from does not depend on the way there.
            log.truncate(fresh.unwrap_or(log.len()));
        }
        if !log.is_empty() {
            log.shrink_to_fit();
            self.waiting.push_back(Node { path, log, at: 0, answer: 0 });
        }
    }

    /// Whether the search has not gone on from this state with as few deviations.
    fn visit(&mut self, state: u64, used: Used) -> bool {
        let mut fresh = true;
        self.known
            .entry(state)
            .and_modify(|before| {
                fresh = !before.is_within(used);
                if used.is_within(*before) {
                    *before = used;
                }
            })
            .or_insert(used);
        fresh
    }

    pub(super) fn is_finished(&self) -> bool {
        self.root.is_none() && self.out == 0 && self.waiting.is_empty()
    }
}

impl Node {
    fn child(&mut self, preemptions: u32, reduced: bool) -> Option<Path> {
        let first = self.path.deviations.last().map_or(0, |(at, _)| at + 1);
        while let Some(Entry(choice)) = self.log.get(self.at) {
            let used = self.path.used.with(choice.point);
            if let Some(answer) = choice.answer(self.answer).filter(|_| used.fits(preemptions)) {
                self.answer += 1;
                let mut deviations = self.path.deviations.clone();
                deviations.push((first + self.at as u32, answer));
                let room = [Point::Preempt, Point::Allocation, Point::Answer];
                let wanted = room.iter().any(|point| used.with(*point).fits(preemptions));
                return Some(Path { deviations, used, wanted, states: reduced });
            }
            self.at += 1;
            self.answer = 0;
        }
        None
    }
}

impl Choice {
    /// Its `index`-th answer that is not 0.
    fn answer(&self, index: usize) -> Option<u8> {
        if self.most == u8::MAX {
            BYTES.get(index).copied()
        } else {
            u8::try_from(index + 1).ok().filter(|answer| *answer <= self.most)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bringup_core::Choices;

    /// All answers that a search gives to a life that takes `points` choices of two.
    fn search(points: usize, preemptions: u32) -> Vec<Vec<u8>> {
        let mut search = Exhaustive::new(preemptions, false);
        let mut lives = Vec::new();
        while let Some(path) = search.next() {
            let (chooser, look) = path.chooser();
            let mut choices = Choices::new(Box::new(chooser));
            for _ in 0..points {
                choices.choose(Point::Preempt, 2);
            }
            lives.push(choices.taken().to_vec());
            drop(choices);
            search.learn(path, look.take());
        }
        assert!(search.is_finished());
        lives
    }

    #[test]
    fn each_life_within_the_bound_is_lived_once_the_simplest_first() {
        let lives = search(4, 2);
        let mut unique = lives.clone();
        unique.sort();
        unique.dedup();
        assert_eq!((lives.len(), unique.len()), (1 + 4 + 6, 11));
        assert!(lives.iter().map(|life| life.iter().sum::<u8>()).is_sorted());
    }

    #[test]
    fn failures_and_data_have_bounds_of_their_own() {
        let mut search = Exhaustive::new(0, false);
        let mut lives = 0;
        while let Some(path) = search.next() {
            let (mut chooser, look) = path.chooser();
            for point in [Point::Allocation, Point::Preempt, Point::Allocation, Point::Answer] {
                chooser.choose(point, 4);
            }
            lives += 1;
            search.learn(path, look.take());
        }
        // Nothing; one of six failures; one of three answers; both.
        assert_eq!(lives, 1 + 6 + 3 + 18);
    }
}
