//! The bench: loads drivers into a machine, uses them as user space would, and reports.

use std::cell::RefCell;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;

use bringup_core::choice::Point;
use bringup_core::trace::Event;
use bringup_core::{Bus, DeviceId, Finding, Nanos, Stream};

use crate::builder::{BuildError, Builder};
use crate::machine::{self, Machine, Stats, try_with, with};
use crate::module::Loadable;
use crate::report::Report;
use crate::rt::errno::{EBUSY, EEXIST, ENODEV, ENOENT};
use crate::rt::{pci, platform};
use crate::rules;
use crate::task::{self, Outcome, TaskId};
use crate::user::{BenchFile, Errno, open, open_debugfs};

/// A machine in this process. It belongs to the thread that built it; a thread has one at a time.
///
/// A life is: build, [`load`](Self::load), use, [`unload`](Self::unload), [`finish`](Self::finish). After a crash (a driver
/// panicked or hangs) every call fails with `EIO`, and the report says why.
#[derive(Debug)]
pub struct Bench {
    finished: bool,
    _not_send: PhantomData<*const ()>,
}

/// For how long a machine is watched after its drivers have gone, in virtual nanoseconds …
const AFTERMATH: Nanos = 200_000_000_000;
/// … and how many things its devices may do in that time: some never come to rest.
const MOST_AFTERMATH: usize = 1000;

/// What a crashed machine answers.
const CRASHED: Errno = Errno(-5);

impl Bench {
    /// Begins the description of a bench.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The bench whose machine was just installed on this thread.
    pub(crate) fn installed() -> Self {
        Self { finished: false, _not_send: PhantomData }
    }

    /// Runs `body` as a process called `name`, and with it whatever else happens in the machine meanwhile, until it ends.
    ///
    /// # Errors
    /// `EIO` when the machine has crashed, or crashes before the process ends.
    pub fn run<R>(&self, name: &str, body: impl FnOnce() -> R) -> Result<R, Errno> {
        if with(|m| m.crashed) {
            return Err(CRASHED);
        }
        let slot: Rc<RefCell<Option<R>>> = Rc::default();
        let out = slot.clone();
        let body: Box<dyn FnOnce() + '_> = Box::new(move || *out.borrow_mut() = Some(body()));
        // SAFETY: only the lifetime changes. The task either ends inside `task::run` below, which drops the closure, or
        // is never resumed again: `run` returns otherwise only after a crash, and `finish` resets its stack without
        // touching what is on it.
        let body: Box<dyn FnOnce() + 'static> = unsafe { std::mem::transmute(body) };
        let id = task::spawn(name, false, body);
        match task::run(Some(id), None) {
            Outcome::Done => slot.borrow_mut().take().ok_or(CRASHED),
            Outcome::Crashed | Outcome::Reached => Err(CRASHED),
        }
    }

    /// Starts `body` as a process that runs beside others; [`join`](Self::join) waits for it.
    pub fn spawn<R: 'static>(&self, name: &str, body: impl FnOnce() -> R + 'static) -> Job<R> {
        let slot: Rc<RefCell<Option<R>>> = Rc::default();
        let out = slot.clone();
        let id = task::spawn(name, false, Box::new(move || *out.borrow_mut() = Some(body())));
        Job { id, slot }
    }

    /// Runs the machine until the process has ended.
    ///
    /// # Errors
    /// `EIO` when the machine crashes before that.
    pub fn join<R>(&self, job: &Job<R>) -> Result<R, Errno> {
        if with(|m| m.crashed) {
            return Err(CRASHED);
        }
        match task::run(Some(job.id), None) {
            Outcome::Done => job.slot.borrow_mut().take().ok_or(CRASHED),
            Outcome::Crashed | Outcome::Reached => Err(CRASHED),
        }
    }

    /// Sends a signal to a process: interruptible waits end.
    pub fn signal<R>(&self, job: &Job<R>) {
        with(|m| m.signal(job.id));
    }

    /// Lets `span` nanoseconds pass, and all that happens in them.
    pub fn advance(&self, span: Nanos) {
        let moment = with(|m| m.now().saturating_add(span));
        task::run(None, Some(moment));
    }

    /// Runs until nothing is left to do.
    pub fn settle(&self) {
        task::run(None, None);
    }

    /// Takes a choice of the caller's own from the life's stream: a number below `options` (2 to 256), 0 in a quiet life.
    #[must_use]
    pub fn choose(&self, options: u32) -> u32 {
        with(|m| m.bus.fabric.choices.choose(Point::Model, options))
    }

    /// Virtual time, in nanoseconds since the machine was turned on.
    #[must_use]
    pub fn now(&self) -> Nanos {
        with(|m| m.now())
    }

    // --- Modules and binding -------------------------------------------------------------------------------------

    /// Loads a module (`insmod`): its drivers bind to the devices they match.
    ///
    /// # Errors
    /// The module's own error; `EEXIST` when it is loaded already.
    pub fn load(&self, module: &'static Loadable) -> Result<(), Errno> {
        self.load_with(module, &[])
    }

    /// As [`load`](Self::load), with module parameters.
    ///
    /// # Errors
    /// Also `ENOENT` for a parameter that the module does not have, `EINVAL` and others for a value it does not take.
    pub fn load_with(&self, module: &'static Loadable, params: &[(&str, &str)]) -> Result<(), Errno> {
        if with(|m| m.modules.iter().any(|loaded| loaded.definition.name == module.name)) {
            return Err(Errno(EEXIST));
        }
        for param in module.params {
            param.target.reset();
        }
        for (name, value) in params {
            let Some(param) = module.params.iter().find(|param| param.name == *name) else {
                return Err(Errno(ENOENT));
            };
            param.target.set(value).map_err(Errno)?;
        }
        let id = with(|m| {
            let id = m.id();
            m.modules.push(machine::LoadedModule { id, definition: module, state: None });
            m.module = id;
            m.event(|| Event::Module { name: module.name.into(), loaded: true });
            id
        });
        let result = self.run("insmod", || (module.init)());
        with(|m| m.module = 0);
        match result {
            Ok(Ok(state)) => {
                with(|m| {
                    if let Some(loaded) = m.modules.iter_mut().find(|loaded| loaded.id == id) {
                        loaded.state = Some(state.0);
                    }
                });
                Ok(())
            }
            Ok(Err(code)) => {
                with(|m| m.module_gone(id, "after its init failed"));
                Err(Errno(code))
            }
            Err(crashed) => Err(crashed),
        }
    }

    /// Unloads a module (`rmmod`).
    ///
    /// # Errors
    /// `ENOENT` when it is not loaded, `EBUSY` while a file of it is open.
    pub fn unload(&self, name: &str) -> Result<(), Errno> {
        let found = with(|m| {
            let index = m.modules.iter().position(|loaded| loaded.definition.name == name)?;
            Some((m.modules[index].id, m.open_files))
        });
        let Some((id, open_files)) = found else { return Err(Errno(ENOENT)) };
        if open_files > 0 {
            return Err(Errno(EBUSY));
        }
        let state = with(|m| {
            m.module = id;
            m.modules.iter_mut().find(|loaded| loaded.id == id).and_then(|loaded| loaded.state.take())
        });
        let result = match state {
            // What has crashed stays as it is: none of the module's code runs any more.
            Some(state) if self.is_crashed() => {
                std::mem::forget(state);
                Err(CRASHED)
            }
            Some(state) => self.run("rmmod", move || drop(state)),
            None => Ok(()),
        };
        with(|m| {
            m.module = 0;
            if result.is_ok() {
                m.event(|| Event::Module { name: name.into(), loaded: false });
                m.module_gone(id, "after unload");
            }
        });
        result
    }

    /// Takes a device away from its driver (`echo ADDRESS > unbind`).
    ///
    /// # Errors
    /// `ENODEV` when there is no such device or it has no driver.
    pub fn unbind(&self, device: &str) -> Result<(), Errno> {
        let platform = platform::find(device);
        let id = if platform.is_none() { Some(Self::find(device)?) } else { None };
        let unbound = self.run("unbind", || match (platform, id) {
            (Some(device), _) => platform::unbind(device),
            (None, Some(device)) => pci::unbind(device),
            (None, None) => false,
        })?;
        if unbound { Ok(()) } else { Err(Errno(ENODEV)) }
    }

    /// Offers a device to the registered drivers (`echo ADDRESS > drivers_probe`).
    ///
    /// # Errors
    /// `ENODEV` when no driver matches, and what the driver's probe answers.
    pub fn bind(&self, device: &str) -> Result<(), Errno> {
        let id = Self::find(device)?;
        let drivers: Vec<u32> = with(|m| m.drivers.keys().copied().collect());
        let outcome = self.run("bind", || drivers.into_iter().find_map(|driver| pci::bind(driver, id)))?;
        outcome.unwrap_or(Err(ENODEV)).map_err(Errno)
    }

    /// Pulls a device out of the running machine, then tells its driver: as after a surprise removal.
    ///
    /// # Errors
    /// `ENODEV` when there is no such device.
    pub fn surprise_remove(&self, device: &str) -> Result<(), Errno> {
        let id = Self::find(device)?;
        with(|m| m.bus.remove(id));
        self.run("pciehp", || pci::unbind(id)).map(|_| ())
    }

    /// The driver that a device is bound to.
    #[must_use]
    pub fn driver_of(&self, device: &str) -> Option<&'static str> {
        let id = Self::find(device).ok()?;
        pci::driver_name(id)
    }

    /// The id tables of the drivers that are registered: name and rows.
    #[must_use]
    pub fn registered_ids(&self) -> Vec<(&'static str, Vec<pci::PciId>)> {
        // After a crash the drivers' own tables may be gone.
        let drivers: Vec<_> = with(|m| if m.crashed { Vec::new() } else { m.drivers.values().cloned().collect() });
        drivers.iter().map(|driver| (driver.name(), driver.ids())).collect()
    }

    fn find(device: &str) -> Result<DeviceId, Errno> {
        with(|m| m.bus.find(device)).ok_or(Errno(ENODEV))
    }

    // --- User space ----------------------------------------------------------------------------------------------

    /// Opens `/dev/NAME`.
    ///
    /// # Errors
    /// `ENOENT` when there is no such device, and the driver's own.
    pub fn open(&self, name: &str) -> Result<BenchFile<'_>, Errno> {
        let file = self.run("open", || open(name))??;
        Ok(BenchFile::new(self, file))
    }

    /// The names below `/dev`, in the order in which they were registered.
    #[must_use]
    pub fn dev_names(&self) -> Vec<String> {
        with(|m| m.chardevs.iter().map(|chardev| chardev.name.clone()).collect())
    }

    /// The paths of all debugfs entries, in the order in which they were made; directories end in a slash.
    #[must_use]
    pub fn debugfs_paths(&self) -> Vec<String> {
        with(|m| m.debugfs.iter().map(|node| m.debugfs_path(node)).collect())
    }

    /// Reads a debugfs file whole.
    ///
    /// # Errors
    /// `ENOENT` when there is no such file, and the driver's own.
    pub fn debugfs_read(&self, path: &str) -> Result<Vec<u8>, Errno> {
        self.run("cat", || {
            let file = open_debugfs(path)?;
            let mut all = Vec::new();
            let mut chunk = [0; 4096];
            loop {
                let count = file.read(&mut chunk)?;
                if count == 0 {
                    return Ok(all);
                }
                all.extend_from_slice(&chunk[..count]);
            }
        })?
    }

    /// Writes a debugfs file.
    ///
    /// # Errors
    /// `ENOENT` when there is no such file, and the driver's own.
    pub fn debugfs_write(&self, path: &str, bytes: &[u8]) -> Result<usize, Errno> {
        self.run("tee", || open_debugfs(path)?.write(bytes))?
    }

    // --- Looking in ----------------------------------------------------------------------------------------------

    /// The kernel log so far, as text without times.
    #[must_use]
    pub fn log(&self) -> String {
        with(|m| m.log.iter().map(|line| format!("{}\n", line.text)).collect())
    }

    /// The lines of the kernel log from number `from` on.
    #[must_use]
    pub fn log_lines(&self, from: usize) -> Vec<crate::report::LogLine> {
        with(|m| m.log.get(from..).unwrap_or_default().to_vec())
    }

    /// The ids of the rules violated so far.
    #[must_use]
    pub fn findings(&self) -> Vec<&'static str> {
        with(|m| m.bus.fabric.findings.iter().map(|finding| finding.rule.id).collect())
    }

    /// Whether the machine has crashed.
    #[must_use]
    pub fn is_crashed(&self) -> bool {
        with(|m| m.crashed)
    }

    /// Numbers so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        with(|m| m.stats)
    }

    /// The bus, to do to it what no driver does.
    pub fn with_bus<R>(&self, f: impl FnOnce(&mut Bus) -> R) -> R {
        with(|m| f(&mut m.bus))
    }

    /// Unloads what is loaded, checks what is left, and reports.
    #[must_use]
    pub fn finish(mut self) -> Report {
        self.finished = true;
        let names: Vec<&'static str> = with(|m| m.modules.iter().rev().map(|loaded| loaded.definition.name).collect());
        for name in names {
            // A module that cannot be unloaded has said why, in a finding or by a file that is open.
            if let Err(Errno(EBUSY)) = self.unload(name) {
                with(|m| {
                    let what = format!("module {name} cannot be unloaded: a file of it is still open");
                    m.report(Finding::new(&rules::LEAK_REGISTRATION, what));
                });
            }
        }
        // What the devices are still about happens after the drivers have gone, as it would on a real machine: a device that
        // was not stopped reaches for memory that is no longer its.
        let end = with(|m| m.now().saturating_add(AFTERMATH));
        for _ in 0..MOST_AFTERMATH {
            let next = with(|m| if m.crashed { None } else { m.bus.next_event() });
            let Some(at) = next.filter(|at| *at <= end) else { break };
            task::run(None, Some(at.max(with(|m| m.now()))));
        }
        with(|m| m.bus.land_all());
        with(Machine::check_rest);
        with(|m| {
            for finding in m.heap.inspect() {
                m.report(finding);
            }
        });
        with(|m| m.bus.fabric.end_order());
        let mut machine = close().unwrap_or_else(|| unreachable!("a bench has a machine until it is finished"));
        let fabric = &mut machine.bus.fabric;
        let (seen, could_see) = fabric.choices.states();
        let report = Report {
            log: std::mem::take(&mut machine.log),
            stream: Stream { fields: Vec::new(), choices: fabric.choices.taken().to_vec() },
            trace: fabric.trace.take(),
            stats: machine.stats,
            operations: fabric.trace.position(),
            choices: fabric.choices.made(),
            points: fabric.choices.counts(),
            digest: fabric.trace.digest(),
            seen: fabric.seen.union(seen),
            could_see: fabric.could_see.union(could_see),
            duration: fabric.now(),
            crashed: machine.crashed,
            exercised: fabric.exercised.take().unwrap_or_default(),
            uncovered: fabric.order.take_uncovered(),
            findings: std::mem::take(&mut fabric.findings),
            devices: machine.bus.devices().map(|id| machine.bus.port(id).name().to_owned()).collect(),
            probe_errors: std::mem::take(&mut machine.probe_errors)
                .into_iter()
                .map(|(driver, device, code)| (driver, machine.device_name(device), code))
                .collect(),
        };
        machine.retire();
        report
    }
}

/// Ends the tasks of this thread's machine and takes it away.
fn close() -> Option<Box<Machine>> {
    // Driver objects that the machine holds go while it is still there: their destructors call it.
    let objects = try_with(|m| {
        m.flush_log();
        if m.crashed {
            return Vec::new();
        }
        let mut objects: Vec<_> = m.devices.iter_mut().filter_map(|device| device.object.take()).collect();
        objects.extend(m.platform.take_objects());
        objects
    });
    drop(objects);
    task::abandon_all();
    machine::uninstall()
}

impl Drop for Bench {
    fn drop(&mut self) {
        if !self.finished
            && let Some(mut machine) = close()
        {
            // The life was broken off: what is loaded is in no state to be unloaded.
            machine.crashed = true;
            machine.retire();
        }
    }
}

impl Machine {
    /// Checks that devices whose drivers let go of them are at rest, when some time has passed since.
    fn check_rest(&mut self) {
        for id in self.bus.devices().collect::<Vec<_>>() {
            let state = self.device(id);
            let let_go = state.was_bound && state.binding.is_none() && !std::mem::take(&mut state.told_off);
            if let_go && self.bus.intx(id) && !self.bus.fabric.is_faulted(id) {
                let name = self.device_name(id);
                let what = format!("{name} went on and asserts its interrupt now, after its driver let go of it");
                self.report(Finding::new(&rules::DEVICE_STILL_RUNNING, what).on_device(name));
            }
        }
    }

    /// Checks that nothing of a module is left, and forgets it.
    fn module_gone(&mut self, id: u32, when: &str) {
        let name = self.module_name(id);
        for entry in self.ledger.left(|entry| entry.module == id) {
            let what = format!("{} of module {name} is left {when}", entry.describe());
            self.report(Finding::new(entry.kind.rule(), what).at_place(entry.place));
        }
        // In the order of the places, not of the addresses.
        let mut left: Vec<(bringup_core::Place, usize, usize)> = Vec::new();
        for allocation in self.heap.allocations.values_mut().filter(|allocation| allocation.module == id) {
            match left.iter_mut().find(|(place, ..)| *place == allocation.place) {
                Some((_, count, bytes)) => {
                    *count += 1;
                    *bytes += allocation.layout.size();
                }
                None => left.push((allocation.place, 1, allocation.layout.size())),
            }
            allocation.module = 0;
        }
        left.sort_by_key(|(place, ..)| (place.file(), place.line(), place.column()));
        for (place, count, bytes) in left {
            let what = format!("{bytes} bytes in {count} allocations of module {name} are left {when}");
            self.report(Finding::new(&rules::LEAK_MEMORY, what).at_place(Some(place)));
        }
        self.modules.retain(|loaded| loaded.id != id);
    }
}

/// A process that runs beside others.
#[derive(Debug)]
pub struct Job<R> {
    id: TaskId,
    slot: Rc<RefCell<Option<R>>>,
}

impl<R> Job<R> {
    /// Whether it has ended.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.slot.borrow().is_some()
    }
}

/// Runs a whole life: builds the bench, hands it to `life`, and reports, also when `life` panics (then the panic goes on after
/// the machine is gone).
///
/// # Errors
/// When the bench cannot be built.
pub fn life(builder: Builder, life: impl FnOnce(&Bench)) -> Result<Report, BuildError> {
    let bench = builder.build()?;
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| life(&bench))) {
        drop(bench);
        resume_unwind(panic);
    }
    Ok(bench.finish())
}
