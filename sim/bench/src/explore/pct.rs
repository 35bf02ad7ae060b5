//! Probabilistic concurrency testing (Burckhardt, Kothari, Musuvathi, Nagarakatte: "A randomized scheduler with probabilistic
//! guarantees of finding bugs", ASPLOS 2010), for a machine in which not only threads take turns.
//!
//! Whoever can act is an actor: each task, each device, each interrupt, and the three ways in which memory is late (the store
//! buffer, stale loads, posted writes). Each actor has a random priority. The one with the highest acts: a device works here if
//! it comes before the running task, a waiting store lands if the store buffer does. At `depth - 1` moments, chosen beforehand,
//! whoever has just won falls behind all the others. A bug that needs `d` events in a particular order is found by a life of
//! depth `d` with a probability of at least 1 in `n` · `k`^(`d`-1), for `n` actors and `k` choices, however the other choices go.
//!
//! What differs from the paper: half of the moments are chosen not among all choices but first a kind of choice and then one of
//! that kind, so that kinds which come up seldom (a pre-emption among thousands of loads) have their share; and at a moment that
//! falls on a choice of data, a failure or a hostile answer, that answer is not 0. There is no failure otherwise.

use bringup_core::{Chooser, Point};

/// How many choices a life has, of each kind: the most that were seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Estimate {
    points: [u32; Point::COUNT],
}

impl Estimate {
    /// Takes a life into account.
    pub(super) fn learn(&mut self, points: &[u32; Point::COUNT]) {
        for (most, seen) in self.points.iter_mut().zip(points) {
            *most = (*most).max(*seen);
        }
    }
}

/// When whoever has just won falls behind.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// At this choice of a life.
    At(u32),
    /// At this choice of a kind.
    Of(u8, u32),
}

/// What can act. Tasks, devices and interrupts have numbers of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Actor {
    Task(u32),
    Device(u32),
    Interrupt(u32),
    Stores,
    Loads,
    Posted,
}

/// The chooser of one life.
#[derive(Debug)]
pub struct Pct {
    state: u64,
    moments: Vec<Moment>,
    /// Priorities of the actors that came up; higher acts first.
    priorities: Vec<(Actor, u32)>,
    /// The priority that the next actor falls to: below all that fell before.
    lowest: u32,
    made: u32,
    of_kind: [u32; Point::COUNT],
    /// The task that was running when that was last said.
    running: u32,
}

/// Priorities that actors begin with are above this one; what fell is below.
const FALLEN: u32 = 1 << 16;

impl Pct {
    /// A chooser with `depth - 1` moments of change. Choices are estimated as `estimate` says.
    pub(crate) fn new(depth: u32, seed: u64, estimate: &Estimate) -> Self {
        let mut pct = Self {
            state: seed,
            moments: Vec::new(),
            priorities: Vec::new(),
            lowest: FALLEN,
            made: 0,
            of_kind: [0; Point::COUNT],
            running: 0,
        };
        let total: u32 = estimate.points.iter().fold(0, |sum, count| sum.saturating_add(*count));
        let kinds: Vec<u8> = (0..Point::COUNT as u8).filter(|kind| estimate.points[usize::from(*kind)] > 0).collect();
        for _ in 1..depth.min(FALLEN) {
            let of_kind = pct.below(2) == 1;
            let moment = if kinds.is_empty() || !of_kind {
                Moment::At(pct.below(total.max(1)))
            } else {
                let kind = kinds[pct.below(kinds.len() as u32) as usize];
                Moment::Of(kind, pct.below(estimate.points[usize::from(kind)]))
            };
            pct.moments.push(moment);
        }
        pct
    }

    /// SplitMix64.
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u32) -> u32 {
        (self.next() % u64::from(end.max(1))) as u32
    }

    fn priority(&mut self, actor: Actor) -> u32 {
        if let Some((_, priority)) = self.priorities.iter().find(|(known, _)| *known == actor) {
            return *priority;
        }
        let priority = FALLEN + 1 + self.below(u32::MAX - FALLEN - 1);
        self.priorities.push((actor, priority));
        priority
    }

    fn fall(&mut self, actor: Actor) {
        self.lowest = self.lowest.saturating_sub(1);
        let lowest = self.lowest;
        match self.priorities.iter_mut().find(|(known, _)| *known == actor) {
            Some((_, priority)) => *priority = lowest,
            None => self.priorities.push((actor, lowest)),
        }
    }

    /// Counts a choice; whether it is one of the moments.
    fn is_moment(&mut self, point: Point) -> bool {
        let (made, of_kind) = (self.made, self.of_kind[point.index()]);
        self.made += 1;
        self.of_kind[point.index()] += 1;
        self.moments.iter().any(|moment| match *moment {
            Moment::At(at) => at == made,
            Moment::Of(kind, at) => usize::from(kind) == point.index() && at == of_kind,
        })
    }

    /// The one of the actors that acts, with the one that won falling behind first if this is the moment.
    fn winner(&mut self, actors: &[Actor], moment: bool) -> usize {
        let mut best = self.best(actors);
        if moment && let Some(actor) = actors.get(best) {
            self.fall(*actor);
            best = self.best(actors);
        }
        best
    }

    fn best(&mut self, actors: &[Actor]) -> usize {
        let mut best = (0, 0);
        for (index, actor) in actors.iter().enumerate() {
            let priority = self.priority(*actor);
            if priority > best.1 {
                best = (index, priority);
            }
        }
        best.0
    }

    /// Any answer but 0.
    fn other(&mut self, options: u32) -> u32 {
        1 + self.below(options - 1)
    }
}

impl Chooser for Pct {
    fn choose(&mut self, point: Point, options: u32) -> u32 {
        let moment = self.is_moment(point);
        let running = Actor::Task(self.running);
        let late = |pct: &mut Self, actor| pct.winner(&[actor, running], moment) == 1;
        match point {
            Point::Store => u32::from(late(self, Actor::Stores)),
            Point::Posted => u32::from(late(self, Actor::Posted)),
            Point::Land => match (late(self, Actor::Stores), self.below(4)) {
                // Late stores may overtake each other, and then one lands alone.
                (true, 0) if options > 2 => 2 + self.below(options - 2),
                (true, _) => 1,
                (false, _) => 0,
            },
            Point::Load if late(self, Actor::Loads) => self.below(options),
            Point::Load => 0,
            // A model's own choice is data like a call's argument: all of them are as good.
            Point::Model => self.below(options),
            _ if moment => self.other(options),
            _ => 0,
        }
    }

    fn choose_among(&mut self, point: Point, options: u32, actors: &[u32]) -> u32 {
        if let Some(running) = actors.last().filter(|_| point != Point::Task) {
            self.running = *running;
        }
        match (point, actors) {
            (Point::Task, _) => {
                let moment = self.is_moment(point);
                let tasks: Vec<Actor> = actors.iter().map(|task| Actor::Task(*task)).collect();
                let next = self.winner(&tasks, moment);
                self.running = actors.get(next).copied().unwrap_or(0);
                next as u32
            }
            (Point::Preempt, [others @ .., running]) => {
                let moment = self.is_moment(point);
                let mut tasks = vec![Actor::Task(*running)];
                tasks.extend(others.iter().map(|task| Actor::Task(*task)));
                u32::from(self.winner(&tasks, moment) != 0)
            }
            (Point::Device, [device, running]) => {
                let moment = self.is_moment(point);
                self.winner(&[Actor::Device(*device), Actor::Task(*running)], moment) as u32
            }
            (Point::Stall, [device, running]) => {
                let moment = self.is_moment(point);
                self.winner(&[Actor::Task(*running), Actor::Device(*device)], moment) as u32
            }
            (Point::Interrupt, [irq, running]) => {
                let moment = self.is_moment(point);
                self.winner(&[Actor::Interrupt(*irq), Actor::Task(*running)], moment) as u32
            }
            _ => self.choose(point, options),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn estimate(points: &[(Point, u32)]) -> Estimate {
        let mut counts = [0; Point::COUNT];
        for (point, count) in points {
            counts[point.index()] = *count;
        }
        let mut estimate = Estimate::default();
        estimate.learn(&counts);
        estimate
    }

    #[test]
    fn without_moments_the_order_of_actors_never_changes() {
        for seed in 0..50 {
            let mut pct = Pct::new(1, seed, &Estimate::default());
            let first = pct.choose_among(Point::Task, 3, &[7, 8, 9]);
            for _ in 0..20 {
                assert_eq!(pct.choose_among(Point::Task, 3, &[7, 8, 9]), first);
            }
            let winner = [7, 8, 9][first as usize];
            assert_eq!(pct.choose_among(Point::Preempt, 2, &[7, 8, 9, winner]), 0);
        }
    }

    #[test]
    fn one_moment_changes_the_order_once() {
        let mut changed = 0;
        for seed in 0..100 {
            let mut pct = Pct::new(2, seed, &estimate(&[(Point::Task, 10)]));
            let answers: Vec<u32> = (0..10).map(|_| pct.choose_among(Point::Task, 2, &[1, 2])).collect();
            let changes = answers.windows(2).filter(|pair| pair[0] != pair[1]).count();
            assert!(changes <= 1, "{answers:?}");
            changed += changes;
        }
        assert!(changed > 50, "{changed}");
    }

    #[test]
    fn failures_come_only_at_moments() {
        for seed in 0..100 {
            let mut pct = Pct::new(2, seed, &estimate(&[(Point::Allocation, 8), (Point::Load, 1000)]));
            let failures: u32 = (0..8).map(|_| pct.choose(Point::Allocation, 2)).sum();
            assert!(failures <= 1);
        }
    }
}
