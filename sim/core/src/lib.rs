//! The waist of Bringup: all that a driver and a device can do to each other, as five verbs.
//!
//! Configuration access, BAR access, DMA, interrupt, time: a driver reaches a device, and a device its machine, through
//! nothing else. Trace, checks, faults, fuzz input and choices hang on these verbs, so a new device gets all of them and knows
//! about none. This crate knows no particular device, no driver and no hypervisor.
//!
//! # A device in forty lines
//!
//! ```
//! use bringup_core::{Access, Bar, Bus, BusConfig, Cx, Device, Function, Ram, Register, Reply, Reset, Rights};
//!
//! /// One register that holds what was last written to it.
//! struct Scratch {
//!     value: u32,
//! }
//!
//! static REGISTERS: [Register; 1] = [Register::new32("SCRATCH", 0x0, Rights::ReadWrite)];
//!
//! impl Device for Scratch {
//!     fn function(&self) -> Function {
//!         Function::new(0x1234, 0x0001).bar(Bar::memory32(0, 4096).registers(&REGISTERS))
//!     }
//!
//!     fn read(&mut self, _cx: &mut Cx<'_>, _at: Access) -> Reply<u64> {
//!         Ok(self.value.into())
//!     }
//!
//!     fn write(&mut self, _cx: &mut Cx<'_>, _at: Access, value: u64) -> Reply<()> {
//!         self.value = value as u32;
//!         Ok(())
//!     }
//!
//!     fn reset(&mut self, _cx: &mut Cx<'_>, _kind: Reset) {
//!         self.value = 0;
//!     }
//! }
//!
//! let mut bus = Bus::new(BusConfig::quiet(Ram::new(1 << 20)?));
//! let scratch = bus.plug("scratch", Box::new(Scratch { value: 7 }))?;
//! bus.config_write(scratch, 0x04, 2, 0x2); // let it answer to memory space
//! bus.bar_write(scratch, 0, 0, 4, 0xc0ffee, None);
//! assert_eq!(bus.bar_read(scratch, 0, 0, 4, None), 0xc0ffee);
//! bus.bar_read(scratch, 0, 0, 1, None); // the bus knows that the register has no such width
//! assert_eq!(bus.fabric.findings[0].rule.id, "bar-width");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod choice;
pub mod coverage;
pub mod dma;
pub mod fault;
pub mod finding;
pub mod monitor;
pub mod pci;
pub mod rules;
pub mod time;
pub mod trace;

mod bus;
mod device;
mod fabric;
mod history;
mod order;
mod windows;

pub use bus::{Bus, BusConfig, PlugError};
pub use choice::{Choices, Chooser, Point, Stream};
pub use coverage::{Coverage, States};
pub use device::{Access, Cx, Device, DmaError, InterruptMode, Refusal, Reply, Reset, Waker};
pub use dma::Ram;
pub use fabric::{Fabric, Message, Port, cost};
pub use fault::Plan;
pub use finding::{Finding, Place, Rule, Severity};
pub use history::History;
pub use monitor::{Barrier, Monitor, Seen, Sight};
pub use order::{Order, Reach, Uncovered};
pub use pci::{Bar, Function, Register, Rights, Widths};
pub use time::Nanos;
pub use trace::DeviceId;
pub use windows::Windows;
