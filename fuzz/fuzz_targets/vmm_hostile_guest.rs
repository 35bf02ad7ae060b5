//! A guest of the virtual machine that does anything to its PCI bus: configuration space, BARs, interrupts and DMA.
#![no_main]

#[path = "../src/vmm_targets.rs"]
mod vmm_targets;

libfuzzer_sys::fuzz_target!(|data: &[u8]| vmm_targets::hostile_guest(data));
