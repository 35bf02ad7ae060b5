//! QEMU's educational device (`-device edu`), as QEMU 11 documents it in `docs/specs/edu`.

/// PCI vendor id.
pub const VENDOR: u16 = 0x1234;
/// PCI device id.
pub const DEVICE: u16 = 0x11e8;
/// Class, subclass and programming interface: a device of no class.
pub const CLASS: u32 = 0x00_ff00;
/// PCI revision.
pub const REVISION: u8 = 0x10;

/// Subsystem vendor id that QEMU gives to devices without one of their own.
pub const SUBSYSTEM_VENDOR: u16 = 0x1af4;
/// Subsystem id that QEMU gives to devices without one of their own.
pub const SUBSYSTEM: u16 = 0x1100;
/// How many MSI vectors it has.
pub const MSI_VECTORS: u8 = 1;

/// The memory BAR that holds all registers.
pub const BAR: u8 = 0;
/// Its size, in bytes.
pub const BAR_SIZE: u64 = 1 << 20;

/// Offsets of the registers in BAR 0, in bytes. Those below 0x80 take 4-byte accesses only; the others 4 or 8 bytes.
pub mod register {
    /// Identification: `0xRRrr00ed`, major and minor version. Read-only.
    pub const IDENTIFICATION: u64 = 0x00;
    /// Liveness check: reads as the inverse of what was written.
    pub const LIVENESS: u64 = 0x04;
    /// Factorial: takes the operand, and holds the result once [`COMPUTING`](super::status::COMPUTING) is clear.
    pub const FACTORIAL: u64 = 0x08;
    /// Status: bits in [`status`](super::status).
    pub const STATUS: u64 = 0x20;
    /// Interrupt status: what raised the interrupt, see [`interrupt`](super::interrupt). Read-only.
    pub const INTERRUPT_STATUS: u64 = 0x24;
    /// Interrupt raise: the bits written are set in the interrupt status. Write-only.
    pub const INTERRUPT_RAISE: u64 = 0x60;
    /// Interrupt acknowledge: the bits written are cleared in the interrupt status. Write-only.
    pub const INTERRUPT_ACKNOWLEDGE: u64 = 0x64;
    /// Where DMA reads from: a bus address, or one in the device's buffer. 64 bits.
    pub const DMA_SOURCE: u64 = 0x80;
    /// Where DMA writes to: a bus address, or one in the device's buffer. 64 bits.
    pub const DMA_DESTINATION: u64 = 0x88;
    /// How many bytes DMA moves. 64 bits.
    pub const DMA_COUNT: u64 = 0x90;
    /// DMA command: bits in [`dma`](super::dma). 64 bits.
    pub const DMA_COMMAND: u64 = 0x98;
}

/// What the identification register holds: version 1.0.
pub const IDENTIFICATION: u32 = 0x0100_00ed;

/// Bits of the status register.
pub mod status {
    /// A factorial is being computed. Read-only.
    pub const COMPUTING: u32 = 0x01;
    /// Raise an interrupt when a factorial is finished.
    pub const RAISE: u32 = 0x80;
}

/// Bits of the interrupt status register that the device itself sets; a driver may raise any others.
pub mod interrupt {
    /// A factorial is finished.
    pub const FACTORIAL: u32 = 0x001;
    /// A DMA transfer is finished.
    pub const DMA: u32 = 0x100;
}

/// Bits of the DMA command register.
pub mod dma {
    /// Start a transfer; reads as set until it is finished.
    pub const START: u64 = 0x1;
    /// From the device's buffer to memory; else from memory to the buffer.
    pub const TO_MEMORY: u64 = 0x2;
    /// Raise [`interrupt::DMA`](super::interrupt::DMA) when finished.
    pub const RAISE: u64 = 0x4;
}

/// The address of the device's buffer, as DMA source or destination. The CPU cannot reach the buffer.
pub const BUFFER: u64 = 0x4_0000;
/// The size of the buffer, in bytes.
pub const BUFFER_LEN: u64 = 4096;
/// The bus address bits that DMA uses unless the machine says otherwise: 28, that is 256 MiB.
pub const DMA_MASK: u64 = (1 << 28) - 1;
/// How long QEMU's device takes for a transfer of any length, in nanoseconds.
pub const DMA_TIME_NS: u64 = 100_000_000;
