//! Register offsets, ids and bit names of the devices that Bringup models: numbers, no logic.
//!
//! Device models use them, and tests compare them with the constants that each driver carries for itself. Nothing here
//! computes anything, so that a mistake in how a layout is used cannot stand on both sides and cancel out.

#![no_std]
#![forbid(unsafe_code)]

pub mod cq;
pub mod edu;
pub mod testdev;
pub mod virtio;
