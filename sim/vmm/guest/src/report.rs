//! What the program says on COM1: a line for each step, `ok`, `FAILED` or `skip`, and `done` at last; and how it ends.

use alloc::string::String;
use core::fmt::{self, Write};
use core::sync::atomic::{AtomicU16, AtomicU32, AtomicUsize, Ordering};

use bringup_guest::words::Exit;

use crate::machine::cpu;

/// Ports of the first serial line.
const COM1: u16 = 0x3f8;
/// Ports of the second.
const COM2: u16 = 0x2f8;
/// Line status: a byte has come.
const RECEIVED: u8 = 0x01;
/// Line status: a byte can be sent.
const EMPTY: u8 = 0x20;
/// How long a byte may take, in reads of the line status: who does not take it loses it.
const PATIENCE: u32 = 100_000;
/// The watchdog of a step, in ticks of 10 ms.
const WATCHDOG: u32 = 6_000;

/// What may be watched, so that a number says it where there is no room for more.
const STAGES: [&str; 13] =
    ["start", "acpi", "clock", "pci", "move", "edu", "testdev", "blk", "crate", "smp", "bench", "fuzz", "exit"];
static STAGE: AtomicUsize = AtomicUsize::new(0);
static FAILURES: AtomicU32 = AtomicU32::new(0);
/// PM1a control's port and what powers off there: as QEMU's q35 has it until the FADT was read.
static POWER_PORT: AtomicU16 = AtomicU16::new(0x604);
static POWER_VALUE: AtomicU16 = AtomicU16::new(0x2000);
static RESET_PORT: AtomicU16 = AtomicU16::new(0xcf9);
static RESET_VALUE: AtomicU16 = AtomicU16::new(6);

struct Line(u16);

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            for _ in 0..PATIENCE {
                if cpu::port_in::<u8>(self.0 + 5) & EMPTY != 0 {
                    break;
                }
            }
            cpu::port_out(self.0, byte);
        }
        Ok(())
    }
}

/// Makes the serial line one of 8 bits without interrupts.
pub(crate) fn open() {
    for (register, value) in [(1, 0_u8), (3, 0x80), (0, 1), (1, 0), (3, 3), (2, 7), (4, 3)] {
        cpu::port_out(COM1 + register, value);
    }
}

/// One line of text.
pub(crate) fn line(text: fmt::Arguments<'_>) {
    // A serial line has no errors.
    let _sent = writeln!(Line(COM1), "{text}");
}

/// A step that did what it should.
pub(crate) fn ok(step: &str, text: fmt::Arguments<'_>) {
    line(format_args!("ok {step}: {text}"));
}

/// A step that did not.
pub(crate) fn failed(step: &str, text: fmt::Arguments<'_>) {
    FAILURES.fetch_add(1, Ordering::AcqRel);
    line(format_args!("FAILED {step}: {text}"));
}

/// A step that has nothing to do on this machine.
pub(crate) fn skipped(step: &str, text: fmt::Arguments<'_>) {
    line(format_args!("skip {step}: {text}"));
}

/// What a step came to: what it saw, or what was wrong.
pub(crate) type Outcome = Result<String, String>;

/// Runs a step and reports it; whether it went well.
pub(crate) fn step(name: &str, run: impl FnOnce() -> Outcome) -> bool {
    cpu::set_watchdog(WATCHDOG);
    let outcome = run();
    cpu::set_watchdog(0);
    match &outcome {
        Ok(text) => ok(name, format_args!("{text}")),
        Err(text) => failed(name, format_args!("{text}")),
    }
    outcome.is_ok()
}

/// Says in which stage a fault is when one comes.
pub(crate) fn stage(name: &str) {
    STAGE.store(STAGES.iter().position(|stage| *stage == name).unwrap_or(0), Ordering::Release);
}

fn current() -> &'static str {
    STAGES.get(STAGE.load(Ordering::Acquire)).copied().unwrap_or("start")
}

/// An exception, or the watchdog.
pub(crate) fn fault(vector: u32, error: u64, rip: u64, address: u64, code_segment: u64) -> ! {
    if vector == u32::from(crate::interrupt::TIMER) {
        failed(current(), format_args!("a step took longer than 60 s, at rip {rip:#x}"));
    } else {
        let ring = code_segment & 3;
        failed(
            current(),
            format_args!("exception {vector}, error {error:#x}, rip {rip:#x}, cr2 {address:#x}, ring {ring}"),
        );
    }
    end(Exit::Off)
}

/// A panic of the program: always its own mistake.
pub(crate) fn panicked(info: &core::panic::PanicInfo<'_>) -> ! {
    failed(current(), format_args!("{info}"));
    end(Exit::Off)
}

/// Takes what the FADT says about power-off and reset.
pub(crate) fn set_power(acpi: &bringup_guest::acpi::Acpi) {
    if acpi.pm1a_control != 0 {
        POWER_PORT.store(acpi.pm1a_control, Ordering::Release);
    }
    if let Some(kind) = acpi.sleep5 {
        // SLP_EN and SLP_TYP (ACPI 6.5 §4.8.3.2.1).
        POWER_VALUE.store(1 << 13 | u16::from(kind & 7) << 10, Ordering::Release);
    }
    if let Some((port, value)) = acpi.reset {
        RESET_PORT.store(port, Ordering::Release);
        RESET_VALUE.store(u16::from(value), Ordering::Release);
    }
}

/// Sends a line to COM2.
pub(crate) fn second_line(text: &str) {
    let _sent = writeln!(Line(COM2), "{text}");
}

/// Receives a byte from COM1, when one has come.
pub(crate) fn receive() -> Option<u8> {
    (cpu::port_in::<u8>(COM1 + 5) & RECEIVED != 0).then(|| cpu::port_in(COM1))
}

/// The last line, and then the end that was asked for.
pub(crate) fn end(exit: Exit) -> ! {
    cpu::set_watchdog(0);
    let failures = FAILURES.load(Ordering::Acquire);
    if failures > 0 {
        line(format_args!("{failures} FAILED"));
    }
    line(format_args!("done"));
    match exit {
        Exit::Off | Exit::Fault => {
            cpu::port_out(POWER_PORT.load(Ordering::Acquire), POWER_VALUE.load(Ordering::Acquire));
        }
        Exit::Reset => {
            cpu::port_out(RESET_PORT.load(Ordering::Acquire), RESET_VALUE.load(Ordering::Acquire) as u8);
        }
        Exit::Keyboard => cpu::port_out(0x64, 0xfe_u8),
        Exit::Triple => cpu::triple_fault(),
        Exit::Halt => cpu::halt(),
        Exit::Spin => cpu::spin(),
    }
    // Some machines take a moment.
    let begin = cpu::time_stamp();
    while cpu::time_stamp().wrapping_sub(begin) < 4_000_000_000 {
        core::hint::spin_loop();
    }
    line(format_args!("still here: the machine did not end"));
    cpu::halt()
}
