//! Persistent memory (virtio 1.4 §5.19).

use super::ConfigField;

/// Feature bits.
pub mod feature {
    /// In a shared memory region.
    pub const SHMEM_REGION: u32 = 0;
    /// Bit numbers and names.
    pub const NAMES: &[(u32, &str)] = &[(SHMEM_REGION, "shmem_region")];
}

/// Offsets in configuration space.
pub mod config {
    /// 64 bits.
    pub const START: u32 = 0;
    /// 64 bits.
    pub const SIZE: u32 = 8;
    /// Bytes in all.
    pub const LEN: u32 = 16;
}

/// Its configuration space.
pub const CONFIG: &[ConfigField] =
    &[ConfigField::new("start", config::START, 8, &[]), ConfigField::new("size", config::SIZE, 8, &[])];
