//! Virtio over PCI (virtio 1.4 §4.1).

/// The id of vendor-specific capabilities (§4.1.4).
pub const CAP_VENDOR: u8 = 0x09;

/// What a capability describes (§4.1.4).
pub mod cfg_type {
    /// Common configuration.
    pub const COMMON: u8 = 1;
    /// Notifications.
    pub const NOTIFY: u8 = 2;
    /// ISR status.
    pub const ISR: u8 = 3;
    /// The device's own configuration.
    pub const DEVICE: u8 = 4;
    /// A window of configuration space to the BARs.
    pub const PCI: u8 = 5;
    /// A shared memory region.
    pub const SHARED_MEMORY: u8 = 8;
    /// Vendor data.
    pub const VENDOR: u8 = 9;
}

/// Byte offsets in a capability, from its id (§4.1.4).
pub mod cap {
    /// Length of the capability, 1 byte.
    pub const LEN: u8 = 2;
    /// One of [`cfg_type`](super::cfg_type), 1 byte.
    pub const CFG_TYPE: u8 = 3;
    /// BAR number, 1 byte.
    pub const BAR: u8 = 4;
    /// Which of several of a type, 1 byte.
    pub const ID: u8 = 5;
    /// Offset in the BAR, 32 bits.
    pub const OFFSET: u8 = 8;
    /// Length in the BAR, 32 bits.
    pub const LENGTH: u8 = 12;
    /// Notify: what a queue's offset is multiplied by, 32 bits.
    pub const NOTIFY_OFF_MULTIPLIER: u8 = 16;
    /// PCI access: the data, 4 bytes.
    pub const PCI_CFG_DATA: u8 = 16;
    /// Shared memory: upper half of the offset.
    pub const OFFSET_HI: u8 = 16;
    /// Shared memory: upper half of the length.
    pub const LENGTH_HI: u8 = 20;
    /// Vendor data: the vendor's id, 16 bits (where others have BAR and id).
    pub const VENDOR_ID: u8 = 4;
    /// Size of a capability without more.
    pub const SIZE: u8 = 16;
    /// Size of the notify capability.
    pub const NOTIFY_SIZE: u8 = 20;
    /// Size of the PCI access capability.
    pub const PCI_CFG_SIZE: u8 = 20;
    /// Size of a shared memory capability.
    pub const SHARED_MEMORY_SIZE: u8 = 24;
}

/// A register of the common configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name in the specification.
    pub name: &'static str,
    /// In bytes from the start of the structure.
    pub offset: u64,
    /// In bytes; one of 8 is accessed as two of 4.
    pub width: u8,
    /// Whether a driver may write it.
    pub writable: bool,
}

const fn field(name: &'static str, offset: u64, width: u8, writable: bool) -> Field {
    Field { name, offset, width, writable }
}

/// The common configuration structure: offsets of its registers (§4.1.4.3).
pub mod common {
    use super::{Field, field};

    /// Which 32 of the device's feature bits are shown, 32 bits.
    pub const DEVICE_FEATURE_SELECT: u64 = 0x00;
    /// The device's feature bits, 32 bits.
    pub const DEVICE_FEATURE: u64 = 0x04;
    /// Which 32 of the driver's feature bits are shown, 32 bits.
    pub const DRIVER_FEATURE_SELECT: u64 = 0x08;
    /// The driver's feature bits, 32 bits.
    pub const DRIVER_FEATURE: u64 = 0x0c;
    /// The vector of configuration changes, 16 bits.
    pub const CONFIG_MSIX_VECTOR: u64 = 0x10;
    /// How many queues there are, 16 bits.
    pub const NUM_QUEUES: u64 = 0x12;
    /// Device status, 8 bits.
    pub const DEVICE_STATUS: u64 = 0x14;
    /// Changes when the device's configuration does, 8 bits.
    pub const CONFIG_GENERATION: u64 = 0x15;
    /// Which queue the registers from here on are of, 16 bits.
    pub const QUEUE_SELECT: u64 = 0x16;
    /// Its size, 16 bits.
    pub const QUEUE_SIZE: u64 = 0x18;
    /// Its vector, 16 bits.
    pub const QUEUE_MSIX_VECTOR: u64 = 0x1a;
    /// Whether it works, 16 bits.
    pub const QUEUE_ENABLE: u64 = 0x1c;
    /// Where it is notified, 16 bits.
    pub const QUEUE_NOTIFY_OFF: u64 = 0x1e;
    /// Descriptor area, 64 bits.
    pub const QUEUE_DESC: u64 = 0x20;
    /// Driver area, 64 bits.
    pub const QUEUE_DRIVER: u64 = 0x28;
    /// Device area, 64 bits.
    pub const QUEUE_DEVICE: u64 = 0x30;
    /// What a kick carries instead of the queue's number, 16 bits.
    pub const QUEUE_NOTIF_CONFIG_DATA: u64 = 0x38;
    /// Resets the queue, 16 bits.
    pub const QUEUE_RESET: u64 = 0x3a;
    /// The first administration queue, 16 bits.
    pub const ADMIN_QUEUE_INDEX: u64 = 0x3c;
    /// How many administration queues there are, 16 bits.
    pub const ADMIN_QUEUE_NUM: u64 = 0x3e;
    /// Length of the structure in virtio 1.0 and 1.1.
    pub const LEN_1_0: u64 = 56;
    /// Length of the structure in virtio 1.4.
    pub const LEN_1_4: u64 = 64;

    /// All registers, in order.
    pub const FIELDS: &[Field] = &[
        field("device_feature_select", DEVICE_FEATURE_SELECT, 4, true),
        field("device_feature", DEVICE_FEATURE, 4, false),
        field("driver_feature_select", DRIVER_FEATURE_SELECT, 4, true),
        field("driver_feature", DRIVER_FEATURE, 4, true),
        field("config_msix_vector", CONFIG_MSIX_VECTOR, 2, true),
        field("num_queues", NUM_QUEUES, 2, false),
        field("device_status", DEVICE_STATUS, 1, true),
        field("config_generation", CONFIG_GENERATION, 1, false),
        field("queue_select", QUEUE_SELECT, 2, true),
        field("queue_size", QUEUE_SIZE, 2, true),
        field("queue_msix_vector", QUEUE_MSIX_VECTOR, 2, true),
        field("queue_enable", QUEUE_ENABLE, 2, true),
        field("queue_notify_off", QUEUE_NOTIFY_OFF, 2, false),
        field("queue_desc", QUEUE_DESC, 8, true),
        field("queue_driver", QUEUE_DRIVER, 8, true),
        field("queue_device", QUEUE_DEVICE, 8, true),
        field("queue_notif_config_data", QUEUE_NOTIF_CONFIG_DATA, 2, false),
        field("queue_reset", QUEUE_RESET, 2, true),
        field("admin_queue_index", ADMIN_QUEUE_INDEX, 2, false),
        field("admin_queue_num", ADMIN_QUEUE_NUM, 2, false),
    ];
}

/// "No vector" in a vector register (§4.1.5.1.2).
pub const NO_VECTOR: u16 = 0xffff;

/// The highest vector that a vector register takes (§4.1.5.1.2).
pub const MAX_VECTOR: u16 = 0x7ff;

/// Bits of the ISR status (§4.1.4.5).
pub mod isr {
    /// A queue has something.
    pub const QUEUE: u8 = 1;
    /// The configuration changed.
    pub const CONFIG: u8 = 2;
}

/// The number of bytes of a kick (§4.1.5.2).
pub mod kick {
    /// Without notification data.
    pub const WIDTH: u8 = 2;
    /// With it.
    pub const WIDTH_WITH_DATA: u8 = 4;
    /// With notification data: where the next offset begins.
    pub const NEXT_OFF_SHIFT: u32 = 16;
    /// With notification data: the bit that holds the next wrap counter.
    pub const NEXT_WRAP_BIT: u32 = 31;
}
