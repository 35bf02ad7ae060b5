//! Interrupts around the begin and the end of a driver.

use std::cell::Cell;

use bringup_bench::{rt, Bench, Report};
use bringup_core::choice::{Chooser, Point};
use bringup_devices::Edu;
use rt::irq::{irqflags, irqreturn, IrqKinds};

/// edu's registers: raise, acknowledge, status, factorial.
const RAISE: usize = 0x60;
const ACKNOWLEDGE: usize = 0x64;
const STATUS: usize = 0x24;
const CONTROL: usize = 0x20;
const FACTORIAL: usize = 0x08;

/// What the handler has, and how often it was called.
struct Driver {
    bar: usize,
    ready: Cell<bool>,
    calls: Cell<u32>,
}

impl Driver {
    fn write(&self, offset: usize, value: u32) {
        rt::mmio_write(self.bar + offset, 4, value.into(), false);
    }
}

/// Takes what the device shows, unless it is not ready.
unsafe fn handle(data: *const ()) -> u32 {
    // SAFETY: The callback's data is a `Driver` that outlives the registration.
    let driver = unsafe { &*data.cast::<Driver>() };
    driver.calls.set(driver.calls.get() + 1);
    let status = rt::mmio_read(driver.bar + STATUS, 4, false);
    if !driver.ready.get() || status == 0 {
        return irqreturn::NONE;
    }
    driver.write(ACKNOWLEDGE, status as u32);
    irqreturn::HANDLED
}

const PIN: IrqKinds = IrqKinds { intx: true, msi: false, msix: false };
const MSI: IrqKinds = IrqKinds { intx: false, msi: true, msix: false };

/// Runs `body` as a driver of edu, with its registers and an irq of this kind.
fn driver(bench: &Bench, kinds: IrqKinds, body: impl FnOnce(&Driver, u32, rt::Callback)) {
    let device = bench.with_bus(|bus| bus.find("edu")).unwrap();
    bench
        .run("driver", || {
            rt::pci::enable_device_mem(device);
            rt::pci::set_master(device);
            let (bar, _) = rt::pci::iomap(device, 0).unwrap();
            let driver = Driver { bar, ready: Cell::new(true), calls: Cell::new(0) };
            let irq = rt::irq::alloc_vectors(device, 1, 1, kinds).unwrap().first;
            // SAFETY: The driver outlives the registration, which `body` takes back.
            let callback = unsafe { rt::Callback::new(handle, (&raw const driver).cast()) };
            body(&driver, irq, callback);
            rt::irq::free_vectors(device);
            rt::pci::iounmap(bar);
        })
        .unwrap();
}

fn life(kinds: IrqKinds, body: impl FnOnce(&Driver, u32, rt::Callback)) -> Report {
    let bench = Bench::builder().device("edu", Edu::default()).build().unwrap();
    driver(&bench, kinds, body);
    bench.finish()
}

fn request(irq: u32, callback: rt::Callback) -> u32 {
    rt::irq::request_irq(irq, irqflags::SHARED, "edu", callback, None).unwrap()
}

#[test]
fn a_line_that_was_raised_before_a_handler_that_is_not_ready_is_found() {
    let report = life(PIN, |driver, irq, callback| {
        driver.write(RAISE, 1);
        driver.ready.set(false);
        let id = request(irq, callback);
        driver.ready.set(true);
        rt::udelay(100_000);
        rt::irq::free_irq(irq, id);
        driver.write(ACKNOWLEDGE, 1);
    });
    assert_eq!(report.rules(), ["irq-before-ready"]);
}

#[test]
fn a_message_that_was_sent_before_a_handler_that_is_not_ready_is_found() {
    let report = life(MSI, |driver, irq, callback| {
        driver.write(RAISE, 1);
        driver.ready.set(false);
        let id = request(irq, callback);
        driver.ready.set(true);
        rt::udelay(100_000);
        rt::irq::free_irq(irq, id);
    });
    assert_eq!(report.rules(), ["irq-before-ready"]);
}

#[test]
fn a_line_that_was_raised_before_a_handler_that_is_ready_is_silent() {
    let report = life(PIN, |driver, irq, callback| {
        driver.write(RAISE, 1);
        let id = request(irq, callback);
        assert_eq!(driver.calls.get(), 1);
        rt::irq::free_irq(irq, id);
    });
    assert!(report.is_clean());
}

#[test]
fn a_device_that_is_quieted_before_the_handler_is_registered_is_silent() {
    let report = life(PIN, |driver, irq, callback| {
        driver.write(RAISE, 1);
        driver.write(ACKNOWLEDGE, 1);
        driver.ready.set(false);
        let id = request(irq, callback);
        rt::udelay(100_000);
        driver.ready.set(true);
        rt::irq::free_irq(irq, id);
    });
    assert!(report.is_clean());
}

#[test]
fn a_message_after_the_handler_was_taken_back_is_found() {
    let report = life(MSI, |driver, irq, callback| {
        let id = request(irq, callback);
        rt::irq::free_irq(irq, id);
        driver.write(RAISE, 1);
        rt::udelay(10_000);
    });
    assert_eq!(report.rules(), ["irq-after-free"]);
    assert!(report.findings[0].place.unwrap().file().ends_with("irqs.rs"));
}

#[test]
fn a_message_that_is_handled_before_the_handler_is_taken_back_is_silent() {
    let report = life(MSI, |driver, irq, callback| {
        let id = request(irq, callback);
        driver.write(RAISE, 1);
        rt::udelay(10_000);
        rt::irq::free_irq(irq, id);
    });
    assert!(report.is_clean());
}

#[test]
fn a_message_that_was_seen_to_before_it_arrived_is_silent() {
    let report = life(MSI, |driver, irq, callback| {
        let id = request(irq, callback);
        rt::local_irq_disable();
        driver.write(RAISE, 1);
        rt::udelay(1_000);
        driver.write(ACKNOWLEDGE, 1);
        let _ = rt::mmio_read(driver.bar + STATUS, 4, false);
        rt::local_irq_enable();
        assert_eq!(driver.calls.get(), 1);
        rt::irq::free_irq(irq, id);
    });
    assert!(report.is_clean(), "{:?}", report.findings);
}

/// Puts off real interrupts, and has handlers tested.
struct Testing;

impl Chooser for Testing {
    fn choose(&mut self, point: Point, _options: u32) -> u32 {
        u32::from(point == Point::Interrupt)
    }
}

#[test]
fn a_message_that_was_under_way_when_the_handler_was_taken_back_is_silent() {
    let bench = Bench::builder().device("edu", Edu::default()).chooser(Testing).build().unwrap();
    driver(&bench, MSI, |driver, irq, callback| {
        let id = request(irq, callback);
        driver.write(RAISE, 1);
        rt::irq::free_irq(irq, id);
    });
    assert!(bench.finish().is_clean());
}

#[test]
fn a_shared_handler_is_tested_when_it_is_registered_and_when_it_is_taken_back() {
    let bench = Bench::builder().device("edu", Edu::default()).chooser(Testing).build().unwrap();
    driver(&bench, PIN, |driver, irq, callback| {
        let id = request(irq, callback);
        assert_eq!(driver.calls.get(), 1);
        rt::irq::free_irq(irq, id);
        assert_eq!(driver.calls.get(), 2);
    });
    assert!(bench.finish().is_clean());
}

#[test]
fn a_shared_handler_whose_registers_are_gone_before_it_is_found_by_the_test() {
    let bench = Bench::builder().device("edu", Edu::default()).chooser(Testing).build().unwrap();
    driver(&bench, PIN, |driver, irq, callback| {
        let id = request(irq, callback);
        rt::pci::iounmap(driver.bar);
        rt::irq::free_irq(irq, id);
    });
    let report = bench.finish();
    assert_eq!(report.rules(), ["bar-after-unmap"; 2]);
    assert!(report.findings[0].context.contains("CONFIG_DEBUG_SHIRQ"));
}

#[test]
fn a_handler_that_shares_nothing_is_not_tested() {
    let bench = Bench::builder().device("edu", Edu::default()).chooser(Testing).build().unwrap();
    driver(&bench, PIN, |driver, irq, callback| {
        let id = rt::irq::request_irq(irq, 0, "edu", callback, None).unwrap();
        rt::irq::free_irq(irq, id);
        assert_eq!(driver.calls.get(), 0);
    });
    assert!(bench.finish().is_clean());
}

#[test]
fn vectors_taken_in_atomic_context_are_found() {
    let report = life(PIN, |_, irq, callback| {
        rt::preempt_disable();
        let id = request(irq, callback);
        rt::preempt_enable();
        rt::irq::free_irq(irq, id);
    });
    assert_eq!(report.rules(), ["sleep-in-atomic"]);
}

#[test]
fn a_driver_that_lets_its_device_go_on_is_found_when_the_device_is_done() {
    let report = bound(crate::Bug::LeavesDeviceRunning);
    assert_eq!(report.rules(), ["device-still-running"]);
}

#[test]
fn a_driver_that_waits_for_its_device_is_silent() {
    assert!(bound(crate::Bug::None).is_clean());
}

fn bound(bug: crate::Bug) -> Report {
    crate::live(bug, crate::honest())
}

/// What `LeavesDeviceRunning` does in unbind: a factorial with the interrupt bit, and no waiting.
pub(crate) fn start_and_leave(bar: &kernel::pci::Bar<'_, 0x100>) {
    use kernel::io::Io;
    bar.write32(0x80, CONTROL);
    bar.write32(9, FACTORIAL);
}
