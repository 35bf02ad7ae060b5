//! The heaps: writes after a block was freed, and beyond it.

use bringup_bench::{Bench, Report};
use kernel::prelude::*;

fn process(body: impl FnOnce()) -> Report {
    let bench = Bench::builder().build().unwrap();
    bench.run("user", body).unwrap();
    bench.finish()
}

#[test]
fn a_write_to_freed_memory_is_found_with_where_it_came_from() {
    let report = process(|| {
        let mut block = KBox::new([1u8; 40], GFP_KERNEL).unwrap();
        let stale = block.as_mut_ptr();
        drop(block);
        // SAFETY: None: it is freed, which is the bug. The machine keeps the memory until the life has ended.
        unsafe { stale.add(3).write(7) };
    });
    assert_eq!(report.rules(), ["use-after-free"]);
    assert!(report.findings[0].what.starts_with("byte 3 of a block of 40 bytes"));
    assert!(report.findings[0].place.unwrap().file().ends_with("heap.rs"));
}

#[test]
fn a_write_to_freed_memory_is_found_when_the_memory_is_used_again() {
    let report = process(|| {
        let mut block = KBox::new([1u8; 40], GFP_KERNEL).unwrap();
        let stale = block.as_mut_ptr();
        drop(block);
        // SAFETY: None: it is freed, which is the bug. The machine keeps the memory for some more blocks.
        unsafe { stale.write(7) };
        for _ in 0..1000 {
            drop(KBox::new([2u8; 40], GFP_KERNEL).unwrap());
        }
    });
    assert_eq!(report.rules(), ["use-after-free"]);
}

#[test]
fn a_write_behind_a_block_is_found() {
    let report = process(|| {
        let mut bytes = KVec::<u8>::with_capacity(24, GFP_KERNEL).unwrap();
        let end = bytes.capacity();
        // SAFETY: None: the byte is not of the block, which is the bug. It is of the red zone.
        unsafe { bytes.as_mut_ptr().add(end).write(7) };
    });
    assert_eq!(report.rules(), ["heap-overrun"]);
}

#[test]
fn a_write_before_a_block_of_pages_is_found() {
    let report = process(|| {
        let mut bytes = VVec::<u8>::with_capacity(4096, GFP_KERNEL).unwrap();
        // SAFETY: None: the byte is not of the block, which is the bug. It is of the red zone.
        unsafe { bytes.as_mut_ptr().sub(1).write(7) };
    });
    assert_eq!(report.rules(), ["heap-overrun"]);
    assert!(report.findings[0].what.starts_with("1 bytes before"));
}

#[test]
fn blocks_that_are_filled_to_the_end_and_grow_are_silent() {
    let report = process(|| {
        let mut bytes = KVec::<u8>::new();
        for byte in 0..5000u32 {
            bytes.push(byte as u8, GFP_KERNEL).unwrap();
        }
        drop(VVec::<u64>::from_elem(u64::MAX, 1000, GFP_KERNEL).unwrap());
    });
    assert!(report.is_clean());
}
