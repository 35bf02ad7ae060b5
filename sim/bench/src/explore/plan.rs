//! What each life of a campaign is to be like. A plan is asked for lives in batches and told what came of them, in order, so
//! that a campaign does not depend on how many threads it has.

use bringup_core::choice::{Quiet, Seeded};
use bringup_core::{Chooser, Point};

use super::campaign::Strategy;
use super::exhaustive::{Exhaustive, Log, Look, Path};
use super::pct::{Estimate, Pct};

/// How many lives are planned at once, at most. What is learnt of them serves the next batch.
const BATCH: usize = 256;

/// Fails the `n`-th fallible call of a life (the first is 1) and is quiet otherwise.
///
/// Running it for 1, 2, 3, … until a life has no such call any more takes a driver along every path that begins with one
/// failure. How many calls there are is said by the quiet life: up to its `n`-th call the life with `FailNth(n)` is the same.
#[derive(Clone, Copy, Debug)]
pub struct FailNth {
    left: u32,
}

impl FailNth {
    /// Fails the `n`-th call; 0 is none.
    #[must_use]
    pub fn new(n: u32) -> Self {
        Self { left: n }
    }

    /// How many such lives a driver has whose quiet life had these choices (`Report::points`).
    #[must_use]
    pub fn lives(points: &[u32; Point::COUNT]) -> u32 {
        Point::ALL.iter().filter(|point| point.is_rare()).map(|point| points[point.index()]).sum()
    }
}

impl Chooser for FailNth {
    fn choose(&mut self, point: Point, _options: u32) -> u32 {
        if !point.is_rare() || self.left == 0 {
            return 0;
        }
        self.left -= 1;
        u32::from(self.left == 0)
    }
}

/// One life to be.
#[derive(Clone, Debug)]
pub(super) enum Recipe {
    Quiet,
    FailNth(u32),
    Seeded(u64),
    Pct { depth: u32, seed: u64, estimate: Estimate },
    Path(Path),
}

impl Recipe {
    /// The chooser of that life, and where it will leave what it saw, if that is wanted.
    pub(super) fn chooser(&self) -> (Box<dyn Chooser>, Option<Look>) {
        match self {
            Self::Quiet => (Box::new(Quiet), None),
            Self::FailNth(n) => (Box::new(FailNth::new(*n)), None),
            Self::Seeded(seed) => (Box::new(Seeded::new(*seed)), None),
            Self::Pct { depth, seed, estimate } => (Box::new(Pct::new(*depth, *seed, estimate)), None),
            Self::Path(path) => {
                let (chooser, look) = path.chooser();
                (Box::new(chooser), Some(look))
            }
        }
    }
}

/// What a plan learns from a life.
#[derive(Debug)]
pub(super) struct Lesson {
    pub(super) points: [u32; Point::COUNT],
    pub(super) log: Option<Log>,
}

/// The lives of a campaign, one after the other.
#[derive(Debug)]
pub(super) struct Plan {
    seed: u64,
    made: u64,
    mind: Mind,
}

#[derive(Debug)]
enum Mind {
    Random,
    Pct { depth: u32, estimate: Estimate },
    FailNth { of: Option<u32> },
    Mixed { of: Option<u32>, estimate: Estimate },
    Exhaustive(Exhaustive),
}

/// The depth of the PCT lives among mixed ones: most known races need three events in the wrong order or fewer.
const MIXED_DEPTH: u32 = 3;

impl Plan {
    pub(super) fn new(strategy: Strategy, seed: u64, reduced: bool) -> Self {
        let mind = match strategy {
            Strategy::Random => Mind::Random,
            Strategy::Pct { depth } => Mind::Pct { depth, estimate: Estimate::default() },
            Strategy::FailNth => Mind::FailNth { of: None },
            Strategy::Mixed => Mind::Mixed { of: None, estimate: Estimate::default() },
            Strategy::Exhaustive { preemptions } => Mind::Exhaustive(Exhaustive::new(preemptions, reduced)),
        };
        Self { seed, made: 0, mind }
    }

    /// The next lives, at most `most`; none when there are no more.
    pub(super) fn next(&mut self, most: u64) -> Vec<Recipe> {
        let most = most.min(BATCH as u64) as usize;
        let mut batch = Vec::new();
        while batch.len() < most {
            let Some(recipe) = self.recipe(self.made + batch.len() as u64) else { break };
            batch.push(recipe);
            // The first life tells what the others can be like.
            if self.made == 0 && !matches!(self.mind, Mind::Random) {
                break;
            }
        }
        self.made += batch.len() as u64;
        batch
    }

    fn recipe(&mut self, index: u64) -> Option<Recipe> {
        let seed = life_seed(self.seed, index);
        match &mut self.mind {
            Mind::Random => Some(Recipe::Seeded(seed)),
            Mind::Pct { .. } | Mind::Mixed { .. } | Mind::FailNth { .. } if index == 0 => Some(Recipe::Quiet),
            Mind::Pct { depth, estimate } => Some(Recipe::Pct { depth: *depth, seed, estimate: estimate.clone() }),
            Mind::FailNth { of } => failure(index, *of),
            Mind::Mixed { of, estimate } => Some(failure(index, *of).unwrap_or_else(|| {
                if index.is_multiple_of(2) {
                    Recipe::Seeded(seed)
                } else {
                    Recipe::Pct { depth: MIXED_DEPTH, seed, estimate: estimate.clone() }
                }
            })),
            Mind::Exhaustive(search) => search.next().map(Recipe::Path),
        }
    }

    /// Learns what came of a life; lives are told of in order.
    pub(super) fn learn(&mut self, recipe: Recipe, lesson: Lesson) {
        match &mut self.mind {
            Mind::Random => {}
            Mind::Pct { estimate, .. } => estimate.learn(&lesson.points),
            Mind::FailNth { of } => {
                of.get_or_insert(FailNth::lives(&lesson.points));
            }
            Mind::Mixed { of, estimate } => {
                of.get_or_insert(FailNth::lives(&lesson.points));
                estimate.learn(&lesson.points);
            }
            Mind::Exhaustive(search) => {
                if let (Recipe::Path(path), Some(log)) = (recipe, lesson.log) {
                    search.learn(path, log);
                }
            }
        }
    }

    /// Whether all lives that the strategy has were planned.
    pub(super) fn is_finished(&self) -> bool {
        match &self.mind {
            Mind::Exhaustive(search) => search.is_finished(),
            Mind::FailNth { of } => of.is_some_and(|of| self.made > u64::from(of)),
            _ => false,
        }
    }
}

fn failure(index: u64, of: Option<u32>) -> Option<Recipe> {
    let of = of.unwrap_or(0);
    let n = u32::try_from(index).ok().filter(|n| *n <= of)?;
    Some(Recipe::FailNth(n))
}

/// The seed of a life: neighbours have nothing in common.
pub(super) fn life_seed(campaign: u64, index: u64) -> u64 {
    let z = campaign.wrapping_add(index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
