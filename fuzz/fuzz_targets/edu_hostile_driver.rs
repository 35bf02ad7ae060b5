//! The `edu` device against a driver that does what the fuzzer's bytes say.
#![no_main]

#[path = "../src/edu_targets.rs"]
mod edu_targets;

libfuzzer_sys::fuzz_target!(|data: &[u8]| edu_targets::hostile_driver(data));
