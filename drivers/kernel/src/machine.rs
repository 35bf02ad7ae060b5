//! The hook to the machine: everything that this crate asks of the bench, under one name.
//!
//! Drivers do not use it; it is public for the macros.

pub use bringup_bench::rt::*;
