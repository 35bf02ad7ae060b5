//! The machine as the program sees it: how it is entered, ring 0's services, ports, mapped device memory, DMA memory.
//! All of the program's `unsafe` is in the files below here.

pub(crate) mod cpu;
pub(crate) mod dma;
pub(crate) mod entry;
pub(crate) mod hal;
pub(crate) mod heap;
pub(crate) mod map;
