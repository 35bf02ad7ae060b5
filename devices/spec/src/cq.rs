//! `cq`, a copy engine with a submission and a completion ring, as NICs and NVMe controllers have them. The device is
//! Bringup's own, and this is its documentation; `docs/src/devices.md` tells how it is used.

/// PCI vendor id: that of QEMU's devices for education.
pub const VENDOR: u16 = 0x1234;
/// PCI device id.
pub const DEVICE: u16 = 0x11c9;
/// Class, subclass and programming interface: a processing accelerator.
pub const CLASS: u32 = 0x12_0000;
/// The memory BAR that holds the registers.
pub const BAR: u8 = 0;
/// Its size, in bytes.
pub const BAR_SIZE: u64 = 0x1000;
/// The memory BAR that holds the MSI-X table and the pending bits.
pub const MSIX_BAR: u8 = 2;
/// Its size, in bytes.
pub const MSIX_BAR_SIZE: u64 = 0x1000;
/// Where in it the pending bits are.
pub const MSIX_PENDING: u32 = 0x800;
/// MSI-X vectors: 0 for completions, 1 for errors.
pub const VECTORS: u16 = 2;

/// Offsets of the registers in BAR 0, in bytes. Those named `_BASE` have 64 bits, the others 32.
pub mod register {
    /// What the device is: [`IDENTIFICATION`](super::IDENTIFICATION). Read-only.
    pub const ID: u64 = 0x00;
    /// What it can do: bits in [`caps`](super::caps). Read-only.
    pub const CAPS: u64 = 0x04;
    /// What it is to do: bits in [`control`](super::control).
    pub const CONTROL: u64 = 0x08;
    /// What it does: bits in [`status`](super::status). Read-only.
    pub const STATUS: u64 = 0x0c;
    /// Why it interrupts: bits in [`interrupt`](super::interrupt). Read-only.
    pub const IRQ_STATUS: u64 = 0x10;
    /// For which of them it does not interrupt.
    pub const IRQ_MASK: u64 = 0x14;
    /// Clears the bits written in the interrupt status. Write-only.
    pub const IRQ_ACK: u64 = 0x18;
    /// Entries of either ring: a power of two, from 2 to the most that [`CAPS`] allows.
    pub const RING_ENTRIES: u64 = 0x1c;
    /// Where the submission ring is.
    pub const SQ_BASE: u64 = 0x20;
    /// Where the completion ring is.
    pub const CQ_BASE: u64 = 0x28;
    /// Where the event area is, if there is one.
    pub const EVENT_BASE: u64 = 0x30;
    /// How many bytes of [`INFO`] there are. Read-only.
    pub const INFO_LEN: u64 = 0x38;
    /// Doorbell: how many descriptors were submitted, modulo 2^16. Write-only.
    pub const SQ_TAIL: u64 = 0x40;
    /// Doorbell: how many completions were taken, modulo 2^16. Write-only.
    pub const CQ_HEAD: u64 = 0x44;
    /// The device's name, in bytes of text. Read-only.
    pub const INFO: u64 = 0x80;
}

/// What [`register::ID`] holds: version 1, and "cq".
pub const IDENTIFICATION: u32 = 0x0001_7163;
/// Room for the name, in bytes.
pub const INFO_SIZE: u64 = 64;

/// Fields of the capabilities.
pub mod caps {
    /// The binary logarithm of the most entries that a ring can have.
    pub const LOG_ENTRIES: u32 = 0x0f;
    /// Completions have 16 bytes; else 8.
    pub const WIDE: u32 = 1 << 8;
    /// There may be an event area.
    pub const EVENT_INDEX: u32 = 1 << 9;
    /// The device can look at the submission ring by itself.
    pub const POLL: u32 = 1 << 10;
}

/// Bits of the control register.
pub mod control {
    /// The device takes descriptors. It finishes what it has after the bit was cleared.
    pub const ENABLE: u32 = 1 << 0;
    /// Begins a reset. It is over when [`status::RESETTING`](super::status::RESETTING) is clear; until then the device may reach
    /// memory.
    pub const RESET: u32 = 1 << 1;
    /// The device looks at the ring by itself: a descriptor is its own when [`descriptor::PHASE`](super::descriptor::PHASE) says so.
    pub const POLL: u32 = 1 << 2;
    /// Doorbells and interrupts are asked for in the event area.
    pub const EVENT_INDEX: u32 = 1 << 3;
}

/// Bits of the status register.
pub mod status {
    /// Enabled, or not done yet with what it has.
    pub const RUNNING: u32 = 1 << 0;
    /// A reset is under way.
    pub const RESETTING: u32 = 1 << 1;
    /// It cannot go on; only a reset helps.
    pub const FAILED: u32 = 1 << 2;
}

/// Bits of the interrupt status.
pub mod interrupt {
    /// Completions were written.
    pub const COMPLETION: u32 = 1 << 0;
    /// A descriptor or a ring could not be used.
    pub const ERROR: u32 = 1 << 1;
}

/// A descriptor: 32 bytes, little-endian.
pub mod descriptor {
    /// Its size.
    pub const SIZE: u64 = 32;
    /// Where to copy from: 64 bits.
    pub const SOURCE: u64 = 0;
    /// Where to copy to: 64 bits.
    pub const DESTINATION: u64 = 8;
    /// How many bytes, at most [`MOST_BYTES`](super::MOST_BYTES): 32 bits.
    pub const LEN: u64 = 16;
    /// The driver's name for it: 16 bits.
    pub const ID: u64 = 20;
    /// Flags: 16 bits.
    pub const FLAGS: u64 = 22;
    /// Of the flags: whose the descriptor is when the device polls. 1 in the first pass over the ring, 0 in the second, and so on.
    pub const PHASE: u16 = 1;
}

/// The most bytes of one copy.
pub const MOST_BYTES: u32 = 4096;

/// A completion: 8 or 16 bytes, little-endian. The phase, in the last bytes, is 1 in the first pass over the ring, 0 in the second,
/// and so on.
pub mod completion {
    /// Bytes that were written to the destination: 32 bits. In both forms.
    pub const LEN: u64 = 0;
    /// The descriptor's id: 16 bits. In both forms.
    pub const ID: u64 = 4;
    /// The short form: its size.
    pub const SIZE: u64 = 8;
    /// The short form: status and phase, 16 bits.
    pub const STATUS: u64 = 6;
    /// The wide form: its size.
    pub const WIDE_SIZE: u64 = 16;
    /// The wide form: how many descriptors were taken, modulo 2^16: 16 bits.
    pub const SQ_HEAD: u64 = 6;
    /// The wide form: status and phase, 32 bits.
    pub const WIDE_STATUS: u64 = 12;
    /// Of the status: the phase.
    pub const PHASE: u32 = 1;
    /// Of the status: how far left the code is.
    pub const CODE_SHIFT: u32 = 1;
    /// Code: copied.
    pub const OK: u32 = 0;
    /// Code: too many bytes.
    pub const BAD_LEN: u32 = 1;
    /// Code: memory could not be reached.
    pub const BAD_ADDRESS: u32 = 2;
}

/// The event area: words of 32 bits, little-endian; counters modulo 2^16.
pub mod event {
    /// The driver's: how many descriptors were submitted.
    pub const SQ_TAIL: u64 = 0;
    /// The device's: it wants a doorbell when the descriptor of this number is submitted.
    pub const SQ_EVENT: u64 = 4;
    /// The driver's: it wants an interrupt when the completion of this number is written.
    pub const CQ_EVENT: u64 = 8;
    /// Bytes of the area.
    pub const SIZE: u64 = 16;
}

/// The driver of a device that is reset waits so long, in virtual nanoseconds.
pub const RESET_NS: u64 = 20_000;
