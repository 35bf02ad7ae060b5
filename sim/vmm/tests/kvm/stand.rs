//! Makes machines and runs them to their end.

use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Mutex};

use bringup_core::choice::Seeded;
use bringup_core::{Bus, BusConfig, Device, Plan};
use bringup_vmm::{Error, Input, Machine, Outcome, Settings, layout, memory};

use crate::code::kernel;

/// What the guest wrote to the console.
#[derive(Clone, Default)]
pub(crate) struct Console(Arc<Mutex<Vec<u8>>>);

impl Console {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().clone()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes()).into_owned()
    }
}

impl Write for Console {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A machine in the making.
pub(crate) struct Stand {
    kernel: Vec<u8>,
    command_line: String,
    bus: Bus,
    input: Option<OwnedFd>,
    cpus: u8,
    doorbells: bool,
    pub(crate) console: Console,
}

impl Stand {
    /// One for a guest of a few instructions.
    pub(crate) fn new(code: &[u8]) -> Self {
        Self::with(kernel(code), "")
    }

    /// One for a kernel from a file.
    pub(crate) fn booting(kernel: &Path, command_line: &str) -> Self {
        Self::with(std::fs::read(kernel).unwrap(), command_line)
    }

    fn with(kernel: Vec<u8>, command_line: &str) -> Self {
        let command_line = command_line.to_owned();
        let (bus, console) = (bus(16 << 20), Console::default());
        Self { kernel, command_line, bus, input: None, cpus: 1, doorbells: true, console }
    }

    pub(crate) fn device(self, name: &str, device: impl Device + 'static) -> Self {
        self.boxed(name, Box::new(device))
    }

    /// Under a name like `name` that is not taken yet, with the monitor that its kind has.
    pub(crate) fn boxed(mut self, name: &str, device: Box<dyn Device>) -> Self {
        let taken = |name: &str| self.bus.find(name).is_some();
        let name =
            (1..).map(|n| if n == 1 { name.to_owned() } else { format!("{name}-{n}") }).find(|name| !taken(name));
        let id = self.bus.plug(&name.unwrap(), device).unwrap();
        let port = self.bus.port(id);
        if let Some(monitor) = bringup_monitor::for_function(port.function(), port.config()) {
            self.bus.watch(id, monitor);
        }
        self
    }

    /// With so much memory. Before the devices.
    pub(crate) fn memory(mut self, bytes: u64) -> Self {
        assert_eq!(self.bus.devices().count(), 0, "memory comes first");
        self.bus = bus(bytes);
        self
    }

    /// With this going wrong, and choices by a seed instead of the friendliest. Before the devices.
    pub(crate) fn plan(mut self, plan: Plan, chooser: Option<Seeded>) -> Self {
        assert_eq!(self.bus.devices().count(), 0, "the plan comes first");
        let quiet = BusConfig::quiet(memory(16 << 20).unwrap());
        let chooser = chooser.map_or(quiet.chooser, |seeded| Box::new(seeded));
        self.bus = Bus::new(BusConfig { windows: layout::windows(), plan, chooser, ram: quiet.ram });
        self
    }

    pub(crate) fn traced(mut self) -> Self {
        self.bus.fabric.trace.enable(true);
        self
    }

    pub(crate) fn input(mut self, file: OwnedFd) -> Self {
        self.input = Some(file);
        self
    }

    pub(crate) fn cpus(mut self, cpus: u8) -> Self {
        self.cpus = cpus;
        self
    }

    pub(crate) fn doorbells(mut self, on: bool) -> Self {
        self.doorbells = on;
        self
    }

    /// The machine; `None`, said visibly, where the host has no KVM for it.
    pub(crate) fn build(self) -> Option<Machine> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kernel");
        std::fs::write(&path, self.kernel).unwrap();
        let settings = Settings {
            kernel: path,
            initrd: Vec::new(),
            command_line: self.command_line,
            cpus: self.cpus,
            input: self.input.map(|file| Input { file, escape: false }),
            output: Box::new(self.console),
            doorbells: self.doorbells,
            // Where the kernel has no filters, tests of filters say so.
            seccomp: bringup_vmm::seccomp::is_available(),
            gdb: None,
        };
        match Machine::new(settings, self.bus) {
            Ok(machine) => Some(machine),
            Err(Error::NoKvm(why)) => {
                println!("SKIPPED a guest under KVM: {why}");
                None
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// Runs it to its end.
    pub(crate) fn run(self) -> Option<Outcome> {
        self.build().map(|machine| machine.run().unwrap())
    }
}

fn bus(bytes: u64) -> Bus {
    Bus::new(BusConfig { windows: layout::windows(), ..BusConfig::quiet(memory(bytes).unwrap()) })
}
