//! The threads of a campaign. A bench belongs to a thread, so each worker lives whole lives; what came of them is taken in the
//! order in which they were planned.

use std::any::Any;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use bringup_core::{Chooser, Finding, States};

use super::plan::{Lesson, Recipe};
use crate::report::Report;

/// What is kept of a life.
#[derive(Debug)]
pub(super) struct Lived {
    pub(super) findings: Vec<Finding>,
    /// Its choices, if it has findings.
    pub(super) stream: Vec<u8>,
    pub(super) choices: usize,
    pub(super) operations: u64,
    pub(super) digest: u64,
    pub(super) seen: States,
    pub(super) could_see: States,
    pub(super) lesson: Lesson,
}

impl Lived {
    /// Lives a life on this thread.
    pub(super) fn live(recipe: &Recipe, life: &impl Fn(Box<dyn Chooser>) -> Report) -> Self {
        let (chooser, look) = recipe.chooser();
        let report = life(chooser);
        let stream = if report.findings.is_empty() { Vec::new() } else { report.stream.choices };
        Self {
            findings: report.findings,
            stream,
            choices: report.choices,
            operations: report.operations,
            digest: report.digest,
            seen: report.seen,
            could_see: report.could_see,
            lesson: Lesson { points: report.points, log: look.map(|look| look.take()) },
        }
    }
}

/// Runs `campaign` with a crew of `jobs` threads that live lives by `live`. No life begins once `over` holds.
pub(super) fn run<R>(
    jobs: usize,
    live: &(impl Fn(&Recipe) -> Lived + Sync),
    over: &(dyn Fn() -> bool + Sync),
    campaign: impl FnOnce(&mut Crew<'_>) -> R,
) -> R {
    let board = Board::default();
    if jobs <= 1 {
        return campaign(&mut Crew { board: &board, live: Some(live), over });
    }
    std::thread::scope(|scope| {
        // However the campaign ends, the workers must, for the scope waits for them.
        let _dismissal = Dismissal(&board);
        for number in 0..jobs {
            let thread = std::thread::Builder::new().name(format!("lives {number}"));
            // With fewer workers it only takes longer; with none there is still this thread.
            if thread.spawn_scoped(scope, || board.work(live, over)).is_err() {
                break;
            }
            board.lock().workers += 1;
        }
        let alone = board.lock().workers == 0;
        campaign(&mut Crew { board: &board, live: alone.then_some(live), over })
    })
}

/// Those who live the lives.
pub(super) struct Crew<'a> {
    board: &'a Board,
    /// Set if there is nobody but this thread.
    live: Option<&'a dyn Fn(&Recipe) -> Lived>,
    over: &'a (dyn Fn() -> bool + Sync),
}

impl Crew<'_> {
    /// Lives a batch and hands on what came of each life, in order. Whether all of it was lived and handed on.
    pub(super) fn live(&mut self, batch: Vec<Recipe>, mut take: impl FnMut(Recipe, Lived) -> ControlFlow<()>) -> bool {
        if let Some(live) = self.live {
            for recipe in batch {
                if (self.over)() {
                    return false;
                }
                let lived = live(&recipe);
                if take(recipe, lived).is_break() {
                    return false;
                }
            }
            return true;
        }
        self.board.post(&batch);
        for (index, recipe) in batch.into_iter().enumerate() {
            let Some(lived) = self.board.result(index) else { return false };
            if take(recipe, lived).is_break() {
                self.board.clear();
                return false;
            }
        }
        true
    }
}

/// Where lives to be lived are posted, and what came of them.
#[derive(Default)]
struct Board {
    state: Mutex<Batch>,
    /// There is something to do.
    posted: Condvar,
    /// Something was done.
    done: Condvar,
}

#[derive(Default)]
struct Batch {
    recipes: Vec<Recipe>,
    next: usize,
    results: Vec<Option<Lived>>,
    /// Lives that have begun and not ended.
    busy: usize,
    workers: usize,
    /// No life begins any more.
    over: bool,
    dismissed: bool,
    panic: Option<Box<dyn Any + Send>>,
}

struct Dismissal<'a>(&'a Board);

impl Drop for Dismissal<'_> {
    fn drop(&mut self) {
        self.0.lock().dismissed = true;
        self.0.posted.notify_all();
    }
}

impl Board {
    fn lock(&self) -> MutexGuard<'_, Batch> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn post(&self, batch: &[Recipe]) {
        let mut state = self.lock();
        state.recipes = batch.to_vec();
        state.next = 0;
        state.results = batch.iter().map(|_| None).collect();
        drop(state);
        self.posted.notify_all();
    }

    /// No life of the batch begins any more; waits for those that have begun.
    fn clear(&self) {
        let mut state = self.lock();
        state.recipes.clear();
        while state.busy > 0 {
            state = self.done.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// What came of a life of the batch; `None` if it is not lived any more.
    fn result(&self, index: usize) -> Option<Lived> {
        let mut state = self.lock();
        loop {
            if let Some(panic) = state.panic.take() {
                drop(state);
                resume_unwind(panic);
            }
            if let Some(lived) = state.results.get_mut(index).and_then(Option::take) {
                return Some(lived);
            }
            if state.over && state.busy == 0 {
                return None;
            }
            state = self.done.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn work(&self, live: &impl Fn(&Recipe) -> Lived, over: &dyn Fn() -> bool) {
        let mut state = self.lock();
        loop {
            if state.dismissed {
                return;
            }
            let index = state.next;
            let Some(recipe) = state.recipes.get(index).cloned().filter(|_| !state.over) else {
                state = self.posted.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            if over() {
                state.over = true;
                self.done.notify_all();
                continue;
            }
            state.next += 1;
            state.busy += 1;
            drop(state);
            let lived = catch_unwind(AssertUnwindSafe(|| live(&recipe)));
            state = self.lock();
            state.busy -= 1;
            match lived {
                Ok(lived) => {
                    if let Some(slot) = state.results.get_mut(index) {
                        *slot = Some(lived);
                    }
                }
                Err(panic) => {
                    state.over = true;
                    state.panic.get_or_insert(panic);
                }
            }
            self.done.notify_all();
        }
    }
}
