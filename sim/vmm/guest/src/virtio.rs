//! A virtio device behind PCI (virtio 1.4 §4.1) as this program drives it: its structures, negotiation, and one split ring.

use alloc::format;
use alloc::string::String;

use bringup_guest::start::Start;
use bringup_spec::virtio::pci::{cap, cfg_type, common};

use crate::Machine;
use crate::machine::dma::{Dma, barrier};
use crate::machine::map::{Place, Registers};
use crate::pci::{self, Function, Msix, Pci};

const ACKNOWLEDGE: u8 = 1;
const DRIVER: u8 = 2;
const DRIVER_OK: u8 = 4;
const FEATURES_OK: u8 = 8;
/// Feature bit 32.
const VERSION_1: u64 = 1 << 32;
/// Feature bit 33: addresses are what the platform says; here they are physical ones in either case.
const ACCESS_PLATFORM: u64 = 1 << 33;
/// No vector.
pub(crate) const NO_VECTOR: u16 = 0xffff;

/// Type of a virtio device (virtio 1.4 §5) by its PCI ids (§4.1.2.1).
pub(crate) fn device_type(function: &Function) -> Option<u16> {
    if function.vendor != bringup_spec::virtio::VENDOR {
        return None;
    }
    match function.device {
        0x1000 => Some(1),
        0x1001 => Some(2),
        0x1003 => Some(3),
        0x1005 => Some(4),
        device @ 0x1040..=0x107f => Some(device - 0x1040),
        _ => None,
    }
}

/// Where a structure is: BAR, offset, and length (virtio 1.4 §4.1.4). The first of its type.
pub(crate) fn structure(pci: &Pci, function: &Function, kind: u8) -> Option<(u8, u32, u32)> {
    capability(pci, function, kind).map(|at| {
        let bar = pci.read8(function.at, at + u16::from(cap::BAR));
        (
            bar,
            pci.read32(function.at, at + u16::from(cap::OFFSET)),
            pci.read32(function.at, at + u16::from(cap::LENGTH)),
        )
    })
}

fn capability(pci: &Pci, function: &Function, kind: u8) -> Option<u16> {
    function
        .caps
        .iter()
        .filter(|found| found.0 == bringup_spec::virtio::pci::CAP_VENDOR)
        .map(|found| u16::from(found.1))
        .find(|at| pci.read8(function.at, at + u16::from(cap::CFG_TYPE)) == kind)
}

/// The device, found and mapped.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Transport {
    common: Registers,
    notify: Registers,
    multiplier: u32,
    isr: Registers,
    device: Option<Registers>,
    /// Its MSI-X, where it has it.
    pub(crate) msix: Option<Msix>,
}

impl Transport {
    /// Finds the structures, and lets the function decode memory and be a bus master.
    pub(crate) fn of(machine: &Machine, function: &Function) -> Result<Self, String> {
        let (pci, start) = (&machine.pci, &machine.start);
        let map = |kind: u8| {
            let (bar, offset, len) = structure(pci, function, kind)?;
            function.map(pci, start, bar)?.part(u64::from(offset), u64::from(len))
        };
        let missing = |what: &str| format!("{} has no {what}", function.at);
        let this = Self {
            common: map(cfg_type::COMMON).ok_or_else(|| missing("common configuration"))?,
            notify: map(cfg_type::NOTIFY).ok_or_else(|| missing("notification structure"))?,
            multiplier: capability(pci, function, cfg_type::NOTIFY)
                .map_or(0, |at| pci.read32(function.at, at + u16::from(cap::NOTIFY_OFF_MULTIPLIER))),
            isr: map(cfg_type::ISR).ok_or_else(|| missing("ISR status"))?,
            device: map(cfg_type::DEVICE),
            msix: Msix::of(pci, start, function),
        };
        pci.command(function.at, pci::MEMORY | pci::MASTER, 0);
        Ok(this)
    }

    /// Resets it and negotiates: the wanted features that it offers, with VERSION_1 (virtio 1.4 §3.1.1).
    pub(crate) fn negotiate(&self, machine: &Machine, wanted: u64) -> Result<u64, String> {
        self.reset(machine)?;
        self.set_status(ACKNOWLEDGE);
        self.set_status(ACKNOWLEDGE | DRIVER);
        let mut offered = 0;
        for half in [0, 1] {
            self.common.write32(common::DEVICE_FEATURE_SELECT, half);
            offered |= u64::from(self.common.read32(common::DEVICE_FEATURE)) << (32 * half);
        }
        if offered & VERSION_1 == 0 {
            return Err(format!("the device does not offer VERSION_1, only {offered:#x}"));
        }
        let accepted = offered & (wanted | ACCESS_PLATFORM) | VERSION_1;
        for half in [0, 1] {
            self.common.write32(common::DRIVER_FEATURE_SELECT, half);
            self.common.write32(common::DRIVER_FEATURE, (accepted >> (32 * half)) as u32);
        }
        self.set_status(ACKNOWLEDGE | DRIVER | FEATURES_OK);
        if self.status() & FEATURES_OK == 0 {
            return Err(format!("the device takes FEATURES_OK back, offered {offered:#x}, accepted {accepted:#x}"));
        }
        Ok(accepted)
    }

    /// Resets it and waits until it says so.
    pub(crate) fn reset(&self, machine: &Machine) -> Result<(), String> {
        self.common.write8(common::DEVICE_STATUS, 0);
        if machine.clock.wait(1000, || self.status() == 0) {
            Ok(())
        } else {
            Err(format!("after a reset the status stays {:#x}", self.status()))
        }
    }

    fn set_status(&self, status: u8) {
        self.common.write8(common::DEVICE_STATUS, status);
    }

    /// Device status.
    pub(crate) fn status(&self) -> u8 {
        self.common.read8(common::DEVICE_STATUS)
    }

    /// How many queues it has.
    pub(crate) fn queues(&self) -> u16 {
        self.common.read16(common::NUM_QUEUES)
    }

    /// ISR status; reading takes the interrupt back (virtio 1.4 §4.1.4.5).
    pub(crate) fn take_isr(&self) -> u8 {
        self.isr.read8(0)
    }

    /// 64 bits of the device's own configuration, as two of 32, of one generation (virtio 1.4 §2.5.3).
    pub(crate) fn config64(&self, offset: u64) -> Option<u64> {
        let device = self.device.filter(|device| offset + 8 <= device.len())?;
        let generation = || self.common.read8(common::CONFIG_GENERATION);
        // A device that changes all the time is not waited for.
        for _ in 0..1000 {
            let before = generation();
            let value = u64::from(device.read32(offset)) | u64::from(device.read32(offset + 4)) << 32;
            if generation() == before {
                return Some(value);
            }
        }
        None
    }

    /// Sets queue `index` up with a ring of at most `size`, and this MSI-X vector.
    pub(crate) fn queue(&self, index: u16, size: u16, vector: u16) -> Result<Queue, String> {
        self.common.write16(common::QUEUE_SELECT, index);
        let most = self.common.read16(common::QUEUE_SIZE);
        if most == 0 {
            return Err(format!("queue {index} does not exist"));
        }
        let size = size.min(most);
        self.common.write16(common::QUEUE_SIZE, size);
        self.common.write16(common::QUEUE_MSIX_VECTOR, vector);
        let taken = self.common.read16(common::QUEUE_MSIX_VECTOR);
        if taken != vector {
            return Err(format!("queue {index} wants vector {vector:#x}, has {taken:#x}"));
        }
        let offset = u64::from(self.common.read16(common::QUEUE_NOTIFY_OFF)) * u64::from(self.multiplier);
        if offset + 2 > self.notify.len() {
            return Err(format!("queue {index} is notified at {offset:#x}, outside of the structure"));
        }
        let ring = Ring::new(size).ok_or("no memory for a ring")?;
        for (register, address) in [
            (common::QUEUE_DESC, ring.descriptors()),
            (common::QUEUE_DRIVER, ring.available()),
            (common::QUEUE_DEVICE, ring.used()),
        ] {
            self.common.write32(register, address as u32);
            self.common.write32(register + 4, (address >> 32) as u32);
        }
        self.common.write16(common::QUEUE_ENABLE, 1);
        Ok(Queue { ring, notify: self.notify, offset, index })
    }

    /// Lets it begin.
    pub(crate) fn go(&self) {
        self.set_status(ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
    }

    /// Prepares MSI-X: the queue's vector and the configuration's; without it, neither.
    pub(crate) fn use_messages(&self, machine: &Machine, queue: Option<u8>) -> Result<u16, String> {
        let Some(msix) = self.msix else {
            return if queue.is_some() { Err("the device has no MSI-X".into()) } else { Ok(NO_VECTOR) };
        };
        msix.enable(&machine.pci, queue.is_some());
        let Some(vector) = queue else { return Ok(NO_VECTOR) };
        let entry = 1.min(msix.vectors - 1);
        msix.set(0, machine.interrupts()?.message(crate::interrupt::CONFIG), false);
        msix.set(entry, machine.interrupts()?.message(vector), false);
        self.common.write16(common::CONFIG_MSIX_VECTOR, 0);
        match self.common.read16(common::CONFIG_MSIX_VECTOR) {
            0 => Ok(entry),
            other => Err(format!("the configuration wants vector 0, has {other:#x}")),
        }
    }
}

/// A queue that runs.
#[derive(Debug)]
pub(crate) struct Queue {
    /// The ring.
    pub(crate) ring: Ring,
    notify: Registers,
    offset: u64,
    index: u16,
}

impl Queue {
    /// Tells the device to look.
    pub(crate) fn kick(&self) {
        barrier();
        self.notify.write16(self.offset, self.index);
    }

    /// Where kicks go, and what they say.
    pub(crate) fn bell(&self) -> (Place, u16) {
        (self.notify.place(self.offset, 2), self.index)
    }
}

/// A split ring (virtio 1.4 §2.7).
#[derive(Debug)]
pub(crate) struct Ring {
    memory: Dma,
    size: u16,
    free: u16,
    free_count: u16,
    published: u16,
    seen: u16,
}

const NEXT: u16 = 1;
const WRITE: u16 = 2;

/// A buffer of a chain: address, length, and whether the device writes it.
pub(crate) type Buffer = (u64, u32, bool);

impl Ring {
    fn new(size: u16) -> Option<Self> {
        let len = usize::from(size);
        let memory = Dma::new(Self::used_offset(len) + 6 + 8 * len)?;
        let ring = Self { memory, size, free: 0, free_count: size, published: 0, seen: 0 };
        for index in 0..size {
            ring.memory.write16(usize::from(index) * 16 + 14, index.wrapping_add(1));
        }
        Some(ring)
    }

    fn used_offset(size: usize) -> usize {
        (16 * size + 6 + 2 * size).next_multiple_of(4)
    }

    fn descriptors(&self) -> u64 {
        self.memory.address()
    }

    fn available(&self) -> u64 {
        self.memory.address() + 16 * u64::from(self.size)
    }

    fn used(&self) -> u64 {
        self.memory.address() + Self::used_offset(usize::from(self.size)) as u64
    }

    /// Asks the device not to interrupt, or to do so; it may interrupt all the same.
    pub(crate) fn suppress(&self, suppress: bool) {
        self.memory.write16(16 * usize::from(self.size), u16::from(suppress));
    }

    /// Makes a chain available; its first descriptor, or `None` when there are not enough free ones.
    pub(crate) fn add(&mut self, chain: &[Buffer]) -> Option<u16> {
        if chain.is_empty() || chain.len() > usize::from(self.free_count) {
            return None;
        }
        let head = self.free;
        let mut at = head;
        for (position, (address, len, write)) in chain.iter().enumerate() {
            let last = position + 1 == chain.len();
            let entry = usize::from(at) * 16;
            self.memory.write64(entry, *address);
            self.memory.write32(entry + 8, *len);
            self.memory.write16(entry + 12, if *write { WRITE } else { 0 } | if last { 0 } else { NEXT });
            self.free_count -= 1;
            at = self.memory.read16(entry + 14);
        }
        self.free = at;
        let available = 16 * usize::from(self.size);
        self.memory.write16(available + 4 + 2 * usize::from(self.published % self.size), head);
        self.published = self.published.wrapping_add(1);
        self.memory.write16(available + 2, self.published);
        Some(head)
    }

    /// Takes a chain that the device has used: its first descriptor and how many bytes were written.
    pub(crate) fn take(&mut self) -> Option<(u16, u32)> {
        let used = Self::used_offset(usize::from(self.size));
        if self.memory.read16(used + 2) == self.seen {
            return None;
        }
        let entry = used + 4 + 8 * usize::from(self.seen % self.size);
        let (head, len) = (self.memory.read32(entry), self.memory.read32(entry + 4));
        self.seen = self.seen.wrapping_add(1);
        let head = u16::try_from(head).ok().filter(|head| *head < self.size)?;
        let mut last = head;
        let mut count = 1;
        while self.memory.read16(usize::from(last) * 16 + 12) & NEXT != 0 && count < self.size {
            last = self.memory.read16(usize::from(last) * 16 + 14) % self.size;
            count += 1;
        }
        self.memory.write16(usize::from(last) * 16 + 14, self.free);
        self.free = head;
        self.free_count += count;
        Some((head, len))
    }
}

/// Whether the start's memory map has RAM above 4 GiB.
pub(crate) fn has_high_memory(start: &Start) -> bool {
    start.ranges().iter().any(|range| range.kind == 1 && range.start >= 4 << 30)
}
