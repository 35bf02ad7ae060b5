//! Numbers that come from a device and are used as they come.

use bringup_bench::{rt, Bench, Report};
use bringup_core::fault::{Behaviour, Fault, Verb};
use bringup_core::Plan;
use bringup_devices::Edu;
use kernel::prelude::*;

/// Runs `body` with the address of the registers of an edu whose identification reads as ones, and with shared memory in which
/// the device says 0x1234 at offset 4.
fn life(body: impl FnOnce(usize, *const u8)) -> Report {
    let lie = Fault { address: Some(0), length: Some(4), ..Fault::new(Verb::BarRead, Behaviour::AllOnes) };
    let bench = Bench::builder().device("edu", Edu::default()).plan(Plan::new(std::vec![lie])).build().unwrap();
    let device = bench.with_bus(|bus| bus.find("edu")).unwrap();
    let _ = bench.run("user", || {
        rt::pci::enable_device_mem(device);
        let (address, _) = rt::pci::iomap(device, 0).unwrap();
        let memory = rt::dma::alloc_coherent(device, 16, true).unwrap();
        // SAFETY: The memory has 16 bytes.
        unsafe { memory.cpu.add(4).cast::<u32>().write(0x1234) };
        body(address, memory.cpu.as_ptr());
        rt::dma::free_coherent(device, memory.iova);
        rt::pci::iounmap(address);
    });
    bench.finish()
}

#[test]
fn an_index_of_all_ones_is_found_with_the_register_it_came_from() {
    let report = life(|address, _| {
        let index = rt::mmio_read(address, 4, false) as usize;
        assert_eq!([1u8; 4][index], 1);
    });
    assert_eq!(report.rules(), ["unchecked-device-value"]);
    assert!(report.findings[0].notes[0].starts_with("0xffffffff was read from BAR 0 offset 0x0"));
}

#[test]
fn a_length_from_shared_memory_is_found_with_a_header_added_to_it() {
    let report = life(|_, memory| {
        // SAFETY: The memory has 16 bytes.
        let len = unsafe { rt::mem_read(memory.add(4), 4) } as usize;
        let buffer = std::vec![0u8; 64];
        assert_eq!(buffer[..len + 12].len(), 76);
    });
    assert_eq!(report.rules(), ["unchecked-device-value"]);
}

#[test]
fn a_length_from_a_copied_structure_is_found() {
    let report = life(|_, memory| {
        let mut copy = [0u8; 16];
        // SAFETY: Both have 16 bytes.
        unsafe { rt::mem_copy_from(memory, copy.as_mut_ptr(), 16) };
        let len = u16::from_le_bytes([copy[4], copy[5]]);
        let buffer = std::vec![0u8; 64];
        assert_eq!(buffer[usize::from(len)..].len(), 1);
    });
    assert_eq!(report.rules(), ["unchecked-device-value"]);
}

#[test]
fn an_allocation_of_as_much_as_the_device_said_is_found() {
    let report = life(|address, _| {
        let count = rt::mmio_read(address, 4, false) as usize;
        assert!(KVec::<u64>::with_capacity(count, GFP_KERNEL).is_err());
    });
    assert_eq!(report.rules(), ["unchecked-device-value"]);
}

#[test]
fn an_index_of_the_drivers_own_is_a_plain_panic() {
    let report = life(|address, _| {
        let _ = rt::mmio_read(address, 4, false);
        let index = std::hint::black_box(9);
        assert_eq!([1u8; 4][index], 1);
    });
    assert_eq!(report.rules(), ["driver-panic"]);
}

#[test]
fn a_number_that_is_checked_is_silent() {
    let report = life(|address, memory| {
        let index = rt::mmio_read(address, 4, false) as usize;
        assert_eq!([1u8; 4].get(index), None);
        // SAFETY: The memory has 16 bytes.
        let len = unsafe { rt::mem_read(memory.add(4), 4) } as usize;
        assert_eq!([0u8; 64].get(..len), None);
    });
    assert!(report.is_clean());
}

#[test]
fn an_underflow_says_what_the_device_said_last() {
    let report = life(|_, memory| {
        // SAFETY: The memory has 16 bytes.
        let len = unsafe { rt::mem_read(memory, 4) } as usize;
        let payload = len - 12;
        assert!(payload > 0);
    });
    assert_eq!(report.rules(), ["driver-panic"]);
    assert!(report.findings[0].notes[0].contains("the last thing that a device said: 0x0 was read"));
}
