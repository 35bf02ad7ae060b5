//! Puts a machine under KVM together and runs it until it ends, by itself or because somebody wants it to.

use std::path::Path;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use bringup_core::choice::{Quiet, Seeded};
use bringup_core::{Bus, BusConfig, Chooser, Plan};
use bringup_devices::registry::Workshop;
use bringup_vmm::{Input, Machine, Outcome, Settings, Stopper, layout, memory};

use crate::failure::Failure;
use crate::guest::console::Console;
use crate::plug::{Names, Plug};

/// A machine, as far as the command line describes it.
#[derive(Debug)]
pub(crate) struct Boot<'a> {
    pub(crate) kernel: &'a Path,
    pub(crate) initrd: Vec<u8>,
    pub(crate) command_line: String,
    /// In bytes.
    pub(crate) memory: u64,
    pub(crate) cpus: u8,
    pub(crate) devices: &'a [String],
    /// Where the devices are made.
    pub(crate) workshop: &'a Workshop,
    pub(crate) plan: Plan,
    pub(crate) seed: Option<u64>,
    pub(crate) traced: bool,
    pub(crate) console: Console,
    pub(crate) input: Option<Input>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) doorbells: bool,
    pub(crate) seccomp: bool,
    /// A socket for gdb.
    pub(crate) gdb: Option<&'a Path>,
}

/// A machine that ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) outcome: Outcome,
    /// Who wanted it to, if it was not the guest, or whoever is at the console.
    pub(crate) by: Option<By>,
}

/// Who ends a machine from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    /// A signal: Ctrl-C, SIGTERM, SIGHUP.
    Signal = 1,
    /// Its time is over.
    Timeout = 2,
    /// Nobody reads any more what its console shows.
    Reader = 3,
}

impl By {
    /// The exit status of the command.
    pub(crate) fn exit(self) -> u8 {
        if self == Self::Signal { SIGNALLED } else { 1 }
    }
}

impl Boot<'_> {
    /// Runs the machine to its end.
    ///
    /// # Errors
    /// When there can be no such machine on this host.
    pub(crate) fn run(self) -> Result<Ended, Failure> {
        let bus = self.bus()?;
        let settings = Settings {
            kernel: self.kernel.to_owned(),
            initrd: self.initrd,
            command_line: self.command_line,
            cpus: self.cpus,
            input: self.input,
            output: Box::new(self.console.clone()),
            doorbells: self.doorbells,
            seccomp: self.seccomp,
            gdb: self.gdb.map(Path::to_owned),
        };
        let machine = Machine::new(settings, bus).map_err(Failure::new)?;
        self.console.ends(machine.stopper());
        let end = Ender { by: Arc::default(), stopper: machine.stopper(), console: self.console.clone() };
        let by = end.by.clone();
        listen(end.clone())?;
        let clock = self.timeout.map(|span| Clock::start(span, end)).transpose()?;
        let outcome = machine.run().map_err(Failure::new);
        drop(clock);
        let by = match by.load(Ordering::Relaxed) {
            0 => self.console.is_deserted().then_some(By::Reader),
            by if by == By::Signal as u8 => Some(By::Signal),
            _ => Some(By::Timeout),
        };
        Ok(Ended { outcome: outcome?, by })
    }

    fn bus(&self) -> Result<Bus, Failure> {
        let chooser: Box<dyn Chooser> = match self.seed {
            Some(seed) => Box::new(Seeded::new(seed)),
            None => Box::new(Quiet),
        };
        let ram = memory(self.memory).map_err(Failure::new)?;
        let mut bus = Bus::new(BusConfig { chooser, plan: self.plan.clone(), ram, windows: layout::windows() });
        bus.fabric.trace.enable(self.traced);
        let mut names = Names::default();
        for spec in self.devices {
            let Plug::Pci(kind, device) = Plug::make(spec, self.workshop)? else {
                return Err(Failure::new(format_args!(
                    "cannot plug {spec} into a virtual machine: what its firmware tells of are PCI devices"
                )));
            };
            let id = bus.plug(&names.next(kind), device).map_err(Failure::new)?;
            let port = bus.port(id);
            if let Some(monitor) = bringup_monitor::for_function(port.function(), port.config()) {
                bus.watch(id, monitor);
            }
        }
        Ok(bus)
    }
}

/// Ends a machine from outside.
#[derive(Clone, Debug)]
struct Ender {
    by: Arc<AtomicU8>,
    stopper: Stopper,
    console: Console,
}

impl Ender {
    /// The first one counts; whether this is it.
    fn end(&self, by: By) -> bool {
        let first = self.by.compare_exchange(0, by as u8, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        // Whoever does not read the console does not keep the machine either, nor the command.
        self.console.give_up(by.exit());
        self.stopper.stop();
        first
    }
}

/// The exit status of a command that a signal ended.
pub(crate) const SIGNALLED: u8 = 130;

/// Has signals end the machine; the second one ends the command, as one does without a handler.
fn listen(end: Ender) -> Result<(), Failure> {
    ctrlc::set_handler(move || {
        if !end.end(By::Signal) {
            std::process::exit(SIGNALLED.into());
        }
    })
    .map_err(|error| Failure::new(format_args!("cannot listen for Ctrl-C: {error}")))
}

/// Ends the machine when its time is over, unless it is dropped before.
#[derive(Debug)]
struct Clock {
    stop: Option<mpsc::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Clock {
    fn start(span: Duration, end: Ender) -> Result<Self, Failure> {
        let (stop, stopped) = mpsc::channel();
        let wait = move || {
            if stopped.recv_timeout(span) == Err(mpsc::RecvTimeoutError::Timeout) {
                end.end(By::Timeout);
            }
        };
        let thread = std::thread::Builder::new().name("timeout".into()).spawn(wait);
        let thread = thread.map_err(|error| Failure::new(format_args!("cannot start a thread: {error}")))?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It has nothing to say, and does not panic.
            let _ = thread.join();
        }
    }
}
