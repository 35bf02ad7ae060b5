//! The driver's ring against devices that share nothing with it but the specification.

mod model;
#[path = "../naive/mod.rs"]
mod naive;
mod properties;
mod ram;
mod rust_vmm;
