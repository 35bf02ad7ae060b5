//! File system device (virtio 1.4 §5.11).

use super::ConfigField;

/// Feature bits.
pub mod feature {
    /// Notification queue.
    pub const NOTIFICATION: u32 = 0;
    /// Bit numbers and names.
    pub const NAMES: &[(u32, &str)] = &[(NOTIFICATION, "notification")];
}

/// Offsets in configuration space.
pub mod config {
    /// 36 elements of 8 bits.
    pub const TAG: u32 = 0;
    /// 32 bits.
    pub const NUM_REQUEST_QUEUES: u32 = 36;
    /// 32 bits.
    pub const NOTIFY_BUF_SIZE: u32 = 40;
    /// Bytes in all.
    pub const LEN: u32 = 44;
}

/// Its configuration space.
pub const CONFIG: &[ConfigField] = &[
    ConfigField::new("tag", config::TAG, 1, &[]).times(36),
    ConfigField::new("num_request_queues", config::NUM_REQUEST_QUEUES, 4, &[]),
    ConfigField::new("notify_buf_size", config::NOTIFY_BUF_SIZE, 4, &[feature::NOTIFICATION]),
];
