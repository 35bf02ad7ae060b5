//! A program for a bare x86-64 machine, to see from inside that a virtual machine is one.
//!
//! It is an ordinary static ELF of the host's target:
//! `cargo build -p bringup-guest --profile guest --features bare` makes `target/guest/bringup-guest`. It starts by the PVH note
//! (32 bits) or by Linux' 64-bit protocol (its ELF entry), makes its own page tables, GDT, IDT and TSS, and says on COM1 what
//! it finds, one line for each step:
//!
//! ```text
//! ok STEP: what was seen
//! FAILED STEP: what was seen instead
//! skip STEP: why there is nothing to see
//! bench NAME: N times, C cycles, C/N cycles each, T ns each
//! N FAILED                       (only if N is not 0)
//! done
//! ```
//!
//! and then powers off. The words of its command line are in [`bringup_guest::words`]. Steps with their files:
//!
//! - `acpi`, `clock`: RSDP, XSDT, FADT, MADT, MCFG, DSDT's \_S5; the PM timer (`main.rs`, `clock.rs`)
//! - `pci`, `move`: functions, ECAM against 0xCF8, BARs sized, decoded and moved (`steps_pci.rs`)
//! - `edu`: registers, DMA, MSI, INTx through the IOAPIC (`steps_edu.rs`); `testdev` (`steps_testdev.rs`)
//! - `blk`: a split ring of our own with MSI-X, polling and INTx; masked vectors; RAM above 4 GiB (`steps_blk.rs`)
//! - `crate`: the `virtio-drivers` crate on blk, net, rng and console (`steps_crate.rs`)
//! - `smp`, `bench`, `fuzz`: when asked for
//!
//! Ring 0 is assembly without SSE, all Rust runs in ring 3: see `machine/entry.s` for why. The virtio-blk steps write to the
//! disk: sectors 8 to 43.

#![no_std]
#![no_main]

extern crate alloc;

mod bench;
mod clock;
mod fuzz;
mod interrupt;
mod machine;
mod pci;
mod report;
mod smp;
mod steps_blk;
mod steps_crate;
mod steps_edu;
mod steps_pci;
mod steps_testdev;
mod virtio;

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use bringup_guest::Memory;
use bringup_guest::acpi::Acpi;
use bringup_guest::start::{Protocol, Start};
use bringup_guest::words::{Exit, Word, exit, polite, wants, words};

use clock::Clock;
use interrupt::Interrupts;
use machine::cpu;
use machine::map::Physical;
use pci::{Function, Pci};
use report::{Outcome, step};

/// All that the steps know of the machine.
struct Machine {
    start: Start,
    acpi: Acpi,
    clock: Clock,
    interrupts: Option<Interrupts>,
    pci: Pci,
    functions: Vec<Function>,
    /// What an address reads that no BAR has.
    nothing: u32,
    /// Whether the machine's checkers are to have nothing to report.
    polite: bool,
}

impl Machine {
    /// The interrupt controllers, which a step may need.
    fn interrupts(&self) -> Result<&Interrupts, String> {
        self.interrupts.as_ref().ok_or_else(|| "the interrupt controllers were not found".into())
    }
}

/// Ring 3 begins here.
fn start(protocol: u32, address: u64) -> ! {
    report::open();
    report::stage("start");
    let protocol = if protocol == 1 { Protocol::Pvh } else { Protocol::Linux };
    let start = match Start::read(&Physical, protocol, address) {
        Ok(start) => start,
        Err(text) => {
            report::failed("start", format_args!("{text}"));
            report::end(Exit::Off);
        }
    };
    let line = command_line(start.command_line);
    report::ok(
        "start",
        format_args!(
            "{protocol:?}, {} KiB of RAM in {} ranges, words \"{line}\"",
            start.ram() >> 10,
            start.ranges().len()
        ),
    );
    run(start, &line);
    report::end(match exit(&line) {
        Exit::Fault => {
            report::stage("exit");
            machine::map::touch_nothing();
            Exit::Off
        }
        exit => exit,
    })
}

/// The command line; what is not UTF-8 or longer than 4096 bytes is cut off.
fn command_line(address: u64) -> String {
    let mut bytes = Vec::new();
    while bytes.len() < 4096 {
        match Physical.u8(address + bytes.len() as u64) {
            None | Some(0) => break,
            Some(byte) => bytes.push(byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn run(start: Start, line: &str) {
    report::stage("acpi");
    let rsdp = if start.rsdp != 0 { Some(start.rsdp) } else { find_rsdp() };
    let acpi = match rsdp.ok_or("no RSDP").and_then(|rsdp| Acpi::read(&Physical, rsdp)) {
        Ok(acpi) => acpi,
        Err(text) => return report::failed("acpi", format_args!("{text}")),
    };
    report::set_power(&acpi);
    if wants(line, "acpi") {
        step("acpi", || describe(&acpi, start.rsdp != 0));
    }
    report::stage("clock");
    let clock = match Clock::measure(acpi.timer) {
        Ok(clock) => clock,
        Err(text) => {
            report::failed("clock", format_args!("{text}"));
            Clock::UNKNOWN
        }
    };
    let interrupts = Interrupts::start(&start, &acpi, clock);
    if wants(line, "clock") {
        step("clock", || timer(&clock, interrupts.as_ref()));
    }
    report::stage("pci");
    let pci = Pci::new(&start, acpi.ecam);
    let functions = pci.enumerate();
    let mut machine =
        Machine { start, acpi, clock, interrupts, pci, functions, nothing: u32::MAX, polite: polite(line) };
    steps(&mut machine, line);
    asked(&machine, line);
}

/// The steps of one name.
type Step = fn(&mut Machine);

/// The steps that `tests=` names.
fn steps(machine: &mut Machine, line: &str) {
    let all: [(&str, Step); 6] = [
        ("pci", |machine| steps_pci::list(machine)),
        ("move", steps_pci::moves),
        ("edu", |machine| steps_edu::run(machine)),
        ("testdev", |machine| steps_testdev::run(machine)),
        ("blk", |machine| steps_blk::run(machine)),
        ("crate", |machine| steps_crate::run(machine)),
    ];
    for (name, run) in all {
        if wants(line, name) {
            report::stage(name);
            run(machine);
        }
    }
}

/// What other words ask for, in their order.
fn asked(machine: &Machine, line: &str) {
    for word in words(line) {
        match word {
            Word::Smp => {
                report::stage("smp");
                smp::run(machine);
            }
            Word::Bench(what, count, depth) => {
                report::stage("bench");
                bench::run(machine, what, count, depth);
            }
            Word::Fuzz(seed, count, master) => {
                report::stage("fuzz");
                fuzz::run(machine, seed, count, master);
            }
            Word::Echo => {
                step("echo", || echo(&machine.clock));
            }
            Word::Com2(text) => report::second_line(text),
            Word::Fail => report::failed("fail", format_args!("as was asked")),
            Word::Unknown(word) => report::failed("words", format_args!("\"{word}\" is not known")),
            Word::Tests(_) | Word::Exit(_) | Word::Polite => {}
        }
    }
}

/// Where firmware leaves the RSDP when the loader does not say (ACPI 6.5 §5.2.5.1).
fn find_rsdp() -> Option<u64> {
    (0xe_0000..0x10_0000).step_by(16).find(|address| Physical.u64(*address) == Some(u64::from_le_bytes(*b"RSD PTR ")))
}

fn describe(acpi: &Acpi, said: bool) -> Outcome {
    let whose = if said { "the loader's" } else { "a found" };
    let text = format!(
        "{whose} RSDP, {} of {} tables, {} CPUs, local APIC {:#x}, IOAPIC {:x?}, ECAM {:x?}, PM1a {:#x} and {:#x}, timer {:#x}, SCI {}, reset {:x?}, S5 {:?}",
        if acpi.extended { "XSDT" } else { "RSDT" },
        acpi.tables,
        acpi.cpus().len(),
        acpi.lapic,
        acpi.ioapic,
        acpi.ecam,
        acpi.pm1a_event,
        acpi.pm1a_control,
        acpi.timer,
        acpi.sci,
        acpi.reset,
        acpi.sleep5
    );
    if acpi.cpus().is_empty() || acpi.ioapic.is_none() || acpi.sleep5.is_none() {
        return Err(format!("something is missing: {text}"));
    }
    Ok(text)
}

/// The PM timer, the local APIC's timer and the time stamp counter agree, and a halt is ended by the timer.
fn timer(clock: &Clock, interrupts: Option<&Interrupts>) -> Outcome {
    let interrupts = interrupts.ok_or("no interrupt controllers")?;
    let before = cpu::interrupts(interrupt::TIMER);
    let mut seen = before;
    for _ in 0..5 {
        if !interrupts.wait(interrupt::TIMER, seen, 1000) {
            return Err("the local APIC's timer does not interrupt".into());
        }
        seen = cpu::interrupts(interrupt::TIMER);
    }
    let identity = cpu::identify(0x8000_0008, 0)[0] & 0xff;
    let base = cpu::read_msr(0x1b);
    Ok(format!(
        "{} kHz by the PM timer, {} ticks ended a halt, {identity} physical address bits, IA32_APIC_BASE {base:#x}",
        clock.cycles_of_ms(),
        seen.wrapping_sub(before)
    ))
}

/// A line from COM1, said again.
fn echo(clock: &Clock) -> Outcome {
    report::line(format_args!("echo waits"));
    let mut line = Vec::new();
    let whole = clock.wait(30_000, || {
        while let Some(byte) = report::receive() {
            if byte == b'\n' || byte == b'\r' || line.len() >= 4096 {
                return true;
            }
            line.push(byte);
        }
        false
    });
    if whole { Ok(String::from_utf8_lossy(&line).into_owned()) } else { Err("no line came in 30 s".into()) }
}
