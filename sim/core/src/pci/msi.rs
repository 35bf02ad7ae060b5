//! Message-signalled interrupts: masks and pending bits, so that a masked vector is pended, not lost (PCIe 6.0 §6.1.4).

use super::{ConfigSpace, Msi, Msix};

/// What became of an interrupt that a function raised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Raised {
    /// The message goes out.
    Send {
        /// Message address.
        address: u64,
        /// Message data.
        data: u32,
    },
    /// The vector is masked: its pending bit is set now.
    Pended,
    /// Messages of this kind are not enabled: nothing happens.
    Disabled,
    /// The function has no such vector.
    NoVector,
}

/// The state behind an MSI capability that is not plain storage.
#[derive(Clone, Debug)]
pub struct MsiState {
    msi: Msi,
    pending: u32,
}

impl MsiState {
    /// Nothing pending.
    #[must_use]
    pub fn new(msi: Msi) -> Self {
        Self { msi, pending: 0 }
    }

    fn control(config: &ConfigSpace) -> u16 {
        config.msi_offset().map_or(0, |at| config.read16(at + 2))
    }

    /// Whether software enabled MSI.
    #[must_use]
    pub fn enabled(config: &ConfigSpace) -> bool {
        Self::control(config) & 1 != 0
    }

    /// How many vectors software allowed.
    #[must_use]
    pub fn granted(&self, config: &ConfigSpace) -> u16 {
        (1 << (Self::control(config) >> 4 & 7)).min(u16::from(self.msi.vectors))
    }

    fn masked(&self, config: &ConfigSpace) -> u32 {
        let Some(at) = config.msi_offset().filter(|_| self.msi.maskable) else { return 0 };
        config.read(at + self.msi.layout().1, 4)
    }

    /// Raises `vector`. A vector beyond those granted is folded into them, as the specification allows a function to do.
    pub fn raise(&mut self, config: &mut ConfigSpace, vector: u16) -> Raised {
        if !Self::enabled(config) {
            return Raised::Disabled;
        }
        if vector >= u16::from(self.msi.vectors) {
            return Raised::NoVector;
        }
        let vector = vector % self.granted(config);
        if self.masked(config) & 1 << vector != 0 {
            self.pending |= 1 << vector;
            self.publish(config);
            return Raised::Pended;
        }
        self.message(config, vector)
    }

    fn message(&self, config: &ConfigSpace, vector: u16) -> Raised {
        let at = config.msi_offset().unwrap_or(0);
        let high = if self.msi.wide { u64::from(config.read(at + 8, 4)) << 32 } else { 0 };
        let data = u32::from(config.read16(at + self.msi.layout().0));
        let low_bits = u32::from(self.granted(config)) - 1;
        Raised::Send { address: u64::from(config.read(at + 4, 4)) | high, data: data & !low_bits | u32::from(vector) }
    }

    /// Takes one vector that is pending and may go out now.
    pub fn take_deliverable(&mut self, config: &mut ConfigSpace) -> Option<(u16, Raised)> {
        if !Self::enabled(config) {
            return None;
        }
        let ready = self.pending & !self.masked(config);
        if ready == 0 {
            return None;
        }
        let vector = ready.trailing_zeros() as u16;
        self.pending &= !(1 << vector);
        self.publish(config);
        Some((vector, self.message(config, vector)))
    }

    /// How many vectors are pending.
    pub(crate) fn waiting(&self) -> u32 {
        self.pending.count_ones()
    }

    fn publish(&self, config: &mut ConfigSpace) {
        if let Some(at) = config.msi_offset().filter(|_| self.msi.maskable) {
            config.set_read_only(at + self.msi.layout().2, self.pending);
        }
    }

    /// Forgets what is pending, as a reset does.
    pub fn reset(&mut self) {
        self.pending = 0;
    }
}

/// The MSI-X table and pending bits of a function.
#[derive(Clone, Debug)]
pub struct MsixState {
    msix: Msix,
    /// Address low, address high, data, vector control.
    table: Vec<[u32; 4]>,
    pending: Vec<u64>,
}

const VECTOR_MASK: u32 = 1;

impl MsixState {
    /// All vectors masked, nothing pending, as after a reset (PCIe 6.0 §7.7.2.9).
    #[must_use]
    pub fn new(msix: Msix) -> Self {
        let table = vec![[0, 0, 0, VECTOR_MASK]; usize::from(msix.vectors)];
        Self { msix, table, pending: vec![0; usize::from(msix.vectors).div_ceil(64)] }
    }

    /// Whether software enabled MSI-X.
    #[must_use]
    pub fn enabled(config: &ConfigSpace) -> bool {
        Self::control(config) & 0x8000 != 0
    }

    fn control(config: &ConfigSpace) -> u16 {
        config.msix_offset().map_or(0, |at| config.read16(at + 2))
    }

    fn function_masked(config: &ConfigSpace) -> bool {
        Self::control(config) & 0x4000 != 0
    }

    /// Where an access to the function's BARs hits: `Ok` offset in the table, `Err` offset in the pending bits.
    #[must_use]
    pub fn locate(&self, bar: u8, offset: u64) -> Option<Result<u64, u64>> {
        let inside = |(index, start): (u8, u32), len: u64| {
            (index == bar && offset >= u64::from(start) && offset - u64::from(start) < len)
                .then(|| offset - u64::from(start))
        };
        inside(self.msix.table, self.msix.table_len())
            .map(Ok)
            .or_else(|| inside(self.msix.pending, self.msix.pending_len()).map(Err))
    }

    /// Reads 4 or 8 aligned bytes of the table.
    #[must_use]
    pub fn read_table(&self, offset: u64, width: u8) -> u64 {
        let dword = |at: u64| {
            self.table
                .get((at / 16) as usize)
                .map_or(u64::from(u32::MAX), |entry| u64::from(entry[(at % 16 / 4) as usize]))
        };
        dword(offset) | if width == 8 { dword(offset + 4) << 32 } else { 0 }
    }

    /// Writes 4 or 8 aligned bytes of the table. What an unmasked vector has pending goes out by
    /// [`take_deliverable`](Self::take_deliverable).
    pub fn write_table(&mut self, offset: u64, width: u8, value: u64) {
        let mut dword = |at: u64, value: u32| {
            let Some(entry) = self.table.get_mut((at / 16) as usize) else { return };
            // Vector control: only the mask bit is implemented, the others read as zero.
            entry[(at % 16 / 4) as usize] = match at % 16 / 4 {
                0 => value & !3,
                3 => value & VECTOR_MASK,
                _ => value,
            };
        };
        dword(offset, value as u32);
        if width == 8 {
            dword(offset + 4, (value >> 32) as u32);
        }
    }

    /// Reads 4 or 8 aligned bytes of the pending bits.
    #[must_use]
    pub fn read_pending(&self, offset: u64, width: u8) -> u64 {
        let word = self.pending.get((offset / 8) as usize).copied().unwrap_or(0) >> (offset % 8 * 8);
        if width == 8 { word } else { word & u64::from(u32::MAX) }
    }

    /// Raises `vector`.
    pub fn raise(&mut self, config: &ConfigSpace, vector: u16) -> Raised {
        if !Self::enabled(config) {
            return Raised::Disabled;
        }
        let Some(entry) = self.table.get(usize::from(vector)) else { return Raised::NoVector };
        if Self::function_masked(config) || entry[3] & VECTOR_MASK != 0 {
            self.pending[usize::from(vector) / 64] |= 1 << (vector % 64);
            return Raised::Pended;
        }
        Self::message(entry)
    }

    fn message(entry: &[u32; 4]) -> Raised {
        Raised::Send { address: u64::from(entry[0]) | u64::from(entry[1]) << 32, data: entry[2] }
    }

    /// Takes one vector that is pending and may go out now.
    pub fn take_deliverable(&mut self, config: &ConfigSpace) -> Option<(u16, Raised)> {
        if !Self::enabled(config) || Self::function_masked(config) {
            return None;
        }
        for (index, word) in self.pending.iter_mut().enumerate() {
            let mut left = *word;
            while left != 0 {
                let bit = left.trailing_zeros();
                left &= left - 1;
                let vector = index * 64 + bit as usize;
                if self.table[vector][3] & VECTOR_MASK == 0 {
                    *word &= !(1 << bit);
                    return Some((vector as u16, Self::message(&self.table[vector])));
                }
            }
        }
        None
    }

    /// How many vectors are pending.
    pub(crate) fn waiting(&self) -> u32 {
        self.pending.iter().map(|word| word.count_ones()).sum()
    }

    /// Masks everything and forgets what is pending, as a reset does.
    pub fn reset(&mut self) {
        *self = Self::new(self.msix);
    }
}
