//! The `bringup` command as a library: a driver from a file is linked into a runner that is this same command.

mod args;
mod bundled;
pub mod cli;
mod conform;
mod cpio;
mod driver_build;
mod exercise;
mod explain;
mod failure;
mod life;
mod list;
mod matching;
mod mutate;
mod output;
mod output_file;
mod platform;
mod plug;
mod progress;
mod replay;
mod report;
mod run;
mod suggest;
mod trace_file;
mod upstream;
mod watch;
mod zoo;
