//! I2C adapter (virtio 1.4 §5.16).

/// Feature bits.
pub mod feature {
    /// Requests of no bytes.
    pub const ZERO_LENGTH_REQUEST: u32 = 0;
    /// Bit numbers and names.
    pub const NAMES: &[(u32, &str)] = &[(ZERO_LENGTH_REQUEST, "zero_length_request")];
}
