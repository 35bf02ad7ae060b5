//! IOMMU device (virtio 1.4 §5.13).

use super::ConfigField;

/// Feature bits.
pub mod feature {
    /// Range of input addresses.
    pub const INPUT_RANGE: u32 = 0;
    /// Range of domains.
    pub const DOMAIN_RANGE: u32 = 1;
    /// Map and unmap requests.
    pub const MAP_UNMAP: u32 = 2;
    /// Legacy bypass.
    pub const BYPASS: u32 = 3;
    /// Probe requests.
    pub const PROBE: u32 = 4;
    /// MMIO mappings.
    pub const MMIO: u32 = 5;
    /// Bypass field.
    pub const BYPASS_CONFIG: u32 = 6;
    /// Bit numbers and names.
    pub const NAMES: &[(u32, &str)] = &[
        (INPUT_RANGE, "input_range"),
        (DOMAIN_RANGE, "domain_range"),
        (MAP_UNMAP, "map_unmap"),
        (BYPASS, "bypass"),
        (PROBE, "probe"),
        (MMIO, "mmio"),
        (BYPASS_CONFIG, "bypass_config"),
    ];
}

/// Offsets in configuration space.
pub mod config {
    /// 64 bits.
    pub const PAGE_SIZE_MASK: u32 = 0;
    /// 64 bits.
    pub const INPUT_RANGE_START: u32 = 8;
    /// 64 bits.
    pub const INPUT_RANGE_END: u32 = 16;
    /// 32 bits.
    pub const DOMAIN_RANGE_START: u32 = 24;
    /// 32 bits.
    pub const DOMAIN_RANGE_END: u32 = 28;
    /// 32 bits.
    pub const PROBE_SIZE: u32 = 32;
    /// 8 bits, writable.
    pub const BYPASS: u32 = 36;
    /// Bytes in all.
    pub const LEN: u32 = 37;
}

/// Its configuration space.
pub const CONFIG: &[ConfigField] = &[
    ConfigField::new("page_size_mask", config::PAGE_SIZE_MASK, 8, &[]),
    ConfigField::new("input_range.start", config::INPUT_RANGE_START, 8, &[feature::INPUT_RANGE]),
    ConfigField::new("input_range.end", config::INPUT_RANGE_END, 8, &[feature::INPUT_RANGE]),
    ConfigField::new("domain_range.start", config::DOMAIN_RANGE_START, 4, &[feature::DOMAIN_RANGE]),
    ConfigField::new("domain_range.end", config::DOMAIN_RANGE_END, 4, &[feature::DOMAIN_RANGE]),
    ConfigField::new("probe_size", config::PROBE_SIZE, 4, &[feature::PROBE]),
    ConfigField::new("bypass", config::BYPASS, 1, &[feature::BYPASS_CONFIG]).writable(),
];
