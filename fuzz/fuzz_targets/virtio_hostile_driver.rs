//! The virtio devices against a driver that does what the fuzzer's bytes say, to their registers and their rings.
#![no_main]

#[path = "../src/virtio_targets.rs"]
mod virtio_targets;

libfuzzer_sys::fuzz_target!(|data: &[u8]| virtio_targets::hostile_driver(data));
