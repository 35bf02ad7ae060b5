//! Console device (virtio 1.4 §5.3).

use super::ConfigField;

/// Feature bits.
pub mod feature {
    /// Columns and rows.
    pub const SIZE: u32 = 0;
    /// Several ports, and control queues.
    pub const MULTIPORT: u32 = 1;
    /// Emergency write.
    pub const EMERG_WRITE: u32 = 2;
    /// Bit numbers and names.
    pub const NAMES: &[(u32, &str)] = &[(SIZE, "size"), (MULTIPORT, "multiport"), (EMERG_WRITE, "emerg_write")];
}

/// Offsets in configuration space.
pub mod config {
    /// 16 bits.
    pub const COLS: u32 = 0;
    /// 16 bits.
    pub const ROWS: u32 = 2;
    /// 32 bits.
    pub const MAX_NR_PORTS: u32 = 4;
    /// 32 bits, writable.
    pub const EMERG_WR: u32 = 8;
    /// Bytes in all.
    pub const LEN: u32 = 12;
}

/// Its configuration space.
pub const CONFIG: &[ConfigField] = &[
    ConfigField::new("cols", config::COLS, 2, &[feature::SIZE]),
    ConfigField::new("rows", config::ROWS, 2, &[feature::SIZE]),
    ConfigField::new("max_nr_ports", config::MAX_NR_PORTS, 4, &[feature::MULTIPORT]),
    ConfigField::new("emerg_wr", config::EMERG_WR, 4, &[feature::EMERG_WRITE]).writable(),
];

/// Queues (§5.3.2).
pub mod queue {
    /// Port 0, to the driver.
    pub const RX0: u16 = 0;
    /// Port 0, from the driver.
    pub const TX0: u16 = 1;
    /// Control, to the driver.
    pub const CONTROL_RX: u16 = 2;
    /// Control, from the driver.
    pub const CONTROL_TX: u16 = 3;
    /// Port 1, to the driver; the one from it follows, and so on with the other ports.
    pub const RX1: u16 = 4;
}

/// Control messages (§5.3.6.2): 32-bit port, 16-bit event, 16-bit value.
pub mod control {
    /// Bytes without more.
    pub const SIZE: u64 = 8;
    /// The driver is ready.
    pub const DEVICE_READY: u16 = 0;
    /// A port came.
    pub const DEVICE_ADD: u16 = 1;
    /// A port went.
    pub const DEVICE_REMOVE: u16 = 2;
    /// The driver is ready for a port.
    pub const PORT_READY: u16 = 3;
    /// A port is a console.
    pub const CONSOLE_PORT: u16 = 4;
    /// A console has another size.
    pub const RESIZE: u16 = 5;
    /// A port was opened (1) or closed (0).
    pub const PORT_OPEN: u16 = 6;
    /// A port has a name, which follows.
    pub const PORT_NAME: u16 = 7;
}
