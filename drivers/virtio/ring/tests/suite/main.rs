//! The driver's ring against devices that share nothing with it but the specification.

mod hostile;
mod longest;
#[path = "../machine/mod.rs"]
mod machine;
mod model;
#[path = "../naive/mod.rs"]
mod naive;
mod our_device;
mod properties;
mod ram;
mod rust_vmm;
mod seeds;
#[path = "../../../../../fuzz/src/virtio_ring_target.rs"]
mod virtio_ring_target;
