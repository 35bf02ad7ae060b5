//! Steps on edu (QEMU's docs/specs/edu): registers, factorial, DMA, MSI, INTx.

use alloc::format;
use alloc::string::String;

use bringup_guest::arithmetic::pattern;
use bringup_spec::edu::{self as spec, dma, interrupt, register, status};

use crate::Machine;
use crate::interrupt::{EDU_MSI, EDU_PIN, unmask, unroute};
use crate::machine::cpu;
use crate::machine::dma::Dma;
use crate::machine::map::Registers;
use crate::pci::{self, Function, Msi};
use crate::report::{Outcome, skipped, step};

/// Longer than any transfer or factorial takes, in milliseconds.
const PATIENCE: u64 = 5000;
/// How long nothing has to happen for "no interrupt", in milliseconds.
const QUIET: u64 = 50;

struct Edu<'a> {
    machine: &'a Machine,
    function: &'a Function,
    registers: Registers,
}

/// All steps on each edu.
pub(crate) fn run(machine: &Machine) {
    let mut found = false;
    for function in
        machine.functions.iter().filter(|found| (found.vendor, found.device) == (spec::VENDOR, spec::DEVICE))
    {
        found = true;
        let Some(registers) = function.map(&machine.pci, &machine.start, spec::BAR) else {
            step("edu", || Err(format!("{}: its BAR cannot be mapped", function.at)));
            continue;
        };
        let edu = Edu { machine, function, registers };
        step("edu.identification", || edu.identification());
        step("edu.liveness", || edu.liveness());
        step("edu.factorial", || edu.factorial());
        if !machine.polite {
            step("edu.no-master", || edu.no_master());
        }
        step("edu.dma", || edu.dma());
        step("edu.msi", || edu.msi());
        step("edu.msi-dma", || edu.msi_dma());
        step("edu.intx", || edu.intx());
        step("edu.intx-disable", || edu.intx_disable());
    }
    if !found {
        skipped("edu", format_args!("no such function"));
    }
}

impl Edu<'_> {
    fn identification(&self) -> Outcome {
        let found = self.registers.read32(register::IDENTIFICATION);
        if found == spec::IDENTIFICATION {
            Ok(format!("{} {found:#010x}", self.function.at))
        } else {
            Err(format!("{} reads {found:#010x}", self.function.at))
        }
    }

    fn liveness(&self) -> Outcome {
        for value in [0, 1, 0x1234_5678, u32::MAX] {
            self.registers.write32(register::LIVENESS, value);
            let found = self.registers.read32(register::LIVENESS);
            if found != !value {
                return Err(format!("{value:#x} was written, {found:#x} read"));
            }
        }
        Ok("inverts".into())
    }

    fn computed(&self) -> Result<u32, String> {
        if self.machine.clock.wait(PATIENCE, || self.registers.read32(register::STATUS) & status::COMPUTING == 0) {
            Ok(self.registers.read32(register::FACTORIAL))
        } else {
            Err("it still computes".into())
        }
    }

    fn factorial(&self) -> Outcome {
        self.registers.write32(register::STATUS, 0);
        for (operand, expected) in [(0, 1), (1, 1), (5, 120), (10, 3_628_800), (12, 479_001_600)] {
            self.registers.write32(register::FACTORIAL, operand);
            let found = self.computed()?;
            if found != expected {
                return Err(format!("{operand}! is {found}"));
            }
        }
        Ok("12! is 479001600, by polling".into())
    }

    /// Starts a transfer, waits until it is over.
    fn transfer(&self, from: u64, to: u64, len: u64, command: u64) -> Result<(), String> {
        self.registers.write64(register::DMA_SOURCE, from);
        self.registers.write64(register::DMA_DESTINATION, to);
        self.registers.write64(register::DMA_COUNT, len);
        self.registers.write64(register::DMA_COMMAND, command | dma::START);
        if self.machine.clock.wait(PATIENCE, || self.registers.read64(register::DMA_COMMAND) & dma::START == 0) {
            Ok(())
        } else {
            Err("the transfer does not end".into())
        }
    }

    fn round_trip(&self, seed: u8, command: u64) -> Result<u32, String> {
        let memory = Dma::new(2 * spec::BUFFER_LEN as usize).ok_or("no memory")?;
        let half = spec::BUFFER_LEN as usize;
        for index in 0..half {
            memory.write8(index, pattern(seed, index));
            memory.write8(half + index, 0x55);
        }
        self.transfer(memory.address(), spec::BUFFER, spec::BUFFER_LEN, command)?;
        self.transfer(spec::BUFFER, memory.address() + spec::BUFFER_LEN, spec::BUFFER_LEN, command | dma::TO_MEMORY)?;
        match (0..half).find(|index| memory.read8(half + index) != pattern(seed, *index)) {
            Some(index) => Err(format!("byte {index:#x} came back as {:#x}", memory.read8(half + index))),
            None => Ok(memory.crc32(half, half)),
        }
    }

    /// Without bus mastering its DMA must not reach memory.
    fn no_master(&self) -> Outcome {
        self.machine.pci.command(self.function.at, pci::MEMORY, pci::MASTER);
        let memory = Dma::new(4096).ok_or("no memory")?;
        memory.fill(0, 4096, 0x5a);
        self.transfer(spec::BUFFER, memory.address(), spec::BUFFER_LEN, dma::TO_MEMORY)?;
        self.machine.pci.command(self.function.at, pci::MASTER, 0);
        match (0..4096).find(|index| memory.read8(*index) != 0x5a) {
            Some(index) => Err(format!("byte {index:#x} of memory changed though it is no bus master")),
            None => Ok("its DMA reaches no memory without bus mastering".into()),
        }
    }

    fn dma(&self) -> Outcome {
        self.machine.pci.command(self.function.at, pci::MEMORY | pci::MASTER, 0);
        let crc = self.round_trip(0x3c, 0)?;
        Ok(format!("4096 bytes there and back, crc {crc:08x}"))
    }

    fn acknowledge(&self) -> u32 {
        let found = self.registers.read32(register::INTERRUPT_STATUS);
        self.registers.write32(register::INTERRUPT_ACKNOWLEDGE, found);
        found
    }

    /// Runs with MSI on.
    fn with_msi(&self, run: impl FnOnce() -> Outcome) -> Outcome {
        let msi = Msi::of(self.function).ok_or("it has no MSI")?;
        let interrupts = self.machine.interrupts()?;
        self.acknowledge();
        self.machine.pci.command(self.function.at, pci::MEMORY | pci::MASTER, 0);
        msi.enable(&self.machine.pci, interrupts.message(EDU_MSI));
        let outcome = run();
        msi.disable(&self.machine.pci);
        self.registers.write32(register::STATUS, 0);
        self.acknowledge();
        outcome
    }

    fn msi(&self) -> Outcome {
        self.with_msi(|| {
            let interrupts = self.machine.interrupts()?;
            let seen = cpu::interrupts(EDU_MSI);
            self.registers.write32(register::INTERRUPT_RAISE, 0x10);
            if !interrupts.wait(EDU_MSI, seen, PATIENCE) {
                return Err("no message after a raise".into());
            }
            let raised = self.acknowledge();
            let seen = cpu::interrupts(EDU_MSI);
            self.registers.write32(register::STATUS, status::RAISE);
            self.registers.write32(register::FACTORIAL, 8);
            if !interrupts.wait(EDU_MSI, seen, PATIENCE) {
                return Err("no message after a factorial".into());
            }
            let (result, finished) = (self.registers.read32(register::FACTORIAL), self.acknowledge());
            if raised != 0x10 || finished != interrupt::FACTORIAL || result != 40320 {
                return Err(format!(
                    "status {raised:#x} after a raise, {finished:#x} after a factorial, 8! is {result}"
                ));
            }
            Ok(format!("messages of a raise and of a factorial, {} in all", cpu::interrupts(EDU_MSI)))
        })
    }

    fn msi_dma(&self) -> Outcome {
        self.with_msi(|| {
            let seen = cpu::interrupts(EDU_MSI);
            let crc = self.round_trip(0xc3, dma::RAISE)?;
            let interrupts = self.machine.interrupts()?;
            interrupts.wait(EDU_MSI, seen, PATIENCE);
            // The first may still be on its way when the second transfer ends: the status has both in one bit.
            let status = self.acknowledge();
            let came = cpu::interrupts(EDU_MSI).wrapping_sub(seen);
            if status != interrupt::DMA || came == 0 {
                return Err(format!("{came} messages, status {status:#x}"));
            }
            Ok(format!("crc {crc:08x}, with messages"))
        })
    }

    /// The pin, through the IOAPIC: its level stays until the device is told, and then no interrupt follows.
    fn intx(&self) -> Outcome {
        let interrupts = self.machine.interrupts()?;
        let pin = self.function.line;
        self.acknowledge();
        self.machine.pci.command(self.function.at, pci::MEMORY, pci::NO_INTX);
        if !interrupts.route(pin, EDU_PIN) {
            return Err(format!("the IOAPIC has no pin {pin}"));
        }
        let outcome = self.levels(pin);
        unroute(pin, EDU_PIN);
        self.acknowledge();
        outcome
    }

    fn levels(&self, pin: u8) -> Outcome {
        let interrupts = self.machine.interrupts()?;
        unmask(pin);
        if !interrupts.quiet(EDU_PIN, QUIET) {
            return Err(format!("pin {pin} interrupts without a reason"));
        }
        let seen = cpu::interrupts(EDU_PIN);
        self.registers.write32(register::INTERRUPT_RAISE, 0x20);
        if !interrupts.wait(EDU_PIN, seen, PATIENCE) {
            return Err(format!("no interrupt at pin {pin} after a raise"));
        }
        if self.machine.pci.read16(self.function.at, 0x06) & 8 == 0 {
            return Err("the PCI status does not say that an interrupt is pending".into());
        }
        // Not acknowledged, the level is still there: opening the pin brings it again.
        let seen = cpu::interrupts(EDU_PIN);
        unmask(pin);
        if !interrupts.wait(EDU_PIN, seen, PATIENCE) {
            return Err("the level was lost without an acknowledgement".into());
        }
        let status = self.acknowledge();
        unmask(pin);
        if !interrupts.quiet(EDU_PIN, QUIET) {
            return Err("the pin interrupts after the acknowledgement".into());
        }
        let seen = cpu::interrupts(EDU_PIN);
        self.registers.write32(register::STATUS, status::RAISE);
        self.registers.write32(register::FACTORIAL, 6);
        let came = interrupts.wait(EDU_PIN, seen, PATIENCE);
        self.registers.write32(register::STATUS, 0);
        let (result, finished) = (self.registers.read32(register::FACTORIAL), self.acknowledge());
        if !came || result != 720 || finished != interrupt::FACTORIAL || status != 0x20 {
            return Err(format!(
                "raise: status {status:#x}; factorial: interrupt {came}, status {finished:#x}, 6! is {result}"
            ));
        }
        Ok(format!("pin {pin}: a level stays until it is acknowledged, none follows"))
    }

    fn intx_disable(&self) -> Outcome {
        let interrupts = self.machine.interrupts()?;
        let pin = self.function.line;
        self.machine.pci.command(self.function.at, pci::NO_INTX, 0);
        if !interrupts.route(pin, EDU_PIN) {
            return Err(format!("the IOAPIC has no pin {pin}"));
        }
        unmask(pin);
        self.registers.write32(register::INTERRUPT_RAISE, 0x40);
        let quiet = interrupts.quiet(EDU_PIN, QUIET);
        // Enabled again, the level that waits comes through.
        let seen = cpu::interrupts(EDU_PIN);
        self.machine.pci.command(self.function.at, 0, pci::NO_INTX);
        let came = interrupts.wait(EDU_PIN, seen, PATIENCE);
        self.acknowledge();
        unroute(pin, EDU_PIN);
        if !quiet || !came {
            return Err(format!("disabled it was quiet: {quiet}; enabled again it came: {came}"));
        }
        Ok("INTx disable holds the pin back, and lets it go".into())
    }
}
