//! Once a ring has gone round, following it allocates nothing: a life with the monitor allocates as much as one without. The device
//! is a real one behind its transport.

#![allow(unsafe_code, reason = "counting what is allocated takes an allocator, whose trait is unsafe")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use bringup_core::dma::{Direction, MappingKind, NewMapping};
use bringup_core::pci::command;
use bringup_core::{Barrier, Bus, BusConfig, DeviceId, Ram, Seen, Severity};
use bringup_devices::virtio::{Rng, VirtioPci};
use bringup_spec::virtio::pci::common;
use bringup_spec::virtio::{feature, status};
use vm_memory::{Bytes, GuestAddress};

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: everything is passed on to the system's allocator; counting touches no memory of it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        // SAFETY: the caller's contract is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's contract is the same.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Where the transport of our devices has its structures.
const BAR: u8 = 4;
const NOTIFY: u64 = 0x3000;
const SIZE: u16 = 4;

/// A driver of one queue, as small as can be.
struct Driver {
    bus: Bus,
    id: DeviceId,
    packed: bool,
    /// Ring, driver's part, device's part, buffer: for the device, and for the processor.
    areas: [(u64, GuestAddress); 4],
    sent: u16,
}

impl Driver {
    fn new(packed: bool, monitored: bool) -> Self {
        let mut bus = Bus::new(BusConfig::quiet(Ram::new(1 << 20).unwrap()));
        let device = VirtioPci::new(Rng::default()).offer(feature::RING_PACKED, packed).msix_vectors(0);
        let id = bus.plug("rng", Box::new(device)).unwrap();
        if monitored {
            let monitor = bringup_monitor::for_function(bus.port(id).function(), bus.port(id).config()).unwrap();
            bus.watch(id, monitor);
        }
        let areas = [0; 4].map(|_| {
            let physical = bus.fabric.ram.alloc(4096, 0).unwrap();
            let (direction, kind) = (Direction::Bidirectional, MappingKind::Coherent);
            let mapping = NewMapping { physical, len: 4096, mask: u64::MAX, direction, kind, place: None, at: 0 };
            (bus.port(id).io_space().map(&mapping).unwrap(), physical)
        });
        bus.config_write(id, 4, 2, (command::MEMORY | command::BUS_MASTER).into());
        let mut this = Self { bus, id, packed, areas, sent: 0 };
        this.start();
        this
    }

    fn write(&mut self, offset: u64, width: u8, value: u64) {
        self.bus.bar_write(self.id, BAR, offset, width, value, None);
    }

    fn read(&mut self, offset: u64, width: u8) -> u64 {
        self.bus.bar_read(self.id, BAR, offset, width, None)
    }

    fn start(&mut self) {
        self.write(common::DEVICE_STATUS, 1, 0);
        assert_eq!(self.read(common::DEVICE_STATUS, 1), 0);
        let mut now = status::ACKNOWLEDGE;
        self.write(common::DEVICE_STATUS, 1, now.into());
        now |= status::DRIVER;
        self.write(common::DEVICE_STATUS, 1, now.into());
        for select in 0..2 {
            self.write(common::DEVICE_FEATURE_SELECT, 4, select);
            let offered = self.read(common::DEVICE_FEATURE, 4);
            self.write(common::DRIVER_FEATURE_SELECT, 4, select);
            self.write(common::DRIVER_FEATURE, 4, offered);
        }
        now |= status::FEATURES_OK;
        self.write(common::DEVICE_STATUS, 1, now.into());
        assert_eq!(self.read(common::DEVICE_STATUS, 1), u64::from(now));
        self.write(common::QUEUE_SELECT, 2, 0);
        self.read(common::QUEUE_SIZE, 2);
        self.read(common::QUEUE_NOTIFY_OFF, 2);
        self.write(common::QUEUE_SIZE, 2, SIZE.into());
        for (register, area) in
            [common::QUEUE_DESC, common::QUEUE_DRIVER, common::QUEUE_DEVICE].into_iter().zip(self.areas)
        {
            self.write(register, 4, area.0 & 0xffff_ffff);
            self.write(register + 4, 4, area.0 >> 32);
        }
        self.write(common::QUEUE_ENABLE, 2, 1);
        self.write(common::DEVICE_STATUS, 1, (now | status::DRIVER_OK).into());
    }

    /// Stores up to 8 bytes and shows it.
    fn store(&mut self, area: usize, offset: u64, bytes: &[u8]) {
        let (iova, physical) = self.areas[area];
        self.bus.fabric.ram.memory().write_slice(bytes, GuestAddress(physical.0 + offset)).unwrap();
        self.bus.show(self.id, None, Seen::Store { iova: iova + offset, len: bytes.len() as u64 });
    }

    /// Has the device write a buffer, and waits for it.
    fn request(&mut self) {
        let slot = u64::from(self.sent % SIZE);
        let wrap = (self.sent / SIZE).is_multiple_of(2);
        let address = self.areas[3].0.to_le_bytes();
        self.store(0, 16 * slot, &address);
        if self.packed {
            self.store(0, 16 * slot + 8, &[64, 0, 0, 0]);
            self.bus.show_barrier(Barrier::Write, None);
            let flags: u16 = 2 | if wrap { 1 << 7 } else { 1 << 15 };
            self.store(0, 16 * slot + 14, &flags.to_le_bytes());
        } else {
            self.store(0, 16 * slot + 8, &[64, 0, 0, 0, 2, 0, 0, 0]);
            self.store(1, 4 + 2 * slot, &[slot as u8, 0]);
            self.bus.show_barrier(Barrier::Write, None);
            self.store(1, 2, &(self.sent + 1).to_le_bytes());
        }
        self.sent += 1;
        self.bus.show_barrier(Barrier::Full, None);
        self.write(NOTIFY, 2, 0);
        self.bus.fabric.advance(1_000_000);
        while self.bus.due_device().is_some() {
            self.bus.work(self.id);
        }
        self.bus.show_idle();
    }

    /// How often the machine allocates in 40 requests, once all that serves again is there.
    fn allocations(mut self) -> u64 {
        for _ in 0..40 {
            self.request();
        }
        let before = COUNT.get();
        for _ in 0..40 {
            self.request();
        }
        let count = COUNT.get() - before;
        let (_, buffer) = self.areas[3];
        assert_ne!(self.bus.fabric.ram.memory().read_obj::<u64>(buffer).unwrap(), 0, "the device wrote nothing");
        let errors: Vec<String> = self
            .bus
            .fabric
            .findings
            .iter()
            .filter(|f| f.rule.severity > Severity::Advice)
            .map(ToString::to_string)
            .collect();
        assert_eq!(errors, [""; 0]);
        count
    }
}

#[test]
fn following_a_split_ring_allocates_nothing() {
    assert_eq!(Driver::new(false, true).allocations(), Driver::new(false, false).allocations());
}

#[test]
fn following_a_packed_ring_allocates_nothing() {
    assert_eq!(Driver::new(true, true).allocations(), Driver::new(true, false).allocations());
}
