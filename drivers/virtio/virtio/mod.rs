// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 OR MIT

//! The driver's side of virtio 1.4: virtqueues in both layouts, and the modern PCI transport.
//!
//! A driver includes it as a module of its own:
//!
//! - [`pci::Transport`] finds the structures of a virtio function, resets the device, negotiates
//!   features, sets queues up and kicks them;
//! - [`ring::Queue`] is one virtqueue, split or packed, and knows no transport;
//! - [`requests::Requests`] is a queue with memory of its own, in slots that the device reads and writes;
//! - [`function::Function`] keeps a device going: waits for it in bounded time, and resets it and begins again when it
//!   breaks;
//! - [`gate::Gate`] lets nobody in once the device is unbound, and [`node::Node`] is a file below `/dev`.
//!
//! Nothing that the device says is trusted: sizes are bounded, waits end, a buffer comes back only
//! once, and a length never exceeds what the device was given to write. Descriptors are written from
//! private state and never read back. A device that breaks the rules gets [`EIO`] for its driver, which
//! may reset it and begin again.

#![allow(dead_code, reason = "each driver uses a part of it")]

pub(crate) mod function;
pub(crate) mod gate;
pub(crate) mod node;
pub(crate) mod pci;
pub(crate) mod requests;
pub(crate) mod ring;
pub(crate) mod signal;

/// Feature bits of rings and transport, by number (virtio 1.4 §6).
pub(crate) mod feature {
    pub(crate) const INDIRECT_DESC: u32 = 28;
    pub(crate) const EVENT_IDX: u32 = 29;
    pub(crate) const VERSION_1: u32 = 32;
    pub(crate) const ACCESS_PLATFORM: u32 = 33;
    pub(crate) const RING_PACKED: u32 = 34;
    pub(crate) const IN_ORDER: u32 = 35;
    pub(crate) const ORDER_PLATFORM: u32 = 36;
    pub(crate) const NOTIFICATION_DATA: u32 = 38;
    pub(crate) const NOTIF_CONFIG_DATA: u32 = 39;
    pub(crate) const RING_RESET: u32 = 40;

    /// What the ring and the transport here can do. `VERSION_1` is required.
    pub(crate) const ALL: u64 = bit(INDIRECT_DESC)
        | bit(EVENT_IDX)
        | bit(VERSION_1)
        | bit(ACCESS_PLATFORM)
        | bit(RING_PACKED)
        | bit(IN_ORDER)
        | bit(ORDER_PLATFORM)
        | bit(NOTIFICATION_DATA)
        | bit(NOTIF_CONFIG_DATA)
        | bit(RING_RESET);

    /// The mask of a feature.
    pub(crate) const fn bit(number: u32) -> u64 {
        1 << number
    }
}

/// What kind of rings there are, for messages to the user.
pub(crate) fn kind_of_ring(features: u64) -> &'static str {
    if features & feature::bit(feature::RING_PACKED) != 0 {
        "packed"
    } else {
        "split"
    }
}
