//! Registrations: handlers run between setting up and dropping their data, and in the context they should.

use super::{
    Flags, Handler, IrqRequest, IrqReturn, Registration, ThreadedHandler, ThreadedIrqReturn, ThreadedRegistration,
};
use crate::machine::{self, irq::IrqKinds};
use crate::prelude::*;
use crate::sync::atomic::{Atomic, Relaxed};
use crate::sync::{new_mutex, new_spinlock, new_spinlock_irq, Arc, Completion, Mutex, SpinLock, SpinLockIrq};
use crate::time::{delay::fsleep, Delta};
use bringup_bench::Bench;
use bringup_core::choice::Seeded;
use bringup_core::{Access, Bar, Cx, Device, DeviceId, Function, Register, Reply, Reset, Rights};

static REGISTERS: [Register; 2] =
    [Register::new32("RING", 0x0, Rights::ReadWrite), Register::new32("PENDING", 0x4, Rights::ReadWrite)];

/// Interrupts so many nanoseconds after they were written to `RING`, until `PENDING` is written to.
struct Bell {
    pending: u32,
    pin: bool,
}

impl Device for Bell {
    fn function(&self) -> Function {
        let bell = Function::new(0x1234, 0x0001).bar(Bar::memory32(0, 4096).registers(&REGISTERS));
        if self.pin {
            bell.intx()
        } else {
            bell.msi(1)
        }
    }

    fn read(&mut self, _cx: &mut Cx<'_>, at: Access) -> Reply<u64> {
        Ok(if at.offset == 4 { self.pending.into() } else { 0 })
    }

    fn write(&mut self, cx: &mut Cx<'_>, at: Access, value: u64) -> Reply<()> {
        if at.offset == 0 {
            cx.wake_in(value);
        } else {
            self.pending = 0;
            cx.set_intx(false);
        }
        Ok(())
    }

    fn work(&mut self, cx: &mut Cx<'_>) {
        self.pending = 1;
        if self.pin {
            cx.set_intx(true);
        } else {
            cx.interrupt();
        }
    }

    fn reset(&mut self, _cx: &mut Cx<'_>, _kind: Reset) {
        self.pending = 0;
    }
}

const DEVICE: DeviceId = DeviceId(0);

/// The driver's side of a [`Bell`].
#[derive(Clone, Copy)]
struct Port {
    irq: u32,
    bar: usize,
}

impl Port {
    fn open() -> Self {
        Self::try_open().unwrap()
    }

    /// Fails where the machine decides that.
    fn try_open() -> Result<Self, i32> {
        machine::pci::enable_device_mem(DEVICE);
        machine::pci::set_master(DEVICE);
        let kinds = IrqKinds { intx: true, msi: true, msix: true };
        let vectors = machine::irq::alloc_vectors(DEVICE, 1, 1, kinds)?;
        let bar = machine::pci::iomap(DEVICE, 0).inspect_err(|_| machine::irq::free_vectors(DEVICE))?;
        Ok(Self { irq: vectors.first, bar: bar.0 })
    }

    fn close(self) {
        machine::pci::iounmap(self.bar);
        machine::irq::free_vectors(DEVICE);
    }

    fn request<'a>(self) -> IrqRequest<'a> {
        // SAFETY: the machine frees handlers before vectors in all of these tests.
        unsafe { IrqRequest::new(self.irq) }
    }

    fn ring(self, nanos: u64) {
        machine::mmio_write(self.bar, 4, nanos, false);
    }

    fn acknowledge(self) -> bool {
        let pending = machine::mmio_read(self.bar + 4, 4, false) != 0;
        if pending {
            machine::mmio_write(self.bar + 4, 4, 0, false);
        }
        pending
    }
}

fn bench(pin: bool) -> Bench {
    Bench::builder().device("bell", Bell { pending: 0, pin }).build().unwrap()
}

/// Counts interrupts; its drop is noted.
#[pin_data(PinnedDrop)]
struct Count {
    port: Port,
    #[pin]
    events: SpinLockIrq<u32>,
    #[pin]
    done: Completion,
    dropped: Arc<Atomic<u32>>,
}

impl Count {
    fn new(port: Port, dropped: &Arc<Atomic<u32>>) -> impl PinInit<Self, Error> {
        let dropped = dropped.clone();
        try_pin_init!(Self { port, events <- new_spinlock_irq!(0), done <- Completion::new(), dropped })
    }
}

#[pinned_drop]
impl PinnedDrop for Count {
    fn drop(self: Pin<&mut Self>) {
        self.dropped.add(1u32, Relaxed);
    }
}

impl Handler for Count {
    fn handle(&self) -> IrqReturn {
        if !self.port.acknowledge() {
            return IrqReturn::None;
        }
        assert_eq!(machine::context(), machine::Context::HardIrq);
        *self.events.lock() += 1;
        self.done.complete_all();
        IrqReturn::Handled
    }
}

fn flag() -> Arc<Atomic<u32>> {
    Arc::new(Atomic::new(0), GFP_KERNEL).unwrap()
}

fn register<'a, T: Handler + 'a>(
    port: Port,
    flags: Flags,
    handler: impl PinInit<T, Error> + 'a,
) -> Result<Pin<KBox<Registration<'a, T>>>> {
    // SAFETY: the tests drop what they register.
    KBox::pin_init(unsafe { Registration::new(port.request(), flags, c"bell", handler) }, GFP_KERNEL)
}

fn register_threaded<'a, T: ThreadedHandler + 'a>(
    port: Port,
    flags: Flags,
    handler: impl PinInit<T, Error> + 'a,
) -> Result<Pin<KBox<ThreadedRegistration<'a, T>>>> {
    // SAFETY: the tests drop what they register.
    KBox::pin_init(unsafe { ThreadedRegistration::new(port.request(), flags, c"bell", handler) }, GFP_KERNEL)
}

#[test]
fn a_handler_runs_until_it_is_dropped() {
    let bench = bench(false);
    bench
        .run("driver", || {
            let port = Port::open();
            let dropped = flag();
            let registration = register(port, Flags::TRIGGER_NONE, Count::new(port, &dropped)).unwrap();
            port.ring(500);
            registration.handler().done.wait_for_completion();
            assert_eq!(*registration.handler().events.lock(), 1);
            registration.synchronize();
            assert_eq!(dropped.load(Relaxed), 0);
            drop(registration);
            assert_eq!(dropped.load(Relaxed), 1);
            port.close();
        })
        .unwrap();
    assert!(bench.finish().is_clean());
}

#[test]
fn a_forgotten_handler_is_found_at_the_line_that_registered_it() {
    let bench = bench(false);
    let line = bench
        .run("driver", || {
            let port = Port::open();
            let count = Count::new(port, &flag());
            // SAFETY: it is leaked, on purpose, but its box stays: whatever calls the handler finds it.
            let (new, line) = (unsafe { Registration::new(port.request(), Flags::SHARED, c"bell", count) }, line!());
            core::mem::forget(KBox::pin_init(new, GFP_KERNEL).unwrap());
            port.close();
            line
        })
        .unwrap();
    let report = bench.finish();
    let finding = report.findings.iter().find(|finding| finding.rule.id == "leak-handler").unwrap();
    let place = finding.place.unwrap();
    assert!(place.file().ends_with("irq/tests.rs"), "{place}");
    assert_eq!(place.line(), line);
}

#[test]
fn a_taken_interrupt_is_refused_and_the_handlers_data_is_dropped() {
    let bench = bench(false);
    bench
        .run("driver", || {
            let port = Port::open();
            let (first, second) = (flag(), flag());
            let registration = register(port, Flags::TRIGGER_NONE, Count::new(port, &first)).unwrap();
            let refused = register(port, Flags::SHARED, Count::new(port, &second));
            assert_eq!(refused.err(), Some(EBUSY));
            assert_eq!((first.load(Relaxed), second.load(Relaxed)), (0, 1));
            let nothing = Port { irq: 999, ..port };
            assert_eq!(register(nothing, Flags::SHARED, Count::new(port, &second)).err(), Some(EINVAL));
            drop(registration);
            port.close();
        })
        .unwrap();
    assert!(bench.finish().is_clean());
}

#[test]
fn handlers_whose_data_cannot_be_set_up_are_not_registered() {
    let bench = bench(false);
    bench
        .run("driver", || {
            let port = Port::open();
            // SAFETY: it fails, and writes nothing.
            let fails = unsafe { pin_init::pin_init_from_closure(|_: *mut Count| Err(ENODEV)) };
            assert_eq!(register(port, Flags::TRIGGER_NONE, fails).err(), Some(ENODEV));
            drop(register(port, Flags::TRIGGER_NONE, Count::new(port, &flag())).unwrap());
            port.close();
        })
        .unwrap();
    assert!(bench.finish().is_clean());
}

#[test]
fn handlers_that_share_a_line_are_all_asked() {
    let bench = bench(true);
    bench
        .run("driver", || {
            let port = Port::open();
            let dropped = flag();
            let first = register(port, Flags::SHARED, Count::new(port, &dropped)).unwrap();
            let second = register(port, Flags::SHARED, Count::new(port, &dropped)).unwrap();
            port.ring(500);
            first.handler().done.wait_for_completion();
            assert_eq!(*second.handler().events.lock(), 0);
            drop(first);
            port.ring(500);
            second.handler().done.wait_for_completion();
            drop(second);
            port.close();
        })
        .unwrap();
    assert!(bench.finish().is_clean());
}

/// Handles in two parts; the second one sleeps.
#[pin_data]
struct Slow {
    port: Port,
    #[pin]
    handled: Mutex<u32>,
    #[pin]
    done: Completion,
}

impl Slow {
    fn new(port: Port) -> impl PinInit<Self, Error> {
        try_pin_init!(Self { port, handled <- new_mutex!(0), done <- Completion::new() })
    }
}

impl ThreadedHandler for Slow {
    fn handle_threaded(&self) -> IrqReturn {
        let mut handled = self.handled.lock();
        fsleep(Delta::from_millis(1));
        *handled += 1;
        self.port.acknowledge();
        self.done.complete_all();
        IrqReturn::Handled
    }
}

#[test]
fn the_second_part_may_sleep_and_keeps_a_oneshot_line_off() {
    let bench = bench(true);
    bench
        .run("driver", || {
            let port = Port::open();
            let registration = register_threaded(port, Flags::ONESHOT, Slow::new(port)).unwrap();
            port.ring(500);
            registration.handler().done.wait_for_completion();
            registration.synchronize();
            assert_eq!(*registration.handler().handled.lock(), 1);
            drop(registration);
            port.close();
        })
        .unwrap();
    let report = bench.finish();
    assert!(report.is_clean());
    assert_eq!(report.stats.interrupts, 1);
}

/// Decides in the first part.
struct Chooses(Port, Arc<Atomic<u32>>);

impl ThreadedHandler for Chooses {
    fn handle(&self) -> ThreadedIrqReturn {
        if !self.0.acknowledge() {
            return ThreadedIrqReturn::None;
        }
        match self.1.fetch_add(1u32, Relaxed) {
            0 => ThreadedIrqReturn::Handled,
            _ => ThreadedIrqReturn::WakeThread,
        }
    }

    fn handle_threaded(&self) -> IrqReturn {
        self.1.add(10u32, Relaxed);
        IrqReturn::Handled
    }
}

#[test]
fn the_second_part_runs_only_when_the_first_one_says_so() {
    let bench = bench(false);
    bench
        .run("driver", || {
            let port = Port::open();
            let calls = flag();
            let registration = register_threaded(port, Flags::TRIGGER_NONE, Ok(Chooses(port, calls.clone()))).unwrap();
            port.ring(500);
            fsleep(Delta::from_millis(1));
            assert_eq!(calls.load(Relaxed), 1);
            port.ring(500);
            fsleep(Delta::from_millis(1));
            assert_eq!(calls.load(Relaxed), 12);
            drop(registration);
            port.close();
        })
        .unwrap();
    assert!(bench.finish().is_clean());
}

/// Takes, in a handler, a lock that process context holds with interrupts on.
#[pin_data]
struct Careless {
    port: Port,
    #[pin]
    events: SpinLock<u32>,
}

impl Handler for Careless {
    fn handle(&self) -> IrqReturn {
        if !self.port.acknowledge() {
            return IrqReturn::None;
        }
        *self.events.lock() += 1;
        IrqReturn::Handled
    }
}

#[test]
fn a_handler_that_takes_what_it_interrupted_is_found() {
    let bench = bench(false);
    let result = bench.run("driver", || {
        let port = Port::open();
        let new = try_pin_init!(Careless { port, events <- new_spinlock!(0, "careless") });
        let registration = register::<Careless>(port, Flags::TRIGGER_NONE, new).unwrap();
        let events = registration.handler().events.lock();
        port.ring(0);
        port.acknowledge();
        drop(events);
    });
    assert!(result.is_err());
    let report = bench.finish();
    assert_eq!(report.rules(), ["lock-irq-unsafe", "lock-recursion"]);
    assert!(report.findings[1].what.contains("irq 24"));
}

#[test]
fn a_lock_that_keeps_interrupts_off_is_safe_under_all_schedules() {
    for seed in 0..300 {
        let bench = Bench::builder()
            .device("bell", Bell { pending: 0, pin: seed % 2 == 0 })
            .chooser(Seeded::new(seed))
            .build()
            .unwrap();
        bench
            .run("driver", || {
                let Ok(dropped) = Arc::new(Atomic::new(0), GFP_KERNEL) else { return };
                let Ok(port) = Port::try_open() else { return };
                if let Ok(registration) = register(port, Flags::SHARED, Count::new(port, &dropped)) {
                    for round in 1..=3 {
                        let events = registration.handler().events.lock();
                        port.ring(0);
                        assert_eq!(*events + 1, round);
                        drop(events);
                        while *registration.handler().events.lock() != round {
                            fsleep(Delta::from_micros(20));
                        }
                    }
                }
                port.close();
            })
            .unwrap();
        let report = bench.finish();
        assert!(report.is_clean(), "seed {seed}: {:?}", report.findings);
    }
}
