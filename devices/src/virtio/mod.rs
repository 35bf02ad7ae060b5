//! Virtio devices (virtio 1.4), each written once behind [`VirtioDevice`], and the PCI transport over them, [`VirtioPci`].

mod blk;
mod device;
pub(crate) mod kinds;
mod packed;
mod pci;
mod queue;
mod quirks;
mod rng;
mod split;

pub use blk::{Blk, BlkOptions, FileImage, Image, ImageError, MemoryImage};
pub use device::{Host, KICK_NS, VirtioDevice};
pub use pci::VirtioPci;
pub use queue::{Chain, Element, Queue};
pub use quirks::Quirks;
pub use rng::Rng;
