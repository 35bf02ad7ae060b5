//! Where things are in the machine: physical memory, ports and interrupt lines.

use std::ops::Range;

use bringup_core::Windows;

/// The most memory below 4 GiB; what is more begins at [`HIGH_MEMORY`].
pub const LOW_MEMORY_END: u64 = 0xc000_0000;
/// Where memory goes on above the devices.
pub const HIGH_MEMORY: u64 = 1 << 32;

/// The global descriptor table that a vCPU starts with.
pub const GDT: u64 = 0x500;
/// PVH's start info (or nothing).
pub const START_INFO: u64 = 0x6000;
/// Linux' `boot_params` (or nothing).
pub const ZERO_PAGE: u64 = 0x7000;
/// The page tables that a vCPU starts with, where it starts in long mode: three levels that map the first 4 GiB as they are.
pub const PAGE_TABLES: u64 = 0x9000;
/// The kernel's command line.
pub const COMMAND_LINE: u64 = 0x2_0000;
/// The longest command line, in bytes, with the zero that ends it.
pub const COMMAND_LINE_MOST: usize = 0x1_0000;
/// Where the memory ends that software may use below 1 MiB; firmware's tables follow.
pub const FIRMWARE: u64 = 0x9_fc00;
/// The root of the ACPI tables.
pub const RSDP: u64 = 0xe_0000;
/// Where memory for the kernel begins.
pub const KERNEL: u64 = 0x10_0000;

/// Where 32-bit BARs go.
pub const MEMORY32: Range<u64> = 0xc000_0000..0xe000_0000;
/// Configuration space by memory access (PCIe 6.0 §7.2.2), of bus 0 alone.
pub const ECAM: Range<u64> = 0xe000_0000..0xe010_0000;
/// The I/O interrupt controller.
pub const IOAPIC: u32 = 0xfec0_0000;
/// The local interrupt controller of each vCPU.
pub const LAPIC: u32 = 0xfee0_0000;
/// Three pages that KVM keeps for itself on some processors.
pub const KVM_TSS: u64 = 0xfffb_d000;
/// A page that KVM keeps for itself on some processors.
pub const KVM_IDENTITY_MAP: u64 = 0xfffb_c000;
/// Where 64-bit BARs go.
pub const MEMORY64: Range<u64> = 0x80_0000_0000..0x100_0000_0000;
/// Where I/O BARs go.
pub const IO: Range<u64> = 0xc000..0x1_0000;

/// The windows that BARs are put into.
#[must_use]
pub fn windows() -> Windows {
    Windows { memory32: MEMORY32, memory64: MEMORY64, io: IO }
}

/// Ports.
pub mod port {
    /// The first serial port: the console.
    pub const COM1: u16 = 0x3f8;
    /// The second serial port: what the guest says to the VMM.
    pub const COM2: u16 = 0x2f8;
    /// The keyboard controller's command port.
    pub const KEYBOARD: u16 = 0x64;
    /// Configuration address, 32 bits (PCI Local Bus 3.0 §3.2.2.3.2).
    pub const CONFIG_ADDRESS: u16 = 0xcf8;
    /// Configuration data, the four ports from here.
    pub const CONFIG_DATA: u16 = 0xcfc;
    /// Reset control (ACPI's reset register).
    pub const RESET: u16 = 0xcf9;
    /// PM1a event registers: status and enable, 16 bits each (ACPI 6.5 §4.8.3.1).
    pub const PM1_EVENT: u16 = 0x600;
    /// PM1a control register, 16 bits (ACPI 6.5 §4.8.3.2).
    pub const PM1_CONTROL: u16 = 0x604;
    /// Power management timer, 32 bits (ACPI 6.5 §4.8.3.3).
    pub const PM_TIMER: u16 = 0x608;
}

/// What is written to [`port::RESET`] to restart the machine.
pub const RESET_VALUE: u8 = 6;
/// The sleep type that stands for power-off (`_S5`).
pub const SLEEP_TYPE_OFF: u8 = 0;

/// Interrupt lines of the I/O interrupt controller (GSIs).
pub mod line {
    /// Where the timer (GSI 0 of KVM) arrives at the I/O interrupt controller, as on every PC; its pin 0 is not connected.
    pub const TIMER: u32 = 2;
    /// COM2.
    pub const COM2: u32 = 3;
    /// COM1.
    pub const COM1: u32 = 4;
    /// ACPI's system control interrupt.
    pub const SCI: u32 = 9;
    /// The lines that function's pins are wired to: those that their interrupt line registers name.
    pub const PINS: [u32; 2] = [10, 11];
    /// How many lines there are.
    pub const COUNT: u32 = 24;
}
