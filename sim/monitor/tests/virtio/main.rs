//! The virtio monitor: each rule fires on its planted violation and on nothing else, and correct drivers hear nothing.

#![allow(clippy::unwrap_used, reason = "tests")]

mod device;
mod plan;
mod queue;
mod racing;
mod rig;

mod blk;
mod config;
mod coverage;
mod features;
mod kinds;
mod net;
mod notify;
mod registers;
mod silence;
mod status;
