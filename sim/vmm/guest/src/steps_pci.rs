//! Steps on PCI itself: both ways into configuration space say the same, BARs have sizes and can be moved.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;

use bringup_guest::arithmetic::free_place;

use crate::Machine;
use crate::machine::cpu;
use crate::machine::map::Registers;
use crate::pci::{self, Bar, Function, Pci, Space};
use crate::report::{Outcome, skipped, step};
use crate::virtio;

/// Windows in which moved BARs are put, inside of those that the machine's DSDT gives the bus.
const WINDOW32: (u64, u64) = (0xc800_0000, 0xe000_0000);
const WINDOW64: (u64, u64) = (0x80_4000_0000, 0x90_0000_0000);
const WINDOW_IO: (u64, u64) = (0xd000, 0x1_0000);

/// Lists the functions, and compares ECAM with the ports.
pub(crate) fn list(machine: &Machine) {
    let pci = &machine.pci;
    if pci.ecam().is_none() {
        skipped("pci.ecam", format_args!("no MCFG, configuration space by ports alone"));
    }
    for function in &machine.functions {
        step("pci.function", || describe(function));
        if pci.ecam().is_some() {
            step("pci.ecam", || compare(pci, function));
        }
    }
    step("pci.absent", || absent(machine));
}

fn describe(function: &Function) -> Outcome {
    let mut text = format!(
        "{} {:04x}:{:04x} class {:06x} line {}",
        function.at, function.vendor, function.device, function.class, function.line
    );
    for Bar { index, space, address, size } in &function.bars {
        let kind = match space {
            Space::Io => "io",
            Space::Memory32 => "mem32",
            Space::Memory64 => "mem64",
        };
        let _written = write!(text, ", bar{index} {kind} {address:#x}+{size:#x}");
        if !size.is_power_of_two() || *size < 4 {
            return Err(format!("{text}: not a power of two"));
        }
        if address & (size - 1) != 0 {
            return Err(format!("{text}: not aligned to its size"));
        }
    }
    for (id, offset) in &function.caps {
        let _written = write!(text, ", cap {id:02x} at {offset:02x}");
    }
    Ok(text)
}

fn compare(pci: &Pci, function: &Function) -> Outcome {
    for offset in (0..256).step_by(4) {
        let (memory, ports) = (pci.read32(function.at, offset), Pci::port_read32(function.at, offset));
        if memory != ports {
            return Err(format!("{} at {offset:#x}: ECAM {memory:#010x}, ports {ports:#010x}", function.at));
        }
        for byte in 0..4 {
            let expected = (memory >> (8 * byte)) as u8;
            let (memory, ports) = (pci.read8(function.at, offset + byte), Pci::port_read8(function.at, offset + byte));
            if memory != expected || ports != expected {
                return Err(format!(
                    "{} byte {:#x}: of 32 bits {expected:#04x}, ECAM {memory:#04x}, ports {ports:#04x}",
                    function.at,
                    offset + byte
                ));
            }
        }
        for half in [0, 2] {
            let expected = (memory >> (8 * half)) as u16;
            let (memory, ports) =
                (pci.read16(function.at, offset + half), Pci::port_read16(function.at, offset + half));
            if memory != expected || ports != expected {
                return Err(format!(
                    "{} word {:#x}: of 32 bits {expected:#06x}, ECAM {memory:#06x}, ports {ports:#06x}",
                    function.at,
                    offset + half
                ));
            }
        }
    }
    Ok(format!("{} 256 bytes the same by ECAM and by ports, in all widths", function.at))
}

fn absent(machine: &Machine) -> Outcome {
    let free = (0..32)
        .map(|device| pci::Address { device, function: 0 })
        .find(|at| !machine.functions.iter().any(|function| function.at.device == at.device))
        .ok_or("the bus is full")?;
    let (memory, ports) = (machine.pci.read32(free, 0), Pci::port_read32(free, 0));
    if memory != u32::MAX || ports != u32::MAX {
        return Err(format!("{free} is absent but reads {memory:#x} by ECAM, {ports:#x} by ports"));
    }
    Ok(format!("{free} reads all ones"))
}

/// A register that can be read at any time and says the same each time.
#[derive(Clone, Copy)]
struct Answer {
    bar: u8,
    offset: u64,
    wide: bool,
}

impl Answer {
    /// edu's identification, or how many queues a virtio device has.
    fn of(machine: &Machine, function: &Function) -> Option<Self> {
        match (function.vendor, function.device) {
            (bringup_spec::edu::VENDOR, bringup_spec::edu::DEVICE) => Some(Self { bar: 0, offset: 0, wide: true }),
            (bringup_spec::virtio::VENDOR, _) => {
                let (bar, offset, _) =
                    virtio::structure(&machine.pci, function, bringup_spec::virtio::pci::cfg_type::COMMON)?;
                let offset = u64::from(offset) + bringup_spec::virtio::pci::common::NUM_QUEUES;
                Some(Self { bar, offset, wide: false })
            }
            _ => None,
        }
    }

    /// Reads it, at one place or another.
    fn read(self, registers: &Registers) -> u32 {
        if self.wide { registers.read32(self.offset) } else { registers.read16(self.offset).into() }
    }

    /// What it would read as where nothing is.
    fn nothing(self, machine: &Machine) -> u32 {
        if self.wide { machine.nothing } else { machine.nothing & 0xffff }
    }
}

/// Moves BARs of functions that have a register to ask, and puts them back.
pub(crate) fn moves(machine: &mut Machine) {
    let mut taken: Vec<(u64, u64)> = Vec::new();
    let mut ports: Vec<(u64, u64)> = Vec::new();
    for bar in machine.functions.iter().flat_map(|function| &function.bars) {
        if bar.space == Space::Io { &mut ports } else { &mut taken }.push((bar.address, bar.size));
    }
    step("move.nothing", || nothing(machine, &taken));
    let mut moved = false;
    for function in &machine.functions {
        if let Some(answer) = Answer::of(machine, function) {
            moved = true;
            step("move.decode", || decode(machine, function, answer));
            if let Some(bar) = function.bar(answer.bar) {
                step("move.below", || there_and_back(machine, function, bar, answer, WINDOW32, &taken));
                if bar.space == Space::Memory64 {
                    step("move.above", || there_and_back(machine, function, bar, answer, WINDOW64, &taken));
                }
            }
        }
        if (function.vendor, function.device) == (bringup_spec::testdev::VENDOR, bringup_spec::testdev::DEVICE) {
            for bar in function.bars.iter().filter(|bar| bar.space == Space::Io) {
                step("move.ports", || io_there_and_back(machine, function, bar, &ports));
            }
        }
    }
    if !moved {
        skipped("move", format_args!("no function with a register that can be asked"));
    }
}

/// What an address of the window reads that no BAR has: all ones on a PCI bus (PCIe 6.0 §2.3.2), 0 on QEMU's q35.
fn nothing(machine: &mut Machine, taken: &[(u64, u64)]) -> Outcome {
    let address = free_place(WINDOW32.0, WINDOW32.1, 4096, taken).ok_or("no free place in the window")?;
    machine.nothing = registers(machine, address, 4096)?.read32(0);
    let ours = machine.functions.iter().any(|function| (function.vendor, function.device) == (0x1b36, 0x0008));
    if machine.nothing == u32::MAX || machine.nothing == 0 && !ours {
        Ok(format!("{address:#x} reads {:#x}", machine.nothing))
    } else {
        Err(format!("{address:#x} reads {:#x}, where no BAR is", machine.nothing))
    }
}

fn registers(machine: &Machine, address: u64, size: u64) -> Result<Registers, String> {
    Registers::map(&machine.start, address, size).ok_or_else(|| format!("cannot map {size:#x} bytes at {address:#x}"))
}

fn decode(machine: &Machine, function: &Function, answer: Answer) -> Outcome {
    let bar = function.bar(answer.bar).ok_or_else(|| format!("{} has no BAR {}", function.at, answer.bar))?;
    let here = registers(machine, bar.address, bar.size)?;
    machine.pci.command(function.at, pci::MEMORY, 0);
    let on = answer.read(&here);
    machine.pci.command(function.at, 0, pci::MEMORY);
    let off = answer.read(&here);
    machine.pci.command(function.at, pci::MEMORY, 0);
    let again = answer.read(&here);
    if on == off || off != answer.nothing(machine) || again != on {
        return Err(format!("{} decoding on {on:#x}, off {off:#x}, on again {again:#x}", function.at));
    }
    Ok(format!("{} answers {on:#x} while memory decoding is on, {off:#x} while it is off", function.at))
}

fn there_and_back(
    machine: &Machine,
    function: &Function,
    bar: &Bar,
    answer: Answer,
    window: (u64, u64),
    taken: &[(u64, u64)],
) -> Outcome {
    let at = function.at;
    let target = free_place(window.0, window.1, bar.size, taken).ok_or("no free place in the window")?;
    let old = registers(machine, bar.address, bar.size)?;
    let new = registers(machine, target, bar.size)?;
    machine.pci.command(at, pci::MEMORY, 0);
    let before = (answer.read(&old), answer.read(&new));
    machine.pci.place(at, bar, target);
    let after = (answer.read(&old), answer.read(&new));
    let says = machine.pci.bars(at).iter().find(|now| now.index == bar.index).map(|now| now.address);
    machine.pci.place(at, bar, bar.address);
    let back = (answer.read(&old), answer.read(&new));
    let value = before.0;
    let nothing = answer.nothing(machine);
    if value == nothing || before.1 != nothing || after != (nothing, value) || back != before || says != Some(target) {
        return Err(format!(
            "{at} bar{} from {:#x} to {target:#x}: old and new place read {before:x?} before, {after:x?} moved, {back:x?} back, register {says:x?}",
            bar.index, bar.address
        ));
    }
    Ok(format!("{at} bar{} answered at {target:#x} and not at {:#x}, and went back", bar.index, bar.address))
}

fn io_there_and_back(machine: &Machine, function: &Function, bar: &Bar, taken: &[(u64, u64)]) -> Outcome {
    let at = function.at;
    let target = free_place(WINDOW_IO.0, WINDOW_IO.1, bar.size.max(4), taken).ok_or("no free ports in the window")?;
    let read = |port: u64| cpu::port_in::<u32>((port + bringup_spec::testdev::header::OFFSET) as u16);
    machine.pci.command(at, pci::IO, 0);
    // A test has to be chosen for its offset to be read.
    cpu::port_out((bar.address + bringup_spec::testdev::header::TEST) as u16, 0_u8);
    let before = (read(bar.address), read(target));
    machine.pci.place(at, bar, target);
    let after = (read(bar.address), read(target));
    machine.pci.place(at, bar, bar.address);
    let back = (read(bar.address), read(target));
    let value = before.0;
    if value == u32::MAX || before.1 != u32::MAX || after != (u32::MAX, value) || back != before {
        return Err(format!(
            "{at} bar{} from {:#x} to {target:#x}: old and new ports read {before:x?} before, {after:x?} moved, {back:x?} back",
            bar.index, bar.address
        ));
    }
    Ok(format!("{at} bar{} answered at port {target:#x} and not at {:#x}, and went back", bar.index, bar.address))
}
