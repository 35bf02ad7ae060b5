//! The rules of the virtio monitor, by what they are about.

pub mod ring;
