//! Tasks: processes, work items and threaded handlers, each on a stack of its own, one running at a time.
//!
//! The bench's caller is the scheduler: it resumes a task, and the task runs until it waits, is pre-empted, ends or dies. A
//! dead task's stack is never unwound (a kernel task that oopses runs no destructors either); it is reset and used again.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Once};

use bringup_core::choice::Point;
use bringup_core::time::TimerId;
use bringup_core::trace::Event;
use bringup_core::{Coverage, Finding, Nanos, Place};
use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, Yielder};

use crate::machine::{self, Machine, TimerEvent, with};
use crate::{rt, rules};

/// Advances whenever driver code of any bench in this process touches its machine.
static HEARTBEAT: AtomicU64 = AtomicU64::new(0);

/// A number that changes whenever driver code touches its machine, on whatever thread. A tool can watch it from another thread
/// to tell a driver that spins in a loop of its own, which no watchdog in virtual time can see.
#[must_use]
pub fn heartbeat() -> u64 {
    HEARTBEAT.load(Ordering::Relaxed)
}

/// Names a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TaskId(pub(crate) u32);

/// Why a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// Somebody woke the task.
    Woken,
    /// The deadline passed.
    TimedOut,
    /// A signal is pending.
    Signal,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Runnable,
    Waiting,
    /// It will never run again: it panicked, or hangs.
    Dead,
}

pub(crate) struct Wait {
    interruptible: bool,
    since: Nanos,
    timer: Option<TimerId>,
    /// What somebody must notify, and since when nothing was looked at any more that a notification is about.
    about: Option<(usize, Nanos)>,
    /// What it waits for, and where, for the hung-task report.
    what: &'static str,
    place: Place,
}

pub(crate) struct Task {
    pub(crate) id: TaskId,
    pub(crate) name: Arc<str>,
    pub(crate) state: State,
    pub(crate) wait: Option<Wait>,
    wake: Wake,
    pub(crate) signal: bool,
    /// Spinlocks held and explicit `preempt_disable`s.
    pub(crate) preempt: u32,
    /// `local_irq_save` depth.
    pub(crate) irqs_off: u32,
    /// When it last slept or was switched to, and how much it did since.
    pub(crate) busy_since: Nanos,
    pub(crate) busy_operations: u64,
    pub(crate) module: u32,
    /// Counts tasks as [`TaskId`] does, but for idle ones: it does not depend on where a device worked.
    born: u32,
    /// Runs only when nothing else can: the idle task.
    pub(crate) idle: bool,
}

#[derive(Default)]
pub(crate) struct Tasks {
    /// By number.
    pub(crate) list: Vec<Task>,
    /// The one whose stack we are on.
    pub(crate) current: Option<TaskId>,
    /// Where it was found in the list last.
    place: usize,
    next: u32,
    born: u32,
    /// The numbers of tasks that became runnable, oldest first.
    queue: Vec<u32>,
    /// What tasks wait for, since when, and who; in no particular order.
    waiting: Vec<(usize, Nanos, TaskId)>,
}

impl Tasks {
    pub(crate) fn get(&mut self, id: TaskId) -> Option<&mut Task> {
        let place = self.list.binary_search_by_key(&id, |task| task.id).ok()?;
        self.list.get_mut(place)
    }

    #[inline]
    pub(crate) fn running(&mut self) -> Option<&mut Task> {
        let id = self.current?;
        if self.list.get(self.place).is_none_or(|task| task.id != id) {
            self.place = self.list.binary_search_by_key(&id, |task| task.id).ok()?;
        }
        self.list.get_mut(self.place)
    }

    pub(crate) fn has_queued(&self) -> bool {
        !self.queue.is_empty()
    }
}

type Fiber = Coroutine<(), (), (), DefaultStack>;

/// Stacks are 256 KiB: the kernel's own are 16 KiB, but debug builds of Rust are generous with theirs.
const STACK: usize = 256 * 1024;

thread_local! {
    /// The stacks of the tasks, outside the machine: a task is resumed while the machine is free to be used.
    static FIBERS: RefCell<Vec<(TaskId, Fiber)>> = const { RefCell::new(Vec::new()) };
    static STACKS: RefCell<Vec<DefaultStack>> = const { RefCell::new(Vec::new()) };
    static YIELDER: Cell<*const Yielder<(), ()>> = const { Cell::new(std::ptr::null()) };
    static PANIC: RefCell<Option<PanicNote>> = const { RefCell::new(None) };
}

struct PanicNote {
    message: String,
    place: Option<Place>,
}

/// Catches the panics of drivers instead of printing them; those of other code go where they went before.
fn install_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !machine::is_running() {
                previous(info);
                return;
            }
            let message = info.payload_as_str().unwrap_or("a panic without a message").to_owned();
            // The driver's source outlives the process' panics: locations are statics, which `PanicHookInfo` hides.
            let place = info.location().map(leak_location);
            PANIC.with(|slot| *slot.borrow_mut() = Some(PanicNote { message, place }));
            // Filed before anything unwinds: what destructors do from here on does not count, and nothing in them waits or
            // is interrupted. (A panic inside the machine's own borrow, that is in a device model, is filed when caught.)
            if machine::try_with(|_| ()).is_some() {
                bug();
            }
        }));
    });
}

fn leak_location(location: &Location<'_>) -> Place {
    thread_local! {
        static SEEN: RefCell<Vec<Place>> = const { RefCell::new(Vec::new()) };
    }
    SEEN.with(|seen| {
        let mut seen = seen.borrow_mut();
        if let Some(known) = seen.iter().copied().find(|place| **place == *location) {
            return known;
        }
        // SAFETY: a `Location` points to strings in the program's read-only data; copying it extends nothing that could
        // be freed. One is kept for each place that ever panicked.
        let place: Place = unsafe { std::mem::transmute::<&Location<'_>, Place>(Box::leak(Box::new(*location))) };
        seen.push(place);
        place
    })
}

/// Makes a runnable task that will run `body`.
pub(crate) fn spawn(name: impl Into<Arc<str>>, idle: bool, body: Box<dyn FnOnce()>) -> TaskId {
    install_hook();
    let id = with(|m| {
        m.tasks.next += 1;
        m.tasks.born += u32::from(!idle);
        let id = TaskId(m.tasks.next);
        let now = m.now();
        m.tasks.list.push(Task {
            id,
            name: name.into(),
            state: State::Runnable,
            wait: None,
            wake: Wake::Woken,
            signal: false,
            preempt: 0,
            irqs_off: 0,
            busy_since: now,
            busy_operations: 0,
            module: m.module,
            born: if idle { 0 } else { m.tasks.born },
            idle,
        });
        m.tasks.queue.push(id.0);
        id
    });
    let stack = STACKS.with(|stacks| stacks.borrow_mut().pop());
    let stack = stack.unwrap_or_else(|| DefaultStack::new(STACK).expect("the host has memory for a task's stack"));
    let fiber = Coroutine::with_stack(stack, move |yielder: &Yielder<(), ()>, ()| {
        YIELDER.set(yielder);
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            body();
            rt::lock::nothing_held("when it ends");
        }));
        // The yielder of whoever is resumed next is set when that one runs.
        if outcome.is_err() {
            bug();
        }
    });
    FIBERS.with(|fibers| fibers.borrow_mut().push((id, fiber)));
    id
}

/// How panics over numbers begin that do not say the number.
const ARITHMETIC: [&str; 2] = ["attempt to", "capacity overflow"];

/// Files a driver's panic, as the kernel's BUG, if it was not filed yet.
pub(crate) fn bug() {
    let Some(note) = PANIC.with(|slot| slot.borrow_mut().take()) else { return };
    with(|m| {
        let what = format!("kernel BUG: {}", note.message);
        let mut finding = match m.blame(&note.message) {
            Some(word) => Finding::new(&rules::UNCHECKED_DEVICE_VALUE, what).note(word.describe()),
            None => Finding::new(&rules::DRIVER_PANIC, what),
        };
        if finding.rule == &rules::DRIVER_PANIC
            && let Some(word) = m.heard.last().filter(|_| ARITHMETIC.iter().any(|kind| note.message.starts_with(kind)))
        {
            finding.notes.push(format!("the last thing that a device said: {}", word.describe()));
        }
        finding.notes.extend(m.early_handler_note());
        m.report_explained(finding.at_place(note.place));
        let place = note.place.map_or_else(String::new, |place| format!(" at {}:{}", place.file(), place.line()));
        m.log_line(2, format!("kernel BUG{place}: {}", note.message));
        m.crashed = true;
    });
}

/// Gives the processor back to the scheduler; returns when the scheduler resumes this task.
fn suspend() {
    let yielder = YIELDER.get();
    assert!(!yielder.is_null(), "only a task can wait");
    // SAFETY: a task's yielder lives on its own stack as long as the task does, and `YIELDER` is set to it whenever the
    // task runs (at its start, and here after every suspension).
    unsafe { (*yielder).suspend(()) };
    YIELDER.set(yielder);
}

/// Ends the running task where it stands, without unwinding.
pub(crate) fn die() -> ! {
    loop {
        with(|m| {
            m.crashed = true;
            if let Some(task) = m.tasks.running() {
                task.state = State::Dead;
            }
        });
        suspend();
    }
}

/// Lets another task run and goes on later.
pub(crate) fn yield_now() {
    let may = with(|m| match m.tasks.running() {
        Some(task) if m.irqs.depth() == 0 => {
            let id = task.id;
            m.tasks.queue.push(id.0);
            // Switching to another task is a full barrier; what is under way to devices stays so.
            m.bus.fabric.land_stores();
            true
        }
        _ => false,
    });
    if may {
        suspend();
    }
}

/// Waits until somebody wakes `key`, the deadline passes, or (if `interruptible`) a signal comes.
pub(crate) fn wait(key: usize, deadline: Option<Nanos>, interruptible: bool, what: &'static str, place: Place) -> Wake {
    wait_about(key, None, deadline, interruptible, what, place)
}

/// As [`wait`], for whoever knows what a notification is about: see [`Wait`].
pub(crate) fn wait_about(
    key: usize,
    about: Option<(usize, Nanos)>,
    deadline: Option<Nanos>,
    interruptible: bool,
    what: &'static str,
    place: Place,
) -> Wake {
    let ready = with(|m| {
        if m.crashed {
            return Some(Wake::TimedOut);
        }
        // Nothing is under way as long as that.
        m.bus.land_all();
        let now = m.now();
        let task = m.tasks.running()?;
        if interruptible && task.signal {
            return Some(Wake::Signal);
        }
        let id = task.id;
        m.bus.fabric.choices.history.cpu(4);
        let timer = deadline.map(|at| m.timers.set(at.max(now), TimerEvent::Task(id)));
        let task = m.tasks.running()?;
        task.wait = Some(Wait { interruptible, since: now, timer, about, what, place });
        task.state = State::Waiting;
        m.tasks.waiting.push((key, now, id));
        m.event(|| Event::Block { on: what });
        m.bus.fabric.cover(Coverage::TaskBlocked);
        None
    });
    if let Some(wake) = ready {
        return wake;
    }
    let since = with(|m| m.now());
    suspend();
    with(|m| {
        let wake = m.tasks.running().map_or(Wake::Woken, |task| task.wake);
        if wake == Wake::TimedOut
            && let Some(about) = about
            && let Some(lost) = m.lost_wakeup(about, since, "waited until its time was over", place)
        {
            m.report(lost);
        }
        wake
    })
}

impl Machine {
    /// Makes a waiting task runnable.
    pub(crate) fn make_runnable(&mut self, id: TaskId, wake: Wake) {
        let Some(task) = self.tasks.get(id) else { return };
        if task.state != State::Waiting {
            return;
        }
        task.state = State::Runnable;
        task.wake = wake;
        match wake {
            Wake::Woken => {}
            Wake::TimedOut => self.bus.fabric.cover(Coverage::TimedOut),
            Wake::Signal => self.bus.fabric.cover(Coverage::Signalled),
        }
        let timer = task.wait.take().and_then(|wait| wait.timer);
        self.bus.fabric.event(|| Event::Wake { task: task.name.to_string() });
        if let Some(timer) = timer {
            self.timers.cancel(timer);
        }
        self.tasks.waiting.retain(|(_, _, waiting)| *waiting != id);
        self.tasks.queue.push(id.0);
    }

    /// Wakes the tasks that wait for `key`, at most `most`, those that wait longest first.
    pub(crate) fn wake(&mut self, key: usize, most: usize) -> usize {
        for woken in 0..most {
            let waiting = self.tasks.waiting.iter().filter(|(other, ..)| *other == key);
            let Some((_, id)) = waiting.map(|(_, since, id)| (*since, *id)).min() else { return woken };
            self.make_runnable(id, Wake::Woken);
        }
        most
    }

    /// Sends a signal to a task.
    pub(crate) fn signal(&mut self, id: TaskId) {
        let Some(task) = self.tasks.get(id) else { return };
        task.signal = true;
        if task.wait.as_ref().is_some_and(|wait| wait.interruptible) {
            self.make_runnable(id, Wake::Signal);
        }
    }

    /// Whether the running task may be switched away from here.
    pub(crate) fn preemptible(&mut self) -> bool {
        self.irqs.depth() == 0
            && self.tasks.running().is_some_and(|task| task.preempt == 0 && task.irqs_off == 0 && !task.idle)
    }

    /// Whether the running task should give way here, as the chooser says.
    pub(crate) fn preempts_here(&mut self) -> bool {
        self.tasks.has_queued() && self.preemptible() && self.chooses_to_preempt()
    }

    fn chooses_to_preempt(&mut self) -> bool {
        let running = self.tasks.current.map_or(0, |id| id.0);
        self.note_ahead();
        // For the choice alone the running task stands behind the others.
        self.tasks.queue.push(running);
        let preempts = self.bus.fabric.choices.choose_among(Point::Preempt, 2, &self.tasks.queue) == 1;
        self.tasks.queue.pop();
        preempts
    }
}

/// How running a task ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The task came to its end.
    Done,
    /// The life cannot go on; a finding says why.
    Crashed,
    /// The moment that was asked for came.
    Reached,
}

enum Step {
    Run(TaskId),
    Idle(Nanos),
    Nothing,
    Stop(Outcome),
}

/// Runs the machine until `until` has ended, or `moment` has come, or nothing will ever happen again.
pub(crate) fn run(until: Option<TaskId>, moment: Option<Nanos>) -> Outcome {
    let began = with(|m| {
        m.bus.fabric.choices.history.cpu(5);
        m.now()
    });
    loop {
        let step = with(|m| {
            if m.crashed {
                return Step::Stop(Outcome::Crashed);
            }
            if until.is_some() && m.now().saturating_sub(began) > m.limits.call_ns {
                m.report_endless(until);
                return Step::Stop(Outcome::Crashed);
            }
            if let Some(id) = until
                && m.tasks.get(id).is_none()
            {
                return Step::Stop(Outcome::Done);
            }
            if m.tasks.queue.is_empty() {
                m.bus.land_all();
            }
            if m.something_is_due() {
                return Step::Run(TaskId(0));
            }
            let queued = m.tasks.queue.len();
            if queued > 0 {
                m.note_ahead();
                let most = queued.min(256);
                let tasks = &m.tasks.queue[..most];
                let index = m.bus.fabric.choices.choose_among(Point::Task, most as u32, tasks) as usize;
                return Step::Run(TaskId(m.tasks.queue.remove(index)));
            }
            let next = m.next_event();
            match (next, moment) {
                (_, Some(moment)) if m.now() >= moment => Step::Stop(Outcome::Reached),
                (Some(at), Some(moment)) => Step::Idle(at.min(moment)),
                (Some(at), None) => Step::Idle(at),
                (None, Some(moment)) => Step::Idle(moment),
                (None, None) => Step::Nothing,
            }
        });
        match step {
            Step::Stop(outcome) => return outcome,
            Step::Run(TaskId(0)) => run_idle(),
            Step::Run(id) => resume(id),
            Step::Idle(at) => {
                with(|m| {
                    m.show_idle();
                    let now = m.now();
                    m.bus.fabric.advance(at.saturating_sub(now));
                    m.check_hung();
                    if until.is_some() {
                        m.interrupt_waiting(m.limits.patience_ns);
                    }
                });
            }
            Step::Nothing => {
                with(Machine::show_idle);
                if until.is_none() {
                    return Outcome::Reached;
                }
                // Nothing will wake anybody any more. Whoever can be interrupted is, as an impatient user would.
                if !with(|m| m.interrupt_waiting(0)) {
                    with(|m| m.report_hung(None));
                    return Outcome::Crashed;
                }
            }
        }
    }
}

/// Lets handlers and timers that are due run when no task does: on the idle task's stack.
fn run_idle() {
    let id = spawn(with(|m| m.idle_name.clone()), true, Box::new(rt::idle_point));
    with(|m| m.tasks.queue.retain(|queued| *queued != id.0));
    resume(id);
}

/// Runs `f` in the running task as code of a module, whose is what it takes.
pub(crate) fn in_module<R>(module: u32, f: impl FnOnce() -> R) -> R {
    let set = |module| {
        with(|m| {
            if let Some(task) = m.tasks.running() {
                task.module = module;
            }
            std::mem::replace(&mut m.module, module)
        })
    };
    let outer = set(module);
    let result = f();
    set(outer);
    result
}

/// Switches to a task, and back when it waits or ends.
fn resume(id: TaskId) {
    let Some((id, mut fiber)) = FIBERS.with(|fibers| {
        let mut fibers = fibers.borrow_mut();
        let index = fibers.iter().position(|(owner, _)| *owner == id)?;
        Some(fibers.swap_remove(index))
    }) else {
        return;
    };
    let (outer_task, outer_context, outer_module) = with(|m| {
        let (outer_task, outer_module) = (m.tasks.current.replace(id), m.module);
        m.stats.switches += 1;
        let now = m.now();
        let born = m.tasks.running().map_or(0, |task| task.born);
        m.bus.fabric.choices.history.cpu(6 << 32 | u64::from(born));
        let Some(task) = m.tasks.running() else { return (outer_task, None, outer_module) };
        task.busy_since = now;
        task.busy_operations = 0;
        m.module = task.module;
        m.bus.fabric.order.set_context(id.0);
        m.bus.fabric.cpu_catches_up();
        let Some(task) = m.tasks.running() else { return (outer_task, None, outer_module) };
        let fabric = &mut m.bus.fabric;
        let outer = std::mem::replace(&mut fabric.context, task.name.clone());
        let outer = (std::mem::replace(&mut fabric.task, id.0 as u16), outer);
        fabric.event(|| Event::Switch { task: task.name.to_string() });
        (outer_task, Some(outer), outer_module)
    });
    let was_running = machine::set_running(true);
    let result = fiber.resume(());
    machine::set_running(was_running);
    with(|m| {
        m.bus.fabric.choices.history.cpu(7 + u64::from(fiber.done()));
        if fiber.done() {
            m.bus.land_all();
            m.tasks.list.retain(|task| task.id != id);
        }
        m.tasks.current = outer_task;
        m.module = outer_module;
        if let Some((task, context)) = outer_context {
            m.set_context(task, context);
        }
    });
    match result {
        corosensei::CoroutineResult::Return(()) => STACKS.with(|stacks| stacks.borrow_mut().push(fiber.into_stack())),
        corosensei::CoroutineResult::Yield(()) => FIBERS.with(|fibers| fibers.borrow_mut().push((id, fiber))),
    }
}

/// Ends all tasks of this thread's machine where they stand.
pub(crate) fn abandon_all() {
    let fibers = FIBERS.with(|fibers| std::mem::take(&mut *fibers.borrow_mut()));
    for (_, mut fiber) in fibers {
        if !fiber.done() {
            // SAFETY: nothing refers to the stack from outside: what its frames own in the machine is the machine's to
            // free, and the rest leaks, as it does when a kernel task oopses.
            unsafe { fiber.force_reset() };
        }
        STACKS.with(|stacks| stacks.borrow_mut().push(fiber.into_stack()));
    }
    // Buffers on those stacks may be lent to it.
    machine::try_with(|m| m.user.abandon());
}

impl Machine {
    fn check_hung(&mut self) {
        let (now, limit) = (self.now(), self.limits.hung_ns);
        let hung = self.tasks.list.iter().find(|task| {
            task.wait
                .as_ref()
                .is_some_and(|wait| !wait.interruptible && wait.timer.is_none() && now - wait.since >= limit)
        });
        if let Some(id) = hung.map(|task| task.id) {
            self.report_hung(Some(id));
        }
    }

    /// Reports a call that sleeps and wakes and never ends, and ends the life.
    fn report_endless(&mut self, id: Option<TaskId>) {
        let name = self
            .tasks
            .list
            .iter()
            .find(|task| Some(task.id) == id)
            .map_or_else(|| "?".into(), |task| task.name.clone());
        let (place, seconds) = (self.last_place, self.limits.call_ns / 1_000_000_000);
        self.set_context(0, name.clone());
        let what = format!("{name} has not come to an end in {seconds} virtual seconds");
        self.report_explained(Finding::new(&rules::WATCHDOG_HUNG, what).at_place(place));
        self.crashed = true;
    }

    /// Sends a signal to the tasks that have waited interruptibly for `patience`, without a time-out of their own and without a
    /// signal yet; whether there was one.
    fn interrupt_waiting(&mut self, patience: Nanos) -> bool {
        let now = self.now();
        let patient = |task: &&Task| {
            let waits = task
                .wait
                .as_ref()
                .is_some_and(|wait| wait.interruptible && wait.timer.is_none() && now - wait.since >= patience);
            waits && !task.signal
        };
        let waiting: Vec<TaskId> = self.tasks.list.iter().filter(patient).map(|task| task.id).collect();
        for id in &waiting {
            self.signal(*id);
        }
        !waiting.is_empty()
    }

    /// Reports a task that waits for something that does not come, and ends the life.
    fn report_hung(&mut self, id: Option<TaskId>) {
        let now = self.now();
        let waiting = self.tasks.list.iter().filter(|task| task.state == State::Waiting);
        let Some(task) = waiting.filter(|task| id.is_none_or(|id| id == task.id)).min_by_key(|task| task.id) else {
            self.crashed = true;
            return;
        };
        let (name, waits) = (
            task.name.clone(),
            task.wait.as_ref().map(|wait| (wait.what, wait.place, now - wait.since, wait.about, wait.since)),
        );
        let Some((what, place, span, about, since)) = waits else { return };
        let why = if id.is_some() {
            format!("for {} virtual seconds", span / 1_000_000_000)
        } else {
            "for something that can no longer happen".into()
        };
        self.set_context(0, name.clone());
        let lost = about.and_then(|about| self.lost_wakeup(about, since, &format!("waits {why}"), place));
        let mut finding = lost.unwrap_or_else(|| {
            let what = format!("task {name} waits {why} ({what})");
            let mut finding = Finding::new(&rules::WATCHDOG_HUNG, what).at_place(Some(place));
            finding.notes.extend(about.and_then(|(about, _)| self.missed.note(about)));
            finding
        });
        finding.notes.extend(self.kept_interrupts());
        self.report_explained(finding);
        self.crashed = true;
    }

    /// Counts one thing the running task did; says whether it has been busy for too long.
    #[inline]
    pub(crate) fn is_locked_up(&mut self) -> bool {
        let now = self.now();
        let limits = &self.limits;
        let Some(task) = self.tasks.running() else { return false };
        task.busy_operations += 1;
        HEARTBEAT.store(HEARTBEAT.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        let (span, operations) = (now.saturating_sub(task.busy_since), task.busy_operations);
        span > limits.busy_ns || operations > limits.busy_operations
    }
}
