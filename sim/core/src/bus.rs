//! The bus: plugs devices in, enumerates them, and carries every access between CPU and device.

use std::sync::atomic::Ordering;

use crate::choice::{Chooser, Quiet};
use crate::coverage::Coverage;
use crate::device::{Access, Cx, Device, InterruptMode, Refusal, Reset};
use crate::dma::Ram;
use crate::fabric::{Delayed, Fabric, Message, Port, cost};
use crate::fault::{Applied, Behaviour, Plan, Verb};
use crate::finding::{Finding, Place};
use crate::monitor::{Barrier, Monitor, Seen, Sight};
use crate::order::{Landing, Posted};
use crate::pci::{Bar, BarKind, ConfigChange, DescribeError, command, offset};
use crate::rules;
use crate::time::Nanos;
use crate::trace::{DeviceId, Event};
use crate::windows::Windows;

struct Slot {
    device: Box<dyn Device>,
    port: Port,
    monitor: Option<Box<dyn Monitor>>,
}

/// The devices of a machine and what they share.
pub struct Bus {
    slots: Vec<Slot>,
    /// Time, choices, trace, findings, memory.
    pub fabric: Fabric,
    /// What is left of them for BARs.
    windows: Windows,
}

impl std::fmt::Debug for Bus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.slots.iter().map(|slot| &slot.port.name)).finish()
    }
}

/// How a machine is made.
pub struct BusConfig {
    /// Where choices come from.
    pub chooser: Box<dyn Chooser>,
    /// What goes wrong.
    pub plan: Plan,
    /// The machine's memory.
    pub ram: Ram,
    /// Where BARs are put.
    pub windows: Windows,
}

impl BusConfig {
    /// The friendliest machine with this memory.
    #[must_use]
    pub fn quiet(ram: Ram) -> Self {
        Self { chooser: Box::new(Quiet), plan: Plan::default(), ram, windows: Windows::default() }
    }
}

impl std::fmt::Debug for BusConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BusConfig").field("plan", &self.plan).finish_non_exhaustive()
    }
}

/// The first slot number on bus 0: QEMU's first free one, so that addresses look as they do there.
const FIRST_SLOT: u16 = 3;
/// The most functions on one bus.
const MOST: usize = 28;

/// Why a device was not plugged in.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PlugError {
    /// It describes no PCI function.
    #[error("{name} is no PCI function: {source}")]
    Describe {
        /// The device's name.
        name: String,
        /// What is wrong.
        source: DescribeError,
    },
    /// All slots are taken.
    #[error("a bus holds {MOST} devices")]
    Full,
    /// The machine's address space is full.
    #[error("no room in the address space for the BARs of {0}")]
    NoRoom(String),
    /// The name is taken.
    #[error("there is a device called {0} already")]
    Name(String),
}

/// What a write to a BAR or a read from it came to, for callers that want to know.
const fn all_ones(width: u8) -> u64 {
    if width >= 8 { u64::MAX } else { (1 << (8 * width)) - 1 }
}

impl Bus {
    /// A machine without devices.
    #[must_use]
    pub fn new(config: BusConfig) -> Self {
        Self {
            slots: Vec::new(),
            fabric: Fabric::new(config.chooser, config.plan, config.ram),
            windows: config.windows,
        }
    }

    /// Plugs a device in under `name`, resets it and gives its BARs addresses, as a machine's firmware does. Decoding and
    /// bus mastering are left off.
    ///
    /// # Errors
    /// When the description makes no sense, or there is no room.
    pub fn plug(&mut self, name: &str, device: Box<dyn Device>) -> Result<DeviceId, PlugError> {
        if self.slots.len() == MOST {
            return Err(PlugError::Full);
        }
        if self.find(name).is_some() {
            return Err(PlugError::Name(name.into()));
        }
        let function = device.function();
        function.check().map_err(|source| PlugError::Describe { name: name.into(), source })?;
        let room = self.windows.place(&function).ok_or_else(|| PlugError::NoRoom(name.into()))?;
        let id = DeviceId(self.slots.len() as u16);
        if function.msix.is_some() {
            self.fabric.reachable(&[Coverage::MaskedPended]);
        }
        self.fabric.choices.history.add_device();
        self.fabric.names.push(name.into());
        let port = Port::new(id, name.into(), function, &self.fabric.ram);
        self.slots.push(Slot { device, port, monitor: None });
        self.assign_bars(id, &room);
        let Slot { device, port, .. } = &mut self.slots[usize::from(id.0)];
        device.reset(&mut Cx { port, fabric: &mut self.fabric, place: None }, Reset::Power);
        Ok(id)
    }

    fn assign_bars(&mut self, id: DeviceId, addresses: &[u64]) {
        let port = &mut self.slots[usize::from(id.0)].port;
        for (bar, at) in port.function.bars.iter().zip(addresses) {
            let register = offset::BAR0 + u16::from(bar.index) * 4;
            port.config.write(register, 4, *at as u32);
            if bar.kind == BarKind::Memory64 {
                port.config.write(register + 4, 4, (at >> 32) as u32);
            }
        }
        // The system's firmware also says which line the pin is wired to.
        if port.function.intx {
            let line = line_of(id);
            port.config.write(offset::INTERRUPT_LINE, 1, line.into());
        }
    }

    /// The interrupt line that a function's pin is wired to, which is what firmware writes into its interrupt line register.
    #[must_use]
    pub fn pin_line(&self, id: DeviceId) -> u8 {
        line_of(id)
    }

    /// The devices, in the order in which they were plugged in.
    pub fn devices(&self) -> impl Iterator<Item = DeviceId> + use<> {
        (0..self.slots.len() as u16).map(DeviceId)
    }

    /// The device called `name`.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<DeviceId> {
        self.slots.iter().position(|slot| slot.port.name == name).map(|index| DeviceId(index as u16))
    }

    /// Everything about a device that is not the model's own.
    ///
    /// # Panics
    /// If `id` is of another bus.
    #[must_use]
    pub fn port(&self, id: DeviceId) -> &Port {
        &self.slots[usize::from(id.0)].port
    }

    /// Its address as Linux writes it: `0000:00:03.0`.
    #[must_use]
    pub fn address(&self, id: DeviceId) -> String {
        format!("0000:00:{:02x}.0", id.0 + FIRST_SLOT)
    }

    /// Bus, device and function number in one (`PCI_DEVID`).
    #[must_use]
    pub fn requester_id(&self, id: DeviceId) -> u16 {
        (id.0 + FIRST_SLOT) << 3
    }

    /// The device in a slot of bus 0, as the upper five bits of [`requester_id`](Self::requester_id)'s lowest byte name it.
    #[must_use]
    pub fn device_at(&self, slot: u8) -> Option<DeviceId> {
        let index = u16::from(slot).checked_sub(FIRST_SLOT)?;
        self.slots.get(usize::from(index)).map(|slot| slot.port.id)
    }

    /// The address and size of a BAR; `None` if the function does not have it.
    #[must_use]
    pub fn bar(&self, id: DeviceId, index: u8) -> Option<(u64, Bar)> {
        let port = self.port(id);
        let bar = (*port.bars.get(usize::from(index))?)?;
        Some((port.config.bar_address(index, bar.kind), bar))
    }

    /// Which device, BAR and offset answers at a physical address, in memory space or I/O space.
    #[must_use]
    pub fn decode(&self, io: bool, address: u64) -> Option<(DeviceId, u8, u64)> {
        self.slots.iter().filter(|slot| !slot.port.removed).find_map(|slot| {
            let bit = if io { command::IO } else { command::MEMORY };
            if !slot.port.command(bit) {
                return None;
            }
            slot.port.bars.iter().flatten().filter(|bar| (bar.kind == BarKind::Io) == io).find_map(|bar| {
                let start = slot.port.config.bar_address(bar.index, bar.kind);
                let offset = address.checked_sub(start)?;
                (start != 0 && offset < bar.size).then_some((slot.port.id, bar.index, offset))
            })
        })
    }

    // --- Verb one: configuration space ---------------------------------------------------------------------------

    /// Reads 1, 2 or 4 aligned bytes of configuration space.
    pub fn config_read(&mut self, id: DeviceId, offset: u16, width: u8) -> u32 {
        self.flush_posted(id);
        let Slot { port, .. } = &mut self.slots[usize::from(id.0)];
        let fabric = &mut self.fabric;
        fabric.advance(cost::CONFIG);
        let ones = all_ones(width) as u32;
        let window = if port.removed { None } else { port.window_at(offset, width) };
        if let Some(at) = window {
            // The device performs the access and keeps what it gave, as far as it was asked for.
            let data = port.window_data();
            let got = self.bar_read(id, at.bar, at.offset, at.width, None) as u32;
            self.slots[usize::from(id.0)].port.config.set_bytes(data, &got.to_le_bytes()[..usize::from(at.width)]);
        }
        let Slot { port, .. } = &mut self.slots[usize::from(id.0)];
        let fabric = &mut self.fabric;
        let mut value = if port.removed { ones } else { port.config.read(offset, width) };
        if let Some(applied) = fabric.meet(Verb::ConfigRead, port, 0, u64::from(offset), u64::from(width)) {
            match applied.behaviour {
                Behaviour::Drop | Behaviour::AllOnes | Behaviour::Error => value = ones,
                Behaviour::Corrupt => value ^= applied.mask as u32 & ones,
                Behaviour::Choose => value = fabric.hostile(u64::from(value), width) as u32 & ones,
                Behaviour::Delay => fabric.advance(applied.delay),
                Behaviour::Duplicate => {}
            }
        }
        fabric.operation(|| Event::ConfigRead { device: id, offset, width, value });
        self.show(id, None, Seen::ConfigRead { offset, width, value });
        self.fabric.cpu_catches_up();
        value
    }

    /// Writes 1, 2 or 4 aligned bytes of configuration space and acts on what that changes.
    pub fn config_write(&mut self, id: DeviceId, offset: u16, width: u8, mut value: u32) -> ConfigChange {
        self.flush_posted(id);
        self.show(id, None, Seen::ConfigWrite { offset, width, value });
        let Slot { port, .. } = &mut self.slots[usize::from(id.0)];
        let fabric = &mut self.fabric;
        fabric.advance(cost::CONFIG);
        fabric.operation(|| Event::ConfigWrite { device: id, offset, width, value });
        if port.removed {
            return ConfigChange::default();
        }
        if let Some(applied) = fabric.meet(Verb::ConfigWrite, port, 0, u64::from(offset), u64::from(width)) {
            match applied.behaviour {
                Behaviour::Drop | Behaviour::Error => return ConfigChange::default(),
                Behaviour::Corrupt => value ^= applied.mask as u32,
                Behaviour::Choose => value = fabric.hostile(u64::from(value), width) as u32,
                Behaviour::Delay => {
                    let at = fabric.now().saturating_add(applied.delay);
                    fabric.delayed.set(at, Delayed::ConfigWrite { device: id, offset, width, value });
                    return ConfigChange::default();
                }
                Behaviour::Duplicate | Behaviour::AllOnes => {}
            }
        }
        self.config_store(id, offset, width, value)
    }

    fn config_store(&mut self, id: DeviceId, offset: u16, width: u8, value: u32) -> ConfigChange {
        let Slot { port, .. } = &mut self.slots[usize::from(id.0)];
        let change = port.config.write(offset, width, value);
        if change.command {
            port.memory_is_open = port.command(command::BUS_MASTER);
            port.io_space().set_open(port.memory_is_open);
        }
        if (change.msi || change.msix) && port.interrupt_mode() != InterruptMode::Intx && port.pin {
            // A function that sends messages lets go of its pin (PCIe 6.0 §7.7.1.2).
            self.fabric.drive_pin(port, false);
        }
        let window = port.window_at(offset, width);
        if change.reset {
            self.reset(id, Reset::Function);
        } else if let Some(at) = window {
            let data = port.config.read(port.window_data(), 4);
            self.bar_write(id, at.bar, at.offset, at.width, u64::from(data) & all_ones(at.width), None);
        } else if change.msi || change.msix || change.command {
            self.fabric.send_pending(&mut self.slots[usize::from(id.0)].port);
        }
        change
    }

    /// Resets a function: its configuration space, masks, pending bits and wake-ups, then the model.
    pub fn reset(&mut self, id: DeviceId, kind: Reset) {
        self.flush_posted(id);
        let Slot { device, port, .. } = &mut self.slots[usize::from(id.0)];
        port.config.reset();
        if let Some(msi) = &mut port.msi {
            msi.reset();
        }
        if let Some(msix) = &mut port.msix {
            msix.reset();
        }
        port.wake = None;
        self.fabric.drive_pin(port, false);
        port.memory_is_open = false;
        port.io_space().set_open(false);
        self.fabric.forget_delayed(id);
        self.fabric.cover(Coverage::DeviceReset);
        let word = if kind == Reset::Function { "function" } else { "power" };
        self.fabric.operation(|| Event::Reset { device: id, kind: word });
        device.reset(&mut Cx { port, fabric: &mut self.fabric, place: None }, kind);
        self.find_next_wake();
        self.show(id, None, Seen::Reset(kind));
    }

    fn find_next_wake(&mut self) {
        self.fabric.next_wake = self.slots.iter().filter_map(|slot| slot.port.wake).min().unwrap_or(Nanos::MAX);
    }

    /// Pulls a device out: from now on it reads as all ones, ignores writes, and neither does DMA nor interrupts.
    pub fn remove(&mut self, id: DeviceId) {
        self.flush_posted(id);
        let port = &mut self.slots[usize::from(id.0)].port;
        port.removed = true;
        self.fabric.drive_pin(port, false);
        port.wake = None;
        port.io_space().set_open(false);
        self.fabric.forget_delayed(id);
        self.find_next_wake();
        self.fabric.messages.retain(|message| message.device != id);
        self.fabric.cover(Coverage::DeviceRemoved);
        self.fabric.operation(|| Event::Removed { device: id });
        self.show(id, None, Seen::Removed);
    }

    // --- Monitors ------------------------------------------------------------------------------------------------

    /// Has a monitor watch a function from now on, instead of the one that did.
    pub fn watch(&mut self, id: DeviceId, monitor: Box<dyn Monitor>) {
        let slot = &mut self.slots[usize::from(id.0)];
        slot.monitor = Some(monitor);
        slot.port.raised = Some(Vec::new());
    }

    /// Whether any function has a monitor.
    #[must_use]
    pub fn has_monitors(&self) -> bool {
        self.slots.iter().any(|slot| slot.monitor.is_some())
    }

    /// Tells the monitor of a function, if it has one, what happened; `place` is the driver's line.
    #[inline]
    pub fn show(&mut self, id: DeviceId, place: Option<Place>, seen: Seen) {
        let Slot { port, monitor, .. } = &mut self.slots[usize::from(id.0)];
        if let Some(monitor) = monitor {
            monitor.see(&mut Sight { port, fabric: &mut self.fabric, place }, seen);
        }
    }

    /// Tells all monitors that the CPU executed a memory barrier.
    pub fn show_barrier(&mut self, barrier: Barrier, place: Option<Place>) {
        for id in self.devices() {
            self.show(id, place, Seen::Barrier(barrier));
        }
    }

    /// Tells all monitors that nothing goes on before time passes. For whoever runs the CPUs.
    pub fn show_idle(&mut self) {
        for id in self.devices() {
            self.show(id, None, Seen::Idle);
        }
    }

    /// Tells a function's monitor that memory is no longer mapped for it.
    pub fn show_unmapped(&mut self, id: DeviceId, iova: u64, len: u64, place: Option<Place>) {
        self.fabric.watched.forget(id, iova, len);
        self.show(id, place, Seen::Unmapped { iova, len });
    }

    /// Sees to the devices that the one that worked woke.
    #[inline]
    fn heed_wakers(&mut self) {
        if self.fabric.rung.load(Ordering::Relaxed) != 0 {
            self.wake_rung();
        }
    }

    #[cold]
    fn wake_rung(&mut self) {
        let rung = self.fabric.rung.swap(0, Ordering::Relaxed);
        let now = self.fabric.now();
        for Slot { port, .. } in &mut self.slots {
            if rung >> port.id.0 & 1 != 0 && !port.removed {
                port.wake_blamed = !port.memory_is_open && (port.wake.is_none() || port.wake_blamed);
                port.wake = Some(port.wake.map_or(now, |set| set.min(now)));
                self.fabric.next_wake = self.fabric.next_wake.min(now);
            }
        }
    }

    /// Tells a function's monitor what the device did just now.
    #[inline]
    fn show_work(&mut self, id: DeviceId, place: Option<Place>) {
        self.heed_wakers();
        if self.slots[usize::from(id.0)].monitor.is_none() {
            return;
        }
        self.show(id, place, Seen::Worked);
        let raised = self.slots[usize::from(id.0)].port.raised.as_mut().map(std::mem::take);
        for vector in raised.into_iter().flatten() {
            self.show(id, place, Seen::Interrupt { vector });
        }
    }

    /// Whether a device was pulled out.
    #[must_use]
    pub fn is_removed(&self, id: DeviceId) -> bool {
        self.port(id).removed
    }

    // --- Verb two: BARs ------------------------------------------------------------------------------------------

    /// Reads 1, 2, 4 or 8 bytes from a BAR. What cannot be read gives all ones.
    #[inline]
    pub fn bar_read(&mut self, id: DeviceId, bar: u8, offset: u64, width: u8, place: Option<Place>) -> u64 {
        let value = self.bar_read_unordered(id, bar, offset, width, place);
        self.fabric.cpu_catches_up();
        value
    }

    /// As [`bar_read`](Self::bar_read), but loads after it may have been made before it (`readl_relaxed`).
    #[inline]
    pub fn bar_read_relaxed(&mut self, id: DeviceId, bar: u8, offset: u64, width: u8, place: Place) -> u64 {
        let value = self.bar_read_unordered(id, bar, offset, width, Some(place));
        self.fabric.cpu_read_relaxed(place);
        value
    }

    #[inline]
    fn bar_read_unordered(&mut self, id: DeviceId, bar: u8, offset: u64, width: u8, place: Option<Place>) -> u64 {
        self.flush_posted(id);
        self.fabric.advance(cost::BAR_READ);
        let port = &self.slots[usize::from(id.0)].port;
        let value = match self.fabric.meet(Verb::BarRead, port, bar, offset, u64::from(width)) {
            None => self.load(id, bar, offset, width, place) & all_ones(width),
            Some(applied) => self.spoil_read(id, Access { bar, offset, width }, applied, place),
        };
        self.fabric.operation(|| Event::BarRead { device: id, bar, offset, width, value, place });
        self.show(id, place, Seen::BarRead { at: Access { bar, offset, width }, value });
        value
    }

    #[cold]
    fn spoil_read(&mut self, id: DeviceId, at: Access, applied: Applied, place: Option<Place>) -> u64 {
        let ones = all_ones(at.width);
        if matches!(applied.behaviour, Behaviour::Drop | Behaviour::Error) {
            return ones;
        }
        let mut value = self.load(id, at.bar, at.offset, at.width, place) & ones;
        match applied.behaviour {
            Behaviour::AllOnes => value = ones,
            Behaviour::Corrupt => value = (value ^ applied.mask) & ones,
            Behaviour::Choose => value = self.fabric.hostile(value, at.width) & ones,
            Behaviour::Delay => self.fabric.advance(applied.delay),
            Behaviour::Duplicate => value = self.load(id, at.bar, at.offset, at.width, place) & ones,
            Behaviour::Drop | Behaviour::Error => {}
        }
        value
    }

    fn load(&mut self, id: DeviceId, bar: u8, offset: u64, width: u8, place: Option<Place>) -> u64 {
        if self.slots[usize::from(id.0)].port.removed || !self.admit(id, bar, offset, width, false, place) {
            return u64::MAX;
        }
        let Slot { port, .. } = &mut self.slots[usize::from(id.0)];
        if let Some(hit) = port.msix.as_ref().and_then(|msix| msix.locate(bar, offset)) {
            let msix = port.msix.as_ref();
            return match hit {
                Ok(at) => msix.map_or(u64::MAX, |msix| msix.read_table(at, width)),
                Err(at) => msix.map_or(u64::MAX, |msix| msix.read_pending(at, width)),
            };
        }
        let at = Access { bar, offset, width };
        let began = self.fabric.now();
        while self.fabric.now() - began <= MOST_PATIENCE {
            let Slot { device, port, .. } = &mut self.slots[usize::from(id.0)];
            port.blamed = true;
            let reply = device.read(&mut Cx { port, fabric: &mut self.fabric, place }, at);
            self.fabric.settle_memory(port);
            self.show_work(id, place);
            match reply {
                Ok(value) => return value,
                Err(Refusal::NotYet(span)) => self.wait_for_device(id, span),
                Err(refusal) => {
                    self.refused(id, at, refusal, "read", place);
                    return u64::MAX;
                }
            }
        }
        self.never_answered(id, at, "read", place);
        u64::MAX
    }

    /// Lets time pass, and the device work, because it does not answer an access yet.
    fn wait_for_device(&mut self, id: DeviceId, span: Nanos) {
        self.fabric.advance(span.clamp(1, MOST_PATIENCE));
        if self.slots[usize::from(id.0)].port.wake.is_some_and(|at| at <= self.fabric.now()) {
            self.work(id);
        }
    }

    fn never_answered(&mut self, id: DeviceId, at: Access, verb: &str, place: Option<Place>) {
        let Access { bar, offset, width } = at;
        let what = format!("{width}-byte {verb} at BAR {bar} offset {offset:#x}: the device does not answer");
        self.misuse(id, Finding::new(&rules::WATCHDOG_DEVICE, what), place);
    }

    /// Writes 1, 2, 4 or 8 bytes to a BAR, and waits until they are there. What cannot be written is ignored.
    #[inline]
    pub fn bar_write(&mut self, id: DeviceId, bar: u8, offset: u64, width: u8, value: u64, place: Option<Place>) {
        self.bar_post(id, Access { bar, offset, width }, value, false, place);
        self.flush_posted(id);
    }

    /// Sends 1, 2, 4 or 8 bytes on their way to a BAR, as a CPU's store to it does: when they arrive is a choice, at the latest before
    /// a read of the device returns. `relaxed`: stores to memory may land later (`writel_relaxed`).
    #[inline]
    pub fn bar_post(&mut self, id: DeviceId, at: Access, value: u64, relaxed: bool, place: Option<Place>) {
        let Access { bar, offset, width } = at;
        self.fabric.advance(cost::BAR_WRITE);
        let value = value & all_ones(width);
        self.fabric.operation(|| Event::BarWrite { device: id, bar, offset, width, value, place });
        self.show(id, place, Seen::BarWrite { at, value });
        if !self.fabric.order.is_on() {
            return self.bar_arrives(id, at, value, place);
        }
        if !self.fabric.post(id, at, value, relaxed, place) {
            self.flush_posted(id);
        }
    }

    #[inline]
    fn bar_arrives(&mut self, id: DeviceId, at: Access, value: u64, place: Option<Place>) {
        let Access { bar, offset, width } = at;
        let port = &self.slots[usize::from(id.0)].port;
        match self.fabric.meet(Verb::BarWrite, port, bar, offset, u64::from(width)) {
            None => self.store(id, bar, offset, width, value, place),
            Some(applied) => self.spoil_write(id, at, value, applied, place),
        }
    }

    // --- What is under way ---------------------------------------------------------------------------------------

    /// Has everything arrive that is under way to a device, and all that must come before.
    #[inline]
    pub fn flush_posted(&mut self, id: DeviceId) {
        while self.fabric.has_waiting() && self.arrive_posted(id) {}
    }

    fn arrive_posted(&mut self, id: DeviceId) -> bool {
        let Some(Posted { device, at, value, place, .. }) = self.fabric.take_posted(id) else { return false };
        self.bar_arrives(device, at, value, place);
        true
    }

    /// Has everything that waits land: stores first, then writes to BARs in program order.
    pub fn land_all(&mut self) {
        self.fabric.land_stores();
        while let Some(device) = self.fabric.posted_to() {
            self.arrive_posted(device);
        }
    }

    /// Has land what the chooser says, if anything waits. For whoever runs the CPUs, between two things that they do.
    pub fn land_some(&mut self) {
        if self.fabric.has_waiting() {
            self.land_chosen();
        }
    }

    fn land_chosen(&mut self) {
        let Fabric { order, choices, .. } = &mut self.fabric;
        match order.choose_landing(choices) {
            Landing::All => self.land_all(),
            Landing::Ready => {
                self.fabric.land_ready_stores();
                while let Some(device) = self.fabric.posted_and_ready() {
                    self.arrive_posted(device);
                }
            }
            Landing::Nothing => {}
            Landing::Write(device) => {
                self.arrive_posted(device);
            }
            Landing::Store(stamp) => self.fabric.land_store(stamp),
        }
        if !self.fabric.has_waiting() {
            self.fabric.order.nothing_waits();
        }
    }

    #[cold]
    fn spoil_write(&mut self, id: DeviceId, at: Access, value: u64, applied: Applied, place: Option<Place>) {
        let Access { bar, offset, width } = at;
        match applied.behaviour {
            Behaviour::Drop | Behaviour::Error => {}
            Behaviour::Corrupt => self.store(id, bar, offset, width, (value ^ applied.mask) & all_ones(width), place),
            Behaviour::Choose => {
                let value = self.fabric.hostile(value, width) & all_ones(width);
                self.store(id, bar, offset, width, value, place);
            }
            Behaviour::Delay => {
                let at = self.fabric.now().saturating_add(applied.delay);
                self.fabric.delayed.set(at, Delayed::BarWrite { device: id, bar, offset, width, value });
            }
            Behaviour::Duplicate => {
                self.store(id, bar, offset, width, value, place);
                self.store(id, bar, offset, width, value, place);
            }
            Behaviour::AllOnes => self.store(id, bar, offset, width, all_ones(width), place),
        }
    }

    fn store(&mut self, id: DeviceId, bar: u8, offset: u64, width: u8, value: u64, place: Option<Place>) {
        if self.slots[usize::from(id.0)].port.removed || !self.admit(id, bar, offset, width, true, place) {
            return;
        }
        let Slot { port, .. } = &mut self.slots[usize::from(id.0)];
        if let Some(hit) = port.msix.as_ref().and_then(|msix| msix.locate(bar, offset)) {
            if let (Ok(at), Some(msix)) = (hit, &mut port.msix) {
                msix.write_table(at, width, value);
                self.fabric.send_pending(port);
            } else {
                self.refused(id, Access { bar, offset, width }, Refusal::ReadOnly, "write", place);
            }
            return;
        }
        let at = Access { bar, offset, width };
        let began = self.fabric.now();
        while self.fabric.now() - began <= MOST_PATIENCE {
            let Slot { device, port, .. } = &mut self.slots[usize::from(id.0)];
            port.blamed = true;
            let reply = device.write(&mut Cx { port, fabric: &mut self.fabric, place }, at, value);
            self.fabric.settle_memory(port);
            self.show_work(id, place);
            match reply {
                Ok(()) => return,
                Err(Refusal::NotYet(span)) => self.wait_for_device(id, span),
                Err(refusal) => return self.refused(id, at, refusal, "write", place),
            }
        }
        self.never_answered(id, at, "write", place);
    }

    /// Checks an access against the BAR and its registers.
    fn admit(&mut self, id: DeviceId, index: u8, offset: u64, width: u8, write: bool, place: Option<Place>) -> bool {
        let port = &self.slots[usize::from(id.0)].port;
        let verb = if write { "write" } else { "read" };
        let Some(bar) = port.bars.get(usize::from(index)).copied().flatten() else {
            let what = format!("{verb} of BAR {index}, which {} does not have", port.name);
            return self.misuse(id, Finding::new(&rules::BAR_OUT_OF_RANGE, what), place);
        };
        if offset.checked_add(u64::from(width)).is_none_or(|end| end > bar.size) {
            let what =
                format!("{width}-byte {verb} at BAR {index} offset {offset:#x}; the BAR has {:#x} bytes", bar.size);
            return self.misuse(id, Finding::new(&rules::BAR_OUT_OF_RANGE, what), place);
        }
        if !offset.is_multiple_of(u64::from(width)) {
            let what =
                format!("{width}-byte {verb} at BAR {index} offset {offset:#x}, which is not a multiple of {width}");
            return self.misuse(id, Finding::new(&rules::BAR_MISALIGNED, what), place);
        }
        let bit = if bar.kind == BarKind::Io { command::IO } else { command::MEMORY };
        if !port.command(bit) {
            let space = if bar.kind == BarKind::Io { "I/O" } else { "memory" };
            let what = format!("{verb} at BAR {index} offset {offset:#x} while {space} decoding is off");
            return self.misuse(id, Finding::new(&rules::BAR_DISABLED, what), place);
        }
        if let Some(msix) = &port.msix
            && msix.locate(index, offset).is_some()
        {
            if width < 4 {
                let what = format!("{width}-byte {verb} of the MSI-X structures at BAR {index} offset {offset:#x}");
                return self.misuse(id, Finding::new(&rules::BAR_WIDTH, what), place);
            }
            return true;
        }
        if bar.registers.is_empty() {
            return true;
        }
        let Some(register) = port.registers[usize::from(index)].find(&bar, offset) else {
            let what = format!("{verb} at BAR {index} offset {offset:#x}, where {} has no register", port.name);
            return self.misuse(id, Finding::new(&rules::BAR_NO_REGISTER, what), place);
        };
        if !register.widths.has(width) || offset + u64::from(width) > register.offset + register.len {
            let what = format!("{width}-byte {verb} of {} (BAR {index} offset {offset:#x})", register.name);
            let finding =
                Finding::new(&rules::BAR_WIDTH, what).note(format!("{} takes {}", register.name, register.widths));
            return self.misuse(id, finding, place);
        }
        match (register.rights, write) {
            (crate::pci::Rights::ReadOnly, true) => {
                let what = format!("write to {} (BAR {index} offset {offset:#x}), which is read-only", register.name);
                self.misuse(id, Finding::new(&rules::BAR_READ_ONLY, what), place)
            }
            (crate::pci::Rights::WriteOnly, false) => {
                let what = format!("read of {} (BAR {index} offset {offset:#x}), which is write-only", register.name);
                self.misuse(id, Finding::new(&rules::BAR_WRITE_ONLY, what), place)
            }
            _ => true,
        }
    }

    #[cold]
    fn misuse(&mut self, id: DeviceId, finding: Finding, place: Option<Place>) -> bool {
        // With its state changed behind the driver's back, or after it lied, the device may refuse what would have been right.
        let excused = (finding.rule == &rules::DEVICE_MISUSE && self.fabric.is_faulted(id))
            || (finding.rule == &rules::BAR_DISABLED && self.fabric.is_misled(id));
        if excused {
            return false;
        }
        let name = self.slots[usize::from(id.0)].port.name.clone();
        self.fabric.report(finding.at_place(place).on_device(name));
        false
    }

    #[cold]
    fn refused(&mut self, id: DeviceId, at: Access, refusal: Refusal, verb: &str, place: Option<Place>) {
        let Access { bar, offset, width } = at;
        let (rule, why) = match refusal {
            Refusal::NoRegister => (&rules::BAR_NO_REGISTER, "there is no register there"),
            Refusal::Width => (&rules::BAR_WIDTH, "the register has no access of this width"),
            Refusal::ReadOnly => (&rules::BAR_READ_ONLY, "the register is read-only"),
            Refusal::WriteOnly => (&rules::BAR_WRITE_ONLY, "the register is write-only"),
            Refusal::Misuse(why) => (&rules::DEVICE_MISUSE, why),
            Refusal::NotYet(_) => return,
        };
        let what = format!("{width}-byte {verb} at BAR {bar} offset {offset:#x}: {why}");
        self.misuse(id, Finding::new(rule, what), place);
    }

    // --- Verb four: interrupts -----------------------------------------------------------------------------------

    /// Takes the oldest message that left a device.
    pub fn take_message(&mut self) -> Option<Message> {
        self.fabric.messages.pop_front()
    }

    /// Whether any message waits.
    #[inline]
    #[must_use]
    pub fn has_messages(&self) -> bool {
        !self.fabric.messages.is_empty()
    }

    /// Whether a device asserts its pin and may be seen doing so.
    #[must_use]
    pub fn intx(&self, id: DeviceId) -> bool {
        self.port(id).intx()
    }

    // --- Verb five: time -----------------------------------------------------------------------------------------

    /// The moment at which the next device works, or something delayed arrives.
    #[inline]
    pub fn next_event(&mut self) -> Option<Nanos> {
        self.heed_wakers();
        let at = self.fabric.delayed.next_at().unwrap_or(Nanos::MAX).min(self.fabric.next_wake);
        if at == Nanos::MAX { None } else { Some(at) }
    }

    /// Whether any device asserts its pin, seen or not.
    #[inline]
    #[must_use]
    pub fn has_pins(&self) -> bool {
        self.fabric.pins != 0
    }

    /// A device whose wake-up is due: the one due longest.
    #[must_use]
    pub fn due_device(&self) -> Option<DeviceId> {
        let now = self.fabric.now();
        if self.fabric.next_wake > now {
            return None;
        }
        let due =
            self.slots.iter().filter_map(|slot| slot.port.wake.filter(|at| *at <= now).map(|at| (at, slot.port.id)));
        due.min().map(|(_, id)| id)
    }

    /// The devices that asked for a wake-up, and when.
    pub fn wakes(&self) -> impl Iterator<Item = (DeviceId, Nanos)> {
        self.slots.iter().filter_map(|slot| slot.port.wake.map(|at| (slot.port.id, at)))
    }

    /// The device that is to be woken first.
    #[must_use]
    pub fn next_to_wake(&self) -> Option<DeviceId> {
        self.wakes().min_by_key(|(_, at)| *at).map(|(id, _)| id)
    }

    /// Lets a device do a quantum of its work.
    pub fn work(&mut self, id: DeviceId) {
        self.work_once(id);
        self.find_next_wake();
    }

    fn work_once(&mut self, id: DeviceId) {
        let Slot { port, .. } = &mut self.slots[usize::from(id.0)];
        port.wake = None;
        port.blamed = port.wake_blamed;
        if port.removed {
            return;
        }
        self.fabric.operation(|| Event::Work { device: id });
        let mut again = false;
        // A wake-up that was delayed has been met already.
        let met =
            if std::mem::take(&mut port.wake_delayed) { None } else { self.fabric.meet(Verb::Time, port, 0, 0, 1) };
        match met {
            Some(Applied { behaviour: Behaviour::Drop, .. }) => return,
            Some(Applied { behaviour: Behaviour::Delay, delay, .. }) => {
                port.wake = Some(self.fabric.now().saturating_add(delay.max(1)));
                port.wake_delayed = true;
                return;
            }
            Some(Applied { behaviour: Behaviour::Duplicate, .. }) => again = true,
            _ => {}
        }
        self.show(id, None, Seen::Working);
        for _ in 0..=u8::from(again) {
            let Slot { device, port, .. } = &mut self.slots[usize::from(id.0)];
            device.work(&mut Cx { port, fabric: &mut self.fabric, place: None });
            self.fabric.settle_memory(port);
            self.show_work(id, None);
        }
    }

    /// Lets one delayed thing that is due arrive; `false` if there was none.
    pub fn arrive(&mut self) -> bool {
        let now = self.fabric.now();
        let Some((_, delayed)) = self.fabric.delayed.pop_due(now) else { return false };
        self.fabric.choices.history.cpu_stores(now);
        match delayed {
            Delayed::BarWrite { device, bar, offset, width, value } => {
                self.store(device, bar, offset, width, value, None);
            }
            Delayed::ConfigWrite { device, offset, width, value } => {
                if !self.is_removed(device) {
                    self.config_store(device, offset, width, value);
                }
            }
            Delayed::Message(message) => {
                if !self.is_removed(message.device) {
                    self.fabric.messages.push_back(message);
                }
            }
            Delayed::Level(device) => {
                let port = &mut self.slots[usize::from(device.0)].port;
                let asserted = !port.removed;
                self.fabric.drive_pin(port, asserted);
            }
        }
        true
    }
}

const fn line_of(id: DeviceId) -> u8 {
    10 + (id.0 % 2) as u8
}

/// For how long a device may answer "not yet" to one access before the bus gives up, in virtual nanoseconds.
const MOST_PATIENCE: Nanos = 1_000_000_000;

/// A machine may be driven by any thread, one at a time.
const _: () = {
    const fn is_send<T: Send>() {}
    is_send::<Bus>();
};
