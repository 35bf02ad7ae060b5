//! Virtio (virtio 1.4): ids, status and feature bits, and a module for each layout.

pub mod balloon;
pub mod blk;
pub mod console;
pub mod fs;
pub mod gpio;
pub mod i2c;
pub mod iommu;
pub mod mem;
pub mod net;
pub mod pci;
pub mod pmem;
pub mod ring;
pub mod rng;
pub mod vsock;

/// PCI vendor id of virtio devices (§4.1.2).
pub const VENDOR: u16 = 0x1af4;

/// A modern device's PCI device id is this plus its type (§4.1.2).
pub const MODERN_DEVICE_BASE: u16 = 0x1040;

/// Transitional PCI device ids and the type each stands for (§4.1.2.1).
pub const TRANSITIONAL: &[(u16, u16)] = &[
    (0x1000, device_type::NETWORK),
    (0x1001, device_type::BLOCK),
    (0x1002, device_type::BALLOON),
    (0x1003, device_type::CONSOLE),
    (0x1004, device_type::SCSI),
    (0x1005, device_type::ENTROPY),
    (0x1009, device_type::P9),
];

/// Device types (§5).
pub mod device_type {
    /// Network card.
    pub const NETWORK: u16 = 1;
    /// Block device.
    pub const BLOCK: u16 = 2;
    /// Console.
    pub const CONSOLE: u16 = 3;
    /// Entropy source.
    pub const ENTROPY: u16 = 4;
    /// Memory balloon.
    pub const BALLOON: u16 = 5;
    /// SCSI host.
    pub const SCSI: u16 = 8;
    /// 9P transport.
    pub const P9: u16 = 9;
    /// GPU.
    pub const GPU: u16 = 16;
    /// Clock.
    pub const RTC: u16 = 17;
    /// Input.
    pub const INPUT: u16 = 18;
    /// Socket.
    pub const SOCKET: u16 = 19;
    /// Crypto.
    pub const CRYPTO: u16 = 20;
    /// IOMMU.
    pub const IOMMU: u16 = 23;
    /// Memory.
    pub const MEMORY: u16 = 24;
    /// Sound.
    pub const SOUND: u16 = 25;
    /// File system.
    pub const FS: u16 = 26;
    /// Persistent memory.
    pub const PMEM: u16 = 27;
    /// Replay protected memory block.
    pub const RPMB: u16 = 28;
    /// SCMI.
    pub const SCMI: u16 = 32;
    /// I2C adapter.
    pub const I2C: u16 = 34;
    /// CAN.
    pub const CAN: u16 = 36;
    /// GPIO.
    pub const GPIO: u16 = 41;
    /// SPI.
    pub const SPI: u16 = 45;
    /// Media.
    pub const MEDIA: u16 = 48;
}

/// Bits of the device status (§2.1).
pub mod status {
    /// The driver found the device.
    pub const ACKNOWLEDGE: u8 = 1;
    /// It knows how to drive it.
    pub const DRIVER: u8 = 2;
    /// It is ready.
    pub const DRIVER_OK: u8 = 4;
    /// It has negotiated.
    pub const FEATURES_OK: u8 = 8;
    /// It wants the device to rest (§3.4).
    pub const SUSPEND: u8 = 16;
    /// The device met something that only a reset mends.
    pub const DEVICE_NEEDS_RESET: u8 = 64;
    /// The driver gave up.
    pub const FAILED: u8 = 128;
}

/// Feature bits that do not depend on the device's type, by number (§6).
pub mod feature {
    /// Legacy: an interrupt when the available ring runs empty.
    pub const NOTIFY_ON_EMPTY: u32 = 24;
    /// Legacy: any layout of descriptors.
    pub const ANY_LAYOUT: u32 = 27;
    /// Indirect descriptors.
    pub const INDIRECT_DESC: u32 = 28;
    /// `used_event` and `avail_event`.
    pub const EVENT_IDX: u32 = 29;
    /// Not to be negotiated.
    pub const UNUSED: u32 = 30;
    /// Not legacy.
    pub const VERSION_1: u32 = 32;
    /// Addresses are the platform's to translate.
    pub const ACCESS_PLATFORM: u32 = 33;
    /// Packed rings.
    pub const RING_PACKED: u32 = 34;
    /// Buffers are used in the order in which they were made available.
    pub const IN_ORDER: u32 = 35;
    /// Memory is ordered as for hardware.
    pub const ORDER_PLATFORM: u32 = 36;
    /// Single root I/O virtualisation.
    pub const SR_IOV: u32 = 37;
    /// Kicks carry more than the queue's number.
    pub const NOTIFICATION_DATA: u32 = 38;
    /// Kicks carry a number of the device's choice.
    pub const NOTIF_CONFIG_DATA: u32 = 39;
    /// Queues are reset one by one.
    pub const RING_RESET: u32 = 40;
    /// Administration queues.
    pub const ADMIN_VQ: u32 = 41;
    /// Suspend and resume.
    pub const SUSPEND: u32 = 43;

    /// Bit numbers and names, as QEMU spells its properties where it has them.
    pub const NAMES: &[(u32, &str)] = &[
        (NOTIFY_ON_EMPTY, "notify_on_empty"),
        (ANY_LAYOUT, "any_layout"),
        (INDIRECT_DESC, "indirect_desc"),
        (EVENT_IDX, "event_idx"),
        (VERSION_1, "version_1"),
        (ACCESS_PLATFORM, "access_platform"),
        (RING_PACKED, "packed"),
        (IN_ORDER, "in_order"),
        (ORDER_PLATFORM, "order_platform"),
        (SR_IOV, "sr_iov"),
        (NOTIFICATION_DATA, "notification_data"),
        (NOTIF_CONFIG_DATA, "notif_config_data"),
        (RING_RESET, "ring_reset"),
        (ADMIN_VQ, "admin_vq"),
        (SUSPEND, "suspend"),
    ];
}

/// A field of a device's configuration space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConfigField {
    /// Its name in the specification.
    pub name: &'static str,
    /// In bytes.
    pub offset: u32,
    /// Of one access, in bytes: 1, 2, 4 or 8. Byte arrays have 1.
    pub width: u8,
    /// How many elements, if it is an array; else 1.
    pub count: u32,
    /// It exists when any of these feature bits is offered; always, if there are none.
    pub needs: &'static [u32],
    /// Whether a driver may write it.
    pub writable: bool,
}

impl ConfigField {
    /// A field that drivers only read.
    #[must_use]
    pub const fn new(name: &'static str, offset: u32, width: u8, needs: &'static [u32]) -> Self {
        Self { name, offset, width, count: 1, needs, writable: false }
    }

    /// An array of them.
    #[must_use]
    pub const fn times(mut self, count: u32) -> Self {
        self.count = count;
        self
    }

    /// One that drivers may write.
    #[must_use]
    pub const fn writable(mut self) -> Self {
        self.writable = true;
        self
    }
}

/// The tables of one device type.
#[derive(Clone, Copy, Debug)]
pub struct TypeFacts {
    /// One of [`device_type`].
    pub id: u16,
    /// Its name in lower case.
    pub name: &'static str,
    /// Its feature bits and their names.
    pub features: &'static [(u32, &'static str)],
    /// Its configuration space.
    pub config: &'static [ConfigField],
}

/// The types whose tables stand here.
pub const TYPES: &[TypeFacts] = &[
    TypeFacts { id: device_type::NETWORK, name: "net", features: net::feature::NAMES, config: net::CONFIG },
    TypeFacts { id: device_type::BLOCK, name: "blk", features: blk::feature::NAMES, config: blk::CONFIG },
    TypeFacts { id: device_type::CONSOLE, name: "console", features: console::feature::NAMES, config: console::CONFIG },
    TypeFacts { id: device_type::ENTROPY, name: "rng", features: &[], config: &[] },
    TypeFacts { id: device_type::BALLOON, name: "balloon", features: balloon::feature::NAMES, config: balloon::CONFIG },
    TypeFacts { id: device_type::SOCKET, name: "vsock", features: vsock::feature::NAMES, config: vsock::CONFIG },
    TypeFacts { id: device_type::IOMMU, name: "iommu", features: iommu::feature::NAMES, config: iommu::CONFIG },
    TypeFacts { id: device_type::MEMORY, name: "mem", features: mem::feature::NAMES, config: mem::CONFIG },
    TypeFacts { id: device_type::FS, name: "fs", features: fs::feature::NAMES, config: fs::CONFIG },
    TypeFacts { id: device_type::PMEM, name: "pmem", features: pmem::feature::NAMES, config: pmem::CONFIG },
    TypeFacts { id: device_type::I2C, name: "i2c", features: i2c::feature::NAMES, config: &[] },
    TypeFacts { id: device_type::GPIO, name: "gpio", features: gpio::feature::NAMES, config: gpio::CONFIG },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_ascend_without_overlap_and_are_aligned() {
        for facts in TYPES {
            let mut end = 0;
            for field in facts.config {
                assert!(field.offset >= end, "{} {}", facts.name, field.name);
                end = field.offset + u32::from(field.width) * field.count;
            }
        }
        let mut end = 0;
        for field in pci::common::FIELDS {
            assert!(field.offset >= end && field.offset % u64::from(field.width) == 0, "{}", field.name);
            end = field.offset + u64::from(field.width);
        }
        assert_eq!(end, pci::common::LEN_1_4);
    }

    #[test]
    fn feature_tables_name_each_bit_once() {
        for names in TYPES.iter().map(|facts| facts.features).chain([feature::NAMES]) {
            assert!(names.windows(2).all(|pair| pair[0].0 < pair[1].0));
        }
    }
}
