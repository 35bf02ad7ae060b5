//! The bench of Bringup: a machine in this process, in which drivers written against the `kernel` crate are loaded,
//! probed, used, unbound and unloaded, deterministically, with checkers watching.
//!
//! One thing runs at a time. Processes, work items and threaded handlers are tasks with stacks of their own; an interrupt
//! handler runs on the stack of whatever it interrupts, at any waist operation, lock release or barrier at which interrupts
//! are enabled. Time is virtual: idle time is skipped, never slept. Every decision (which task, whether an interrupt arrives
//! now, which allocation fails) is taken from one stream, so a life can be repeated exactly.
//!
//! [`Bench`] is for tests and tools; [`rt`] is what the `kernel` crate stands on.

#![allow(
    unsafe_code,
    reason = "tasks are stacks that are switched and reset, callbacks are the kernel's function pointers, and kmalloc hands out raw memory"
)]

mod bench;
mod builder;
pub mod explore;
mod fetch;
pub mod file;
mod heap;
mod heard;
mod irq;
mod ledger;
mod lockdep;
mod machine;
mod missed;
pub mod module;
mod report;
pub mod rt;
pub mod rules;
mod task;
mod user;

pub use bench::{Bench, Job, life};
pub use builder::{BuildError, Builder};
pub use machine::Limits;
pub use report::{LogLine, Report, Stats};
pub use task::{TaskId, heartbeat};
pub use user::{BenchFile, Errno, File, open, open_debugfs};
