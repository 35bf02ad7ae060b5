//! What the target of the virtual machine does with its input: a guest that does anything to its PCI bus. Shared with the tests that
//! run the seeds and random inputs on stable (sim/vmm/tests).

#[path = "vmm_model.rs"]
mod vmm_model;

use std::sync::{Arc, Mutex, PoisonError};

use bringup_core::choice::Bytes as Chosen;
use bringup_core::fault::{Behaviour, Fault, Verb};
use bringup_core::pci::Msix;
use bringup_core::trace::Event;
use bringup_core::{Access, Bar, Bus, BusConfig, Cx, Device, DeviceId, Function, Plan, Ram, Reply, Reset};
use bringup_devices::registry;
use bringup_vmm::layout;
use bringup_vmm::pci_host::PciHost;
use vm_memory::{Bytes as _, GuestAddress, GuestMemoryMmap};
use vmm_model::{ECAM, Lane, Model, RAM};

/// The devices of the machine, in slots 3 and up; behind them the one that rings on demand.
pub(crate) const DEVICES: [&str; 7] = [
    "edu,dma_mask=0xffffffffffffffff,dma_time_us=1",
    "pci-testdev,membar=64K",
    "virtio-blk,size=64K,queue-size=4",
    "virtio-net,queue-size=4",
    "virtio-rng",
    "virtio-console,queue-size=4",
    "cq,latency_ns=10",
];
/// Where edu and the one that rings are, and how many there are with it.
const EDU: usize = 0;
const BELL: usize = DEVICES.len();
const ALL: usize = DEVICES.len() + 1;
/// The BAR of virtio devices, and where it has what a driver needs.
const VIRTIO: u8 = 4;
const NOTIFY: u64 = 0x3000;
/// What memory holds at first: what a device writes is to be a change.
const DIRTY: u8 = 0xa5;
/// Quanta that the devices get for one action.
const QUANTA: usize = 8;

/// What reached devices: number and BAR.
type Reached = Arc<Mutex<Vec<(usize, u8)>>>;

/// A device that notes what reaches it.
struct Noting {
    inner: Box<dyn Device>,
    number: usize,
    reached: Reached,
}

impl Noting {
    fn note(&self, bar: u8) {
        self.reached.lock().unwrap_or_else(PoisonError::into_inner).push((self.number, bar));
    }
}

impl Device for Noting {
    fn function(&self) -> Function {
        self.inner.function()
    }

    fn read(&mut self, cx: &mut Cx<'_>, at: Access) -> Reply<u64> {
        self.note(at.bar);
        self.inner.read(cx, at)
    }

    fn write(&mut self, cx: &mut Cx<'_>, at: Access, value: u64) -> Reply<()> {
        self.note(at.bar);
        self.inner.write(cx, at, value)
    }

    fn work(&mut self, cx: &mut Cx<'_>) {
        self.inner.work(cx);
    }

    fn reset(&mut self, cx: &mut Cx<'_>, kind: Reset) {
        self.inner.reset(cx, kind);
    }
}

/// A device that raises the vector that is written to it.
struct Bell;

impl Device for Bell {
    fn function(&self) -> Function {
        let msix = Msix { vectors: 4, table: (2, 0), pending: (2, 0x800) };
        Function::new(0x1234, 0xbe11).bar(Bar::memory32(0, 4096)).bar(Bar::memory64(2, 4096)).msix(msix).flr()
    }

    fn read(&mut self, _cx: &mut Cx<'_>, _at: Access) -> Reply<u64> {
        Ok(0)
    }

    fn write(&mut self, cx: &mut Cx<'_>, at: Access, value: u64) -> Reply<()> {
        if at.bar == 0 {
            cx.send_message((value & 7) as u16);
        }
        Ok(())
    }

    fn reset(&mut self, _cx: &mut Cx<'_>, _kind: Reset) {}
}

struct Guest {
    host: PciHost,
    bus: Bus,
    model: Model,
    reached: Reached,
    /// What memory holds as far as this guest and allowed DMA wrote it.
    ram: [Vec<u8>; 2],
    /// Nothing goes wrong: the model knows everything.
    quiet: bool,
}

/// The faults that the first byte stands for; none in most machines.
fn plan(byte: u8) -> Plan {
    let [verb, behaviour] = [usize::from(byte >> 4 & 7), usize::from(byte & 15)];
    let mut fault = match (Verb::ALL.get(verb), Behaviour::ALL.get(behaviour)) {
        (Some(verb), Some(behaviour)) if byte >= 128 => Fault::new(*verb, *behaviour),
        _ => return Plan::default(),
    };
    fault.after = u64::from(byte & 3);
    fault.delay_ns = (fault.behaviour == Behaviour::Delay).then_some(700);
    fault.mask = (fault.behaviour == Behaviour::Corrupt).then_some(0x14);
    let plan = Plan::new(vec![fault]);
    if plan.check().is_ok() { plan } else { Plan::default() }
}

impl Guest {
    fn new(first: u8, choices: &[u8]) -> Option<Self> {
        let regions = RAM.map(|(start, len)| (GuestAddress(start), len as usize));
        let ram = Ram::open(GuestMemoryMmap::from_ranges(&regions).ok()?);
        let plan = plan(first);
        let quiet = plan.faults.is_empty();
        let chooser = Box::new(Chosen::new(choices.to_vec()));
        let mut bus = Bus::new(BusConfig { windows: layout::windows(), plan, chooser, ..BusConfig::quiet(ram) });
        let reached = Reached::default();
        let parsed = DEVICES.iter().map(|spec| registry::parse(spec).map(|(_, device)| device));
        let mut ids = Vec::new();
        for (number, device) in parsed.chain([Ok(Box::new(Bell) as Box<dyn Device>)]).enumerate() {
            let noting = Noting { inner: device.ok()?, number, reached: Arc::clone(&reached) };
            ids.push(bus.plug(&format!("device{number}"), Box::new(noting)).ok()?);
        }
        bus.fabric.trace.enable(true);
        let model = Model::new(&bus, *ids.get(BELL)?);
        let ram = RAM.map(|(_, len)| vec![DIRTY; len as usize]);
        let mut guest = Self { host: PciHost::new(), bus, model, reached, ram, quiet };
        for (start, len) in RAM {
            guest.store(start, &vec![DIRTY; len as usize]);
        }
        for slot in 0..ALL {
            guest.config(slot, 4, 7, 2);
        }
        Some(guest)
    }

    /// An access of the guest; with bytes to write, or to as many as it reads.
    fn access(&mut self, io: bool, address: u64, write: Option<&[u8]>, len: usize) -> Vec<u8> {
        let end = address.saturating_add(len as u64);
        let lanes: Vec<Lane> =
            (0..len as u64).map(|lane| self.model.lane(io, address.wrapping_add(lane), address..end)).collect();
        let decoded: Vec<u16> = self.model.shadows.iter().map(|shadow| shadow.command).collect();
        let mut bytes = write.map_or_else(|| vec![0x5a; len], <[u8]>::to_vec);
        match (io, write) {
            (false, None) => self.host.memory_read(&mut self.bus, address, &mut bytes),
            (false, Some(from)) => drop(self.host.memory_write(&mut self.bus, address, from)),
            (true, None) => self.host.port_read(&mut self.bus, address as u16, &mut bytes),
            (true, Some(from)) => drop(self.host.port_write(&mut self.bus, address as u16, from)),
        }
        let events = self.take_events();
        if self.quiet {
            check_lanes(&self.model, &lanes, &events, &bytes, write.is_some());
            let most = if io { 4 } else { 8 };
            if len.is_power_of_two() && len <= most && address.is_multiple_of(len as u64) && lanes.len() == len {
                let accesses = events.iter().filter(|event| bar_access(event).is_some()).count();
                let windows = lanes.iter().any(|lane| matches!(lane, Lane::Config(..)));
                assert!(windows || accesses <= 1, "an aligned access was cut: {events:x?}");
            }
        }
        for (lane, byte) in lanes.iter().zip(write.unwrap_or_default()) {
            self.model.write(lane, *byte);
        }
        self.follow(&events);
        for (number, bar) in std::mem::take(&mut *self.reached.lock().unwrap_or_else(PoisonError::into_inner)) {
            let after = self.model.shadows[number].decodes(bar);
            let shadow = &mut self.model.shadows[number];
            let now = std::mem::replace(&mut shadow.command, decoded[number]);
            let before = shadow.decodes(bar);
            shadow.command = now;
            assert!(!self.quiet || before || after, "device {number}, BAR {bar}: reached with decoding off");
        }
        bytes
    }

    fn take_events(&mut self) -> Vec<Event> {
        self.bus.fabric.trace.take().into_iter().map(|record| record.event).collect()
    }

    fn follow(&mut self, events: &[Event]) {
        if self.quiet {
            events.iter().for_each(|event| self.model.see(event));
        } else {
            // What the plan did to accesses is not known here; DMA is what it says it is.
            for event in events {
                if let Event::DmaWrite { iova, len, .. } = event {
                    self.model.written.push((*iova, *len));
                }
            }
        }
    }

    fn config(&mut self, slot: usize, register: u64, value: u32, width: usize) {
        let at = ECAM + ((slot as u64 + 3) << 15) + register;
        self.access(false, at, Some(&value.to_le_bytes()[..width]), width);
    }

    /// Selects a register by the ports.
    fn select(&mut self, address: u32) {
        self.access(true, 0xcf8, Some(&address.to_le_bytes()), 4);
    }

    /// Writes a register of a BAR where the BAR is now.
    fn set(&mut self, number: usize, bar: u8, offset: u64, width: usize, value: u64) {
        let at = self.model.shadows[number].address(bar).wrapping_add(offset);
        self.access(false, at, Some(&value.to_le_bytes()[..width]), width);
    }

    /// Puts a BAR somewhere, in one write or two.
    fn move_bar(&mut self, number: usize, index: u8, to: u64, once: bool) {
        let at = ECAM + ((number as u64 + 3) << 15) + 0x10 + 4 * u64::from(index);
        let bytes = to.to_le_bytes();
        if once {
            self.access(false, at, Some(&bytes), 8);
        } else {
            self.access(false, at, Some(&bytes[..4]), 4);
            if index < 5 && to >> 32 != 0 {
                self.access(false, at + 4, Some(&bytes[4..]), 4);
            }
        }
    }

    /// Writes memory, as the guest's processors do without anybody seeing it.
    fn store(&mut self, at: u64, bytes: &[u8]) {
        for (region, (start, len)) in RAM.iter().enumerate() {
            if at >= *start && at - start <= len - bytes.len() as u64 && at < start + len {
                self.ram[region][(at - start) as usize..][..bytes.len()].copy_from_slice(bytes);
                let written = self.bus.fabric.ram.memory().write_slice(bytes, GuestAddress(at));
                assert!(written.is_ok());
            }
        }
    }

    /// Both ways to a register give the same.
    fn compare(&mut self, slot: u64, function: u64, register: u64) {
        let register = register & 0xfc;
        self.select((1 << 31 | slot << 11 | function << 8 | register) as u32);
        let ports = self.access(true, 0xcfc, None, 4);
        let memory = self.access(false, ECAM + (slot << 15 | function << 12 | register), None, 4);
        let device = (function == 0).then(|| self.model.shadows.get((slot as usize).wrapping_sub(3))).flatten();
        // Reading through the window has effects.
        let window = device.and_then(|shadow| shadow.window).is_some_and(|at| u64::from(at) / 4 == register / 4);
        assert!(!self.quiet || window || ports == memory, "{slot}.{function} {register:#x}: {ports:x?}, {memory:x?}");
    }

    fn run(&mut self) {
        for _ in 0..QUANTA {
            let Some(at) = self.bus.next_event() else { break };
            let now = self.bus.fabric.now();
            self.bus.fabric.advance(at.saturating_sub(now));
            if !self.bus.arrive()
                && let Some(device) = self.bus.due_device()
            {
                self.bus.work(device);
            }
        }
        let events = self.take_events();
        self.follow(&events);
    }

    /// After each action: interrupts, memory, and what the machine says of DMA that it refused.
    fn check(&mut self) {
        let sent = std::mem::take(&mut self.model.vectors.sent);
        let mut rung = Vec::new();
        while let Some(message) = self.bus.take_message() {
            if usize::from(message.device.0) == BELL {
                rung.push((message.vector, message.address, message.data));
            }
        }
        assert!(!self.quiet || rung == sent, "messages {rung:x?}, not {sent:x?}");
        let written = std::mem::take(&mut self.model.written);
        for (region, (start, len)) in RAM.into_iter().enumerate() {
            let mut now = vec![0; len as usize];
            let read = self.bus.fabric.ram.memory().read_slice(&mut now, GuestAddress(start));
            assert!(read.is_ok());
            if now == self.ram[region] {
                continue;
            }
            for at in (0..len as usize).filter(|at| now[*at] != self.ram[region][*at]) {
                let address = start + at as u64;
                let allowed = written.iter().any(|(iova, len)| address >= *iova && address - iova < *len);
                assert!(allowed, "memory changed at {address:#x}, where no device wrote: {written:x?}");
            }
            self.ram[region] = now;
        }
        let refused = std::mem::take(&mut self.model.refused);
        let said = self.bus.fabric.findings.iter().any(|finding| finding.rule.id.starts_with("dma-"));
        assert!(!self.quiet || refused == 0 || said, "DMA outside of memory, and no finding");
        self.bus.fabric.findings.clear();
    }

    /// A queue where a driver would have it or at `place`, a chain of one buffer in it, and a kick.
    fn chain(&mut self, number: usize, queue: u64, place: u64, element: &[u8; 16]) {
        let area = 0x1000 * number as u64 + 0x400 * (queue % 4);
        for (register, width, value) in [(0x14, 1, 0), (0x14, 1, 3), (8, 4, 1), (12, 4, 1), (0x14, 1, 11)] {
            self.set(number, VIRTIO, register, width, value);
        }
        self.set(number, VIRTIO, 0x16, 2, queue % 4);
        self.set(number, VIRTIO, 0x18, 2, 4);
        for (register, address) in [(0x20, area), (0x28, area + 0x100), (0x30, place)] {
            self.set(number, VIRTIO, register, 4, address & 0xffff_ffff);
            self.set(number, VIRTIO, register + 4, 4, address >> 32);
        }
        self.store(area, element);
        self.store(area + 0x100, &[0, 0, 1, 0, 0, 0]);
        self.set(number, VIRTIO, 0x1c, 2, 1);
        self.set(number, VIRTIO, 0x14, 1, 15);
        self.set(number, VIRTIO, NOTIFY + 4 * (queue % 4), 2, queue % 4);
    }

    /// A whole transfer of edu.
    fn transfer(&mut self, place: u64, len: u64, to_memory: bool) {
        let (from, to) = if to_memory { (0x4_0000, place) } else { (place, 0x4_0000) };
        for (register, value) in [(0x80, from), (0x88, to), (0x90, len)] {
            self.set(EDU, 0, register, 8, value);
        }
        self.set(EDU, 0, 0x98, 4, if to_memory { 3 } else { 1 });
    }

    fn act(&mut self, kind: u8, small: u8, place: u16, value: u32) {
        let (number, small64, wide) = (usize::from(small) % ALL, u64::from(small), u64::from(value));
        let width = 1 + usize::from(place >> 12) + if place & 0x800 == 0 { 0 } else { 8 };
        let bytes: Vec<u8> = (0..width).map(|at| value.rotate_left(8 * at as u32) as u8).collect();
        let even = [1, 2, 4, 8][usize::from(place >> 14)];
        match kind % 24 {
            0 => self.config(number, (u64::from(place) & 0xff) & !(even.min(4) as u64 - 1), value, even.min(4)),
            1 => drop(self.access(false, ECAM + (wide & 0xf_ffff), (small & 1 == 0).then_some(&bytes), width)),
            2 => {
                let len = 1 + usize::from(place & 3);
                self.select(1 << 31 | (number as u32 + 3) << 11 | u32::from(place >> 2 & 0xfc));
                let port = 0xcfc + u64::from(small >> 6);
                let len = len.min(if small & 32 == 0 { 4 - usize::from(small >> 6) } else { 4 });
                drop(self.access(true, port, (small & 16 == 0).then_some(&bytes.repeat(4)[..len]), len));
            }
            3 => {
                // Of a register that is there: not enabled, another bus, another function, bits that do not count; or anything.
                let there = 1 << 31 | (number as u32 + 3) << 11 | u32::from(place & 0xfc);
                let flip = [1 << 31, 1 << 16, 1 << 8, 3 << 24 | 3, value];
                self.select(there ^ flip[usize::from(small >> 3) % flip.len()]);
                drop(self.access(true, 0xcf8, None, 4));
                drop(self.access(true, 0xcfc, None, 4));
                drop(self.access(true, 0xcfc, Some(&value.to_le_bytes()), 4));
            }
            4 => {
                self.compare(small64 & 31, u64::from(place & 7) * u64::from(place >> 15), u64::from(place >> 3) & 0xff);
            }
            5 | 6 => {
                let Some((index, size)) = self.model.shadows[number].bar(usize::from(place & 3)) else { return };
                let other = &self.model.shadows[usize::from(place >> 2) % ALL];
                let onto = other.bar(usize::from(place >> 6)).map_or(0, |(index, _)| other.address(index));
                let to = match place >> 12 {
                    0..5 => onto,
                    5..8 => onto.wrapping_add(size),
                    8 => ECAM,
                    9 => ECAM - size,
                    10 => u64::MAX,
                    11 => 0,
                    12 => 0xc00,
                    13 => [1 << 32, 1 << 16][usize::from(small >> 7)],
                    _ => wide << (small >> 4),
                };
                self.move_bar(number, index, to, place & 0x800 == 0);
            }
            7 => {
                let Some((index, _)) = self.model.shadows[number].bar(usize::from(place & 3)) else { return };
                self.move_bar(number, index, u64::MAX, false);
                self.compare(number as u64 + 3, 0, 0x10 + 4 * u64::from(index));
                self.compare(number as u64 + 3, 0, 0x14 + 4 * u64::from(index));
            }
            8..11 => {
                let Some((index, size)) = self.model.shadows[number].bar(usize::from(place & 3)) else { return };
                // Sometimes around its edges.
                let offset = if place & 4 == 0 { wide % size } else { size.wrapping_sub(wide % 9) };
                let at = self.model.shadows[number].address(index).wrapping_add(offset & !(wide >> 28 & 7));
                drop(self.access(false, at, (place & 8 == 0).then_some(&bytes), width));
            }
            11 => {
                let at = [wide, wide << 32 | wide, u64::MAX - wide % 16, ECAM + 0xf_fff8][usize::from(place & 3)];
                drop(self.access(false, at, (place & 8 == 0).then_some(&bytes), width));
            }
            12 => {
                let Some((index, size)) = self.model.shadows[number].bar(usize::from(place & 3)) else { return };
                let bar = self.model.shadows[number].address(index) + wide % size;
                let port = match place >> 6 & 7 {
                    0..5 => bar as u16,
                    5 => value as u16,
                    6 => 0xcf6 + u16::from(small) % 10,
                    _ => 0xfffc + u16::from(small & 3),
                };
                let len = 1 + usize::from(place >> 3 & 3);
                drop(self.access(true, port.into(), (place & 32 == 0).then_some(&value.to_le_bytes()[..len]), len));
                drop(self.access(true, 0xcf8, None, 4));
            }
            13 => {
                let number = if place & 4 == 0 { BELL } else { number };
                self.config(number, 4, value & if place & 3 == 0 { 0xffff } else { 7 }, 2);
            }
            14 | 15 => {
                // The table of vectors, mostly vector control.
                let offset = u64::from(place & 0xc) << 2 | if place & 3 == 0 { small64 & 12 } else { 12 };
                self.set(BELL, 2, offset, if place & 0x10 == 0 { 4 } else { even }, wide);
            }
            16 => {
                let Some(control) = self.bus.port(DeviceId(BELL as u16)).config().msix_offset() else { return };
                self.config(BELL, u64::from(control) + 2, u32::from(small) << 8, 2);
            }
            17 | 18 => self.set(BELL, 0, u64::from(place & 0xf8), even, small64 & if place & 1 == 0 { 3 } else { 7 }),
            19 => {
                let Some(at) = self.model.shadows[number].address(2).checked_add(0x800) else { return };
                drop(self.access(false, at, None, even));
            }
            20 => {
                // The window: BAR, offset, length, and data one way or the other.
                let number = 2 + number % 4;
                let Some(data) = self.model.shadows[number].window.map(u64::from) else { return };
                self.config(number, data - 12, if place & 1 == 0 { 4 } else { small.into() }, 1);
                self.config(number, data - 8, if place & 2 == 0 { value & 0x3ffc } else { value }, 4);
                self.config(number, data - 4, if place & 4 == 0 { even.min(4) as u32 } else { value >> 16 }, 4);
                let at = ECAM + ((number as u64 + 3) << 15) + data + u64::from(place >> 8 & 3);
                let len = 1 + usize::from(place >> 10 & 3);
                drop(self.access(false, at, (place & 8 == 0).then_some(&value.to_le_bytes()[..len]), len));
            }
            21 => self.transfer(somewhere(small, value), wide >> 20, place & 1 == 0),
            22 => {
                let element = [
                    &somewhere(small, value).to_le_bytes()[..],
                    &u32::from(place >> 2).to_le_bytes(),
                    &(place & 2).to_le_bytes(),
                    &[0, 0],
                ];
                let Ok(element) = <[u8; 16]>::try_from(element.concat()) else { return };
                let used = if place & 1 == 0 { 0x8000 } else { somewhere(small >> 3, value.rotate_left(7)) };
                self.chain(2 + number % 4, small64, used, &element);
            }
            _ => {
                // Function-level reset, of the one that has it.
                let Some(at) = self.bus.port(DeviceId(BELL as u16)).config().msix_offset() else { return };
                self.config(BELL, u64::from(at) + 12 + 4, u32::from(small & 1), 1);
                self.config(BELL, 4, 7, 2);
                if small & 2 == 0 {
                    self.move_bar(BELL, 0, 0xd000_0000, false);
                    self.move_bar(BELL, 2, 0x90_0000_0000, true);
                }
            }
        }
    }
}

/// An address for DMA: in one of the regions, at their edges, between them, at the end of all.
fn somewhere(small: u8, value: u32) -> u64 {
    let wide = u64::from(value);
    match small & 7 {
        0 | 1 => wide & 0xffff,
        2 => (1 << 32) + (wide & 0xffff),
        3 => 0x1_0000 - (wide & 0xff),
        4 => (1 << 32) + 0x1_0000 - (wide & 0xff),
        5 => (1 << 32) - (wide & 0xff),
        6 => u64::MAX - (wide & 0xff),
        _ => wide << 8,
    }
}

fn bar_access(event: &Event) -> Option<(DeviceId, u8, u64, u8, u64)> {
    match event {
        Event::BarRead { device, bar, offset, width, value, .. }
        | Event::BarWrite { device, bar, offset, width, value, .. } => Some((*device, *bar, *offset, *width, *value)),
        _ => None,
    }
}

/// Every byte of an access went to one of those who may answer for it, in order, and nothing else was accessed.
fn check_lanes(model: &Model, lanes: &[Lane], events: &[Event], bytes: &[u8], write: bool) {
    // Device, BAR (none: configuration space), offset, byte.
    let mut seen = Vec::new();
    // Accesses through a window are those of the device whose configuration space is accessed.
    let through = |id: DeviceId| lanes.iter().any(|lane| matches!(lane, Lane::Config(device, _) if *device == id));
    for event in events {
        let (device, bar, offset, width, value) = match event {
            Event::ConfigRead { device, offset, width, value }
            | Event::ConfigWrite { device, offset, width, value } => {
                (*device, None, u64::from(*offset), *width, u64::from(*value))
            }
            _ => match bar_access(event) {
                Some((device, ..)) if through(device) => {
                    assert!(model.shadows[usize::from(device.0)].window.is_some(), "{event:x?}: there is no window");
                    continue;
                }
                Some((device, bar, offset, width, value)) => (device, Some(bar), offset, width, value),
                None => continue,
            },
        };
        assert!(offset.is_multiple_of(width.into()), "{event:x?}: not aligned");
        let lanes = value.to_le_bytes().into_iter().take(width.into());
        seen.extend(lanes.zip(offset..).map(|(byte, offset)| (device, bar, offset, byte)));
    }
    let mut seen = seen.into_iter();
    for (lane, byte) in lanes.iter().zip(bytes) {
        match lane {
            Lane::Config(id, register) => {
                let expected = (*id, None, u64::from(*register), *byte);
                assert_eq!(seen.next(), Some(expected), "{lanes:x?}: {events:x?}");
            }
            Lane::Bars(claims) if !claims.is_empty() => {
                let Some((id, Some(bar), offset, got)) = seen.next() else { panic!("{lanes:x?}: {events:x?}") };
                assert!(claims.contains(&(id, bar, offset)) && got == *byte, "{lanes:x?}: {events:x?}");
            }
            lane => {
                assert!(write || *byte == model.read(lane), "{lane:x?} read as {byte:#x}, not {:#x}", model.read(lane));
            }
        }
    }
    assert_eq!(seen.next(), None, "{lanes:x?}: {events:x?}");
}

/// A guest that does what the bytes say: valid things by default, anything now and then. The first byte is the fault plan; eight more
/// make an action each, and are the choices of a hostile device too.
pub(crate) fn hostile_guest(data: &[u8]) {
    let Some((first, actions)) = data.split_first() else { return };
    let Some(mut guest) = Guest::new(*first, actions) else { return };
    for action in actions.chunks_exact(8).take(256) {
        let [kind, small, a, b, c, d, e, f] = *action else { return };
        guest.act(kind, small, u16::from_le_bytes([a, b]), u32::from_le_bytes([c, d, e, f]));
        guest.run();
        guest.check();
    }
}
