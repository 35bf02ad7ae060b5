//! Configuration space: bytes with a write mask, enforced here and nowhere else (PCIe 6.0 §7.5.1).

use super::{BarKind, ConfigWindow, ExtendedCapability, Function, capability, command, offset, status};

/// What a write to configuration space changed; the bus acts on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConfigChange {
    /// The command register holds something else now.
    pub command: bool,
    /// These BARs hold another address now (bit n for BAR n).
    pub bars: u8,
    /// The MSI capability changed.
    pub msi: bool,
    /// The MSI-X message control changed.
    pub msix: bool,
    /// A function-level reset was asked for.
    pub reset: bool,
}

/// The 256 bytes (or 4096 with PCI Express) of one function.
#[derive(Clone, Debug)]
pub struct ConfigSpace {
    bytes: Vec<u8>,
    writable: Vec<u8>,
    clears: Vec<u8>,
    initial: Vec<u8>,
    msi: Option<u16>,
    msix: Option<u16>,
    /// The byte and bit that start a function-level reset.
    reset: Option<(u16, u8)>,
    /// A window to the BARs: where its capability begins, and its layout.
    window: Option<(u16, ConfigWindow)>,
    last: u16,
}

impl ConfigSpace {
    /// The configuration space of `function`, BARs unassigned, everything disabled, as after a reset.
    #[must_use]
    pub fn new(function: &Function) -> Self {
        let size = if function.express { 4096 } else { 256 };
        let mut space = Self {
            bytes: vec![0; size],
            writable: vec![0; size],
            clears: vec![0; size],
            initial: Vec::new(),
            msi: None,
            msix: None,
            reset: None,
            window: None,
            last: offset::CAPABILITIES,
        };
        space.put16(offset::VENDOR, function.vendor);
        space.put16(offset::DEVICE, function.device);
        space.put32(offset::REVISION, function.class << 8 | u32::from(function.revision));
        space.put16(offset::SUBSYSTEM_VENDOR, function.subsystem_vendor);
        space.put16(offset::SUBSYSTEM, function.subsystem);
        let has = |memory: bool| function.bars.iter().any(|bar| (bar.kind != BarKind::Io) == memory);
        let mut commands = command::BUS_MASTER | command::PARITY | command::SERR;
        commands |= if has(true) { command::MEMORY } else { 0 };
        commands |= if has(false) { command::IO } else { 0 };
        if function.intx {
            space.bytes[usize::from(offset::INTERRUPT_PIN)] = 1;
            commands |= command::INTX_DISABLE;
        }
        space.allow(offset::INTERRUPT_LINE, &[0xff]);
        space.allow(offset::COMMAND, &commands.to_le_bytes());
        // Parity and other errors of the status register are cleared by writing ones.
        space.clears[usize::from(offset::STATUS) + 1] = 0xf9;
        for bar in &function.bars {
            let at = offset::BAR0 + u16::from(bar.index) * 4;
            let mask = !(bar.size - 1);
            let flags = match bar.kind {
                BarKind::Io => 1,
                BarKind::Memory32 => u32::from(bar.prefetchable) << 3,
                BarKind::Memory64 => 4 | u32::from(bar.prefetchable) << 3,
            };
            space.put32(at, flags);
            let low = if bar.kind == BarKind::Io { 0xffff_fffc } else { 0xffff_fff0 };
            space.allow(at, &(mask as u32 & low).to_le_bytes());
            if bar.kind == BarKind::Memory64 {
                space.allow(at + 4, &((mask >> 32) as u32).to_le_bytes());
            }
        }
        let mut at = 0x40;
        for cap in &function.capabilities {
            if let Some(window) = cap.window {
                space.window = Some((at, window));
            }
            at = space.append(at, cap.id, &cap.body, &cap.writable);
        }
        if let Some(msi) = &function.msi {
            let start = at;
            let (body, mask) = msi.registers();
            at = space.append(at, capability::MSI, &body, &mask);
            space.msi = Some(start);
        }
        if let Some(msix) = &function.msix {
            let start = at;
            let (body, mask) = msix.registers();
            at = space.append(at, capability::MSIX, &body, &mask);
            space.msix = Some(start);
        }
        if function.express {
            space.append_express(at, function.flr);
        } else if function.flr {
            // Advanced features (AF ECN): length 6, FLR and transaction-pending supported, then control and status.
            space.append(at, capability::ADVANCED, &[6, 3, 0, 0], &[0, 0, 0, 0]);
            space.reset = Some((at + 4, 1));
        }
        space.append_extended(&function.extended);
        if space.last != offset::CAPABILITIES {
            space.bytes[usize::from(offset::STATUS)] |= status::CAPABILITIES as u8;
        }
        space.initial.clone_from(&space.bytes);
        space
    }

    /// PCI Express capability, version 2, endpoint (PCIe 6.0 §7.5.3), and an empty extended list.
    fn append_express(&mut self, at: u16, flr: bool) {
        let mut body = vec![0; 58];
        body[0] = 0x02;
        let device_capabilities: u32 = (1 << 15) | u32::from(flr) << 28;
        body[2..6].copy_from_slice(&device_capabilities.to_le_bytes());
        body[10..14].copy_from_slice(&0x11_u32.to_le_bytes()); // link: 2.5 GT/s, one lane
        body[16..18].copy_from_slice(&0x11_u16.to_le_bytes());
        let mut mask = vec![0; 58];
        mask[6..8].copy_from_slice(&0x7fff_u16.to_le_bytes());
        self.append(at, capability::EXPRESS, &body, &mask);
        if flr {
            self.reset = Some((at + 9, 0x80));
        }
    }

    /// The extended list begins at 0x100; a header of zeros there says that it is empty.
    fn append_extended(&mut self, capabilities: &[ExtendedCapability]) {
        let mut at: u16 = 0x100;
        for (index, capability) in capabilities.iter().enumerate() {
            let end = (at + 4 + capability.body.len() as u16).next_multiple_of(4);
            let next = if index + 1 < capabilities.len() { end } else { 0 };
            let header = u32::from(capability.id) | u32::from(capability.version & 15) << 16 | u32::from(next) << 20;
            self.put32(at, header);
            let body = usize::from(at) + 4;
            self.bytes[body..][..capability.body.len()].copy_from_slice(&capability.body);
            self.writable[body..][..capability.writable.len()].copy_from_slice(&capability.writable);
            at = end;
        }
    }

    fn append(&mut self, at: u16, id: u8, body: &[u8], writable: &[u8]) -> u16 {
        let start = usize::from(at);
        self.bytes[usize::from(self.last)] = at as u8;
        self.bytes[start] = id;
        self.bytes[start + 2..start + 2 + body.len()].copy_from_slice(body);
        self.writable[start + 2..start + 2 + writable.len()].copy_from_slice(writable);
        self.last = at + 1;
        (at + 2 + body.len() as u16).next_multiple_of(4)
    }

    fn allow(&mut self, at: u16, mask: &[u8]) {
        self.writable[usize::from(at)..][..mask.len()].copy_from_slice(mask);
    }

    fn put16(&mut self, at: u16, value: u16) {
        self.bytes[usize::from(at)..][..2].copy_from_slice(&value.to_le_bytes());
    }

    fn put32(&mut self, at: u16, value: u32) {
        self.bytes[usize::from(at)..][..4].copy_from_slice(&value.to_le_bytes());
    }

    /// 256, or 4096 for PCI Express.
    #[must_use]
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Where the MSI capability begins.
    #[must_use]
    pub fn msi_offset(&self) -> Option<u16> {
        self.msi
    }

    /// Where the MSI-X capability begins.
    #[must_use]
    pub fn msix_offset(&self) -> Option<u16> {
        self.msix
    }

    /// Reads 1, 2 or 4 bytes; what lies outside reads as ones.
    #[must_use]
    pub fn read(&self, at: u16, width: u8) -> u32 {
        let mut value = [0; 4];
        for (lane, byte) in value.iter_mut().enumerate().take(usize::from(width)) {
            *byte = self.bytes.get(usize::from(at) + lane).copied().unwrap_or(0xff);
        }
        u32::from_le_bytes(value)
    }

    /// The 16 bits at `at`.
    #[must_use]
    pub fn read16(&self, at: u16) -> u16 {
        self.read(at, 2) as u16
    }

    /// Writes 1, 2 or 4 bytes, each lane through its mask; what lies outside is ignored.
    pub fn write(&mut self, at: u16, width: u8, value: u32) -> ConfigChange {
        let mut change = ConfigChange::default();
        for (lane, new) in value.to_le_bytes().into_iter().enumerate().take(usize::from(width)) {
            let index = usize::from(at) + lane;
            let Some(old) = self.bytes.get(index).copied() else { break };
            let mask = self.writable[index];
            let byte = (old & !mask | new & mask) & !(new & self.clears[index]);
            self.bytes[index] = byte;
            if let Some((reset, bit)) = self.reset {
                change.reset |= usize::from(reset) == index && new & bit != 0;
            }
            if byte != old {
                self.classify(index as u16, &mut change);
            }
        }
        change
    }

    fn classify(&self, index: u16, change: &mut ConfigChange) {
        match index {
            4 | 5 => change.command = true,
            0x10..=0x27 => change.bars |= 1 << ((index - offset::BAR0) / 4),
            _ => {}
        }
        change.msi |= self.msi.is_some_and(|at| (at..at + 24).contains(&index));
        change.msix |= self.msix.is_some_and(|at| (at + 2..at + 4).contains(&index));
    }

    /// The address that a BAR holds, without its flag bits.
    #[must_use]
    pub fn bar_address(&self, index: u8, kind: BarKind) -> u64 {
        let at = offset::BAR0 + u16::from(index) * 4;
        let low = u64::from(self.read(at, 4));
        match kind {
            BarKind::Io => low & !3,
            BarKind::Memory32 => low & !15,
            BarKind::Memory64 => low & !15 | u64::from(self.read(at + 4, 4)) << 32,
        }
    }

    /// Shows in the status register whether the function holds an interrupt back or sends it.
    pub fn set_interrupt_status(&mut self, pending: bool) {
        let byte = &mut self.bytes[usize::from(offset::STATUS)];
        *byte = *byte & !(status::INTERRUPT as u8) | if pending { status::INTERRUPT as u8 } else { 0 };
    }

    /// Sets bits that software may only read (a pending register), as the function itself does.
    pub fn set_read_only(&mut self, at: u16, value: u32) {
        self.put32(at, value);
    }

    /// Sets bytes as the function itself does, whether software may write them or not; what lies outside is ignored.
    pub fn set_bytes(&mut self, at: u16, bytes: &[u8]) {
        for (to, from) in self.bytes.iter_mut().skip(usize::from(at)).zip(bytes) {
            *to = *from;
        }
    }

    /// The window to the BARs, if there is one: where its capability begins, and its layout.
    #[must_use]
    pub fn window(&self) -> Option<(u16, ConfigWindow)> {
        self.window
    }

    /// Everything as it was when the function was plugged in, as a function-level reset does (PCIe 6.0 §6.6.2): BARs and
    /// command register included.
    pub fn reset(&mut self) {
        self.bytes.clone_from(&self.initial);
    }
}
