//! A machine with one virtio function on its bus, and a driver's hands on it: our ring, in the machine's memory.

use bringup_core::dma::{Direction, MappingKind, NewMapping};
use bringup_core::pci::{command, offset};
use bringup_core::{Bus, BusConfig, DeviceId, Ram};
use bringup_devices::virtio::VirtioPci;
use bringup_spec::virtio::pci::{cap, cfg_type, common, CAP_VENDOR};
use bringup_spec::virtio::{feature, status};
use kernel::error::{code::EINVAL, Result};
use virtio_ring::ring::{Areas, Memory, Queue, Segment, Shape};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use std::sync::atomic::Ordering;

/// Memory of the machine that the function can reach.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    memory: GuestMemoryMmap,
    at: u64,
    iova: u64,
    size: usize,
}

impl Window {
    fn place(&self, at: usize, len: usize) -> Result<GuestAddress> {
        match at.checked_add(len) {
            Some(end) if end <= self.size => Ok(GuestAddress(self.at + at as u64)),
            _ => Err(EINVAL),
        }
    }

    pub(crate) fn segment(&self, at: usize, len: u32) -> Segment {
        assert!(at + len as usize <= self.size);
        Segment {
            address: self.iova + at as u64,
            len,
        }
    }

    pub(crate) fn read(&self, at: usize, into: &mut [u8]) {
        let place = self.place(at, into.len()).unwrap();
        self.memory.read_slice(into, place).unwrap();
    }
}

impl Memory for Window {
    fn address(&self) -> u64 {
        self.iova
    }

    fn size(&self) -> usize {
        self.size
    }

    fn read16(&self, at: usize) -> Result<u16> {
        let place = self.place(at, 2)?;
        let value: u16 = self
            .memory
            .load(place, Ordering::Relaxed)
            .map_err(|_| EINVAL)?;
        Ok(u16::from_le(value))
    }

    fn read32(&self, at: usize) -> Result<u32> {
        let place = self.place(at, 4)?;
        let value: u32 = self
            .memory
            .load(place, Ordering::Relaxed)
            .map_err(|_| EINVAL)?;
        Ok(u32::from_le(value))
    }

    fn write16(&self, at: usize, value: u16) -> Result {
        let place = self.place(at, 2)?;
        self.memory
            .store(value.to_le(), place, Ordering::Relaxed)
            .map_err(|_| EINVAL)
    }

    fn write_bytes(&self, at: usize, bytes: &[u8]) -> Result {
        let place = self.place(at, bytes.len())?;
        self.memory.write_slice(bytes, place).map_err(|_| EINVAL)
    }
}

/// A part of a BAR.
#[derive(Clone, Copy)]
struct Part {
    bar: u8,
    offset: u64,
    multiplier: u32,
}

pub(crate) struct Machine {
    pub(crate) bus: Bus,
    device: DeviceId,
    common: Part,
    notify: Part,
    /// What was negotiated.
    pub(crate) features: u64,
    /// How queue 0 is kicked: where, and what names it.
    kick_at: u64,
    cookie: u64,
}

impl Machine {
    /// A machine whose driver and device agreed on all of `wanted` that is offered.
    pub(crate) fn new(device: VirtioPci, wanted: u64, monitor: bool) -> Self {
        let mut bus = Bus::new(BusConfig::quiet(Ram::new(16 << 20).unwrap()));
        let device = bus.plug("dut", Box::new(device)).unwrap();
        if monitor {
            let port = bus.port(device);
            let monitor = bringup_monitor::for_function(port.function(), port.config());
            bus.watch(device, monitor.expect("a virtio function"));
        }
        let all = command::MEMORY | command::BUS_MASTER;
        bus.config_write(device, offset::COMMAND, 2, all.into());
        let [common, notify] =
            [cfg_type::COMMON, cfg_type::NOTIFY].map(|kind| Self::part(&mut bus, device, kind));
        let mut machine = Self {
            bus,
            device,
            common,
            notify,
            features: 0,
            kick_at: 0,
            cookie: 0,
        };
        machine.enable_messages();
        machine.negotiate(wanted);
        machine
    }

    fn part(bus: &mut Bus, device: DeviceId, kind: u8) -> Part {
        let mut at = bus.config_read(device, offset::CAPABILITIES, 1) as u16;
        while at != 0 {
            let mut field =
                |field: u8, width| bus.config_read(device, at + u16::from(field), width);
            if field(0, 1) as u8 == CAP_VENDOR && field(cap::CFG_TYPE, 1) as u8 == kind {
                return Part {
                    bar: field(cap::BAR, 1) as u8,
                    offset: field(cap::OFFSET, 4).into(),
                    multiplier: field(cap::NOTIFY_OFF_MULTIPLIER, 4),
                };
            }
            at = field(1, 1) as u16;
        }
        panic!("no such structure");
    }

    fn get(&mut self, register: u64, width: u8) -> u64 {
        let Part { bar, offset, .. } = self.common;
        self.bus
            .bar_read(self.device, bar, offset + register, width, None)
    }

    fn set(&mut self, register: u64, width: u8, value: u64) {
        let Part { bar, offset, .. } = self.common;
        self.bus
            .bar_write(self.device, bar, offset + register, width, value, None);
    }

    fn enable_messages(&mut self) {
        let (bus, device) = (&mut self.bus, self.device);
        let at = bus.port(device).config().msix_offset().unwrap();
        let last = bus.config_read(device, at + 2, 2) & 0x7ff;
        let table = bus.config_read(device, at + 4, 4);
        for entry in 0..=last {
            let place = u64::from(table & !7) + 16 * u64::from(entry);
            for (word, value) in [0xfee0_0000, 0, 0x40 + entry, 0].into_iter().enumerate() {
                let place = place + 4 * word as u64;
                bus.bar_write(device, (table & 7) as u8, place, 4, value.into(), None);
            }
        }
        bus.config_write(device, at + 2, 2, 0x8000);
    }

    /// Resets the device and agrees on features.
    pub(crate) fn negotiate(&mut self, wanted: u64) {
        self.set(common::DEVICE_STATUS, 1, 0);
        assert_eq!(self.get(common::DEVICE_STATUS, 1), 0);
        let mut value = u64::from(status::ACKNOWLEDGE);
        self.set(common::DEVICE_STATUS, 1, value);
        value |= u64::from(status::DRIVER);
        self.set(common::DEVICE_STATUS, 1, value);
        self.features = 0;
        for half in 0..2u64 {
            self.set(common::DEVICE_FEATURE_SELECT, 4, half);
            let offered = self.get(common::DEVICE_FEATURE, 4);
            let accepted = offered & wanted >> (32 * half) & 0xffff_ffff;
            self.set(common::DRIVER_FEATURE_SELECT, 4, half);
            self.set(common::DRIVER_FEATURE, 4, accepted);
            self.features |= accepted << (32 * half);
        }
        value |= u64::from(status::FEATURES_OK);
        self.set(common::DEVICE_STATUS, 1, value);
        assert_eq!(
            self.get(common::DEVICE_STATUS, 1),
            value,
            "the device accepts"
        );
    }

    /// Fresh memory; for rings it is zeroed.
    pub(crate) fn memory(&mut self, size: usize, fill: u8) -> Window {
        let len = size as u64;
        let at = self.bus.fabric.ram.alloc(len, fill).unwrap();
        let wanted = NewMapping {
            physical: at,
            len,
            mask: u64::MAX,
            direction: Direction::Bidirectional,
            kind: MappingKind::Coherent,
            place: None,
            at: self.bus.fabric.now(),
        };
        let iova = self.bus.port(self.device).io_space().map(&wanted).unwrap();
        let memory = self.bus.fabric.ram.memory().clone();
        Window {
            memory,
            at: at.0,
            iova,
            size,
        }
    }

    /// Queue 0, set up.
    pub(crate) fn queue<T>(&mut self, size: u16, table: u16) -> Queue<T, Window> {
        let shape = Shape {
            size,
            features: self.features,
            table,
        };
        let [descriptors, driver, device, tables] = shape.areas();
        let areas = Areas {
            descriptors: self.memory(descriptors, 0),
            driver: self.memory(driver, 0),
            device: self.memory(device, 0),
            tables: (tables != 0).then(|| self.memory(tables, 0x5a)),
        };
        let queue = Queue::with_memory(shape, areas).unwrap();
        self.set_up(&queue);
        queue
    }

    /// Tells the device of the queue.
    pub(crate) fn set_up<T>(&mut self, queue: &Queue<T, Window>) {
        self.set(common::QUEUE_SELECT, 2, 0);
        assert!(self.get(common::QUEUE_SIZE, 2) >= u64::from(queue.size()));
        self.set(common::QUEUE_SIZE, 2, queue.size().into());
        self.set(common::QUEUE_MSIX_VECTOR, 2, 0);
        assert_eq!(self.get(common::QUEUE_MSIX_VECTOR, 2), 0);
        let registers = [
            common::QUEUE_DESC,
            common::QUEUE_DRIVER,
            common::QUEUE_DEVICE,
        ];
        for (register, address) in registers.into_iter().zip(queue.addresses()) {
            self.set(register, 4, address & 0xffff_ffff);
            self.set(register + 4, 4, address >> 32);
        }
        let place = self.get(common::QUEUE_NOTIFY_OFF, 2) * u64::from(self.notify.multiplier);
        self.kick_at = self.notify.offset + place;
        self.cookie = if self.has(feature::NOTIF_CONFIG_DATA) {
            self.get(common::QUEUE_NOTIF_CONFIG_DATA, 2)
        } else {
            0
        };
        self.set(common::QUEUE_ENABLE, 2, 1);
    }

    fn has(&self, bit: u32) -> bool {
        self.features >> bit & 1 != 0
    }

    pub(crate) fn driver_ok(&mut self) {
        let value = self.get(common::DEVICE_STATUS, 1) | u64::from(status::DRIVER_OK);
        self.set(common::DEVICE_STATUS, 1, value);
    }

    /// Resets queue 0, and waits until it is.
    pub(crate) fn reset_queue(&mut self) {
        self.set(common::QUEUE_SELECT, 2, 0);
        self.set(common::QUEUE_RESET, 2, 1);
        assert_eq!(self.get(common::QUEUE_RESET, 2), 0);
        assert_eq!(self.get(common::QUEUE_ENABLE, 2), 0);
    }

    pub(crate) fn kick(&mut self, data: u16) {
        let (width, value) = if self.has(feature::NOTIFICATION_DATA) {
            (4, self.cookie | u64::from(data) << 16)
        } else {
            (2, self.cookie)
        };
        self.bus.bar_write(
            self.device,
            self.notify.bar,
            self.kick_at,
            width,
            value,
            None,
        );
    }

    /// Lets the device work until nothing is due now.
    pub(crate) fn work(&mut self) {
        while let Some(due) = self.bus.due_device() {
            self.bus.work(due);
        }
    }

    /// Lets time pass until the driver is interrupted. `false` if nothing will ever happen.
    pub(crate) fn wait(&mut self) -> bool {
        loop {
            if self.bus.take_message().is_some() {
                return true;
            }
            if self.bus.due_device().is_none() {
                let Some(next) = self.bus.next_event() else {
                    return false;
                };
                let now = self.bus.fabric.now();
                self.bus.fabric.advance(next.saturating_sub(now));
            }
            self.work();
        }
    }

    /// What the checkers found.
    pub(crate) fn findings(&self) -> Vec<String> {
        self.bus
            .fabric
            .findings
            .iter()
            .map(ToString::to_string)
            .collect()
    }
}
