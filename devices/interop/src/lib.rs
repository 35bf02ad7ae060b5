//! A machine for the `virtio-drivers` crate, unmodified: its configuration accesses, its MMIO and its DMA end in a [`Bus`] in this
//! process. Nothing traps: `safe-mmio` calls [`Registers`] for each access.
//!
//! The crate waits for devices by spinning. Here the devices have done all that they can when a kick returns, so it finds what it
//! waits for at once.

#![allow(unsafe_code, reason = "the traits of both crates are unsafe, and what they hand over are addresses")]

use std::cell::RefCell;
use std::ptr::NonNull;

use bringup_core::dma::{Direction, MappingKind, NewMapping, RAM_BASE};
use bringup_core::{Bus, BusConfig, Device, DeviceId, Ram};
use safe_mmio::MmioOps;
use virtio_drivers::transport::pci::PciTransport;
use virtio_drivers::transport::pci::bus::{Command, ConfigurationAccess, DeviceFunction, PciRoot};
use virtio_drivers::{BufferDirection, Hal, PAGE_SIZE, PhysAddr};
use vm_memory::{Bytes, GuestAddress};

thread_local! {
    /// The machine of this thread: the crate's hardware has no `self`.
    static MACHINE: RefCell<Option<Bus>> = const { RefCell::new(None) };
}

/// How many quanta the devices get for one access; a machine that goes on longer hangs.
const PATIENCE: usize = 1_000_000;

fn with_bus<T>(act: impl FnOnce(&mut Bus) -> T) -> T {
    MACHINE.with_borrow_mut(|machine| act(machine.as_mut().expect("a machine was plugged together")))
}

/// Makes a machine of this thread with one device.
///
/// # Panics
/// When the device cannot be plugged in.
pub fn plug(device: Box<dyn Device>) {
    let mut bus = Bus::new(BusConfig::quiet(Ram::new(16 << 20).expect("memory")));
    bus.plug("dut", device).expect("the device is plugged in");
    MACHINE.set(Some(bus));
}

/// Finds the machine's device as the crate does, and turns it on.
///
/// # Panics
/// When the crate does not find it.
#[must_use]
pub fn transport() -> PciTransport {
    let mut root = PciRoot::new(Access);
    let found: Vec<DeviceFunction> = root.enumerate_bus(0).map(|(function, _)| function).collect();
    assert_eq!(found.len(), 1);
    root.set_command(found[0], Command::MEMORY_SPACE | Command::BUS_MASTER);
    PciTransport::new::<Machine, _>(&mut root, found[0]).expect("the crate takes the device")
}

/// The rules that the checkers of the waist found broken.
#[must_use]
pub fn broken_rules() -> Vec<&'static str> {
    with_bus(|bus| bus.fabric.findings.iter().map(|finding| finding.rule.id).collect())
}

/// Lets the devices do all that they have to do.
///
/// # Panics
/// When they never get done.
pub fn settle() {
    with_bus(run);
}

fn run(bus: &mut Bus) {
    for _ in 0..PATIENCE {
        if let Some(due) = bus.due_device() {
            bus.work(due);
        } else if let Some(at) = bus.next_event() {
            let now = bus.fabric.now();
            bus.fabric.advance(at.saturating_sub(now));
        } else {
            return;
        }
    }
    panic!("the device never gets done");
}

/// Configuration space of bus 0.
#[derive(Debug)]
struct Access;

fn device_at(bus: &Bus, function: DeviceFunction) -> Option<DeviceId> {
    let number = u16::from(function.device) << 3 | u16::from(function.function);
    bus.devices().find(|id| bus.requester_id(*id) == number)
}

impl ConfigurationAccess for Access {
    fn read_word(&self, function: DeviceFunction, offset: u8) -> u32 {
        // Words are aligned here, whatever is asked for; the crate shifts.
        with_bus(|bus| device_at(bus, function).map_or(u32::MAX, |id| bus.config_read(id, u16::from(offset & !3), 4)))
    }

    fn write_word(&mut self, function: DeviceFunction, offset: u8, data: u32) {
        with_bus(|bus| {
            if let Some(id) = device_at(bus, function) {
                bus.config_write(id, u16::from(offset & !3), 4, data);
            }
        });
    }

    unsafe fn unsafe_clone(&self) -> Self {
        Self
    }
}

/// The machine's memory and registers, for the crate.
#[derive(Debug)]
pub struct Machine;

fn direction(direction: BufferDirection) -> Direction {
    match direction {
        BufferDirection::DriverToDevice => Direction::ToDevice,
        BufferDirection::DeviceToDriver => Direction::FromDevice,
        BufferDirection::Both => Direction::Bidirectional,
    }
}

/// Takes memory and maps it for the device: its address for the device, and where it is.
fn map(bus: &mut Bus, len: usize, direction: Direction, kind: MappingKind) -> (u64, GuestAddress) {
    let physical = bus.fabric.ram.alloc(len as u64, 0).expect("memory is left");
    let wanted =
        NewMapping { physical, len: len as u64, mask: u64::MAX, direction, kind, place: None, at: bus.fabric.now() };
    let device = bus.devices().next().expect("a device");
    (bus.port(device).io_space().map(&wanted).expect("addresses are left"), physical)
}

fn unmap(bus: &mut Bus, iova: u64) -> GuestAddress {
    let device = bus.devices().next().expect("a device");
    let mapping = bus.port(device).io_space().unmap(iova, bus.fabric.now()).expect("it was mapped");
    bus.fabric.ram.free(mapping.physical, mapping.len);
    mapping.physical
}

// SAFETY: Memory that is handed out is of the machine's RAM, whole pages that nobody else has until they are given back. Addresses
// of registers are never dereferenced: `Registers` takes all accesses.
unsafe impl Hal for Machine {
    fn dma_alloc(pages: usize, wanted: BufferDirection) -> (PhysAddr, NonNull<u8>) {
        with_bus(|bus| {
            let (iova, physical) = map(bus, pages * PAGE_SIZE, direction(wanted), MappingKind::Coherent);
            let address = bus.fabric.ram.host_address(physical).expect("it is the machine's");
            (iova, NonNull::new(address).expect("memory has an address"))
        })
    }

    unsafe fn dma_dealloc(paddr: PhysAddr, _vaddr: NonNull<u8>, _pages: usize) -> i32 {
        with_bus(|bus| unmap(bus, paddr));
        0
    }

    unsafe fn mmio_phys_to_virt(paddr: PhysAddr, _size: usize) -> NonNull<u8> {
        NonNull::new(std::ptr::without_provenance_mut(paddr as usize)).expect("no BAR is at 0")
    }

    unsafe fn share(buffer: NonNull<[u8]>, wanted: BufferDirection) -> PhysAddr {
        with_bus(|bus| {
            let (iova, physical) = map(bus, buffer.len(), direction(wanted), MappingKind::Streaming);
            if wanted != BufferDirection::DeviceToDriver {
                // SAFETY: The caller says that it is valid and that nobody else uses it during the call.
                let bytes = unsafe { buffer.as_ref() };
                bus.fabric.ram.memory().write_slice(bytes, physical).expect("it is the machine's");
            }
            iova
        })
    }

    unsafe fn unshare(paddr: PhysAddr, mut buffer: NonNull<[u8]>, wanted: BufferDirection) {
        with_bus(|bus| {
            let physical = unmap(bus, paddr);
            if wanted != BufferDirection::DriverToDevice {
                // SAFETY: As for `share`.
                let bytes = unsafe { buffer.as_mut() };
                bus.fabric.ram.memory().read_slice(bytes, physical).expect("it is the machine's");
            }
        });
    }
}

/// Takes the place of MMIO.
#[derive(Debug)]
pub struct Registers;

fn read(address: usize, width: u8) -> u64 {
    assert!((address as u64) < RAM_BASE || address as u64 >= 0x80_0000_0000, "registers are no memory");
    with_bus(|bus| {
        let (id, bar, offset) = bus.decode(false, address as u64).expect("a BAR is there");
        bus.bar_read(id, bar, offset, width, None)
    })
}

fn write(address: usize, width: u8, value: u64) {
    with_bus(|bus| {
        let (id, bar, offset) = bus.decode(false, address as u64).expect("a BAR is there");
        bus.bar_write(id, bar, offset, width, value, None);
        run(bus);
    });
}

// Each access is of the width that its name says, and none goes to memory.
impl MmioOps for Registers {
    unsafe fn read_u8(src: *const u8) -> u8 {
        read(src.addr(), 1) as u8
    }
    unsafe fn read_u16(src: *const u16) -> u16 {
        read(src.addr(), 2) as u16
    }
    unsafe fn read_u32(src: *const u32) -> u32 {
        read(src.addr(), 4) as u32
    }
    unsafe fn read_u64(src: *const u64) -> u64 {
        read(src.addr(), 8)
    }
    unsafe fn write_u8(dst: *mut u8, value: u8) {
        write(dst.addr(), 1, value.into());
    }
    unsafe fn write_u16(dst: *mut u16, value: u16) {
        write(dst.addr(), 2, value.into());
    }
    unsafe fn write_u32(dst: *mut u32, value: u32) {
        write(dst.addr(), 4, value.into());
    }
    unsafe fn write_u64(dst: *mut u64, value: u64) {
        write(dst.addr(), 8, value);
    }
}

safe_mmio::set_mmio_ops!(Registers);
