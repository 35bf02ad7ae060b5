//! The driver's side of a virtqueue against a device that writes what the fuzzer says.
#![no_main]

#[path = "../src/virtio_ring_target.rs"]
mod virtio_ring_target;

libfuzzer_sys::fuzz_target!(|data: &[u8]| virtio_ring_target::hostile_device(data));
