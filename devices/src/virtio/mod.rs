//! Virtio devices (virtio 1.4), each written once behind [`VirtioDevice`], and the PCI transport over them, [`VirtioPci`].

mod blk;
mod console;
mod device;
pub(crate) mod kinds;
mod net;
mod packed;
mod pci;
mod queue;
mod quirks;
mod rng;
mod split;

pub use blk::{Blk, BlkHand, BlkOptions, FileImage, Image, ImageError, MemoryImage};
pub use console::{Console, ConsoleHand, ConsoleOptions, ConsolePort, Echo, Files, NoTerminal, PortBackend, Terminal};
pub use device::{Host, KICK_NS, SharedMemory, VirtioDevice};
pub use net::{
    CableEnd, Cables, Cord, Frame, Gso, LONGEST, Loopback, Mac, Net, NetBackend, NetOptions, NoPeer, Offload,
    PacketWriter, PcapError, Recorded, Replayed, read_packets,
};
pub use pci::VirtioPci;
pub use queue::{Chain, Element, Queue};
pub use quirks::Quirks;
pub use rng::Rng;
