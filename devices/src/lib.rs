//! Device models, each written once: the bench, the virtual machine, the sockets and the fuzzers attach these types.
//!
//! A model is plain data behind [`bringup_core::Device`]: it has no `unsafe`, reads no clock, and never panics on what a
//! driver does. [`registry`] turns text such as `edu,dma_mask=0xffffffff` into one.
//!
//! ```
//! let (name, device) = bringup_devices::registry::parse("edu,dma_time_us=10")?;
//! assert_eq!(name, "edu");
//! assert_eq!(device.function(), bringup_devices::Edu::new().function());
//! # use bringup_core::Device;
//! # Ok::<(), bringup_devices::registry::SpecError>(())
//! ```

#![forbid(unsafe_code)]

pub mod registry;
pub mod virtio;

mod cq;
mod edu;
mod hosted;
mod notices;
mod testdev;

pub use cq::{Cq, Oddity};
pub use edu::Edu;
pub use notices::Notices;
pub use testdev::TestDev;
