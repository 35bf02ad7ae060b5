//! A campaign: how many lives of what kind, and what came of them.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bringup_core::{Chooser, States};

use super::distinct::Distinct;
use super::found::{Cause, Found};
use super::plan::{Lesson, Plan, Recipe};
use super::workers::{self, Lived};
use crate::report::Report;

/// Where the choices of a campaign's lives come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Strategy {
    /// Each life has a seed of its own.
    Random,
    /// Random priorities with `depth - 1` changes: for bugs that need few events in an odd order. The first life is quiet.
    Pct {
        /// How many events in a particular order the bug needs.
        depth: u32,
    },
    /// Every life that differs from the quiet one in at most `preemptions` choices about order, and in at most one failure and
    /// one odd answer besides. The only strategy that comes to an end by itself.
    Exhaustive {
        /// The bound.
        preemptions: u32,
    },
    /// The quiet life, then each in which one fallible call fails: the first, the second, … Comes to an end, too.
    FailNth,
    /// [`FailNth`](Self::FailNth), then [`Random`](Self::Random) and [`Pct`](Self::Pct) of depth 3 alternately.
    Mixed,
}

/// Many lives of one driver. [`run`](Self::run) lives them.
///
/// What comes of it depends on the driver, the machine, `strategy`, `lives`, `seed` and `reduced` alone, not on `jobs` or the
/// computer; except that `time` and `stop` end a campaign at some life or other.
#[derive(Clone, Debug)]
pub struct Campaign {
    /// Where choices come from.
    pub strategy: Strategy,
    /// The most lives.
    pub lives: u64,
    /// The most time.
    pub time: Option<Duration>,
    /// Threads; with 1 (or 0) the lives are lived on the caller's thread, which must have no bench.
    pub jobs: usize,
    /// What random choices derive from.
    pub seed: u64,
    /// Ends with the first life that fails.
    pub stop_at_first: bool,
    /// An exhaustive search leaves out what comes to the same (see the book, "The explorer"); `false` is for comparison.
    pub reduced: bool,
    /// Ends the campaign, after the lives that have begun, when it becomes true: for Ctrl-C.
    pub stop: Option<Arc<AtomicBool>>,
}

impl Default for Campaign {
    /// A thousand mixed lives on this thread, seed 0.
    fn default() -> Self {
        Self {
            strategy: Strategy::Mixed,
            lives: 1000,
            time: None,
            jobs: 1,
            seed: 0,
            stop_at_first: false,
            reduced: true,
            stop: None,
        }
    }
}

/// What came of a campaign.
#[derive(Debug, Default)]
pub struct Explored {
    /// How many lives there were.
    pub lives: u64,
    /// How many of them failed: something was found that is not only advice.
    pub failed: u64,
    /// How long it took, in this computer's time.
    pub elapsed: Duration,
    /// How many lives differ in what crossed the waist, in which order, in which task.
    pub distinct: u64,
    /// All lives that the strategy has were lived.
    pub finished: bool,
    /// The states that were seen.
    pub coverage: States,
    /// Those that the machine could have got into.
    pub reachable: States,
    /// The most choices that a life took.
    pub choices: usize,
    /// Waist operations of all lives.
    pub operations: u64,
    /// What was found, each cause once, in the order of the first lives; advice is among it.
    pub found: Vec<Found>,
}

impl Explored {
    /// Whether nothing was found but, maybe, advice.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.failed == 0
    }

    /// What was found that is not only advice.
    pub fn failures(&self) -> impl Iterator<Item = &Found> {
        self.found.iter().filter(|found| found.is_failure())
    }

    /// The ids of the rules that were broken, in the order in which they were first.
    #[must_use]
    pub fn rules(&self) -> Vec<&'static str> {
        self.failures().map(|found| found.finding.rule.id).collect()
    }

    /// The states that could have been seen and were not.
    #[must_use]
    pub fn missed(&self) -> States {
        self.reachable.without(self.coverage)
    }

    /// Lives in a second of this computer's time.
    #[must_use]
    pub fn lives_a_second(&self) -> f64 {
        self.lives as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }
}

/// How far a campaign has come: what it came to up to now.
#[derive(Debug)]
pub struct Progress<'a> {
    /// Up to now.
    pub so_far: &'a Explored,
}

impl Campaign {
    /// Lives the lives: each by a call of `life` with the chooser for its bench. It is called on `jobs` threads, each with one
    /// bench at a time.
    ///
    /// # Panics
    /// When `life` does, once the lives that have begun are over.
    pub fn run(&self, life: impl Fn(Box<dyn Chooser>) -> Report + Sync) -> Explored {
        self.run_with(life, |_| ControlFlow::Continue(()))
    }

    /// As [`run`](Self::run), and tells how far it has come, after each life or, with several threads, every now and then. The
    /// answer says whether to go on.
    ///
    /// # Panics
    /// When `life` does, once the lives that have begun are over.
    pub fn run_with(
        &self,
        life: impl Fn(Box<dyn Chooser>) -> Report + Sync,
        mut progress: impl FnMut(&Progress<'_>) -> ControlFlow<()>,
    ) -> Explored {
        let began = Instant::now();
        let mut state = State::new(began);
        let over = || {
            self.stop.as_ref().is_some_and(|stop| stop.load(Ordering::Relaxed))
                || self.time.is_some_and(|time| began.elapsed() >= time)
        };
        let live = |recipe: &Recipe| Lived::live(recipe, &life);
        let mut plan = Plan::new(self.strategy, self.seed, self.reduced);
        workers::run(self.jobs, &live, &over, |crew| {
            loop {
                let batch = plan.next(self.lives - state.explored.lives.min(self.lives));
                if batch.is_empty() {
                    break;
                }
                let whole = crew.live(batch, |recipe, lived| {
                    let lesson = state.absorb(lived);
                    plan.learn(recipe, lesson);
                    let first = self.stop_at_first && !state.explored.is_clean();
                    state.explored.elapsed = began.elapsed();
                    if first { ControlFlow::Break(()) } else { progress(&Progress { so_far: &state.explored }) }
                });
                if !whole {
                    return;
                }
            }
            state.explored.finished = plan.is_finished();
        });
        state.finish()
    }
}

struct State {
    explored: Explored,
    began: Instant,
    distinct: Distinct,
    /// Where in `found` a cause is.
    causes: HashMap<Cause, usize>,
}

impl State {
    fn new(began: Instant) -> Self {
        Self { explored: Explored::default(), began, distinct: Distinct::default(), causes: HashMap::new() }
    }

    /// Takes a life into the account; what the plan may learn of it.
    fn absorb(&mut self, lived: Lived) -> Lesson {
        let explored = &mut self.explored;
        let life = explored.lives;
        explored.lives += 1;
        explored.coverage = explored.coverage.union(lived.seen);
        explored.reachable = explored.reachable.union(lived.could_see).union(lived.seen);
        explored.choices = explored.choices.max(lived.choices);
        explored.operations += lived.operations;
        self.distinct.insert(lived.digest);
        explored.distinct = self.distinct.count();
        let mut failed = false;
        let mut met: Vec<usize> = Vec::new();
        for finding in lived.findings {
            let at = *self.causes.entry(Cause::of(&finding)).or_insert(explored.found.len());
            if at == explored.found.len() {
                let (after, stream) = (self.began.elapsed(), lived.stream.clone());
                explored.found.push(Found { finding, life, after, stream, times: 0 });
            }
            // A cause that came up several times in a life came up in one life.
            if !met.contains(&at) {
                met.push(at);
                explored.found[at].times += 1;
            }
            failed |= explored.found[at].is_failure();
        }
        explored.failed += u64::from(failed);
        lived.lesson
    }

    fn finish(mut self) -> Explored {
        self.explored.elapsed = self.began.elapsed();
        self.explored
    }
}
