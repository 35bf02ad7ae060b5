//! The driver's ring against devices that share nothing with it but the specification.

mod hostile;
mod longest;
mod model;
#[path = "../naive/mod.rs"]
mod naive;
mod properties;
mod ram;
mod rust_vmm;
#[path = "../../../../../fuzz/src/virtio_ring_target.rs"]
mod virtio_ring_target;
