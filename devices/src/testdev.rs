//! QEMU's PCI test device (`-device pci-testdev`): a header that says what to write where, and counts who did.
//!
//! ```text
//!   idle ── write n to TEST ──▶ test n of that BAR, COUNT 0 ── write DATA to OFFSET ──▶ COUNT + 1
//!     ▲                              │
//!     └── write any other number ────┘
//! ```
//!
//! Specification: QEMU 11 `docs/specs/pci-testdev`. Where that is silent, the model answers as QEMU 11.1 does, and
//! `tests/qemu.rs` holds it against the real one. Behaviour worth knowing, all of it QEMU's own:
//!
//! - While no test is selected, both BARs read as zero.
//! - Both BARs show the one header there is: that of the test selected last, on whichever BAR.
//! - The device takes accesses apart into bytes: a 4-byte write that covers the offset counts if the byte there matches.
//! - In the two eventfd tests a byte written to the offset goes to the eventfd and is *not* counted, which is what they
//!   test. Nobody listens to the eventfd here.
//!
//! Differs from QEMU: TEST cannot be read, as the documentation has it (QEMU gives the test's number); TEST and WIDTH take
//! single bytes only; and BAR 2, which has no storage, reads as all ones (QEMU's bus gives zero). Each of these accesses
//! is a finding.

use bringup_core::{Access, Bar, Cx, Device, Function, Refusal, Register, Reply, Reset, Rights, Widths};
use bringup_spec::testdev::{self as spec, header};

use crate::registry::{DeviceKind, OptionDef, ValueKind};

const fn registers(targets: u64, size: u64) -> [Register; 7] {
    [
        Register { name: "TEST", offset: header::TEST, len: 1, widths: Widths::W8, rights: Rights::WriteOnly },
        Register { name: "WIDTH", offset: header::WIDTH, len: 1, widths: Widths::W8, rights: Rights::ReadOnly },
        Register::range("OFFSET", header::OFFSET, 4, Rights::ReadOnly),
        Register::range("DATA", header::DATA, 4, Rights::ReadOnly),
        Register::range("COUNT", header::COUNT, 4, Rights::ReadOnly),
        Register::range("NAME", header::NAME, targets - header::NAME, Rights::ReadOnly),
        Register::range("TARGETS", targets, size - targets, Rights::ReadWrite),
    ]
}

static MEMORY_REGISTERS: [Register; 7] = registers(spec::MEMORY_TARGETS, spec::MEMORY_BAR_SIZE);
static IO_REGISTERS: [Register; 7] = registers(spec::IO_TARGETS, spec::IO_BAR_SIZE);

/// One test, as its header describes it.
#[derive(Debug, PartialEq, Eq)]
struct Test {
    name: &'static str,
    /// Where to write, in its BAR.
    offset: u64,
    data: u8,
    /// Who takes a byte written to the offset before the device sees it.
    eventfd: Eventfd,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Eventfd {
    None,
    TakesAny,
    TakesData,
}

const fn test(name: &'static str, offset: u64, data: u8, eventfd: Eventfd) -> Test {
    Test { name, offset, data, eventfd }
}

/// All tests, in the order in which QEMU numbers them: each takes the next offset, memory first.
static TESTS: [Test; 6] = [
    test("mmio-no-eventfd", spec::MEMORY_TARGETS, spec::DATA_MATCH, Eventfd::None),
    test("mmio-wildcard-eventfd", spec::MEMORY_TARGETS + 1, spec::DATA_ANY, Eventfd::TakesAny),
    test("mmio-datamatch-eventfd", spec::MEMORY_TARGETS + 2, spec::DATA_MATCH, Eventfd::TakesData),
    test("portio-no-eventfd", spec::IO_TARGETS + 3, spec::DATA_MATCH, Eventfd::None),
    test("portio-wildcard-eventfd", spec::IO_TARGETS + 4, spec::DATA_ANY, Eventfd::TakesAny),
    test("portio-datamatch-eventfd", spec::IO_TARGETS + 5, spec::DATA_MATCH, Eventfd::TakesData),
];

/// How many tests each BAR has.
const TESTS_EACH: usize = TESTS.len() / 2;
/// The width of the access that every test is about, in bytes.
const WIDTH: u8 = 1;

/// How the registry makes one.
pub(crate) const KIND: DeviceKind = DeviceKind {
    name: "pci-testdev",
    summary: "QEMU's PCI test device: counts the writes it asks for, through memory and I/O",
    ids: &[(spec::VENDOR, spec::DEVICE)],
    options: &[OptionDef {
        name: "membar",
        value: ValueKind::Bytes,
        default: "0",
        summary: "size of BAR 2, a 64-bit memory BAR without storage; 0 for none",
    }],
    make: |options| match options.number("membar") {
        None | Some(0) => Ok(Box::new(TestDev::new())),
        Some(size) if size.is_power_of_two() && (16..=1 << 40).contains(&size) => {
            Ok(Box::new(TestDev::new().with_membar(size)))
        }
        Some(size) => Err(format!("membar must be a power of two from 16 bytes to 1 TiB, not {size}")),
    },
};

/// QEMU's pci-testdev: PCI 1b36:0005, a memory BAR and an I/O BAR, no interrupts.
#[derive(Clone, Debug, Default)]
pub struct TestDev {
    membar: Option<u64>,
    /// Index in [`TESTS`].
    selected: Option<usize>,
    count: u32,
}

impl TestDev {
    /// As QEMU makes it: without BAR 2.
    #[must_use]
    pub const fn new() -> Self {
        Self { membar: None, selected: None, count: 0 }
    }

    /// Adds BAR 2: 64-bit prefetchable memory of `size` bytes (a power of two, at least 16) without storage behind it
    /// (QEMU's property `membar`).
    #[must_use]
    pub const fn with_membar(mut self, size: u64) -> Self {
        self.membar = Some(size);
        self
    }

    fn header_byte(&self, offset: u64) -> u8 {
        let Some(index) = self.selected else { return 0 };
        let test = &TESTS[index];
        let lane = (offset % 4) as usize;
        match offset {
            header::TEST => index as u8,
            header::WIDTH => WIDTH,
            header::OFFSET..header::DATA => (test.offset as u32).to_le_bytes()[lane],
            header::DATA..header::COUNT => u32::from(test.data).to_le_bytes()[lane],
            header::COUNT..header::NAME => self.count.to_le_bytes()[lane],
            _ => {
                let at = offset.checked_sub(header::NAME).and_then(|at| usize::try_from(at).ok());
                at.and_then(|at| test.name.as_bytes().get(at)).copied().unwrap_or(0)
            }
        }
    }

    fn select(&mut self, bar: u8, number: u8) {
        let number = usize::from(number);
        let first = if bar == spec::MEMORY_BAR { 0 } else { TESTS_EACH };
        self.selected = (number < TESTS_EACH).then_some(first + number);
        if self.selected.is_some() {
            self.count = 0;
        }
    }

    /// Whether the eventfd of the selected test takes this write, so that the device never sees it. A byte that it leaves
    /// because of its data would not be counted either, so the data need no look here.
    fn is_taken(&self, at: Access) -> bool {
        let Some(index) = self.selected else { return false };
        let test = &TESTS[index];
        let bar = if index < TESTS_EACH { spec::MEMORY_BAR } else { spec::IO_BAR };
        test.eventfd != Eventfd::None && at.bar == bar && at.offset == test.offset && at.width == WIDTH
    }

    fn write_byte(&mut self, bar: u8, offset: u64, byte: u8) {
        if offset == header::TEST {
            return self.select(bar, byte);
        }
        let Some(test) = self.selected.map(|index| &TESTS[index]) else { return };
        let matches = test.eventfd == Eventfd::TakesAny || byte == test.data;
        if offset == test.offset && matches {
            self.count = self.count.wrapping_add(1);
        }
    }
}

impl Device for TestDev {
    fn function(&self) -> Function {
        let function = Function::new(spec::VENDOR, spec::DEVICE)
            .class(spec::CLASS)
            .revision(spec::REVISION)
            .subsystem(spec::SUBSYSTEM_VENDOR, spec::SUBSYSTEM)
            .bar(Bar::memory32(spec::MEMORY_BAR, spec::MEMORY_BAR_SIZE).registers(&MEMORY_REGISTERS))
            .bar(Bar::io(spec::IO_BAR, spec::IO_BAR_SIZE).registers(&IO_REGISTERS));
        match self.membar {
            Some(size) => function.bar(Bar::memory64(spec::MEMBAR, size).prefetchable()),
            None => function,
        }
    }

    fn read(&mut self, _cx: &mut Cx<'_>, at: Access) -> Reply<u64> {
        if at.bar == spec::MEMBAR {
            return Err(Refusal::NoRegister);
        }
        let lanes = 0..u64::from(at.width);
        Ok(lanes.fold(0, |value, lane| value | u64::from(self.header_byte(at.offset + lane)) << (8 * lane)))
    }

    fn write(&mut self, _cx: &mut Cx<'_>, at: Access, value: u64) -> Reply<()> {
        if at.bar == spec::MEMBAR {
            return Err(Refusal::NoRegister);
        }
        if !self.is_taken(at) {
            for (lane, byte) in value.to_le_bytes().into_iter().enumerate().take(usize::from(at.width)) {
                self.write_byte(at.bar, at.offset + lane as u64, byte);
            }
        }
        Ok(())
    }

    fn reset(&mut self, _cx: &mut Cx<'_>, _kind: Reset) {
        self.selected = None;
        self.count = 0;
    }
}
