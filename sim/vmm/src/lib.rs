//! The KVM machine of Bringup: the same device models under a real kernel.
//!
//! A [`Machine`] boots a kernel on x86-64 and puts the devices of a [`Bus`](bringup_core::Bus) on its PCI bus, through the same waist as
//! the in-process bench: what stops a vCPU becomes an access to configuration space or a BAR, the guest's memory is what devices reach
//! by DMA, their interrupts go to KVM's interrupt controllers, and their doorbells come back as events. No device knows that it is in a
//! virtual machine.
//!
//! One lock guards the bus. A thread for each vCPU runs the guest and carries its accesses; one thread waits for the devices' time and
//! for doorbells. The bus' time is the host's, counted from power-on.

pub mod acpi;
pub mod layout;
pub mod pci_host;
pub mod seccomp;

mod board;
mod boot;
mod doorbells;
mod error;
mod escape;
mod events;
mod gdb;
mod interrupts;
mod machine;
mod memory;
mod power;
mod serial;
mod signal;
mod terminal;
mod vcpu;

pub use board::{End, Outcome};
pub use error::{Error, Stuck};
pub use interrupts::Interrupted;
pub use machine::{Input, Machine, Settings, Stopper};
pub use memory::{LEAST as LEAST_MEMORY, MOST as MOST_MEMORY, memory};
pub use serial::Output;
pub use terminal::Terminal;
