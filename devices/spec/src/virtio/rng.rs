//! Entropy device (virtio 1.4 §5.4): no feature bits, no configuration space.

/// Its only queue: the device fills what the driver gives.
pub const REQUEST_QUEUE: u16 = 0;
