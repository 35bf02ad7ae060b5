//! Systematic failure injection: each call that can fail does, one after the other.

use bringup_bench::{explore::FailNth, rt, Bench, Report};
use bringup_core::trace::Event;
use bringup_devices::Edu;

use crate::{Bug, BRINGUP_MODULE};

/// The life with this bug in which the n-th thing fails.
fn live(bug: Bug, n: u32) -> Report {
    let bench = Bench::builder().device("edu", Edu::default()).chooser(FailNth::new(n)).trace(true).build().unwrap();
    let _ = bench.load_with(&BRINGUP_MODULE, &[("bug", &(bug as u32).to_string())]);
    bench.finish()
}

/// All lives until the first in which nothing failed.
fn lives(bug: Bug) -> impl Iterator<Item = Report> {
    (1..).map(move |n| live(bug, n)).take_while(|report| report.stats.failed_allocations > 0)
}

#[test]
fn a_correct_driver_leaves_nothing_whatever_fails() {
    for (n, report) in lives(Bug::None).enumerate() {
        assert!(report.is_clean(), "failure {n}: {:?}", report.findings);
    }
}

#[test]
fn every_kind_of_call_of_probe_fails_in_some_life() {
    let failed = |report: &Report| {
        report.trace.iter().find_map(|record| match record.event {
            Event::CallFailed { call, .. } => Some(call),
            _ => None,
        })
    };
    let calls: Vec<&str> = lives(Bug::None).filter_map(|report| failed(&report)).collect();
    let all = [
        "pci_enable_device_mem",
        "dma_set_mask",
        "pci_request_region",
        "pci_iomap",
        "alloc_irq_vectors",
        "request_irq",
    ];
    assert_eq!(calls, all);
}

#[test]
fn memory_that_is_lost_when_a_later_call_fails_is_found() {
    assert!(crate::live(Bug::LeaksWhenVectorsFail, crate::honest()).is_clean());
    let leaks = lives(Bug::LeaksWhenVectorsFail).filter(|report| report.rules() == ["leak-memory"]).count();
    assert_eq!(leaks, 1);
}

#[test]
fn a_misc_device_can_be_refused() {
    struct Nothing;
    impl rt::file::CharDevice for Nothing {
        fn open(&self) -> Result<Box<dyn rt::file::OpenFile>, i32> {
            Err(-19)
        }
    }
    let bench = Bench::builder().chooser(FailNth::new(1)).build().unwrap();
    let refused = bench.run("user", || rt::file::misc_register("nothing", std::rc::Rc::new(Nothing)));
    assert_eq!(refused.unwrap(), Err(-12));
    assert!(bench.finish().is_clean());
}

#[test]
fn a_mask_that_is_set_over_mappings_is_found() {
    let bench = Bench::builder().device("edu", Edu::default()).build().unwrap();
    let device = bench.with_bus(|bus| bus.find("edu")).unwrap();
    bench
        .run("user", || {
            rt::dma::set_masks(device, Some(0xfff_ffff), Some(0xfff_ffff)).unwrap();
            let memory = rt::dma::alloc_coherent(device, 16, true).unwrap();
            rt::dma::set_masks(device, Some(0xffff_ffff), None).unwrap();
            rt::dma::free_coherent(device, memory.iova);
        })
        .unwrap();
    let report = bench.finish();
    assert_eq!(report.rules(), ["dma-mask-in-use"]);
    assert_eq!(report.findings[0].times, 1);
}

#[test]
fn coherent_memory_freed_with_interrupts_off_is_found() {
    let bench = Bench::builder().device("edu", Edu::default()).build().unwrap();
    let device = bench.with_bus(|bus| bus.find("edu")).unwrap();
    bench
        .run("user", || {
            let memory = rt::dma::alloc_coherent(device, 16, true).unwrap();
            rt::local_irq_disable();
            rt::dma::free_coherent(device, memory.iova);
            rt::local_irq_enable();
        })
        .unwrap();
    assert_eq!(bench.finish().rules(), ["sleep-in-atomic"]);
}
