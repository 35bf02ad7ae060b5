//! QEMU's PCI test device (`-device pci-testdev`), as QEMU 11 documents it in `docs/specs/pci-testdev`.

/// PCI vendor id (Red Hat).
pub const VENDOR: u16 = 0x1b36;
/// PCI device id.
pub const DEVICE: u16 = 0x0005;
/// Subsystem vendor id that QEMU gives to devices without one of their own.
pub const SUBSYSTEM_VENDOR: u16 = 0x1af4;
/// Subsystem id that QEMU gives to devices without one of their own.
pub const SUBSYSTEM: u16 = 0x1100;
/// Class, subclass and programming interface: a device of no class.
pub const CLASS: u32 = 0x00_ff00;
/// PCI revision.
pub const REVISION: u8 = 0;

/// The memory BAR.
pub const MEMORY_BAR: u8 = 0;
/// Its size, in bytes.
pub const MEMORY_BAR_SIZE: u64 = 4096;
/// Where the offsets that tests write to begin in the memory BAR.
pub const MEMORY_TARGETS: u64 = 2048;
/// The I/O BAR.
pub const IO_BAR: u8 = 1;
/// Its size, in bytes.
pub const IO_BAR_SIZE: u64 = 256;
/// Where the offsets that tests write to begin in the I/O BAR.
pub const IO_TARGETS: u64 = 128;
/// The optional 64-bit memory BAR without storage (property `membar`).
pub const MEMBAR: u8 = 2;

/// Offsets of the fields of the test header, with which BARs 0 and 1 begin, in bytes. All are little endian.
pub mod header {
    /// Starts the test of this number on this BAR, or stops testing if there is none. 8 bits, write-only.
    pub const TEST: u64 = 0x0;
    /// The width of the access that the test is about: 1, 2 or 4; any other value: no such test. 8 bits, read-only.
    pub const WIDTH: u64 = 0x1;
    /// The offset in this BAR to write to. 32 bits, read-only.
    pub const OFFSET: u64 = 0x4;
    /// The data to write. 32 bits, read-only.
    pub const DATA: u64 = 0x8;
    /// How many matching writes were seen since the test began. 32 bits, read-only.
    pub const COUNT: u64 = 0xc;
    /// The test's name: ASCII with a zero at the end. Read-only.
    pub const NAME: u64 = 0x10;
}

/// Numbers of the tests, as written to [`header::TEST`].
pub mod test {
    /// Writes are seen by the device itself, and counted.
    pub const NO_EVENTFD: u8 = 0;
    /// An eventfd takes every write to the offset.
    pub const WILDCARD_EVENTFD: u8 = 1;
    /// An eventfd takes the writes to the offset that hold the data.
    pub const DATAMATCH_EVENTFD: u8 = 2;
}

/// The data of tests whose data must match.
pub const DATA_MATCH: u8 = 0xfa;
/// The data of the test in which any data will do.
pub const DATA_ANY: u8 = 0xce;
