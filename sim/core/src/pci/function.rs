//! What a PCI function is: identity, BARs, registers and capabilities, as data.

/// Which access widths a register has: bits 0 to 3 stand for 1, 2, 4 and 8 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Widths(u8);

impl Widths {
    /// 1 byte.
    pub const W8: Self = Self(1);
    /// 2 bytes.
    pub const W16: Self = Self(2);
    /// 4 bytes.
    pub const W32: Self = Self(4);
    /// 8 bytes.
    pub const W64: Self = Self(8);
    /// Any.
    pub const ANY: Self = Self(15);

    /// Both.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether an access of `bytes` is among them.
    #[must_use]
    pub const fn has(self, bytes: u8) -> bool {
        self.0 & bytes != 0
    }
}

impl std::fmt::Display for Widths {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut first = true;
        for bytes in [1, 2, 4, 8_u8].into_iter().filter(|bytes| self.has(*bytes)) {
            write!(f, "{}{bytes}", if first { "" } else { ", " })?;
            first = false;
        }
        write!(f, " bytes")
    }
}

/// What software may do with a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rights {
    /// Read and write.
    ReadWrite,
    /// Only read; a write is a driver's mistake and does not reach the device.
    ReadOnly,
    /// Only write; a read is a driver's mistake and gives all ones.
    WriteOnly,
}

/// A register, or an array or range of equal ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Register {
    /// For messages.
    pub name: &'static str,
    /// In bytes from the start of the BAR.
    pub offset: u64,
    /// How many bytes it takes.
    pub len: u64,
    /// Which widths it has.
    pub widths: Widths,
    /// What software may do with it.
    pub rights: Rights,
}

impl Register {
    /// A register of 32 bits that takes 32-bit accesses only.
    #[must_use]
    pub const fn new32(name: &'static str, offset: u64, rights: Rights) -> Self {
        Self { name, offset, len: 4, widths: Widths::W32, rights }
    }

    /// A register of 64 bits that takes one 64-bit access or 32-bit ones.
    #[must_use]
    pub const fn new64(name: &'static str, offset: u64, rights: Rights) -> Self {
        Self { name, offset, len: 8, widths: Widths::W32.or(Widths::W64), rights }
    }

    /// `len` bytes of any width.
    #[must_use]
    pub const fn range(name: &'static str, offset: u64, len: u64, rights: Rights) -> Self {
        Self { name, offset, len, widths: Widths::ANY, rights }
    }
}

/// The kind of a BAR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BarKind {
    /// I/O space.
    Io,
    /// Memory, below 4 GiB.
    Memory32,
    /// Memory anywhere; takes this BAR's register and the next.
    Memory64,
}

/// A base address register and what lies behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bar {
    /// 0 to 5.
    pub index: u8,
    /// I/O or memory.
    pub kind: BarKind,
    /// Reads have no side effects.
    pub prefetchable: bool,
    /// In bytes, a power of two.
    pub size: u64,
    /// Its registers. When there are none, any aligned access reaches the device.
    pub registers: &'static [Register],
}

impl Bar {
    /// A memory BAR below 4 GiB.
    #[must_use]
    pub const fn memory32(index: u8, size: u64) -> Self {
        Self { index, kind: BarKind::Memory32, prefetchable: false, size, registers: &[] }
    }

    /// A memory BAR anywhere; takes `index` and `index + 1`.
    #[must_use]
    pub const fn memory64(index: u8, size: u64) -> Self {
        Self { index, kind: BarKind::Memory64, prefetchable: false, size, registers: &[] }
    }

    /// An I/O BAR.
    #[must_use]
    pub const fn io(index: u8, size: u64) -> Self {
        Self { index, kind: BarKind::Io, prefetchable: false, size, registers: &[] }
    }

    /// Reads have no side effects.
    #[must_use]
    pub const fn prefetchable(mut self) -> Self {
        self.prefetchable = true;
        self
    }

    /// The registers behind it; the bus refuses every other access.
    #[must_use]
    pub const fn registers(mut self, registers: &'static [Register]) -> Self {
        self.registers = registers;
        self
    }

    /// The register that holds `offset`.
    #[must_use]
    pub fn register_at(&self, offset: u64) -> Option<&'static Register> {
        self.registers.iter().find(|r| offset >= r.offset && offset - r.offset < r.len)
    }
}

/// A capability in the list at 0x34 other than MSI, MSI-X and PCI Express, which have builders of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capability {
    /// Its id.
    pub id: u8,
    /// What follows id and next pointer.
    pub body: Vec<u8>,
    /// Which bits of the body software may write; as long as the body.
    pub writable: Vec<u8>,
    /// Whether it is a window through which BARs are reached, and how.
    pub window: Option<ConfigWindow>,
}

/// A window of configuration space through which BARs are reached, for software that cannot map them. Its fields are byte
/// offsets from the capability's start; the bus carries out the access when the data are read or written. At most one
/// capability of a function has a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConfigWindow {
    /// The byte that holds the BAR's number.
    pub bar: u8,
    /// The 32 bits that hold the offset in the BAR.
    pub offset: u8,
    /// The 32 bits that hold the length of the access: 1, 2 or 4; with any other nothing is accessed.
    pub length: u8,
    /// The 4 bytes of data.
    pub data: u8,
}

/// An extended capability, in the list at 0x100 of a PCI Express function (PCIe 6.0 §7.6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtendedCapability {
    /// Its id.
    pub id: u16,
    /// Its version, 4 bits.
    pub version: u8,
    /// What follows the four bytes of the header.
    pub body: Vec<u8>,
    /// Which bits of the body software may write; as long as the body.
    pub writable: Vec<u8>,
}

/// The MSI capability (PCIe 6.0 §7.7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Msi {
    /// 1, 2, 4, 8, 16 or 32 vectors.
    pub vectors: u8,
    /// 64-bit message addresses.
    pub wide: bool,
    /// A mask bit and a pending bit for each vector.
    pub maskable: bool,
}

impl Msi {
    pub(super) fn registers(self) -> (Vec<u8>, Vec<u8>) {
        let control: u16 =
            (self.vectors.trailing_zeros() as u16) << 1 | u16::from(self.wide) << 7 | u16::from(self.maskable) << 8;
        let mut body = control.to_le_bytes().to_vec();
        let mut mask = 0x0071_u16.to_le_bytes().to_vec();
        let mut add = |writable: u32, bytes: usize| {
            body.extend_from_slice(&[0; 4][..bytes]);
            mask.extend_from_slice(&writable.to_le_bytes()[..bytes]);
        };
        add(!3, 4);
        if self.wide {
            add(!0, 4);
        }
        add(0xffff, if self.maskable { 4 } else { 2 });
        if self.maskable {
            add((1_u64 << self.vectors).wrapping_sub(1) as u32, 4);
            add(0, 4);
        }
        (body, mask)
    }

    /// Offsets from the capability: data, mask bits, pending bits.
    pub(super) const fn layout(self) -> (u16, u16, u16) {
        let data = if self.wide { 12 } else { 8 };
        (data, data + 4, data + 8)
    }
}

/// The MSI-X capability (PCIe 6.0 §7.7.2) and where its structures lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Msix {
    /// 1 to 2048 vectors.
    pub vectors: u16,
    /// The BAR that holds the table, and the offset in it (a multiple of 8).
    pub table: (u8, u32),
    /// The BAR that holds the pending bits, and the offset in it (a multiple of 8).
    pub pending: (u8, u32),
}

impl Msix {
    pub(super) fn registers(self) -> (Vec<u8>, Vec<u8>) {
        let mut body = (self.vectors - 1).to_le_bytes().to_vec();
        body.extend_from_slice(&(self.table.1 | u32::from(self.table.0)).to_le_bytes());
        body.extend_from_slice(&(self.pending.1 | u32::from(self.pending.0)).to_le_bytes());
        let mut mask = vec![0; 10];
        mask[1] = 0xc0;
        (body, mask)
    }

    pub(crate) fn table_len(self) -> u64 {
        u64::from(self.vectors) * 16
    }

    pub(crate) fn pending_len(self) -> u64 {
        u64::from(self.vectors).div_ceil(64) * 8
    }
}

/// A write to a register that only says "look": it takes no effect of its own, and several of them that arrive as one, a moment
/// late, mean what they meant. A door may carry it without stopping the CPU that makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Doorbell {
    /// The BAR, one of memory …
    pub bar: u8,
    /// … and the offset in it, in bytes.
    pub offset: u64,
    /// 1, 2, 4 or 8 bytes; a write of another width is no doorbell.
    pub width: u8,
    /// The value; a write of another one is no doorbell.
    pub value: u64,
}

/// What a function is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    pub(crate) vendor: u16,
    pub(crate) device: u16,
    pub(crate) revision: u8,
    pub(crate) class: u32,
    pub(crate) subsystem_vendor: u16,
    pub(crate) subsystem: u16,
    pub(crate) intx: bool,
    pub(crate) bars: Vec<Bar>,
    pub(crate) capabilities: Vec<Capability>,
    pub(crate) extended: Vec<ExtendedCapability>,
    pub(crate) msi: Option<Msi>,
    pub(crate) msix: Option<Msix>,
    pub(crate) express: bool,
    pub(crate) flr: bool,
    pub(crate) doorbells: Vec<Doorbell>,
}

/// Why a description is no PCI function.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DescribeError {
    /// A BAR's index or size.
    #[error("BAR {index}: {what}")]
    Bar {
        /// Which.
        index: u8,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A register.
    #[error("BAR {bar}, register {name}: {what}")]
    Register {
        /// Which BAR.
        bar: u8,
        /// Which register.
        name: &'static str,
        /// What is wrong with it.
        what: &'static str,
    },
    /// Interrupt capabilities.
    #[error("{0}")]
    Interrupts(&'static str),
    /// The capabilities take too much room, or a body and its mask differ in length.
    #[error("the capabilities do not fit in 256 bytes (extended ones: in 3840), or a mask is not as long as its body")]
    Capabilities,
}

impl Function {
    /// A function of class 0xff0000 (none of the others) without BARs, interrupts and capabilities.
    #[must_use]
    pub fn new(vendor: u16, device: u16) -> Self {
        Self {
            vendor,
            device,
            revision: 0,
            class: 0xff_0000,
            subsystem_vendor: 0,
            subsystem: 0,
            intx: false,
            bars: Vec::new(),
            capabilities: Vec::new(),
            extended: Vec::new(),
            msi: None,
            msix: None,
            express: false,
            flr: false,
            doorbells: Vec::new(),
        }
    }

    /// Sets class, subclass and programming interface (24 bits).
    #[must_use]
    pub fn class(mut self, class: u32) -> Self {
        self.class = class & 0xff_ffff;
        self
    }

    /// Sets the revision.
    #[must_use]
    pub fn revision(mut self, revision: u8) -> Self {
        self.revision = revision;
        self
    }

    /// Sets the subsystem's vendor and id.
    #[must_use]
    pub fn subsystem(mut self, vendor: u16, id: u16) -> Self {
        self.subsystem_vendor = vendor;
        self.subsystem = id;
        self
    }

    /// Adds a BAR.
    #[must_use]
    pub fn bar(mut self, bar: Bar) -> Self {
        self.bars.push(bar);
        self
    }

    /// Gives it the INTA# pin.
    #[must_use]
    pub fn intx(mut self) -> Self {
        self.intx = true;
        self
    }

    /// Gives it MSI with 64-bit addresses.
    #[must_use]
    pub fn msi(self, vectors: u8) -> Self {
        self.msi_with(Msi { vectors, wide: true, maskable: false })
    }

    /// Gives it MSI.
    #[must_use]
    pub fn msi_with(mut self, msi: Msi) -> Self {
        self.msi = Some(msi);
        self
    }

    /// Gives it MSI-X.
    #[must_use]
    pub fn msix(mut self, msix: Msix) -> Self {
        self.msix = Some(msix);
        self
    }

    /// Adds another capability.
    #[must_use]
    pub fn capability(mut self, capability: Capability) -> Self {
        self.capabilities.push(capability);
        self
    }

    /// Adds an extended capability, and makes it a PCI Express endpoint.
    #[must_use]
    pub fn extended_capability(mut self, capability: ExtendedCapability) -> Self {
        self.extended.push(capability);
        self.express()
    }

    /// Makes it a PCI Express endpoint: 4096 bytes of configuration space.
    #[must_use]
    pub fn express(mut self) -> Self {
        self.express = true;
        self
    }

    /// Gives it function-level reset.
    #[must_use]
    pub fn flr(mut self) -> Self {
        self.flr = true;
        self
    }

    /// Adds a doorbell.
    #[must_use]
    pub fn doorbell(mut self, doorbell: Doorbell) -> Self {
        self.doorbells.push(doorbell);
        self
    }

    /// Its doorbells.
    #[must_use]
    pub fn doorbells(&self) -> &[Doorbell] {
        &self.doorbells
    }

    /// Vendor and device id.
    #[must_use]
    pub fn id(&self) -> (u16, u16) {
        (self.vendor, self.device)
    }

    /// Class, subclass and programming interface.
    #[must_use]
    pub fn class_code(&self) -> u32 {
        self.class
    }

    /// The BARs.
    #[must_use]
    pub fn bars(&self) -> &[Bar] {
        &self.bars
    }

    /// Checks that this can be a PCI function.
    ///
    /// # Errors
    /// The first thing that cannot be.
    pub fn check(&self) -> Result<(), DescribeError> {
        let mut taken = 0_u8;
        for bar in &self.bars {
            let bad = |what| Err(DescribeError::Bar { index: bar.index, what });
            let slots = if bar.kind == BarKind::Memory64 { 3 } else { 1_u8 };
            if bar.index > 5 || (slots == 3 && bar.index > 4) {
                return bad("there are six BARs, 0 to 5, and a 64-bit one takes two");
            }
            if taken & slots << bar.index != 0 {
                return bad("this register belongs to another BAR already");
            }
            taken |= slots << bar.index;
            let (least, most) = match bar.kind {
                BarKind::Io => (4, 256),
                BarKind::Memory32 => (16, 1 << 31),
                BarKind::Memory64 => (16, 1 << 40),
            };
            if !bar.size.is_power_of_two() || bar.size < least || bar.size > most {
                return bad("the size must be a power of two: 4 to 256 for I/O, 16 to 2^31 (64-bit: 2^40) for memory");
            }
            for register in bar.registers {
                if register.len == 0 || register.offset.checked_add(register.len).is_none_or(|end| end > bar.size) {
                    let what = "it does not fit in the BAR";
                    return Err(DescribeError::Register { bar: bar.index, name: register.name, what });
                }
            }
        }
        for bell in &self.doorbells {
            let bar = self.bars.iter().find(|bar| bar.index == bell.bar && bar.kind != BarKind::Io);
            let inside = bar
                .is_some_and(|bar| bell.offset.checked_add(u64::from(bell.width)).is_some_and(|end| end <= bar.size));
            if !inside || !matches!(bell.width, 1 | 2 | 4 | 8) || !bell.offset.is_multiple_of(u64::from(bell.width)) {
                return Err(DescribeError::Bar { index: bell.bar, what: "a doorbell does not lie in it, aligned" });
            }
        }
        if let Some(msi) = self.msi
            && (!msi.vectors.is_power_of_two() || msi.vectors > 32)
        {
            return Err(DescribeError::Interrupts("MSI has 1, 2, 4, 8, 16 or 32 vectors"));
        }
        if let Some(msix) = self.msix {
            self.check_msix(msix)?;
        }
        let bodies = self.capabilities.iter().map(|c| c.body.len());
        let interrupts = self.msi.map(|msi| msi.registers().0.len()).into_iter().chain(self.msix.map(|_| 10));
        let express = if self.express { Some(58) } else { self.flr.then_some(4) };
        let room: usize = bodies.chain(interrupts).chain(express).map(|len| (len + 2).next_multiple_of(4)).sum();
        let far: usize = self.extended.iter().map(|c| (c.body.len() + 4).next_multiple_of(4)).sum();
        let odd = self.capabilities.iter().any(|c| c.body.len() != c.writable.len())
            || self.extended.iter().any(|c| c.body.len() != c.writable.len());
        if room > 192 || far > 3840 || odd {
            return Err(DescribeError::Capabilities);
        }
        Ok(())
    }

    fn check_msix(&self, msix: Msix) -> Result<(), DescribeError> {
        if msix.vectors == 0 || msix.vectors > 2048 {
            return Err(DescribeError::Interrupts("MSI-X has 1 to 2048 vectors"));
        }
        let fits = |(index, offset): (u8, u32), len: u64| {
            let bar = self.bars.iter().find(|bar| bar.index == index && bar.kind != BarKind::Io);
            offset % 8 == 0 && bar.is_some_and(|bar| u64::from(offset) + len <= bar.size)
        };
        if !fits(msix.table, msix.table_len()) || !fits(msix.pending, msix.pending_len()) {
            return Err(DescribeError::Interrupts(
                "the MSI-X table and pending bits must lie in a memory BAR, at a multiple of 8",
            ));
        }
        let (table, pending) = (u64::from(msix.table.1), u64::from(msix.pending.1));
        if msix.table.0 == msix.pending.0 && table < pending + msix.pending_len() && pending < table + msix.table_len()
        {
            return Err(DescribeError::Interrupts("the MSI-X table and pending bits overlap"));
        }
        Ok(())
    }
}
