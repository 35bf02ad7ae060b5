// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 OR MIT

//! The driver's side of virtio 1.4: virtqueues in both layouts, and the modern PCI transport.
//!
//! A driver includes it as a module of its own:
//!
//! - [`pci::Transport`] finds the structures of a virtio function, resets the device, negotiates
//!   features, sets queues up and kicks them;
//! - [`ring::Queue`] is one virtqueue, split or packed, and knows no transport.
//!
//! Nothing that the device says is trusted: sizes are bounded, waits end, a buffer comes back only
//! once, and a length never exceeds what the device was given to write. Descriptors are written from
//! private state and never read back. A device that breaks the rules gets [`EIO`] for its driver, which
//! may reset it and begin again.

#![allow(dead_code, reason = "each driver uses a part of it")]

pub(crate) mod feature;
pub(crate) mod pci;
pub(crate) mod ring;
