//! The lock checker: which lock is taken while which is held, and in what contexts, as Linux's lockdep watches it.
//!
//! Locks fall into classes: all locks that one line of a driver makes are one class. What was seen of a class anywhere in the
//! life counts for all of its locks, so two orders that would deadlock are found though they never meet.

use std::fmt::Write as _;
use std::sync::Arc;

use bringup_core::{Finding, Nanos, Place};

use crate::rules;

/// A lock, as whoever takes it describes it.
#[derive(Clone, Copy, Debug)]
pub struct Lock {
    /// What is the same for all locks of its class: the address of the class and that of the name.
    pub class: (usize, usize),
    /// Its own address.
    pub address: usize,
    /// What it is.
    pub kind: Kind,
}

/// What can be held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A lock whose holder may not sleep.
    Spins,
    /// A lock whose waiters sleep.
    Sleeps,
    /// Something that runs, and whose end others wait for: the thread of a handler, a timer's callback, a call of a file. It is
    /// held while it runs, and taken by whoever waits for its end.
    Activity,
}

/// Who takes or gives back a lock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taker<'a> {
    /// The number of the task …
    pub(crate) task: u32,
    /// … and how many handlers stand on its stack.
    pub(crate) depth: u32,
    pub(crate) irqs_on: bool,
    pub(crate) who: &'a Arc<str>,
    pub(crate) place: Place,
    pub(crate) now: Nanos,
}

impl Taker<'_> {
    fn owns(&self, held: &Held) -> bool {
        held.task == self.task && held.depth == self.depth
    }
}

/// A lock that is held.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    task: u32,
    depth: u32,
    class: usize,
    address: usize,
    /// Where it was taken …
    pub(crate) place: Place,
    /// … and when.
    pub(crate) since: Nanos,
}

/// The first time that a class was used in some way.
#[derive(Debug)]
struct Use {
    place: Place,
    who: Arc<str>,
}

/// That a lock of one class was taken while one of another was held.
#[derive(Debug)]
struct Edge {
    to: usize,
    /// Where the held one was taken, and where the other.
    held: Place,
    taken: Place,
    who: Arc<str>,
    /// It closes a circle that was reported: what follows from it is not reported again.
    reported: bool,
}

#[derive(Debug)]
struct Class {
    key: (usize, usize),
    name: String,
    kind: Kind,
    /// Taken in a handler.
    in_handler: Option<Use>,
    /// Taken, or held, where a handler may come.
    irqs_on: Option<Use>,
    after: Vec<Edge>,
}

/// What a life has shown of its locks.
#[derive(Debug, Default)]
pub(crate) struct Lockdep {
    classes: Vec<Class>,
    held: Vec<Held>,
    /// Pairs of classes that were reported for what handlers need.
    reported: Vec<(usize, usize)>,
}

fn at(place: Place) -> String {
    format!("{}:{}", place.file(), place.line())
}

impl Lockdep {
    /// A lock is about to be taken; waiting for it may follow.
    pub(crate) fn taking(
        &mut self,
        lock: &Lock,
        waits: bool,
        taker: &Taker<'_>,
        name: impl FnOnce() -> String,
    ) -> Vec<Finding> {
        let class = self.class_of(lock, name);
        let mut found = Vec::new();
        let mut new = self.note_use(class, taker, &mut found);
        if waits {
            new |= self.note_order(class, lock.address, taker, &mut found);
        }
        if new {
            self.check_handlers(taker, &mut found);
        }
        found
    }

    /// It is taken.
    pub(crate) fn taken(&mut self, lock: &Lock, taker: &Taker<'_>) {
        let Some(class) = self.classes.iter().position(|class| class.key == lock.class) else { return };
        let (task, depth, address) = (taker.task, taker.depth, lock.address);
        self.held.push(Held { task, depth, class, address, place: taker.place, since: taker.now });
    }

    /// It is given back.
    pub(crate) fn released(&mut self, address: usize, task: u32) {
        // Activities of several tasks can go by one address.
        let own = self.held.iter().rposition(|held| held.address == address && held.task == task);
        let any = || self.held.iter().rposition(|held| held.address == address);
        if let Some(index) = own.or_else(any) {
            self.held.remove(index);
        }
    }

    /// Interrupts are on again: what the task holds from here on is held with them on.
    pub(crate) fn irqs_came_on(&mut self, taker: &Taker<'_>) -> Vec<Finding> {
        let classes: Vec<usize> = self.held.iter().filter(|held| taker.owns(held)).map(|held| held.class).collect();
        let mut found = Vec::new();
        let mut new = false;
        for class in classes {
            new |= self.note_use(class, taker, &mut found);
        }
        if new {
            self.check_handlers(taker, &mut found);
        }
        found
    }

    /// The locks that the taker holds, the one taken last at the end.
    pub(crate) fn held_by(&self, task: u32, depth: u32) -> impl Iterator<Item = (&str, &Held)> {
        let own = self.held.iter().filter(move |held| held.task == task && held.depth == depth);
        own.filter_map(|held| {
            let class = self.classes.get(held.class).filter(|class| class.kind != Kind::Activity)?;
            Some((class.name.as_str(), held))
        })
    }

    /// Since when the lock at this address is held.
    pub(crate) fn held_since(&self, address: usize) -> Option<Nanos> {
        self.held.iter().rev().find(|held| held.address == address).map(|held| held.since)
    }

    /// Forgets what the taker holds: it was told off for it.
    pub(crate) fn forget(&mut self, task: u32, depth: u32) {
        self.held.retain(|held| held.task != task || held.depth != depth);
    }

    fn class_of(&mut self, lock: &Lock, name: impl FnOnce() -> String) -> usize {
        if let Some(index) = self.classes.iter().position(|class| class.key == lock.class) {
            return index;
        }
        let (key, name, kind) = (lock.class, name(), lock.kind);
        self.classes.push(Class { key, name, kind, in_handler: None, irqs_on: None, after: Vec::new() });
        self.classes.len() - 1
    }

    /// Notes in what context a class is used; whether that is new.
    fn note_use(&mut self, index: usize, taker: &Taker<'_>, found: &mut Vec<Finding>) -> bool {
        let Some(class) = self.classes.get_mut(index).filter(|class| class.kind == Kind::Spins) else { return false };
        let slot = match (taker.depth > 0, taker.irqs_on) {
            (true, _) => &mut class.in_handler,
            (false, true) => &mut class.irqs_on,
            (false, false) => return false,
        };
        if slot.is_some() {
            return false;
        }
        *slot = Some(Use { place: taker.place, who: taker.who.clone() });
        if let (Some(handler), Some(open)) = (&class.in_handler, &class.irqs_on) {
            let what = format!(
                "lock \"{}\" is taken in {} and, with interrupts on, in {}: a handler that comes then waits for ever",
                class.name, handler.who, open.who
            );
            let finding = Finding::new(&rules::LOCK_IRQ_UNSAFE, what)
                .at_place(Some(open.place))
                .note(format!("{} takes it at {}", handler.who, at(handler.place)))
                .note(format!("{} takes it with interrupts on at {}", open.who, at(open.place)));
            found.push(finding);
            self.reported.push((index, index));
        }
        true
    }

    /// Notes which locks are held while a lock of `class` is taken; whether anything is new.
    fn note_order(&mut self, class: usize, address: usize, taker: &Taker<'_>, found: &mut Vec<Finding>) -> bool {
        let mut new = false;
        for index in 0..self.held.len() {
            let Some(held) = self.held.get(index).filter(|held| taker.owns(held) && held.address != address) else {
                continue;
            };
            let (from, place) = (held.class, held.place);
            if self.classes.get(from).is_none_or(|class_held| class_held.after.iter().any(|edge| edge.to == class)) {
                continue;
            }
            let circle = self.path(class, from);
            let reported = circle.is_some();
            if let Some(circle) = circle {
                found.push(self.circle(from, class, place, taker, &circle));
            }
            let edge = Edge { to: class, held: place, taken: taker.place, who: taker.who.clone(), reported };
            if let Some(class_held) = self.classes.get_mut(from) {
                class_held.after.push(edge);
                new = true;
            }
        }
        new
    }

    /// The steps by which `to` is taken while `from` is held, as pairs of a class and the place of its edge; empty if they are
    /// the same.
    fn path(&self, from: usize, to: usize) -> Option<Vec<(usize, usize)>> {
        let mut came: Vec<Option<(usize, usize)>> = vec![None; self.classes.len()];
        let mut queue = vec![from];
        let mut next = 0;
        while let Some(&class) = queue.get(next) {
            next += 1;
            if class == to {
                let mut steps = Vec::new();
                let mut at = to;
                while at != from {
                    let step = (*came.get(at)?)?;
                    steps.push(step);
                    at = step.0;
                }
                steps.reverse();
                return Some(steps);
            }
            for (index, edge) in self.classes.get(class)?.after.iter().enumerate().filter(|(_, edge)| !edge.reported) {
                if edge.to != from
                    && let Some(slot) = came.get_mut(edge.to).filter(|slot| slot.is_none())
                {
                    *slot = Some((class, index));
                    queue.push(edge.to);
                }
            }
        }
        None
    }

    fn name(&self, class: usize) -> &str {
        self.classes.get(class).map_or("?", |class| class.name.as_str())
    }

    fn steps<'a>(&'a self, steps: &'a [(usize, usize)]) -> impl Iterator<Item = String> + 'a {
        steps.iter().filter_map(|(from, index)| {
            let edge = self.classes.get(*from)?.after.get(*index)?;
            Some(format!(
                "{} takes \"{}\" at {} while it holds \"{}\", taken at {}",
                edge.who,
                self.name(edge.to),
                at(edge.taken),
                self.name(*from),
                at(edge.held)
            ))
        })
    }

    fn circle(&self, held: usize, class: usize, place: Place, taker: &Taker<'_>, steps: &[(usize, usize)]) -> Finding {
        let (inner, outer) = (self.name(class), self.name(held));
        let what = if held == class {
            format!("two locks \"{inner}\" are held at once: nothing says which of them comes first")
        } else {
            let mut what = format!("lock \"{inner}\" is taken while \"{outer}\" is held");
            let _ = write!(what, ", and elsewhere \"{outer}\" while \"{inner}\" is");
            what
        };
        let what = match self.classes.get(class).map(|class| class.kind) {
            Some(Kind::Activity) => {
                format!("the end of {inner} is waited for while \"{outer}\" is held, which it takes itself")
            }
            _ => what,
        };
        let mut finding = Finding::new(&rules::LOCK_ORDER, what).at_place(Some(taker.place)).note(format!(
            "{} holds \"{outer}\", taken at {}",
            taker.who,
            at(place)
        ));
        finding.notes.extend(self.steps(steps));
        finding
    }

    /// Looks for a lock that handlers take and that is held while one is taken that is not safe from handlers.
    fn check_handlers(&mut self, taker: &Taker<'_>, found: &mut Vec<Finding>) {
        for safe in 0..self.classes.len() {
            for open in 0..self.classes.len() {
                let (Some(first), Some(last)) = (self.classes.get(safe), self.classes.get(open)) else { continue };
                let (Some(handler), Some(unsafe_use)) = (&first.in_handler, &last.irqs_on) else { continue };
                if safe == open || self.reported.contains(&(safe, open)) || first.irqs_on.is_some() {
                    continue;
                }
                let Some(steps) = self.path(safe, open) else { continue };
                let what = format!(
                    "\"{}\", which {} takes, is held while \"{}\" is taken, which is also taken with interrupts on",
                    first.name, handler.who, last.name
                );
                let mut finding = Finding::new(&rules::LOCK_IRQ_ORDER, what)
                    .at_place(Some(unsafe_use.place))
                    .note(format!("{} takes \"{}\" at {}", handler.who, first.name, at(handler.place)))
                    .note(format!(
                        "{} takes \"{}\" with interrupts on at {}",
                        unsafe_use.who,
                        last.name,
                        at(unsafe_use.place)
                    ));
                finding.notes.extend(self.steps(&steps));
                finding.notes.push(format!("seen when {} came to {}", taker.who, at(taker.place)));
                found.push(finding);
                self.reported.push((safe, open));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::Location;
    use std::sync::LazyLock;

    use super::*;

    const A: Lock = Lock { class: (1, 0), address: 0x10, kind: Kind::Spins };
    const B: Lock = Lock { class: (2, 0), address: 0x20, kind: Kind::Spins };
    const C: Lock = Lock { class: (3, 0), address: 0x30, kind: Kind::Spins };

    #[track_caller]
    fn taker(task: u32, depth: u32, irqs_on: bool) -> Taker<'static> {
        static WHO: LazyLock<Arc<str>> = LazyLock::new(|| "somebody".into());
        Taker { task, depth, irqs_on, who: &WHO, place: Location::caller(), now: 0 }
    }

    /// Takes the locks one after the other and gives all back; the rules that broke.
    fn take(dep: &mut Lockdep, locks: &[Lock], taker: &Taker<'_>) -> Vec<&'static str> {
        let mut rules = Vec::new();
        for lock in locks {
            rules.extend(dep.taking(lock, true, taker, || "lock".into()).iter().map(|finding| finding.rule.id));
            dep.taken(lock, taker);
        }
        for lock in locks {
            dep.released(lock.address, taker.task);
        }
        rules
    }

    #[test]
    fn two_orders_are_found_though_they_never_meet() {
        let mut dep = Lockdep::default();
        assert_eq!(take(&mut dep, &[A, B], &taker(1, 0, false)), [] as [&str; 0]);
        assert_eq!(take(&mut dep, &[B, A], &taker(2, 0, false)), ["lock-order"]);
    }

    #[test]
    fn a_circle_of_three_is_found_once() {
        let mut dep = Lockdep::default();
        take(&mut dep, &[A, B], &taker(1, 0, false));
        take(&mut dep, &[B, C], &taker(1, 0, false));
        assert_eq!(take(&mut dep, &[C, A], &taker(1, 0, false)), ["lock-order"]);
        assert_eq!(take(&mut dep, &[C, A], &taker(1, 0, false)), [] as [&str; 0]);
    }

    #[test]
    fn one_order_everywhere_is_silent() {
        let mut dep = Lockdep::default();
        for task in 1..4 {
            assert_eq!(take(&mut dep, &[A, B, C], &taker(task, 0, false)), [] as [&str; 0]);
        }
    }

    #[test]
    fn two_locks_of_one_class_have_no_order() {
        let mut dep = Lockdep::default();
        let other = Lock { address: 0x11, ..A };
        assert_eq!(take(&mut dep, &[A, other], &taker(1, 0, false)), ["lock-order"]);
    }

    #[test]
    fn locks_of_different_tasks_are_in_no_order() {
        let mut dep = Lockdep::default();
        dep.taking(&A, true, &taker(1, 0, false), || "a".into());
        dep.taken(&A, &taker(1, 0, false));
        assert!(take(&mut dep, &[B], &taker(2, 0, false)).is_empty());
        dep.released(A.address, 1);
        assert!(take(&mut dep, &[B, A], &taker(2, 0, false)).is_empty());
    }

    #[test]
    fn a_lock_of_a_handler_taken_with_interrupts_on_is_found_in_either_order() {
        let mut dep = Lockdep::default();
        assert!(take(&mut dep, &[A], &taker(1, 1, false)).is_empty());
        assert!(take(&mut dep, &[A], &taker(1, 0, false)).is_empty());
        assert_eq!(take(&mut dep, &[A], &taker(1, 0, true)), ["lock-irq-unsafe"]);
        assert!(take(&mut dep, &[B], &taker(1, 0, true)).is_empty());
        assert_eq!(take(&mut dep, &[B], &taker(1, 1, false)), ["lock-irq-unsafe"]);
    }

    #[test]
    fn a_lock_that_a_handler_waits_for_behind_another_is_found() {
        let mut dep = Lockdep::default();
        take(&mut dep, &[A], &taker(1, 1, false));
        take(&mut dep, &[A, B], &taker(1, 0, false));
        assert_eq!(take(&mut dep, &[B], &taker(2, 0, true)), ["lock-irq-order"]);
        assert!(take(&mut dep, &[B], &taker(2, 0, true)).is_empty());
    }

    #[test]
    fn turning_interrupts_on_with_a_lock_held_counts_as_taking_it_so() {
        let mut dep = Lockdep::default();
        take(&mut dep, &[A], &taker(1, 1, false));
        dep.taking(&A, true, &taker(1, 0, false), || "a".into());
        dep.taken(&A, &taker(1, 0, false));
        assert_eq!(dep.irqs_came_on(&taker(1, 0, true)).first().map(|f| f.rule.id), Some("lock-irq-unsafe"));
    }

    #[test]
    fn a_lock_that_is_only_tried_comes_after_nothing() {
        let mut dep = Lockdep::default();
        take(&mut dep, &[A, B], &taker(1, 0, false));
        dep.taking(&B, true, &taker(1, 0, false), || "b".into());
        dep.taken(&B, &taker(1, 0, false));
        assert!(dep.taking(&A, false, &taker(1, 0, false), || "a".into()).is_empty());
    }
}
