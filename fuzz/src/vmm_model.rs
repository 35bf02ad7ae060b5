//! What the machine must do with a guest's accesses, said once more and more simply: the oracle of the `vmm_hostile_guest` target.
//! It follows the trace, and knows of the code under test only its constants.

use bringup_core::pci::BarKind;
use bringup_core::trace::Event;
use bringup_core::{Bus, DeviceId};

/// Where configuration space is in memory, and how much of it.
pub(crate) const ECAM: u64 = 0xe000_0000;
const ECAM_LEN: u64 = 0x10_0000;

/// The guest's memory: first address, bytes.
pub(crate) const RAM: [(u64, u64); 2] = [(0, 0x1_0000), (1 << 32, 0x1_0000)];

/// Who must answer for one byte of an access.
#[derive(Debug)]
pub(crate) enum Lane {
    /// The address register, this byte of it.
    Latch(usize),
    /// The host bridge's configuration space.
    Bridge(usize),
    /// A device's configuration space.
    Config(DeviceId, u16),
    /// One of these: device, BAR, offset. Nobody, if there are none.
    Bars(Vec<(DeviceId, u8, u64)>),
}

/// A function as its software left it.
pub(crate) struct Shadow {
    kinds: Vec<(u8, BarKind, u64)>,
    /// The six address registers, which of their bits can be written, and the others.
    registers: [u32; 6],
    masks: [u32; 6],
    flags: [u32; 6],
    pub(crate) command: u16,
    command_mask: u16,
    /// The byte and bit that begin a function-level reset.
    reset: Option<(u16, u8)>,
    /// The last write began one.
    resetting: bool,
    /// Where the data of the window to the BARs are.
    pub(crate) window: Option<u16>,
    /// The upper byte of MSI-X message control.
    msix_control: Option<u16>,
}

/// The MSI-X vectors of the device that rings on demand.
#[derive(Default)]
pub(crate) struct Vectors {
    table: [[u32; 4]; 4],
    pending: u64,
    enabled: bool,
    masked: bool,
    /// What must have left: vector, address, data.
    pub(crate) sent: Vec<(u16, u64, u32)>,
}

/// The machine.
pub(crate) struct Model {
    pub(crate) shadows: Vec<Shadow>,
    /// The device that rings on demand.
    bell: DeviceId,
    pub(crate) vectors: Vectors,
    latch: u32,
    bridge: [u8; 256],
    /// DMA writes that may have changed memory: address, length.
    pub(crate) written: Vec<(u64, u64)>,
    /// DMA of a bus master that must have been refused.
    pub(crate) refused: usize,
}

impl Shadow {
    fn new(bus: &Bus, id: DeviceId) -> Self {
        let (config, function) = (bus.port(id).config(), bus.port(id).function());
        let mut shadow = Self {
            kinds: function.bars().iter().map(|bar| (bar.index, bar.kind, bar.size)).collect(),
            registers: std::array::from_fn(|index| config.read(0x10 + 4 * index as u16, 4)),
            masks: [0; 6],
            flags: [0; 6],
            command: 0,
            command_mask: 0x144,
            reset: None,
            resetting: false,
            window: None,
            msix_control: None,
        };
        for (index, kind, size) in &shadow.kinds {
            let index = usize::from(*index);
            shadow.masks[index] = !(*size - 1) as u32;
            shadow.flags[index] = shadow.registers[index] & 15 & !shadow.masks[index];
            if *kind == BarKind::Memory64 {
                shadow.masks[index + 1] = (!(*size - 1) >> 32) as u32;
            }
            shadow.command_mask |= if *kind == BarKind::Io { 1 } else { 2 };
        }
        if config.read(0x3d, 1) != 0 {
            shadow.command_mask |= 0x400;
        }
        let mut at = config.read(0x34, 1) as u16;
        while at != 0 {
            match (config.read(at, 1), config.read(at + 3, 1)) {
                (0x10, _) if config.read(at + 4, 4) >> 28 & 1 == 1 => shadow.reset = Some((at + 9, 0x80)),
                (0x13, _) => shadow.reset = Some((at + 4, 1)),
                (0x11, _) => shadow.msix_control = Some(at + 3),
                (0x09, 5) => shadow.window = Some(at + 16),
                _ => {}
            }
            at = config.read(at + 1, 1) as u16;
        }
        shadow
    }

    /// Where a BAR is.
    pub(crate) fn address(&self, index: u8) -> u64 {
        let at = usize::from(index);
        let low = u64::from(self.registers[at]);
        match self.kinds.iter().find(|(number, ..)| *number == index) {
            Some((_, BarKind::Io, _)) => low & !3,
            Some((_, BarKind::Memory64, _)) => low & !15 | u64::from(self.registers[at + 1]) << 32,
            _ => low & !15,
        }
    }

    pub(crate) fn decodes(&self, bar: u8) -> bool {
        let io = self.kinds.iter().any(|(index, kind, _)| *index == bar && *kind == BarKind::Io);
        self.command & if io { 1 } else { 2 } != 0
    }

    /// How many BARs there are, and one of them by number: index and size.
    pub(crate) fn bar(&self, number: usize) -> Option<(u8, u64)> {
        let (index, _, size) = self.kinds.get(number % self.kinds.len().max(1))?;
        Some((*index, *size))
    }

    /// The byte of configuration space, if this model follows it.
    fn byte(&self, register: u16) -> Option<u8> {
        let at = usize::from(register);
        match register {
            4 | 5 => Some(self.command.to_le_bytes()[at - 4]),
            0x10..0x28 => Some(self.registers[(at - 0x10) / 4].to_le_bytes()[at % 4]),
            _ => None,
        }
    }

    fn write(&mut self, register: u16, new: u8) {
        let at = usize::from(register);
        let blend = |old: u8, mask: u8| old & !mask | new & mask;
        match register {
            4 | 5 => {
                let (mut bytes, mask) = (self.command.to_le_bytes(), self.command_mask.to_le_bytes());
                bytes[at - 4] = blend(bytes[at - 4], mask[at - 4]);
                self.command = u16::from_le_bytes(bytes);
            }
            0x10..0x28 => {
                let index = (at - 0x10) / 4;
                let (mut bytes, mask) = (self.registers[index].to_le_bytes(), self.masks[index].to_le_bytes());
                bytes[at % 4] = blend(bytes[at % 4], mask[at % 4]);
                self.registers[index] = u32::from_le_bytes(bytes);
            }
            _ => {}
        }
        self.resetting |= self.reset.is_some_and(|(byte, bit)| byte == register && new & bit != 0);
    }
}

impl Vectors {
    fn deliver(&mut self, master: bool) {
        for vector in 0..4 {
            let free = self.enabled && !self.masked && master && self.table[vector][3] == 0;
            if free && self.pending >> vector & 1 == 1 {
                self.pending &= !(1 << vector);
                self.send(vector);
            }
        }
    }

    fn send(&mut self, vector: usize) {
        let [low, high, data, _] = self.table[vector];
        self.sent.push((vector as u16, u64::from(high) << 32 | u64::from(low), data));
    }

    fn raise(&mut self, vector: usize, master: bool) {
        if !self.enabled || vector >= 4 {
        } else if self.masked || self.table[vector][3] != 0 {
            self.pending |= 1 << vector;
        } else if master {
            self.send(vector);
        }
    }

    fn write(&mut self, offset: u64, width: u8, value: u64) {
        for (nth, at) in (offset..offset + u64::from(width)).step_by(4).enumerate() {
            let value = (value >> (32 * nth)) as u32;
            self.table[at as usize / 16][at as usize % 16 / 4] = match at % 16 {
                0 => value & !3,
                12 => value & 1,
                _ => value,
            };
        }
    }

    fn expected(&self, offset: u64, width: u8) -> Option<u64> {
        let mut bytes = [0; 72];
        for (at, dword) in self.table.iter().flatten().enumerate() {
            bytes[4 * at..][..4].copy_from_slice(&dword.to_le_bytes());
        }
        bytes[64..].copy_from_slice(&self.pending.to_le_bytes());
        let start = match offset {
            0..64 => offset as usize,
            0x800..0x808 => offset as usize - 0x800 + 64,
            _ => return None,
        };
        let mut value = [0; 8];
        value[..usize::from(width)].copy_from_slice(&bytes[start..][..usize::from(width)]);
        Some(if width < 4 { (1 << (8 * width)) - 1 } else { u64::from_le_bytes(value) })
    }
}

impl Model {
    pub(crate) fn new(bus: &Bus, bell: DeviceId) -> Self {
        let mut bridge = [0; 256];
        bridge[..12].copy_from_slice(&[0x36, 0x1b, 0x08, 0, 0, 0, 0, 0, 0, 0, 0, 6]);
        Self {
            shadows: bus.devices().map(|id| Shadow::new(bus, id)).collect(),
            bell,
            vectors: Vectors { table: [[0, 0, 0, 1]; 4], ..Vectors::default() },
            latch: 0,
            bridge,
            written: Vec::new(),
            refused: 0,
        }
    }

    fn shadow(&mut self, id: DeviceId) -> &mut Shadow {
        &mut self.shadows[usize::from(id.0)]
    }

    /// Who must answer for the byte at `address`.
    pub(crate) fn lane(&self, io: bool, address: u64, whole: std::ops::Range<u64>) -> Lane {
        let latch = 0xcf8..0xcfc_u64;
        if io && latch.contains(&address) && whole.start <= latch.start && whole.end >= latch.end {
            return Lane::Latch((address - 0xcf8) as usize);
        }
        if io && (0xcfc..0xd00).contains(&address) && self.latch >> 31 == 1 {
            let function = self.latch >> 8 & 0xffff;
            return self.config(function, (self.latch & 0xfc) as u16 + (address - 0xcfc) as u16);
        }
        if !io && (ECAM..ECAM + ECAM_LEN).contains(&address) {
            let at = address - ECAM;
            return self.config((at >> 12) as u32, (at & 0xfff) as u16);
        }
        let mut claims = Vec::new();
        for (number, shadow) in self.shadows.iter().enumerate() {
            for (index, kind, size) in &shadow.kinds {
                let start = shadow.address(*index);
                let inside = start != 0 && address >= start && address - start < *size;
                if inside && (*kind == BarKind::Io) == io && shadow.decodes(*index) && !(io && address > 0xffff) {
                    claims.push((DeviceId(number as u16), *index, address - start));
                }
            }
        }
        Lane::Bars(claims)
    }

    /// Who is at a bus, device and function number.
    fn config(&self, function: u32, register: u16) -> Lane {
        let slot = usize::from(function as u16 >> 3);
        if function == 0 {
            return Lane::Bridge(register.into());
        }
        let there = function.is_multiple_of(8) && function < 256 && (3..3 + self.shadows.len()).contains(&slot);
        if there { Lane::Config(DeviceId(slot as u16 - 3), register) } else { Lane::Bars(Vec::new()) }
    }

    /// What a byte that no device answers for reads as.
    pub(crate) fn read(&self, lane: &Lane) -> u8 {
        match lane {
            Lane::Latch(at) => self.latch.to_le_bytes()[*at],
            Lane::Bridge(at) => self.bridge.get(*at).copied().unwrap_or(0xff),
            _ => 0xff,
        }
    }

    /// A byte that no device answers for is written.
    pub(crate) fn write(&mut self, lane: &Lane, new: u8) {
        let keep = |old: u8, mask: u8| old & !mask | new & mask;
        match lane {
            Lane::Latch(at) => {
                let mut bytes = self.latch.to_le_bytes();
                bytes[*at] = keep(0, [0xfc, 0xff, 0xff, 0x80][*at]);
                self.latch = u32::from_le_bytes(bytes);
            }
            Lane::Bridge(4) => self.bridge[4] = keep(self.bridge[4], 0x44),
            Lane::Bridge(5) => self.bridge[5] = keep(self.bridge[5], 1),
            Lane::Bridge(0x3c) => self.bridge[0x3c] = new,
            _ => {}
        }
    }

    /// Follows what happened; panics if it was not what had to.
    pub(crate) fn see(&mut self, event: &Event) {
        match *event {
            Event::ConfigRead { device, offset, width, value } => {
                for (lane, got) in value.to_le_bytes().into_iter().enumerate().take(width.into()) {
                    let expected = self.shadow(device).byte(offset + lane as u16);
                    assert!(expected.is_none_or(|byte| byte == got), "{event:?}: not {expected:x?}");
                }
            }
            Event::ConfigWrite { device, offset, width, value } => {
                self.shadow(device).resetting = false;
                for (lane, new) in value.to_le_bytes().into_iter().enumerate().take(width.into()) {
                    let register = offset + lane as u16;
                    self.shadow(device).write(register, new);
                    if device == self.bell && self.shadow(device).msix_control == Some(register) {
                        (self.vectors.enabled, self.vectors.masked) = (new & 0x80 != 0, new & 0x40 != 0);
                    }
                }
                if device == self.bell && !self.shadow(device).resetting {
                    let master = self.masters(device);
                    self.vectors.deliver(master);
                }
            }
            Event::Reset { device, .. } => {
                let bell = device == self.bell;
                let shadow = self.shadow(device);
                assert!(shadow.resetting, "{event:?}: nobody asked for it");
                (shadow.resetting, shadow.command, shadow.registers) = (false, 0, shadow.flags);
                if bell {
                    let sent = std::mem::take(&mut self.vectors.sent);
                    self.vectors = Vectors { table: [[0, 0, 0, 1]; 4], sent, ..Vectors::default() };
                }
            }
            Event::BarRead { device, bar: 2, offset, width, value, .. } if device == self.bell => {
                let expected = self.vectors.expected(offset, width);
                assert!(expected.is_none_or(|expected| expected == value), "{event:x?}: not {expected:x?}");
            }
            Event::BarWrite { device, bar, offset, width, value, .. } if device == self.bell => {
                let master = self.masters(device);
                match bar {
                    0 => self.vectors.raise((value & 7) as usize, master),
                    2 if offset < 64 && width >= 4 => {
                        self.vectors.write(offset, width, value);
                        self.vectors.deliver(master);
                    }
                    _ => {}
                }
            }
            Event::DmaRead { device, iova, len } => self.see_dma(device, iova, len, false),
            Event::DmaWrite { device, iova, len } => self.see_dma(device, iova, len, true),
            _ => {}
        }
    }

    fn masters(&mut self, device: DeviceId) -> bool {
        self.shadow(device).command & 4 != 0
    }

    fn see_dma(&mut self, device: DeviceId, iova: u64, len: u64, write: bool) {
        if !self.masters(device) {
            return;
        }
        let inside =
            RAM.iter().any(|(start, size)| iova >= *start && iova - start < *size && len <= size - (iova - start));
        match (inside, write) {
            (true, true) => self.written.push((iova, len)),
            (true, false) => {}
            (false, _) => self.refused += 1,
        }
    }
}
