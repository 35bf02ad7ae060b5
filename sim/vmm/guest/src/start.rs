//! How the program was started: the PVH start info (Xen's `hvm_start_info`) or Linux' zero page
//! (Documentation/arch/x86/boot.rst, zero-page.rst), read into one form.

use crate::Memory;

/// What the first word of a PVH start info is.
pub const PVH_MAGIC: u32 = 0x336e_c578;

/// By which protocol the program was entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// 32-bit entry, start info.
    Pvh,
    /// 64-bit entry, zero page.
    Linux,
}

/// A range of the memory map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// First byte.
    pub start: u64,
    /// In bytes.
    pub len: u64,
    /// 1 is RAM, as in E820 and ACPI 6.5 §15.
    pub kind: u32,
}

/// The most ranges that are kept.
pub const RANGES: usize = 32;

/// What the loader said.
#[derive(Clone, Debug)]
pub struct Start {
    /// Where the command line is; 0 for none.
    pub command_line: u64,
    /// Where the RSDP is; 0 when the loader did not say.
    pub rsdp: u64,
    /// First byte and length of the first module (the initrd), where there is one.
    pub module: Option<(u64, u64)>,
    ranges: [Range; RANGES],
    used: usize,
}

impl Start {
    /// The memory map; the first [`RANGES`] of it.
    #[must_use]
    pub fn ranges(&self) -> &[Range] {
        self.ranges.get(..self.used).unwrap_or(&[])
    }

    /// RAM in bytes.
    #[must_use]
    pub fn ram(&self) -> u64 {
        self.ranges().iter().filter(|range| range.kind == 1).fold(0, |sum, range| sum.saturating_add(range.len))
    }

    /// Whether `len` bytes from `address` have a byte of any range of the map: RAM, or what firmware keeps for itself.
    #[must_use]
    pub fn is_memory(&self, address: u64, len: u64) -> bool {
        self.ranges()
            .iter()
            .any(|range| range.kind == 1 && crate::arithmetic::overlap((address, len), (range.start, range.len)))
    }

    /// Reads what the loader left at `address`.
    ///
    /// # Errors
    /// One line that says what is wrong with it.
    pub fn read(memory: &impl Memory, protocol: Protocol, address: u64) -> Result<Self, &'static str> {
        match protocol {
            Protocol::Pvh => Self::pvh(memory, address).ok_or("the PVH start info cannot be read")?,
            Protocol::Linux => Self::linux(memory, address).ok_or("the zero page cannot be read"),
        }
    }

    const fn empty() -> Self {
        Self { command_line: 0, rsdp: 0, module: None, ranges: [Range { start: 0, len: 0, kind: 0 }; RANGES], used: 0 }
    }

    fn push(&mut self, range: Range) {
        if let Some(place) = self.ranges.get_mut(self.used) {
            *place = range;
            self.used += 1;
        }
    }

    fn pvh(memory: &impl Memory, address: u64) -> Option<Result<Self, &'static str>> {
        if memory.u32(address)? != PVH_MAGIC {
            return Some(Err("the PVH start info does not begin with its magic number"));
        }
        let mut start = Self::empty();
        let version = memory.u32(address + 4)?;
        if memory.u32(address + 12)? > 0 {
            let list = memory.u64(address + 16)?;
            start.module = Some((memory.u64(list)?, memory.u64(list.checked_add(8)?)?));
        }
        start.command_line = memory.u64(address + 24)?;
        start.rsdp = memory.u64(address + 32)?;
        if version >= 1 {
            let map = memory.u64(address + 40)?;
            for index in 0..u64::from(memory.u32(address + 48)?).min(RANGES as u64) {
                let entry = map.checked_add(index * 24)?;
                start.push(Range {
                    start: memory.u64(entry)?,
                    len: memory.u64(entry.checked_add(8)?)?,
                    kind: memory.u32(entry.checked_add(16)?)?,
                });
            }
        }
        Some(Ok(start))
    }

    fn linux(memory: &impl Memory, address: u64) -> Option<Self> {
        let mut start = Self::empty();
        start.command_line = u64::from(memory.u32(address + 0x228)?) | u64::from(memory.u32(address + 0xc8)?) << 32;
        start.rsdp = memory.u64(address + 0x70)?;
        let initrd = u64::from(memory.u32(address + 0x218)?);
        let initrd_len = u64::from(memory.u32(address + 0x21c)?);
        start.module = (initrd_len > 0).then_some((initrd, initrd_len));
        for index in 0..u64::from(memory.u8(address + 0x1e8)?).min(RANGES as u64) {
            let entry = address + 0x2d0 + index * 20;
            start.push(Range { start: memory.u64(entry)?, len: memory.u64(entry + 8)?, kind: memory.u32(entry + 16)? });
        }
        Some(start)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::pretend::Pieces;
    use std::vec;
    use std::vec::Vec;

    fn start_info(magic: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        for word in [magic, 1, 0, 1] {
            bytes.extend(word.to_le_bytes());
        }
        for long in [0x7000_u64, 0x2_0000, 0xe_0000, 0x8000] {
            bytes.extend(long.to_le_bytes());
        }
        bytes.extend(2_u32.to_le_bytes());
        bytes.extend(0_u32.to_le_bytes());
        bytes
    }

    fn machine(magic: u32) -> Pieces {
        let mut map = Vec::new();
        for (start, len, kind) in [(0_u64, 0xa_0000_u64, 1_u32), (0xe_0000, 0x2_0000, 2)] {
            map.extend(start.to_le_bytes());
            map.extend(len.to_le_bytes());
            map.extend(kind.to_le_bytes());
            map.extend([0; 4]);
        }
        let mut module = Vec::new();
        module.extend(0x10_0000_u64.to_le_bytes());
        module.extend(5_u64.to_le_bytes());
        Pieces::default().with(0x6000, start_info(magic)).with(0x8000, map).with(0x7000, module)
    }

    #[test]
    fn start_info_is_read_with_its_memory_map() {
        let start = Start::read(&machine(PVH_MAGIC), Protocol::Pvh, 0x6000).unwrap();
        assert_eq!((start.command_line, start.rsdp, start.module), (0x2_0000, 0xe_0000, Some((0x10_0000, 5))));
        assert_eq!(start.ranges().len(), 2);
        assert_eq!(start.ram(), 0xa_0000);
        assert!(start.is_memory(0x9_ffff, 1));
        assert!(!start.is_memory(0xe_0000, 8));
    }

    #[test]
    fn start_info_without_its_magic_is_refused() {
        assert!(Start::read(&machine(1), Protocol::Pvh, 0x6000).unwrap_err().contains("magic"));
        assert!(Start::read(&machine(PVH_MAGIC), Protocol::Pvh, 0x1).is_err());
    }

    #[test]
    fn zero_page_is_read_with_its_memory_map() {
        let mut page = vec![0; 4096];
        page[0x228..0x22c].copy_from_slice(&0x2_0000_u32.to_le_bytes());
        page[0x70..0x78].copy_from_slice(&0xe_0000_u64.to_le_bytes());
        page[0x1e8] = 1;
        page[0x2d8..0x2e0].copy_from_slice(&0x1000_u64.to_le_bytes());
        page[0x2e0] = 1;
        let start = Start::read(&Pieces::default().with(0x7000, page), Protocol::Linux, 0x7000).unwrap();
        assert_eq!((start.command_line, start.rsdp, start.module), (0x2_0000, 0xe_0000, None));
        assert_eq!(start.ranges(), [Range { start: 0, len: 0x1000, kind: 1 }]);
    }
}
