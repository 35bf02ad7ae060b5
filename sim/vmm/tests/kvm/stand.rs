//! Makes machines and runs them to their end.

use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};

use bringup_core::{Bus, BusConfig, Device};
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
    code: &'static [u8],
    bus: Bus,
    input: Option<OwnedFd>,
    cpus: u8,
    doorbells: bool,
    pub(crate) console: Console,
}

impl Stand {
    pub(crate) fn new(code: &'static [u8]) -> Self {
        let bus = Bus::new(BusConfig { windows: layout::windows(), ..BusConfig::quiet(memory(16 << 20).unwrap()) });
        Self { code, bus, input: None, cpus: 1, doorbells: true, console: Console::default() }
    }

    pub(crate) fn device(mut self, name: &str, device: impl Device + 'static) -> Self {
        self.bus.plug(name, Box::new(device)).unwrap();
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
        std::fs::write(&path, kernel(self.code)).unwrap();
        let settings = Settings {
            kernel: path,
            initrd: Vec::new(),
            command_line: String::new(),
            cpus: self.cpus,
            input: self.input.map(|file| Input { file, escape: false }),
            output: Box::new(self.console),
            doorbells: self.doorbells,
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
