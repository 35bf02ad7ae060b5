//! Memory device (virtio 1.4 §5.15).

use super::ConfigField;

/// Feature bits.
pub mod feature {
    /// Node field.
    pub const ACPI_PXM: u32 = 0;
    /// Unplugged memory is out of bounds.
    pub const UNPLUGGED_INACCESSIBLE: u32 = 1;
    /// Memory outlives suspend.
    pub const PERSISTENT_SUSPEND: u32 = 2;
    /// Bit numbers and names.
    pub const NAMES: &[(u32, &str)] = &[
        (ACPI_PXM, "acpi_pxm"),
        (UNPLUGGED_INACCESSIBLE, "unplugged_inaccessible"),
        (PERSISTENT_SUSPEND, "persistent_suspend"),
    ];
}

/// Offsets in configuration space.
pub mod config {
    /// 64 bits.
    pub const BLOCK_SIZE: u32 = 0;
    /// 16 bits.
    pub const NODE_ID: u32 = 8;
    /// 64 bits.
    pub const ADDR: u32 = 16;
    /// 64 bits.
    pub const REGION_SIZE: u32 = 24;
    /// 64 bits.
    pub const USABLE_REGION_SIZE: u32 = 32;
    /// 64 bits.
    pub const PLUGGED_SIZE: u32 = 40;
    /// 64 bits.
    pub const REQUESTED_SIZE: u32 = 48;
    /// Bytes in all.
    pub const LEN: u32 = 56;
}

/// Its configuration space.
pub const CONFIG: &[ConfigField] = &[
    ConfigField::new("block_size", config::BLOCK_SIZE, 8, &[]),
    ConfigField::new("node_id", config::NODE_ID, 2, &[feature::ACPI_PXM]),
    ConfigField::new("addr", config::ADDR, 8, &[]),
    ConfigField::new("region_size", config::REGION_SIZE, 8, &[]),
    ConfigField::new("usable_region_size", config::USABLE_REGION_SIZE, 8, &[]),
    ConfigField::new("plugged_size", config::PLUGGED_SIZE, 8, &[]),
    ConfigField::new("requested_size", config::REQUESTED_SIZE, 8, &[]),
];
