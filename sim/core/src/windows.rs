//! Where a machine's firmware puts BARs.

use std::ops::Range;

use crate::pci::{BarKind, Function};

/// The parts of a machine's address spaces that its firmware puts BARs into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Windows {
    /// Memory below 4 GiB, for 32-bit BARs.
    pub memory32: Range<u64>,
    /// Memory for 64-bit BARs.
    pub memory64: Range<u64>,
    /// I/O ports.
    pub io: Range<u64>,
}

impl Default for Windows {
    /// Those of the in-process machine, whose own memory lies between the two.
    fn default() -> Self {
        Self { memory32: 0x8000_0000..0xfec0_0000, memory64: 0x80_0000_0000..1 << 46, io: 0xc000..0x1_0000 }
    }
}

impl Windows {
    /// Takes addresses for a function's BARs; `None` if a window is full.
    pub(crate) fn place(&mut self, function: &Function) -> Option<Vec<u64>> {
        let Self { memory32, memory64, io } = self;
        let mut left = [io.clone(), memory32.clone(), memory64.clone()];
        let mut placed = Vec::new();
        for bar in function.bars() {
            let window = match bar.kind {
                BarKind::Io => 0,
                BarKind::Memory32 => 1,
                BarKind::Memory64 => 2,
            };
            let align = bar.size.max(if bar.kind == BarKind::Io { 4 } else { 4096 });
            let at = left[window].start.checked_next_multiple_of(align)?;
            let end = at.checked_add(bar.size).filter(|end| *end <= left[window].end)?;
            left[window].start = end;
            placed.push(at);
        }
        let [io, memory32, memory64] = left;
        *self = Self { memory32, memory64, io };
        Some(placed)
    }
}
