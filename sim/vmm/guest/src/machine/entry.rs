//! The assembly, and the functions that it calls.
#![expect(unsafe_code, reason = "a program without an operating system is entered by assembly")]

use core::arch::global_asm;

use super::cpu;
use crate::{report, start};

global_asm!(include_str!("entry.s"), options(att_syntax));

/// Named by the precompiled core library; nothing unwinds here.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}

/// Named by the precompiled alloc library; nothing unwinds here.
#[unsafe(no_mangle)]
extern "C" fn _Unwind_Resume() -> ! {
    cpu::triple_fault()
}

/// Ring 3 begins here on the first CPU: what the loader left, and by which protocol.
#[unsafe(no_mangle)]
extern "sysv64" fn guest_main(protocol: u32, address: u64) -> ! {
    start(protocol, address)
}

/// Ring 3 begins here on the other CPUs, numbered as they came.
#[unsafe(no_mangle)]
extern "sysv64" fn guest_ap_main(index: u32) -> ! {
    crate::smp::other_cpu(index)
}

/// Ring 0 comes here with an exception, or when the watchdog ran out.
#[unsafe(no_mangle)]
extern "sysv64" fn guest_report_fault(vector: u32, error: u64, rip: u64, address: u64, code_segment: u64) -> ! {
    report::fault(vector, error, rip, address, code_segment)
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    report::panicked(info)
}
