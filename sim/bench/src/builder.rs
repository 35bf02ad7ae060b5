//! Builds a bench: its devices, where its choices come from, what goes wrong; and keeps the memory from one life to the next.

use std::cell::RefCell;
use std::fmt;

use bringup_core::choice::{Chooser, Quiet};
use bringup_core::{Bus, BusConfig, Device, Order, Plan, PlugError, Ram};

use crate::bench::Bench;
use crate::ledger::Ledger;
use crate::machine::{self, DeviceState, Limits, Machine, Stats};
use crate::rt::platform::{PlatformDevice, PlatformState};
use crate::{irq, rt, task};

/// Why a bench was not built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A device was refused.
    #[error(transparent)]
    Plug(#[from] PlugError),
    /// The host has no address space for the machine's memory.
    #[error("no memory for the machine: {0}")]
    Memory(String),
    /// There is a bench on this thread already.
    #[error("this thread has a bench already; finish it first, or use another thread")]
    Busy,
}

/// Describes a bench; [`Bench::builder`] makes one.
pub struct Builder {
    devices: Vec<(String, Box<dyn Device>)>,
    platform: Vec<PlatformDevice>,
    chooser: Box<dyn Chooser>,
    plan: Plan,
    trace: bool,
    memory: u64,
    limits: Limits,
    monitors: bool,
    note_exercised: bool,
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("devices", &self.devices.iter().map(|(name, _)| name).collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            devices: Vec::new(),
            platform: Vec::new(),
            chooser: Box::new(Quiet),
            plan: Plan::new(Vec::new()),
            trace: false,
            memory: 64 << 20,
            limits: Limits::default(),
            monitors: true,
            note_exercised: false,
        }
    }
}

impl Builder {
    /// Adds a device under a name.
    #[must_use]
    pub fn device(self, name: &str, device: impl Device + 'static) -> Self {
        self.boxed_device(name, Box::new(device))
    }

    /// As [`device`](Self::device), for a device whose type is not known here.
    #[must_use]
    pub fn boxed_device(mut self, name: &str, device: Box<dyn Device>) -> Self {
        self.devices.push((name.into(), device));
        self
    }

    /// Adds a platform device, which firmware describes.
    #[must_use]
    pub fn platform_device(mut self, device: PlatformDevice) -> Self {
        self.platform.push(device);
        self
    }

    /// Where choices come from; [`Quiet`] if not said.
    #[must_use]
    pub fn chooser(self, chooser: impl Chooser + 'static) -> Self {
        self.boxed_chooser(Box::new(chooser))
    }

    /// As [`chooser`](Self::chooser), for one whose type is not known here: what a campaign hands to each life.
    #[must_use]
    pub fn boxed_chooser(mut self, chooser: Box<dyn Chooser>) -> Self {
        self.chooser = chooser;
        self
    }

    /// What goes wrong; nothing if not said.
    #[must_use]
    pub fn plan(mut self, plan: Plan) -> Self {
        self.plan = plan;
        self
    }

    /// Records the trace.
    #[must_use]
    pub fn trace(mut self, on: bool) -> Self {
        self.trace = on;
        self
    }

    /// The machine's memory in bytes; 64 MiB if not said. It is used for DMA.
    #[must_use]
    pub fn memory(mut self, bytes: u64) -> Self {
        self.memory = bytes;
        self
    }

    /// When the watchdog barks.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Whether protocol monitors watch the devices that there are monitors for (virtio). They do if not said.
    #[must_use]
    pub fn monitors(mut self, on: bool) -> Self {
        self.monitors = on;
        self
    }

    /// Has the report say which rules monitors put to the test.
    #[must_use]
    pub fn note_exercised(mut self) -> Self {
        self.note_exercised = true;
        self
    }

    /// Builds the machine on this thread and turns it on.
    ///
    /// # Errors
    /// When a device is refused, or the thread has a bench.
    pub fn build(self) -> Result<Bench, BuildError> {
        let (ram, order) = take_ram(self.memory)?;
        let mut bus = Bus::new(BusConfig { chooser: self.chooser, plan: self.plan, ..BusConfig::quiet(ram) });
        bus.fabric.trace.enable(self.trace);
        bus.fabric.order = order;
        let quiet = bus.fabric.choices.is_quiet();
        bus.fabric.order.enable(quiet);
        bus.fabric.exercised = self.note_exercised.then(Default::default);
        let mut devices = Vec::new();
        for (name, device) in self.devices {
            let id = bus.plug(&name, device)?;
            let port = bus.port(id);
            if let Some(monitor) = bringup_monitor::for_function(port.function(), port.config())
                && self.monitors
            {
                bus.watch(id, monitor);
            }
            devices.push(DeviceState::default());
        }
        let life = LIVES.with(|lives| {
            *lives.borrow_mut() += 1;
            *lives.borrow()
        });
        let monitored = bus.has_monitors();
        let mut machine = Machine::new(bus, devices, self.limits, life);
        machine.monitored = monitored;
        for device in self.platform {
            machine.platform.add(device);
        }
        rt::follow::follow(machine.bus.fabric.choices.history.is_on());
        machine::install(Box::new(machine)).map_err(|_| BuildError::Busy)?;
        machine::with(|m| rt::watch::remember(m));
        Ok(Bench::installed())
    }
}

thread_local! {
    static LIVES: RefCell<u64> = const { RefCell::new(0) };
    /// The memory of this thread's last life, to be used again: mapping it anew costs more than a short life.
    static RAM: RefCell<Option<(u64, Ram, Order)>> = const { RefCell::new(None) };
}

fn take_ram(bytes: u64) -> Result<(Ram, Order), BuildError> {
    let kept = RAM.with(|kept| kept.borrow_mut().take());
    match kept {
        Some((size, mut ram, mut order)) if size == bytes => {
            ram.recycle();
            order.recycle();
            Ok((ram, order))
        }
        _ => Ram::new(bytes).map(|ram| (ram, Order::default())).map_err(|e| BuildError::Memory(e.to_string())),
    }
}

impl Machine {
    fn new(bus: Bus, devices: Vec<DeviceState>, limits: Limits, life: u64) -> Self {
        Self {
            bus,
            devices,
            limits,
            life,
            monitored: false,
            in_binding: None,
            handlers: 0,
            interrupted: Vec::new(),
            watches: 0,
            tasks: task::Tasks::default(),
            irqs: irq::Interrupts::default(),
            timers: bringup_core::time::Timers::default(),
            hrtimers: Vec::new(),
            ledger: Ledger::default(),
            locks: crate::lockdep::Lockdep::default(),
            heard: crate::heard::Heard::default(),
            fetches: crate::fetch::Fetches::default(),
            bar_accesses: 0,
            missed: crate::missed::Missed::default(),
            platform: PlatformState::default(),
            drivers: std::collections::BTreeMap::new(),
            driver_ledger: Vec::new(),
            bindings: 0,
            probe_errors: Vec::new(),
            modules: Vec::new(),
            module: 0,
            chardevs: Vec::new(),
            debugfs: Vec::new(),
            iomaps: Vec::new(),
            work: rt::work::WorkState::default(),
            user: crate::file::UserMemory::default(),
            heap: crate::heap::Heap::default(),
            log: Vec::new(),
            partial: None,
            stats: Stats::default(),
            next_id: 0,
            crashed: false,
            open_files: 0,
            device_deferrals: 0,
            irq_deferrals: 0,
            long_stalls: 0,
            last_place: None,
            idle_name: "idle".into(),
        }
    }

    /// Keeps the memory for this thread's next life.
    pub(crate) fn retire(self: Box<Self>) {
        let mut machine = self;
        let spare = Ram::new(0);
        if let Ok(spare) = spare {
            let ram = std::mem::replace(&mut machine.bus.fabric.ram, spare);
            let order = std::mem::take(&mut machine.bus.fabric.order);
            let size = ram.size();
            drop(machine);
            RAM.with(|kept| *kept.borrow_mut() = Some((size, ram, order)));
        }
    }
}
