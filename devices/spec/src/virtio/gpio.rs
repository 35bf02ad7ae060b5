//! GPIO device (virtio 1.4 §5.18).

use super::ConfigField;

/// Feature bits.
pub mod feature {
    /// Interrupts.
    pub const IRQ: u32 = 0;
    /// Bit numbers and names.
    pub const NAMES: &[(u32, &str)] = &[(IRQ, "irq")];
}

/// Offsets in configuration space.
pub mod config {
    /// 16 bits.
    pub const NGPIO: u32 = 0;
    /// 32 bits.
    pub const GPIO_NAMES_SIZE: u32 = 4;
    /// Bytes in all.
    pub const LEN: u32 = 8;
}

/// Its configuration space.
pub const CONFIG: &[ConfigField] = &[
    ConfigField::new("ngpio", config::NGPIO, 2, &[]),
    ConfigField::new("gpio_names_size", config::GPIO_NAMES_SIZE, 4, &[]),
];
