//! The device of these tests, and how they run a driver for it.

use bringup_bench::module::Loadable;
use bringup_bench::{Bench, Builder, Report};
use bringup_core::choice::{Chooser, Point};
use bringup_core::{Access, Bar, Cx, Device, Function, Refusal, Reply, Reset};
use core::cell::RefCell;
use kernel::device::Core;
use kernel::pci;
use kernel::prelude::{Error, PinInit, Result};

/// A register to play with, and a checksum engine that reads memory.
pub(crate) struct Testdev {
    function: fn() -> Function,
    scratch: u64,
    address: u64,
    sum: u64,
}

impl Testdev {
    /// A register that keeps what is written to it.
    pub(crate) const SCRATCH: usize = 0x0;
    /// The address that the engine works on, 64 bits.
    pub(crate) const ADDRESS: usize = 0x8;
    /// Writing a number of bytes makes the engine add them up, then invert them if the top bit is set.
    pub(crate) const START: usize = 0x10;
    /// What the bytes came to; all ones if the engine could not get at them.
    pub(crate) const SUM: usize = 0x14;
    /// Says to [`START`](Self::START) that the bytes are to be inverted.
    pub(crate) const INVERT: u32 = 1 << 31;

    pub(crate) fn new(function: fn() -> Function) -> Self {
        Self { function, scratch: 0, address: 0, sum: 0 }
    }

    fn work_on(&mut self, cx: &mut Cx<'_>, start: u32) -> Option<u64> {
        let mut bytes = vec![0; (start & !Self::INVERT) as usize];
        cx.dma_read(self.address, &mut bytes).ok()?;
        let sum = bytes.iter().map(|byte| u64::from(*byte)).sum();
        if start & Self::INVERT != 0 {
            let inverted: Vec<u8> = bytes.iter().map(|byte| !byte).collect();
            cx.dma_write(self.address, &inverted).ok()?;
        }
        Some(sum)
    }
}

/// The usual function: 1b36:0005, a BAR of one page and one of sixteen bytes.
pub(crate) fn plain() -> Function {
    Function::new(0x1b36, 0x0005)
        .class(0x01_08_02)
        .revision(7)
        .subsystem(0x1af4, 0x1100)
        .bar(Bar::memory32(0, 4096))
        .bar(Bar::memory32(2, 16))
}

impl Device for Testdev {
    fn function(&self) -> Function {
        (self.function)()
    }

    fn read(&mut self, _cx: &mut Cx<'_>, at: Access) -> Reply<u64> {
        match at.offset as usize {
            Self::SCRATCH => Ok(self.scratch),
            Self::SUM => Ok(self.sum),
            _ => Err(Refusal::WriteOnly),
        }
    }

    fn write(&mut self, cx: &mut Cx<'_>, at: Access, value: u64) -> Reply<()> {
        match at.offset as usize {
            Self::SCRATCH => self.scratch = value,
            Self::ADDRESS => self.address = value,
            Self::START => self.sum = self.work_on(cx, value as u32).unwrap_or(u64::MAX),
            _ => return Err(Refusal::ReadOnly),
        }
        Ok(())
    }

    fn reset(&mut self, _cx: &mut Cx<'_>, _kind: Reset) {
        *self = Self::new(self.function);
    }
}

/// A machine with one test device.
pub(crate) fn machine(function: fn() -> Function) -> Builder {
    Bench::builder().device("testdev", Testdev::new(function))
}

/// Loads a driver into a machine and unloads it again.
pub(crate) fn live(builder: Builder, module: &'static Loadable) -> Report {
    bringup_bench::life(builder, |bench| {
        bench.load(module).expect("the module loads");
        bench.unload(module.name).expect("and unloads");
    })
    .expect("the machine is built")
}

/// The messages about the test device from its driver, without what they begin with.
pub(crate) fn messages(report: &Report, driver: &str) -> Vec<String> {
    let prefix = format!("{driver} 0000:00:03.0: ");
    report.log.iter().filter_map(|line| line.text.strip_prefix(&prefix)).map(str::to_owned).collect()
}

/// Lets one allocation fail, the one with this number.
pub(crate) struct FailAllocation(pub(crate) u32);

impl Chooser for FailAllocation {
    fn choose(&mut self, point: Point, _options: u32) -> u32 {
        if point != Point::Allocation {
            return 0;
        }
        let fails = self.0 == 0;
        self.0 = self.0.wrapping_sub(1);
        u32::from(fails)
    }
}

/// What a probe does in a test.
type Script = Box<dyn FnOnce(&pci::Device<Core<'_>>) -> Result>;

std::thread_local! {
    static SCRIPT: RefCell<Option<Script>> = const { RefCell::new(None) };
}

struct Scripted;

kernel::pci_device_table!(IDS, (), [(pci::DeviceId::from_id(pci::Vendor::REDHAT, 0x5), ())]);

impl pci::Driver for Scripted {
    type IdInfo = ();
    type Data<'bound> = ();
    const ID_TABLE: pci::IdTable<()> = &IDS;

    fn probe<'bound>(
        pdev: &'bound pci::Device<Core<'_>>,
        _info: Option<&'bound ()>,
    ) -> impl PinInit<(), Error> + 'bound {
        match SCRIPT.take() {
            Some(script) => script(pdev),
            None => Ok(()),
        }
    }
}

kernel::module_pci_driver! {
    type: Scripted,
    name: "scripted",
    authors: ["Bringup"],
    description: "Does what a test says",
    license: "GPL",
}

/// Runs a probe of the test's in a machine, unbinds and reports. The probe must succeed.
pub(crate) fn in_probe(builder: Builder, script: impl FnOnce(&pci::Device<Core<'_>>) -> Result + 'static) -> Report {
    SCRIPT.set(Some(Box::new(script)));
    let report = live(builder, &BRINGUP_MODULE);
    assert_eq!(report.probe_errors, []);
    report
}
