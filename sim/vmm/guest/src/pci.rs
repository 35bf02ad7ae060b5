//! PCI: configuration space by ECAM and by ports, functions, BARs, capabilities, MSI and MSI-X.

use alloc::vec::Vec;

use bringup_guest::start::Start;

use crate::machine::cpu;
use crate::machine::map::Registers;

const COMMAND: u16 = 0x04;
/// Command: memory, I/O, bus master, INTx disable.
pub(crate) const MEMORY: u16 = 2;
pub(crate) const IO: u16 = 1;
pub(crate) const MASTER: u16 = 4;
pub(crate) const NO_INTX: u16 = 1 << 10;

/// A function on bus 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    /// 0 to 31.
    pub(crate) device: u8,
    /// 0 to 7.
    pub(crate) function: u8,
}

impl core::fmt::Display for Address {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "00:{:02x}.{}", self.device, self.function)
    }
}

/// What a BAR decodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Space {
    /// Ports.
    Io,
    /// Memory below 4 GiB.
    Memory32,
    /// Memory anywhere.
    Memory64,
}

/// A BAR, sized.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bar {
    /// Its number.
    pub(crate) index: u8,
    /// What it decodes.
    pub(crate) space: Space,
    /// Where it is.
    pub(crate) address: u64,
    /// In bytes.
    pub(crate) size: u64,
}

/// A function that is there.
#[derive(Clone, Debug)]
pub(crate) struct Function {
    /// Where it is.
    pub(crate) at: Address,
    /// Vendor id.
    pub(crate) vendor: u16,
    /// Device id.
    pub(crate) device: u16,
    /// Class, subclass, interface.
    pub(crate) class: u32,
    /// Interrupt line register.
    pub(crate) line: u8,
    /// Its BARs.
    pub(crate) bars: Vec<Bar>,
    /// Its capabilities: id and offset.
    pub(crate) caps: Vec<(u8, u8)>,
}

/// Configuration space of bus 0.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pci {
    ecam: Option<Registers>,
}

impl Pci {
    /// With ECAM where the MCFG says that there is one.
    pub(crate) fn new(start: &Start, ecam: Option<(u64, u8, u8)>) -> Self {
        Self {
            ecam: ecam.filter(|(_, first, _)| *first == 0).and_then(|(base, ..)| Registers::map(start, base, 1 << 20)),
        }
    }

    /// ECAM of bus 0, where there is one.
    pub(crate) fn ecam(&self) -> Option<&Registers> {
        self.ecam.as_ref()
    }

    fn offset(at: Address, offset: u16) -> u64 {
        u64::from(at.device) << 15 | u64::from(at.function) << 12 | u64::from(offset & 0xfff)
    }

    /// Opens the window of the two ports on a register; the port of its first byte.
    fn window(at: Address, offset: u16) -> u16 {
        let address = 1 << 31 | u32::from(at.device) << 11 | u32::from(at.function) << 8 | u32::from(offset & 0xfc);
        cpu::port_out(0xcf8, address);
        0xcfc + (offset & 3)
    }

    /// 32 bits by ports.
    pub(crate) fn port_read32(at: Address, offset: u16) -> u32 {
        cpu::port_in(Self::window(at, offset))
    }

    /// 16 bits by ports.
    pub(crate) fn port_read16(at: Address, offset: u16) -> u16 {
        cpu::port_in(Self::window(at, offset))
    }

    /// 8 bits by ports.
    pub(crate) fn port_read8(at: Address, offset: u16) -> u8 {
        cpu::port_in(Self::window(at, offset))
    }

    /// 32 bits by ports.
    pub(crate) fn port_write32(at: Address, offset: u16, value: u32) {
        cpu::port_out(Self::window(at, offset), value);
    }

    /// 32 bits, by ECAM where there is one.
    pub(crate) fn read32(&self, at: Address, offset: u16) -> u32 {
        self.ecam.map_or_else(|| Self::port_read32(at, offset), |ecam| ecam.read32(Self::offset(at, offset)))
    }

    /// 16 bits, by ECAM where there is one.
    pub(crate) fn read16(&self, at: Address, offset: u16) -> u16 {
        self.ecam.map_or_else(|| Self::port_read16(at, offset), |ecam| ecam.read16(Self::offset(at, offset)))
    }

    /// 8 bits, by ECAM where there is one.
    pub(crate) fn read8(&self, at: Address, offset: u16) -> u8 {
        self.ecam.map_or_else(|| Self::port_read8(at, offset), |ecam| ecam.read8(Self::offset(at, offset)))
    }

    /// 32 bits, by ECAM where there is one.
    pub(crate) fn write32(&self, at: Address, offset: u16, value: u32) {
        match self.ecam {
            Some(ecam) => ecam.write32(Self::offset(at, offset), value),
            None => Self::port_write32(at, offset, value),
        }
    }

    /// 16 bits, by ECAM where there is one.
    pub(crate) fn write16(&self, at: Address, offset: u16, value: u16) {
        match self.ecam {
            Some(ecam) => ecam.write16(Self::offset(at, offset), value),
            None => cpu::port_out(Self::window(at, offset), value),
        }
    }

    /// Sets these bits of the command register and clears those.
    pub(crate) fn command(&self, at: Address, set: u16, clear: u16) {
        self.write16(at, COMMAND, self.read16(at, COMMAND) & !clear | set);
    }

    /// All functions of the bus, with their BARs sized (PCIe 6.0 §7.5.1.2.1): while that is done they do not decode.
    pub(crate) fn enumerate(&self) -> Vec<Function> {
        let mut found = Vec::new();
        for device in 0..32 {
            for function in 0..8 {
                let at = Address { device, function };
                let id = self.read32(at, 0);
                if id & 0xffff == 0xffff {
                    if function == 0 {
                        break;
                    }
                    continue;
                }
                found.push(self.function(at, id));
                if function == 0 && self.read8(at, 0x0e) & 0x80 == 0 {
                    break;
                }
            }
        }
        found
    }

    fn function(&self, at: Address, id: u32) -> Function {
        let header = self.read8(at, 0x0e) & 0x7f;
        Function {
            at,
            vendor: id as u16,
            device: (id >> 16) as u16,
            class: self.read32(at, 0x08) >> 8,
            line: self.read8(at, 0x3c),
            bars: if header == 0 { self.bars(at) } else { Vec::new() },
            caps: self.caps(at),
        }
    }

    /// The BARs as they are now.
    pub(crate) fn bars(&self, at: Address) -> Vec<Bar> {
        let mut bars = Vec::new();
        let command = self.read16(at, COMMAND);
        self.write16(at, COMMAND, command & !(MEMORY | IO));
        let mut index = 0;
        while index < 6 {
            let offset = 0x10 + 4 * u16::from(index);
            let low = self.read32(at, offset);
            let mask = self.size_mask(at, offset, low);
            let bar = if low & 1 != 0 {
                let bits = u64::from(mask & !3) | 0xffff_0000;
                Some(Bar { index, space: Space::Io, address: u64::from(low & !3), size: size32(bits) })
            } else if low & 6 == 4 {
                let high = self.read32(at, offset + 4);
                let high_mask = self.size_mask(at, offset + 4, high);
                let bits = u64::from(high_mask) << 32 | u64::from(mask & !15);
                let address = u64::from(high) << 32 | u64::from(low & !15);
                let index_of_this = index;
                index += 1;
                Some(Bar { index: index_of_this, space: Space::Memory64, address, size: (!bits).wrapping_add(1) })
            } else {
                let bits = u64::from(mask & !15);
                Some(Bar { index, space: Space::Memory32, address: u64::from(low & !15), size: size32(bits) })
            };
            bars.extend(bar.filter(|bar| mask != 0 && bar.size != 0));
            index += 1;
        }
        self.write16(at, COMMAND, command);
        bars
    }

    fn size_mask(&self, at: Address, offset: u16, before: u32) -> u32 {
        self.write32(at, offset, u32::MAX);
        let mask = self.read32(at, offset);
        self.write32(at, offset, before);
        mask
    }

    /// Puts a BAR somewhere else; it decodes again afterwards as it did before.
    pub(crate) fn place(&self, at: Address, bar: &Bar, address: u64) {
        let command = self.read16(at, COMMAND);
        self.write16(at, COMMAND, command & !(MEMORY | IO));
        let offset = 0x10 + 4 * u16::from(bar.index);
        self.write32(at, offset, address as u32);
        if bar.space == Space::Memory64 {
            self.write32(at, offset + 4, (address >> 32) as u32);
        }
        self.write16(at, COMMAND, command);
    }

    /// The capabilities; a list that does not end is cut.
    fn caps(&self, at: Address) -> Vec<(u8, u8)> {
        let mut caps = Vec::new();
        if self.read16(at, 0x06) & 0x10 == 0 {
            return caps;
        }
        let mut next = self.read8(at, 0x34) & 0xfc;
        while next >= 0x40 && caps.len() < 48 {
            caps.push((self.read8(at, u16::from(next)), next));
            next = self.read8(at, u16::from(next) + 1) & 0xfc;
        }
        caps
    }
}

fn size32(bits: u64) -> u64 {
    u64::from((!(bits as u32)).wrapping_add(1))
}

impl Function {
    /// Offset of the first capability with this id.
    pub(crate) fn cap(&self, id: u8) -> Option<u16> {
        self.caps.iter().find(|cap| cap.0 == id).map(|cap| u16::from(cap.1))
    }

    /// A BAR by its number.
    pub(crate) fn bar(&self, index: u8) -> Option<&Bar> {
        self.bars.iter().find(|bar| bar.index == index)
    }

    /// Maps a memory BAR and lets the function decode it.
    pub(crate) fn map(&self, pci: &Pci, start: &Start, index: u8) -> Option<Registers> {
        let bar = self.bar(index).filter(|bar| bar.space != Space::Io)?;
        let registers = Registers::map(start, bar.address, bar.size)?;
        pci.command(self.at, MEMORY, 0);
        Some(registers)
    }
}

/// MSI (PCIe 6.0 §7.7.1).
pub(crate) struct Msi {
    at: Address,
    cap: u16,
}

impl Msi {
    /// The function's, where it has it.
    pub(crate) fn of(function: &Function) -> Option<Self> {
        function.cap(0x05).map(|cap| Self { at: function.at, cap })
    }

    /// Sends this message from now on.
    pub(crate) fn enable(&self, pci: &Pci, message: (u64, u32)) {
        let control = pci.read16(self.at, self.cap + 2);
        pci.write32(self.at, self.cap + 4, message.0 as u32);
        let data = if control & 0x80 != 0 {
            pci.write32(self.at, self.cap + 8, (message.0 >> 32) as u32);
            self.cap + 12
        } else {
            self.cap + 8
        };
        pci.write16(self.at, data, message.1 as u16);
        pci.write16(self.at, self.cap + 2, control & !0x70 | 1);
    }

    /// No message any more.
    pub(crate) fn disable(&self, pci: &Pci) {
        pci.write16(self.at, self.cap + 2, pci.read16(self.at, self.cap + 2) & !1);
    }
}

/// MSI-X (PCIe 6.0 §7.7.2).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Msix {
    at: Address,
    cap: u16,
    table: Registers,
    pending: Registers,
    /// How many vectors there are.
    pub(crate) vectors: u16,
}

impl Msix {
    /// The function's, where it has it and its table is in a BAR.
    pub(crate) fn of(pci: &Pci, start: &Start, function: &Function) -> Option<Self> {
        let cap = function.cap(0x11)?;
        let vectors = (pci.read16(function.at, cap + 2) & 0x7ff) + 1;
        let part = |offset: u16, len: u64| {
            let place = pci.read32(function.at, cap + offset);
            function.map(pci, start, (place & 7) as u8)?.part(u64::from(place & !7), len)
        };
        let table = part(4, 16 * u64::from(vectors))?;
        let pending = part(8, u64::from(vectors).div_ceil(64) * 8)?;
        Some(Self { at: function.at, cap, table, pending, vectors })
    }

    /// Enables or disables all of it.
    pub(crate) fn enable(&self, pci: &Pci, enable: bool) {
        let control = pci.read16(self.at, self.cap + 2) & 0x3fff;
        pci.write16(self.at, self.cap + 2, control | if enable { 0x8000 } else { 0 });
    }

    /// Writes a vector's message and whether it is masked.
    pub(crate) fn set(&self, vector: u16, message: (u64, u32), masked: bool) {
        let entry = 16 * u64::from(vector);
        self.table.write32(entry + 12, 1);
        self.table.write32(entry, message.0 as u32);
        self.table.write32(entry + 4, (message.0 >> 32) as u32);
        self.table.write32(entry + 8, message.1);
        self.table.write32(entry + 12, u32::from(masked));
    }

    /// Masks a vector or opens it.
    pub(crate) fn mask(&self, vector: u16, masked: bool) {
        self.table.write32(16 * u64::from(vector) + 12, u32::from(masked));
    }

    /// Whether a vector's message waits.
    pub(crate) fn is_pending(&self, vector: u16) -> bool {
        self.pending.read32(u64::from(vector / 32) * 4) >> (vector % 32) & 1 != 0
    }
}
