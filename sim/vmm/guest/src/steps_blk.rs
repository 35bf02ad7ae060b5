//! Steps on virtio-blk (virtio 1.4 §5.2) through a ring of our own: by MSI-X, by polling, by INTx.

use alloc::format;
use alloc::string::String;

use bringup_guest::arithmetic::pattern;

use crate::Machine;
use crate::interrupt::{QUEUE, QUEUE_PIN, unmask, unroute};
use crate::machine::cpu;
use crate::machine::dma::Dma;
use crate::machine::map::high_memory;
use crate::pci::{self, Function};
use crate::report::{Outcome, skipped, step};
use crate::virtio::{Buffer, NO_VECTOR, Queue, Transport, device_type, has_high_memory};

const READ: u32 = 0;
const WRITE: u32 = 1;
const FLUSH: u32 = 4;
const READ_ONLY: u64 = 1 << 5;
const CAN_FLUSH: u64 = 1 << 9;
/// Small, so that the ring goes around.
const RING: u16 = 16;
/// The first sector that is written.
const SECTOR: u64 = 8;
/// How much is written, in bytes.
const LEN: usize = 8192;
const PATIENCE: u64 = 5000;

/// How a request's end is noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    /// The used ring is looked at.
    Poll,
    /// A message comes.
    Message,
    /// The pin of this number goes up.
    Pin(u8),
}

/// A disk that runs.
pub(crate) struct Disk<'a> {
    machine: &'a Machine,
    /// The device.
    pub(crate) transport: Transport,
    /// Its queue.
    pub(crate) queue: Queue,
    headers: Dma,
    notice: Notice,
    /// Interrupts that were waited for.
    seen: u32,
    /// Interrupts of the pin for which the ISR status had no reason.
    spurious: u32,
    /// Whether an interrupt is waited for before the used ring is looked at.
    pub(crate) strict: bool,
    requests: u32,
    features: u64,
    /// In sectors of 512 bytes.
    pub(crate) capacity: u64,
}

/// All steps on each virtio-blk.
pub(crate) fn run(machine: &Machine) {
    let mut found = false;
    for function in machine.functions.iter().filter(|function| device_type(function) == Some(2)) {
        found = true;
        step("blk.msix", || with(machine, function, Notice::Message, |disk| pass(disk, 0x11)));
        step("blk.masked", || with(machine, function, Notice::Message, masked));
        step("blk.poll", || with(machine, function, Notice::Poll, |disk| pass(disk, 0x22)));
        step("blk.intx", || with(machine, function, Notice::Pin(function.line), |disk| pass(disk, 0x33)));
        if has_high_memory(&machine.start) {
            step("blk.high", || with(machine, function, Notice::Poll, high));
        } else {
            skipped("blk.high", format_args!("no RAM above 4 GiB"));
        }
        if machine.polite {
            continue;
        }
        step("blk.beyond", || with(machine, function, Notice::Poll, beyond));
        step("blk.reset", || with(machine, function, Notice::Poll, reset));
    }
    if !found {
        skipped("blk", format_args!("no such function"));
    }
}

fn with(machine: &Machine, function: &Function, notice: Notice, run: impl FnOnce(&mut Disk<'_>) -> Outcome) -> Outcome {
    let mut disk = Disk::open(machine, function, notice)?;
    let outcome = run(&mut disk);
    disk.close(function)?;
    outcome
}

impl<'a> Disk<'a> {
    /// Resets the device and lets it run.
    pub(crate) fn open(machine: &'a Machine, function: &Function, notice: Notice) -> Result<Self, String> {
        let transport = Transport::of(machine, function)?;
        let features = transport.negotiate(machine, READ_ONLY | CAN_FLUSH)?;
        machine.pci.command(function.at, 0, pci::NO_INTX);
        let vector = match notice {
            Notice::Message => transport.use_messages(machine, Some(QUEUE))?,
            Notice::Poll | Notice::Pin(_) => {
                transport.use_messages(machine, None)?;
                NO_VECTOR
            }
        };
        let queue = transport.queue(0, RING, vector)?;
        if notice == Notice::Poll {
            queue.ring.suppress(true);
        }
        if let Notice::Pin(pin) = notice {
            transport.take_isr();
            if !machine.interrupts()?.route(pin, QUEUE_PIN) {
                return Err(format!("the IOAPIC has no pin {pin}"));
            }
            unmask(pin);
        }
        transport.go();
        let capacity = transport.config64(0).ok_or("the device has no steady configuration")?;
        let headers = Dma::new(4096).ok_or("no memory")?;
        let mut disk = Self {
            machine,
            transport,
            queue,
            headers,
            notice,
            seen: 0,
            spurious: 0,
            strict: true,
            requests: 0,
            features,
            capacity,
        };
        disk.seen = cpu::interrupts(disk.vector());
        Ok(disk)
    }

    /// Resets the device.
    pub(crate) fn close(&self, function: &Function) -> Result<(), String> {
        if let Notice::Pin(pin) = self.notice {
            unroute(pin, QUEUE_PIN);
        }
        self.transport.reset(self.machine)?;
        self.transport.use_messages(self.machine, None)?;
        self.machine.pci.command(function.at, 0, pci::MASTER);
        Ok(())
    }

    /// Makes a request available in this slot (0 to 63) of headers.
    pub(crate) fn submit(&mut self, slot: usize, kind: u32, sector: u64, data: Option<Buffer>) -> Option<u16> {
        let at = slot * 64;
        self.headers.write32(at, kind);
        self.headers.write32(at + 4, 0);
        self.headers.write64(at + 8, sector);
        self.headers.write8(at + 16, 0xff);
        let header = (self.headers.address() + at as u64, 16, false);
        let status = (self.headers.address() + at as u64 + 16, 1, true);
        match data {
            Some(data) => self.queue.ring.add(&[header, data, status]),
            None => self.queue.ring.add(&[header, status]),
        }
    }

    /// Status of the request in this slot.
    pub(crate) fn status(&self, slot: usize) -> u8 {
        self.headers.read8(slot * 64 + 16)
    }

    fn vector(&self) -> u8 {
        if matches!(self.notice, Notice::Pin(_)) { QUEUE_PIN } else { QUEUE }
    }

    /// Waits for a used chain, as was said when it was opened: where an interrupt is to say it, not before one came.
    pub(crate) fn wait(&mut self) -> Result<(u16, u32), String> {
        let deadline = self.machine.clock.deadline(PATIENCE);
        while cpu::time_stamp() <= deadline {
            if (self.notice == Notice::Poll || !self.strict)
                && let Some(used) = self.queue.ring.take()
            {
                return Ok(used);
            }
            match self.notice {
                Notice::Poll => core::hint::spin_loop(),
                Notice::Message => self.interrupted()?,
                Notice::Pin(pin) => {
                    self.interrupted()?;
                    // More than one may have come: an old one says nothing new.
                    self.seen = cpu::interrupts(QUEUE_PIN);
                    let isr = self.transport.take_isr();
                    unmask(pin);
                    if isr & 1 == 0 {
                        // A pin may go down late (and a nested KVM was seen to bring a level twice).
                        self.spurious += 1;
                        continue;
                    }
                }
            }
            if let Some(used) = self.queue.ring.take() {
                return Ok(used);
            }
        }
        Err(format!("no used buffer after {PATIENCE} ms ({:?})", self.notice))
    }

    fn interrupted(&mut self) -> Result<(), String> {
        let vector = self.vector();
        if !self.machine.interrupts()?.wait(vector, self.seen, PATIENCE) {
            let used = self.queue.ring.take().is_some();
            return Err(format!("no interrupt after {PATIENCE} ms ({:?}), used buffer {used}", self.notice));
        }
        self.seen = self.seen.wrapping_add(1);
        Ok(())
    }

    /// One request from begin to end: its status and how many bytes the device says that it wrote.
    fn request(&mut self, kind: u32, sector: u64, data: Option<Buffer>) -> Result<(u8, u32), String> {
        let head = self.submit(0, kind, sector, data).ok_or("the ring is full")?;
        self.queue.kick();
        self.requests += 1;
        let (used, len) = self.wait()?;
        if used != head {
            return Err(format!("chain {head} was made available, {used} was used"));
        }
        Ok((self.status(0), len))
    }
}

fn expect(what: &str, found: (u8, u32), len: u32) -> Result<(), String> {
    if found == (0, len) {
        Ok(())
    } else {
        Err(format!("{what}: status {}, {} bytes written by the device, not {len}", found.0, found.1))
    }
}

/// Writes a pattern in pieces, flushes, reads it back in one piece.
fn pass(disk: &mut Disk<'_>, seed: u8) -> Outcome {
    let sectors = LEN as u64 / 512;
    if disk.capacity < SECTOR + sectors {
        return Err(format!("the disk has only {} sectors", disk.capacity));
    }
    let before = (cpu::interrupts(QUEUE), cpu::interrupts(QUEUE_PIN));
    let written = Dma::new(LEN).ok_or("no memory")?;
    let read = Dma::new(LEN).ok_or("no memory")?;
    let read_only = disk.features & READ_ONLY != 0;
    if !read_only {
        for index in 0..LEN {
            written.write8(index, pattern(seed, index));
        }
        for piece in 0..sectors {
            let data = (written.address() + 512 * piece, 512, false);
            let found = disk.request(WRITE, SECTOR + piece, Some(data))?;
            expect("write", found, 1)?;
        }
        if disk.features & CAN_FLUSH != 0 {
            let found = disk.request(FLUSH, 0, None)?;
            expect("flush", found, 1)?;
        }
    }
    read.fill(0, LEN, 0xaa);
    let found = disk.request(READ, SECTOR, Some((read.address(), LEN as u32, true)))?;
    expect("read", found, LEN as u32 + 1)?;
    if let Some(index) = (0..LEN).find(|index| !read_only && read.read8(*index) != pattern(seed, *index)) {
        return Err(format!(
            "byte {index:#x} was written as {:#x}, read as {:#x}",
            pattern(seed, index),
            read.read8(index)
        ));
    }
    let crc = read.crc32(0, LEN);
    let (messages, pins) =
        (cpu::interrupts(QUEUE).wrapping_sub(before.0), cpu::interrupts(QUEUE_PIN).wrapping_sub(before.1));
    let requests = disk.requests;
    let right = match disk.notice {
        Notice::Message => messages == requests && pins == 0,
        Notice::Pin(_) => messages == 0 && pins >= requests,
        Notice::Poll => messages == 0 && pins == 0,
    };
    if !right {
        return Err(format!(
            "{requests} requests, {messages} messages, {pins} interrupts of the pin ({:?})",
            disk.notice
        ));
    }
    if let Notice::Pin(_) = disk.notice
        && !disk.machine.interrupts()?.quiet(QUEUE_PIN, 50)
    {
        return Err("the pin interrupts after the ISR status was read".into());
    }
    let how = if read_only { "read" } else { "written and read" };
    Ok(format!(
        "{} sectors, {} queues, sectors {SECTOR}..{} {how}, crc {crc:08x}, {messages} messages, {pins} pin, {} spurious",
        disk.capacity,
        disk.transport.queues(),
        SECTOR + sectors,
        disk.spurious
    ))
}

/// A masked vector waits in the pending bits and comes when it is opened (PCIe 6.0 §6.1.4.5).
fn masked(disk: &mut Disk<'_>) -> Outcome {
    let msix = disk.transport.msix.ok_or("the device has no MSI-X")?;
    let entry = 1.min(msix.vectors - 1);
    let data = Dma::new(512).ok_or("no memory")?;
    msix.mask(entry, true);
    let seen = cpu::interrupts(QUEUE);
    disk.submit(0, READ, 0, Some((data.address(), 512, true))).ok_or("the ring is full")?;
    disk.queue.kick();
    let pending = disk.machine.clock.wait(PATIENCE, || msix.is_pending(entry));
    let early = cpu::interrupts(QUEUE) != seen;
    msix.mask(entry, false);
    let came = disk.machine.interrupts()?.wait(QUEUE, seen, PATIENCE);
    disk.wait()?;
    if !pending || early || !came || msix.is_pending(entry) {
        return Err(format!("pending {pending}, came while masked {early}, came when opened {came}"));
    }
    Ok("a masked vector was pending, and came when it was opened".into())
}

/// A read past the end is an error of the device and nothing else.
fn beyond(disk: &mut Disk<'_>) -> Outcome {
    let data = Dma::new(512).ok_or("no memory")?;
    let sector = disk.capacity;
    let (status, _) = disk.request(READ, sector, Some((data.address(), 512, true)))?;
    if status != 1 {
        return Err(format!("sector {sector} of {sector} was read with status {status}"));
    }
    Ok(format!("sector {sector} is an I/O error"))
}

/// DMA to RAM above 4 GiB.
fn high(disk: &mut Disk<'_>) -> Outcome {
    let low = Dma::new(4096).ok_or("no memory")?;
    let high = high_memory(&disk.machine.start, 4096).ok_or("no memory above 4 GiB")?;
    for memory in [&low, &high] {
        memory.fill(0, 4096, 0xee);
        let found = disk.request(READ, SECTOR, Some((memory.address(), 4096, true)))?;
        expect("read", found, 4097)?;
    }
    let (low_crc, high_crc) = (low.crc32(0, high.len()), high.crc32(0, high.len()));
    if low_crc != high_crc {
        return Err(format!("crc {high_crc:08x} at {:#x}, {low_crc:08x} below", high.address()));
    }
    Ok(format!("read to {:#x}, crc {high_crc:08x}", high.address()))
}

/// What was made available before a reset is not looked at after it.
fn reset(disk: &mut Disk<'_>) -> Outcome {
    disk.transport.reset(disk.machine)?;
    let data = Dma::new(512).ok_or("no memory")?;
    disk.submit(0, READ, 0, Some((data.address(), 512, true))).ok_or("the ring is full")?;
    disk.queue.kick();
    if disk.machine.clock.wait(50, || disk.status(0) != 0xff) {
        return Err("the device used a ring after its reset".into());
    }
    Ok("a ring is dead after the device's reset".into())
}
