//! A machine with one virtio function and its monitor, and a driver's hands on it.

use bringup_core::dma::{Direction, MappingKind, NewMapping};
use bringup_core::pci::{command, offset};
use bringup_core::{Bus, BusConfig, Device, DeviceId, Plan, Ram, Seen};
use bringup_spec::virtio::pci::{NO_VECTOR, common};
use bringup_spec::virtio::{feature, status};
use vm_memory::{Bytes, GuestAddress};

use crate::queue::Queue;

const BAR: u8 = 4;
const ISR: u64 = 0x1000;
const DEVICE: u64 = 0x2000;
const NOTIFY: u64 = 0x3000;

/// Memory that the device can reach.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    pub(crate) iova: u64,
    pub(crate) len: u64,
    pub(crate) at: GuestAddress,
}

/// The machine, and what its driver remembers.
pub(crate) struct Rig {
    pub(crate) bus: Bus,
    pub(crate) device: DeviceId,
    /// The status as the driver wrote it last.
    pub(crate) status: u8,
    pub(crate) offered: u128,
    pub(crate) accepted: u128,
    pub(crate) queues: Vec<Queue>,
    /// Whether interrupts are messages.
    pub(crate) messages: bool,
    /// The size that the driver wants its queues in, if it is to write one.
    pub(crate) size: Option<u16>,
}

impl Rig {
    pub(crate) fn new(device: Box<dyn Device>) -> Self {
        Self::with_faults(device, Plan::default())
    }

    /// As [`new`](Self::new), where processors run while the device works.
    pub(crate) fn racing(device: Box<dyn Device>) -> Self {
        let mut rig = Self::new(device);
        rig.bus.fabric.concurrent = true;
        rig
    }

    pub(crate) fn with_faults(device: Box<dyn Device>, plan: Plan) -> Self {
        let config = BusConfig { plan, ..BusConfig::quiet(Ram::new(4 << 20).unwrap()) };
        let mut bus = Bus::new(config);
        let device = bus.plug("dut", device).unwrap();
        let port = bus.port(device);
        let monitor = bringup_monitor::for_function(port.function(), port.config()).expect("a virtio function");
        bus.watch(device, monitor);
        bus.fabric.exercised = Some(Default::default());
        let mut rig = Self {
            bus,
            device,
            status: 0,
            offered: 0,
            accepted: 0,
            queues: Vec::new(),
            messages: false,
            size: Some(4),
        };
        rig.open();
        rig
    }

    /// Turns decoding and bus mastering on, as a driver does first.
    pub(crate) fn open(&mut self) {
        let all = command::IO | command::MEMORY | command::BUS_MASTER;
        self.bus.config_write(self.device, offset::COMMAND, 2, all.into());
    }

    /// Turns MSI-X on, all vectors unmasked.
    pub(crate) fn enable_messages(&mut self) {
        let at = self.bus.port(self.device).config().msix_offset().unwrap();
        let count = u64::from(self.bus.config_read(self.device, at + 2, 2) & 0x7ff) + 1;
        for entry in 0..count {
            for (word, value) in [0xfee0_0000, 0, entry, 0].into_iter().enumerate() {
                self.bus.bar_write(self.device, 1, entry * 16 + word as u64 * 4, 4, value, None);
            }
        }
        self.bus.config_write(self.device, at + 2, 2, 0x8000);
        self.messages = true;
    }

    // --- Registers ---------------------------------------------------------------------------------------------

    pub(crate) fn read(&mut self, register: u64, width: u8) -> u64 {
        self.bus.bar_read(self.device, BAR, register, width, None)
    }

    pub(crate) fn write(&mut self, register: u64, width: u8, value: u64) {
        self.bus.bar_write(self.device, BAR, register, width, value, None);
    }

    pub(crate) fn config(&mut self, field: u32, width: u8) -> u64 {
        self.read(DEVICE + u64::from(field), width)
    }

    pub(crate) fn set_config(&mut self, field: u32, width: u8, value: u64) {
        self.write(DEVICE + u64::from(field), width, value);
    }

    /// A 64-bit field, read until its halves belong together.
    pub(crate) fn config64(&mut self, field: u32) -> u64 {
        loop {
            let before = self.read(common::CONFIG_GENERATION, 1);
            let value = self.config(field, 4) | self.config(field + 4, 4) << 32;
            if self.read(common::CONFIG_GENERATION, 1) == before {
                return value;
            }
        }
    }

    pub(crate) fn read_isr(&mut self) -> u64 {
        self.read(ISR, 1)
    }

    pub(crate) fn notify(&mut self, at: u64, width: u8, value: u64) {
        self.write(NOTIFY + at, width, value);
    }

    pub(crate) fn set_status(&mut self, value: u8) {
        self.status = value;
        self.write(common::DEVICE_STATUS, 1, value.into());
    }

    pub(crate) fn add_status(&mut self, bit: u8) {
        self.set_status(self.status | bit);
    }

    pub(crate) fn read_status(&mut self) -> u8 {
        self.read(common::DEVICE_STATUS, 1) as u8
    }

    pub(crate) fn reset(&mut self) {
        self.set_status(0);
    }

    pub(crate) fn read_features(&mut self) {
        self.offered = 0;
        for select in 0..3 {
            self.write(common::DEVICE_FEATURE_SELECT, 4, select);
            self.offered |= u128::from(self.read(common::DEVICE_FEATURE, 4)) << (32 * select);
        }
    }

    pub(crate) fn write_features(&mut self, accepted: u128) {
        self.accepted = accepted;
        for select in 0..3 {
            self.write(common::DRIVER_FEATURE_SELECT, 4, select);
            self.write(common::DRIVER_FEATURE, 4, u64::from((accepted >> (32 * select)) as u32));
        }
    }

    pub(crate) fn has(&self, bit: u32) -> bool {
        self.accepted >> bit & 1 != 0
    }

    pub(crate) fn is_packed(&self) -> bool {
        self.has(feature::RING_PACKED)
    }

    // --- Queues ------------------------------------------------------------------------------------------------

    pub(crate) fn select(&mut self, index: u16) {
        self.write(common::QUEUE_SELECT, 2, index.into());
    }

    /// Reads what the device has, and allocates.
    pub(crate) fn discover(&mut self, index: u16) {
        self.select(index);
        let max = self.read(common::QUEUE_SIZE, 2) as u16;
        let size = self.size.map_or(max, |size| size.min(max));
        let notify = self.read(common::QUEUE_NOTIFY_OFF, 2) as u16;
        let cookie = if self.has(feature::NOTIF_CONFIG_DATA) {
            self.read(common::QUEUE_NOTIF_CONFIG_DATA, 2) as u16
        } else {
            index
        };
        let queue = Queue::allocate(self, index, size.max(1), notify, cookie);
        match self.queues.iter_mut().find(|queue| queue.index == index) {
            Some(old) => *old = queue,
            None => self.queues.push(queue),
        }
    }

    pub(crate) fn queue(&self, index: u16) -> &Queue {
        self.queues.iter().find(|queue| queue.index == index).unwrap()
    }

    pub(crate) fn write_size(&mut self, index: u16) {
        if self.size.is_some() {
            let size = self.queue(index).size;
            self.write(common::QUEUE_SIZE, 2, size.into());
        }
    }

    pub(crate) fn write_vector(&mut self, vector: u16) {
        if self.messages {
            self.write(common::QUEUE_MSIX_VECTOR, 2, vector.into());
        }
    }

    pub(crate) fn read_vector(&mut self) {
        if self.messages {
            assert_ne!(self.read(common::QUEUE_MSIX_VECTOR, 2), u64::from(NO_VECTOR));
        }
    }

    pub(crate) fn write_address(&mut self, register: u64, address: u64) {
        self.write(register, 4, address & 0xffff_ffff);
        self.write(register + 4, 4, address >> 32);
    }

    pub(crate) fn write_addresses(&mut self, index: u16) {
        let [descriptors, driver, device] = self.queue(index).parts.map(|part| part.iova);
        self.write_address(common::QUEUE_DESC, descriptors);
        self.write_address(common::QUEUE_DRIVER, driver);
        self.write_address(common::QUEUE_DEVICE, device);
    }

    pub(crate) fn enable(&mut self) {
        self.write(common::QUEUE_ENABLE, 2, 1);
    }

    /// All of it.
    pub(crate) fn set_up(&mut self, index: u16) {
        self.discover(index);
        self.write_size(index);
        self.write_vector(0);
        self.read_vector();
        self.write_addresses(index);
        self.enable();
    }

    pub(crate) fn reset_queue(&mut self, index: u16) {
        self.select(index);
        self.write(common::QUEUE_RESET, 2, 1);
    }

    /// Puts a chain into a queue, kicks if the device wants that, and lets it work. Elements are contents for the device to read, or
    /// lengths for it to write.
    pub(crate) fn request(&mut self, index: u16, readable: &[&[u8]], writable: &[u32]) -> Vec<Memory> {
        let memory = self.submit(index, readable, writable);
        self.run();
        memory
    }

    /// As [`request`](Self::request), without letting the device work.
    pub(crate) fn submit(&mut self, index: u16, readable: &[&[u8]], writable: &[u32]) -> Vec<Memory> {
        let mut memory = Vec::new();
        for bytes in readable {
            let buffer = self.map(bytes.len() as u64, Direction::ToDevice);
            self.fill(buffer, 0, bytes);
            memory.push((buffer, false));
        }
        for len in writable {
            memory.push((self.map((*len).into(), Direction::FromDevice), true));
        }
        let mut queue = self.queues.remove(self.queues.iter().position(|queue| queue.index == index).unwrap());
        let wanted = queue.add(self, &memory);
        if wanted {
            let (at, width, value) = queue.kick(self);
            self.notify(at, width, value);
        }
        self.queues.push(queue);
        memory.into_iter().map(|(memory, _)| memory).collect()
    }

    /// Puts a chain of lengths for the device to write into a queue, and does not kick.
    pub(crate) fn submit_unkicked(&mut self, index: u16, writable: &[u32]) {
        let buffers: Vec<_> =
            writable.iter().map(|len| (self.map((*len).into(), Direction::FromDevice), true)).collect();
        let mut queue = self.queues.remove(self.queues.iter().position(|queue| queue.index == index).unwrap());
        queue.add(self, &buffers);
        self.queues.push(queue);
    }

    /// Lets the device work and its interrupts be handled, until nothing goes on.
    pub(crate) fn run(&mut self) {
        let end = self.bus.fabric.now() + 1_000_000;
        loop {
            while let Some(due) = self.bus.due_device() {
                self.bus.work(due);
            }
            self.interrupts();
            let now = self.bus.fabric.now();
            let next = self.bus.next_event().unwrap_or(end).min(end);
            self.bus.fabric.advance(next.saturating_sub(now));
            if next >= end && self.bus.due_device().is_none() {
                break;
            }
        }
        self.bus.show_idle();
    }

    fn interrupts(&mut self) {
        if self.messages {
            while self.bus.take_message().is_some() {}
        } else if self.bus.intx(self.device) {
            self.read_isr();
        }
        let mut queues = std::mem::take(&mut self.queues);
        for queue in &mut queues {
            queue.reap(self);
        }
        self.queues = queues;
    }

    /// The driver is unloaded.
    pub(crate) fn unbind(&mut self) {
        self.bus.show(self.device, None, Seen::Unbound);
    }

    /// From a reset to FEATURES_OK, read back.
    pub(crate) fn negotiate(&mut self, wanted: u128) {
        self.reset();
        while self.read_status() != 0 {}
        self.add_status(status::ACKNOWLEDGE);
        self.add_status(status::DRIVER);
        self.read_features();
        self.write_features(self.offered & wanted);
        self.add_status(status::FEATURES_OK);
        assert_ne!(self.read_status() & status::FEATURES_OK, 0, "the device refuses {:#x}", self.accepted);
    }

    // --- Memory ------------------------------------------------------------------------------------------------

    pub(crate) fn map(&mut self, len: u64, direction: Direction) -> Memory {
        let at = self.bus.fabric.ram.alloc(len, bringup_core::dma::DIRTY).unwrap();
        let wanted = NewMapping {
            physical: at,
            len,
            mask: u64::MAX,
            direction,
            kind: MappingKind::Coherent,
            place: None,
            at: self.bus.fabric.now(),
        };
        let iova = self.bus.port(self.device).io_space().map(&wanted).unwrap();
        Memory { iova, len, at }
    }

    pub(crate) fn unmap(&mut self, memory: Memory) {
        let now = self.bus.fabric.now();
        self.bus.port(self.device).io_space().unmap(memory.iova, now).unwrap();
        self.bus.show_unmapped(self.device, memory.iova, memory.len, None);
    }

    /// Unmaps the memory of all queues.
    pub(crate) fn free_queues(&mut self) {
        for queue in std::mem::take(&mut self.queues) {
            for part in queue.parts {
                self.unmap(part);
            }
        }
    }

    pub(crate) fn fill(&mut self, memory: Memory, offset: u64, bytes: &[u8]) {
        self.bus.fabric.ram.memory().write_slice(bytes, GuestAddress(memory.at.0 + offset)).unwrap();
    }

    pub(crate) fn put16(&mut self, memory: Memory, offset: u64, value: u16) {
        self.fill(memory, offset, &value.to_le_bytes());
    }

    pub(crate) fn get16(&self, memory: Memory, offset: u64) -> u16 {
        let mut bytes = [0; 2];
        self.bus.fabric.ram.memory().read_slice(&mut bytes, GuestAddress(memory.at.0 + offset)).unwrap();
        u16::from_le_bytes(bytes)
    }

    // --- Verdict -----------------------------------------------------------------------------------------------

    /// The rules of the monitor that were broken, each once, and what was said.
    pub(crate) fn broken(&self) -> Vec<(&'static str, String)> {
        let mut broken: Vec<(&'static str, String)> = Vec::new();
        for finding in &self.bus.fabric.findings {
            let ours = bringup_monitor::rules().any(|rule| rule == finding.rule);
            if ours && broken.iter().all(|(id, _)| *id != finding.rule.id) {
                broken.push((finding.rule.id, finding.what.clone()));
            }
        }
        broken
    }
}
