//! What a hostile guest does to a machine: accesses that no driver makes. What matters is that the machine and this
//! program are still there afterwards.

use bringup_guest::arithmetic::Random;

use crate::Machine;
use crate::machine::cpu;
use crate::machine::map::Registers;
use crate::pci::{self, Address, Bar, Function, Pci, Space};
use crate::report::{Outcome, step};
use alloc::format;
use alloc::vec::Vec;

/// Numbers that have been bad for others.
const ODD: [u64; 14] = [
    0,
    1,
    0xff,
    0xffff,
    0xffff_ffff,
    u64::MAX,
    0x8000_0000,
    0x7fff_ffff,
    0xfee0_0000,
    0xe000_0000,
    0xc000_0000,
    0xffff_f000,
    1 << 40,
    i64::MIN as u64,
];

/// Ports that answer something and that end nothing.
const PORTS: [u16; 10] = [0xcf8, 0xcfc, 0xcfd, 0xcfe, 0xcff, 0x608, 0x600, 0x602, 0x2fd, 0x80];

/// Does it.
pub(crate) fn run(machine: &Machine, seed: u64, count: u64, master: bool) {
    step("fuzz", || go(machine, seed, count, master));
}

struct Fuzz<'a> {
    machine: &'a Machine,
    functions: Vec<Function>,
    random: Random,
    master: bool,
}

fn go(machine: &Machine, seed: u64, count: u64, master: bool) -> Outcome {
    // Intel's chipset (on QEMU's q35) has registers that move ECAM and power-off away from under us.
    let functions: Vec<Function> = machine.functions.iter().filter(|found| found.vendor != 0x8086).cloned().collect();
    let mut fuzz = Fuzz { machine, functions, random: Random::new(seed), master };
    let mut done = [0_u64; 6];
    for index in 0..count {
        if index % 256 == 0 {
            fuzz.put_back();
        }
        // One step may not last as long as the watchdog lets a whole step last.
        cpu::set_watchdog(6_000);
        let which = fuzz.random.below(100);
        let kind = match which {
            0..=29 => fuzz.configuration(),
            30..=44 => fuzz.configuration_ports(),
            45..=79 => fuzz.bar(),
            80..=87 => fuzz.move_bar(),
            88..=95 => fuzz.message_table(),
            _ => fuzz.port(),
        };
        if let Some(place) = done.get_mut(kind) {
            *place += 1;
        }
    }
    // Nothing decodes any more where the rest of the program lives.
    for function in &fuzz.functions {
        Pci::port_write32(function.at, 4, 0);
    }
    let [ecam, ports, bars, moves, tables, others] = done;
    let first = machine.pci.read32(Address { device: 0, function: 0 }, 0);
    let ids = machine.functions.iter().find(|function| {
        Pci::port_read32(function.at, 0) != u32::from(function.vendor) | u32::from(function.device) << 16
    });
    if let Some(function) = ids {
        return Err(format!("{} has another id now; the bridge reads {first:#x}", function.at));
    }
    Ok(format!(
        "seed {seed}, {count} accesses: {ecam} by ECAM, {ports} by ports, {bars} of BARs, {moves} moves, {tables} of MSI-X tables, {others} of other ports"
    ))
}

impl Fuzz<'_> {
    /// Puts all BARs where they were at first and lets them decode, so that there is something behind them again.
    fn put_back(&self) {
        let master = if self.master { pci::MASTER } else { 0 };
        for function in &self.functions {
            for bar in &function.bars {
                self.machine.pci.place(function.at, bar, bar.address);
            }
            self.machine.pci.command(function.at, pci::MEMORY | pci::IO | master, pci::MASTER & !master);
        }
    }

    fn value(&mut self) -> u64 {
        match self.random.below(4) {
            0 => self.random.draw(),
            1 => 1 << self.random.below(64),
            2 => self.random.below(256),
            _ => usize::try_from(self.random.below(ODD.len() as u64))
                .ok()
                .and_then(|at| ODD.get(at))
                .copied()
                .unwrap_or(0),
        }
    }

    fn some_function(&mut self) -> Option<Address> {
        // Mostly one that is there.
        if self.random.below(16) == 0 {
            return Some(Address { device: self.random.below(32) as u8, function: self.random.below(8) as u8 });
        }
        let at = usize::try_from(self.random.below(self.functions.len() as u64)).ok()?;
        self.functions.get(at).map(|function| function.at)
    }

    /// A write to the bytes of the command register keeps bus mastering off, unless it was asked for: a device that
    /// writes to random addresses would end this program, which proves nothing.
    fn tame(&self, offset: u64, width: u64, value: u64) -> u64 {
        if self.master || offset > 4 || offset + width <= 4 {
            return value;
        }
        value & !(u64::from(pci::MASTER) << (8 * (4 - offset)))
    }

    fn access(&mut self, registers: &Registers, offset: u64, width: u64, tame_at: Option<u64>) {
        let write = self.random.below(2) == 0;
        let value = self.value();
        let value = tame_at.map_or(value, |at| self.tame(at, width, value));
        match (width, write) {
            (1, true) => registers.write8(offset, value as u8),
            (2, true) => registers.write16(offset, value as u16),
            (4, true) => registers.write32(offset, value as u32),
            (_, true) => registers.write64(offset, value),
            (1, false) => {
                registers.read8(offset);
            }
            (2, false) => {
                registers.read16(offset);
            }
            (4, false) => {
                registers.read32(offset);
            }
            (_, false) => {
                registers.read64(offset);
            }
        }
    }

    fn configuration(&mut self) -> usize {
        let (Some(ecam), Some(at)) = (self.machine.pci.ecam().copied(), self.some_function()) else {
            return self.configuration_ports();
        };
        let width = 1 << self.random.below(4);
        let space = if self.random.below(8) == 0 { 4096 } else { 256 };
        // Not aligned now and then.
        let step = if self.random.below(8) == 0 { 1 } else { width };
        let offset = (self.random.below(space) / step * step).min(4096 - width);
        let base = u64::from(at.device) << 15 | u64::from(at.function) << 12;
        self.access(&ecam, base + offset, width, Some(offset));
        0
    }

    fn configuration_ports(&mut self) -> usize {
        let Some(at) = self.some_function() else { return 1 };
        let offset = self.random.below(64) * 4;
        let enable = if self.random.below(16) == 0 { 0 } else { 1 << 31 };
        let address = enable | u32::from(at.device) << 11 | u32::from(at.function) << 8 | offset as u32;
        cpu::port_out(0xcf8, address);
        let byte = self.random.below(4);
        let width = 1 << self.random.below(3);
        let value = self.value();
        let value = self.tame(offset + byte, width, value);
        let port = 0xcfc + byte as u16;
        let write = self.random.below(2) == 0;
        match (width, write) {
            (1, true) => cpu::port_out(port, value as u8),
            (2, true) => cpu::port_out(port, value as u16),
            (_, true) => cpu::port_out(port, value as u32),
            (1, false) => {
                cpu::port_in::<u8>(port);
            }
            (2, false) => {
                cpu::port_in::<u16>(port);
            }
            (_, false) => {
                cpu::port_in::<u32>(port);
            }
        }
        1
    }

    fn some_bar(&mut self) -> Option<(Address, Bar)> {
        let functions = &self.functions;
        let at = usize::try_from(self.random.below(functions.len() as u64)).ok()?;
        let function = functions.get(at)?;
        let bar = usize::try_from(self.random.below(function.bars.len() as u64)).ok()?;
        function.bars.get(bar).map(|bar| (function.at, *bar))
    }

    /// An access to where a BAR is now, or was at first.
    fn bar(&mut self) -> usize {
        let Some((at, bar)) = self.some_bar() else { return 2 };
        let now = if self.random.below(4) == 0 { bar.address } else { Self::address_now(at, &bar) };
        let width = 1 << self.random.below(4);
        let step = if self.random.below(16) == 0 { 1 } else { width };
        // Registers are at the front, mostly.
        let span = if self.random.below(2) == 0 { bar.size.min(256) } else { bar.size };
        let offset = (self.random.below(span.max(1)) / step * step).min(bar.size.saturating_sub(width));
        if bar.space == Space::Io {
            self.port_at(now.wrapping_add(offset) as u16, width);
        } else if let Some(registers) =
            Registers::map(&self.machine.start, now, bar.size.max(8)).filter(|_| !forbidden(now, bar.size))
        {
            self.access(&registers, offset, width, None);
        }
        2
    }

    fn address_now(at: Address, bar: &Bar) -> u64 {
        let offset = 0x10 + 4 * u16::from(bar.index);
        let low = u64::from(Pci::port_read32(at, offset));
        match bar.space {
            Space::Io => low & 0xfffc,
            Space::Memory32 => low & !15,
            Space::Memory64 => low & !15 | u64::from(Pci::port_read32(at, offset + 4)) << 32,
        }
    }

    /// A BAR goes to a place in its window, or to one that is none.
    fn move_bar(&mut self) -> usize {
        let Some((at, bar)) = self.some_bar() else { return 3 };
        let inside = self.random.below(4) != 0;
        let address = match (bar.space, inside) {
            (Space::Io, true) => 0xc000 + self.random.below(0x4000),
            (Space::Memory32, true) => 0xc000_0000 + self.random.below(0x2000_0000),
            (Space::Memory64, true) => 0x80_0000_0000 + self.random.below(0x1_0000_0000),
            (_, false) => self.value(),
        };
        let offset = 0x10 + 4 * u16::from(bar.index);
        Pci::port_write32(at, offset, address as u32);
        if bar.space == Space::Memory64 {
            Pci::port_write32(at, offset + 4, (address >> 32) as u32);
        }
        let all = u32::from(pci::MEMORY | pci::IO);
        let command = if self.random.below(4) == 0 { all & self.random.draw() as u32 } else { all };
        Pci::port_write32(at, 4, command | if self.master { u32::from(pci::MASTER) } else { 0 });
        3
    }

    /// The table and the pending bits of MSI-X, and its control word.
    fn message_table(&mut self) -> usize {
        let functions = &self.functions;
        let Ok(index) = usize::try_from(self.random.below(functions.len() as u64)) else { return 4 };
        let Some(function) = functions.get(index) else { return 4 };
        let Some(cap) = function.cap(0x11) else { return 4 };
        let at = function.at;
        if self.random.below(4) == 0 {
            let control = self.random.draw() as u32 & 0xc000_0000;
            Pci::port_write32(at, cap, control);
            return 4;
        }
        let place = Pci::port_read32(at, cap + if self.random.below(4) == 0 { 8 } else { 4 });
        let Some(bar) = function.bar((place & 7) as u8).copied() else { return 4 };
        let now = Self::address_now(at, &bar);
        let offset = u64::from(place & !7) + self.random.below(64) * 4;
        let width = 4 << self.random.below(2);
        if offset + width <= bar.size
            && !forbidden(now, bar.size)
            && let Some(registers) = Registers::map(&self.machine.start, now, bar.size)
        {
            self.access(&registers, offset, width, None);
        }
        4
    }

    fn port(&mut self) -> usize {
        let at = usize::try_from(self.random.below(PORTS.len() as u64)).ok();
        if let Some(port) = at.and_then(|at| PORTS.get(at)).copied() {
            let width = 1 << self.random.below(3);
            match width {
                1 => {
                    cpu::port_in::<u8>(port);
                }
                2 => {
                    cpu::port_in::<u16>(port);
                }
                _ => {
                    cpu::port_in::<u32>(port);
                }
            }
        }
        5
    }

    /// Ports of a BAR; those that end or silence the machine are left alone.
    fn port_at(&mut self, port: u16, width: u64) {
        if !(0xc000..=0xfff0).contains(&port) {
            return;
        }
        let value = self.value();
        let write = self.random.below(2) == 0;
        match (width, write) {
            (1, true) => cpu::port_out(port, value as u8),
            (2, true) => cpu::port_out(port, value as u16),
            (_, true) => cpu::port_out(port, value as u32),
            (1, false) => {
                cpu::port_in::<u8>(port);
            }
            (2, false) => {
                cpu::port_in::<u16>(port);
            }
            (_, false) => {
                cpu::port_in::<u32>(port);
            }
        }
    }
}

/// The interrupt controllers, and what is above them: a random write there is one to them.
fn forbidden(address: u64, size: u64) -> bool {
    bringup_guest::arithmetic::overlap((address, size), (0xfec0_0000, 0x0140_0000)) || address < 1 << 20
}
