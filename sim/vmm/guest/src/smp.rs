//! The other CPUs: started by INIT and SIPI, all on the bus at once, then asleep until a message comes.

use alloc::format;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::Machine;
use crate::interrupt::OTHERS;
use crate::machine::{cpu, map};
use crate::report::{Outcome, step};

/// Page below 1 MiB where they begin.
const PAGE: u8 = 8;
/// Reads of each.
const ROUNDS: u32 = 200;
/// The most that get a stack (`entry.s`).
const MOST: u32 = 15;

/// What they share: filled in before they are started.
static CONFIGURATION: AtomicU64 = AtomicU64::new(0);
static EXPECTED: AtomicU32 = AtomicU32::new(0);
static RUNNING: AtomicU32 = AtomicU32::new(0);
static FINISHED: AtomicU32 = AtomicU32::new(0);
static WRONG: AtomicU32 = AtomicU32::new(0);

/// Starts them, and lets them work.
pub(crate) fn run(machine: &Machine) {
    if step("smp.start", || start(machine)) {
        step("smp.bus", || bus(machine));
        step("smp.message", || message(machine));
    }
}

fn others(machine: &Machine) -> u32 {
    (machine.acpi.cpus().len() as u32).saturating_sub(1)
}

fn start(machine: &Machine) -> Outcome {
    let interrupts = machine.interrupts()?;
    map::place_ap_start(&machine.start, PAGE).ok_or("no RAM at 0x8000")?;
    CONFIGURATION.store(machine.pci.ecam().map_or(0, map::Registers::address), Ordering::Release);
    EXPECTED.store(machine.pci.read32(crate::pci::Address { device: 0, function: 0 }, 0), Ordering::Release);
    let me = interrupts.id();
    for id in machine.acpi.cpus().iter().filter(|id| **id != me) {
        // INIT, then start-up twice, as the multiprocessor specification has it; 10 ms between.
        let sent = interrupts.send(*id, 0x4500);
        machine.clock.wait(10, || false);
        let sent = sent && interrupts.send(*id, 0x4600 | u32::from(PAGE));
        machine.clock.wait(1, || false);
        let sent = sent && interrupts.send(*id, 0x4600 | u32::from(PAGE));
        if !sent {
            return Err(format!("the local APIC does not send to CPU {id}"));
        }
    }
    let all = others(machine);
    machine.clock.wait(5000, || cpu::started() >= all && RUNNING.load(Ordering::Acquire) >= all.min(MOST));
    let (started, running) = (cpu::started(), RUNNING.load(Ordering::Acquire));
    if started != all || running != all.min(MOST) {
        return Err(format!("{} CPUs in the MADT, {started} others started, {running} run", all + 1));
    }
    Ok(format!("{} CPUs", started + 1))
}

fn bus(machine: &Machine) -> Outcome {
    let expected = EXPECTED.load(Ordering::Acquire);
    let mine = (0..ROUNDS)
        .filter(|_| machine.pci.read32(crate::pci::Address { device: 0, function: 0 }, 0) != expected)
        .count();
    let count = others(machine).min(MOST);
    let all = machine.clock.wait(20_000, || FINISHED.load(Ordering::Acquire) >= count);
    let wrong = WRONG.load(Ordering::Acquire);
    if !all || wrong != 0 || mine != 0 {
        return Err(format!(
            "{} of {count} finished, {wrong} wrong reads by them, {mine} by the first",
            FINISHED.load(Ordering::Acquire)
        ));
    }
    Ok(format!("{} CPUs read configuration space {ROUNDS} times at once", count + 1))
}

fn message(machine: &Machine) -> Outcome {
    let interrupts = machine.interrupts()?;
    let me = interrupts.id();
    let count = others(machine).min(MOST);
    if others(machine) > MOST {
        return Ok("not tried: more CPUs than have a stack".into());
    }
    let before = cpu::interrupts(OTHERS);
    for id in machine.acpi.cpus().iter().filter(|id| **id != me) {
        if !interrupts.send(*id, 0x4000 | u32::from(OTHERS)) {
            return Err(format!("the local APIC does not send to CPU {id}"));
        }
    }
    let came = machine.clock.wait(5000, || cpu::interrupts(OTHERS).wrapping_sub(before) >= count);
    let taken = cpu::interrupts(OTHERS).wrapping_sub(before);
    if !came || taken != count {
        return Err(format!("{count} messages sent, {taken} taken"));
    }
    Ok(format!("{taken} sleeping CPUs took a message each"))
}

/// What another CPU does, in ring 3, numbered as they came.
pub(crate) fn other_cpu(_index: u32) -> ! {
    map::enable_own_lapic();
    RUNNING.fetch_add(1, Ordering::AcqRel);
    if let Some(configuration) = map::ecam_again(CONFIGURATION.load(Ordering::Acquire)) {
        let expected = EXPECTED.load(Ordering::Acquire);
        for _ in 0..ROUNDS {
            if configuration.read32(0) != expected {
                WRONG.fetch_add(1, Ordering::AcqRel);
            }
        }
    }
    FINISHED.fetch_add(1, Ordering::AcqRel);
    cpu::sleep_for_ever()
}
