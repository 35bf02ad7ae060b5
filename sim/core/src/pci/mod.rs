//! PCI: what a function is (data), its configuration space, its BARs and its message-signalled interrupts.

mod config;
mod function;
mod msi;

pub use config::{ConfigChange, ConfigSpace};
pub use function::{
    Bar, BarKind, Capability, ConfigWindow, DescribeError, Doorbell, ExtendedCapability, Function, Msi, Msix, Register,
    Rights, Widths,
};
pub use msi::{MsiState, MsixState, Raised};

/// Offsets in configuration space (PCIe 6.0 §7.5.1), as far as the bus itself uses them.
pub mod offset {
    /// Vendor id, 16 bits.
    pub const VENDOR: u16 = 0x00;
    /// Device id, 16 bits.
    pub const DEVICE: u16 = 0x02;
    /// Command register, 16 bits.
    pub const COMMAND: u16 = 0x04;
    /// Status register, 16 bits.
    pub const STATUS: u16 = 0x06;
    /// Revision, 8 bits; the class code is the 24 bits after it.
    pub const REVISION: u16 = 0x08;
    /// Header type, 8 bits.
    pub const HEADER: u16 = 0x0e;
    /// The first of six base address registers, 32 bits each.
    pub const BAR0: u16 = 0x10;
    /// Subsystem vendor id, 16 bits.
    pub const SUBSYSTEM_VENDOR: u16 = 0x2c;
    /// Subsystem id, 16 bits.
    pub const SUBSYSTEM: u16 = 0x2e;
    /// Offset of the first capability, 8 bits.
    pub const CAPABILITIES: u16 = 0x34;
    /// Interrupt line, 8 bits: storage for the system's software.
    pub const INTERRUPT_LINE: u16 = 0x3c;
    /// Interrupt pin, 8 bits: 0 none, 1 INTA#.
    pub const INTERRUPT_PIN: u16 = 0x3d;
}

/// Bits of the command register (PCIe 6.0 §7.5.1.1.3).
pub mod command {
    /// The function answers to I/O space.
    pub const IO: u16 = 1 << 0;
    /// The function answers to memory space.
    pub const MEMORY: u16 = 1 << 1;
    /// The function may start DMA and send MSI.
    pub const BUS_MASTER: u16 = 1 << 2;
    /// Parity error response.
    pub const PARITY: u16 = 1 << 6;
    /// SERR# enable.
    pub const SERR: u16 = 1 << 8;
    /// The function may not assert INTx.
    pub const INTX_DISABLE: u16 = 1 << 10;
}

/// Bits of the status register (PCIe 6.0 §7.5.1.1.4).
pub mod status {
    /// An INTx interrupt is pending inside the function.
    pub const INTERRUPT: u16 = 1 << 3;
    /// There is a capability list.
    pub const CAPABILITIES: u16 = 1 << 4;
}

/// Capability ids (PCI Code and ID Assignment 1.16 §2).
pub mod capability {
    /// Message-signalled interrupts.
    pub const MSI: u8 = 0x05;
    /// Vendor specific.
    pub const VENDOR: u8 = 0x09;
    /// PCI Express.
    pub const EXPRESS: u8 = 0x10;
    /// MSI-X.
    pub const MSIX: u8 = 0x11;
    /// Advanced features: function-level reset of a conventional function.
    pub const ADVANCED: u8 = 0x13;
}
