//! Socket device (virtio 1.4 §5.10).

use super::ConfigField;

/// Feature bits.
pub mod feature {
    /// Streams.
    pub const STREAM: u32 = 0;
    /// Sequenced packets.
    pub const SEQPACKET: u32 = 1;
    /// Streams only if offered.
    pub const NO_IMPLIED_STREAM: u32 = 2;
    /// Bit numbers and names.
    pub const NAMES: &[(u32, &str)] =
        &[(STREAM, "stream"), (SEQPACKET, "seqpacket"), (NO_IMPLIED_STREAM, "no_implied_stream")];
}

/// Offsets in configuration space.
pub mod config {
    /// 64 bits.
    pub const GUEST_CID: u32 = 0;
    /// Bytes in all.
    pub const LEN: u32 = 8;
}

/// Its configuration space.
pub const CONFIG: &[ConfigField] = &[ConfigField::new("guest_cid", config::GUEST_CID, 8, &[])];

/// Queue to the driver.
pub const RX: u16 = 0;
/// Queue from the driver.
pub const TX: u16 = 1;
/// Queue of events.
pub const EVENT: u16 = 2;
/// Bytes of a packet's header.
pub const HEADER: u64 = 44;
