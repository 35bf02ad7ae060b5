//! A waist operation allocates nothing: configuration and BAR accesses, DMA, interrupts, choices.

#![allow(unsafe_code, reason = "counting what is allocated takes an allocator, whose trait is unsafe")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use bringup_core::choice::{Point, Seeded};
use bringup_core::dma::{Direction, MappingKind, NewMapping};
use bringup_core::{Access, Bar, Bus, BusConfig, Cx, Device, Function, Ram, Register, Reply, Reset, Rights};

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

static REGISTERS: [Register; 2] =
    [Register::new32("GO", 0, Rights::ReadWrite), Register::new64("WHERE", 8, Rights::ReadWrite)];

struct Echo {
    at: u64,
    bytes: [u8; 64],
}

impl Device for Echo {
    fn function(&self) -> Function {
        Function::new(0x1234, 0x0006).bar(Bar::memory32(0, 0x1000).registers(&REGISTERS)).msi(1)
    }

    fn read(&mut self, _cx: &mut Cx<'_>, _at: Access) -> Reply<u64> {
        Ok(self.at)
    }

    fn write(&mut self, cx: &mut Cx<'_>, at: Access, value: u64) -> Reply<()> {
        if at.offset == 8 {
            self.at = value;
            return Ok(());
        }
        // What fails is in the findings.
        let _ = cx.dma_read(self.at, &mut self.bytes);
        let _ = cx.dma_write(self.at, &self.bytes);
        cx.interrupt();
        cx.wake_in(10);
        Ok(())
    }

    fn reset(&mut self, _cx: &mut Cx<'_>, _kind: Reset) {}
}

#[test]
fn waist_operations_allocate_nothing() {
    let ram = Ram::new(1 << 20).unwrap();
    let mut bus = Bus::new(BusConfig { chooser: Box::new(Seeded::new(0)), ..BusConfig::quiet(ram) });
    let id = bus.plug("echo", Box::new(Echo { at: 0, bytes: [0; 64] })).unwrap();
    bus.config_write(id, 4, 2, 6);
    let msi = bus.port(id).config().msi_offset().unwrap();
    bus.config_write(id, msi + 2, 2, 1);
    let physical = bus.fabric.ram.alloc(64, 0).unwrap();
    let (direction, kind) = (Direction::Bidirectional, MappingKind::Coherent);
    let new = NewMapping { physical, len: 64, mask: u64::MAX, direction, kind, place: None, at: 0 };
    let iova = bus.port(id).io_space().map(&new).unwrap();
    let round = |bus: &mut Bus| {
        bus.bar_write(id, 0, 8, 8, iova, None);
        bus.bar_write(id, 0, 0, 4, 1, None);
        bus.bar_read(id, 0, 8, 8, None);
        bus.config_read(id, 0, 4);
        bus.config_write(id, 0x3c, 1, 5);
        bus.fabric.advance(100);
        if let Some(device) = bus.due_device() {
            bus.work(device);
        }
        assert!(bus.take_message().is_some());
        bus.fabric.choices.choose(Point::Task, 1);
    };
    round(&mut bus); // the first message makes the queue
    let before = COUNT.get();
    for _ in 0..1000 {
        round(&mut bus);
    }
    assert_eq!(COUNT.get() - before, 0);
    assert!(bus.fabric.findings.is_empty());
}
