//! The `edu` driver against a device that answers with the fuzzer's bytes.
#![no_main]

#[path = "../src/edu_targets.rs"]
mod edu_targets;

libfuzzer_sys::fuzz_target!(|data: &[u8]| edu_targets::hostile_device(data));
