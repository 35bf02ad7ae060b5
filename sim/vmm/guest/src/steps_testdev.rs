//! Steps on pci-testdev (QEMU's docs/specs/pci-testdev): its tests of memory and of ports count each right write.

use alloc::format;

use bringup_spec::testdev::{self as spec, header, test};

use crate::Machine;
use crate::machine::cpu;
use crate::pci::{self, Function};
use crate::report::{Outcome, skipped, step};

/// All steps on each.
pub(crate) fn run(machine: &Machine) {
    let mut found = false;
    for function in
        machine.functions.iter().filter(|found| (found.vendor, found.device) == (spec::VENDOR, spec::DEVICE))
    {
        found = true;
        step("testdev.memory", || memory(machine, function));
        step("testdev.ports", || ports(machine, function));
    }
    if !found {
        skipped("testdev", format_args!("no such function"));
    }
}

fn memory(machine: &Machine, function: &Function) -> Outcome {
    let bar = function.map(&machine.pci, &machine.start, spec::MEMORY_BAR).ok_or("its memory BAR cannot be mapped")?;
    bar.write8(header::TEST, test::NO_EVENTFD);
    let (width, offset, data) =
        (bar.read8(header::WIDTH), u64::from(bar.read32(header::OFFSET)), bar.read8(header::DATA));
    let before = bar.read32(header::COUNT);
    if offset >= bar.len() {
        return Err(format!("its target {offset:#x} is outside of the BAR"));
    }
    bar.write8(offset, data);
    let once = bar.read32(header::COUNT);
    bar.write8(offset, data);
    let twice = bar.read32(header::COUNT);
    if width != 1 || before != 0 || (once, twice) != (1, 2) {
        return Err(format!("width {width}, count {before}, {once}, {twice} before, after one, after two writes"));
    }
    Ok(format!("counts writes at {offset:#x}"))
}

fn ports(machine: &Machine, function: &Function) -> Outcome {
    let bar = function.bar(spec::IO_BAR).ok_or("it has no I/O BAR")?;
    let base = u16::try_from(bar.address).map_err(|_| "its I/O BAR is at no port")?;
    machine.pci.command(function.at, pci::IO, 0);
    let port = |offset: u64| base.wrapping_add(offset as u16);
    cpu::port_out(port(header::TEST), test::NO_EVENTFD);
    let offset: u32 = cpu::port_in(port(header::OFFSET));
    let data: u8 = cpu::port_in(port(header::DATA));
    if u64::from(offset) >= bar.size {
        return Err(format!("its target {offset:#x} is outside of the BAR"));
    }
    let before: u32 = cpu::port_in(port(header::COUNT));
    cpu::port_out(port(u64::from(offset)), data);
    let after: u32 = cpu::port_in(port(header::COUNT));
    if before != 0 || after != 1 {
        return Err(format!("count {before} before and {after} after a write"));
    }
    Ok(format!("counts writes at port {:#x}", port(u64::from(offset))))
}
