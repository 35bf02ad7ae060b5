//! Drivers and devices on the buses of the machine: binding and its orders, registers, DMA, managed resources.

#![allow(
    unsafe_code,
    reason = "DMA masks, plain data in shared memory and borrowed managed data have unsafe interfaces"
)]

mod auxiliary;
mod dma;
mod faux;
mod lifecycle;
mod pci;
mod scatterlist;
mod testdev;

/// What stands before messages that are about no device.
const __LOG_PREFIX: &[u8] = b"buses\0";
