//! What the vCPUs and the event thread share: the bus with its bridge, ports, interrupts and doorbells.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bringup_core::{Bus, DeviceId, Nanos};
use kvm_ioctls::VmFd;
use vm_memory::GuestMemoryMmap;
use vm_memory::{GuestAddress, GuestMemoryBackend};

use crate::doorbells::Doorbells;
use crate::error::{Error, Stuck};
use crate::gdb::Stage;
use crate::interrupts::{Interrupted, Interrupts};
use crate::layout::port;
use crate::pci_host::{Changed, PciHost};
use crate::power::{Asks, Power};
use crate::serial::{Output, Ports};
use crate::signal::Signal;

/// Why a machine ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The guest turned it off.
    PowerOff,
    /// The guest asked for a reset.
    Reset,
    /// The guest faulted three times over (which a PC answers with a reset).
    TripleFault,
    /// Whoever runs it stopped it.
    Stopped,
    /// KVM could not run the guest on.
    Stuck(Stuck),
    /// A thread of the machine panicked: a bug of ours.
    Panicked,
}

/// The board of a machine.
pub(crate) struct Board {
    pub(crate) vm: VmFd,
    attached: Mutex<Attached>,
    ports: Ports,
    power: Mutex<Power>,
    began: Instant,
    over: AtomicBool,
    end: Mutex<Option<End>>,
    /// Readable once the machine is over, and from then on.
    pub(crate) ended: Signal,
    /// Rings when the devices' time comes sooner than the event thread knows.
    pub(crate) alarm: Signal,
    exits: AtomicU64,
    /// Where vCPUs stop for a debugger, if there may be one.
    pub(crate) stage: Option<Stage>,
    /// The guest's memory.
    pub(crate) memory: GuestMemoryMmap,
}

/// All that has one lock: what a CPU or a device does to the other side happens as a whole.
pub(crate) struct Attached {
    pub(crate) bus: Bus,
    host: PciHost,
    pub(crate) doorbells: Doorbells,
    interrupts: Interrupts,
    /// When the event thread is going to look after the devices.
    armed: Nanos,
}

impl Board {
    pub(crate) fn new(
        vm: VmFd,
        mut bus: Bus,
        output: Output,
        doorbells: bool,
        stage: Option<Stage>,
    ) -> Result<Self, Error> {
        bus.fabric.concurrent = true;
        let interrupts = Interrupts::new(&vm, &bus)?;
        let ports = Ports::new(&vm, output)?;
        let doorbells = if doorbells { Doorbells::new(&bus)? } else { Doorbells::default() };
        let memory = bus.fabric.ram.memory().clone();
        let attached = Attached { bus, host: PciHost::new(), doorbells, interrupts, armed: Nanos::MAX };
        Ok(Self {
            vm,
            attached: Mutex::new(attached),
            ports,
            power: Mutex::default(),
            began: Instant::now(),
            over: AtomicBool::new(false),
            end: Mutex::new(None),
            ended: Signal::new()?,
            alarm: Signal::new()?,
            exits: AtomicU64::new(0),
            stage,
            memory,
        })
    }

    // --- The end -------------------------------------------------------------------------------------------------

    /// Ends the machine; the first reason counts.
    pub(crate) fn end(&self, end: End) {
        locked(&self.end).get_or_insert(end);
        self.over.store(true, Ordering::Release);
        self.ended.ring();
        if let Some(stage) = &self.stage {
            stage.end();
        }
    }

    /// Why it ended, if it did.
    pub(crate) fn reason(&self) -> Option<End> {
        locked(&self.end).clone()
    }

    /// Whether it ended.
    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// Counts a time that a vCPU was stopped.
    pub(crate) fn count_exit(&self) {
        self.exits.fetch_add(1, Ordering::Relaxed);
    }

    /// What is left when all threads are gone.
    pub(crate) fn into_outcome(self) -> Outcome {
        let said = self.ports.said();
        let end = self.end.into_inner().unwrap_or_else(PoisonError::into_inner).unwrap_or(End::Stopped);
        let attached = self.attached.into_inner().unwrap_or_else(PoisonError::into_inner);
        Outcome {
            end,
            bus: attached.bus,
            said,
            exits: self.exits.into_inner(),
            rings: attached.doorbells.rung,
            interrupts: attached.interrupts.counts,
            up: self.began.elapsed(),
        }
    }

    // --- What stops a vCPU ---------------------------------------------------------------------------------------

    pub(crate) fn port_read(&self, at: u16, into: &mut [u8]) {
        match at {
            port::COM1..=0x3ff if into.len() == 1 => into[0] = self.ports.read(true, (at - port::COM1) as u8),
            port::COM2..=0x2ff if into.len() == 1 => into[0] = self.ports.read(false, (at - port::COM2) as u8),
            // The keyboard controller: there is nothing to read, and it takes commands.
            0x60 | port::KEYBOARD => into.fill(0),
            _ if locked(&self.power).read(at, into, self.began.elapsed()) => {}
            _ if is_pci(at) => self.access(|attached, _| {
                attached.settle_doorbells(attached.host.port_target(&attached.bus, at));
                attached.host.port_read(&mut attached.bus, at, into);
            }),
            _ => into.fill(0xff),
        }
    }

    pub(crate) fn port_write(&self, at: u16, from: &[u8]) {
        const KEYBOARD_RESET: u8 = 0xfe;
        const RESET_CPU: u8 = 1 << 2;
        match (at, from) {
            (port::COM1..=0x3ff, [byte]) => self.ports.write(true, (at - port::COM1) as u8, *byte),
            (port::COM2..=0x2ff, [byte]) => self.ports.write(false, (at - port::COM2) as u8, *byte),
            (port::KEYBOARD, [KEYBOARD_RESET]) => self.end(End::Reset),
            (port::RESET, [byte]) => {
                if byte & RESET_CPU != 0 {
                    self.end(End::Reset);
                }
            }
            _ => {
                let asks = locked(&self.power).write(at, from);
                match asks {
                    Some(Some(Asks::PowerOff)) => self.end(End::PowerOff),
                    Some(None) => {}
                    None if is_pci(at) => self.access(|attached, vm| {
                        attached.settle_doorbells(attached.host.port_target(&attached.bus, at));
                        let changed = attached.host.port_write(&mut attached.bus, at, from);
                        attached.follow(vm, changed);
                    }),
                    None => {}
                }
            }
        }
    }

    pub(crate) fn memory_read(&self, address: u64, into: &mut [u8]) {
        self.access(|attached, _| {
            attached.settle_doorbells(PciHost::memory_target(&attached.bus, address));
            attached.host.memory_read(&mut attached.bus, address, into);
        });
    }

    pub(crate) fn memory_write(&self, address: u64, from: &[u8]) {
        self.access(|attached, vm| {
            attached.settle_doorbells(PciHost::memory_target(&attached.bus, address));
            let changed = attached.host.memory_write(&mut attached.bus, address, from);
            attached.follow(vm, changed);
        });
    }

    /// Whether there is memory at a physical address.
    pub(crate) fn has_memory(&self, at: u64) -> bool {
        locked(&self.attached).bus.fabric.ram.memory().address_in_range(GuestAddress(at))
    }

    // --- What happens by itself ----------------------------------------------------------------------------------

    /// A doorbell rang.
    pub(crate) fn ring(&self, index: usize) {
        self.access(|attached, _| attached.doorbells.ring(&mut attached.bus, index));
    }

    /// For how long nothing happens by itself; `None` if for ever.
    pub(crate) fn until_next(&self) -> Option<Duration> {
        let mut attached = locked(&self.attached);
        let next = attached.bus.next_event().into_iter().chain(attached.interrupts.next_look()).min();
        attached.armed = next.unwrap_or(Nanos::MAX);
        let now = u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        next.map(|at| Duration::from_nanos(at.saturating_sub(now.max(attached.bus.fabric.now()))))
    }

    /// Time has come: devices work, what was delayed arrives. Bounded, so that vCPUs get the lock in between.
    pub(crate) fn work(&self) {
        const MOST: usize = 64;
        let debugged = self.stage.is_some();
        self.access(|attached, vm| {
            // A debugger may hold the handler up for as long as it likes.
            if !debugged {
                attached.interrupts.look(vm, &mut attached.bus);
            }
            for _ in 0..MOST {
                if attached.bus.arrive() {
                    // It may have been a write that moved a BAR.
                    attached.follow_all(vm);
                    continue;
                }
                match attached.bus.due_device() {
                    Some(device) => attached.bus.work(device),
                    None => break,
                }
            }
        });
    }

    /// Types bytes into the console.
    pub(crate) fn type_in(&self, bytes: &[u8]) {
        self.ports.type_in(bytes, || !self.is_over());
    }

    /// Does something on the bus, at the time that it is, and lets what follows from it take place: interrupts, the next wake-up.
    fn access<T>(&self, act: impl FnOnce(&mut Attached, &VmFd) -> T) -> T {
        let mut attached = locked(&self.attached);
        attached.tell_time(self.began.elapsed());
        let result = act(&mut attached, &self.vm);
        if attached.settle(&self.vm) {
            self.alarm.ring();
        }
        result
    }

    /// The bus and what hangs on it, for whoever sets the machine up.
    pub(crate) fn attached(&self) -> MutexGuard<'_, Attached> {
        locked(&self.attached)
    }
}

impl Attached {
    fn tell_time(&mut self, up: Duration) {
        let now = u64::try_from(up.as_nanos()).unwrap_or(u64::MAX);
        let behind = now.saturating_sub(self.bus.fabric.now());
        self.bus.fabric.advance(behind);
    }

    /// Carries what rang of a device before the access to it that comes now.
    fn settle_doorbells(&mut self, device: Option<DeviceId>) {
        if let Some(device) = device {
            self.doorbells.settle(&mut self.bus, device);
        }
    }

    fn follow(&mut self, vm: &VmFd, changed: Option<Changed>) {
        if let Some(Changed { device, change }) = changed
            && (change.command || change.bars != 0 || change.reset)
        {
            self.doorbells.follow(vm, &self.bus, device);
        }
    }

    fn follow_all(&mut self, vm: &VmFd) {
        for device in self.bus.devices() {
            self.doorbells.follow(vm, &self.bus, device);
        }
    }

    /// Carries interrupts. `true` if the event thread is to be told that it waits for too long.
    fn settle(&mut self, vm: &VmFd) -> bool {
        while let Some(message) = self.bus.take_message() {
            self.interrupts.deliver(vm, &mut self.bus, &message);
        }
        self.interrupts.drive_pins(vm, &self.bus);
        let next = self.bus.next_event().into_iter().chain(self.interrupts.next_look()).min().unwrap_or(Nanos::MAX);
        let sooner = next < self.armed;
        self.armed = self.armed.min(next);
        sooner
    }
}

/// What a machine was when it ended.
#[derive(Debug)]
pub struct Outcome {
    /// Why it ended.
    pub end: End,
    /// Its bus: devices, findings, trace.
    pub bus: Bus,
    /// What the guest wrote to the second serial port, the last 64 KiB.
    pub said: Vec<u8>,
    /// How often a vCPU was stopped.
    pub exits: u64,
    /// How often a doorbell rang without stopping one.
    pub rings: u64,
    /// How often each device interrupted the guest, in the order of the bus.
    pub interrupts: Vec<Interrupted>,
    /// How long it was on.
    pub up: Duration,
}

/// Whether a port may be the host bridge's, or in a window for BARs.
fn is_pci(at: u16) -> bool {
    (port::CONFIG_ADDRESS..port::CONFIG_DATA + 4).contains(&at) || at >= 0x1000
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
