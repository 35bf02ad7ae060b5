//! The machine that a thread is running: everything a life consists of, behind one thread-local.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use bringup_core::time::Timers;
use bringup_core::trace::Event;
use bringup_core::{Bus, Coverage, DeviceId, Finding, Nanos, Place, Rule};

use crate::file::{CharDevice, UserMemory};
use crate::irq::Interrupts;
use crate::ledger::Ledger;
use crate::lockdep::Lockdep;
use crate::module::Loadable;
use crate::rt::dma::DmaState;
use crate::rt::pci::{IoMap, PciDriver};
use crate::rt::work::WorkState;
use crate::task::{TaskId, Tasks};

/// A call back into driver code: a function and its argument, as C's callbacks are.
#[derive(Clone, Copy, Debug)]
pub struct Callback {
    function: unsafe fn(*const ()) -> u32,
    data: *const (),
}

impl Callback {
    /// A callback that will be called as `function(data)`.
    ///
    /// # Safety
    /// Until it is taken back (handler freed, timer cancelled, work run), `function` must be callable with `data` from any
    /// task of the machine it is given to.
    pub const unsafe fn new(function: unsafe fn(*const ()) -> u32, data: *const ()) -> Self {
        Self { function, data }
    }

    /// The address of the function, which tells callbacks of one kind from others.
    pub(crate) fn address(self) -> usize {
        self.function as usize
    }

    pub(crate) fn call(self) -> u32 {
        // SAFETY: `new`'s caller promised that the pair may be called until it is taken back.
        unsafe { (self.function)(self.data) }
    }
}

/// One line of the kernel log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// When, in virtual nanoseconds.
    pub at: Nanos,
    /// 0 (emergency) to 7 (debug).
    pub level: u8,
    /// The text, prefix included, without a newline.
    pub text: String,
}

/// A module that is loaded.
pub(crate) struct LoadedModule {
    pub(crate) id: u32,
    pub(crate) definition: &'static Loadable,
    pub(crate) state: Option<Box<dyn Any>>,
}

/// What binds a device to a driver.
pub(crate) struct Binding {
    pub(crate) driver: u32,
    pub(crate) since: u64,
    /// The driver's probe has not returned yet.
    pub(crate) probing: bool,
}

/// What the machine knows of a device beyond the bus.
#[derive(Default)]
pub(crate) struct DeviceState {
    pub(crate) binding: Option<Binding>,
    /// That it asserts its pin after its driver let go of it was reported.
    pub(crate) told_off: bool,
    /// It had a driver at some time.
    pub(crate) was_bound: bool,
    /// The bus layer's own object for it (the kernel crate's `struct pci_dev`), alive as long as the machine.
    pub(crate) object: Option<Box<dyn Any>>,
    pub(crate) dma: DmaState,
    pub(crate) regions: [bool; 6],
    pub(crate) vectors: Option<crate::irq::VectorsId>,
    /// The irq number its pin is wired to.
    pub(crate) line: Option<u32>,
}

pub(crate) struct Chardev {
    pub(crate) id: u32,
    /// The module whose code its calls run.
    pub(crate) module: u32,
    pub(crate) name: String,
    pub(crate) ops: Rc<dyn CharDevice>,
    pub(crate) ledger: crate::ledger::LedgerId,
}

pub(crate) struct DebugNode {
    pub(crate) id: u32,
    pub(crate) parent: Option<u32>,
    pub(crate) name: String,
    /// `None` for a directory.
    pub(crate) ops: Option<Rc<dyn CharDevice>>,
    pub(crate) ledger: crate::ledger::LedgerId,
}

/// Numbers of a life, for the report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Interrupt handlers entered.
    pub interrupts: u64,
    /// Allocations asked for.
    pub allocations: u64,
    /// Allocations, and other calls that can fail, that were chosen to.
    pub failed_allocations: u64,
    /// Task switches.
    pub switches: u64,
}

pub(crate) enum TimerEvent {
    /// A task's deadline.
    Task(TaskId),
    /// A high-resolution timer, by the address of its state.
    Hr { key: usize, callback: Callback },
    /// Delayed work.
    Work { key: usize },
}

pub(crate) struct Machine {
    pub(crate) bus: Bus,
    pub(crate) tasks: Tasks,
    pub(crate) irqs: Interrupts,
    pub(crate) timers: Timers<TimerEvent>,
    pub(crate) hrtimers: Vec<crate::rt::time::HrTimer>,
    pub(crate) ledger: Ledger,
    pub(crate) locks: Lockdep,
    pub(crate) heard: crate::heard::Heard,
    pub(crate) fetches: crate::fetch::Fetches,
    /// Counts the driver's accesses to registers.
    pub(crate) bar_accesses: u64,
    /// Notifications that came when nobody waited.
    pub(crate) missed: crate::missed::Missed,
    pub(crate) devices: Vec<DeviceState>,
    pub(crate) platform: crate::rt::platform::PlatformState,
    pub(crate) drivers: BTreeMap<u32, Rc<dyn PciDriver>>,
    pub(crate) driver_ledger: Vec<(u32, crate::ledger::LedgerId)>,
    /// Counts bindings, so that they can be undone in reverse order.
    pub(crate) bindings: u64,
    /// Drivers that refused a device: driver, device, negative errno.
    pub(crate) probe_errors: Vec<(String, DeviceId, i32)>,
    pub(crate) modules: Vec<LoadedModule>,
    pub(crate) module: u32,
    pub(crate) chardevs: Vec<Chardev>,
    pub(crate) debugfs: Vec<DebugNode>,
    pub(crate) iomaps: Vec<IoMap>,
    pub(crate) work: WorkState,
    pub(crate) user: UserMemory,
    pub(crate) heap: crate::heap::Heap,
    pub(crate) log: Vec<LogLine>,
    /// A line of the log that is not ended yet.
    pub(crate) partial: Option<(u8, String)>,
    pub(crate) stats: Stats,
    pub(crate) next_id: u32,
    /// The life cannot go on: a driver panicked, or a task hangs.
    pub(crate) crashed: bool,
    pub(crate) limits: Limits,
    pub(crate) open_files: u32,
    /// How often in a row a due device, and a due interrupt, was put off.
    pub(crate) device_deferrals: u8,
    pub(crate) irq_deferrals: u8,
    /// How often the processor stood still for long.
    pub(crate) long_stalls: u8,
    /// Where the driver last touched the waist or waited.
    pub(crate) last_place: Option<Place>,
    /// What the idle task is called, made once.
    pub(crate) idle_name: Arc<str>,
    /// The state that an interrupt now leads to: a driver is being bound, or lets go.
    pub(crate) in_binding: Option<Coverage>,
    /// Counts the lives of this thread.
    pub(crate) life: u64,
    /// Any device has a monitor.
    pub(crate) monitored: bool,
    /// Counts runs of interrupt handlers and timers.
    pub(crate) handlers: u32,
    /// The contexts that those on the stack interrupted, for the memory model.
    pub(crate) interrupted: Vec<u32>,
    /// The state of what monitors watch that accesses are filtered by.
    pub(crate) watches: u64,
}

/// When the watchdog barks.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Virtual nanoseconds a task may run without sleeping. Linux's soft-lockup detector takes 20 seconds.
    pub busy_ns: Nanos,
    /// Waist operations and delays a task may do without sleeping.
    pub busy_operations: u64,
    /// Virtual nanoseconds a task may wait uninterruptibly. Linux's hung-task detector takes 120 seconds.
    pub hung_ns: Nanos,
    /// Virtual nanoseconds after which a process that waits interruptibly gets a signal while the bench waits for a process: a
    /// read that blocks until there is something to read is no bug, but nobody would wait longer.
    pub patience_ns: Nanos,
    /// Virtual nanoseconds that one call (a load, a read, an unload) may take. A loop that sleeps between two looks at a device
    /// that never gets ready is seen by nothing else.
    pub call_ns: Nanos,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            busy_ns: 20_000_000_000,
            busy_operations: 2_000_000,
            hung_ns: 120_000_000_000,
            patience_ns: 300_000_000_000,
            call_ns: 600_000_000_000,
        }
    }
}

thread_local! {
    static CURRENT: RefCell<Option<Box<Machine>>> = const { RefCell::new(None) };
    /// Set while driver code of this thread's machine may run; tells the panic hook whose panic it is.
    static RUNNING: Cell<bool> = const { Cell::new(false) };
}

/// Runs `f` on this thread's machine. `f` must not call driver code.
///
/// # Panics
/// When no bench exists on this thread.
#[inline]
#[track_caller]
pub(crate) fn with<R>(f: impl FnOnce(&mut Machine) -> R) -> R {
    CURRENT.with(|current| match &mut *current.borrow_mut() {
        Some(machine) => f(machine),
        None => panic!("the kernel was called on a thread that has no bench: build a bringup_bench::Bench first"),
    })
}

/// As [`with`], or `None` when no bench exists on this thread or it is being looked at.
#[inline]
pub(crate) fn try_with<R>(f: impl FnOnce(&mut Machine) -> R) -> Option<R> {
    CURRENT
        .try_with(|current| current.try_borrow_mut().ok().and_then(|mut machine| machine.as_deref_mut().map(f)))
        .ok()
        .flatten()
}

pub(crate) fn install(machine: Box<Machine>) -> Result<(), Box<Machine>> {
    CURRENT.with(|current| {
        let mut current = current.borrow_mut();
        if current.is_some() {
            return Err(machine);
        }
        *current = Some(machine);
        Ok(())
    })
}

pub(crate) fn uninstall() -> Option<Box<Machine>> {
    crate::rt::watch::forget();
    crate::rt::follow::follow(false);
    CURRENT.with(|current| current.borrow_mut().take())
}

pub(crate) fn set_running(running: bool) -> bool {
    RUNNING.with(|flag| flag.replace(running))
}

pub(crate) fn is_running() -> bool {
    RUNNING.try_with(Cell::get).unwrap_or(false)
}

impl Machine {
    pub(crate) fn now(&self) -> Nanos {
        self.bus.fabric.now()
    }

    pub(crate) fn id(&mut self) -> u32 {
        self.next_id += 1;
        self.next_id
    }

    pub(crate) fn event(&mut self, event: impl FnOnce() -> Event) {
        self.bus.fabric.event(event);
    }

    pub(crate) fn report(&mut self, finding: Finding) {
        // What a dying driver's destructors do is not its own doing.
        if !self.crashed {
            self.bus.fabric.report(finding);
        }
    }

    /// As [`report`](Self::report), with what the memory model knows that may be behind it.
    pub(crate) fn report_explained(&mut self, finding: Finding) {
        let notes = self.bus.fabric.order.explain();
        self.report(notes.into_iter().fold(finding, Finding::note));
    }

    pub(crate) fn find(&mut self, rule: &'static Rule, what: String, place: Option<Place>) {
        self.report(Finding::new(rule, what).at_place(place));
    }

    pub(crate) fn device_name(&self, id: DeviceId) -> String {
        self.bus.port(id).name().to_owned()
    }

    pub(crate) fn device(&mut self, id: DeviceId) -> &mut DeviceState {
        &mut self.devices[usize::from(id.0)]
    }

    /// Shows task and handler in trace and findings.
    pub(crate) fn set_context(&mut self, task: u16, name: Arc<str>) {
        self.bus.fabric.task = task;
        self.bus.fabric.context = name;
    }

    pub(crate) fn module_name(&self, id: u32) -> &'static str {
        self.modules.iter().find(|m| m.id == id).map_or("?", |m| m.definition.name)
    }

    /// The moment at which something happens by itself next.
    #[inline]
    pub(crate) fn next_event(&mut self) -> Option<Nanos> {
        match (self.bus.next_event(), self.timers.next_at()) {
            (Some(bus), Some(own)) => Some(bus.min(own)),
            (bus, own) => bus.or(own),
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // After a crash the driver's objects may be half-way through anything: their destructors must not run. Nor may those of a
        // module that could not be unloaded, for they have no machine any more.
        if self.crashed || self.modules.iter().any(|module| module.state.is_some()) {
            for module in self.modules.drain(..) {
                std::mem::forget(module.state);
            }
            std::mem::forget(std::mem::take(&mut self.drivers));
            std::mem::forget(self.platform.take_drivers());
            std::mem::forget(self.platform.take_objects());
            std::mem::forget(std::mem::take(&mut self.chardevs));
            std::mem::forget(std::mem::take(&mut self.debugfs));
            for device in &mut self.devices {
                std::mem::forget(device.object.take());
            }
        }
    }
}
