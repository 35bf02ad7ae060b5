//! Block device (virtio 1.4 §5.2).

use super::ConfigField;

/// Bytes of a sector.
pub const SECTOR: u64 = 512;
/// Bytes of a request's header: 32-bit type, 32 reserved bits, 64-bit sector.
pub const HEADER: u64 = 16;
/// Bytes of the device's id.
pub const ID_LEN: usize = 20;

/// Feature bits.
pub mod feature {
    /// Segments have a largest size.
    pub const SIZE_MAX: u32 = 1;
    /// Requests have a largest number of segments.
    pub const SEG_MAX: u32 = 2;
    /// Cylinders, heads, sectors.
    pub const GEOMETRY: u32 = 4;
    /// Read-only.
    pub const RO: u32 = 5;
    /// Block size.
    pub const BLK_SIZE: u32 = 6;
    /// Flush.
    pub const FLUSH: u32 = 9;
    /// Alignment and sizes that suit it.
    pub const TOPOLOGY: u32 = 10;
    /// The cache mode can be changed.
    pub const CONFIG_WCE: u32 = 11;
    /// Several queues.
    pub const MQ: u32 = 12;
    /// Discard.
    pub const DISCARD: u32 = 13;
    /// Write zeroes.
    pub const WRITE_ZEROES: u32 = 14;
    /// Lifetime.
    pub const LIFETIME: u32 = 15;
    /// Secure erase.
    pub const SECURE_ERASE: u32 = 16;
    /// Zoned.
    pub const ZONED: u32 = 17;
    /// Bit numbers and names.
    pub const NAMES: &[(u32, &str)] = &[
        (SIZE_MAX, "size_max"),
        (SEG_MAX, "seg_max"),
        (GEOMETRY, "geometry"),
        (RO, "ro"),
        (BLK_SIZE, "blk_size"),
        (FLUSH, "flush"),
        (TOPOLOGY, "topology"),
        (CONFIG_WCE, "config_wce"),
        (MQ, "mq"),
        (DISCARD, "discard"),
        (WRITE_ZEROES, "write_zeroes"),
        (LIFETIME, "lifetime"),
        (SECURE_ERASE, "secure_erase"),
        (ZONED, "zoned"),
    ];
}

/// Request types (§5.2.6).
pub mod request {
    /// Read.
    pub const IN: u32 = 0;
    /// Write.
    pub const OUT: u32 = 1;
    /// Flush.
    pub const FLUSH: u32 = 4;
    /// Get the id.
    pub const GET_ID: u32 = 8;
    /// Get the lifetime.
    pub const GET_LIFETIME: u32 = 10;
    /// Discard.
    pub const DISCARD: u32 = 11;
    /// Write zeroes.
    pub const WRITE_ZEROES: u32 = 13;
    /// Secure erase.
    pub const SECURE_ERASE: u32 = 14;
}

/// Status of a request, its last byte.
pub mod status {
    /// Done.
    pub const OK: u8 = 0;
    /// Failed.
    pub const IOERR: u8 = 1;
    /// Not supported.
    pub const UNSUPP: u8 = 2;
}

/// A segment of a discard, write-zeroes or secure-erase request.
pub mod segment {
    /// Bytes: 64-bit sector, 32-bit number of sectors, 32 bits of flags.
    pub const SIZE: u64 = 16;
    /// Flag: the device may deallocate.
    pub const UNMAP: u32 = 1;
}

/// Offsets in configuration space.
pub mod config {
    /// Sectors, 64 bits.
    pub const CAPACITY: u32 = 0;
    /// 32 bits.
    pub const SIZE_MAX: u32 = 8;
    /// 32 bits.
    pub const SEG_MAX: u32 = 12;
    /// 16 bits.
    pub const CYLINDERS: u32 = 16;
    /// 8 bits.
    pub const HEADS: u32 = 18;
    /// 8 bits.
    pub const SECTORS: u32 = 19;
    /// 32 bits.
    pub const BLK_SIZE: u32 = 20;
    /// 8 bits, a power of two.
    pub const PHYSICAL_BLOCK_EXP: u32 = 24;
    /// 8 bits.
    pub const ALIGNMENT_OFFSET: u32 = 25;
    /// 16 bits.
    pub const MIN_IO_SIZE: u32 = 26;
    /// 32 bits.
    pub const OPT_IO_SIZE: u32 = 28;
    /// 8 bits, writable.
    pub const WRITEBACK: u32 = 32;
    /// 16 bits.
    pub const NUM_QUEUES: u32 = 34;
    /// 32 bits.
    pub const MAX_DISCARD_SECTORS: u32 = 36;
    /// 32 bits.
    pub const MAX_DISCARD_SEG: u32 = 40;
    /// 32 bits.
    pub const DISCARD_SECTOR_ALIGNMENT: u32 = 44;
    /// 32 bits.
    pub const MAX_WRITE_ZEROES_SECTORS: u32 = 48;
    /// 32 bits.
    pub const MAX_WRITE_ZEROES_SEG: u32 = 52;
    /// 8 bits.
    pub const WRITE_ZEROES_MAY_UNMAP: u32 = 56;
    /// 32 bits.
    pub const MAX_SECURE_ERASE_SECTORS: u32 = 60;
    /// 32 bits.
    pub const MAX_SECURE_ERASE_SEG: u32 = 64;
    /// 32 bits.
    pub const SECURE_ERASE_SECTOR_ALIGNMENT: u32 = 68;
    /// Bytes in all.
    pub const LEN: u32 = 96;
}

/// Its configuration space.
pub const CONFIG: &[ConfigField] = &[
    ConfigField::new("capacity", config::CAPACITY, 8, &[]),
    ConfigField::new("size_max", config::SIZE_MAX, 4, &[feature::SIZE_MAX]),
    ConfigField::new("seg_max", config::SEG_MAX, 4, &[feature::SEG_MAX]),
    ConfigField::new("geometry.cylinders", config::CYLINDERS, 2, &[feature::GEOMETRY]),
    ConfigField::new("geometry.heads", config::HEADS, 1, &[feature::GEOMETRY]),
    ConfigField::new("geometry.sectors", config::SECTORS, 1, &[feature::GEOMETRY]),
    ConfigField::new("blk_size", config::BLK_SIZE, 4, &[feature::BLK_SIZE]),
    ConfigField::new("topology.physical_block_exp", config::PHYSICAL_BLOCK_EXP, 1, &[feature::TOPOLOGY]),
    ConfigField::new("topology.alignment_offset", config::ALIGNMENT_OFFSET, 1, &[feature::TOPOLOGY]),
    ConfigField::new("topology.min_io_size", config::MIN_IO_SIZE, 2, &[feature::TOPOLOGY]),
    ConfigField::new("topology.opt_io_size", config::OPT_IO_SIZE, 4, &[feature::TOPOLOGY]),
    ConfigField::new("writeback", config::WRITEBACK, 1, &[feature::CONFIG_WCE, feature::FLUSH]).writable(),
    ConfigField::new("num_queues", config::NUM_QUEUES, 2, &[feature::MQ]),
    ConfigField::new("max_discard_sectors", config::MAX_DISCARD_SECTORS, 4, &[feature::DISCARD]),
    ConfigField::new("max_discard_seg", config::MAX_DISCARD_SEG, 4, &[feature::DISCARD]),
    ConfigField::new("discard_sector_alignment", config::DISCARD_SECTOR_ALIGNMENT, 4, &[feature::DISCARD]),
    ConfigField::new("max_write_zeroes_sectors", config::MAX_WRITE_ZEROES_SECTORS, 4, &[feature::WRITE_ZEROES]),
    ConfigField::new("max_write_zeroes_seg", config::MAX_WRITE_ZEROES_SEG, 4, &[feature::WRITE_ZEROES]),
    ConfigField::new("write_zeroes_may_unmap", config::WRITE_ZEROES_MAY_UNMAP, 1, &[feature::WRITE_ZEROES]),
    ConfigField::new("max_secure_erase_sectors", config::MAX_SECURE_ERASE_SECTORS, 4, &[feature::SECURE_ERASE]),
    ConfigField::new("max_secure_erase_seg", config::MAX_SECURE_ERASE_SEG, 4, &[feature::SECURE_ERASE]),
    ConfigField::new(
        "secure_erase_sector_alignment",
        config::SECURE_ERASE_SECTOR_ALIGNMENT,
        4,
        &[feature::SECURE_ERASE],
    ),
    ConfigField::new("zoned.zone_sectors", 72, 4, &[feature::ZONED]),
    ConfigField::new("zoned.max_open_zones", 76, 4, &[feature::ZONED]),
    ConfigField::new("zoned.max_active_zones", 80, 4, &[feature::ZONED]),
    ConfigField::new("zoned.max_append_sectors", 84, 4, &[feature::ZONED]),
    ConfigField::new("zoned.write_granularity", 88, 4, &[feature::ZONED]),
    ConfigField::new("zoned.model", 92, 1, &[feature::ZONED]),
];
