//! Our models against QEMU's own devices: the same accesses to both must get the same answers.
//!
//! QEMU is `BRINGUP_QEMU`, else `qemu-system-x86_64`; without it these tests say that they are skipped, and pass. What our
//! bus answers differently on purpose (1- and 2-byte reads of edu, transfers that leave edu's buffer, reads of pci-testdev's
//! TEST) is not asked here; `edu.rs` and `testdev.rs` test it.

mod board;
mod qtest;

use board::{Board, Window};
use bringup_core::dma::Direction;
use bringup_core::pci::{command, offset};
use bringup_devices::{Edu, TestDev};
use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestCaseResult, TestRng, TestRunner};
use qtest::Qemu;

/// Where the test puts the BARs of QEMU's device.
const MEMORY: u64 = 0xe000_0000;
const PORTS: u64 = 0xc000;
/// Where in QEMU's memory the messages of its device arrive.
const MAILBOX: u32 = 0x20_0000;
const MESSAGE: u16 = 0x4321;

const MS: u64 = 1_000_000;

/// Our model and QEMU's device, side by side.
struct Twins {
    ours: Board,
    qemu: Qemu,
}

impl Twins {
    fn new(ours: Board, mut qemu: Qemu) -> Self {
        qemu.config_write(0x10, 4, MEMORY as u32);
        qemu.config_write(0x14, 4, PORTS as u32);
        qemu.config_write(offset::COMMAND, 2, (command::IO | command::MEMORY | command::BUS_MASTER).into());
        Self { ours, qemu }
    }

    fn write(&mut self, bar: u8, at: u64, width: u8, value: u64) {
        let mask = u64::MAX >> (64 - 8 * u32::from(width));
        self.ours.write(bar, at, width, value);
        match bar {
            0 => self.qemu.memory_write(MEMORY + at, width, value & mask),
            _ => self.qemu.port_write(PORTS + at, width, value & mask),
        }
    }

    /// Reads both: ours, QEMU's.
    fn read(&mut self, bar: u8, at: u64, width: u8) -> (u64, u64) {
        let theirs = match bar {
            0 => self.qemu.memory_read(MEMORY + at, width),
            _ => self.qemu.port_read(PORTS + at, width),
        };
        (self.ours.read(bar, at, width), theirs)
    }

    fn config_read(&mut self, at: u16, width: u8) -> (u32, u32) {
        (self.ours.bus.config_read(self.ours.device, at, width), self.qemu.config_read(at, width))
    }

    fn config_write(&mut self, at: u16, width: u8, value: u32) {
        self.ours.bus.config_write(self.ours.device, at, width, value);
        self.qemu.config_write(at, width, value);
    }

    fn step(&mut self, nanos: u64) {
        self.ours.step(nanos);
        self.qemu.step(nanos);
    }
}

/// Runs a property with the same cases every time.
fn check<T: std::fmt::Debug>(cases: u32, input: impl Strategy<Value = T>, property: impl Fn(T) -> TestCaseResult) {
    let config =
        ProptestConfig { cases, max_shrink_iters: 300, failure_persistence: None, ..ProptestConfig::default() };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, b"edu and pci-testdev against QEMU");
    if let Err(failure) = TestRunner::new_with_rng(config, rng).run(&input, property) {
        panic!("{failure}");
    }
}

/// Compares what software sees of both functions before it touches them, and what it can write where.
fn assert_same_function(twins: &mut Twins, msi: Option<u16>) {
    // Ids, status, revision and class, header type, subsystem, capability pointer, interrupt pin.
    for (at, width) in [(0x00, 4), (0x06, 2), (0x08, 4), (0x0e, 1), (0x2c, 4), (0x30, 4), (0x34, 1), (0x3d, 1)] {
        let (ours, theirs) = twins.config_read(at, width);
        assert_eq!(ours, theirs, "configuration space at {at:#x}");
    }
    for at in (0x10..0x28).step_by(4) {
        twins.config_write(at, 4, u32::MAX);
        let (ours, theirs) = twins.config_read(at, 4);
        assert_eq!(ours, theirs, "size of the base address register at {at:#x}");
    }
    let Some(at) = msi else { return };
    twins.config_write(at + 2, 2, 0xff8f); // all but the number of vectors: there is one, and writing more is undefined
    twins.config_write(at + 4, 4, u32::MAX);
    twins.config_write(at + 8, 4, u32::MAX);
    twins.config_write(at + 12, 2, 0xffff);
    for (at, width) in [(at, 4), (at + 4, 4), (at + 8, 4), (at + 12, 2)] {
        let (ours, theirs) = twins.config_read(at, width);
        assert_eq!(ours, theirs, "MSI capability at {at:#x}");
    }
}

#[test]
fn edu_is_the_function_that_qemu_has() {
    let Some(qemu) = Qemu::start("edu") else { return };
    assert_same_function(&mut Twins::new(Board::new(Edu::new()), qemu), Some(0x40));
}

#[test]
fn testdev_is_the_function_that_qemu_has() {
    let Some(qemu) = Qemu::start("pci-testdev") else { return };
    assert_same_function(&mut Twins::new(Board::new(TestDev::new()), qemu), None);
}

#[test]
fn testdev_with_a_membar_is_the_function_that_qemu_has() {
    let Some(qemu) = Qemu::start("pci-testdev,membar=8G") else { return };
    assert_same_function(&mut Twins::new(Board::new(TestDev::new().with_membar(8 << 30)), qemu), None);
}

/// One step of a life with edu.
#[derive(Clone, Debug)]
enum Edus {
    Read { at: u64, width: u8 },
    Write { at: u64, width: u8, value: u64 },
    Factorial { operand: u32, raise: bool },
    Transfer { to_memory: bool, outside: u64, inside: u64, count: u64, high: u64, raise: bool, wide: bool },
    Fill { at: u64, bytes: Vec<u8> },
    Step { span: u64 },
    BusMaster(bool),
    Msi(bool),
    Pin(bool),
}

const WINDOW: u64 = 8192;

fn edu_steps() -> impl Strategy<Value = Vec<Edus>> {
    let wide = prop_oneof![3 => Just(4_u8), 1 => Just(8)];
    let aligned = |at: u64, width: u8| at & !(u64::from(width) - 1);
    let register =
        prop::sample::select(vec![0x00, 0x04, 0x08, 0x20, 0x24, 0x60, 0x60, 0x60, 0x64, 0x80, 0x88, 0x90, 0x98_u64]);
    let place = prop_oneof![6 => register, 1 => 0..0x100_u64, 1 => 0x3_fff0..0x4_1010_u64, 1 => 0..0x10_0000_u64];
    let value =
        prop_oneof![2 => 0..0x200_u64, 1 => Just(0), 1 => any::<u64>(), 1 => (0..32_u32).prop_map(|bit| 1 << bit)];
    let read = (place.clone(), wide.clone()).prop_map(move |(at, width)| Edus::Read { at: aligned(at, width), width });
    let any_width = prop_oneof![1 => Just(1_u8), 1 => Just(2), 6 => Just(4), 2 => Just(8)];
    let write = (place, any_width, value).prop_map(move |(at, width, value)| {
        let at = aligned(at, width);
        // These two have steps of their own: what they start goes on beside the sequence.
        let value = if at == 0x98 { value & !1 } else { value };
        Edus::Write { at: if at == 0x08 && width == 4 { 0x04 } else { at }, width, value }
    });
    let operand = prop_oneof![4 => 0..40_u32, 1 => 32..35_u32, 1 => 0..200_000_u32];
    let factorial = (operand, any::<bool>()).prop_map(|(operand, raise)| Edus::Factorial { operand, raise });
    let count = prop_oneof![3 => 0..300_u64, 1 => 4000..=4096_u64];
    let high = prop_oneof![5 => Just(0_u64), 1 => 1..0xf_ffff_u64];
    let transfer = (any::<[bool; 3]>(), count, any::<prop::sample::Index>(), any::<prop::sample::Index>(), high)
        .prop_map(|([to_memory, raise, wide], count, inside, outside, high)| Edus::Transfer {
            to_memory,
            outside: outside.index((WINDOW - count + 1) as usize) as u64,
            inside: 0x4_0000 + inside.index((4096 - count + 1) as usize) as u64,
            count,
            high,
            raise,
            wide,
        });
    let fill =
        (0..WINDOW - 64, prop::collection::vec(any::<u8>(), 1..64)).prop_map(|(at, bytes)| Edus::Fill { at, bytes });
    let span = prop_oneof![3 => Just(100 * MS), 1 => Just(50 * MS), 1 => Just(10 * MS)];
    let step = prop_oneof![
        5 => read,
        6 => write,
        2 => factorial,
        5 => transfer,
        3 => fill,
        4 => span.prop_map(|span| Edus::Step { span }),
        1 => any::<bool>().prop_map(Edus::BusMaster),
        2 => any::<bool>().prop_map(Edus::Msi),
        1 => any::<bool>().prop_map(Edus::Pin),
    ];
    prop::collection::vec(step, 1..80)
}

/// Both edus, and memory at the same bus address on both sides.
struct EduTwins {
    twins: Twins,
    window: Window,
    command: u16,
}

impl EduTwins {
    fn new(qemu: Qemu) -> Self {
        let mut twins = Twins::new(Board::new(Edu::new()), qemu);
        // Low enough to be inside QEMU's memory too.
        let window = twins.ours.map(WINDOW, 0x00ff_ffff, Direction::Bidirectional);
        let seed: Vec<u8> = (0..WINDOW).map(|at| (at % 251) as u8).collect();
        twins.ours.fill(window, &seed);
        twins.qemu.store(window.iova, &seed);
        let mut both = Self { twins, window, command: command::MEMORY | command::BUS_MASTER };
        both.set_msi(false);
        both
    }

    fn set_msi(&mut self, on: bool) {
        for (at, width, value) in
            [(0x44, 4, MAILBOX), (0x48, 4, 0), (0x4c, 2, u32::from(MESSAGE)), (0x42, 2, u32::from(on))]
        {
            self.twins.config_write(at, width, value);
        }
    }

    fn set_command(&mut self, bit: u16, on: bool) {
        self.command = if on { self.command | bit } else { self.command & !bit };
        self.twins.config_write(offset::COMMAND, 2, self.command.into());
    }

    /// Computes on both sides and waits for both. QEMU computes on a thread of the host, in the host's time.
    fn factorial(&mut self, operand: u32, raise: bool) {
        self.twins.write(0, 0x64, 4, 1);
        self.twins.write(0, 0x20, 4, if raise { 0x80 } else { 0 });
        self.twins.write(0, 0x08, 4, operand.into());
        self.twins.ours.step(MS);
        let qemu = &mut self.twins.qemu;
        let is_done = (0..1_000_000).any(|_| {
            let is_raised = qemu.memory_read(MEMORY + 0x24, 4) & 1 != 0;
            qemu.memory_read(MEMORY + 0x20, 4) & 1 == 0 && (is_raised || !raise)
        });
        assert!(is_done, "QEMU never finished the factorial of {operand}");
    }

    fn transfer(&mut self, source: u64, destination: u64, count: u64, command: u64, width: u8) {
        for (at, value) in [(0x80, source), (0x88, destination), (0x90, count)] {
            self.twins.write(0, at, 8, value);
        }
        self.twins.write(0, 0x98, width, command);
    }

    fn apply(&mut self, step: &Edus) -> TestCaseResult {
        match *step {
            Edus::Read { at, width } => {
                let (ours, theirs) = self.twins.read(0, at, width);
                prop_assert_eq!(ours, theirs, "{:?}", step);
            }
            Edus::Write { at, width, value } => self.twins.write(0, at, width, value),
            Edus::Factorial { operand, raise } => self.factorial(operand, raise),
            Edus::Transfer { to_memory, outside, inside, count, high, raise, wide } => {
                let outside = (self.window.iova + outside) | (high << 28);
                let (source, destination) = if to_memory { (inside, outside) } else { (outside, inside) };
                let command = 1 | u64::from(to_memory) << 1 | u64::from(raise) << 2;
                self.transfer(source, destination, count, command, if wide { 8 } else { 4 });
            }
            Edus::Fill { at, ref bytes } => {
                self.twins.ours.fill(self.window.part(at), bytes);
                self.twins.qemu.store(self.window.iova + at, bytes);
            }
            Edus::Step { span } => self.twins.step(span),
            Edus::BusMaster(on) => self.set_command(command::BUS_MASTER, on),
            Edus::Msi(on) => {
                // QEMU takes the pin back at the moment MSI is turned on; our bus hides it, and it shows in the status
                // register. Nothing pending, no difference.
                self.twins.write(0, 0x64, 4, u64::MAX);
                self.set_msi(on);
            }
            Edus::Pin(on) => self.set_command(command::INTX_DISABLE, !on),
        }
        Ok(())
    }

    /// Compares what both sides hold after a step: registers, pin, and whether a message arrived.
    fn compare(&mut self, step: &Edus) -> TestCaseResult {
        for at in [0x04, 0x08, 0x20, 0x24, 0x98] {
            let (ours, theirs) = self.twins.read(0, at, 4);
            prop_assert_eq!(ours, theirs, "register {:#x} after {:?}", at, step);
        }
        let (ours, theirs) = self.twins.config_read(offset::STATUS, 2);
        prop_assert_eq!(ours, theirs, "status after {:?}", step);
        let ours = self.twins.ours.messages().last().map_or(0, |message| message.data);
        let theirs = self.twins.qemu.memory_read(MAILBOX.into(), 4);
        prop_assert_eq!(u64::from(ours), theirs, "message after {:?}", step);
        self.twins.qemu.memory_write(MAILBOX.into(), 4, 0);
        Ok(())
    }

    /// Compares the memory, and the buffer by carrying it there.
    fn compare_memory(&mut self) -> TestCaseResult {
        prop_assert!(
            self.twins.ours.bytes(self.window) == self.twins.qemu.load(self.window.iova, WINDOW),
            "memory differs"
        );
        self.set_command(command::BUS_MASTER, true);
        self.twins.step(100 * MS);
        self.transfer(0x4_0000, self.window.iova, 4096, 3, 4);
        self.twins.step(100 * MS);
        prop_assert!(
            self.twins.ours.bytes(self.window) == self.twins.qemu.load(self.window.iova, WINDOW),
            "buffer differs"
        );
        Ok(())
    }
}

#[test]
fn edu_answers_as_qemu_does() {
    if Qemu::start("edu").is_none() {
        return;
    }
    check(80, edu_steps(), |steps| {
        let mut both = EduTwins::new(Qemu::start("edu").unwrap());
        for step in &steps {
            both.apply(step)?;
            both.compare(step)?;
        }
        both.compare_memory()
    });
}

/// One step of a life with pci-testdev.
#[derive(Clone, Debug)]
enum Tests {
    Select { bar: u8, number: u8 },
    Read { bar: u8, at: u64, width: u8 },
    Write { bar: u8, at: u64, width: u8, value: u64 },
}

fn testdev_steps() -> impl Strategy<Value = Vec<Tests>> {
    let select =
        (0..2_u8, prop_oneof![4 => 0..3_u8, 1 => any::<u8>()]).prop_map(|(bar, number)| Tests::Select { bar, number });
    let width = prop::sample::select(vec![1_u8, 2, 4]);
    let aligned = |at: u64, width: u8| at & !(u64::from(width) - 1);
    let (near, far) = (0x80..0x88_u64, 0x800..0x808_u64);
    let place = prop_oneof![4 => 0x4..0x30_u64, 1 => near.clone(), 1 => 0x60..0x100_u64];
    let read = (0..2_u8, place, width.clone()).prop_map(move |(bar, at, width)| Tests::Read {
        bar,
        at: aligned(at, width),
        width,
    });
    let data = prop_oneof![3 => Just(0xfafa_fafa_u64), 1 => Just(0xce), 1 => any::<u64>()];
    let target = prop_oneof![near.prop_map(|at| (1_u8, at)), far.prop_map(|at| (0_u8, at))];
    let write = (target, width.clone(), data).prop_map(move |((bar, at), width, value)| Tests::Write {
        bar,
        at: aligned(at, width),
        width,
        value,
    });
    let vain = (0..2_u8, 0x4..0x20_u64, width, any::<u64>()).prop_map(move |(bar, at, width, value)| Tests::Write {
        bar,
        at: aligned(at, width),
        width,
        value,
    });
    prop::collection::vec(prop_oneof![3 => select, 4 => read, 8 => write, 1 => vain], 1..150)
}

#[test]
fn testdev_answers_as_qemu_does() {
    if Qemu::start("pci-testdev").is_none() {
        return;
    }
    check(40, testdev_steps(), |steps| {
        let mut twins = Twins::new(Board::new(TestDev::new()), Qemu::start("pci-testdev").unwrap());
        for step in &steps {
            match *step {
                Tests::Select { bar, number } => twins.write(bar, 0, 1, number.into()),
                Tests::Read { bar, at, width } => {
                    let (ours, theirs) = twins.read(bar, at, width);
                    prop_assert_eq!(ours, theirs, "{:?}", step);
                }
                Tests::Write { bar, at, width, value } => twins.write(bar, at, width, value),
            }
            for (at, width) in [(0x1, 1), (0x4, 4), (0x8, 4), (0xc, 4)] {
                let (ours, theirs) = twins.read(0, at, width);
                prop_assert_eq!(ours, theirs, "header at {:#x} after {:?}", at, step);
            }
        }
        Ok(())
    });
}
