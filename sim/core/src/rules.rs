//! The rules that the waist itself checks, wherever the driver runs.

use crate::finding::{Rule, Severity};

macro_rules! rules {
    ($( $(#[$doc:meta])* $name:ident = $id:literal, $severity:ident, $title:literal, $reference:literal, $fix:literal; )*) => {
        $(
            $(#[$doc])*
            pub static $name: Rule = Rule {
                id: $id,
                title: $title,
                severity: Severity::$severity,
                reference: $reference,
                fix: $fix,
                page: include_str!(concat!("../rules/", $id, ".md")),
            };
        )*
        /// All of them.
        pub static ALL: &[&Rule] = &[$(&$name),*];
    };
}

rules! {
    /// A device reached for memory that was never mapped for it.
    DMA_UNMAPPED = "dma-unmapped", Error, "DMA to an address that was never mapped",
        "Documentation/core-api/dma-api-howto.rst", "give the device only addresses that dma_address() returned, whole and under its mask";
    /// A device reached for memory that is no longer mapped.
    DMA_AFTER_UNMAP = "dma-after-unmap", Error, "DMA after the memory was unmapped",
        "Documentation/core-api/dma-api-howto.rst", "stop the device, and wait until it has stopped, before its memory is freed";
    /// A device ran over the end of a mapping.
    DMA_OVERRUN = "dma-overrun", Error, "DMA over the end of a mapping",
        "Documentation/core-api/dma-api.rst", "check the length against the size of the buffer before it goes to the device";
    /// A device went against the direction of a mapping.
    DMA_DIRECTION = "dma-direction", Error, "DMA against the direction of the mapping",
        "Documentation/core-api/dma-api.rst", "map with the direction in which the device moves the data";
    /// A device did DMA with bus mastering off.
    DMA_NO_BUS_MASTER = "dma-no-bus-master", Error, "DMA with bus mastering off",
        "PCIe 6.0 §7.5.1.1.3", "call set_master() in probe before the device is started";
    /// A device sent MSI with bus mastering off.
    MSI_NO_BUS_MASTER = "msi-no-bus-master", Error, "MSI with bus mastering off",
        "PCIe 6.0 §7.5.1.1.3", "call set_master() in probe: a message is a memory write of the device";
    /// A device sent a message to where no interrupt controller listens.
    MSI_NOWHERE = "msi-nowhere", Error, "a message to where no interrupt controller listens",
        "Documentation/PCI/msi-howto.rst", "leave the message address and the MSI-X table to the kernel; mask a vector before its entry is changed";
    /// A pin that nobody acknowledges.
    IRQ_STUCK = "irq-stuck", Error, "an interrupt pin that stays asserted while its line is open",
        "Documentation/core-api/genericirq.rst", "acknowledge at the device what it interrupted for before the handler returns";
    /// An access beyond a BAR.
    BAR_OUT_OF_RANGE = "bar-out-of-range", Error, "access outside the BAR",
        "PCIe 6.0 §7.5.1.2.1", "check the offset against the size of the region; map no more than the BAR has";
    /// An access that is not naturally aligned.
    BAR_MISALIGNED = "bar-misaligned", Error, "misaligned BAR access",
        "Documentation/driver-api/device-io.rst", "access registers at a multiple of the access's width";
    /// A width that the register does not have.
    BAR_WIDTH = "bar-width", Error, "access of a width the register does not have",
        "the device's register map", "use the width that the device's documentation gives for this register";
    /// An access where there is no register.
    BAR_NO_REGISTER = "bar-no-register", Error, "access where the device has no register",
        "the device's register map", "check the offset against the device's documentation";
    /// A write to a read-only register.
    BAR_READ_ONLY = "bar-read-only", Error, "write to a read-only register",
        "the device's register map", "do not write this register; look for the one that takes the command";
    /// A read of a write-only register.
    BAR_WRITE_ONLY = "bar-write-only", Error, "read of a write-only register",
        "the device's register map", "keep what was written in the driver instead of reading it back";
    /// An access while decoding is off.
    BAR_DISABLED = "bar-disabled", Error, "BAR access while decoding is off",
        "PCIe 6.0 §7.5.1.1.3", "call enable_device_mem() in probe before the first access";
    /// The device itself says that the driver broke its rules.
    DEVICE_MISUSE = "device-misuse", Error, "use of the device against its documentation",
        "the device's documentation", "follow the sequence that the device's documentation gives";
    /// Two loads that nothing orders.
    MISSING_READ_BARRIER = "missing-read-barrier", Error, "a load that may be made before the one that it depends on",
        "Documentation/memory-barriers.txt", "put dma_mb(Read) after the load that shows that the data is there, and before the data is loaded";
    /// Two stores that nothing orders.
    MISSING_WRITE_BARRIER = "missing-write-barrier", Error, "a store that a device may see before an earlier one",
        "Documentation/memory-barriers.txt", "put dma_mb(Write) before the store that shows the data to the device";
    /// A relaxed write to a BAR that nothing orders after stores.
    DOORBELL_BEFORE_DATA = "doorbell-before-data", Error, "a doorbell that may arrive before what it announces",
        "Documentation/driver-api/device-io.rst", "ring the doorbell with a write that is not relaxed, or put mb(Write) before it";
    /// Memory was freed before the device was told to leave it alone.
    POSTED_WRITE_NOT_FLUSHED = "posted-write-not-flushed", Error, "memory freed while a write to the device was under way",
        "Documentation/driver-api/device-io.rst", "read a register of the device back before the memory is freed";
    /// A raw pointer into coherent memory was taken.
    COVERAGE_LOST = "coverage-lost", Advice, "coherent memory that cannot be followed",
        "Documentation/memory-barriers.txt", "use the accessors (io_read!, io_write!, io_project!) instead of raw pointers and references";
    /// A device that works without end, or never answers.
    WATCHDOG_DEVICE = "watchdog-device", Fatal, "a device that works without end, or never answers",
        "the device model", "the model asks for a wake-up without any delay again and again, or answers \"not yet\" for ever";
}
