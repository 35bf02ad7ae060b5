//! Where things are in the BARs of a virtio function. Drivers learn it from the capabilities.

/// The BAR that holds the structures.
pub(super) const BAR: u8 = 4;
/// The BAR that holds the MSI-X table and pending bits.
pub(super) const MSIX_BAR: u8 = 1;
/// The BAR that holds the shared memory regions.
pub(super) const SHARED_BAR: u8 = 2;

/// Where the structures begin in the BAR, a page each.
pub(super) const COMMON: u64 = 0x0000;
pub(super) const ISR: u64 = 0x1000;
pub(super) const DEVICE: u64 = 0x2000;
pub(super) const NOTIFY: u64 = 0x3000;
pub(super) const PAGE: u64 = 0x1000;
pub(super) const BAR_SIZE: u64 = 0x4000;

/// What a queue's `queue_notify_off` is multiplied by.
pub(super) const NOTIFY_MULTIPLIER: u32 = 4;
/// The most queues there is room for to notify.
pub(super) const MOST_QUEUES: usize = 1024;
/// With NOTIF_CONFIG_DATA a kick carries this plus the queue's number.
pub(super) const NOTIF_CONFIG_DATA: u16 = 0x4000;

const _: () = assert!(NOTIFY + MOST_QUEUES as u64 * NOTIFY_MULTIPLIER as u64 <= BAR_SIZE);
