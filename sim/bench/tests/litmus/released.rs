//! Memory that is freed, lent, or lost from sight: what the rules about it say, and when they are silent.

use bringup_bench::rt::{self, dma};
use bringup_bench::{Bench, Report};
use bringup_core::choice::Seeded;
use bringup_core::{Access, Bar, Cx, Device, DeviceId, Function, Reply, Reset, Severity};

/// Stores to the address that it was written, again and again, until it is written 0.
#[derive(Default)]
struct Streamer {
    target: u64,
}

impl Device for Streamer {
    fn function(&self) -> Function {
        Function::new(0x1234, 0x57ea).bar(Bar::memory32(0, 4096))
    }

    fn read(&mut self, _cx: &mut Cx<'_>, _at: Access) -> Reply<u64> {
        Ok(self.target)
    }

    fn write(&mut self, cx: &mut Cx<'_>, _at: Access, value: u64) -> Reply<()> {
        self.target = value;
        cx.wake_in(0);
        Ok(())
    }

    fn work(&mut self, cx: &mut Cx<'_>) {
        if self.target != 0 {
            let _ = cx.dma_write(self.target, &[1; 8]);
            cx.wake_in(10);
        }
    }

    fn reset(&mut self, _cx: &mut Cx<'_>, _kind: Reset) {
        self.target = 0;
    }
}

const DEVICE: DeviceId = DeviceId(0);

fn life(seed: Option<u64>, driver: impl FnOnce(usize)) -> Report {
    let mut builder = Bench::builder().device("streamer", Streamer::default()).memory(1 << 20);
    if let Some(seed) = seed {
        builder = builder.chooser(Seeded::new(seed));
    }
    let bench = builder.build().unwrap();
    let ran = bench.run("driver", || {
        rt::pci::enable_device_mem(DEVICE);
        rt::pci::set_master(DEVICE);
        // Chance may refuse it: then there is nothing to be seen in this life.
        let Ok((registers, _)) = rt::pci::iomap(DEVICE, 0) else { return };
        driver(registers);
        rt::pci::iounmap(registers);
    });
    let report = bench.finish();
    assert!(ran.is_ok(), "{:#?}", report.findings);
    report
}

/// Has the device store to memory, stops it, and frees the memory; `flush` reads a register back before that.
fn stop_and_free(registers: usize, flush: bool) {
    // Chance may refuse memory, too.
    let Ok(memory) = dma::alloc_coherent(DEVICE, 64, true) else { return };
    rt::mmio_write(registers, 8, memory.iova, false);
    rt::udelay(100);
    rt::mmio_write(registers, 8, 0, false);
    if flush {
        rt::mmio_read(registers, 8, false);
    }
    dma::free_coherent(DEVICE, memory.iova);
    rt::udelay(100);
}

#[test]
fn memory_that_is_freed_while_the_stop_is_under_way_is_found_and_names_the_write() {
    let reports: Vec<_> = (0..200).map(|seed| life(Some(seed), |registers| stop_and_free(registers, false))).collect();
    let found: Vec<_> = reports.iter().filter(|report| !report.is_clean()).collect();
    assert!(found.len() > 5, "{} of {}", found.len(), reports.len());
    for report in found {
        assert_eq!(report.rules(), ["posted-write-not-flushed"]);
        assert!(report.findings[0].place.is_some());
    }
}

#[test]
fn memory_that_is_freed_after_a_register_was_read_back_is_fine() {
    for seed in 0..200 {
        assert!(life(Some(seed), |registers| stop_and_free(registers, true)).rules().is_empty());
    }
}

fn lend(direction: dma::Direction, write: bool) -> Report {
    life(None, |_| {
        let mut page = vec![7_u8; 256];
        let pieces = vec![(page.as_mut_ptr(), page.len())];
        // SAFETY: the page outlives the mapping.
        let (id, _) = unsafe { dma::map_streaming(DEVICE, pieces, direction) }.unwrap();
        if write {
            // SAFETY: it is the page's own.
            unsafe { page.as_mut_ptr().add(40).write_volatile(9) };
        }
        // SAFETY: the page is still there.
        unsafe { dma::unmap_streaming(DEVICE, id) };
    })
}

#[test]
fn a_write_to_lent_memory_is_found_whatever_the_direction() {
    for direction in [dma::Direction::ToDevice, dma::Direction::FromDevice, dma::Direction::Bidirectional] {
        let report = lend(direction, true);
        assert_eq!(report.rules(), ["dma-cpu-wrote"]);
        assert!(report.findings[0].what.contains("offset 0x28"), "{}", report.findings[0].what);
        assert!(lend(direction, false).rules().is_empty());
    }
}

#[test]
fn lent_memory_holds_poison_until_it_comes_back() {
    let report = life(None, |_| {
        let mut page = vec![7_u8; 16];
        let pieces = vec![(page.as_mut_ptr(), page.len())];
        // SAFETY: the page outlives the mapping.
        let (id, _) = unsafe { dma::map_streaming(DEVICE, pieces, dma::Direction::Bidirectional) }.unwrap();
        // SAFETY: it is the page's own.
        let during = unsafe { page.as_ptr().read_volatile() };
        // SAFETY: the page is still there.
        unsafe { dma::unmap_streaming(DEVICE, id) };
        assert_ne!(during, 7);
        assert_eq!(page, [7; 16]);
    });
    assert!(report.is_clean());
}

#[test]
fn a_raw_pointer_is_reported_once_and_is_no_bug() {
    let report = life(None, |_| {
        let memory = dma::alloc_coherent(DEVICE, 64, true).unwrap();
        for _ in 0..2 {
            rt::mem_uncovered(memory.cpu.as_ptr(), std::panic::Location::caller());
        }
        dma::free_coherent(DEVICE, memory.iova);
    });
    assert_eq!(report.rules(), ["coverage-lost"]);
    assert_eq!(report.findings[0].rule.severity, Severity::Advice);
    assert!(report.is_clean());
    assert_eq!((report.uncovered.len(), report.uncovered[0].bytes), (1, 64));
}
