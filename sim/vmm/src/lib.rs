//! The KVM machine of Bringup: the same device models under a real kernel.

pub mod acpi;
pub mod layout;
pub mod pci_host;
