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

pub(crate) mod feature;
pub(crate) mod function;
pub(crate) mod gate;
pub(crate) mod node;
pub(crate) mod pci;
pub(crate) mod requests;
pub(crate) mod ring;
pub(crate) mod signal;

/// What kind of rings there are, for messages to the user.
pub(crate) fn kind_of_ring(features: u64) -> &'static str {
    if features & feature::bit(feature::RING_PACKED) != 0 {
        "packed"
    } else {
        "split"
    }
}
