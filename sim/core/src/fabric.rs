//! What all devices of a machine share (time, choices, trace, findings, faults, memory), and each device's port to it.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use vm_memory::{Bytes, GuestAddress, Permissions};

use crate::choice::{Choices, Chooser, Point};
use crate::coverage::{Coverage, States};
use crate::device::{Access, DmaError, InterruptMode};
use crate::dma::{self, DeviceMemory, Fault, IoSpace, Noted, Ram};
use crate::fault::{Applied, Behaviour, Faults, Plan, Verb};
use crate::finding::{Finding, Place};
use crate::monitor::Watched;
use crate::order::Order;
use crate::pci::{Bar, ConfigSpace, Function, MsiState, MsixState, Raised, Register, command, offset};
use crate::rules;
use crate::time::{Nanos, Timers};
use crate::trace::{DeviceId, Event, Trace};

/// What an operation costs, in virtual nanoseconds: roughly a PCIe device close to the CPU.
pub mod cost {
    use crate::time::Nanos;

    /// A configuration access.
    pub const CONFIG: Nanos = 500;
    /// A read from a BAR waits for the device.
    pub const BAR_READ: Nanos = 250;
    /// A write to a BAR is posted.
    pub const BAR_WRITE: Nanos = 20;
    /// One DMA transaction.
    pub const DMA: Nanos = 100;
}

/// How many findings are filed of one rule and one device that name no place in software.
const MOST_WITHOUT_PLACE: usize = 64;

/// An interrupt that left a device and waits for whoever runs the CPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// Who sent it.
    pub device: DeviceId,
    /// The vector that was raised.
    pub vector: u16,
    /// Message address.
    pub address: u64,
    /// Message data.
    pub data: u32,
    /// What its device stored up to here is in memory when it arrives, by the memory model.
    pub stamp: u32,
}

/// Something a fault plan delayed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Delayed {
    BarWrite { device: DeviceId, bar: u8, offset: u64, width: u8, value: u64 },
    ConfigWrite { device: DeviceId, offset: u16, width: u8, value: u32 },
    Message(Message),
    Level(DeviceId),
}

/// A function's connection to the machine: everything about it that is not the device model's own.
#[derive(Debug)]
pub struct Port {
    pub(crate) id: DeviceId,
    pub(crate) name: String,
    pub(crate) function: Function,
    pub(crate) config: ConfigSpace,
    pub(crate) bars: [Option<Bar>; 6],
    /// Where to find a BAR's registers without a search.
    pub(crate) registers: [RegisterIndex; 6],
    pub(crate) msi: Option<MsiState>,
    pub(crate) msix: Option<MsixState>,
    pub(crate) memory: DeviceMemory,
    pub(crate) wake: Option<Nanos>,
    pub(crate) pin: bool,
    pub(crate) removed: bool,
    /// What the device does now was begun with bus mastering off. (Turning it off is how a driver stops a device: what the device
    /// still tries of what was begun before is not held against the driver.)
    pub(crate) blamed: bool,
    /// The same, for the wake-up that is set.
    pub(crate) wake_blamed: bool,
    /// Bus mastering is on.
    pub(crate) memory_is_open: bool,
    /// The wake-up was delayed by the fault plan, and is not to be met by it again.
    pub(crate) wake_delayed: bool,
    /// Interrupts that it raised and that its monitor was not told of yet; `None` if there is no monitor.
    pub(crate) raised: Option<Vec<Option<u16>>>,
    /// See [`held_back`](Self::held_back).
    pub(crate) held_back: u64,
}

/// For each of the first 1024 dwords of a BAR the register that fills it.
#[derive(Clone, Debug, Default)]
pub(crate) struct RegisterIndex(Vec<Option<&'static Register>>);

impl RegisterIndex {
    fn new(bar: &Bar) -> Self {
        let end = bar.registers.iter().map(|r| r.offset + r.len).max().unwrap_or(0).min(4096);
        let fills = |at: u64| bar.register_at(at).filter(|r| r.offset <= at && r.offset + r.len >= at + 4);
        Self((0..end.div_ceil(4)).map(|dword| fills(dword * 4)).collect())
    }

    /// The register at `offset`, found here or by searching the BAR's table.
    #[inline]
    pub(crate) fn find(&self, bar: &Bar, offset: u64) -> Option<&'static Register> {
        match self.0.get((offset / 4) as usize) {
            Some(Some(register)) => Some(register),
            _ => bar.register_at(offset),
        }
    }
}

impl Port {
    pub(crate) fn new(id: DeviceId, name: String, function: Function, ram: &Ram) -> Self {
        let mut bars = [None; 6];
        let mut registers: [RegisterIndex; 6] = Default::default();
        for bar in &function.bars {
            bars[usize::from(bar.index)] = Some(*bar);
            registers[usize::from(bar.index)] = RegisterIndex::new(bar);
        }
        Self {
            id,
            name,
            config: ConfigSpace::new(&function),
            bars,
            registers,
            msi: function.msi.map(MsiState::new),
            msix: function.msix.map(MsixState::new),
            memory: dma::device_memory(ram),
            wake: None,
            pin: false,
            removed: false,
            blamed: false,
            wake_blamed: false,
            memory_is_open: false,
            wake_delayed: false,
            raised: None,
            held_back: 0,
            function,
        }
    }

    /// Where the data of the window to the BARs lie in configuration space.
    pub(crate) fn window_data(&self) -> u16 {
        self.config.window().map_or(0, |(at, window)| at + u16::from(window.data))
    }

    /// The BAR access that an access to configuration space stands for, if it is to the data of the window.
    pub(crate) fn window_at(&self, offset: u16, width: u8) -> Option<Access> {
        let (at, window) = self.config.window()?;
        let data = at + u16::from(window.data);
        if offset + u16::from(width) <= data || offset >= data + 4 {
            return None;
        }
        let width = u8::try_from(self.config.read(at + u16::from(window.length), 4)).ok()?;
        let bar = self.config.read(at + u16::from(window.bar), 1) as u8;
        let offset = u64::from(self.config.read(at + u16::from(window.offset), 4));
        // What the BAR does not have is for the monitors to object to: a function ignores it.
        let size = (*self.bars.get(usize::from(bar))?)?.size;
        let fits = offset.checked_add(u64::from(width)).is_some_and(|end| end <= size);
        (matches!(width, 1 | 2 | 4) && fits && offset.is_multiple_of(u64::from(width))).then_some(Access {
            bar,
            offset,
            width,
        })
    }

    pub(crate) fn interrupt_mode(&self) -> InterruptMode {
        if self.msix.is_some() && MsixState::enabled(&self.config) {
            InterruptMode::Msix
        } else if self.msi.is_some() && MsiState::enabled(&self.config) {
            InterruptMode::Msi
        } else {
            InterruptMode::Intx
        }
    }

    pub(crate) fn command(&self, bit: u16) -> bool {
        self.config.read16(offset::COMMAND) & bit != 0
    }

    /// The I/O address space of the function.
    #[must_use]
    pub fn io_space(&self) -> &Arc<IoSpace> {
        self.memory.iommu()
    }

    /// Memory as its device sees it, for a device that is not on the bus itself: what is done through it counts as the device's.
    #[must_use]
    pub fn memory(&self) -> &DeviceMemory {
        &self.memory
    }

    /// Its configuration space, to look at; accesses that count as such go through the bus.
    #[must_use]
    pub fn config(&self) -> &ConfigSpace {
        &self.config
    }

    /// Its name in this machine.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it is.
    #[must_use]
    pub fn function(&self) -> &Function {
        &self.function
    }

    /// How often it raised a vector that was masked: the message waits, and goes out when the vector is unmasked.
    #[must_use]
    pub fn held_back(&self) -> u64 {
        self.held_back
    }

    /// How many vectors have a message that waits.
    #[must_use]
    pub fn waiting(&self) -> u32 {
        let msi = self.msi.as_ref().map_or(0, MsiState::waiting);
        msi + self.msix.as_ref().map_or(0, MsixState::waiting)
    }

    /// Whether the pin is asserted and allowed to be seen.
    #[must_use]
    pub fn intx(&self) -> bool {
        self.pin
            && !self.removed
            && !self.command(command::INTX_DISABLE)
            && self.interrupt_mode() == InterruptMode::Intx
    }
}

/// What all devices of a machine share.
#[derive(Debug)]
pub struct Fabric {
    now: Nanos,
    /// The choice stream.
    pub choices: Choices,
    /// The event log.
    pub trace: Trace,
    /// What the checkers found.
    pub findings: Vec<Finding>,
    /// The machine's memory.
    pub ram: Ram,
    /// The task that runs, for trace and findings: its number …
    pub task: u16,
    /// … and its name.
    pub context: Arc<str>,
    pub(crate) faults: Faults,
    pub(crate) messages: VecDeque<Message>,
    pub(crate) delayed: Timers<Delayed>,
    /// The rules that monitors put to the test, by id; collected if there is a set to collect them in.
    pub exercised: Option<BTreeSet<&'static str>>,
    /// The states that this life has seen, and those that this machine can get into.
    pub seen: States,
    /// See `seen`.
    pub could_see: States,
    /// What monitors watch of memory.
    pub watched: Watched,
    /// The memory model.
    pub order: Order,
    /// Processors run while devices work: what a device gives back its driver may have taken, and used again, before the device is
    /// done. So it is where processors have threads of their own; it is not where they are called in turn.
    pub concurrent: bool,
    /// What the devices are called, by id.
    pub(crate) names: Vec<String>,
    /// The earliest wake-up that a device asked for; the end of time if none did.
    pub(crate) next_wake: Nanos,
    /// Devices that others woke, bit by id.
    pub(crate) rung: Arc<AtomicU64>,
    /// Devices whose pin is asserted, bit by id.
    pub(crate) pins: u64,
    /// Devices that a fault of the plan met, bit by id.
    faulted: u64,
    /// Devices that were told, by a fault, something else than their driver said, or whose set-up their driver was deceived
    /// about: what they do is not the driver's fault.
    misled: u64,
}

impl Fabric {
    pub(crate) fn new(chooser: Box<dyn Chooser>, plan: Plan, ram: Ram) -> Self {
        Self {
            now: 0,
            choices: Choices::new(chooser),
            trace: Trace::default(),
            findings: Vec::new(),
            ram,
            task: 0,
            context: "the machine".into(),
            faults: Faults::new(plan),
            messages: VecDeque::new(),
            delayed: Timers::default(),
            exercised: None,
            seen: States::default(),
            could_see: States::USUAL,
            watched: Watched::default(),
            order: Order::default(),
            concurrent: false,
            names: Vec::new(),
            next_wake: Nanos::MAX,
            rung: Arc::default(),
            pins: 0,
            faulted: 0,
            misled: 0,
        }
    }

    /// Whether a fault of the plan met the device: its answers may not be its own.
    #[must_use]
    pub fn is_faulted(&self, device: DeviceId) -> bool {
        self.faulted >> device.0 & 1 != 0
    }

    pub(crate) fn is_misled(&self, device: DeviceId) -> bool {
        self.misled >> device.0 & 1 != 0
    }

    /// Notes that the machine got into a state.
    #[inline]
    pub fn cover(&mut self, state: Coverage) {
        self.seen.add(state);
    }

    /// Notes that the machine can get into these states.
    pub fn reachable(&mut self, states: &[Coverage]) {
        self.could_see = self.could_see.union(States::of(states));
    }

    /// Virtual time, in nanoseconds.
    #[inline]
    #[must_use]
    pub fn now(&self) -> Nanos {
        self.now
    }

    /// Lets time pass.
    #[inline]
    pub fn advance(&mut self, span: Nanos) {
        self.now = self.now.saturating_add(span);
    }

    /// Counts and, if the trace is on, records a waist operation.
    #[inline]
    pub(crate) fn operation(&mut self, event: impl FnOnce() -> Event) {
        let event = event();
        self.choices.history.operation(&event);
        self.trace.operation(self.now, self.task, event);
    }

    /// Records an event that is no waist operation.
    #[inline]
    pub fn event(&mut self, event: impl FnOnce() -> Event) {
        self.trace.event(self.now, self.task, event);
    }

    /// Files a finding, with when and in what context it came up. The same rule broken at the same place again is counted, not
    /// filed twice. Software without places (a guest's) can break a rule in any number of ways: of each rule and device the first 64
    /// are filed, and the others are counted with the last of them.
    pub fn report(&mut self, mut finding: Finding) {
        let known = self.findings.iter_mut().find(|f| {
            f.rule == finding.rule
                && f.device == finding.device
                && f.place == finding.place
                && (f.place.is_some() || f.what == finding.what)
        });
        if let Some(known) = known {
            known.times += 1;
            return;
        }
        if finding.place.is_none() {
            let alike = |f: &&mut Finding| f.rule == finding.rule && f.device == finding.device && f.place.is_none();
            if let Some(last) = self.findings.iter_mut().filter(alike).nth(MOST_WITHOUT_PLACE - 1) {
                last.times += 1;
                return;
            }
        }
        finding.at = self.now;
        finding.position = self.trace.position();
        finding.context = self.context.to_string();
        self.event(|| Event::Finding { rule: finding.rule.id, what: finding.what.clone(), place: finding.place });
        self.findings.push(finding);
    }

    /// What the fault plan does to an operation.
    #[inline]
    pub(crate) fn meet(&mut self, verb: Verb, port: &Port, bar: u8, address: u64, len: u64) -> Option<Applied> {
        if self.faults.is_empty() {
            return None;
        }
        self.meet_slowly(verb, port, bar, address, len)
    }

    #[cold]
    fn meet_slowly(&mut self, verb: Verb, port: &Port, bar: u8, address: u64, len: u64) -> Option<Applied> {
        let applied = self.faults.meet(verb, &port.name, bar, address, len)?;
        self.faulted |= 1 << port.id.0;
        self.cover(Coverage::FaultMet);
        // Reads that only take longer or happen twice tell the truth; a write that is late or comes twice does not.
        let truthful = matches!(applied.behaviour, Behaviour::Delay | Behaviour::Duplicate);
        let misleads = match verb {
            Verb::BarWrite | Verb::ConfigWrite => true,
            Verb::ConfigRead | Verb::DmaRead => !truthful,
            _ => false,
        };
        self.misled |= u64::from(misleads) << port.id.0;
        self.event(|| Event::Fault { device: port.id, verb: verb.word(), behaviour: applied.behaviour.word() });
        Some(applied)
    }

    /// A value of `width` bytes from the choice stream: as it is (0), all zeros (1), all ones (2), or chosen bytes.
    pub(crate) fn hostile(&mut self, value: u64, width: u8) -> u64 {
        match self.choices.choose(Point::Answer, 4) {
            0 => value,
            1 => 0,
            2 => u64::MAX,
            _ => (0..u32::from(width))
                .fold(0, |out, lane| out | u64::from(self.choices.choose(Point::Answer, 256)) << (8 * lane)),
        }
    }

    /// Where the memory of an access is, if it may be.
    fn admit_dma(&mut self, port: &Port, iova: u64, len: u64, access: Permissions) -> Result<GuestAddress, DmaError> {
        self.advance(cost::DMA);
        if port.removed {
            return Err(DmaError::Gone);
        }
        let verb = if access == Permissions::Read { "read" } else { "write" };
        if !port.command(command::BUS_MASTER) {
            let what = format!("{} tried to {verb} {len} bytes at {iova:#x} with bus mastering off", port.name);
            if port.blamed {
                self.blame(port, Finding::new(&rules::DMA_NO_BUS_MASTER, what));
            }
            return Err(DmaError::NoBusMaster);
        }
        if let Some(at) = port.memory.resolve(iova, len, access) {
            return Ok(at);
        }
        match port.io_space().resolve(iova, len, access) {
            Ok(at) => Ok(at),
            Err(fault) => {
                self.report_dma_fault(port, iova, len, verb, &fault);
                Err(DmaError::Fault)
            }
        }
    }

    #[cold]
    fn report_dma_fault(&mut self, port: &Port, iova: u64, len: u64, verb: &str, fault: &Fault) {
        let tried = format!("{} tried to {verb} {len} bytes at {iova:#x}", port.name);
        let finding = match fault {
            Fault::Unmapped(nearest) => {
                let finding =
                    Finding::new(&rules::DMA_UNMAPPED, format!("{tried}, where nothing was ever mapped for it"));
                match nearest {
                    Some(m) => finding.at_place(m.place).note(format!("the nearest mapping is {m}")),
                    None => finding.note("no memory is mapped for this device"),
                }
            }
            Fault::AfterUnmap(m) => {
                let finding = match self.freed_too_early(port.id, iova, &tried) {
                    Some(finding) => finding,
                    None => Finding::new(&rules::DMA_AFTER_UNMAP, format!("{tried}, which is no longer mapped"))
                        .at_place(m.place),
                };
                finding
                    .note(format!("it belonged to {m}"))
                    .note(format!("unmapped {} ns before", self.now - m.unmapped_at.unwrap_or(self.now)))
            }
            Fault::Overrun(m) => {
                let over = len - (m.len - (iova - m.iova));
                Finding::new(&rules::DMA_OVERRUN, format!("{tried}, {over} bytes more than are mapped there"))
                    .at_place(m.place)
                    .note(format!("the mapping is {m}"))
            }
            Fault::Direction(m) => {
                Finding::new(&rules::DMA_DIRECTION, format!("{tried}, against the direction {}", m.direction.word()))
                    .at_place(m.place)
                    .note(format!("the mapping is {m}"))
            }
        };
        self.blame(port, finding);
    }

    /// Settles what a device did through its view of memory: traces it, applies the fault plan to what it stored, and files what
    /// was refused.
    #[inline]
    pub(crate) fn settle_memory(&mut self, port: &Port) {
        if port.memory.has_log() {
            self.settle_order(port);
        }
        for noted in port.io_space().take_noted() {
            self.settle_noted(port, &noted);
        }
        for (iova, len, access) in port.io_space().take_refused() {
            if port.removed {
                continue;
            }
            // The verdict is the same as for other DMA; the time was the device's own.
            let _ = self.admit_dma(port, iova, len, access);
        }
    }

    /// Tells the memory model what a device did through its view of memory.
    pub(crate) fn settle_order(&mut self, port: &Port) {
        let mut log = port.memory.take_log();
        for logged in &log {
            match &logged.old {
                None => self.device_loaded(port.id, logged.physical, logged.len),
                Some(old) => self.device_stored(logged.physical, logged.len, old),
            }
        }
        log.clear();
        port.memory.give_log(log);
    }

    #[cold]
    fn settle_noted(&mut self, port: &Port, noted: &Noted) {
        let Noted { iova, len, access } = *noted;
        if access == Permissions::Read {
            return self.event(|| Event::DmaRead { device: port.id, iova, len });
        }
        self.event(|| Event::DmaWrite { device: port.id, iova, len });
        let applied = self.meet(Verb::DmaWrite, port, 0, iova, len);
        if !matches!(applied, Some(Applied { behaviour: Behaviour::Corrupt | Behaviour::Choose, .. })) {
            return;
        }
        // The driver has not run since: it sees only what is left here.
        let mut stored = vec![0; len.min(1 << 20) as usize];
        if port.memory.read_slice(&mut stored, GuestAddress(iova)).is_ok() {
            self.spoil(applied, &mut stored);
            // It was written a moment ago, so it can be written.
            let _ = port.memory.write_slice(&stored, GuestAddress(iova));
        }
        let _ = port.io_space().take_noted();
    }

    /// Files what a device did because of its driver; not when a fault of the plan misled the device.
    fn blame(&mut self, port: &Port, finding: Finding) {
        if !self.is_misled(port.id) {
            self.report(finding.on_device(&port.name));
        }
    }

    pub(crate) fn misuse(&mut self, port: &Port, what: &'static str, place: Option<Place>) {
        if !self.is_faulted(port.id) {
            self.blame(port, Finding::new(&rules::DEVICE_MISUSE, format!("{}: {what}", port.name)).at_place(place));
        }
    }

    pub(crate) fn dma_read(&mut self, port: &Port, iova: u64, into: &mut [u8]) -> Result<(), DmaError> {
        if into.is_empty() {
            return Ok(());
        }
        let len = into.len() as u64;
        self.operation(|| Event::DmaRead { device: port.id, iova, len });
        let at = self.admit_dma(port, iova, len, Permissions::Read)?;
        let applied = self.meet(Verb::DmaRead, port, 0, iova, len);
        match applied.map(|a| a.behaviour) {
            Some(Behaviour::Drop) => return Ok(()),
            Some(Behaviour::Error) => return Err(DmaError::Aborted),
            Some(Behaviour::AllOnes) => {
                into.fill(0xff);
                return Ok(());
            }
            Some(Behaviour::Delay) => self.advance(applied.map_or(0, |a| a.delay)),
            _ => {}
        }
        if port.memory.has_log() {
            self.settle_order(port);
        }
        self.device_loaded(port.id, at.0, into.len());
        port.memory.keep(iova, into.len(), Permissions::Read);
        self.ram.memory().read_slice(into, at).map_err(|_| DmaError::Fault)?;
        self.spoil(applied, into);
        Ok(())
    }

    pub(crate) fn dma_write(&mut self, port: &Port, iova: u64, from: &[u8]) -> Result<(), DmaError> {
        if from.is_empty() {
            return Ok(());
        }
        let len = from.len() as u64;
        self.operation(|| Event::DmaWrite { device: port.id, iova, len });
        let at = self.admit_dma(port, iova, len, Permissions::Write)?;
        let applied = self.meet(Verb::DmaWrite, port, 0, iova, len);
        match applied.map(|a| a.behaviour) {
            Some(Behaviour::Drop) => return Ok(()),
            Some(Behaviour::Error) => return Err(DmaError::Aborted),
            Some(Behaviour::Delay) => self.advance(applied.map_or(0, |a| a.delay)),
            _ => {}
        }
        if port.memory.has_log() {
            self.settle_order(port);
        }
        self.device_stores(at.0, from.len());
        port.memory.keep(iova, from.len(), Permissions::Write);
        if let Some(Behaviour::Corrupt | Behaviour::Choose) = applied.map(|a| a.behaviour) {
            let mut spoilt = from.to_vec();
            self.spoil(applied, &mut spoilt);
            return self.ram.memory().write_slice(&spoilt, at).map_err(|_| DmaError::Fault);
        }
        self.ram.memory().write_slice(from, at).map_err(|_| DmaError::Fault)
    }

    fn spoil(&mut self, applied: Option<Applied>, data: &mut [u8]) {
        match applied {
            Some(Applied { behaviour: Behaviour::Corrupt, mask, .. }) => {
                for byte in data {
                    *byte ^= mask as u8;
                }
            }
            Some(Applied { behaviour: Behaviour::Choose, .. }) => {
                for byte in data {
                    *byte = self.hostile(u64::from(*byte), 1) as u8;
                }
            }
            _ => {}
        }
    }

    pub(crate) fn send_message(&mut self, port: &mut Port, vector: u16) {
        if port.removed {
            return;
        }
        if port.memory.has_log() {
            self.settle_order(port);
        }
        let stamp = self.order_stamp();
        let raised = match port.interrupt_mode() {
            InterruptMode::Msix => port.msix.as_mut().map(|msix| msix.raise(&port.config, vector)),
            InterruptMode::Msi => port.msi.as_mut().map(|msi| msi.raise(&mut port.config, vector)),
            InterruptMode::Intx => None,
        };
        match raised {
            Some(Raised::Send { address, data }) => {
                self.emit(port, Message { device: port.id, vector, address, data, stamp });
            }
            Some(Raised::Pended) => {
                port.held_back += 1;
                self.cover(Coverage::MaskedPended);
                self.operation(|| Event::Pended { device: port.id, vector });
            }
            Some(Raised::NoVector | Raised::Disabled) | None => {}
        }
    }

    /// Sends what unmasking made deliverable.
    pub(crate) fn send_pending(&mut self, port: &mut Port) {
        // Without bus mastering it stays pended.
        while port.command(command::BUS_MASTER) {
            let next = match port.interrupt_mode() {
                InterruptMode::Msix => port.msix.as_mut().and_then(|msix| msix.take_deliverable(&port.config)),
                InterruptMode::Msi => port.msi.as_mut().and_then(|msi| msi.take_deliverable(&mut port.config)),
                InterruptMode::Intx => None,
            };
            match next {
                Some((vector, Raised::Send { address, data })) => {
                    let stamp = self.order_stamp();
                    self.emit(port, Message { device: port.id, vector, address, data, stamp });
                }
                _ => return,
            }
        }
    }

    fn emit(&mut self, port: &mut Port, message: Message) {
        self.operation(|| Event::Message { device: port.id, vector: message.vector });
        if let Some(raised) = &mut port.raised {
            raised.push(Some(message.vector));
        }
        if !port.command(command::BUS_MASTER) {
            let what = format!(
                "{} raised MSI vector {} with bus mastering off; the message is lost",
                port.name, message.vector
            );
            if port.blamed {
                self.blame(port, Finding::new(&rules::MSI_NO_BUS_MASTER, what));
            }
            return;
        }
        match self.meet(Verb::Irq, port, 0, u64::from(message.vector), 1) {
            Some(Applied { behaviour: Behaviour::Drop, .. }) => {}
            Some(Applied { behaviour: Behaviour::Delay, delay, .. }) => {
                self.delayed.set(self.now.saturating_add(delay), Delayed::Message(message));
            }
            Some(Applied { behaviour: Behaviour::Duplicate, .. }) => self.messages.extend([message, message]),
            _ => self.messages.push_back(message),
        }
    }

    pub(crate) fn set_intx(&mut self, port: &mut Port, asserted: bool) {
        if !asserted {
            let id = port.id;
            self.delayed.retain(|delayed| !matches!(delayed, Delayed::Level(device) if *device == id));
        }
        if port.removed || port.pin == asserted {
            return;
        }
        self.operation(|| Event::Level { device: port.id, asserted });
        if asserted {
            if let Some(raised) = &mut port.raised {
                raised.push(None);
            }
            match self.meet(Verb::Irq, port, 0, 0, 1) {
                Some(Applied { behaviour: Behaviour::Drop, .. }) => return,
                Some(Applied { behaviour: Behaviour::Delay, delay, .. }) => {
                    self.delayed.set(self.now.saturating_add(delay), Delayed::Level(port.id));
                    return;
                }
                _ => {}
            }
        }
        self.drive_pin(port, asserted);
    }

    /// Forgets what is still under way to or from a device.
    pub(crate) fn forget_delayed(&mut self, id: DeviceId) {
        self.delayed.retain(|delayed| match delayed {
            Delayed::BarWrite { device, .. } | Delayed::ConfigWrite { device, .. } | Delayed::Level(device) => {
                *device != id
            }
            Delayed::Message(message) => message.device != id,
        });
    }

    /// Sets the level of a pin, and shows it in the status register.
    pub(crate) fn drive_pin(&mut self, port: &mut Port, asserted: bool) {
        port.pin = asserted;
        port.config.set_interrupt_status(asserted);
        self.pins = self.pins & !(1 << port.id.0) | u64::from(asserted) << port.id.0;
    }
}
