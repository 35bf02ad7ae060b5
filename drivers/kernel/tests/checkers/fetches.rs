//! Loads of memory that a device writes: twice where once would do.

use std::boxed::Box;

use bringup_bench::{rt, Bench, Report};
use bringup_core::{Barrier, Reach};
use bringup_devices::Edu;

/// Has edu write 16 bytes of ones to shared memory, and runs `body` on them.
fn life(body: impl FnOnce(*mut u8, usize)) -> Report {
    let bench = Bench::builder().device("edu", Edu::default()).build().unwrap();
    let device = bench.with_bus(|bus| bus.find("edu")).unwrap();
    bench
        .run("driver", || {
            rt::pci::enable_device_mem(device);
            rt::pci::set_master(device);
            rt::dma::set_masks(device, Some(0xfff_ffff), Some(0xfff_ffff)).unwrap();
            let (bar, _) = rt::pci::iomap(device, 0).unwrap();
            let source = rt::dma::alloc_coherent(device, 16, true).unwrap();
            let memory = rt::dma::alloc_coherent(device, 16, true).unwrap();
            for word in 0..4 {
                // SAFETY: The memory has 16 bytes.
                unsafe { rt::mem_write(source.cpu.as_ptr().add(4 * word), 4, 0x0101_0101) };
            }
            rt::barrier(Barrier::Full, Reach::All);
            for (from, to, command) in [(source.iova, 0x40000, 1), (0x40000, memory.iova, 3)] {
                rt::mmio_write(bar + 0x80, 4, from, false);
                rt::mmio_write(bar + 0x88, 4, to, false);
                rt::mmio_write(bar + 0x90, 4, 16, false);
                rt::mmio_write(bar + 0x98, 4, command, false);
                while rt::mmio_read(bar + 0x98, 4, false) & 1 != 0 {
                    rt::sleep(1_000_000);
                }
            }
            body(memory.cpu.as_ptr(), bar);
            rt::dma::free_coherent(device, memory.iova);
            rt::dma::free_coherent(device, source.iova);
            rt::pci::iounmap(bar);
        })
        .unwrap();
    bench.finish()
}

#[test]
fn a_length_that_is_checked_and_loaded_again_is_found() {
    let report = life(|memory, _| {
        // SAFETY: The memory has 16 bytes.
        let checked = unsafe { rt::mem_read(memory, 4) };
        assert_eq!(checked, 0x0101_0101);
        // SAFETY: As above.
        let used = unsafe { rt::mem_read(memory, 4) };
        assert_eq!(used, 0x0101_0101);
    });
    assert_eq!(report.rules(), ["double-fetch"]);
    assert!(report.findings[0].what.contains("fetches.rs"));
}

#[test]
fn a_field_that_is_checked_and_copied_again_with_its_structure_is_found() {
    let report = life(|memory, _| {
        let mut copy = [0u8; 16];
        // SAFETY: Both have 16 bytes.
        unsafe {
            assert_eq!(rt::mem_read(memory.add(2), 2), 0x0101);
            rt::mem_copy_from(memory, copy.as_mut_ptr(), 16);
        }
    });
    assert_eq!(report.rules(), ["double-fetch"]);
}

#[test]
fn one_load_that_is_checked_and_used_is_silent() {
    let report = life(|memory, _| {
        // SAFETY: The memory has 16 bytes.
        let len = unsafe { rt::mem_read(memory, 4) };
        assert_eq!((len, len & 0xff), (0x0101_0101, 1));
    });
    assert!(report.is_clean(), "{:?}", report.findings);
}

#[test]
fn a_loop_over_one_word_is_silent() {
    let report = life(|memory, _| {
        for _ in 0..5 {
            // SAFETY: The memory has 16 bytes.
            assert_eq!(unsafe { rt::mem_read(memory, 4) }, 0x0101_0101);
        }
    });
    assert!(report.is_clean(), "{:?}", report.findings);
}

#[test]
fn loads_with_news_in_between_are_silent() {
    let news: [Box<dyn Fn(usize)>; 3] = [
        Box::new(|_| rt::barrier(Barrier::Read, Reach::Memory)),
        Box::new(|bar| _ = rt::mmio_read(bar, 4, false)),
        Box::new(|_| rt::sleep(1_000)),
    ];
    for news in news {
        let report = life(|memory, bar| {
            // SAFETY: The memory has 16 bytes.
            assert_eq!(unsafe { rt::mem_read(memory, 4) }, 0x0101_0101);
            news(bar);
            // SAFETY: As above.
            assert_eq!(unsafe { rt::mem_read(memory, 4) }, 0x0101_0101);
        });
        assert!(report.is_clean(), "{:?}", report.findings);
    }
}

#[test]
fn what_the_driver_wrote_itself_may_be_loaded_again() {
    let report = life(|memory, _| {
        // SAFETY: The memory has 16 bytes.
        unsafe {
            rt::mem_write(memory, 4, 7);
            assert_eq!(rt::mem_read(memory, 4), 7);
            assert_eq!(rt::mem_read(memory, 4), 7);
        }
    });
    assert!(report.is_clean(), "{:?}", report.findings);
}
