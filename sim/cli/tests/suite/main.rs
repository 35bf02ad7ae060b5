//! The built command as a user meets it: what it says, how it exits, what it leaves behind.

mod command;
mod conform;
mod driver_file;
mod edu;
mod explore;
mod hang;
mod killed;
mod mutate;
mod parity;
mod platform;
mod samples;
mod upstream;
mod usage;
mod virtio;
mod virtio_input;
mod vm;
mod vm_refusals;
mod zoo;
