// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 OR MIT

//! Feature bits of rings and transport, by number (virtio 1.4 §6).

#![allow(
    dead_code,
    unreachable_pub,
    reason = "a part of each driver that includes it, which uses what it needs"
)]

/// Chains may lie in a table of their own.
pub const INDIRECT_DESC: u32 = 28;
/// Both sides say at which entry they want to be notified next.
pub const EVENT_IDX: u32 = 29;
/// The device is no legacy device.
pub const VERSION_1: u32 = 32;
/// Addresses are those of the device's bus, which may translate or forbid them.
pub const ACCESS_PLATFORM: u32 = 33;
/// Queues are packed.
pub const RING_PACKED: u32 = 34;
/// Chains come back in the order in which they were given.
pub const IN_ORDER: u32 = 35;
/// The device is ordered as the platform's hardware devices are.
pub const ORDER_PLATFORM: u32 = 36;
/// A kick says how far the queue was filled.
pub const NOTIFICATION_DATA: u32 = 38;
/// A kick says what the device wants to hear instead of the queue's index.
pub const NOTIF_CONFIG_DATA: u32 = 39;
/// Queues can be reset one by one.
pub const RING_RESET: u32 = 40;

/// What the ring and the transport here can do. [`VERSION_1`] is required.
pub const ALL: u64 = bit(INDIRECT_DESC)
    | bit(EVENT_IDX)
    | bit(VERSION_1)
    | bit(ACCESS_PLATFORM)
    | bit(RING_PACKED)
    | bit(IN_ORDER)
    | bit(ORDER_PLATFORM)
    | bit(NOTIFICATION_DATA)
    | bit(NOTIF_CONFIG_DATA)
    | bit(RING_RESET);

/// The mask of a feature, which is one of the first 64.
pub const fn bit(number: u32) -> u64 {
    1 << number
}
