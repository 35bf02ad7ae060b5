//! Every checker is shown its bug, and the correct way to do the same thing, which must be silent. Here: a driver for `edu`
//! that commits the bug its parameter names, and the finding it must lead to.

#![allow(unsafe_code, reason = "drivers call the kernel's unsafe functions; each block says why it may")]

mod failures;
mod fetches;
mod heap;
mod irqs;
mod locks;
mod values;
mod waits;

use bringup_bench::{rt, Bench, Limits, Report};
use bringup_core::fault::{Behaviour, Fault, Verb};
use bringup_core::Plan;
use bringup_devices::Edu;
use kernel::{
    device::{Bound, Core},
    dma::{Coherent, DataDirection, Device as _, DmaMask},
    io::Io,
    irq,
    miscdevice::{MiscDevice, MiscDeviceOptions, MiscDeviceRegistration},
    new_delayed_work, new_mutex, new_spinlock, pci,
    prelude::*,
    scatterlist::SGTable,
    sync::{Arc, Completion, Mutex, SpinLock},
    time::{
        delay::{fsleep, udelay},
        Delta,
    },
    workqueue::{self, impl_has_delayed_work, DelayedWork, WorkItem},
};

kernel::module_pci_driver! {
    type: Planted,
    name: "planted",
    authors: ["The Bringup developers"],
    description: "Commits the bug that its parameter names",
    license: "GPL",
    params: {
        bug: u32 {
            default: 0,
            description: "which bug",
        },
    },
}

/// The bugs; the number is the module's parameter.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(u32)]
enum Bug {
    None,
    DmaUnmapped,
    DmaAfterUnmap,
    DmaOverrun,
    DmaDirection,
    DmaNoBusMaster,
    MsiNoBusMaster,
    BarWidth,
    BarNoRegister,
    BarReadOnly,
    BarWriteOnly,
    BarDisabled,
    SecondTransfer,
    LeakMapping,
    LeakStreaming,
    LeakRegion,
    LeakVectors,
    LeakHandler,
    LeakWork,
    LeakRegistration,
    LeakMemory,
    LeakInFailedProbe,
    IrqNotMine,
    IrqLineNotMine,
    TrustsStatus,
    SleepInHandler,
    SleepUnderSpinlock,
    MutexInHandler,
    SpinlockTwice,
    MutexTwice,
    HandlerTakesHeldSpinlock,
    PanicInProbe,
    PanicInHandler,
    PanicInUnbind,
    Overflow,
    Warning,
    SpinForEver,
    LeavesDeviceRunning,
    LeaksWhenVectorsFail,
    WaitForEver,
}

fn bug() -> Bug {
    // SAFETY: The test sets the parameter from a `Bug`, and the default is one.
    unsafe { core::mem::transmute(*module_parameters::bug.value_ref()) }
}

struct Planted;

kernel::pci_device_table!(
    TABLE,
    <Planted as pci::Driver>::IdInfo,
    [(pci::DeviceId::from_class(0x00ff00, 0xffffff), ())]
);

type Bar0<'a> = pci::Bar<'a, 0x100>;

struct Handler {
    bar: pci::DevresBar<0x100>,
    lock: Arc<Shared>,
    bug: Bug,
}

#[pin_data]
struct Shared {
    #[pin]
    spin: SpinLock<u32>,
    #[pin]
    mutex: Mutex<u32>,
}

impl irq::Handler for Handler {
    fn handle(&self) -> irq::IrqReturn {
        let Some(bar) = self.bar.try_access() else {
            return irq::IrqReturn::None;
        };
        match self.bug {
            Bug::SleepInHandler => drop(KBox::new(1u32, GFP_KERNEL)),
            Bug::MutexInHandler => *self.lock.mutex.lock() += 1,
            Bug::HandlerTakesHeldSpinlock => *self.lock.spin.lock() += 1,
            Bug::PanicInHandler => {
                let status = bar.read32(0x24) as usize;
                assert!(status < 1, "unexpected status");
            }
            _ => {}
        }
        if matches!(self.bug, Bug::IrqNotMine) {
            bar.write32(u32::MAX, 0x64);
            return irq::IrqReturn::None;
        }
        if matches!(self.bug, Bug::IrqLineNotMine) {
            return irq::IrqReturn::None;
        }
        let status = bar.read32(0x24);
        if self.bug == Bug::TrustsStatus && status == u32::MAX {
            return irq::IrqReturn::None;
        }
        bar.write32(status, 0x64);
        irq::IrqReturn::Handled
    }
}

#[pin_data]
struct Later {
    #[pin]
    work: DelayedWork<Later>,
}

impl_has_delayed_work! {
    impl HasDelayedWork<Self> for Later { self.work }
}

impl WorkItem for Later {
    type Pointer = Arc<Self>;

    fn run(_this: Arc<Self>) {}
}

struct Node;

#[vtable]
impl MiscDevice for Node {
    type Ptr = KBox<Self>;

    fn open(_file: &kernel::fs::File, _misc: &MiscDeviceRegistration<Self>) -> Result<KBox<Self>> {
        Ok(KBox::new(Node, GFP_KERNEL)?)
    }
}

#[pin_data]
struct PlantedData<'bound> {
    #[pin]
    irq: irq::Registration<'bound, Handler>,
    vectors: pci::IrqVectorRegistration<'bound>,
    memory: Option<Coherent<[u8]>>,
    bug: Bug,
}

/// Starts a transfer from the device's buffer to memory.
fn transfer(bar: &Bar0<'_>, address: u64, len: u32) {
    bar.write32(0x40000, 0x80);
    bar.write32(address as u32, 0x88);
    bar.write32(len, 0x90);
    bar.write32(3, 0x98);
}

fn misuse_dma(dev: &pci::Device<Bound>, bar: &Bar0<'_>, bug: Bug) -> Result {
    let dev: &kernel::device::Device<Bound> = dev.as_ref();
    match bug {
        Bug::DmaUnmapped => transfer(bar, 0x10_0000, 64),
        Bug::DmaAfterUnmap => {
            let memory = Coherent::<u8>::zeroed_slice(dev, 64, GFP_KERNEL)?;
            transfer(bar, memory.dma_address(), 64);
        }
        Bug::DmaOverrun => {
            let memory = Coherent::<u8>::zeroed_slice(dev, 64, GFP_KERNEL)?;
            transfer(bar, memory.dma_address(), 65);
            fsleep(Delta::from_millis(200));
        }
        Bug::DmaDirection => {
            let pages = VVec::<u8>::zeroed(4096, GFP_KERNEL)?;
            let table = KBox::pin_init(SGTable::new(dev, pages, DataDirection::ToDevice, GFP_KERNEL), GFP_KERNEL)?;
            let address = table.iter().next().ok_or(EINVAL)?.dma_address();
            transfer(bar, address, 64);
            fsleep(Delta::from_millis(200));
        }
        Bug::DmaNoBusMaster | Bug::SecondTransfer => {
            let memory = Coherent::<u8>::zeroed_slice(dev, 64, GFP_KERNEL)?;
            transfer(bar, memory.dma_address(), 64);
            if bug == Bug::SecondTransfer {
                transfer(bar, memory.dma_address(), 64);
            }
            fsleep(Delta::from_millis(400));
        }
        Bug::LeakMapping => core::mem::forget(Coherent::<u8>::zeroed_slice(dev, 64, GFP_KERNEL)?),
        Bug::LeakStreaming => {
            let pages = VVec::<u8>::zeroed(4096, GFP_KERNEL)?;
            let table = KBox::pin_init(SGTable::new(dev, pages, DataDirection::ToDevice, GFP_KERNEL), GFP_KERNEL)?;
            core::mem::forget(table);
        }
        _ => {}
    }
    Ok(())
}

fn misuse_registers(bar: &Bar0<'_>, bug: Bug) {
    match bug {
        Bug::BarWidth => _ = bar.read8(0x00),
        Bug::BarNoRegister => _ = bar.read32(0x0c),
        Bug::BarReadOnly => bar.write32(1, 0x24),
        Bug::BarWriteOnly => _ = bar.read32(0x60),
        _ => {}
    }
}

fn misuse_kernel(shared: &Arc<Shared>, bar: &Bar0<'_>, bug: Bug) -> Result {
    match bug {
        Bug::LeakWork => {
            let later = Arc::pin_init(pin_init!(Later { work <- new_delayed_work!("Later::work") }), GFP_KERNEL)?;
            drop(workqueue::system().enqueue_delayed(later, 1_000_000));
        }
        Bug::LeakRegistration => {
            let options = MiscDeviceOptions { name: c"planted" };
            let node = KBox::pin_init(MiscDeviceRegistration::<Node>::register(options), GFP_KERNEL)?;
            core::mem::forget(node);
        }
        Bug::LeakMemory => drop(KBox::into_raw(KBox::new([0u8; 100], GFP_KERNEL)?)),
        Bug::LeakInFailedProbe => {
            core::mem::forget(KBox::new([0u8; 100], GFP_KERNEL)?);
            return Err(EIO);
        }
        Bug::SleepUnderSpinlock => {
            let _held = shared.spin.lock();
            let _memory = KBox::new(1u32, GFP_KERNEL)?;
        }
        Bug::SpinlockTwice => {
            let _held = shared.spin.lock();
            let _again = shared.spin.lock();
        }
        Bug::MutexTwice => {
            let _held = shared.mutex.lock();
            let _again = shared.mutex.lock();
        }
        Bug::HandlerTakesHeldSpinlock => {
            let _held = shared.spin.lock();
            bar.write32(1, 0x60);
            udelay(Delta::from_micros(10));
        }
        Bug::PanicInProbe => {
            let id = bar.read32(0x00) as usize;
            let table = [0u8; 4];
            if table[id] == 0 {
                return Err(EIO);
            }
        }
        Bug::Overflow => {
            let id = bar.read32(0x00);
            assert!(id - 0x7000_0000 < 5);
        }
        Bug::Warning => _ = kernel::warn_on!(shared.spin.try_lock().is_some()),
        Bug::SpinForEver => while bar.read32(0x20) & 1 == 0 {},
        Bug::WaitForEver => {
            let done = KBox::pin_init(Completion::new(), GFP_KERNEL)?;
            done.wait_for_completion();
        }
        _ => {}
    }
    Ok(())
}

impl pci::Driver for Planted {
    type IdInfo = ();
    type Data<'bound> = PlantedData<'bound>;

    const ID_TABLE: pci::IdTable<Self::IdInfo> = &TABLE;

    fn probe<'bound>(
        pdev: &'bound pci::Device<Core<'_>>,
        _info: Option<&'bound Self::IdInfo>,
    ) -> impl PinInit<Self::Data<'bound>, Error> + 'bound {
        pin_init::pin_init_scope(move || {
            let planted = bug();
            let bug = planted;
            if bug != Bug::BarDisabled {
                pdev.enable_device_mem()?;
            }
            if !matches!(bug, Bug::DmaNoBusMaster | Bug::MsiNoBusMaster) {
                pdev.set_master();
            }
            // SAFETY: Nothing is allocated or mapped for the device yet.
            unsafe { pdev.dma_set_mask_and_coherent(DmaMask::new::<28>())? };
            let bar = pdev.iomap_region_sized::<0x100>(0, c"planted")?;
            let _ = bar.read32(0x00);
            misuse_registers(&bar, bug);
            misuse_dma(pdev, &bar, bug)?;
            let shared =
                Arc::pin_init(pin_init!(Shared { spin <- new_spinlock!(0), mutex <- new_mutex!(0) }), GFP_KERNEL)?;
            if bug == Bug::LeakRegion {
                core::mem::forget(bar);
                return Err(EIO);
            }
            if bug == Bug::LeakVectors {
                core::mem::forget(pdev.alloc_irq_vectors(1, 1, pci::IrqTypes::all())?);
                return Err(EIO);
            }
            if bug == Bug::LeakHandler {
                let vectors = pdev.alloc_irq_vectors(1, 1, pci::IrqTypes::all())?;
                let handler = Ok(Handler { bar: bar.into_devres()?, lock: shared, bug });
                let request = vectors.index(0)?.into();
                // SAFETY: None: it is leaked, which is the bug.
                let handler = unsafe { irq::Registration::new(request, irq::Flags::SHARED, c"leaked", handler) };
                core::mem::forget(KBox::pin_init(handler, GFP_KERNEL)?);
                return Err(EIO);
            }
            let early = match bug {
                Bug::LeaksWhenVectorsFail => KBox::into_raw(KBox::new(1u32, GFP_KERNEL)?),
                _ => core::ptr::null_mut(),
            };
            let kind = if bug == Bug::IrqLineNotMine { pci::IrqType::Intx } else { pci::IrqType::Msi };
            let vectors = pdev.alloc_irq_vectors(1, 1, pci::IrqTypes::default().with(kind))?;
            if !early.is_null() {
                // SAFETY: It was made above. Where the vectors fail it is lost, which is the bug.
                drop(unsafe { KBox::from_raw(early) });
            }
            let memory = Coherent::<u8>::zeroed_slice(pdev.as_ref(), 64, GFP_KERNEL)?;
            let (lock, regs) = (shared.clone(), bar.into_devres()?);
            Ok(try_pin_init!(PlantedData {
                bug: planted,
                memory: Some(memory),
                vectors,
                irq <- {
                    // SAFETY: `vectors` lies in the same pinned structure and is dropped after `irq`.
                    let vectors = unsafe { &*core::ptr::from_ref::<pci::IrqVectorRegistration<'bound>>(vectors) };
                    let request = vectors.index(0)?.into();
                    let handler = Ok(Handler { bar: regs, lock, bug: planted });
                    // SAFETY: The driver core drops the data.
                    unsafe { irq::Registration::new(request, irq::Flags::SHARED, c"planted", handler) }
                },
                _: {
                    let bar = irq.handler().bar.access(pdev.as_ref())?;
                    misuse_kernel(&shared, bar, planted)?;
                    let raises = [
                        Bug::IrqNotMine, Bug::IrqLineNotMine, Bug::TrustsStatus, Bug::SleepInHandler, Bug::MutexInHandler,
                        Bug::PanicInHandler, Bug::MsiNoBusMaster,
                    ];
                    if raises.contains(&planted) {
                        bar.write32(1, 0x60);
                        udelay(Delta::from_micros(10));
                    }
                },
            }))
        })
    }

    fn unbind<'bound>(pdev: &'bound pci::Device<Core<'_>>, this: Pin<&Self::Data<'bound>>) {
        if this.bug == Bug::LeavesDeviceRunning {
            if let Ok(bar) = this.irq.handler().bar.access(pdev.as_ref()) {
                irqs::start_and_leave(bar);
            }
        }
        assert!(this.bug != Bug::PanicInUnbind, "unbind fails");
        assert!(this.memory.as_ref().is_some_and(|memory| memory.size() == 64));
    }
}

fn live(bug: Bug, plan: Plan) -> Report {
    let limits = Limits { busy_operations: 20_000, ..Limits::default() };
    let bench = Bench::builder().device("edu", Edu::default()).limits(limits).plan(plan).build().unwrap();
    let number = (bug as u32).to_string();
    // A bug in probe makes the load fail; the report says how.
    let _ = bench.load_with(&BRINGUP_MODULE, &[("bug", &number)]);
    bench.finish()
}

/// No faults.
fn honest() -> Plan {
    Plan::new(std::vec::Vec::new())
}

/// The rules that a life with this bug violates.
fn rules(bug: Bug) -> std::vec::Vec<&'static str> {
    live(bug, honest()).rules()
}

macro_rules! planted {
    ($($test:ident: $bug:ident => [$($rule:literal),*];)*) => {$(
        #[test]
        fn $test() {
            assert_eq!(rules(Bug::$bug), [$($rule),*] as [&str; <[&str]>::len(&[$($rule),*])]);
        }
    )*};
}

planted! {
    the_driver_without_a_bug_is_silent: None => [];
    dma_to_what_was_never_mapped_is_found: DmaUnmapped => ["dma-unmapped"];
    dma_after_unmap_is_found: DmaAfterUnmap => ["dma-after-unmap"];
    dma_over_the_end_by_one_byte_is_found: DmaOverrun => ["dma-overrun"];
    dma_against_the_direction_is_found: DmaDirection => ["dma-direction"];
    dma_without_bus_mastering_is_found: DmaNoBusMaster => ["dma-no-bus-master"];
    msi_without_bus_mastering_is_found: MsiNoBusMaster => ["msi-no-bus-master"];
    a_width_that_a_register_does_not_have_is_found: BarWidth => ["bar-width"];
    an_offset_without_a_register_is_found: BarNoRegister => ["bar-no-register"];
    a_write_to_a_read_only_register_is_found: BarReadOnly => ["bar-read-only"];
    a_read_of_a_write_only_register_is_found: BarWriteOnly => ["bar-write-only"];
    coherent_memory_left_at_unbind_is_found: LeakMapping => ["leak-mapping"];
    a_handler_that_handles_nothing_is_found: IrqNotMine => ["irq-unhandled"];
    a_line_that_nobody_cares_for_is_found: IrqLineNotMine => ["irq-unhandled"];
    an_allocation_that_sleeps_in_a_handler_is_found: SleepInHandler => ["sleep-in-atomic"];
    an_allocation_that_sleeps_under_a_spinlock_is_found: SleepUnderSpinlock => ["sleep-in-atomic"];
    a_mutex_in_a_handler_is_found: MutexInHandler => ["sleep-in-atomic"];
    a_spinlock_taken_twice_is_found: SpinlockTwice => ["lock-recursion"];
    a_mutex_taken_twice_is_found: MutexTwice => ["lock-recursion"];
    a_handler_that_takes_a_held_spinlock_is_found: HandlerTakesHeldSpinlock => ["lock-irq-unsafe", "lock-recursion"];
    an_index_from_the_device_is_found: PanicInProbe => ["unchecked-device-value"];
    a_panic_in_a_handler_is_found: PanicInHandler => ["driver-panic"];
    a_panic_in_unbind_is_found: PanicInUnbind => ["driver-panic"];
    an_overflow_is_found: Overflow => ["driver-panic"];
    a_kernel_warning_is_found: Warning => ["kernel-warning"];
    a_loop_over_a_register_without_end_is_found: SpinForEver => ["spin-without-bound"];
    a_wait_without_end_is_found: WaitForEver => ["watchdog-hung"];
    a_registration_left_at_unload_is_found: LeakRegistration => ["leak-registration", "leak-memory"];
    memory_left_at_unload_is_found: LeakMemory => ["leak-memory"];
    memory_left_after_a_failed_probe_is_found: LeakInFailedProbe => ["leak-memory"];
}

#[test]
fn a_device_used_against_its_documentation_is_found_at_each_line() {
    assert_eq!(rules(Bug::SecondTransfer), ["device-misuse"; 4]);
}

#[test]
fn accesses_while_decoding_is_off_are_found() {
    assert!(rules(Bug::BarDisabled).contains(&"bar-disabled"));
}

#[test]
fn a_forgotten_scatter_list_loses_its_pages_but_not_its_mapping() {
    // As in Linux, the mapping is the device's to undo; what is left is memory.
    assert!(rules(Bug::LeakStreaming).iter().all(|rule| *rule == "leak-memory"));
    assert!(!rules(Bug::LeakStreaming).is_empty());
}

#[test]
fn a_bar_left_after_a_failed_probe_is_found() {
    let report = live(Bug::LeakRegion, honest());
    assert_eq!((report.rules(), report.findings[0].times), (std::vec!["leak-region"], 2));
}

#[test]
fn vectors_left_after_a_failed_probe_are_found() {
    assert_eq!(rules(Bug::LeakVectors), ["leak-vectors"]);
}

#[test]
fn a_handler_left_after_its_vectors_is_found() {
    assert!(rules(Bug::LeakHandler).contains(&"leak-handler"));
}

#[test]
fn work_that_is_queued_at_unload_is_found() {
    assert!(rules(Bug::LeakWork).contains(&"leak-work"));
}

#[test]
fn findings_name_the_line_of_the_driver() {
    let report = live(Bug::BarReadOnly, honest());
    let place = report.findings[0].place.unwrap();
    assert!(place.file().ends_with("main.rs"));
    let line = include_str!("main.rs").lines().nth(place.line() as usize - 1).unwrap();
    assert!(line.contains("BarReadOnly"), "{line}");
}

#[test]
fn a_panic_is_reported_with_its_line_and_text() {
    let report = live(Bug::PanicInProbe, honest());
    assert!(report.findings[0].what.contains("index out of bounds"));
    assert!(report.findings[0].place.unwrap().file().ends_with("main.rs"));
    assert!(report.crashed);
}

#[test]
fn a_driver_whose_device_lies_is_not_blamed_for_unclaimed_interrupts() {
    let lie = Fault { address: Some(0x24), length: Some(4), ..Fault::new(Verb::BarRead, Behaviour::AllOnes) };
    assert_eq!(live(Bug::TrustsStatus, Plan::new(std::vec![lie])).rules(), [] as [&str; 0]);
}

// --- What the kernel's interface keeps drivers from doing is planted below it --------------------------------------------

fn mapped(body: impl FnOnce(usize, u64)) -> Report {
    let bench = Bench::builder().device("edu", Edu::default()).build().unwrap();
    let device = bench.with_bus(|bus| bus.find("edu")).unwrap();
    bench
        .run("test", || {
            rt::pci::enable_device_mem(device);
            let (address, len) = rt::pci::iomap(device, 0).unwrap();
            body(address, len);
            rt::pci::iounmap(address);
        })
        .unwrap();
    bench.finish()
}

#[test]
fn an_access_beyond_the_bar_is_found() {
    let report = mapped(|address, len| _ = rt::mmio_read(address + len as usize, 4, false));
    assert_eq!(report.rules(), ["bar-out-of-range"]);
}

#[test]
fn a_misaligned_access_is_found() {
    let report = mapped(|address, _| _ = rt::mmio_read(address + 2, 4, false));
    assert_eq!(report.rules(), ["bar-misaligned"]);
}

#[test]
fn an_access_after_unmap_is_found() {
    let bench = Bench::builder().device("edu", Edu::default()).build().unwrap();
    let device = bench.with_bus(|bus| bus.find("edu")).unwrap();
    bench
        .run("test", || {
            rt::pci::enable_device_mem(device);
            let (address, _) = rt::pci::iomap(device, 0).unwrap();
            rt::pci::iounmap(address);
            assert_eq!(rt::mmio_read(address, 4, false), 0xffff_ffff);
        })
        .unwrap();
    assert_eq!(bench.finish().rules(), ["bar-after-unmap"]);
}

#[test]
fn every_rule_has_a_page_that_says_how_to_see_it() {
    for rule in bringup_bench::rules::all() {
        assert!(rule.page.contains("## What it means"), "{}", rule.id);
        assert!(rule.page.contains("## How to see it here"), "{}", rule.id);
    }
}
